//! What a watch knows: objects by name, found again by index keys, with a feed of changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    changes::{Change, Changes, Feed},
    meta::Meta,
};

/// Where a watch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The first list has not ended.
    Starting,
    /// The store is complete and followed.
    Synced,
    /// The API server does not serve the resource; nothing exists, and it is looked for again now and then.
    Absent,
    /// The watch fails; the store holds what was known before.
    Failing(String),
    /// Stopped; nothing changes any more.
    Stopped,
}

/// A store did not fill in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the watch on {what} has not filled its store within {} s: {why}", after.as_secs())]
pub struct NotReady {
    /// The resource.
    pub what: String,
    /// How long was waited.
    pub after: Duration,
    /// What the watch says.
    pub why: String,
}

/// Says under which keys an object is found again.
pub(crate) type IndexBy<T> = Arc<dyn Fn(&T) -> Vec<String> + Send + Sync>;

/// A store that a watch keeps current. Clones share it; the watch stops when the last clone is dropped.
pub struct Live<T = Meta> {
    pub(crate) inner: Arc<Inner<T>>,
    _stop_on_drop: Arc<DropGuard>,
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            _stop_on_drop: self._stop_on_drop.clone(),
        }
    }
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("what", &self.inner.what)
            .field("phase", &self.phase())
            .finish()
    }
}

pub(crate) struct Inner<T> {
    pub(crate) what: String,
    pub(crate) stop: CancellationToken,
    pub(crate) poke: Notify,
    store: Mutex<Store<T>>,
    phase: watch::Sender<Phase>,
    index_by: IndexBy<T>,
}

struct Store<T> {
    objects: HashMap<String, Entry<T>>,
    index: HashMap<String, BTreeSet<String>>,
    broken: BTreeMap<String, String>,
    feeds: Vec<Weak<Feed<T>>>,
    /// Whether a list ended at least once, so that the store is complete, if perhaps old.
    filled: bool,
    /// Whether that list came from the API server: an absent resource fills the store with nothing.
    listed: bool,
    /// Whether the API server was away since: it may have come back with an older state.
    doubtful: bool,
}

struct Entry<T> {
    value: Arc<T>,
    uid: String,
    version: String,
}

/// One object as the watch hands it over.
pub(crate) struct Seen<T> {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) version: String,
    /// The object, or why it cannot be decoded.
    pub(crate) value: Result<T, String>,
}

impl<T> Live<T> {
    pub(crate) fn new(what: String, stop: CancellationToken, index_by: IndexBy<T>) -> Self {
        let (phase, _) = watch::channel(Phase::Starting);
        let store = Store {
            objects: HashMap::new(),
            index: HashMap::new(),
            broken: BTreeMap::new(),
            feeds: Vec::new(),
            filled: false,
            listed: false,
            doubtful: false,
        };
        let guard = Arc::new(stop.clone().drop_guard());
        let store = Mutex::new(store);
        let inner = Arc::new(Inner {
            what,
            stop,
            poke: Notify::new(),
            store,
            phase,
            index_by,
        });
        Self {
            inner,
            _stop_on_drop: guard,
        }
    }

    /// The object of this name.
    pub fn get(&self, name: &str) -> Option<Arc<T>> {
        self.inner
            .store()
            .objects
            .get(name)
            .map(|entry| entry.value.clone())
    }

    /// All names, in no order.
    pub fn names(&self) -> Vec<String> {
        self.inner.store().objects.keys().cloned().collect()
    }

