//! One gate for work that keeps a core busy, so that it never starves what only waits.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Lets as much heavy work run at once as there are cores. Clones share the gate.
#[derive(Clone, Debug)]
pub struct CpuGate {
    permits: Arc<Semaphore>,
    width: usize,
}

impl Default for CpuGate {
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }
}

impl CpuGate {
    /// A gate for `width` jobs at once, at least one.
    pub fn new(width: usize) -> Self {
        let width = width.max(1);
        Self {
            permits: Arc::new(Semaphore::new(width)),
            width,
        }
    }

    /// How many jobs run at once.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Waits for its turn and runs `job` on a thread of its own. A panic of the job is passed on to the
    /// caller.
    ///
    /// If the caller goes away, the job still runs to its end and keeps its place until then.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        // The semaphore is never closed; without a permit the job would still be right, only early.
        let permit = self.permits.clone().acquire_owned().await.ok();
        let span = tracing::Span::current();
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            span.in_scope(job)
        });
        match work.await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Blocking work is cancelled only when the runtime ends, and with it this task.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn runs_no_more_than_its_width() {
        let gate = CpuGate::new(2);
        let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let jobs = (0..8).map(|_| {
            let counts = counts.clone();
            gate.run(move || {
                let running = counts.0.fetch_add(1, Ordering::SeqCst) + 1;
                counts.1.fetch_max(running, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
                counts.0.fetch_sub(1, Ordering::SeqCst);
            })
        });
        futures::future::join_all(jobs).await;
        assert_eq!(counts.1.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    #[should_panic(expected = "boom")]
    async fn passes_panics_on() {
        CpuGate::new(1).run(|| panic!("boom")).await;
    }
}
