//! The work on revisions, beside the reconcile loop (design §3.1): one task per revision at a time, which a reconcile
//! starts, watches and stops.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::pkg::{ObjectRef, Progress, RevisionSpec};
use jiff::{SignedDuration, Timestamp};
use kit::certificate::Fingerprint;
use tokio_util::sync::CancellationToken;

use super::diff::{Item, Written};
use super::plan::{Aim, ContentFacts, Ending, Task, WorkView};
use crate::content::Content;
use crate::key::Key;

/// First pause after a task that did not end well.
pub const RETRY_FIRST: SignedDuration = SignedDuration::from_secs(1);
/// Longest pause after a task that can still end well: a registry that comes back is noticed within it.
pub const RETRY_WAITING: SignedDuration = SignedDuration::from_secs(60);
/// Longest pause after a refusal. Changes of the objects concerned start the task at once; this is for what is not seen.
pub const RETRY_REFUSED: SignedDuration = SignedDuration::from_secs(300);
/// A revision that was refused after it had become active is not offered again for this long, doubled each time: checks
/// that pass didn't foresee the refusal, and each try takes the objects from the revision that serves for a moment.
pub const SETBACK_FIRST: SignedDuration = SignedDuration::from_secs(60);
/// Longest such pause.
pub const SETBACK_MAX: SignedDuration = SignedDuration::from_secs(3600);
/// Repairs of the same revision within this time count as a fight with somebody, and become slower.
pub const REPAIR_CALM: SignedDuration = SignedDuration::from_secs(120);
/// Longest pause between two repairs in a fight: who writes more often than this keeps its change for a minute.
pub const REPAIR_MAX: SignedDuration = SignedDuration::from_secs(60);
/// Repairs that come without a pause, so that somebody who edits twice sees both mended at once.
pub const REPAIRS_FREE: u32 = 3;

/// What this process did and knows for one revision.
#[derive(Default)]
pub struct Work {
    running: Option<(Aim, CancellationToken, u64)>,
    ended: Option<(Aim, Ending, Option<Timestamp>)>,
    failures: u32,
    setback: Option<Setback>,
    repairs: u32,
    /// When objects were written last, while all was in place before: who fights about which.
    repaired: BTreeMap<(usize, String), Timestamp>,
    progress: Option<Progress>,
    facts: Option<Arc<ContentFacts>>,
    /// The content, and the objects that it becomes here.
    pub(crate) loaded: Option<(Arc<Content>, Arc<Vec<Item>>)>,
    /// What was written, by place of kind and name.
    pub(crate) written: Option<Arc<BTreeMap<(usize, String), Written>>>,
    refs: Option<Vec<ObjectRef>>,
    /// Whom callers of its webhooks were told to trust, by what was established last.
    pub(crate) trusted: Option<Trusted>,
}

/// Whom callers of a revision's webhooks were told to call and to trust, and where that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// Name of the Service that is called.
    pub service: String,
    /// Name of the secret.
    pub secret: String,
    /// Its resourceVersion.
    pub version: String,
    /// The bundle.
    pub bundle: Fingerprint,
}

/// A refusal after activation.
struct Setback {
    /// What was refused: the spec but for what activation changes. A mended spec is another try.
    spec: u64,
    ending: Ending,
    until: Timestamp,
    times: u32,
}

/// How live objects are, beside what a revision says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Something is to be done.
    pub differs: bool,
    /// An object is not there, or is going.
    pub missing: bool,
}

/// The works by the revision's UID.
#[derive(Default)]
pub struct Works {
    all: Mutex<HashMap<String, Work>>,
    tickets: Mutex<u64>,
}

/// What a finished task leaves behind.
pub struct Finished {
    /// What it was done for: see [`fingerprint`].
    pub spec: u64,
    /// How it ended.
    pub ending: Ending,
    /// Facts of the content, if it was loaded.
    pub facts: Option<Arc<ContentFacts>>,
    /// The content, if it was loaded.
    pub loaded: Option<(Arc<Content>, Arc<Vec<Item>>)>,
    /// What is in place now, if all is.
    pub written: Option<BTreeMap<(usize, String), Written>>,
    /// The same as object references.
    pub refs: Option<Vec<ObjectRef>>,
    /// The objects whose content was written.
    pub wrote: BTreeSet<(usize, String)>,
    /// Whom the webhooks' callers trust, if all objects say so.
    pub trusted: Option<Trusted>,
}

