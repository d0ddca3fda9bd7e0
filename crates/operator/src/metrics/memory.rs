//! What is kept in memory of packages.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::context::Context;

/// What is in memory, counted when it is asked for.
pub(crate) struct InMemory(pub(crate) Arc<Context>);

impl std::fmt::Debug for InMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InMemory")
    }
}

impl Collector for InMemory {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let packages = self.0.contents.in_memory();
        let gauge = ConstGauge::new(i64::try_from(packages).unwrap_or(i64::MAX));
        let help = "Parsed packages in memory";
        gauge.encode(encoder.encode_descriptor("parsed_packages", help, None, gauge.metric_type())?)
    }
}
