//! How soon a status is written that speaks of work in progress. Most work ends within moments, and each write of a status
//! costs the API server and everybody who watches: what only passes is shown when it has lasted.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use api::condition::{Condition, ConditionType, Status};
use jiff::{SignedDuration, Timestamp};

/// A status that only says what is being done is written when it has been true for this long: a person doesn't miss it, and
/// installing a small package takes half as many writes.
pub const SETTLE: SignedDuration = SignedDuration::from_secs(1);

/// Since when objects, by UID, would have shown work in progress.
#[derive(Default)]
pub struct Pace {
    since: Mutex<HashMap<String, Timestamp>>,
}

impl Pace {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when the write of a status waits; `None`: it is written now. `passing`: it differs from the present one in
    /// nothing but what [`passes`].
    pub(crate) fn hold(&self, uid: &str, passing: bool, now: Timestamp) -> Option<Timestamp> {
        let mut since = self.lock();
        if !passing {
            since.remove(uid);
            return None;
        }
        let since = *since.entry(uid.to_owned()).or_insert(now);
        let until = since.saturating_add(SETTLE).unwrap_or(Timestamp::MAX);
        (now < until).then_some(until)
    }

    /// Forgets objects that don't exist any more.
    pub(crate) fn retain(&self, living: &BTreeSet<String>) {
        self.lock().retain(|uid, _| living.contains(uid));
    }
}

/// Whether these conditions may be shown later: something is being done, or there is nothing to say yet, nobody has to act, and nothing that could be relied
/// on (`Ready`, which scripts wait for) is taken back.
pub(crate) fn passes(before: &[Condition], wanted: &[Condition]) -> bool {
    let is = |all: &[Condition], type_: ConditionType, status: Status| {
        all.iter()
            .any(|c| c.type_ == type_.as_str() && c.status == status.as_str())
    };
    let is_true = |all: &[Condition], type_| is(all, type_, Status::True);
    let nothing_to_say = before.is_empty() && wanted.is_empty();
    let in_progress = is_true(wanted, ConditionType::Reconciling)
        || is(wanted, ConditionType::Preflighted, Status::Unknown);
    (nothing_to_say || in_progress)
        && !is_true(wanted, ConditionType::Stalled)
        && !is_true(before, ConditionType::Stalled)
        && !is_true(before, ConditionType::Ready)
}

#[cfg(test)]
mod tests {
    use api::condition::Reason;

    use super::*;

    fn conditions(all: &[(ConditionType, Status)]) -> Vec<Condition> {
        all.iter()
            .map(|(type_, status)| Condition::new(*type_, *status, Reason::Establishing))
            .collect()
    }

    #[test]
    fn what_lasts_is_shown_and_what_ends_is_shown_at_once() {
        let pace = Pace::default();
        let at = |ms: i64| Timestamp::from_millisecond(1_000_000 + ms).unwrap();
        assert_eq!(pace.hold("a", true, at(0)), Some(at(1_000)));
        assert_eq!(
            pace.hold("a", true, at(900)),
            Some(at(1_000)),
            "counted from the first"
        );
        assert_eq!(pace.hold("b", true, at(900)), Some(at(1_900)), "each for itself");
        assert_eq!(pace.hold("a", true, at(1_000)), None);
        assert_eq!(
            pace.hold("a", true, at(1_100)),
            None,
            "work that lasts goes on being shown"
        );
        assert_eq!(pace.hold("a", false, at(1_200)), None);
        assert_eq!(pace.hold("a", true, at(1_300)), Some(at(2_300)), "other work");
        pace.retain(&BTreeSet::new());
        assert!(pace.lock().is_empty());
    }

    #[test]
    fn only_what_passes_may_wait() {
        use ConditionType::{Preflighted, Ready, Reconciling, Stalled};
        let (yes, no) = (Status::True, Status::False);
        let cases: [(&[_], &[_], bool); 9] = [
            (&[], &[], true),
            (&[], &[(Preflighted, Status::Unknown)], true),
            (&[(Preflighted, Status::Unknown)], &[(Preflighted, yes)], false),
            (&[], &[(Reconciling, yes), (Ready, no)], true),
            (
                &[(Ready, no), (Reconciling, yes)],
                &[(Ready, no), (Reconciling, yes)],
                true,
            ),
            (&[(Ready, yes)], &[(Ready, no), (Reconciling, yes)], false),
            (&[(Stalled, yes)], &[(Ready, no), (Reconciling, yes)], false),
            (&[], &[(Ready, no), (Stalled, yes)], false),
            (&[(Reconciling, yes)], &[(Ready, yes)], false),
        ];
        for (before, wanted, expected) in cases {
            assert_eq!(
                passes(&conditions(before), &conditions(wanted)),
                expected,
                "{before:?} to {wanted:?}"
            );
        }
    }
}
