//! Whether the API server has been within reach.
//!
//! An API server that was just started answers before it has read who may do what and which kinds it serves, and one that
//! went back to an older state answers with it: right after a connection broke, a refusal proves nothing.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Remembers when the API server was out of reach last. Clones share one memory.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    broken: Arc<Mutex<Option<Instant>>>,
}

impl Reach {
    /// A request got no answer, or its answer broke off.
    pub(crate) fn broke(&self) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// For how long every request was answered; `None` if that was never otherwise.
    pub fn well_for(&self) -> Option<Duration> {
        let broken = *self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.map(|at| at.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_break_counts() {
        let reach = Reach::default();
        let second = Duration::from_secs(1);
        assert_eq!(reach.well_for(), None);
        reach.clone().broke();
        tokio::time::advance(3 * second).await;
        assert_eq!(reach.well_for(), Some(3 * second));
        reach.broke();
        tokio::time::advance(second).await;
        assert_eq!(reach.well_for(), Some(second));
    }
}
