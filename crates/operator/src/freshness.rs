//! Whether the caches show what we wrote. An event may come between our write and its arrival in the cache; whoever decides
//! then decides on what was, and writes the same again. So decisions about an object wait until the cache has it as we
//! left it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kit::meta::Meta;

/// A write counts as seen after this long: a watch that is later than that has its own trouble, and a decision on what it
/// shows is better than none.
pub const AWAIT_OWN_WRITE: SignedDuration = SignedDuration::from_secs(5);
/// When to look again whether the cache has it. The event of the write itself comes sooner.
pub const RECHECK: Duration = Duration::from_secs(1);

/// The versions of our last writes to packages and revisions, by the object's UID.
#[derive(Default)]
pub struct Freshness {
    written: Mutex<HashMap<String, (u64, Timestamp)>>,
}

impl Freshness {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (u64, Timestamp)>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the answer to a write. A version that is no number can't be compared, and is not waited for.
    pub(crate) fn wrote(&self, answer: &Meta, now: Timestamp) {
        if let Ok(version) = answer.resource_version.parse() {
            self.lock().insert(answer.uid.clone(), (version, now));
        }
    }

    /// Whether this state of an object, from a cache, is older than our last write to it.
    pub(crate) fn is_stale(&self, cached: &ObjectMeta, now: Timestamp) -> bool {
        let (Some(uid), Some(version)) = (&cached.uid, &cached.resource_version) else {
            return false;
        };
        let mut written = self.lock();
        let Some((wanted, at)) = written.get(uid) else {
            return false;
        };
        let stale = version.parse::<u64>().is_ok_and(|version| version < *wanted)
            && now.duration_since(*at) < AWAIT_OWN_WRITE;
        if !stale {
            written.remove(uid);
        }
        stale
    }

    /// Forgets objects that don't exist any more.
    pub(crate) fn retain(&self, living: &BTreeSet<String>) {
        self.lock().retain(|uid, _| living.contains(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_stale_until_it_shows_our_write_or_is_too_late() {
        let at = |seconds: i64| Timestamp::from_second(1_000 + seconds).unwrap();
        let cached = |version: &str| ObjectMeta {
            uid: Some("u".into()),
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        };
        let answer = |version: &str| Meta {
            uid: "u".into(),
            resource_version: version.into(),
            ..Meta::default()
        };
        let fresh = Freshness::default();
        assert!(!fresh.is_stale(&cached("9"), at(0)), "nothing was written");
        fresh.wrote(&answer("10"), at(0));
        assert!(fresh.is_stale(&cached("9"), at(1)), "as numbers, not as text");
        assert!(!fresh.is_stale(&cached("11"), at(1)), "somebody wrote after us");
        fresh.wrote(&answer("12"), at(2));
        assert!(!fresh.is_stale(&cached("11"), at(7)), "too late");
        fresh.wrote(&answer("opaque"), at(8));
        assert!(!fresh.is_stale(&cached("11"), at(8)));
        fresh.wrote(&answer("20"), at(9));
        fresh.retain(&BTreeSet::new());
        assert!(!fresh.is_stale(&cached("11"), at(9)));
    }
}