    /// All objects, in no order. Costs as much as there are: prefer [`Live::lookup`] in a reconcile.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.inner
            .store()
            .objects
            .values()
            .map(|entry| entry.value.clone())
            .collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.inner.store().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names of the objects that have this index key, sorted.
    pub fn lookup(&self, key: &str) -> Vec<String> {
        self.inner
            .store()
            .index
            .get(key)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// The objects that have this index key, by name.
    pub fn lookup_objects(&self, key: &str) -> Vec<Arc<T>> {
        let store = self.inner.store();
        let names = store.index.get(key).into_iter().flatten();
        names
            .filter_map(|name| store.objects.get(name))
            .map(|entry| entry.value.clone())
            .collect()
    }

    /// Whether `is` holds for one of the objects that have this index key. Looks no further than the first.
    pub fn any(&self, key: &str, is: impl Fn(&T) -> bool) -> bool {
        let store = self.inner.store();
        let mut names = store.index.get(key).into_iter().flatten();
        names.any(|name| store.objects.get(name).is_some_and(|entry| is(&entry.value)))
    }

    /// Objects that cannot be decoded, with the reason. What was known of them before stays in the store.
    pub fn broken(&self) -> BTreeMap<String, String> {
        self.inner.store().broken.clone()
    }

    /// Follows changes. Starts with everything that is there, as if it had just appeared.
    pub fn subscribe(&self) -> Changes<T> {
        let (feed, changes) = Feed::new();
        let mut store = self.inner.store();
        for (name, entry) in &store.objects {
            feed.push(Change {
                name: name.clone(),
                before: None,
                after: Some(entry.value.clone()),
            });
        }
        if *self.inner.phase.borrow() == Phase::Stopped {
            feed.close();
        }
        store.feeds.retain(|feed| feed.strong_count() > 0);
        store.feeds.push(Arc::downgrade(&feed));
        changes
    }

    /// Where the watch is.
    pub fn phase(&self) -> Phase {
        self.inner.phase.borrow().clone()
    }

    /// Follows where the watch is.
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.inner.phase.subscribe()
    }

    /// Whether the store can be relied upon: it was filled once, or the resource is not served.
    pub fn ready(&self) -> bool {
        self.not_ready().is_none()
    }

    /// Why [`Live::ready`] is false, in words for a readiness answer.
    pub fn not_ready(&self) -> Option<String> {
        if self.inner.store().filled {
            return None;
        }
        match self.phase() {
            Phase::Synced | Phase::Absent => None,
            Phase::Starting => Some("not listed yet".to_owned()),
            Phase::Failing(why) => Some(why),
            Phase::Stopped => Some("stopped".to_owned()),
        }
    }

    /// Waits until [`Live::ready`].
    pub async fn wait_ready(&self, timeout: Duration) -> Result<(), NotReady> {
        if self.ready() {
            return Ok(());
        }
        let mut phases = self.phases();
        // Not only the phase counts: a watch that fails right after the list hides that the list came.
        let filled = async {
            while !self.ready() {
                // The sender lives as long as `self`.
                if phases.changed().await.is_err() {
                    break;
                }
            }
        };
        match tokio::time::timeout(timeout, filled).await {
            Ok(_) => Ok(()),
            Err(_) if self.ready() => Ok(()),
            Err(_) => Err(NotReady {
                what: self.inner.what.clone(),
                after: timeout,
                why: self.not_ready().unwrap_or_default(),
            }),
        }
    }

    /// Whether the resource is served and was listed, however the watch fares since.
    pub fn is_listed(&self) -> bool {
        self.inner.store().listed
    }

    /// Whether the API server was away, and has not listed everything since. It may have come back with an older state: what
    /// is known may never have happened, also where another watch shows the present already.
    pub fn in_doubt(&self) -> bool {
        self.inner.in_doubt()
    }

    /// Waits until [`Live::is_listed`], or the watch was stopped.
    pub async fn until_listed(&self) {
        let mut phases = self.phases();
        // Not the phase counts: a watch that fails right after the list hides that the list came.
        while !self.is_listed() && *phases.borrow_and_update() != Phase::Stopped {
            // The sender lives as long as `self`.
            if phases.changed().await.is_err() {
                break;
            }
        }
    }

    /// Tries again now, if the watch is waiting because the resource is absent or fails.
    pub fn poke(&self) {
        self.inner.poke.notify_one();
    }

    /// Stops the watch. What is known stays readable.
    pub fn stop(&self) {
        self.inner.stop.cancel();
    }

    /// What is watched, for messages.
    pub fn what(&self) -> &str {
        &self.inner.what
    }
}

