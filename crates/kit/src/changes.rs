//! Changes of a set of named objects, merged per name until they are read.
//!
//! A subscriber holds at most one pending change per object, so that a slow one needs no more memory than the
//! set and misses nothing: what it reads is always the way from the state it last saw to the present one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// One object changed.
#[derive(Debug)]
pub struct Change<T> {
    /// Its name.
    pub name: String,
    /// As the subscriber last saw it; absent if it did not exist.
    pub before: Option<Arc<T>>,
    /// As it is now; absent if it is gone.
    pub after: Option<Arc<T>>,
}

impl<T> Change<T> {
    /// Whether the object is gone.
    pub fn is_deletion(&self) -> bool {
        self.after.is_none()
    }

    /// Old and new state, as far as there are: for finding out whom the change concerns.
    pub fn states(&self) -> impl Iterator<Item = &Arc<T>> {
        self.before.iter().chain(&self.after)
    }
}

impl<T> Clone for Change<T> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            before: self.before.clone(),
            after: self.after.clone(),
        }
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct Changes<T> {
    feed: Arc<Feed<T>>,
}

impl<T> Changes<T> {
    /// The next change; `None` once the watch has been stopped and everything was read.
    pub async fn next(&mut self) -> Option<Change<T>> {
        loop {
            let notified = self.feed.notify.notified();
            {
                let mut state = self.feed.state();
                if let Some(change) = state.pop() {
                    return Some(change);
                }
                if state.closed {
                    return None;
                }
            }
            notified.await;
        }
    }

    /// A change that is there already.
    pub fn try_next(&mut self) -> Option<Change<T>> {
        self.feed.state().pop()
    }
}

#[derive(Debug)]
pub(crate) struct Feed<T> {
    state: Mutex<State<T>>,
    notify: Notify,
}

#[derive(Debug)]
struct State<T> {
    pending: HashMap<String, Change<T>>,
    order: VecDeque<String>,
    closed: bool,
}

impl<T> Feed<T> {
    pub(crate) fn new() -> (Arc<Self>, Changes<T>) {
        let state = State {
            pending: HashMap::new(),
            order: VecDeque::new(),
            closed: false,
        };
        let feed = Arc::new(Self {
            state: Mutex::new(state),
            notify: Notify::new(),
        });
        (feed.clone(), Changes { feed })
    }

    pub(crate) fn push(&self, change: Change<T>) {
        let mut state = self.state();
        match state.pending.get_mut(&change.name) {
            Some(pending) => pending.after = change.after,
            None => {
                state.order.push_back(change.name.clone());
                state.pending.insert(change.name.clone(), change);
            }
        }
        drop(state);
        // One reader: a permit is kept if it is not waiting.
        self.notify.notify_one();
    }

    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.notify.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn pop(&mut self) -> Option<Change<T>> {
        while let Some(name) = self.order.pop_front() {
            // Came and went between two reads: the subscriber never knew it.
            let known = |change: &Change<T>| change.before.is_some() || change.after.is_some();
            if let Some(change) = self.pending.remove(&name).filter(known) {
                return Some(change);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, before: Option<u8>, after: Option<u8>) -> Change<u8> {
        Change {
            name: name.into(),
            before: before.map(Arc::new),
            after: after.map(Arc::new),
        }
    }

    fn shape(change: &Change<u8>) -> (String, Option<u8>, Option<u8>) {
        (
            change.name.clone(),
            change.before.as_deref().copied(),
            change.after.as_deref().copied(),
        )
    }

    #[tokio::test]
    async fn merges_per_name_in_order_of_first_change() {
        let (feed, mut changes) = Feed::new();
        feed.push(change("a", Some(1), Some(2)));
        feed.push(change("b", None, Some(1)));
        feed.push(change("a", Some(2), None));
        feed.push(change("c", None, Some(1)));
        feed.push(change("c", Some(1), None));
        assert_eq!(shape(&changes.next().await.unwrap()), ("a".into(), Some(1), None));
        assert_eq!(shape(&changes.next().await.unwrap()), ("b".into(), None, Some(1)));
        feed.close();
        assert!(changes.next().await.is_none());
    }

    #[tokio::test]
    async fn wakes_a_waiting_reader() {
        let (feed, mut changes) = Feed::new();
        let reader = tokio::spawn(async move { changes.next().await.map(|change| change.name) });
        tokio::task::yield_now().await;
        feed.push(change("a", None, Some(1)));
        assert_eq!(reader.await.unwrap().as_deref(), Some("a"));
    }
}
