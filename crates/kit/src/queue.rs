//! A work queue of keys: each key waits at most once and runs at most once at a time.
//!
//! # Guarantees
//! - A key that is added while it runs runs again afterwards: no change is missed.
//! - Keys that wait are taken in the order in which they came.
//! - A key asked for later runs at the earliest instant that was asked for.
//! - Failures of a key delay it by 1 s, 2 s, 4 s … up to 60 s, with jitter; a success forgets them. Adding
//!   the key cuts the delay short but not the count.
//!
//! # Caveats
//! Nothing is remembered over a restart: everything that may need work must be added again at start.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    fmt::{self, Debug, Display},
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::{JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    backoff::{self, FIRST_DELAY, LONGEST_DELAY},
    metrics::Reconciles,
    tasks::panic_message,
};

/// Most keys of one queue that run at once, whatever is asked for: each holds memory and a connection.
pub const MOST_WORKERS: usize = 256;

/// How long running reconciles may take to end when the process stops: less than the 10 s of the whole drain.
pub const QUEUE_DRAIN: Duration = Duration::from_secs(8);

/// When a key wants to run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When something changes. A success.
    Await,
    /// At the latest after this time. A success.
    After(Duration),
    /// After the delay that the key's failures have earned. A failure.
    Backoff,
}

impl Next {
    fn outcome(self) -> &'static str {
        match self {
            Self::Await => "Await",
            Self::After(_) => "After",
            Self::Backoff => "Backoff",
        }
    }
}

/// Why a queue ended.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// A reconcile panicked.
    #[error("controller {controller} panicked: {why}")]
    Panicked {
        /// Name of the queue.
        controller: &'static str,
        /// The panic's message.
        why: String,
    },
    /// Reconciles did not end within [`QUEUE_DRAIN`] and were given up.
    #[error(
        "controller {controller} did not stop within {} s; {running} reconciles were given up",
        QUEUE_DRAIN.as_secs()
    )]
    NotDrained {
        /// Name of the queue.
        controller: &'static str,
        /// How many still ran.
        running: usize,
    },
}

/// A queue. Clones share it.
pub struct Queue<K> {
    inner: Arc<Inner<K>>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<K> fmt::Debug for Queue<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("controller", &self.inner.controller)
            .finish()
    }
}

struct Inner<K> {
    controller: &'static str,
    reconciles: Option<Reconciles>,
    state: Mutex<State<K>>,
    changed: Notify,
}

