//! Numbers about this process, in OpenMetrics text.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

mod leadership;

pub use leadership::Leading;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
        info::Info,
    },
    registry::Registry,
};

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets of durations, in seconds: from a lookup to a long job.
pub const DURATION_BUCKETS: [f64; 12] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// What is running: shown as `<prefix>_build_info`.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// Version of the program.
    pub version: &'static str,
    /// What it was built from, if known.
    pub revision: &'static str,
}

/// The metrics of this process. Clones share one registry.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// All names start with `<prefix>_`. Process and build metrics are there from the start.
    pub fn new(prefix: &str, build: Build) -> Self {
        let mut registry = Registry::with_prefix(prefix);
        let labels = vec![("version", build.version), ("revision", build.revision)];
        registry.register("build", "What is running", Info::new(labels));
        registry.register_collector(Box::new(Process));
        Self {
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// Adds metrics. Names get the prefix, and counters the ending `_total`, by themselves.
    pub fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All metrics as OpenMetrics text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(
            &mut out,
            &self.registry.lock().unwrap_or_else(PoisonError::into_inner),
        )?;
        Ok(out)
    }
}

/// A histogram of seconds in [`DURATION_BUCKETS`], as a constructor for [`Family`].
pub fn seconds() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

/// Counts writes by verb, kind and outcome. The default one is shown nowhere, for programs without metrics.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    total: Family<WriteLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    operation: &'static str,
    kind: String,
    outcome: &'static str,
}

impl Writes {
    /// Registers `writes_total`.
    pub fn register(metrics: &Metrics) -> Self {
        let total = Family::default();
        let help = "Writes to the API server, dry runs not counted";
        metrics.register(|registry| registry.register("writes", help, total.clone()));
        Self { total }
    }

    pub(crate) fn count(&self, operation: &'static str, kind: &str, outcome: &'static str) {
        self.total
            .get_or_create(&WriteLabels {
                operation,
                kind: kind.to_owned(),
                outcome,
            })
            .inc();
    }
}

/// Counts what happens in work queues, by controller.
#[derive(Clone, Debug)]
pub struct Reconciles {
    depth: Family<ControllerLabel, Gauge>,
    running: Family<ControllerLabel, Gauge>,
    seconds: Family<ControllerLabel, Histogram, fn() -> Histogram>,
    total: Family<ReconcileLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabel {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    controller: &'static str,
    outcome: &'static str,
}

impl Reconciles {
    /// Registers `queue_depth`, `reconciles_running`, `reconcile_duration_seconds` and `reconciles_total`.
    pub fn register(metrics: &Metrics) -> Self {
        let made = Self {
            depth: Family::default(),
            running: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            total: Family::default(),
        };
        metrics.register(|registry| {
            registry.register(
                "queue_depth",
                "Keys that wait for a free worker",
                made.depth.clone(),
            );
            registry.register(
                "reconciles_running",
                "Reconciles that run now",
                made.running.clone(),
            );
            let help = "Duration of one reconcile in seconds";
            registry.register("reconcile_duration_seconds", help, made.seconds.clone());
            registry.register("reconciles", "Reconciles that ended", made.total.clone());
        });
        made
    }

    pub(crate) fn sizes(&self, controller: &'static str, depth: usize, running: usize) {
        let label = ControllerLabel { controller };
        self.depth.get_or_create(&label).set(depth as i64);
        self.running.get_or_create(&label).set(running as i64);
    }

    pub(crate) fn ended(&self, controller: &'static str, outcome: &'static str, took: Duration) {
        self.seconds
            .get_or_create(&ControllerLabel { controller })
            .observe(took.as_secs_f64());
        self.total
            .get_or_create(&ReconcileLabels { controller, outcome })
            .inc();
    }
}

/// Counts watches, by kind.
#[derive(Clone, Debug)]
pub struct WatchCounts {
    objects: Family<KindLabel, Gauge>,
    errors: Family<KindLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

impl WatchCounts {
    /// Registers `watch_objects` and `watch_errors_total`.
    pub fn register(metrics: &Metrics) -> Self {
        let made = Self {
            objects: Family::default(),
            errors: Family::default(),
        };
        metrics.register(|registry| {
            registry.register(
                "watch_objects",
                "Objects that a watch knows",
                made.objects.clone(),
            );
            registry.register("watch_errors", "Failures of a watch", made.errors.clone());
        });
        made
    }

