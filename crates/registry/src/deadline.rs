//! The time a caller gives for an answer, all tries together.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{At, Error};

/// A point in time after which nobody waits any more. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    end: Instant,
    total: Duration,
}

impl Deadline {
    /// A deadline this far from now.
    #[must_use]
    pub fn after(total: Duration) -> Self {
        let now = Instant::now();
        // a duration beyond what the clock can hold means "long"
        let end = now
            .checked_add(total)
            .unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 3600));
        Self { end, total }
    }

    /// Time left; zero once it is over.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Runs `future` until the deadline.
    pub(crate) async fn bound<T>(
        &self,
        at: &At,
        what: &'static str,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        // boxed: the futures of a download are large, and callers nest them
        match tokio::time::timeout_at(self.end, Box::pin(future)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Timeout {
                at: at.clone(),
                what,
                after: self.total,
            }),
        }
    }
}
