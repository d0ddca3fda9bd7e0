//! Puts a revision's objects in place: creates what is missing, then takes over and updates, then releases what the
//! content doesn't carry any more, then waits until the API server serves it (design §3.1.4).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::condition::ConditionType;
use kit::meta::Meta;
use kit::read;
use tokio::time::Instant;

use super::diff::{self, Item, Todo, Written};
use super::job::{Failure, Job, malformed};
use super::ownership::Claim;
use super::plan::Ending;
use super::served::{Served, served};
use super::survey::named;
use super::{body, preflight};
use crate::runtime_mode::RuntimeMode;
use crate::{kinds, runtime};

/// Looks at the live objects in one run of the task: each conflict with somebody needs one more.
pub(crate) const ROUNDS: usize = 10;
/// Pause before looking again after a conflict, so that the caches catch up.
pub(crate) const ROUND_PAUSE: Duration = Duration::from_millis(300);
/// Pause between looks at CRDs that are not served yet.
pub(crate) const ESTABLISHED_POLL: Duration = Duration::from_millis(250);
/// A CRD is looked at this long after it changed last: the API server writes its conditions one after the other.
pub(crate) const ESTABLISHED_QUIET: Duration = Duration::from_millis(400);
/// Without any CRD becoming served for this long, the task ends and says which are awaited. The API server needs some
/// 75 ms for each, one after the other.
pub(crate) const ESTABLISHED_STALL: Duration = Duration::from_secs(60);
/// A CRD is looked at again after this long even if the caches show no change.
pub(crate) const ESTABLISHED_RECHECK: Duration = Duration::from_secs(5);
/// A name that is not accepted is refused for good after this long: the other CRD of that name may be just going.
pub(crate) const NAMES_GRACE: Duration = Duration::from_secs(10);
/// Progress is shown, and written into the status, at most once in this time.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// How long the caches may take to show what was written.
pub(crate) const CACHE_LAG: Duration = Duration::from_secs(10);

/// What came of it.
pub(crate) struct Established {
    pub ending: Ending,
    /// The objects in place, as this package's revisions wrote them: all, or as many as there are by now.
    pub written: BTreeMap<(usize, String), Written>,
    /// The objects whose content this task wrote.
    pub wrote: BTreeSet<(usize, String)>,
    /// The store lost the content; it has to be loaded again.
    pub lost: bool,
}

/// Runs until all objects are in place, or something keeps one from it.
pub(crate) async fn establish(job: &Job) -> Established {
    let ended = work(job).await;
    let (ending, lost) = match ended {
        Ok(()) => (Ending::Done, false),
        Err(End::Told(ending)) => (ending, false),
        Err(End::Lost(what)) => (
            Ending::Waiting(vec![format!("the store lost the content of {what}")]),
            true,
        ),
    };
    Established {
        ending,
        written: job.records_of_items(),
        wrote: job.wrote().keys().cloned().collect(),
        lost,
    }
}

/// Why the work ended early.
enum End {
    Told(Ending),
    Lost(String),
}

async fn work(job: &Job) -> Result<(), End> {
    let refused = preflight::unrunnable(job);
    if !refused.is_empty() {
        return Err(End::Told(Ending::Refused(refused)));
    }
    let known = known_established(job);
    for _ in 0..ROUNDS {
        let survey = job.survey();
        if !survey.refused.is_empty() {
            return Err(End::Told(Ending::Refused(survey.refused)));
        }
        let total = job.items.len();
        let left = survey.create.len() + survey.own.len() + survey.replace.len();
        let shown = Shown::new(total - left.min(total));

        let (awaiting, replace): (Vec<_>, Vec<_>) = survey
            .replace
            .into_iter()
            .map(|(place, _)| place)
            .partition(|place| awaits_program(job, *place));

        // All creations first: only if they succeeded is anything taken from those who serve (design §3.1.4).
        let mut failures = create(job, survey.create, &shown).await;
        if failures.is_empty() {
            let places = survey.own.into_iter().map(|(place, _)| place).chain(replace);
            failures.extend(take(job, places.collect(), &shown).await);
        }
        if failures.is_empty() {
            failures.extend(release(job).await);
        }
        if again(failures)? {
            tokio::time::sleep(ROUND_PAUSE).await;
            continue;
        }
        // What is not there yet for another reason is said first.
        if !survey.terminating.is_empty() {
            return Err(End::Told(Ending::Waiting(survey.terminating)));
        }
        if !awaiting.is_empty() {
            let items = awaiting.iter().filter_map(|place| job.items.get(*place));
            return Err(End::Told(Ending::AwaitingProgram(items.map(named).collect())));
        }
        match served(job, &known).await {
            Served::All => {}
            Served::Gone => {
                tokio::time::sleep(ROUND_PAUSE).await;
                continue;
            }
            Served::Ended(ending) => return Err(End::Told(ending)),
        }
        caught_up(job).await;
        // Somebody may have changed an object since it was looked at.
        if job.survey().is_empty() {
            return Ok(());
        }
    }
    let again = "somebody else keeps changing objects of this package; it is tried again".to_owned();
    Err(End::Told(Ending::Waiting(vec![again])))
}

