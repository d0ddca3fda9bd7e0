//! Supervised watches: one task each, outside any controller, so that one missing kind throttles nobody else.

mod decode;

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use kube::{
    Api, Client,
    core::{ApiResource, DynamicResourceScope, Status},
    runtime::watcher::{self, Event},
};
use serde::de::DeserializeOwned;

use decode::{Guard, Slim};

use crate::{
    answer,
    backoff::Backoff,
    client::HEADER_TIMEOUT,
    live::{IndexBy, Inner, Live, Phase, Seen},
    meta::Meta,
    metrics::WatchCounts,
    resource::Resource,
    tasks::Tasks,
};

/// How often a resource that is not served is looked for; [`Live::poke`] does it at once.
pub const ABSENT_RETRY: Duration = Duration::from_secs(10);

/// How long after a first "not served" the answer is asked for again, before everything known is taken for
/// gone: an API server that starts may not know its own definitions for a moment.
pub const ABSENT_CONFIRM: Duration = Duration::from_secs(1);

/// First delay before a failed watch is tried again.
pub const WATCH_FIRST_DELAY: Duration = Duration::from_millis(800);

/// Longest delay between two attempts of a failing watch.
pub const WATCH_LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Longest such delay after the API server was away, until everything was listed again: others wait for that.
pub const WATCH_DOUBT_DELAY: Duration = Duration::from_secs(5);

/// Objects per page of the initial list, as the official clients do it.
pub const WATCH_PAGE: u32 = 500;

/// What to watch.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Only in this namespace.
    pub namespace: Option<String>,
    /// Only objects with these labels.
    pub labels: Option<String>,
    /// Only objects with these fields.
    pub fields: Option<String>,
    /// The resource may be missing: a 404 then means that nothing exists, and is no failure.
    pub optional: bool,
    /// Have the initial list streamed. The server must support it.
    pub streaming: bool,
}

impl Watch {
    /// All objects of a resource that must be there.
    pub const fn all() -> Self {
        Self {
            namespace: None,
            labels: None,
            fields: None,
            optional: false,
            streaming: false,
        }
    }

    /// All objects of a resource that may be missing.
    pub fn optional() -> Self {
        Self {
            optional: true,
            ..Self::all()
        }
    }

    /// Only in this namespace. Names are unique only within one, so a namespaced resource needs it.
    #[must_use]
    pub fn within(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Only objects with these labels (selector syntax).
    #[must_use]
    pub fn labelled(mut self, selector: impl Into<String>) -> Self {
        self.labels = Some(selector.into());
        self
    }

    /// Only the object of this name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.fields = Some(format!("metadata.name={name}"));
        self
    }

    /// Have the initial list streamed.
    #[must_use]
    pub const fn streaming(mut self) -> Self {
        self.streaming = true;
        self
    }

    fn config(&self) -> watcher::Config {
        let config = watcher::Config::default().page_size(WATCH_PAGE);
        let mut config = if self.streaming {
            config.streaming_lists()
        } else {
            config
        };
        config.label_selector.clone_from(&self.labels);
        config.field_selector.clone_from(&self.fields);
        config
    }
}

/// Starts watches.
#[derive(Clone)]
pub struct Watches {
    client: Client,
    tasks: Tasks,
    counts: WatchCounts,
}

impl Watches {
    /// Watches run among `tasks` and stop with them.
    pub fn new(client: Client, tasks: Tasks, counts: WatchCounts) -> Self {
        Self {
            client,
            tasks,
            counts,
        }
    }

    /// Watches metadata only, indexed by the uids of owners.
    pub fn metadata(&self, resource: &Resource, watch: Watch) -> Live<Meta> {
        self.start::<Slim, Meta>(ApiResource::from(resource), resource.clone(), watch, by_owner())
    }

    /// Watches whole objects, found again by the keys that `index_by` gives.
    ///
    /// `managedFields` and the last-applied annotation are dropped. An object that cannot be decoded is
    /// logged and left out; see [`Live::broken`].
    pub fn objects<K>(
        &self,
        dynamic_type: K::DynamicType,
        watch: Watch,
        index_by: impl Fn(&K) -> Vec<String> + Send + Sync + 'static,
    ) -> Live<K>
    where
        K: kube::Resource + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
        K::DynamicType: Clone,
    {
        let resource = Resource::of::<K>(&dynamic_type);
        self.start::<Guard<K>, K>(dynamic_type, resource, watch, Arc::new(index_by))
    }

    fn start<W, T>(
        &self,
        dynamic_type: W::DynamicType,
        resource: Resource,
        watch: Watch,
        index_by: IndexBy<T>,
    ) -> Live<T>
    where
        W: kube::Resource<Scope = DynamicResourceScope> + DeserializeOwned + Clone + Debug + Send + 'static,
        W: Into<Seen<T>>,
        T: Send + Sync + 'static,
    {
        let stop = self.tasks.stopping().child_token();
        let live = Live::new(resource.to_string(), stop, index_by);
        let api: Api<W> = match &watch.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &dynamic_type),
            None => Api::all_with(self.client.clone(), &dynamic_type),
        };
        let supervisor = Supervisor {
            resource,
            config: watch.config(),
            optional: watch.optional,
            counts: self.counts.clone(),
            inner: live.inner.clone(),
        };
        self.tasks
            .spawn_job(format!("watch {}", live.what()), supervisor.run(api));
        live
    }
}

/// Index metadata by the uids of owners.
pub(crate) fn by_owner() -> IndexBy<Meta> {
    Arc::new(|meta: &Meta| {
        meta.owner_references
            .iter()
            .map(|owner| owner.uid.clone())
            .collect()
    })
}

/// Why following a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The resource is not served.
    Absent,
    /// It is not served any more.
    AbsentAfterMore,
    /// What is known may be wrong: everything is listed again.
    Doubtful,
}

