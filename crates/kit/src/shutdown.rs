//! From a signal to an orderly end.
//!
//! 1. The first SIGTERM or SIGINT cancels [`Shutdown::stopping`]: queues take nothing new and finish what
//!    runs.
//! 2. When that is done, or after [`DRAIN_DEADLINE`], the caller cancels the election's own token: the lease
//!    is given up only after the last write.
//! 3. A second signal cancels [`Shutdown::forced`]: the caller returns at once.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long the process may take to end: a third of the time a pod is given by default.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// Signals could not be listened to.
#[derive(Debug, thiserror::Error)]
#[error("signals cannot be received, so this process could not be stopped in an orderly way")]
pub struct ShutdownError(#[from] std::io::Error);

/// The two stages of stopping. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Cancelled when the process should stop.
    pub stopping: CancellationToken,
    /// Cancelled when it should stop without waiting for anything.
    pub forced: CancellationToken,
}

impl Shutdown {
    /// Listens to SIGTERM and SIGINT from now on. Needs a running runtime.
    pub fn install() -> Result<Self, ShutdownError> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = Self::default();
        let tokens = shutdown.clone();
        tokio::spawn(async move {
            let name = next(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = name, "stopping");
            tokens.stopping.cancel();
            let name = next(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = name, "stopping at once");
            tokens.forced.cancel();
        });
        Ok(shutdown)
    }

    /// Runs `drain`, which must follow [`Shutdown::stopping`], until it is done, [`DRAIN_DEADLINE`] has
    /// passed since the stop, or the stop is forced. Whether it was done.
    pub async fn drain(&self, drain: impl Future<Output = ()>) -> bool {
        let deadline = async {
            self.stopping.cancelled().await;
            tokio::time::sleep(DRAIN_DEADLINE).await;
        };
        tokio::select! {
            biased;
            () = drain => true,
            () = deadline => false,
            () = self.forced.cancelled() => false,
        }
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_drain_is_bounded_from_the_stop_on() {
        let shutdown = Shutdown::default();
        let stopping = shutdown.stopping.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            stopping.cancel();
        });
        let start = tokio::time::Instant::now();
        assert!(!shutdown.drain(std::future::pending()).await);
        assert_eq!(start.elapsed().as_secs(), 3600 + DRAIN_DEADLINE.as_secs());
        assert!(shutdown.drain(async {}).await);
    }

    #[tokio::test(start_paused = true)]
    async fn force_ends_the_drain() {
        let shutdown = Shutdown::default();
        shutdown.stopping.cancel();
        shutdown.forced.cancel();
        let start = tokio::time::Instant::now();
        assert!(!shutdown.drain(std::future::pending()).await);
        assert_eq!(start.elapsed().as_secs(), 0);
    }
}
