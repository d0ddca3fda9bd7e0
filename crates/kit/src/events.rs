//! Events: told once per change, never in anybody's way.
//!
//! A reconcile hands over what happened and goes on; a task of its own writes `events.k8s.io/v1` objects.
//! What cannot be written is dropped.
//!
//! # Caveats
//! The same note about the same object is told again only after [`QUIET`]. That memory is lost at a restart:
//! publish when something changes, not whenever it is so.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::json;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff,
    meta::Meta,
    resource::{Resource, Target},
    write::Writer,
};

/// Most events that wait to be written; the oldest are dropped. A storm larger than this tells nobody
/// anything.
pub const WAITING: usize = 1_000;

/// Most events that are remembered so as not to be repeated.
pub const REMEMBERED: usize = 10_000;

/// How long the same event is not repeated: as long as API servers keep events by default.
pub const QUIET: Duration = Duration::from_secs(60 * 60);

/// Longest note, in bytes; the API server refuses longer ones.
pub const NOTE_BYTES: usize = 1_024;

/// Longest reason, action and names of reporters, in bytes; the API server refuses longer ones.
pub const WORD_BYTES: usize = 128;

/// Least time between two events of this process: bursts are for metrics.
pub const PACE: Duration = Duration::from_millis(20);

const EVENTS: Resource = Resource::new("events.k8s.io", "v1", "events", "Event");

/// Whether an event needs attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Something went its way.
    Normal,
    /// Something needs attention.
    Warning,
}

