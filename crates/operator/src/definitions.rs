//! Keeps our CRDs as they are while leading: the reference applies its own of the same names at each of its
//! starts (design §9). What somebody changed is put back, a few times an hour; after that it is said who
//! fights, and left for a while.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use api::annotation;
use kit::changes::Change;
use kit::claim::{Claim, Claimed};
use kit::events::{Event, EventType, Regarding};
use kit::meta::Meta;
use kit::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::context::Context;
use crate::crds::{self, Compared};
use crate::{kinds, wiring};

/// How often one definition is put back within [`PUT_BACK_WINDOW`]: somebody who starts anew is no fight, two
/// who write in turns are one.
pub(crate) const PUT_BACKS: usize = 4;
/// See [`PUT_BACKS`].
pub(crate) const PUT_BACK_WINDOW: Duration = Duration::from_secs(60 * 60);
/// The reference applies a dozen definitions in a row: they are looked at together.
pub(crate) const PUT_BACK_PAUSE: Duration = Duration::from_secs(2);
/// Pause after a look or a write that failed.
const RETRY: Duration = Duration::from_secs(5);

/// How many of our definitions are in which state.
#[derive(Clone, Debug, Default)]
pub(crate) struct DefinitionMetrics {
    counts: Family<StateLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

/// What became of one definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// As this version wants it.
    Current,
    /// A newer Gantry wrote it; left alone.
    Newer,
    /// Somebody else writes it again and again; left alone for a while.
    Contested,
    /// Not as this version wants it, and `--crds=check` forbids to write it.
    Different,
}

impl State {
    const ALL: [Self; 4] = [Self::Current, Self::Newer, Self::Contested, Self::Different];

    const fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Newer => "newer",
            Self::Contested => "contested",
            Self::Different => "different",
        }
    }
}

impl DefinitionMetrics {
    /// Registers `definitions`.
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let made = Self::default();
        let help = "Custom resource definitions of Gantry by state, as the leader sees them";
        metrics.register(|registry| registry.register("definitions", help, made.counts.clone()));
        made
    }

    pub(crate) fn set(&self, states: &BTreeMap<String, State>) {
        for state in State::ALL {
            let count = states.values().filter(|s| **s == state).count();
            let gauge = self.counts.get_or_create(&StateLabel { state: state.name() });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// Times at which one definition was put back lately.
#[derive(Debug, Default)]
struct Budget(VecDeque<Instant>);

impl Budget {
    /// Takes one, or says when there is one again.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        while self.0.front().is_some_and(|at| *at + PUT_BACK_WINDOW <= now) {
            self.0.pop_front();
        }
        match self.0.front() {
            Some(oldest) if self.0.len() >= PUT_BACKS => Err(*oldest + PUT_BACK_WINDOW),
            _ => {
                self.0.push_back(now);
                Ok(())
            }
        }
    }
}

/// Watches over the definitions while this process leads.
pub(crate) struct Keeper {
    pub(crate) cx: Arc<Context>,
    pub(crate) claim: Option<Claim>,
    pub(crate) metrics: DefinitionMetrics,
    /// Of all our definitions.
    pub(crate) states: BTreeMap<String, State>,
}

