//! Whether this process leads, at scrape.

use std::{fmt, time::SystemTime};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};

use super::Metrics;
use crate::fence::Fence;

/// Shows `leader`, `writes_suspended` and, while leading by a lease, `lease_renewed_timestamp_seconds`.
#[derive(Debug)]
pub struct Leading {
    fence: Fence,
}

impl Leading {
    /// Registers the metrics.
    pub fn register(metrics: &Metrics, fence: Fence) {
        metrics.register(|registry| registry.register_collector(Box::new(Self { fence })));
    }
}

impl Collector for Leading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let states = [
            ("leader", "1 while this process leads", self.fence.is_leader()),
            (
                "writes_suspended",
                "1 while nothing is written because another manager is alive",
                self.fence.suspended().is_some(),
            ),
        ];
        for (name, help, holds) in states {
            let gauge = ConstGauge::new(i64::from(holds));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let renewed = self
            .fence
            .since_renewal()
            .and_then(|ago| SystemTime::now().checked_sub(ago));
        if let Some(at) = renewed.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            let gauge = ConstGauge::new(at.as_secs_f64());
            let help = "When the leader renewed its lease last, seconds since 1970";
            let name = "lease_renewed_timestamp_seconds";
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::metrics::Build;

    #[tokio::test(start_paused = true)]
    async fn follows_the_fence() {
        let build = Build {
            version: "1",
            revision: "",
        };
        let (metrics, fence) = (Metrics::new("gantry", build), Fence::closed());
        Leading::register(&metrics, fence.clone());
        let shows = |line: &str| metrics.encode().unwrap().lines().any(|l| l.starts_with(line));
        assert!(shows("gantry_leader 0") && !shows("gantry_lease_renewed"));
        fence.lead_until(Instant::now() + Duration::from_secs(10), 1);
        assert!(shows("gantry_leader 1") && shows("gantry_lease_renewed_timestamp_seconds "));
        assert!(shows("gantry_writes_suspended 0"));
        fence.suspend("another manager is alive");
        assert!(shows("gantry_writes_suspended 1"));
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(shows("gantry_leader 0"), "the deadline has passed");
    }
}