impl Live<Meta> {
    /// Names of the objects that have an owner with this uid, sorted.
    pub fn owned_by(&self, uid: &str) -> Vec<String> {
        self.lookup(uid)
    }
}

impl<T> Inner<T> {
    fn store(&self) -> MutexGuard<'_, Store<T>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether that is news.
    pub(crate) fn set_phase(&self, phase: Phase) -> bool {
        self.phase.send_if_modified(|shown| {
            let changed = *shown != phase;
            *shown = phase;
            changed
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.store().objects.len()
    }

    pub(crate) fn was_filled(&self) -> bool {
        self.store().filled
    }

    /// The API server was away.
    pub(crate) fn doubt(&self) {
        self.store().doubtful = true;
    }

    pub(crate) fn in_doubt(&self) -> bool {
        self.store().doubtful
    }

    /// An object appeared or changed.
    pub(crate) fn apply(&self, seen: Seen<T>) {
        self.store().apply(seen, &self.index_by);
    }

    /// An object is gone.
    pub(crate) fn delete(&self, name: &str) {
        self.store().remove(name, &self.index_by);
    }

    /// A list ended: exactly these objects exist.
    pub(crate) fn replace(&self, seen: Vec<Seen<T>>) {
        self.fill(seen, true);
    }

    /// The resource is not served: nothing exists.
    pub(crate) fn clear(&self) {
        self.fill(Vec::new(), false);
        self.set_phase(Phase::Absent);
    }

    fn fill(&self, seen: Vec<Seen<T>>, listed: bool) {
        let mut store = self.store();
        let present: BTreeSet<_> = seen.iter().map(|seen| seen.name.clone()).collect();
        let gone: Vec<_> = store
            .objects
            .keys()
            .filter(|name| !present.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            store.remove(&name, &self.index_by);
        }
        store.broken.retain(|name, _| present.contains(name));
        for seen in seen {
            store.apply(seen, &self.index_by);
        }
        store.filled = true;
        store.listed = listed;
        store.doubtful = false;
    }

    pub(crate) fn close(&self) {
        let store = self.store();
        self.set_phase(Phase::Stopped);
        store
            .feeds
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|feed| feed.close());
    }
}

impl<T> Store<T> {
    fn apply(&mut self, seen: Seen<T>, index_by: &IndexBy<T>) {
        let Seen {
            name,
            uid,
            version,
            value,
        } = seen;
        let value = match value {
            Ok(value) => Arc::new(value),
            Err(why) => {
                tracing::warn!(object = %name, %why, "object cannot be decoded and is left out");
                self.broken.insert(name, why);
                return;
            }
        };
        self.broken.remove(&name);
        if let Some(known) = self.objects.get(&name)
            && known.version == version
            && known.uid == uid
        {
            return;
        }
        let entry = Entry {
            value: value.clone(),
            uid,
            version,
        };
        let before = self.objects.insert(name.clone(), entry).map(|entry| entry.value);
        if let Some(before) = &before {
            self.unindex(&name, before, index_by);
        }
        for key in index_by(&value) {
            self.index.entry(key).or_default().insert(name.clone());
        }
        self.publish(Change {
            name,
            before,
            after: Some(value),
        });
    }

    fn remove(&mut self, name: &str, index_by: &IndexBy<T>) {
        self.broken.remove(name);
        if let Some(entry) = self.objects.remove(name) {
            self.unindex(name, &entry.value, index_by);
            self.publish(Change {
                name: name.to_owned(),
                before: Some(entry.value),
                after: None,
            });
        }
    }

    fn unindex(&mut self, name: &str, value: &T, index_by: &IndexBy<T>) {
        for key in index_by(value) {
            if let Some(names) = self.index.get_mut(&key) {
                names.remove(name);
                if names.is_empty() {
                    self.index.remove(&key);
                }
            }
        }
    }

    fn publish(&mut self, change: Change<T>) {
        self.feeds.retain(|feed| match feed.upgrade() {
            Some(feed) => {
                feed.push(change.clone());
                true
            }
            None => false,
        });
    }
}

#[cfg(test)]
mod tests;