struct State<K> {
    /// Keys to run now, in order; `queued` is the same as a set.
    ready: VecDeque<K>,
    queued: HashSet<K>,
    /// Keys that run, and whether they must run again.
    running: HashMap<K, bool>,
    /// When keys want to run, and the same sorted by time.
    due: HashMap<K, (Instant, u64)>,
    timeline: BTreeSet<(Instant, u64)>,
    by_ticket: HashMap<u64, K>,
    tickets: u64,
    failures: HashMap<K, u32>,
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// An empty queue. The name is that of the controller in logs and metrics.
    pub fn new(controller: &'static str, reconciles: Option<Reconciles>) -> Self {
        let state = State {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            running: HashMap::new(),
            due: HashMap::new(),
            timeline: BTreeSet::new(),
            by_ticket: HashMap::new(),
            tickets: 0,
            failures: HashMap::new(),
        };
        let inner = Inner {
            controller,
            reconciles,
            state: Mutex::new(state),
            changed: Notify::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Have the key run as soon as a worker is free.
    pub fn add(&self, key: K) {
        self.state().add(key);
        self.inner.changed.notify_one();
    }

    /// Have the key run at the latest after `delay`.
    pub fn add_after(&self, key: K, delay: Duration) {
        self.state().schedule(key, Instant::now() + delay);
        self.inner.changed.notify_one();
    }

    /// Forgets the key's failures and its appointment, because its object is gone. What waits or runs stays.
    pub fn forget(&self, key: &K) {
        let mut state = self.state();
        state.failures.remove(key);
        state.unschedule(key);
    }

    /// How often the key has failed in a row.
    pub fn failures(&self, key: &K) -> u32 {
        self.state().failures.get(key).copied().unwrap_or_default()
    }

    /// Keys that wait, and keys that run.
    pub fn sizes(&self) -> (usize, usize) {
        let state = self.state();
        (state.ready.len(), state.running.len())
    }

    /// Whether nothing waits or runs; appointments don't count.
    pub fn is_idle(&self) -> bool {
        self.sizes() == (0, 0)
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A key to run now, or when to look again.
    fn take(&self, now: Instant) -> Result<K, Option<Instant>> {
        let mut state = self.state();
        while let Some(&(at, ticket)) = state.timeline.first() {
            if at > now {
                break;
            }
            match state.by_ticket.get(&ticket).cloned() {
                Some(key) => state.add(key),
                None => {
                    state.timeline.pop_first();
                }
            }
        }
        match state.ready.pop_front() {
            Some(key) => {
                state.queued.remove(&key);
                state.running.insert(key.clone(), false);
                Ok(key)
            }
            None => Err(state.timeline.first().map(|&(at, _)| at)),
        }
    }

    fn finish(&self, key: K, next: Next, now: Instant) {
        let mut state = self.state();
        let again = state.running.remove(&key).unwrap_or_default();
        match next {
            Next::Await => {
                state.failures.remove(&key);
            }
            Next::After(delay) => {
                state.failures.remove(&key);
                state.schedule(key.clone(), now + delay);
            }
            Next::Backoff => {
                let failures = state.failures.entry(key.clone()).or_default();
                let delay = backoff::jitter(backoff::delay(FIRST_DELAY, LONGEST_DELAY, *failures));
                *failures = failures.saturating_add(1);
                state.schedule(key.clone(), now + delay);
            }
        }
        if again {
            state.add(key);
        }
    }

    fn measure(&self) {
        if let Some(reconciles) = &self.inner.reconciles {
            let (depth, running) = self.sizes();
            reconciles.sizes(self.inner.controller, depth, running);
        }
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn add(&mut self, key: K) {
        self.unschedule(&key);
        if let Some(again) = self.running.get_mut(&key) {
            *again = true;
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn schedule(&mut self, key: K, at: Instant) {
        if self.queued.contains(&key) || self.due.get(&key).is_some_and(|(known, _)| *known <= at) {
            return;
        }
        self.unschedule(&key);
        self.tickets += 1;
        let ticket = self.tickets;
        self.timeline.insert((at, ticket));
        self.by_ticket.insert(ticket, key.clone());
        self.due.insert(key, (at, ticket));
    }

    fn unschedule(&mut self, key: &K) {
        if let Some(slot) = self.due.remove(key) {
            self.timeline.remove(&slot);
            self.by_ticket.remove(&slot.1);
        }
    }
}

/// Runs `reconcile` for each key that is added, at most `concurrency` at a time (at least 1, at most
/// [`MOST_WORKERS`]), until `shutdown`; then waits for what runs. A panic in a reconcile ends the queue with
/// an error.
pub async fn run<K, F, R>(
    queue: Queue<K>,
    concurrency: usize,
    shutdown: CancellationToken,
    reconcile: F,
) -> Result<(), QueueError>
where
    K: Clone + Eq + Hash + Display + Send + Sync + 'static,
    F: Fn(K) -> R,
    R: Future<Output = Next> + Send + 'static,
{
    let controller = queue.inner.controller;
    let concurrency = concurrency.clamp(1, MOST_WORKERS);
    let mut workers: JoinSet<(K, Next, Duration)> = JoinSet::new();
    loop {
        let wake = loop {
            if workers.len() >= concurrency {
                break None;
            }
            match queue.take(Instant::now()) {
                Ok(key) => {
                    // At the highest level, so that no filter takes the object out of a line.
                    let span = tracing::error_span!("reconcile", controller, object = %key);
                    let work = reconcile(key.clone());
                    workers.spawn(
                        async move {
                            let started = Instant::now();
                            let next = work.await;
                            (key, next, started.elapsed())
                        }
                        .instrument(span),
                    );
                }
                Err(wake) => break wake,
            }
        };
        queue.measure();
        let alarm = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = workers.join_next() => settle(&queue, ended)?,
            () = queue.inner.changed.notified() => {}
            () = alarm => {}
        }
    }
    let drained = tokio::time::timeout(QUEUE_DRAIN, async {
        while let Some(ended) = workers.join_next().await {
            settle(&queue, ended)?;
        }
        Ok(())
    });
    match drained.await {
        Ok(result) => result,
        Err(_) => Err(QueueError::NotDrained {
            controller,
            running: workers.len(),
        }),
    }
}

fn settle<K>(queue: &Queue<K>, ended: Result<(K, Next, Duration), JoinError>) -> Result<(), QueueError>
where
    K: Clone + Eq + Hash,
{
    let controller = queue.inner.controller;
    match ended {
        Ok((key, next, took)) => {
            queue.finish(key, next, Instant::now());
            if let Some(reconciles) = &queue.inner.reconciles {
                reconciles.ended(controller, next.outcome(), took);
            }
            Ok(())
        }
        Err(error) if error.is_panic() => Err(QueueError::Panicked {
            controller,
            why: panic_message(error.into_panic().as_ref()),
        }),
        // Only the runtime's end cancels workers.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
