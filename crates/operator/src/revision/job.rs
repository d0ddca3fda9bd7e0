//! What every task on a revision needs: who it works for, and how it writes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::pkg::{Package, Progress, Revision};
use futures::StreamExt;
use kit::meta::Meta;
use kit::read;
use kit::resource::Target;
use kit::write::{Payload, WriteError, Writer};
use tokio_util::sync::CancellationToken;

use super::body::Object;
use super::diff::{Item, Written};
use super::items::WebhookService;
use super::observe;
use super::ownership::Parties;
use super::survey::{self, Survey};
use crate::content::Content;
use crate::context::Context;
use crate::key::Key;
use crate::kinds;

/// Requests of one package at a time, so that a large one leaves room for others.
pub(crate) const REQUESTS_PER_PACKAGE: usize = 4;
/// Tries of one write that the API server had no time for, before the task is given up and started again later.
pub(crate) const WRITE_TRIES: u32 = 5;
/// After so many such answers in a row the task is given up and started again later.
pub(crate) const REFUSED_IN_A_ROW: u32 = 20;
/// First pause between such tries, doubled each time.
pub(crate) const WRITE_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause that the API server may ask for before the task is given up and started again later.
pub(crate) const WRITE_PAUSE_MAX: Duration = Duration::from_secs(10);

/// One task at work.
pub(crate) struct Job {
    pub cx: Arc<Context>,
    pub key: Key,
    pub revision: Arc<Revision>,
    pub package: Arc<Package>,
    pub ticket: u64,
    pub cancel: CancellationToken,
    /// The content; nothing while objects are only released.
    pub content: Option<Arc<Content>>,
    pub items: Arc<Vec<Item>>,
    pub webhooks: Option<WebhookService>,
    /// Objects as the API server answered last, which the caches may not show yet.
    pub fresh: Mutex<BTreeMap<(usize, String), Arc<Meta>>>,
    /// What this task's own writes of content made of objects.
    pub wrote: Mutex<BTreeMap<(usize, String), Written>>,
    /// Writes in a row for which the API server had no time.
    pub refused_in_a_row: AtomicU32,
}

/// Why one write didn't happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Somebody was faster: look again.
    Redo,
    /// Waiting doesn't help.
    Refused(String),
    /// It may work later.
    Waiting(String),
    /// The store lost the object's content.
    Lost(String),
    /// This process may not write any more, or the task was stopped.
    Stopped,
}

