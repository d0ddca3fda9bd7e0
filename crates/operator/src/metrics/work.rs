//! What was done to the objects of packages, and how far leading has come.

use std::collections::{BTreeMap, BTreeSet};

use kit::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::kinds;
use crate::revision::diff::Item;

/// Counts work on objects. Clones share the counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkFigures {
    objects: Family<ObjectLabels, Counter>,
    repairs: Family<KindLabel, Counter>,
    running: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectLabels {
    kind: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

/// Objects of a package by place of their kind and name.
type Objects = BTreeSet<(usize, String)>;

impl WorkFigures {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let made = Self::default();
        metrics.register(|registry| {
            let help = "Objects of packages that were put in place: written, or skipped since they were right already";
            registry.register("objects", help, made.objects.clone());
            let help = "Objects that were written although they had been in place: somebody changed them";
            registry.register("repairs", help, made.repairs.clone());
            let help = "1 once the leader has prepared and its controllers run";
            registry.register("controllers_running", help, made.running.clone());
        });
        made
    }

    /// A task has put a revision's objects in place, or as many as it could.
    pub(crate) fn established(&self, items: &[Item], wrote: &Objects, done: bool, repair: bool) {
        for (kind, count) in by_kind(wrote.iter().map(|(kind, _)| *kind)) {
            self.count(&kind, "written", count);
            if repair {
                self.repairs.get_or_create(&KindLabel { kind }).inc_by(count);
            }
        }
        if done {
            let skipped = items
                .iter()
                .filter(|item| !wrote.contains(&(item.kind, item.name.clone())));
            for (kind, count) in by_kind(skipped.map(|item| item.kind)) {
                self.count(&kind, "skipped", count);
            }
        }
    }

    fn count(&self, kind: &str, outcome: &'static str, count: u64) {
        let kind = kind.to_owned();
        let labels = ObjectLabels { kind, outcome };
        self.objects.get_or_create(&labels).inc_by(count);
    }

    pub(crate) fn controllers_run(&self) {
        self.running.set(1);
    }
}

fn by_kind(places: impl Iterator<Item = usize>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for kind in places.filter_map(|place| kinds::ALL.get(place)) {
        *counts.entry(kind.resource.kind.to_string()).or_default() += 1;
    }
    counts
}