impl Keeper {
    /// Runs until the caches stop.
    pub(crate) async fn run(mut self) {
        let Some(live) = self.cx.caches.objects.get(kinds::CRD) else {
            return;
        };
        let mut changes = live.subscribe();
        let mut budgets: BTreeMap<String, Budget> = BTreeMap::new();
        let mut due: BTreeMap<String, Instant> = BTreeMap::new();
        loop {
            let next = due.values().min().copied();
            let look = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                change = changes.next() => match change {
                    None => return,
                    Some(change) if self.states.contains_key(&change.name) && matters(&change) => {
                        let soon = Instant::now() + PUT_BACK_PAUSE;
                        let at = due.entry(change.name).or_insert(soon);
                        *at = soon.min(*at);
                    }
                    Some(_) => {}
                },
                () = look => {
                    let now = Instant::now();
                    let ripe: Vec<String> =
                        due.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
                    let mut restored = vec![];
                    for name in ripe {
                        due.remove(&name);
                        let budget = budgets.entry(name.clone()).or_default();
                        match self.look(&name, budget).await {
                            Looked::Right => {}
                            Looked::Restored { by } => restored.push((name, by)),
                            Looked::Later(at) => {
                                due.insert(name, at);
                            }
                        }
                    }
                    self.metrics.set(&self.states);
                    self.tell(restored);
                }
            }
        }
    }

    fn tell(&self, restored: Vec<(String, Option<String>)>) {
        if restored.is_empty() {
            return;
        }
        let by: BTreeSet<&str> = restored.iter().filter_map(|(_, by)| by.as_deref()).collect();
        let by = by.into_iter().collect::<Vec<_>>().join(", ");
        let crds: Vec<&str> = restored.iter().map(|(name, _)| name.as_str()).collect();
        tracing::warn!(
            crds = crds.join(", "),
            by,
            "custom resource definitions were changed by somebody else and are put back"
        );
        // Fields of ours may have been lost meanwhile.
        self.cx.caches.poke();
        wiring::everything(&self.cx);
    }

    async fn look(&mut self, name: &str, budget: &mut Budget) -> Looked {
        let later = || Looked::Later(Instant::now() + RETRY);
        if self.cx.writer.fence().check().is_err() {
            return later();
        }
        let by = match crds::compare(&self.cx.writer, name).await {
            Ok(Compared::Same) => {
                self.states.insert(name.to_owned(), State::Current);
                return self.reclaim(name).await;
            }
            Ok(Compared::Newer) => {
                if self.states.insert(name.to_owned(), State::Newer) != Some(State::Newer) {
                    tracing::warn!(
                        crd = name,
                        "a newer Gantry wrote this definition; it is left as it is"
                    );
                }
                return Looked::Right;
            }
            Ok(Compared::Differs { by }) => by,
            Err(error) => {
                tracing::warn!(%error, "a custom resource definition could not be looked at");
                return later();
            }
        };
        if let Err(free) = budget.take(Instant::now()) {
            if self.states.insert(name.to_owned(), State::Contested) != Some(State::Contested) {
                self.complain(name, by.as_deref());
            }
            return Looked::Later(free);
        }
        if let Err(error) = crds::put(&self.cx.writer, name).await {
            tracing::warn!(%error, "a custom resource definition could not be put back");
            return later();
        }
        self.states.insert(name.to_owned(), State::Current);
        Looked::Restored { by }
    }

    fn complain(&self, name: &str, by: Option<&str>) {
        let by = by.unwrap_or("unknown");
        let minutes = PUT_BACK_WINDOW.as_secs() / 60;
        let note = format!(
            "field manager {by} changed this definition again after Gantry put it back {PUT_BACKS} times \
             within {minutes} minutes; it is left as it is for now: stop that writer, or run Gantry with \
             --crds=check"
        );
        tracing::error!(crd = name, by, "{note}");
        let Some(meta) = self.cx.caches.object(kinds::CRD, name) else {
            return;
        };
        let Some(kind) = kinds::ALL.get(kinds::CRD) else {
            return;
        };
        self.cx.events.publish(Event {
            type_: EventType::Warning,
            reason: "DefinitionContested".to_owned(),
            action: "PutBack".to_owned(),
            note,
            regarding: Regarding::new(&kind.resource, &meta),
        });
    }

    /// Whoever replaced the definition may have dropped our claim with it.
    async fn reclaim(&self, name: &str) -> Looked {
        let Some(claim) = self.claim.as_ref().filter(|claim| claim.target.name == name) else {
            return Looked::Right;
        };
        match claim.acquire(&self.cx.writer, api::FIELD_MANAGER_CRDS).await {
            Ok(Claimed::Mine) => Looked::Right,
            Ok(Claimed::Theirs { lease, why }) => {
                tracing::error!(%lease, %why, "another installation claims this cluster beside this one");
                Looked::Later(Instant::now() + PUT_BACK_WINDOW)
            }
            Ok(Claimed::NoTarget) => Looked::Later(Instant::now() + RETRY),
            Err(error) => {
                tracing::warn!(error = %anyhow::Error::new(error), "the cluster could not be claimed again");
                Looked::Later(Instant::now() + RETRY)
            }
        }
    }
}

enum Looked {
    Right,
    Restored { by: Option<String> },
    Later(Instant),
}

/// Whether a change may be one of what we wrote: the server's own work on status is not.
fn matters(change: &Change<Meta>) -> bool {
    let ours = |meta: &Arc<Meta>| {
        let annotation = |key: &str| meta.annotations.get(key).cloned();
        (
            meta.uid.clone(),
            meta.generation,
            annotation(annotation::VERSION),
            annotation(annotation::OPERATOR),
        )
    };
    change.before.as_ref().map(ours) != change.after.as_ref().map(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_put_back_a_few_times_an_hour() {
        let start = Instant::now();
        let mut budget = Budget::default();
        for n in 0..PUT_BACKS as u64 {
            assert_eq!(budget.take(start + Duration::from_secs(n)), Ok(()));
        }
        let free = start + PUT_BACK_WINDOW;
        assert_eq!(budget.take(start + Duration::from_secs(60)), Err(free));
        assert_eq!(budget.take(free), Ok(()));
        assert_eq!(budget.take(free), Err(free + Duration::from_secs(1)));
    }

    #[test]
    fn work_of_the_server_is_no_change() {
        let meta = |generation, version: &str| {
            let annotations = BTreeMap::from([(annotation::VERSION.to_owned(), version.to_owned())]);
            Some(Arc::new(Meta {
                generation,
                annotations,
                resource_version: version.to_owned(),
                ..Meta::default()
            }))
        };
        let change = |before, after| Change {
            name: "x".to_owned(),
            before,
            after,
        };
        let same = Some(Arc::new(Meta {
            resource_version: "7".to_owned(),
            ..Meta::default()
        }));
        assert!(!matters(&change(same.clone(), Some(Arc::new(Meta::default())))));
        assert!(matters(&change(meta(1, "a"), meta(2, "a"))));
        assert!(matters(&change(meta(1, "a"), meta(1, "b"))));
        assert!(matters(&change(meta(1, "a"), None)));
        assert!(matters(&change(None, same)));
    }
}