impl Job {
    pub(crate) fn uid(&self) -> &str {
        self.revision.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn siblings(&self) -> Vec<Arc<Revision>> {
        observe::siblings(&self.cx, self.key.kind, &self.revision, &self.package)
    }

    /// Who has a say, as the caches know it now.
    pub(crate) fn parties(&self) -> Parties {
        observe::parties(
            &self.cx,
            self.key.kind,
            &self.revision,
            &self.package,
            &self.siblings(),
        )
    }

    /// The object as it is: what this task wrote, or what the cache shows, whichever is newer.
    pub(crate) fn live(&self, item: &Item) -> Option<Arc<Meta>> {
        let cached = self.cx.caches.object(item.kind, &item.name);
        let fresh = self.fresh().get(&(item.kind, item.name.clone())).cloned();
        match (cached, fresh) {
            (Some(cached), Some(fresh))
                if is_newer(&cached.resource_version, &fresh.resource_version)
                    || cached.resource_version == fresh.resource_version =>
            {
                // The cache has caught up; from now on it is right, also when it shows nothing.
                self.unnote(item);
                Some(cached)
            }
            (Some(_), Some(fresh)) => Some(fresh),
            (cached, fresh) => cached.or(fresh),
        }
    }

    fn fresh(&self) -> std::sync::MutexGuard<'_, BTreeMap<(usize, String), Arc<Meta>>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The resource version that this task's own write gave the object.
    pub(crate) fn fresh_version(&self, item: &Item) -> Option<String> {
        self.fresh()
            .get(&(item.kind, item.name.clone()))
            .map(|meta| meta.resource_version.clone())
    }

    /// The cache doesn't show yet what this task wrote.
    pub(crate) fn lags(&self, item: &Item) -> bool {
        let Some(fresh) = self.fresh().get(&(item.kind, item.name.clone())).cloned() else {
            return false;
        };
        match self.cx.caches.object(item.kind, &item.name) {
            Some(cached) => {
                cached.resource_version != fresh.resource_version
                    && !is_newer(&cached.resource_version, &fresh.resource_version)
            }
            None => true,
        }
    }

    /// Remembers an object as the API server answered it.
    pub(crate) fn note(&self, item: &Item, meta: Meta) {
        self.fresh()
            .insert((item.kind, item.name.clone()), Arc::new(meta));
    }

    /// Remembers the answer to our own write of an object's content: from now on this generation is ours. What others
    /// write has another, also while this task runs.
    pub(crate) fn record(&self, item: &Item, meta: Meta) {
        let written = Written {
            uid: meta.uid.clone(),
            generation: meta.generation,
        };
        self.wrote().insert((item.kind, item.name.clone()), written);
        self.note(item, meta);
    }

    pub(crate) fn wrote(&self) -> std::sync::MutexGuard<'_, BTreeMap<(usize, String), Written>> {
        self.wrote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records of this revision's objects only.
    pub(crate) fn records_of_items(&self) -> BTreeMap<(usize, String), Written> {
        let mut records = self.records();
        let items = self.items.iter().map(|item| (item.kind, item.name.clone()));
        items
            .filter_map(|key| records.remove(&key).map(|record| (key, record)))
            .collect()
    }

    /// Forgets it: somebody else wrote since.
    pub(crate) fn unnote(&self, item: &Item) {
        self.fresh().remove(&(item.kind, item.name.clone()));
    }

    /// What was recorded of former writes by this package's revisions, and by this task.
    pub(crate) fn records(&self) -> BTreeMap<(usize, String), Written> {
        let siblings = self.siblings();
        let latest = self.cx.works.with(self.uid(), |work| work.written.clone());
        let mut records = survey::records(
            siblings.iter().chain([&self.revision]).map(AsRef::as_ref),
            latest.as_deref(),
        );
        records.extend(self.wrote().clone());
        records
    }

    pub(crate) fn survey(&self) -> Survey {
        survey::survey(
            &self.items,
            |item| self.live(item),
            &self.records(),
            &self.parties(),
        )
    }

    pub(crate) fn target(&self, item: &Item) -> Option<Target> {
        Some(Target::cluster(
            kinds::in_version(item.kind, &item.version)?,
            item.name.clone(),
        ))
    }

    /// The content of one object, with webhooks wired.
    pub(super) fn body(&self, item: &Item) -> Result<Object, Failure> {
        let lost = |error: String| Failure::Lost(format!("{}: {error}", survey::named(item)));
        let content = self
            .content
            .as_ref()
            .ok_or_else(|| lost("it was not loaded".to_owned()))?;
        let entry = content.parsed.objects.get(item.entry);
        let entry = entry.ok_or_else(|| lost("it is not in the index".to_owned()))?;
        let mut bodies = content.open().map_err(|error| lost(error.to_string()))?;
        let fields = bodies.read(entry).map_err(|error| lost(error.to_string()))?;
        let object = Object::new(fields).map_err(|error| malformed(item, &error))?;
        match &self.webhooks {
            Some(webhooks) if entry.needs_webhook() => {
                object.wired(webhooks).map_err(|error| malformed(item, &error))
            }
            _ => Ok(object),
        }
    }

    /// The same for an object that exists: with what of it is not the package's to say.
    pub(super) async fn body_over(&self, item: &Item, target: &Target) -> Result<Object, Failure> {
        let object = self.body(item)?;
        if item.kind != kinds::DEFINITION {
            return Ok(object);
        }
        let live = read::value(&self.cx.client, target).await;
        let live = live.map_err(|error| Failure::Waiting(format!("{}: {error}", survey::named(item))))?;
        match live
            .as_ref()
            .and_then(|live| live.pointer("/spec/state")?.as_str())
        {
            Some(state) => object.in_state(state).map_err(|error| malformed(item, &error)),
            None => Ok(object),
        }
    }

    /// Changes an object by a JSON patch: see [`Job::send`].
    pub(crate) async fn patch(&self, item: &Item, target: &Target, patch: &Payload) -> Result<Meta, Failure> {
        self.send(&self.cx.writer, item, |writer| {
            let (target, patch) = (target.clone(), patch.clone());
            async move {
                writer
                    .json_patch(api::FIELD_MANAGER_REVISION, &target, patch)
                    .await
            }
        })
        .await
    }

    /// Sends a write, again if the API server had no time, within the bounds of all packages.
    pub(crate) async fn send<F, R>(&self, writer: &Writer, item: &Item, write: F) -> Result<Meta, Failure>
    where
        F: Fn(Writer) -> R,
        R: Future<Output = Result<Meta, WriteError>>,
    {
        let mut pause = WRITE_PAUSE;
        for attempt in 1.. {
            if self.cancel.is_cancelled() {
                return Err(Failure::Stopped);
            }
            let error = {
                let _permit = self.cx.requests.acquire().await;
                match write(writer.clone()).await {
                    Ok(meta) => {
                        self.refused_in_a_row.store(0, Ordering::Relaxed);
                        return Ok(meta);
                    }
                    Err(error) => error,
                }
            };
            let failure = failure(item, &error);
            // An API server in trouble is left alone soon, and the trouble is told.
            let in_a_row = match failure {
                Failure::Waiting(_) => self.refused_in_a_row.fetch_add(1, Ordering::Relaxed),
                _ => 0,
            };
            if !matches!(failure, Failure::Waiting(_))
                || attempt >= WRITE_TRIES
                || in_a_row >= REFUSED_IN_A_ROW
            {
                return Err(failure);
            }
            let wait = error.retry_after().unwrap_or(pause);
            if wait > WRITE_PAUSE_MAX {
                return Err(failure);
            }
            pause *= 2;
            if self
                .cancel
                .run_until_cancelled(tokio::time::sleep(wait))
                .await
                .is_none()
            {
                return Err(Failure::Stopped);
            }
        }
        Err(Failure::Stopped)
    }

    /// Does something for several objects at a time and collects what failed.
    pub(crate) async fn each<T, R>(&self, places: Vec<T>, act: impl Fn(T) -> R) -> Vec<Failure>
    where
        R: Future<Output = Result<(), Failure>>,
    {
        futures::stream::iter(places)
            .map(act)
            .buffer_unordered(REQUESTS_PER_PACKAGE)
            .filter_map(|result| std::future::ready(result.err()))
            .collect()
            .await
    }

    pub(crate) fn progress(&self, established: usize) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let progress = Progress {
            established: count(established),
            total: count(self.items.len()),
        };
        self.cx.works.progress(self.uid(), self.ticket, progress);
        self.cx.revisions.add(self.key.clone());
    }
}