impl Works {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Work>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or changes one work.
    pub(crate) fn with<T>(&self, uid: &str, f: impl FnOnce(&mut Work) -> T) -> T {
        f(self.lock().entry(uid.to_owned()).or_default())
    }

    /// Forgets revisions that don't exist any more and stops what runs for them.
    pub(crate) fn retain(&self, living: &BTreeSet<String>) {
        self.lock().retain(|uid, work| {
            let lives = living.contains(uid);
            if let (false, Some((_, cancel, _))) = (lives, &work.running) {
                cancel.cancel();
            }
            lives
        });
    }

    pub(crate) fn view(&self, uid: &str, live: Difference) -> WorkView {
        self.with(uid, |work| WorkView {
            running: work.running.as_ref().map(|(aim, ..)| aim.clone()),
            ended: work.ended.clone(),
            content: work.facts.clone(),
            differs: live.differs,
            missing: live.missing,
            progress: work.progress,
            object_refs: work.refs.clone(),
        })
    }

    /// Marks a task as running; `None` if the same one runs already. The ticket tells its report from that of a task that
    /// was stopped meanwhile.
    pub(crate) fn begin(
        &self,
        uid: &str,
        aim: &Aim,
        stopping: &CancellationToken,
    ) -> Option<(CancellationToken, u64)> {
        let ticket = {
            let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
            *tickets += 1;
            *tickets
        };
        self.with(uid, |work| {
            if let Some((running, cancel, _)) = &work.running {
                if running == aim {
                    return None;
                }
                cancel.cancel();
            }
            let cancel = stopping.child_token();
            work.running = Some((aim.clone(), cancel.clone(), ticket));
            work.progress = None;
            Some((cancel, ticket))
        })
    }

    /// Stops what runs and lets go of the content: nothing is to be done for this revision for now. When something is
    /// again, it starts from what is live.
    /// Answers whether there was anything.
    pub(crate) fn stop(&self, uid: &str) -> bool {
        self.with(uid, |work| {
            let running = work.running.take();
            if let Some((_, cancel, _)) = &running {
                cancel.cancel();
            }
            let loaded = work.loaded.take();
            work.ended = None;
            work.progress = None;
            running.is_some() || loaded.is_some()
        })
    }

    /// Something that concerns the revision's objects changed: what was refused or waits may be tried at once.
    pub(crate) fn touch(&self, uid: &str) {
        self.with(uid, |work| {
            if let Some((_, ending, at @ Some(_))) = &mut work.ended
                && *ending != Ending::Done
            {
                // What a registry asked for stands.
                let asked = match ending {
                    Ending::NoContent(trouble) => trouble.not_before,
                    _ => None,
                };
                *at = Some(asked.unwrap_or(Timestamp::UNIX_EPOCH));
            }
        });
    }

    pub(crate) fn progress(&self, uid: &str, ticket: u64, progress: Progress) {
        self.with(uid, |work| {
            if work
                .running
                .as_ref()
                .is_some_and(|(_, _, running)| *running == ticket)
            {
                work.progress = Some(progress);
            }
        });
    }

    /// Takes a task's report, unless it was stopped meanwhile.
    pub(crate) fn end(&self, uid: &str, ticket: u64, aim: Aim, finished: Finished, now: Timestamp) -> bool {
        self.with(uid, |work| {
            if work
                .running
                .as_ref()
                .is_none_or(|(_, _, running)| *running != ticket)
            {
                return false;
            }
            work.running = None;
            work.facts = finished.facts.or(work.facts.take());
            work.loaded = finished.loaded.or(work.loaded.take());
            let (ending, held) = work.remember_setback(&aim, finished.spec, finished.ending, now);
            let repeated = work.ended.as_ref().is_some_and(|(before, ..)| *before == aim);
            let repaired = if repeated { finished.wrote } else { BTreeSet::new() };
            let pause = work.pause(&ending, repaired, now);
            if let Some(written) = finished.written {
                work.written = Some(Arc::new(written));
            }
            work.refs = finished.refs.or(work.refs.take());
            work.trusted = finished.trusted.or(work.trusted.take());
            let at = pause.map(|pause| now.saturating_add(pause).unwrap_or(Timestamp::MAX));
            work.ended = Some((aim, ending, held.or(at)));
            true
        })
    }
}