/// The object that an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Regarding {
    /// `group/version` of the object.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace, absent for cluster-scoped objects, whose events go to namespace `default`.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Regarding {
    /// The object of this resource with this metadata.
    pub fn new(resource: &Resource, meta: &Meta) -> Self {
        Self {
            api_version: resource.api_version(),
            kind: resource.kind.to_string(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether it needs attention.
    pub type_: EventType,
    /// One CamelCase word: why.
    pub reason: String,
    /// One CamelCase word: what was being done.
    pub action: String,
    /// A sentence; cut at [`NOTE_BYTES`].
    pub note: String,
    /// What it is about.
    pub regarding: Regarding,
}

/// Takes events. Clones share one queue.
#[derive(Clone, Debug)]
pub struct Events {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Event>,
    dropped: u64,
    told: Told,
}

/// Which events were told lately.
#[derive(Debug, Default)]
struct Told {
    hasher: RandomState,
    when: HashMap<u64, Instant>,
    order: VecDeque<(u64, Instant)>,
}

impl Told {
    /// Whether the event is news, and remembers it.
    fn is_news(&mut self, event: &Event, now: Instant) -> bool {
        let key = self
            .hasher
            .hash_one((&event.regarding.uid, event.type_, &event.reason, &event.note));
        while let Some(&(oldest, at)) = self.order.front() {
            if self.order.len() < REMEMBERED && now.saturating_duration_since(at) < QUIET {
                break;
            }
            self.order.pop_front();
            self.when.remove(&oldest);
        }
        if self.when.contains_key(&key) {
            return false;
        }
        self.when.insert(key, now);
        self.order.push_back((key, now));
        true
    }
}

impl Events {
    /// A recorder, and the task that writes what it takes until `stop`.
    ///
    /// `controller` is the reporter's name and the field manager, `instance` says which process it is.
    /// Nothing is written while the writer's fence is closed.
    pub fn new(
        writer: Writer,
        controller: &str,
        instance: &str,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let inner = Arc::new(Inner {
            state: Mutex::default(),
            changed: Notify::new(),
        });
        let events = Self { inner };
        let taker = events.clone();
        let (controller, instance) = (cut(controller, WORD_BYTES), cut(instance, WORD_BYTES));
        let task = async move {
            let writing = async {
                loop {
                    let event = taker.next().await;
                    taker.write(&writer, &controller, &instance, event).await;
                    tokio::time::sleep(PACE).await;
                }
            };
            stop.run_until_cancelled(writing).await;
        };
        (events, task)
    }

    /// Tells of an event, unless the same was told within [`QUIET`]. Never waits and never fails.
    pub fn publish(&self, event: Event) {
        let mut state = self.state();
        if !state.told.is_news(&event, Instant::now()) {
            return;
        }
        if state.waiting.len() >= WAITING {
            state.waiting.pop_front();
            state.dropped += 1;
        }
        state.waiting.push_back(event);
        drop(state);
        self.inner.changed.notify_one();
    }

    async fn next(&self) -> Event {
        loop {
            let notified = self.inner.changed.notified();
            let (event, dropped) = {
                let mut state = self.state();
                (state.waiting.pop_front(), std::mem::take(&mut state.dropped))
            };
            if dropped > 0 {
                tracing::warn!(dropped, "too many events at once; the oldest were dropped");
            }
            if let Some(event) = event {
                return event;
            }
            notified.await;
        }
    }

    async fn write(&self, writer: &Writer, controller: &str, instance: &str, event: Event) {
        let (target, body) = object(&event, controller, instance, Timestamp::now(), backoff::random());
        if let Err(error) = writer.create(controller, &target, body).await {
            let reason = event.reason;
            tracing::debug!(object = %event.regarding.name, reason, %error, "event could not be written");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn object(
    event: &Event,
    controller: &str,
    instance: &str,
    now: Timestamp,
    random: u64,
) -> (Target, serde_json::Value) {
    let about = &event.regarding;
    // As the official clients do it: cluster-scoped objects have no namespace of their own.
    let namespace = about.namespace.as_deref().unwrap_or("default");
    // 253 bytes are what a name may have; the digits and the dot take 17.
    let name = format!("{}.{random:016x}", cut(&about.name, 253 - 17));
    let body = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "eventTime": format!("{:.6}", now),
        "type": match event.type_ { EventType::Normal => "Normal", EventType::Warning => "Warning" },
        "reason": cut(&event.reason, WORD_BYTES),
        "action": cut(&event.action, WORD_BYTES),
        "note": cut(&event.note, NOTE_BYTES),
        "reportingController": controller,
        "reportingInstance": instance,
        "regarding": {
            "apiVersion": about.api_version, "kind": about.kind, "name": about.name,
            "uid": about.uid, "namespace": about.namespace,
        },
    });
    (Target::namespaced(EVENTS, namespace, name), body)
}

fn cut(text: &str, bytes: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= bytes {
        return text.to_owned();
    }
    format!("{}{MARK}", &text[..text.floor_char_boundary(bytes - MARK.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(uid: &str, reason: &str, note: &str) -> Event {
        Event {
            type_: EventType::Normal,
            reason: reason.into(),
            action: "Act".into(),
            note: note.into(),
            regarding: Regarding {
                uid: uid.into(),
                name: "n".into(),
                ..Regarding::default()
            },
        }
    }

    #[test]
    fn the_same_is_told_once_an_hour() {
        let mut told = Told::default();
        let start = Instant::now();
        assert!(told.is_news(&event("u", "R", "1"), start));
        assert!(!told.is_news(&event("u", "R", "1"), start + QUIET / 2));
        assert!(told.is_news(&event("u", "R", "2"), start));
        assert!(told.is_news(&event("v", "R", "1"), start));
        assert!(told.is_news(&event("u", "S", "1"), start));
        assert!(told.is_news(
            &Event {
                type_: EventType::Warning,
                ..event("u", "R", "1")
            },
            start
        ));
        assert!(told.is_news(&event("u", "R", "1"), start + QUIET));
    }

    #[test]
    fn memory_is_bounded() {
        let mut told = Told::default();
        let now = Instant::now();
        for nth in 0..REMEMBERED + 100 {
            assert!(told.is_news(&event("u", "R", &nth.to_string()), now));
        }
        assert!(told.when.len() <= REMEMBERED && told.order.len() <= REMEMBERED);
        assert!(told.is_news(&event("u", "R", "0"), now));
        assert!(!told.is_news(&event("u", "R", &(REMEMBERED + 99).to_string()), now));
    }

    #[test]
    fn the_oldest_is_dropped() {
        let events = Events {
            inner: Arc::new(Inner {
                state: Mutex::default(),
                changed: Notify::new(),
            }),
        };
        (0..WAITING + 3).for_each(|nth| events.publish(event("u", "R", &nth.to_string())));
        let state = events.state();
        assert_eq!((state.waiting.len(), state.dropped), (WAITING, 3));
        assert_eq!(state.waiting.front().unwrap().note, "3");
    }

    #[test]
    fn writes_what_the_server_takes() {
        let now: Timestamp = "2026-11-01T10:00:00.123456789Z".parse().unwrap();
        let long = Event {
            regarding: Regarding {
                name: "n".repeat(253),
                ..Regarding::default()
            },
            ..event("u", "R", &"ä".repeat(NOTE_BYTES))
        };
        let (target, body) = object(&long, "c", "i", now, 255);
        assert_eq!(target.name.len(), 253 - 17 + 17);
        assert!(target.name.ends_with(".00000000000000ff"));
        assert_eq!(target.namespace.as_deref(), Some("default"));
        assert_eq!(body["eventTime"], "2026-11-01T10:00:00.123456Z");
        assert!(body["note"].as_str().unwrap().len() <= NOTE_BYTES);
    }
}
