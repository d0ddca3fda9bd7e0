//! Whether this process may write right now.
//!
//! # Guarantees
//! A write whose [`Fence::check`] passed was begun before the lease's renew deadline, measured on this
//! machine's monotonic clock from the moment *before* the last successful renewal was sent. Standbys wait
//! longer than that.
//!
//! # Caveats
//! A request that was begun may still arrive at the API server after the deadline; therefore writes to existing objects
//! are conditional as well. What waits for a connection when the deadline passes is not begun:
//! [`crate::client::connect_behind`]. The clock stands still while a machine sleeps.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

/// What this process is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Somebody else leads, or nobody is known yet.
    Follower {
        /// Identity of the holder, as far as known.
        holder: Option<String>,
    },
    /// This process leads. The epoch counts hand-overs: a later leader has a higher one.
    Leader {
        /// `leaseTransitions` of the lease; 0 without election.
        epoch: u64,
    },
    /// This process led and lost the lease: it must exit.
    Lost,
}

/// Why a write was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fenced {
    /// This process does not hold the lease.
    #[error("this process does not lead, so it does not write")]
    NotLeader,
    /// The lease could not be renewed in time.
    #[error("the lease was not renewed in time, so another process may lead; nothing was written")]
    Expired,
    /// Writing was stopped by [`Fence::suspend`].
    #[error("writing is suspended: {why}")]
    Suspended {
        /// The sentence given to [`Fence::suspend`].
        why: String,
    },
}

/// Shared answer to "may I write?". Clones share one state.
#[derive(Clone, Debug)]
pub struct Fence {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    leadership: watch::Sender<Leadership>,
}

#[derive(Debug)]
struct State {
    until: Until,
    renewed: Option<Instant>,
    suspended: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    Closed,
    Lost,
    Deadline(Instant),
    Forever,
}

impl Fence {
    /// A fence for a process without leader election: open until suspended.
    pub fn open() -> Self {
        Self::new(Until::Forever, Leadership::Leader { epoch: 0 })
    }

    /// A fence that the election opens: closed at first.
    pub fn closed() -> Self {
        Self::new(Until::Closed, Leadership::Follower { holder: None })
    }