/// Whether a CRD that exists is left as it is until the revision's own program runs: its conversion webhook is asked for
/// every object as soon as the CRD says so, and the former program knows nothing of new versions. Who runs programs by
/// other means starts them when all is established, so that nothing can be awaited there.
fn awaits_program(job: &Job, place: usize) -> bool {
    let carried = || job.items.get(place).filter(|item| item.kind == kinds::CRD);
    let converts = || {
        let entry = carried().and_then(|item| job.content.as_ref()?.parsed.objects.get(item.entry));
        entry.is_some_and(|entry| entry.needs_webhook())
    };
    job.webhooks.is_some()
        && job.cx.options.runtime.of(job.key.kind) == RuntimeMode::Deployment
        && converts()
        && !runtime::runs(&job.cx, job.uid())
}

/// Progress that is shown now and then.
pub(crate) struct Shown {
    done: std::sync::atomic::AtomicUsize,
    last: std::sync::Mutex<Instant>,
}

impl Shown {
    pub(crate) fn new(done: usize) -> Self {
        Self {
            done: done.into(),
            last: std::sync::Mutex::new(Instant::now()),
        }
    }

    fn step(&self, job: &Job) {
        let done = 1 + self.done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.show(job, done);
    }

    fn look(&self, job: &Job) {
        self.show(job, self.done.load(std::sync::atomic::Ordering::Relaxed));
    }

    pub(crate) fn show(&self, job: &Job, done: usize) {
        let mut last = self
            .last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.elapsed() >= PROGRESS_INTERVAL {
            *last = Instant::now();
            job.progress(done);
        }
    }
}

/// Whether to look again after failures; what looking again doesn't mend ends the work.
fn again(failures: Vec<Failure>) -> Result<bool, End> {
    if failures.is_empty() {
        return Ok(false);
    }
    if failures.contains(&Failure::Stopped) {
        return Err(End::Told(Ending::Waiting(vec![
            "the work was stopped".to_owned(),
        ])));
    }
    let (mut refused, mut waiting) = (vec![], vec![]);
    let mut lost = None;
    for failure in failures {
        match failure {
            Failure::Refused(text) => refused.push(text),
            Failure::Waiting(text) => waiting.push(text),
            Failure::Lost(text) => lost = Some(text),
            Failure::Redo | Failure::Stopped => {}
        }
    }
    refused.sort();
    waiting.sort();
    match (refused.is_empty(), lost, waiting.is_empty()) {
        (false, ..) => Err(End::Told(Ending::Refused(refused))),
        (true, Some(what), _) => Err(End::Lost(what)),
        (true, None, false) => Err(End::Told(Ending::Waiting(waiting))),
        (true, None, true) => Ok(true),
    }
}

async fn create(job: &Job, places: Vec<usize>, shown: &Shown) -> Vec<Failure> {
    let owners = match job.parties().claim(Some(&Meta::default())) {
        Claim::Take(owners) => owners,
        _ => vec![],
    };
    job.each(places, |place| {
        let owners = &owners;
        async move {
            let (Some(item), Some(target)) = job
                .items
                .get(place)
                .and_then(|i| Some((i, job.target(i)?)))
                .unzip()
            else {
                return Ok(());
            };
            let body =
                body::create(job.body(item)?, item, owners).map_err(|error| malformed(item, &error))?;
            let made = job
                .send(&job.cx.writer, item, |writer| {
                    let (target, body) = (target.clone(), body.clone());
                    async move { writer.create(api::FIELD_MANAGER_REVISION, &target, body).await }
                })
                .await?;
            job.record(item, made);
            // A CRD counts when it is served.
            match item.kind {
                kinds::CRD => shown.look(job),
                _ => shown.step(job),
            }
            Ok(())
        }
    })
    .await
}

