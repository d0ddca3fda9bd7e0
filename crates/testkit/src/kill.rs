//! Killing a process at a chosen write: what a crash leaves behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::FutureExt;
use tokio::sync::watch;

use crate::fault::{Faults, Match, Seen, Verdict};
use crate::process::{Killer, Process};

/// Kills a process when the n-th of certain requests passes a proxy, just before or just after it takes
/// effect.
///
/// Set first, armed with the process afterwards: the requests of its start count too. A request that is due
/// waits until the switch is armed.
#[derive(Clone)]
pub struct KillSwitch {
    target: Arc<watch::Sender<Option<Killer>>>,
    passed: Arc<AtomicU64>,
    fired: Arc<AtomicBool>,
}

impl KillSwitch {
    /// Kills before the `n`-th request (from 1) that `when` means reaches the server; it never does.
    pub fn before(faults: &Faults, when: Match, n: u64) -> Self {
        let switch = Self::new();
        let hook = switch.clone();
        faults.before(when, move |seen| hook.clone().pass(seen, n).boxed());
        switch
    }

    /// Kills after the `n`-th request (from 1) that `when` means was answered by the server; the answer is
    /// lost.
    pub fn after(faults: &Faults, when: Match, n: u64) -> Self {
        let switch = Self::new();
        let hook = switch.clone();
        faults.after(when, move |seen| hook.clone().pass(seen, n).boxed());
        switch
    }

    fn new() -> Self {
        let (target, _) = watch::channel(None);
        Self {
            target: Arc::new(target),
            passed: Arc::default(),
            fired: Arc::default(),
        }
    }

    /// Says whom to kill.
    pub fn arm(&self, process: &Process) {
        self.target.send_replace(Some(process.killer()));
    }

    /// Whether it has killed.
    pub fn fired(&self) -> bool {
        self.fired.load(Ordering::SeqCst)
    }

    /// How many of the requests have passed, the one that killed included.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    async fn pass(self, _: Seen, n: u64) -> Verdict {
        if self.passed.fetch_add(1, Ordering::SeqCst) + 1 != n {
            return Verdict::Forward;
        }
        let mut armed = self.target.subscribe();
        let killer = armed
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|target| target.clone());
        if let Some(killer) = killer {
            self.fired.store(killer.kill().is_ok(), Ordering::SeqCst);
        }
        Verdict::Drop
    }
}
