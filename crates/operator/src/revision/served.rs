//! Waits until the API server serves the CRDs of a revision.
//!
//! Their conditions are not in the metadata that is watched, and a CRD is large: most are read once. The API server
//! changes a fresh CRD twice, when it accepts its names and when it establishes it, and takes the CRDs one after the
//! other. So the second change is a sign to read it. One may stand for both, and changes that came before the wait began
//! were not counted: CRDs that may be established are read too, a few at a time, and more while that finds some.

use std::collections::BTreeSet;
use std::time::Duration;

use kit::{definition, read};
use tokio::time::Instant;

use super::diff::Item;
use super::establish::{
    ESTABLISHED_POLL, ESTABLISHED_QUIET, ESTABLISHED_RECHECK, ESTABLISHED_STALL, NAMES_GRACE, Shown,
};
use super::job::{Job, REQUESTS_PER_PACKAGE};
use super::plan::Ending;
use super::survey::named;
use crate::kinds;

/// CRDs that are read in one look on suspicion, without a sign that they became established: few, since most of these
/// reads are in vain and take time from the API server's work on them.
pub(crate) const SUSPECTS_MIN: usize = 2;
/// The same while such reads find established ones: after a restart, all may be.
pub(crate) const SUSPECTS_MAX: usize = 64;

/// A CRD that the caches don't show is read this long after it was written: it may have been deleted before they did.
pub(crate) const ABSENT_RECHECK: Duration = Duration::from_secs(1);

/// How the wait for the API server ended.
pub(crate) enum Served {
    /// It serves all CRDs.
    All,
    /// Somebody deleted one meanwhile: it has to be created again.
    Gone,
    /// It can't be waited for any longer.
    Ended(Ending),
}

struct Awaited<'a> {
    item: &'a Item,
    sign: Sign,
    /// The caches have shown it.
    cached: bool,
    /// Since when its names are not accepted, and why.
    unaccepted: Option<(String, Instant)>,
}

/// What is known of one CRD without reading it.
#[derive(Clone, Debug)]
struct Sign {
    /// The version that was seen last.
    version: Option<String>,
    /// When it changed.
    changed: Instant,
    /// It changed while we waited, not for the first time since this task wrote it, and was not read since.
    news: bool,
    /// It is as this task wrote it: the API server has not written its conditions.
    untouched: bool,
    /// The caches showed it and don't any more.
    vanished: bool,
    /// The caches don't show it.
    absent: bool,
    /// When it was read.
    looked: Option<Instant>,
}

impl Sign {
    fn new(start: Instant) -> Self {
        Self {
            version: None,
            changed: start,
            news: false,
            untouched: true,
            vanished: false,
            absent: false,
            looked: None,
        }
    }

    fn see(&mut self, version: String, untouched: bool, now: Instant) {
        if self.version.as_ref().is_some_and(|before| *before != version) {
            self.news |= !self.untouched;
            self.changed = now;
        }
        self.untouched = untouched;
        self.version = Some(version);
    }

    fn quiet(&self, now: Instant) -> bool {
        now.duration_since(self.changed) >= ESTABLISHED_QUIET
    }

    fn is_certain(&self, now: Instant) -> bool {
        self.vanished || self.news && self.quiet(now)
    }

    /// `stalls`: no CRD was found to be established for a while, so that a change may have been missed.
    fn is_suspect(&self, now: Instant, stalls: bool) -> bool {
        let since = self.looked.map_or(self.changed, |at| at.max(self.changed));
        let pause = now.duration_since(since);
        match stalls {
            _ if self.absent => pause >= ABSENT_RECHECK,
            true => pause >= ESTABLISHED_RECHECK,
            false => self.looked.is_none() && !self.untouched && self.quiet(now),
        }
    }

    /// Those that were never read first, in the order in which the API server wrote them.
    fn rank(&self) -> (Option<Instant>, u128) {
        let version = self.version.as_deref().and_then(|v| v.parse().ok());
        (self.looked, version.unwrap_or_default())
    }
}

/// How many are read on suspicion: few, more while it pays.
struct Budget(usize);

impl Budget {
    fn learn(&mut self, read: usize, found: usize) {
        if read > 0 {
            let next = if found * 2 >= read { self.0 * 2 } else { self.0 / 2 };
            self.0 = next.clamp(SUSPECTS_MIN, SUSPECTS_MAX);
        }
    }
}