    pub(crate) fn objects(&self, kind: &str, count: usize) {
        self.objects
            .get_or_create(&KindLabel {
                kind: kind.to_owned(),
            })
            .set(count as i64);
    }

    pub(crate) fn error(&self, kind: &str) {
        self.errors
            .get_or_create(&KindLabel {
                kind: kind.to_owned(),
            })
            .inc();
    }

    pub(crate) fn forget(&self, kind: &str) {
        self.objects.remove(&KindLabel {
            kind: kind.to_owned(),
        });
    }
}

/// Memory and CPU of this process, read at scrape.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let gauges = [
            (
                "process_resident_memory_bytes",
                "Resident memory in bytes",
                kib(&status, "VmRSS:"),
            ),
            (
                "process_resident_memory_peak_bytes",
                "Peak resident memory in bytes",
                kib(&status, "VmHWM:"),
            ),
            ("process_threads", "Threads", field(&status, "Threads:")),
            ("process_open_fds", "Open file descriptors", open_files()),
            (
                "process_tasks",
                "Tasks of the async runtime that have not ended",
                tasks(),
            ),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&stat) {
            let counter = ConstCounter::new(seconds);
            let help = "User and system CPU time in seconds";
            counter.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

/// Tasks that are alive, when a runtime asks.
fn tasks() -> Option<u64> {
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    u64::try_from(runtime.metrics().num_alive_tasks()).ok()
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(name))?;
    line[name.len()..].split_whitespace().next()?.parse().ok()
}

/// Counted while one of them is the folder itself.
fn open_files() -> Option<u64> {
    let listed = std::fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(listed).ok()?.checked_sub(1)
}

fn kib(status: &str, name: &str) -> Option<u64> {
    field(status, name).map(|kib| kib * 1024)
}

/// Sums user and system time of `/proc/self/stat` (proc(5), fields 14 and 15, in ticks of 1/100 s).
fn cpu_seconds(stat: &str) -> Option<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    // The second field is the program's name in parentheses and may hold spaces.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_with_prefix() {
        let metrics = Metrics::new(
            "gantry",
            Build {
                version: "1.2.3",
                revision: "abc",
            },
        );
        let writes = Writes::register(&metrics);
        writes.count("create", "Lease", "Written");
        writes.count("create", "Lease", "Written");
        let reconciles = Reconciles::register(&metrics);
        reconciles.ended("c", "Await", Duration::from_millis(3));
        reconciles.sizes("c", 2, 1);
        let watches = WatchCounts::register(&metrics);
        watches.objects("Thing", 7);
        watches.error("Thing");
        let text = metrics.encode().unwrap();
        for line in [
            "gantry_build_info{version=\"1.2.3\",revision=\"abc\"} 1",
            "gantry_writes_total{operation=\"create\",kind=\"Lease\",outcome=\"Written\"} 2",
            "gantry_reconcile_duration_seconds_count{controller=\"c\"} 1",
            "gantry_reconciles_total{controller=\"c\",outcome=\"Await\"} 1",
            "gantry_queue_depth{controller=\"c\"} 2",
            "gantry_reconciles_running{controller=\"c\"} 1",
            "gantry_watch_objects{kind=\"Thing\"} 7",
            "gantry_watch_errors_total{kind=\"Thing\"} 1",
            "gantry_process_resident_memory_bytes ",
            "gantry_process_cpu_seconds_total ",
            "gantry_process_open_fds ",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn reads_proc() {
        let stat = "42 (a (b) c) S 1 1 1 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(kib("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12 * 1024));
        assert_eq!(kib("", "VmRSS:"), None);
    }
}
