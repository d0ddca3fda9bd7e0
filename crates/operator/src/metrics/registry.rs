//! What the registry client does.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kit::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use registry::Operation;

/// Registry hosts with figures of their own; further ones are counted as `other`, since hosts come from users.
pub const MAX_HOSTS: usize = 50;

/// Counts what the registry client does.
#[derive(Default)]
pub struct RegistryMetrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<HostLabels, Counter<f64, std::sync::atomic::AtomicU64>>,
    bytes: Family<HostLabels, Counter>,
    retries: Family<HostLabels, Counter>,
    throttled: Family<HostLabels, Counter<f64, std::sync::atomic::AtomicU64>>,
    waits: Family<HostLabel, Counter>,
    remaining: Family<HostLabel, Gauge>,
    hosts: Mutex<BTreeSet<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    host: String,
    operation: &'static str,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostLabels {
    host: String,
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostLabel {
    host: String,
}

impl RegistryMetrics {
    /// Makes the counters and shows them.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let made = Self::default();
        metrics.register(|registry| {
            registry.register(
                "registry_requests",
                "Requests to registries",
                made.requests.clone(),
            );
            let help = "Time spent in requests to registries, in seconds";
            registry.register("registry_request_seconds", help, made.seconds.clone());
            registry.register(
                "registry_received_bytes",
                "Bytes received from registries",
                made.bytes.clone(),
            );
            registry.register(
                "registry_retries",
                "Requests to registries tried again",
                made.retries.clone(),
            );
            let help = "Time that registries asked us to wait, in seconds";
            registry.register("registry_throttled_seconds", help, made.throttled.clone());
            registry.register(
                "registry_throttled",
                "Requests that waited because the registry asked for it",
                made.waits.clone(),
            );
            let help = "Requests left in the registry's window, as it said last";
            registry.register("registry_rate_limit_remaining", help, made.remaining.clone());
        });
        made
    }

    fn host(&self, host: &str) -> String {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.contains(host) || (hosts.len() < MAX_HOSTS && hosts.insert(host.to_owned())) {
            return host.to_owned();
        }
        "other".to_owned()
    }

    fn labels(&self, host: &str, operation: Operation) -> HostLabels {
        HostLabels {
            host: self.host(host),
            operation: operation.as_str(),
        }
    }
}

impl registry::Metrics for RegistryMetrics {
    fn request(&self, host: &str, operation: Operation, status: Option<u16>, took: Duration) {
        let code = status.map_or_else(|| "none".to_owned(), |code| code.to_string());
        let labels = RequestLabels {
            host: self.host(host),
            operation: operation.as_str(),
            code,
        };
        self.requests.get_or_create(&labels).inc();
        self.seconds
            .get_or_create(&self.labels(host, operation))
            .inc_by(took.as_secs_f64());
    }

    fn received(&self, host: &str, operation: Operation, bytes: u64) {
        self.bytes
            .get_or_create(&self.labels(host, operation))
            .inc_by(bytes);
    }

    fn retry(&self, host: &str, operation: Operation) {
        self.retries.get_or_create(&self.labels(host, operation)).inc();
    }

    fn throttled(&self, host: &str, wait: Duration) {
        let labels = HostLabels {
            host: self.host(host),
            operation: "wait",
        };
        self.throttled.get_or_create(&labels).inc_by(wait.as_secs_f64());
        let host = self.host(host);
        self.waits.get_or_create(&HostLabel { host }).inc();
    }

    fn rate_limit_remaining(&self, host: &str, remaining: u64) {
        let remaining = i64::try_from(remaining).unwrap_or(i64::MAX);
        let host = self.host(host);
        self.remaining.get_or_create(&HostLabel { host }).set(remaining);
    }
}

#[cfg(test)]
mod tests {
    use registry::Metrics as _;

    use super::*;

    #[test]
    fn each_figure_moves() {
        let build = kit::metrics::Build {
            version: "1",
            revision: "",
        };
        let metrics = Metrics::new("gantry", build);
        let client = RegistryMetrics::register(&metrics);
        let (host, second) = ("r.invalid", Duration::from_secs(1));
        client.request(host, Operation::HeadManifest, Some(404), second);
        client.request(host, Operation::HeadManifest, None, second);
        client.received(host, Operation::GetBlob, 7);
        client.retry(host, Operation::GetBlob);
        client.throttled(host, 3 * second);
        client.rate_limit_remaining(host, 12);
        let text = metrics.encode().unwrap();
        for line in [
            r#"requests_total{host="r.invalid",operation="head_manifest",code="404"} 1"#,
            r#"requests_total{host="r.invalid",operation="head_manifest",code="none"} 1"#,
            r#"request_seconds_total{host="r.invalid",operation="head_manifest"} 2.0"#,
            r#"received_bytes_total{host="r.invalid",operation="get_blob"} 7"#,
            r#"retries_total{host="r.invalid",operation="get_blob"} 1"#,
            r#"throttled_seconds_total{host="r.invalid",operation="wait"} 3.0"#,
            r#"throttled_total{host="r.invalid"} 1"#,
            r#"rate_limit_remaining{host="r.invalid"} 12"#,
        ] {
            assert!(
                text.contains(&format!("gantry_registry_{line}\n")),
                "{line} in\n{text}"
            );
        }
    }

    #[test]
    fn hosts_are_bounded() {
        let metrics = RegistryMetrics::default();
        for n in 0..MAX_HOSTS + 10 {
            metrics.received(&format!("h{n}.invalid"), Operation::GetManifest, 1);
        }
        assert_eq!(metrics.host("h0.invalid"), "h0.invalid");
        assert_eq!(metrics.host("late.invalid"), "other");
    }
}