/// Places of the CRDs to read now: those with a sign, and of the others a few.
fn due(signs: &[&Sign], now: Instant, stalls: bool, budget: usize) -> (Vec<usize>, Vec<usize>) {
    let places = |want: &dyn Fn(&Sign) -> bool| -> Vec<usize> {
        let found = signs.iter().enumerate().filter(|(_, sign)| want(sign));
        found.map(|(place, _)| place).collect()
    };
    let certain = places(&|sign| sign.is_certain(now));
    let mut suspects = places(&|sign| !sign.is_certain(now) && sign.is_suspect(now, stalls));
    suspects.sort_by_cached_key(|place| signs.get(*place).map(|sign| sign.rank()));
    suspects.truncate(budget);
    (certain, suspects)
}

/// Waits until the API server serves all CRDs but those with a UID in `known`, which it served before.
pub(crate) async fn served(job: &Job, known: &BTreeSet<String>) -> Served {
    let start = Instant::now();
    let mut awaited: Vec<Awaited<'_>> = job
        .items
        .iter()
        .filter(|item| item.kind == kinds::CRD)
        .filter(|item| job.live(item).is_none_or(|live| !known.contains(&live.uid)))
        .map(|item| Awaited {
            item,
            sign: Sign::new(start),
            cached: false,
            unaccepted: None,
        })
        .collect();
    let total = job.items.len();
    let shown = Shown::new(total - awaited.len());
    let mut progressed = start;
    let mut budget = Budget(SUSPECTS_MIN);
    while !awaited.is_empty() {
        let pause = tokio::time::sleep(ESTABLISHED_POLL);
        if job.cancel.run_until_cancelled(pause).await.is_none() {
            return Served::Ended(Ending::Waiting(vec!["the work was stopped".to_owned()]));
        }
        let now = Instant::now();
        for crd in &mut awaited {
            observe(job, crd, now);
        }
        let signs: Vec<&Sign> = awaited.iter().map(|crd| &crd.sign).collect();
        let stalls = now.duration_since(progressed) >= ESTABLISHED_RECHECK;
        let (certain, suspects) = due(&signs, now, stalls, budget.0);
        let looks = look(job, &awaited, certain.iter().chain(&suspects)).await;
        let mut done = BTreeSet::new();
        for (place, conditions) in looks {
            let (Some(crd), Some(conditions)) = (awaited.get_mut(place), conditions) else {
                continue;
            };
            let Some(conditions) = conditions else {
                job.unnote(crd.item);
                return Served::Gone;
            };
            crd.sign.looked = Some(now);
            crd.sign.news = false;
            if conditions.is_true("Established") {
                done.insert(place);
            }
            crd.unaccepted = match conditions.get("NamesAccepted") {
                Some(names) if names.status == "False" => {
                    let why = names.message.clone().unwrap_or_default();
                    Some(crd.unaccepted.take().unwrap_or((why, now)))
                }
                _ => None,
            };
        }
        budget.learn(
            suspects.len(),
            suspects.iter().filter(|place| done.contains(place)).count(),
        );
        if !done.is_empty() {
            progressed = now;
            let mut place = 0;
            awaited.retain(|_| {
                place += 1;
                !done.contains(&(place - 1))
            });
        }
        shown.show(job, total - awaited.len());
        if let Some(ending) = hopeless(&awaited, now, progressed) {
            return Served::Ended(ending);
        }
    }
    Served::All
}

fn observe(job: &Job, crd: &mut Awaited<'_>, now: Instant) {
    let live = job.live(crd.item);
    let version = live.map(|live| live.resource_version.clone()).unwrap_or_default();
    let untouched = job.fresh_version(crd.item).is_some_and(|w| w == version);
    crd.sign.see(version, untouched, now);
    let cached = job.cx.caches.object(crd.item.kind, &crd.item.name).is_some();
    crd.sign.absent = !cached;
    crd.sign.vanished = crd.cached && !cached;
    crd.cached |= cached;
}

