//! The content store, at scrape.

use std::fmt;

use kit::metrics::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use registry::Store;

/// Shows what the store holds, and whether it helps.
#[derive(Debug)]
pub(crate) struct StoreFigures {
    store: Store,
}

impl StoreFigures {
    pub(crate) fn register(metrics: &Metrics, store: Store) {
        metrics.register(|registry| registry.register_collector(Box::new(Self { store })));
    }
}

impl Collector for StoreFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = self.store.figures();
        let gauges = [
            (
                "store_bytes",
                "Bytes in the content store, as far as this process knows",
                figures.used_bytes,
            ),
            (
                "store_limit_bytes",
                "Bytes that the content store may use",
                figures.max_bytes,
            ),
            (
                "store_writable",
                "1 while content is kept in the store",
                u64::from(figures.writable),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let help = "Looks for content in the store: blobs as they come, derived is parsed packages";
        let mut lookups = encoder.encode_descriptor("store_lookups", help, None, MetricType::Counter)?;
        for (content, outcome, count) in [
            ("blob", "hit", figures.blobs.hits),
            ("blob", "miss", figures.blobs.misses),
            ("derived", "hit", figures.derived.hits),
            ("derived", "miss", figures.derived.misses),
        ] {
            let labels = [("content", content), ("outcome", outcome)];
            ConstCounter::new(count).encode(lookups.encode_family(&labels)?)?;
        }
        let counters = [
            (
                "store_evicted_bytes",
                "Bytes removed from the store to make room",
                figures.evicted_bytes,
            ),
            (
                "store_write_failures",
                "Content that could not be kept in the store",
                figures.write_failures,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}
