//! What is remembered about each host: concurrency, pauses that it asked for, and the authentication it
//! wants.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::challenge::Challenge;
use crate::limits::{CHALLENGE_LIFE, MAX_HOSTS};

/// One host (`host[:port]`), shared by all requests to it.
pub(crate) struct Host {
    /// Permits for requests at the same time.
    pub(crate) slots: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    not_before: Option<Instant>,
    demand: Option<(Option<Challenge>, Instant)>,
}

impl Host {
    /// Time until requests are welcome again; zero mostly.
    pub(crate) fn pause(&self) -> Duration {
        let not_before = lock(&self.state).not_before;
        not_before.map_or(Duration::ZERO, |end| {
            end.saturating_duration_since(Instant::now())
        })
    }

    /// Nobody asks this host again for so long.
    pub(crate) fn pause_for(&self, wait: Duration) {
        let end = Instant::now() + wait;
        let mut state = lock(&self.state);
        state.not_before = Some(state.not_before.map_or(end, |known| known.max(end)));
    }

    /// What the host is known to demand: `None` if that isn't known, `Some(None)` if nothing.
    pub(crate) fn demand(&self) -> Option<Option<Challenge>> {
        let state = lock(&self.state);
        let (demand, since) = state.demand.as_ref()?;
        (since.elapsed() < CHALLENGE_LIFE).then(|| demand.clone())
    }

    /// Remembers what the host demands, without the scope, which belongs to one request.
    pub(crate) fn learn(&self, demand: Option<Challenge>) {
        let demand = demand.map(|challenge| match challenge {
            Challenge::Bearer { realm, service, .. } => Challenge::Bearer {
                realm,
                service,
                scope: None,
            },
            Challenge::Basic => Challenge::Basic,
        });
        lock(&self.state).demand = Some((demand, Instant::now()));
    }
}

/// All hosts that were asked lately.
pub(crate) struct Hosts {
    concurrency: usize,
    known: Mutex<HashMap<String, Arc<Host>>>,
}

impl Hosts {
    pub(crate) fn new(concurrency: usize) -> Self {
        Self {
            concurrency: concurrency.clamp(1, Semaphore::MAX_PERMITS),
            known: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Arc<Host> {
        let mut known = lock(&self.known);
        if let Some(host) = known.get(name) {
            return Arc::clone(host);
        }
        if known.len() >= MAX_HOSTS {
            // those in use, and those that asked for a pause, stay
            known.retain(|_, host| Arc::strong_count(host) > 1 || !host.pause().is_zero());
        }
        let host = Arc::new(Host {
            slots: Arc::new(Semaphore::new(self.concurrency)),
            state: Mutex::default(),
        });
        known.insert(name.to_owned(), Arc::clone(&host));
        host
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_bounded_and_shared() {
        let hosts = Hosts::new(2);
        let kept = hosts.get("r.example.org");
        kept.pause_for(Duration::from_secs(60));
        for number in 0..MAX_HOSTS * 2 {
            hosts.get(&format!("{number}.example.org"));
        }
        assert!(lock(&hosts.known).len() <= MAX_HOSTS);
        assert!(!hosts.get("r.example.org").pause().is_zero());
        kept.pause_for(Duration::from_secs(1));
        assert!(
            kept.pause() > Duration::from_secs(50),
            "a shorter pause does not end a longer one"
        );
    }

    #[test]
    fn demands_are_remembered_without_scope() {
        let hosts = Hosts::new(2);
        let host = hosts.get("r.example.org");
        assert_eq!(host.demand(), None);
        let (realm, service) = ("https://auth.example.org".to_owned(), None);
        host.learn(Some(Challenge::Bearer {
            realm: realm.clone(),
            service,
            scope: Some("x".to_owned()),
        }));
        assert_eq!(
            host.demand(),
            Some(Some(Challenge::Bearer {
                realm,
                service: None,
                scope: None
            }))
        );
        host.learn(None);
        assert_eq!(host.demand(), Some(None));
    }
}