/// An object that can't be written as JSON again. It was read as such, so this does not happen.
pub(super) fn malformed(item: &Item, error: &serde_json::Error) -> Failure {
    Failure::Refused(format!("{}: {error}", survey::named(item)))
}

/// Resource versions are numbers to this API server's clients for comparing, as the watch protocol of Kubernetes 1.35
/// states; where they are not, the cache counts as the newer.
pub(super) fn is_newer(cached: &str, fresh: &str) -> bool {
    match (cached.parse::<u128>(), fresh.parse::<u128>()) {
        (Ok(cached), Ok(fresh)) => cached > fresh,
        _ => true,
    }
}

fn failure(item: &Item, error: &WriteError) -> Failure {
    let say = |text: String| format!("{}: {text}", survey::named(item));
    match error {
        WriteError::Fenced(_) => Failure::Stopped,
        WriteError::Conflict { .. } | WriteError::AlreadyExists { .. } | WriteError::NotFound { .. } => {
            Failure::Redo
        }
        WriteError::NotServed { resource, version } => Failure::Refused(say(format!(
            "this cluster does not serve {resource} in version {version}; install what defines it"
        ))),
        other if other.is_transient() => Failure::Waiting(say(other.to_string())),
        WriteError::Invalid { refusal, .. }
        | WriteError::Forbidden { refusal, .. }
        | WriteError::TooLarge { refusal, .. }
        | WriteError::Other { refusal, .. } => Failure::Refused(say(refusal.to_string())),
        other => Failure::Refused(say(other.to_string())),
    }
}
