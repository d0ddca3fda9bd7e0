//! Supervised watches: one task each, outside any controller, so that one missing kind throttles nobody else.

use std::{borrow::Cow, fmt::Debug, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client,
    core::{ApiResource, DynamicResourceScope, Status},
    runtime::watcher::{self, Event},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{
    answer,
    backoff::Backoff,
    client::HEADER_TIMEOUT,
    live::{IndexBy, Inner, Live, Phase, Seen},
    meta::{Bare, LAST_APPLIED, Meta},
    metrics::WatchCounts,
    resource::Resource,
    tasks::Tasks,
};

/// How often a resource that is not served is looked for; [`Live::poke`] does it at once.
pub const ABSENT_RETRY: Duration = Duration::from_secs(10);

/// How long after a first "not served" the answer is asked for again, before everything known is taken for gone:
/// an API server that starts may not know its own definitions for a moment.
pub const ABSENT_CONFIRM: Duration = Duration::from_secs(1);

/// First delay before a failed watch is tried again.
pub const WATCH_FIRST_DELAY: Duration = Duration::from_millis(800);

/// Longest delay between two attempts of a failing watch.
pub const WATCH_LONGEST_DELAY: Duration = Duration::from_secs(30);

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
    /// `managedFields` and the last-applied annotation are dropped. An object that cannot be decoded is logged and
    /// left out; see [`Live::broken`].
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
                let progressed = self.follow(stream).await;
                if self.inner.len() > 0 && (progressed || !asked_again) {
                    asked_again = true;
                    tokio::time::sleep(ABSENT_CONFIRM).await;
                    continue;
                }
                asked_again = false;
                self.inner.replace(Vec::new());
                self.counts.objects(&self.resource.kind, 0);
                self.inner.set_phase(Phase::Absent);
                self.pause(ABSENT_RETRY).await;
            }
        })
        .await;
        self.counts.forget(&self.resource.kind);
        self.inner.close();
    }

    /// Follows one stream until the resource turns out not to be served. Says whether anything came before.
    async fn follow<W: Into<Seen<T>>>(
        &self,
        mut stream: impl Stream<Item = Result<Event<W>, watcher::Error>> + Unpin,
    ) -> bool {
        let mut progressed = false;
        let mut failing = false;
        let mut backoff = Backoff::new(WATCH_FIRST_DELAY, WATCH_LONGEST_DELAY);
        let mut listing = Vec::new();
        loop {
            // A watch that works again is silent until something changes: silence for longer than any request may
            // take means that it works.
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
                None => return progressed,
                Some(Err(error)) if self.optional && is_not_served(&error) => return progressed,
                // Servers forget old versions as a matter of course: the watcher lists again by itself.
                Some(Err(error)) if is_expired(&error) => continue,
                Some(Err(error)) => {
                    failing = true;
                    self.failed(&error);
                    self.pause(backoff.next_delay()).await;
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
            progressed = true;
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

/// An object of which only the compact metadata is decoded.
#[derive(Clone, Debug)]
struct Slim {
    /// What the watcher itself reads.
    object: ObjectMeta,
    meta: Meta,
}

impl<'de> Deserialize<'de> for Slim {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let meta = Bare::deserialize(from)?.metadata;
        Ok(Self {
            object: shadow(&meta),
            meta,
        })
    }
}

impl From<Slim> for Seen<Meta> {
    fn from(slim: Slim) -> Self {
        let meta = slim.meta;
        Self {
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            version: meta.resource_version.clone(),
            value: Ok(meta),
        }
    }
}

/// The little of the metadata that the watcher reads.
fn shadow(meta: &Meta) -> ObjectMeta {
    ObjectMeta {
        name: Some(meta.name.clone()),
        resource_version: Some(meta.resource_version.clone()).filter(|version| !version.is_empty()),
        ..ObjectMeta::default()
    }
}

impl kube::Resource for Slim {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.kind)
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.group)
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.version)
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.plural)
    }

    fn metadata_api() -> bool {
        true
    }

    fn meta(&self) -> &ObjectMeta {
        &self.object
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.object
    }
}

