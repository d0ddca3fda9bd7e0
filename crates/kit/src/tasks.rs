//! Named tasks whose end somebody sees.
//!
//! The first task to end without having been asked to, and the first to panic, ends the process: a controller
//! that silently stopped is worse than one that is restarted.

use std::{
    any::Any,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How one task ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// It returned although the process was not stopping.
    #[error("task {name} ended by itself")]
    Early {
        /// The task.
        name: String,
    },
    /// It returned an error.
    #[error("task {name} failed: {why}")]
    Failed {
        /// The task.
        name: String,
        /// The error with its causes.
        why: String,
    },
    /// It panicked.
    #[error("task {name} panicked: {why}")]
    Panicked {
        /// The task.
        name: String,
        /// The panic's message.
        why: String,
    },
}

/// Starts tasks and reports the first one that ends wrongly. Clones share one set.
#[derive(Clone, Debug)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    stopping: CancellationToken,
    tracker: TaskTracker,
    report: mpsc::Sender<Ended>,
    reports: Mutex<Option<mpsc::Receiver<Ended>>>,
}

impl Tasks {
    /// An empty set. After `stopping` is cancelled tasks may return.
    pub fn new(stopping: CancellationToken) -> Self {
        // Only the first report counts; `try_send` below drops the others.
        let (report, reports) = mpsc::channel(1);
        let reports = Mutex::new(Some(reports));
        Self {
            inner: Arc::new(Inner {
                stopping,
                tracker: TaskTracker::new(),
                report,
                reports,
            }),
        }
    }

    /// The token after which tasks may return.
    pub fn stopping(&self) -> &CancellationToken {
        &self.inner.stopping
    }

    /// A task that must run until the process stops.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        self.start(name.into(), true, async move {
            task.await;
            Ok(())
        });
    }

    /// A task that must run until the process stops and whose error ends the process.
    pub fn spawn_fallible<E>(
        &self,
        name: impl Into<String>,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: std::error::Error + 'static,
    {
        self.start(name.into(), true, async move {
            task.await.map_err(|error| crate::answer::causes(&error))
        });
    }

    /// A task that may return at any time, but may not panic.
    pub fn spawn_job(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        self.start(name.into(), false, async move {
            task.await;
            Ok(())
        });
    }

    /// A task that runs as long as the process and that [`Tasks::drain`] does not wait for.
    pub fn spawn_daemon<E>(
        &self,
        name: impl Into<String>,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: std::error::Error + 'static,
    {
        let task = async move { task.await.map_err(|error| crate::answer::causes(&error)) };
        tokio::spawn(self.watched(name.into(), true, task));
    }

    fn start(
        &self,
        name: String,
        essential: bool,
        task: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        self.inner.tracker.spawn(self.watched(name, essential, task));
    }

    /// Starts the task; what is returned reports its end.
    fn watched(
        &self,
        name: String,
        essential: bool,
        task: impl Future<Output = Result<(), String>> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let handle: JoinHandle<Result<(), String>> = tokio::spawn(task);
        let inner = self.inner.clone();
        async move {
            let ended = match handle.await {
                Ok(Ok(())) if !essential || inner.stopping.is_cancelled() => return,
                Ok(Ok(())) => Ended::Early { name },
                Ok(Err(why)) => Ended::Failed { name, why },
                Err(error) if error.is_panic() => Ended::Panicked {
                    name,
                    why: panic_message(error.into_panic().as_ref()),
                },
                // The runtime is being dropped.
                Err(_) => return,
            };
            let _ = inner.report.try_send(ended);
        }
    }

    /// Waits for the first task that ends wrongly. A second caller waits forever: there is one supervisor.
    pub async fn first_failure(&self) -> Ended {
        let reports = self
            .inner
            .reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut reports) = reports
            && let Some(ended) = reports.recv().await
        {
            return ended;
        }
        std::future::pending().await
    }

    /// Waits until all tasks have returned, at most `deadline`; whether they did.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.inner.tracker.close();
        tokio::time::timeout(deadline, self.inner.tracker.wait())
            .await
            .is_ok()
    }
}

/// The words of a panic, as far as they are words.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => (*words).to_owned(),
        (None, Some(words)) => words.clone(),
        (None, None) => "no message".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reports_the_first_wrong_end() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn_job("job", async {});
        tasks.spawn("watch", async { panic!("boom") });
        let ended = tasks.first_failure().await;
        assert_eq!(
            ended,
            Ended::Panicked {
                name: "watch".into(),
                why: "boom".into()
            }
        );
    }

    #[tokio::test]
    async fn an_early_end_and_an_error_are_wrong() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("a", async {});
        assert_eq!(tasks.first_failure().await, Ended::Early { name: "a".into() });
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn_fallible("b", async { Err(std::io::Error::other("no disk")) });
        assert_eq!(
            tasks.first_failure().await,
            Ended::Failed {
                name: "b".into(),
                why: "no disk".into()
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn drains() {
        let stopping = CancellationToken::new();
        let tasks = Tasks::new(stopping.clone());
        let stop = stopping.clone();
        tasks.spawn("until stop", async move { stop.cancelled().await });
        assert!(!tasks.drain(Duration::from_secs(1)).await);
        stopping.cancel();
        assert!(tasks.drain(Duration::from_secs(1)).await);
    }
}