impl Work {
    /// Whether objects of the content have webhooks; `None` before it was loaded.
    pub(crate) fn has_webhooks(&self) -> Option<bool> {
        self.facts.as_ref().map(|facts| facts.webhooks)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    fn pause(
        &mut self,
        ending: &Ending,
        repaired: BTreeSet<(usize, String)>,
        now: Timestamp,
    ) -> Option<SignedDuration> {
        let doubled = |first: SignedDuration, times: u32| first.saturating_mul(1 << times.min(12));
        let longest = match ending {
            Ending::Done => {
                self.failures = 0;
                return self.calm(repaired, now);
            }
            Ending::Waiting(_) | Ending::AwaitingProgram(_) => RETRY_WAITING,
            Ending::NoContent(trouble) if !trouble.terminal => RETRY_WAITING,
            Ending::NoContent(_) | Ending::Unfit(_) | Ending::Refused(_) => RETRY_REFUSED,
        };
        let pause = doubled(RETRY_FIRST, self.failures).min(longest);
        self.failures = self.failures.saturating_add(1);
        let asked = match ending {
            Ending::NoContent(trouble) => trouble.not_before.map(|at| at.duration_since(now)),
            _ => None,
        };
        Some(pause.max(asked.unwrap_or(SignedDuration::ZERO)))
    }

    /// Records a refusal after activation. While it counts, a check that passes says what it says, until the time that is
    /// answered.
    fn remember_setback(
        &mut self,
        aim: &Aim,
        spec: u64,
        ending: Ending,
        now: Timestamp,
    ) -> (Ending, Option<Timestamp>) {
        match (aim.task, &ending) {
            (Task::Establish, Ending::Done) => self.setback = None,
            (Task::Establish, Ending::Refused(_)) => {
                let before = self.setback.as_ref().filter(|s| s.spec == spec);
                let times = before.map_or(0, |s| s.times.saturating_add(1));
                let pause = SETBACK_FIRST.saturating_mul(1 << times.min(12)).min(SETBACK_MAX);
                self.setback = Some(Setback {
                    spec,
                    ending: ending.clone(),
                    until: now.saturating_add(pause).unwrap_or(Timestamp::MAX),
                    times,
                });
            }
            (Task::Preflight, Ending::Done) => {
                if let Some(setback) = self.setback.as_ref().filter(|s| s.spec == spec && now < s.until) {
                    return (setback.ending.clone(), Some(setback.until));
                }
            }
            _ => {}
        }
        (ending, None)
    }

    /// The pause before the next repair: none, unless somebody fights about the same object.
    fn calm(&mut self, repaired: BTreeSet<(usize, String)>, now: Timestamp) -> Option<SignedDuration> {
        self.repaired
            .retain(|_, at| now.duration_since(*at) < REPAIR_CALM);
        if repaired.is_empty() {
            return None;
        }
        let again = repaired.iter().any(|object| self.repaired.contains_key(object));
        self.repairs = if again { self.repairs.saturating_add(1) } else { 0 };
        self.repaired
            .extend(repaired.into_iter().map(|object| (object, now)));
        let fights = self.repairs.checked_sub(REPAIRS_FREE)?;
        Some(RETRY_FIRST.saturating_mul(1 << fights.min(12)).min(REPAIR_MAX))
    }
}

/// A number for what a revision asks for, without what the manager changes when it activates it.
pub(crate) fn fingerprint(spec: &RevisionSpec) -> u64 {
    let asked = RevisionSpec {
        desired_state: String::new(),
        revision: 0,
        ..spec.clone()
    };
    let mut hasher = std::hash::DefaultHasher::new();
    serde_json::to_string(&asked)
        .unwrap_or_default()
        .hash(&mut hasher);
    hasher.finish()
}

/// Which revisions carry an object, so that a change of it finds them.
#[derive(Default)]
pub struct Carriers {
    by_object: Mutex<HashMap<(usize, String), BTreeSet<Key>>>,
}

impl Carriers {
    /// Records what a revision carries.
    pub(crate) fn set(&self, key: &Key, items: &[Item]) {
        let mut by_object = self.by_object.lock().unwrap_or_else(PoisonError::into_inner);
        for item in items {
            by_object
                .entry((item.kind, item.name.clone()))
                .or_default()
                .insert(key.clone());
        }
    }

    /// Forgets a revision.
    pub(crate) fn remove_all(&self, key: &Key) {
        let mut by_object = self.by_object.lock().unwrap_or_else(PoisonError::into_inner);
        by_object.retain(|_, keys| {
            keys.remove(key);
            !keys.is_empty()
        });
    }

