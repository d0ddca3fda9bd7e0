//! How long packages take from what a person asked for to Ready.
//!
//! Measured is each generation of a package that was not Ready at some time and became Ready: from the creation of
//! the package, or from the moment when the leader saw the change of its spec, to the moment when it saw `Ready=True` for
//! that generation. Time in which it waits for a person (paused, or not activated) is not measured, nor is a generation
//! whose beginning this process can't know: a changed spec that is older than its leadership.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use api::condition::{ConditionType, Conditions, Reason, Status};
use api::pkg::{Package, PackageKind};
use jiff::Timestamp;
use kit::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds of the buckets, seconds: from a package whose content is there to a thousand CRDs on a slow cluster.
const BUCKETS: [f64; 12] = [
    0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 900.0, 3600.0,
];

/// Follows packages on their way to Ready.
pub(crate) struct ReadyTimes {
    seconds: Family<KindLabel, Histogram, fn() -> Histogram>,
    ways: Mutex<HashMap<String, Way>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// One package's way, by its UID.
struct Way {
    generation: i64,
    /// Nothing if it isn't known, or doesn't count any more.
    since: Option<Timestamp>,
    was_unready: bool,
}

impl ReadyTimes {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let seconds: Family<KindLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let help = "From creation or change of a package to Ready, in seconds";
        metrics.register(|registry| registry.register("package_ready_seconds", help, seconds.clone()));
        Self {
            seconds,
            ways: Mutex::default(),
        }
    }

    /// The package is gone.
    pub(crate) fn gone(&self, package: &Package) {
        let uid = package.metadata.uid.as_deref().unwrap_or_default();
        self.ways
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }

    /// The package is like this now.
    pub(crate) fn seen(&self, kind: PackageKind, package: &Package, now: Timestamp) {
        let generation = package.metadata.generation.unwrap_or(0);
        let conditions = package.status.as_ref().map(|s| &s.conditions);
        let said = conditions.and_then(|c| c.get(ConditionType::Ready));
        let current = said.is_some_and(|c| c.observed_generation.is_none_or(|g| g >= generation));
        let is_ready = said.is_some_and(|c| c.status() == Status::True);
        let waits = api::annotation::is_paused(&package.metadata)
            || package.metadata.deletion_timestamp.is_some()
            || said.is_some_and(|c| c.has_reason(Reason::AwaitingActivation));

        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = package.metadata.uid.clone().unwrap_or_default();
        let way = ways.entry(uid).or_insert_with(|| Way {
            generation,
            since: match generation {
                1 => package.metadata.creation_timestamp.as_ref().map(|time| time.0),
                _ => None,
            }
            .filter(|_| !(is_ready && current)),
            was_unready: false,
        });
        if way.generation != generation {
            *way = Way {
                generation,
                since: Some(now),
                was_unready: false,
            };
        }
        way.was_unready |= !is_ready;
        if waits {
            way.since = None;
        }
        if is_ready
            && current
            && let Some(since) = way.since.take().filter(|_| way.was_unready)
        {
            let took = now.duration_since(since).as_secs_f64().max(0.0);
            let kind = kind.kind();
            self.seconds.get_or_create(&KindLabel { kind }).observe(took);
        }
    }
}

#[cfg(test)]
mod tests {
    use api::condition::Condition;
    use api::pkg::{PackageSpec, PackageStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kit::metrics::Build;

    use super::*;

    const KIND: PackageKind = PackageKind::Provider;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    struct Scene {
        metrics: Metrics,
        times: ReadyTimes,
        package: Package,
    }

    impl Scene {
        /// Created at second 100.
        fn new() -> Self {
            let build = Build {
                version: "1",
                revision: "",
            };
            let metrics = Metrics::new("gantry", build);
            let mut package = Package::new(KIND, "p", PackageSpec::default());
            package.metadata.uid = Some("u".into());
            package.metadata.generation = Some(1);
            package.metadata.creation_timestamp = Some(Time(at(100)));
            Self {
                times: ReadyTimes::register(&metrics),
                metrics,
                package,
            }
        }

        fn seen(&mut self, second: i64, ready: Option<(Status, Reason)>) {
            if let Some((status, reason)) = ready {
                let said = Condition::new(ConditionType::Ready, status, reason);
                let said = said.observing(self.package.metadata.generation);
                self.package.status = Some(PackageStatus {
                    conditions: vec![said],
                    ..PackageStatus::default()
                });
            }
            self.times.seen(KIND, &self.package, at(second));
        }

        fn counts(&self) -> (u64, f64) {
            let text = self.metrics.encode().unwrap();
            let value = |what: &str| {
                let name = format!("gantry_package_ready_seconds_{what}{{kind=\"Provider\"}} ");
                let found = text.lines().find_map(|line| line.strip_prefix(&name));
                found.map_or(0.0, |value| value.parse::<f64>().unwrap())
            };
            (value("count") as u64, value("sum"))
        }
    }

    const READY: Option<(Status, Reason)> = Some((Status::True, Reason::HealthyPackageRevision));
    const CHECKING: Option<(Status, Reason)> = Some((Status::False, Reason::Checking));
    const AWAITING: Option<(Status, Reason)> = Some((Status::False, Reason::AwaitingActivation));

    #[test]
    fn from_creation_and_from_each_change() {
        let mut scene = Scene::new();
        scene.seen(101, None);
        scene.seen(103, CHECKING);
        assert_eq!(scene.counts(), (0, 0.0));
        scene.seen(107, READY);
        scene.seen(108, READY);
        assert_eq!(scene.counts(), (1, 7.0));
        // Ready still speaks of the generation before.
        scene.package.metadata.generation = Some(2);
        scene.seen(200, None);
        scene.seen(201, CHECKING);
        scene.seen(203, READY);
        assert_eq!(scene.counts(), (2, 10.0));
    }

    #[test]
    fn what_never_was_unready_is_not_counted() {
        let mut scene = Scene::new();
        scene.seen(101, None);
        scene.seen(102, READY);
        scene.package.metadata.generation = Some(2);
        scene.seen(110, None);
        scene.seen(111, READY);
        assert_eq!(scene.counts(), (1, 2.0));
    }

    #[test]
    fn a_change_on_the_way_starts_anew() {
        let mut scene = Scene::new();
        scene.seen(101, CHECKING);
        scene.package.metadata.generation = Some(2);
        scene.seen(150, None);
        scene.seen(160, READY);
        assert_eq!(scene.counts(), (1, 10.0));
    }

    #[test]
    fn people_are_not_measured() {
        let mut scene = Scene::new();
        scene.seen(101, AWAITING);
        scene.seen(5_000, READY);
        assert_eq!(scene.counts().0, 0);
    }

    #[test]
    fn an_unknown_beginning_is_not_measured() {
        let mut scene = Scene::new();
        scene.package.metadata.generation = Some(3);
        scene.seen(500, CHECKING);
        scene.seen(510, READY);
        assert_eq!(scene.counts().0, 0);
        // It was there and Ready before this process led.
        let mut old = Scene::new();
        old.seen(900, READY);
        assert_eq!(old.counts().0, 0);
        old.seen(901, CHECKING);
        old.seen(902, READY);
        assert_eq!(
            old.counts().0,
            0,
            "the same generation again is no answer to anybody"
        );
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut scene = Scene::new();
        scene.seen(101, CHECKING);
        scene.times.gone(&scene.package);
        assert!(scene.times.ways.lock().unwrap().is_empty());
    }
}