/// Reads some; `None` where no answer came, `Some(None)` where there is no such CRD.
async fn look(
    job: &Job,
    awaited: &[Awaited<'_>],
    places: impl Iterator<Item = &usize>,
) -> Vec<(usize, Option<Option<read::Conditions>>)> {
    let reads = places.map(|place| {
        let (place, crd) = (*place, awaited.get(*place));
        async move {
            let _permit = job.cx.requests.acquire().await;
            let conditions = match crd {
                Some(crd) => conditions(job, crd).await,
                None => None,
            };
            (place, conditions)
        }
    });
    let reads: Vec<_> = reads.collect();
    let looks = futures::StreamExt::buffer_unordered(futures::stream::iter(reads), REQUESTS_PER_PACKAGE);
    futures::StreamExt::collect(looks).await
}

/// Reads one; `None` where no answer came, `Some(None)` where there is no such CRD.
async fn conditions(job: &Job, crd: &Awaited<'_>) -> Option<Option<read::Conditions>> {
    let (client, target) = (&job.cx.client, job.target(crd.item)?);
    let live = match crd.sign.absent {
        // The API server's cache may show what is gone, as ours would.
        true => return read::conditions(client, &target).await.ok(),
        false => job.live(crd.item)?,
    };
    let found = definition::conditions(client, &target, &live.resource_version)
        .await
        .ok()?;
    // Another one of that name is news that our caches will bring.
    match found.as_ref().is_none_or(|found| found.meta.uid == live.uid) {
        true => Some(found),
        false => None,
    }
}

/// Why waiting longer doesn't help.
fn hopeless(awaited: &[Awaited<'_>], now: Instant, progressed: Instant) -> Option<Ending> {
    let overdue = |since: &Instant| now.duration_since(*since) >= NAMES_GRACE;
    let refused: Vec<String> = awaited
        .iter()
        .filter_map(|crd| crd.unaccepted.as_ref().map(|(why, since)| (crd, why, since)))
        .filter(|(_, _, since)| overdue(since))
        .map(|(crd, why, _)| format!("{}: its names are not accepted: {why}", named(crd.item)))
        .collect();
    // All that are refused are named together: first each is read once.
    if !refused.is_empty() && awaited.iter().all(|crd| crd.sign.looked.is_some()) {
        return Some(Ending::Refused(refused));
    }
    (now.duration_since(progressed) >= ESTABLISHED_STALL).then(|| {
        let waiting = awaited
            .iter()
            .map(|crd| format!("{} is not served yet", named(crd.item)));
        Ending::Waiting(waiting.collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    fn sign(start: Instant, version: &str, untouched: bool) -> Sign {
        let mut sign = Sign::new(start);
        sign.see(version.to_owned(), untouched, start);
        sign
    }

    fn certain(crd: &Sign, now: Instant) -> bool {
        !due(&[crd], now, false, 0).0.is_empty()
    }

    fn suspects(crds: &[Sign], now: Instant, stalls: bool, budget: usize) -> Vec<usize> {
        due(&crds.iter().collect::<Vec<_>>(), now, stalls, budget).1
    }

    #[test]
    fn the_second_change_is_read_once_it_is_quiet_and_then_not_again() {
        let start = Instant::now();
        let mut crd = sign(start, "5", true);
        crd.see("6".to_owned(), false, after(start, 1000));
        assert!(!certain(&crd, after(start, 9000)), "its names were accepted");
        crd.see("7".to_owned(), false, after(start, 10_000));
        assert!(!certain(&crd, after(start, 10_100)));
        assert!(certain(&crd, after(start, 10_500)));
        (crd.news, crd.looked) = (false, Some(after(start, 10_500)));
        assert!(!certain(&crd, after(start, 11_000)));
        crd.see("8".to_owned(), false, after(start, 12_000));
        assert!(certain(&crd, after(start, 12_500)));
        crd.news = false;
        crd.vanished = true;
        assert!(certain(&crd, after(start, 12_000)), "deleted");
    }

    #[test]
    fn without_news_a_few_are_read_oldest_first() {
        let start = Instant::now();
        let mut crds: Vec<Sign> = ["30", "9", "100"].map(|v| sign(start, v, false)).into();
        let at = after(start, 500);
        assert_eq!(suspects(&crds, at, false, 2), [1, 0]);
        for place in [0, 1] {
            crds[place].looked = Some(at);
        }
        let at = after(start, 6000);
        assert_eq!(suspects(&crds, at, false, 2), [2]);
        assert_eq!(
            suspects(&crds, at, true, 2),
            [2, 1],
            "should the caches miss something"
        );
    }

    #[test]
    fn what_the_api_server_has_not_touched_waits() {
        let start = Instant::now();
        let crd = [sign(start, "5", true)];
        assert!(suspects(&crd, after(start, 9000), false, 9).is_empty());
        assert!(suspects(&crd, after(start, 4000), true, 9).is_empty());
        assert_eq!(suspects(&crd, after(start, 5000), true, 9), [0]);
        let mut crd = crd;
        crd[0].absent = true;
        assert!(suspects(&crd, after(start, 900), false, 9).is_empty());
        assert_eq!(
            suspects(&crd, after(start, 1000), false, 9),
            [0],
            "it may have been deleted before the caches saw it"
        );
    }

    #[test]
    fn more_are_read_while_it_pays() {
        let mut budget = Budget(SUSPECTS_MIN);
        for _ in 0..9 {
            budget.learn(budget.0, budget.0);
        }
        assert_eq!(budget.0, SUSPECTS_MAX);
        budget.learn(0, 0);
        assert_eq!(budget.0, SUSPECTS_MAX, "nothing was learned");
        for _ in 0..9 {
            budget.learn(budget.0, 1);
        }
        assert!(budget.0 <= SUSPECTS_MIN * 2, "{}", budget.0);
    }
}