struct Supervisor<T> {
    resource: Resource,
    config: watcher::Config,
    optional: bool,
    counts: WatchCounts,
    inner: Arc<Inner<T>>,
}

impl<T: Send + Sync + 'static> Supervisor<T> {
    async fn run<W>(self, api: Api<W>)
    where
        W: kube::Resource + DeserializeOwned + Clone + Debug + Send + 'static + Into<Seen<T>>,
    {
        let stop = self.inner.stop.clone();
        stop.run_until_cancelled(async {
            let mut asked_again = false;
            loop {
                // Boxed because the state machine of the watcher is large.
                let stream = Box::pin(watcher::watcher(api.clone(), self.config.clone()));
                let ended = self.follow(stream).await;
                if ended == Ended::Doubtful {
                    continue;
                }
                if self.inner.len() > 0 && (ended == Ended::AbsentAfterMore || !asked_again) {
                    asked_again = true;
                    tokio::time::sleep(ABSENT_CONFIRM).await;
                    continue;
                }
                asked_again = false;
                self.inner.clear();
                self.counts.objects(&self.resource.kind, 0);
                self.pause(ABSENT_RETRY).await;
            }
        })
        .await;
        self.counts.forget(&self.resource.kind);
        self.inner.close();
    }

    /// Follows one stream until the resource turns out not to be served, or what is known is in doubt.
    async fn follow<W: Into<Seen<T>>>(
        &self,
        mut stream: impl Stream<Item = Result<Event<W>, watcher::Error>> + Unpin,
    ) -> Ended {
        let mut ended = Ended::Absent;
        let mut failing = false;
        let mut backoff = Backoff::new(WATCH_FIRST_DELAY, WATCH_LONGEST_DELAY);
        let mut listing = Vec::new();
        loop {
            // A watch that works again is silent until something changes: silence for longer than any request
            // may take means that it works.
            let event = if failing && self.inner.was_filled() {
                match tokio::time::timeout(HEADER_TIMEOUT * 2, stream.next()).await {
                    Ok(event) => event,
                    Err(_) => {
                        failing = false;
                        self.inner.set_phase(Phase::Synced);
                        stream.next().await
                    }
                }
            } else {
                stream.next().await
            };
            match event {
                None => return ended,
                Some(Err(error)) if self.optional && is_not_served(&error) => return ended,
                // Servers forget old versions as a matter of course: the watcher lists again by itself.
                Some(Err(error)) if is_expired(&error) => continue,
                Some(Err(error)) => {
                    failing = true;
                    self.failed(&error);
                    let away = was_away(&error);
                    if away {
                        self.inner.doubt();
                    }
                    let longest = match self.inner.in_doubt() {
                        true => WATCH_DOUBT_DELAY,
                        false => WATCH_LONGEST_DELAY,
                    };
                    self.pause(backoff.next_delay().min(longest)).await;
                    if away {
                        return Ended::Doubtful;
                    }
                    continue;
                }
                Some(Ok(Event::Init)) => {
                    listing.clear();
                    continue;
                }
                Some(Ok(Event::InitApply(object))) => {
                    listing.push(object.into());
                    continue;
                }
                Some(Ok(Event::InitDone)) => self.inner.replace(std::mem::take(&mut listing)),
                Some(Ok(Event::Apply(object))) => self.inner.apply(object.into()),
                Some(Ok(Event::Delete(object))) => self.inner.delete(&object.into().name),
            }
            ended = Ended::AbsentAfterMore;
            failing = false;
            backoff.reset();
            self.inner.set_phase(Phase::Synced);
            self.counts.objects(&self.resource.kind, self.inner.len());
        }
    }

    fn failed(&self, error: &watcher::Error) {
        self.counts.error(&self.resource.kind);
        let words = sentence(&self.resource, error);
        if self.inner.set_phase(Phase::Failing(words.clone())) {
            tracing::warn!(resource = %self.resource, "{words}");
        } else {
            tracing::debug!(resource = %self.resource, "{words}");
        }
    }

    async fn pause(&self, delay: Duration) {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.inner.poke.notified() => {}
        }
    }
}

fn status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

fn is_not_served(error: &watcher::Error) -> bool {
    status(error).is_some_and(|status| status.code == 404)
}

/// Whether there was no API server to start a watch at. It may come back with an older state, in which resource versions
/// start again: a watch from the version that is known would then be silent until that is reached, so it lists again.
fn was_away(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => matches!(status.code, 502..=504),
        watcher::Error::WatchStartFailed(_) => true,
        _ => false,
    }
}

fn is_expired(error: &watcher::Error) -> bool {
    status(error).is_some_and(|status| status.code == 410)
}

fn sentence(resource: &Resource, error: &watcher::Error) -> String {
    match status(error) {
        Some(status) if status.code == 403 || status.code == 401 => {
            format!(
                "this process may not list and watch {resource}; check its roles: {}",
                status.message
            )
        }
        Some(status) if status.code == 404 => {
            format!(
                "the API server does not serve {resource} {}; is its definition installed?",
                resource.version
            )
        }
        Some(status) => format!(
            "watching {resource} failed, status {}: {}",
            status.code, status.message
        ),
        None => format!("watching {resource} failed: {}", answer::causes(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_missing_right() {
        let forbidden = Status {
            code: 403,
            message: "no".into(),
            ..Status::default()
        };
        let error = watcher::Error::InitialListFailed(kube::Error::Api(Box::new(forbidden)));
        let things = Resource::new("example.org", "v1", "things", "Thing");
        let words = sentence(&things, &error);
        assert_eq!(
            words,
            "this process may not list and watch things.example.org; check its roles: no"
        );
        assert!(!is_not_served(&error));
    }
}
