//! What this process remembers of runtimes. A restart may lose it: it costs a read or a write that changes nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use kit::meta::Meta;

use super::facts::{Certificates, Failure, PodsSeen};

/// First pause after a step that failed, doubled each time.
const RETRY_FIRST: SignedDuration = SignedDuration::from_secs(2);
/// Longest pause: what was refused is tried again within it, for quota and policies change without telling.
const RETRY_LONGEST: SignedDuration = SignedDuration::from_secs(300);

/// What is remembered of the runtime of one revision.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// The certificates.
    pub certificates: Option<Certificates>,
    /// The last look at the pods.
    pub pods: Option<PodsSeen>,
    /// The last step that failed.
    pub failure: Option<Failure>,
    /// Failures in a row of that step.
    failures: u32,
    /// What our applies were answered with: target, hash, UID and resourceVersion. As long as the object is the same, it is
    /// as wanted, however the API server writes it.
    answered: HashMap<String, (String, String, String)>,
}

/// All of it, by the revision's UID.
#[derive(Default)]
pub struct Runtimes {
    all: Mutex<HashMap<String, Memory>>,
}

impl Runtimes {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Memory>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered.
    pub(crate) fn of(&self, uid: &str) -> Memory {
        self.lock().get(uid).cloned().unwrap_or_default()
    }

    /// Takes what was found out; answers whether it is news.
    pub(crate) fn certified(&self, uid: &str, now: Certificates) -> bool {
        let mut all = self.lock();
        let memory = all.entry(uid.to_owned()).or_default();
        let news = memory.certificates.as_ref() != Some(&now);
        memory.certificates = Some(now);
        news
    }

    /// Takes a look at the pods.
    pub(crate) fn looked(&self, uid: &str, of: (String, String), trouble: Option<String>, at: Timestamp) {
        let mut all = self.lock();
        let memory = all.entry(uid.to_owned()).or_default();
        let same = memory.pods.as_ref().filter(|pods| pods.of == of);
        let looks = same.map_or(0, |pods| pods.looks.saturating_add(1));
        memory.pods = Some(PodsSeen {
            of,
            trouble,
            at,
            looks,
        });
    }

    /// Takes a failure.
    pub(crate) fn failed(&self, uid: &str, step: String, message: String, now: Timestamp) {
        let mut all = self.lock();
        let memory = all.entry(uid.to_owned()).or_default();
        let again = memory.failure.as_ref().is_some_and(|f| f.step == step);
        memory.failures = if again {
            memory.failures.saturating_add(1)
        } else {
            0
        };
        let pause = RETRY_FIRST
            .saturating_mul(1 << memory.failures.min(10))
            .min(RETRY_LONGEST);
        let until = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
        memory.failure = Some(Failure { step, message, until });
    }

    /// Takes the success of a step that may have failed before.
    pub(crate) fn succeeded(&self, uid: &str, step: &str) {
        if let Some(memory) = self.lock().get_mut(uid)
            && memory
                .failure
                .as_ref()
                .is_some_and(|failure| failure.step == step)
        {
            memory.failure = None;
        }
    }

    /// Takes the answer to an apply.
    pub(crate) fn answered(&self, uid: &str, target: String, hash: String, answer: &Meta) {
        let mut all = self.lock();
        let memory = all.entry(uid.to_owned()).or_default();
        let state = (hash, answer.uid.clone(), answer.resource_version.clone());
        memory.answered.insert(target, state);
    }

    /// Forgets revisions that don't exist any more.
    pub(crate) fn retain(&self, living: &BTreeSet<String>) {
        self.lock().retain(|uid, _| living.contains(uid));
    }
}

impl Memory {
    /// The hash that an object had when our apply was answered, if it is still as it was then.
    pub(crate) fn hash_of(&self, target: &str, uid: &str, version: &str) -> Option<&str> {
        let (hash, of, at) = self.answered.get(target)?;
        (of == uid && at == version).then_some(hash.as_str())
    }
}
