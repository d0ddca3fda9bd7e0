//! What was asked of the registry (or the store) about one package, and what the answer was.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use api::condition::Reason;
pub use api::pkg::PullPolicy;
use jiff::{SignedDuration, Timestamp};
use oci::Digest;

/// A polled tag is asked for again after this long when the registry answered (behaviour 1.6; a flag changes it).
pub const POLL_INTERVAL: SignedDuration = SignedDuration::from_secs(60);
/// First pause after a failed question, doubled each time.
pub const RETRY_FIRST: SignedDuration = SignedDuration::from_secs(2);
/// Longest pause between failed questions: a registry that comes back is noticed within it.
pub const RETRY_MAX: SignedDuration = SignedDuration::from_secs(60);

/// The question: another value of any field is another question, whose old answers don't count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// `spec.package`.
    pub package: String,
    /// The reference after rewriting, which is what is asked for.
    pub effective: String,
    /// Whom to ask.
    pub policy: PullPolicy,
    /// Value of the annotation `gantry.dev/check-requested-at`.
    pub requested: Option<String>,
    /// Names and resource versions of the secrets used, so that a mended secret is tried at once.
    pub credentials: String,
}

/// Why something could not be had, in words for the person who looks at the package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Condition reason, event reason and metric label.
    pub reason: Reason,
    /// What is wrong, with host and reference, and what to do.
    pub message: String,
    /// Retrying can't help until somebody changes something.
    pub terminal: bool,
    /// The registry asked not to be asked before this time.
    pub not_before: Option<Timestamp>,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A question and its last answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was asked.
    pub question: Question,
    /// The answer.
    pub outcome: Result<Digest, Trouble>,
    /// When it may be asked again.
    pub next: Timestamp,
    /// How many answers in a row were troubles.
    pub failures: u32,
    /// When the last answer came that was no trouble, for this value of `spec.package`.
    pub succeeded: Option<Timestamp>,
}

impl Check {
    /// The record of an answer that came at `now`. `jitter` in 0..=1 spreads the next question over a tenth of the
    /// interval, so that a thousand packages don't ask in one second.
    #[must_use]
    pub fn answered(
        question: Question,
        outcome: Result<Digest, Trouble>,
        before: Option<&Self>,
        now: Timestamp,
        interval: SignedDuration,
        jitter: f64,
    ) -> Self {
        let failures = match &outcome {
            Ok(_) => 0,
            Err(_) => before
                .filter(|b| b.question == question)
                .map_or(0, |b| b.failures)
                .saturating_add(1),
        };
        let pause = match &outcome {
            Ok(_) => interval,
            Err(_) => RETRY_FIRST
                .saturating_mul(1 << failures.saturating_sub(1).min(10))
                .min(RETRY_MAX),
        };
        let spread = SignedDuration::from_secs_f64(pause.as_secs_f64() * 0.1 * jitter.clamp(0.0, 1.0));
        let succeeded = match &outcome {
            Ok(_) => Some(now),
            Err(_) => before
                .filter(|b| b.question.package == question.package)
                .and_then(|b| b.succeeded),
        };
        let mut next = now
            .saturating_add(pause.saturating_add(spread))
            .unwrap_or(Timestamp::MAX);
        if let Err(Trouble {
            not_before: Some(at), ..
        }) = &outcome
        {
            next = next.max(*at);
        }
        Self {
            question,
            outcome,
            next,
            failures,
            succeeded,
        }
    }
}

/// The last answers by the package's UID, and what is being asked.
#[derive(Default)]
pub struct Checks {
    all: Mutex<HashMap<String, State>>,
}

#[derive(Default)]
struct State {
    asking: Option<Question>,
    last: Option<Check>,
}

impl Checks {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, State>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last answer.
    pub(crate) fn last(&self, uid: &str) -> Option<Check> {
        self.lock().get(uid)?.last.clone()
    }

    /// Marks a question as asked; `false` if it is being asked already.
    pub(crate) fn begin(&self, uid: &str, question: &Question) -> bool {
        let mut all = self.lock();
        let state = all.entry(uid.to_owned()).or_default();
        let new = state.asking.as_ref() != Some(question);
        state.asking = Some(question.clone());
        new
    }

    /// Takes an answer. One to a question that is not asked any more is no news.
    pub(crate) fn end(&self, uid: &str, check: Check) {
        let mut all = self.lock();
        let state = all.entry(uid.to_owned()).or_default();
        if state.asking.as_ref() == Some(&check.question) {
            state.asking = None;
            state.last = Some(check);
        }
    }

    /// Forgets packages that don't exist any more.
    pub(crate) fn retain(&self, living: &BTreeSet<String>) {
        self.lock().retain(|uid, _| living.contains(uid));
    }
}