    fn new(until: Until, leadership: Leadership) -> Self {
        let (leadership, _) = watch::channel(leadership);
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(State {
                    until,
                    renewed: None,
                    suspended: None,
                }),
                leadership,
            }),
        }
    }

    /// Passes when a write may be sent now.
    pub fn check(&self) -> Result<(), Fenced> {
        let state = self.state();
        match state.until {
            Until::Closed => return Err(Fenced::NotLeader),
            Until::Lost => return Err(Fenced::Expired),
            Until::Deadline(deadline) if Instant::now() >= deadline => return Err(Fenced::Expired),
            Until::Deadline(_) | Until::Forever => {}
        }
        match &state.suspended {
            Some(why) => Err(Fenced::Suspended { why: why.clone() }),
            None => Ok(()),
        }
    }

    /// Whether this process led and must not send anything any more: it is about to end.
    pub fn has_lapsed(&self) -> bool {
        match self.state().until {
            Until::Lost => true,
            Until::Deadline(deadline) => Instant::now() >= deadline,
            Until::Closed | Until::Forever => false,
        }
    }

    /// Whether this process leads, suspended or not.
    pub fn is_leader(&self) -> bool {
        match self.state().until {
            Until::Closed | Until::Lost => false,
            Until::Deadline(deadline) => Instant::now() < deadline,
            Until::Forever => true,
        }
    }

    /// How long ago the lease was renewed last, while this process leads by one.
    pub fn since_renewal(&self) -> Option<Duration> {
        let state = self.state();
        match state.until {
            Until::Deadline(_) => state.renewed.map(|at| at.elapsed()),
            Until::Closed | Until::Lost | Until::Forever => None,
        }
    }

    /// Stops all writes until [`Fence::resume`]; for example when another manager came alive. Keeps leading.
    pub fn suspend(&self, why: impl Into<String>) {
        self.state().suspended = Some(why.into());
    }

    /// Takes back [`Fence::suspend`].
    pub fn resume(&self) {
        self.state().suspended = None;
    }

    /// The sentence of [`Fence::suspend`] while it is in force.
    pub fn suspended(&self) -> Option<String> {
        self.state().suspended.clone()
    }

    /// Follows the leadership; the present value counts as seen.
    pub fn subscribe(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.subscribe()
    }

    /// Waits until this process leads. Never returns if it never does.
    pub async fn until_leader(&self) {
        let mut leadership = self.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = leadership
            .wait_for(|now| matches!(now, Leadership::Leader { .. }))
            .await;
    }

    /// The election holds the lease and may write until `deadline`.
    pub(crate) fn lead_until(&self, deadline: Instant, epoch: u64) {
        let mut state = self.state();
        // Told at each step of the election; only a renewal moves the deadline.
        if !matches!(state.until, Until::Deadline(known) if known == deadline) {
            state.renewed = Some(Instant::now());
        }
        state.until = Until::Deadline(deadline);
        drop(state);
        self.publish(Leadership::Leader { epoch });
    }

    /// The election does not hold the lease.
    pub(crate) fn follow(&self, holder: Option<String>) {
        self.state().until = Until::Closed;
        self.publish(Leadership::Follower { holder });
    }

    /// The election lost the lease for good.
    pub(crate) fn lose(&self) {
        self.state().until = Until::Lost;
        self.publish(Leadership::Lost);
    }

    fn publish(&self, now: Leadership) {
        self.inner.leadership.send_if_modified(|shown| {
            let changed = *shown != now;
            *shown = now;
            changed
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is plain data: a panic elsewhere cannot leave it half-written.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn closes_by_itself_at_the_deadline() {
        let fence = Fence::closed();
        assert_eq!(fence.check(), Err(Fenced::NotLeader));
        fence.lead_until(Instant::now() + Duration::from_secs(10), 4);
        assert_eq!(fence.check(), Ok(()));
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert_eq!(fence.check(), Ok(()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(fence.check(), Err(Fenced::Expired));
        assert!(!fence.is_leader());
    }

    #[tokio::test(start_paused = true)]
    async fn knows_when_the_lease_was_renewed() {
        let fence = Fence::closed();
        assert_eq!(fence.since_renewal(), None);
        let (second, deadline) = (Duration::from_secs(1), Instant::now() + Duration::from_secs(10));
        fence.lead_until(deadline, 4);
        tokio::time::advance(second).await;
        fence.lead_until(deadline, 4);
        assert_eq!(
            fence.since_renewal(),
            Some(second),
            "the same deadline is no renewal"
        );
        fence.lead_until(deadline + second, 4);
        assert_eq!(fence.since_renewal(), Some(Duration::ZERO));
        fence.lose();
        assert_eq!(fence.since_renewal(), None);
    }

    #[tokio::test]
    async fn suspension_is_independent_of_leadership() {
        let fence = Fence::open();
        fence.suspend("another manager is alive");
        assert_eq!(
            fence.check(),
            Err(Fenced::Suspended {
                why: "another manager is alive".into()
            })
        );
        assert!(fence.is_leader());
        fence.resume();
        assert_eq!(fence.check(), Ok(()));
    }

    #[tokio::test]
    async fn publishes_changes_once() {
        let fence = Fence::closed();
        let mut seen = fence.subscribe();
        fence.follow(None);
        assert!(!seen.has_changed().unwrap());
        fence.lead_until(Instant::now() + Duration::from_secs(1), 1);
        assert!(seen.has_changed().unwrap());
        seen.mark_unchanged();
        fence.lead_until(Instant::now() + Duration::from_secs(2), 1);
        assert!(!seen.has_changed().unwrap());
        fence.until_leader().await;
        fence.lose();
        assert_eq!(*seen.borrow_and_update(), Leadership::Lost);
        assert_eq!(fence.check(), Err(Fenced::Expired));
    }
}
