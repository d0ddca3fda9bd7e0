//! Time as an input.

use std::{
    fmt::Debug,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

/// Tells the time. Decisions take it as an argument, so that tests can choose it.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Wall-clock time: for what people and other machines read, never for measuring.
    fn now(&self) -> Timestamp;

    /// Monotonic time of this machine: for measuring and deadlines.
    fn instant(&self) -> Instant;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// The time for deciding when something is due: the wall clock's when this process first asked, plus what went by since.
///
/// Whoever sets the machine's clock moves nothing that was planned. For what is shown or stored use the wall clock.
pub fn steady() -> Timestamp {
    static START: LazyLock<(Timestamp, std::time::Instant)> =
        LazyLock::new(|| (Timestamp::now(), std::time::Instant::now()));
    // Saturates at the end of time, which no process reaches.
    START
        .0
        .saturating_add(START.1.elapsed())
        .unwrap_or(Timestamp::MAX)
}

/// A clock that stands still until it is moved; for tests.
#[derive(Debug)]
pub struct ManualClock {
    start: (Timestamp, Instant),
    moved: Mutex<Duration>,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self {
            start: (now, Instant::now()),
            moved: Mutex::new(Duration::ZERO),
        }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    fn moved(&self) -> Duration {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        // Saturates at the end of time, which no test reaches.
        self.start
            .0
            .saturating_add(self.moved())
            .unwrap_or(Timestamp::MAX)
    }

    fn instant(&self) -> Instant {
        self.start.1 + self.moved()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_times_move_together() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let before = clock.instant();
        clock.advance(Duration::from_secs(90));
        assert_eq!(clock.now().as_second(), 90);
        assert_eq!(clock.instant() - before, Duration::from_secs(90));
    }
}
