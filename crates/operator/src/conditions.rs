//! Conditions as a plan says them, and how they become the API's: the time of the last flip is kept.

use api::condition::{Condition, ConditionType, Reason, Status};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The longest message that is written into a condition, bytes: enough for ten named objects with their errors, and small
/// beside the 1.5 MiB that etcd takes for a whole object.
pub const MAX_MESSAGE: usize = 8 * 1024;

/// A condition without times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cond {
    /// Type.
    pub type_: ConditionType,
    /// Whether it holds.
    pub status: Status,
    /// Why, in one word.
    pub reason: Reason,
    /// A sentence; empty when there is nothing to say.
    pub message: String,
    /// The generation that it speaks of, where that is not the present one.
    pub generation: Option<i64>,
}

impl Cond {
    pub(crate) fn new(type_: ConditionType, status: Status, reason: Reason) -> Self {
        Self {
            type_,
            status,
            reason,
            message: String::new(),
            generation: None,
        }
    }

    /// A condition of ours read back; `None` for those of others.
    pub(crate) fn read(c: &Condition) -> Option<Self> {
        let type_ = ConditionType::parse(&c.type_)?;
        let reason = Reason::parse(&c.reason)?;
        Some(Self::new(type_, c.status(), reason).message(c.message.clone().unwrap_or_default()))
    }

    /// As [`Self::read`], speaking of what it spoke of.
    pub(crate) fn carried(c: &Condition) -> Option<Self> {
        Self::read(c).map(|read| Self {
            generation: c.observed_generation,
            ..read
        })
    }

    pub(crate) fn message(mut self, message: impl Into<String>) -> Self {
        self.message = cut(message.into(), MAX_MESSAGE);
        self
    }
}

/// Cuts at a character boundary, with an ellipsis.
pub(crate) fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let mut end = limit.saturating_sub(3);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

/// `status.observedGeneration`: what is paused is not looked at, so that the old one stays.
pub(crate) fn observed(conditions: &[Cond], before: Option<i64>, generation: Option<i64>) -> Option<i64> {
    match conditions.iter().any(|c| c.reason == Reason::ReconcilePaused) {
        true => before.or(generation),
        false => generation,
    }
}

/// The API's conditions: in the order given, `lastTransitionTime` taken over from `before` where the status is the same
/// (design §3: it moves only when a status flips).
pub(crate) fn timed(
    wanted: &[Cond],
    before: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    wanted
        .iter()
        .map(|c| {
            let old = before.iter().find(|o| o.type_ == c.type_.as_str());
            let since = match old {
                Some(old) if old.status == c.status.as_str() => old.last_transition_time.clone(),
                _ => Time(now),
            };
            Condition {
                type_: c.type_.as_str().to_owned(),
                status: c.status.as_str().to_owned(),
                reason: c.reason.as_str().to_owned(),
                message: (!c.message.is_empty()).then(|| c.message.clone()),
                last_transition_time: since,
                observed_generation: c.generation.or(generation),
            }
        })
        .collect()
}