    /// The revisions that carry an object.
    pub(crate) fn of(&self, kind: usize, name: &str) -> Vec<Key> {
        let by_object = self.by_object.lock().unwrap_or_else(PoisonError::into_inner);
        by_object
            .get(&(kind, name.to_owned()))
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn aim() -> Aim {
        Aim {
            task: Task::Establish,
            generation: 1,
        }
    }

    fn finished(ending: Ending) -> Finished {
        Finished {
            spec: 7,
            ending,
            facts: None,
            loaded: None,
            written: None,
            refs: None,
            wrote: [(0, "x".to_owned())].into(),
            trusted: None,
        }
    }

    fn run(works: &Works, ending: Ending, now: Timestamp) -> Option<Timestamp> {
        let (_, ticket) = works.begin("u", &aim(), &CancellationToken::new()).unwrap();
        assert!(works.end("u", ticket, aim(), finished(ending), now));
        works.view("u", Difference::default()).ended.unwrap().2
    }

    #[test]
    fn retries_slow_down_and_a_touch_ends_the_pause() {
        let works = Works::default();
        let waiting = || Ending::Waiting(vec!["x".into()]);
        let pauses: Vec<_> = (0..8).map(|_| run(&works, waiting(), at(0))).collect();
        let seconds: Vec<_> = pauses.iter().map(|p| p.unwrap().as_second()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        works.touch("u");
        assert_eq!(
            works.view("u", Difference::default()).ended.unwrap().2,
            Some(Timestamp::UNIX_EPOCH)
        );
        assert_eq!(run(&works, Ending::Done, at(0)), None);
        assert_eq!(run(&works, waiting(), at(0)), Some(at(1)), "success starts over");
    }

    #[test]
    fn a_fight_becomes_slower_but_never_stops() {
        let works = Works::default();
        let pauses: Vec<_> = (0..16).map(|n| run(&works, Ending::Done, at(n))).collect();
        assert!(pauses[..4].iter().all(Option::is_none), "{pauses:?}");
        assert_eq!(pauses[5], Some(at(5 + 2)));
        assert_eq!(pauses[15], Some(at(15 + 60)));
        assert_eq!(run(&works, Ending::Done, at(1000)), None, "calm again");
        let works = Works::default();
        for n in 0..16 {
            let (_, ticket) = works.begin("u", &aim(), &CancellationToken::new()).unwrap();
            let wrote = [(0, format!("crd-{n}"))].into();
            let finished = Finished {
                wrote,
                ..finished(Ending::Done)
            };
            works.end("u", ticket, aim(), finished, at(n));
            assert_eq!(
                works.view("u", Difference::default()).ended.unwrap().2,
                None,
                "many objects are no fight about one"
            );
        }
    }

    #[test]
    fn what_was_refused_after_activation_is_not_offered_again_at_once() {
        let works = Works::default();
        let check = Aim {
            task: Task::Preflight,
            generation: 2,
        };
        let checked = |now| {
            let (_, ticket) = works.begin("u", &check, &CancellationToken::new()).unwrap();
            works.end("u", ticket, check.clone(), finished(Ending::Done), now);
            works.view("u", Difference::default()).ended.unwrap()
        };
        let refused = || Ending::Refused(vec!["x".into()]);
        run(&works, refused(), at(0));
        works.stop("u");
        let again = at(SETBACK_FIRST.as_secs());
        assert_eq!(checked(at(1)), (check.clone(), refused(), Some(again)));
        assert_eq!(checked(again).1, Ending::Done);
        run(&works, refused(), again);
        let later = at(SETBACK_FIRST.as_secs() * 3);
        assert_eq!(checked(at(100)).2, Some(later), "longer each time");
        let mended = Finished {
            spec: 8,
            ..finished(Ending::Done)
        };
        let (_, ticket) = works.begin("u", &check, &CancellationToken::new()).unwrap();
        works.end("u", ticket, check.clone(), mended, at(101));
        assert_eq!(
            works.view("u", Difference::default()).ended.unwrap().1,
            Ending::Done,
            "another spec is another try"
        );
        run(&works, Ending::Done, at(150));
        assert_eq!(checked(at(151)).1, Ending::Done);
    }

    #[test]
    fn a_stopped_task_reports_to_nobody() {
        let works = Works::default();
        let (cancel, ticket) = works.begin("u", &aim(), &CancellationToken::new()).unwrap();
        assert!(
            works.begin("u", &aim(), &CancellationToken::new()).is_none(),
            "it runs already"
        );
        works.stop("u");
        assert!(cancel.is_cancelled());
        assert!(!works.end("u", ticket, aim(), finished(Ending::Done), at(0)));
        assert!(works.view("u", Difference::default()).ended.is_none());
    }
}
