//! Growing delays with jitter.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// First delay after a failure: soon enough to bridge a hiccup.
pub const FIRST_DELAY: Duration = Duration::from_secs(1);

/// Longest delay between two attempts, as the reference has it: an outage that ends is noticed within a
/// minute.
pub const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// A series of delays: doubling from `first` to `longest`, each spread over its upper half.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(FIRST_DELAY, LONGEST_DELAY)
    }
}

impl Backoff {
    /// A series that starts with `first` and does not grow beyond `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            attempts: 0,
        }
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let delay = delay(self.first, self.longest, self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        jitter(delay)
    }

    /// Starts over.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// The delay after `attempts` earlier failures, without jitter.
pub fn delay(first: Duration, longest: Duration, attempts: u32) -> Duration {
    // 2^20 s are 12 days: beyond any `longest`, and no overflow below.
    first.saturating_mul(1 << attempts.min(20)).min(longest)
}

/// A random duration between half of `delay` and `delay`.
pub fn jitter(delay: Duration) -> Duration {
    delay / 2 + (delay / 2).mul_f64(random_fraction())
}

/// A random number in `0.0..1.0`; good enough to spread load, not for secrets.
pub fn random_fraction() -> f64 {
    // 53 bits are what a double holds exactly.
    (random() >> 11) as f64 / (1_u64 << 53) as f64
}

/// 64 random bits; good enough to spread load and to make names differ, not for secrets.
pub fn random() -> u64 {
    // The standard library seeds each `RandomState` afresh from the system's randomness.
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest() {
        let plain = |attempts| delay(FIRST_DELAY, LONGEST_DELAY, attempts).as_secs();
        let delays: Vec<_> = (0..8).map(plain).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(plain(u32::MAX), 60);
    }

    #[test]
    fn spreads_over_the_upper_half() {
        let mut backoff = Backoff::default();
        for attempt in 0..100 {
            let full = delay(FIRST_DELAY, LONGEST_DELAY, attempt);
            let drawn = backoff.next_delay();
            assert!(drawn >= full / 2 && drawn <= full, "{attempt}: {drawn:?}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= FIRST_DELAY);
    }

    #[test]
    fn random_numbers_differ() {
        assert_ne!(random(), random());
        assert!(
            (0..1_000)
                .map(|_| random_fraction())
                .all(|n| (0.0..1.0).contains(&n))
        );
    }
}