async fn take(job: &Job, places: Vec<usize>, shown: &Shown) -> Vec<Failure> {
    let (parties, records) = (&job.parties(), &job.records());
    job.each(places, |place| async move {
        let Some(item) = job.items.get(place) else {
            return Ok(());
        };
        let (Some(target), Some(live)) = (job.target(item), job.live(item)) else {
            return Err(Failure::Redo);
        };
        // Judged again: what is written, its owners and its resource version are of one and the same state.
        let record = records.get(&(item.kind, item.name.clone()));
        let (patch, content) = match diff::todo(item, Some(&live), record, parties) {
            Todo::Nothing => return Ok(()),
            Todo::Own(owners) => (body::own(&owners, &live), false),
            Todo::Replace(owners) => {
                let object = job.body_over(item, &target).await?;
                let patch = body::replace(&object, item, &owners, &live);
                (patch.map_err(|error| malformed(item, &error))?, true)
            }
            Todo::Create | Todo::Refused(_) => return Err(Failure::Redo),
        };
        let taken = job.patch(item, &target, &patch).await;
        match taken {
            Ok(meta) => {
                match content {
                    true => job.record(item, meta),
                    false => job.note(item, meta),
                }
                shown.step(job);
                Ok(())
            }
            Err(Failure::Redo) => {
                refresh(job, item, &target).await;
                Err(Failure::Redo)
            }
            Err(failure) => Err(failure),
        }
    })
    .await
}

/// Reads an object that somebody changed meanwhile: the cache may not show it yet.
async fn refresh(job: &Job, item: &Item, target: &kit::resource::Target) {
    match read::meta(&job.cx.client, target).await {
        Ok(Some(meta)) => job.note(item, meta),
        Ok(None) => job.unnote(item),
        Err(error) => tracing::debug!(%error, "an object could not be read again"),
    }
}

/// Gives up control of live objects that revisions of this package control and the content doesn't carry.
pub(crate) async fn release(job: &Job) -> Vec<Failure> {
    let carried: BTreeSet<(usize, &str)> = job.items.iter().map(|i| (i.kind, i.name.as_str())).collect();
    let parties = job.parties();
    let mut left: Vec<(usize, String)> = vec![];
    for (kind, live) in job.cx.caches.objects.iter().enumerate() {
        for uid in parties.siblings.iter().chain([&parties.revision.uid]) {
            left.extend(live.owned_by(uid).into_iter().map(|name| (kind, name)));
        }
    }
    left.retain(|(kind, name)| !carried.contains(&(*kind, name.as_str())));
    left.sort();
    left.dedup();
    let parties = &parties;
    job.each(left, |(kind, name)| async move {
        let Some(live) = job.cx.caches.object(kind, &name) else {
            return Ok(());
        };
        let Some(owners) = parties.released(&live) else {
            return Ok(());
        };
        let Some(carried) = kinds::ALL.get(kind) else {
            return Ok(());
        };
        let target = kit::resource::Target::cluster(carried.resource.clone(), name.clone());
        let item = Item {
            kind,
            version: carried.resource.version.to_string(),
            name,
            hash: String::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            entry: usize::MAX,
        };
        let patch = body::own(&owners, &live);
        let released = job.patch(&item, &target, &patch).await;
        released.map(drop)
    })
    .await
}

/// UIDs of CRDs that were served already when a revision of this package that served recorded them.
fn known_established(job: &Job) -> BTreeSet<String> {
    job.siblings()
        .iter()
        .chain([&job.revision])
        .filter(|r| {
            let served = r
                .metadata
                .annotations
                .iter()
                .any(|a| a.contains_key(api::annotation::SERVED));
            let conditions = r.status.iter().flat_map(|s| &s.conditions);
            served
                || conditions
                    .into_iter()
                    .any(|c| c.type_ == ConditionType::Established.as_str() && c.is_true())
        })
        .flat_map(|r| {
            r.status
                .iter()
                .flat_map(|s| &s.object_refs)
                .filter_map(|o| o.uid.clone())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Waits until the caches show what was written, so that the next look doesn't take them for changes of others.
async fn caught_up(job: &Job) {
    let lags = || job.items.iter().any(|item| job.lags(item));
    let waited = async {
        while lags() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(CACHE_LAG, waited).await.is_err() {
        tracing::warn!(revision = %job.key, "the caches don't show yet what was written");
    }
}