/// A whole object, or what can be said of one that cannot be decoded: without it one bad object would fail every
/// list for good.
#[derive(Clone, Debug)]
enum Guard<K> {
    Good(K),
    Bad {
        object: ObjectMeta,
        uid: String,
        why: String,
    },
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guard<K> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        match K::deserialize(&value) {
            Ok(object) => Ok(Self::Good(object)),
            Err(error) => {
                let meta = Bare::deserialize(&value)
                    .map_err(serde::de::Error::custom)?
                    .metadata;
                Ok(Self::Bad {
                    object: shadow(&meta),
                    uid: meta.uid,
                    why: error.to_string(),
                })
            }
        }
    }
}

impl<K: kube::Resource> From<Guard<K>> for Seen<K> {
    fn from(guard: Guard<K>) -> Self {
        match guard {
            Guard::Good(mut object) => {
                let meta = object.meta_mut();
                meta.managed_fields = None;
                if let Some(annotations) = &mut meta.annotations {
                    annotations.remove(LAST_APPLIED);
                }
                Self {
                    name: meta.name.clone().unwrap_or_default(),
                    uid: meta.uid.clone().unwrap_or_default(),
                    version: meta.resource_version.clone().unwrap_or_default(),
                    value: Ok(object),
                }
            }
            Guard::Bad { object, uid, why } => Self {
                name: object.name.unwrap_or_default(),
                uid,
                version: object.resource_version.unwrap_or_default(),
                value: Err(why),
            },
        }
    }
}

impl<K: kube::Resource> kube::Resource for Guard<K> {
    type DynamicType = K::DynamicType;
    type Scope = DynamicResourceScope;

    fn kind(dynamic_type: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dynamic_type)
    }

    fn group(dynamic_type: &K::DynamicType) -> Cow<'_, str> {
        K::group(dynamic_type)
    }

    fn version(dynamic_type: &K::DynamicType) -> Cow<'_, str> {
        K::version(dynamic_type)
    }

    fn plural(dynamic_type: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dynamic_type)
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Good(object) => object.meta(),
            Self::Bad { object, .. } => object,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Good(object) => object.meta_mut(),
            Self::Bad { object, .. } => object,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::WatchEvent;
    use serde_json::json;

    use super::*;

    #[test]
    fn slim_decodes_from_watch_events() {
        let event = json!({"type": "ADDED", "object": {"metadata": {
            "name": "a", "uid": "u", "resourceVersion": "5", "managedFields": [{"manager": "m"}]}}});
        let WatchEvent::Added(slim) = serde_json::from_value::<WatchEvent<Slim>>(event).unwrap() else {
            panic!("not an addition")
        };
        assert_eq!(kube::Resource::meta(&slim).resource_version.as_deref(), Some("5"));
        let seen = Seen::from(slim);
        assert_eq!(
            (seen.name.as_str(), seen.uid.as_str(), seen.version.as_str()),
            ("a", "u", "5")
        );
    }

    #[test]
    fn guard_lets_a_bad_object_through_as_bad() {
        let object = |data: serde_json::Value| {
            let annotations = json!({LAST_APPLIED: "{}", "keep": "1"});
            let metadata = json!({"name": "a", "uid": "u", "resourceVersion": "5", "annotations": annotations,
                "managedFields": [{"manager": "m"}]});
            serde_json::from_value::<Guard<ConfigMap>>(json!({"metadata": metadata, "data": data})).unwrap()
        };
        let good = Seen::from(object(json!({"k": "v"})));
        let metadata = good.value.unwrap().metadata;
        assert_eq!(metadata.annotations.unwrap().len(), 1);
        assert!(metadata.managed_fields.is_none());
        let bad = Seen::from(object(json!([1])));
        assert_eq!((bad.name.as_str(), bad.version.as_str()), ("a", "5"));
        assert!(bad.value.unwrap_err().contains("invalid type"));
    }

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
