//! The leader's way from winning the lease to working: nobody else manages this cluster, our kinds are
//! defined, the caches are filled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kit::claim::{Claim, ClaimError, Claimed};
use kit::fence::Leadership;
use kit::lease::RivalLease;
use kit::ready::Handle;
use kit::tasks::Tasks;

use crate::args::Crds;
use crate::beside::Neighbours;
use crate::context::Context;
use crate::crds::{self, Compared, CrdError};
use crate::definitions::{DefinitionMetrics, Keeper, State};
use crate::{preinstall, wiring};

/// Pause before trying again to claim the cluster or to write our CRDs.
const RETRY: Duration = Duration::from_secs(5);
/// Reading the other leases for the first time takes less than this.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// The CRD that carries the claim on the cluster (design §7).
const CLAIM_ON: &str = "providers.pkg.crossplane.io";

/// Why leading is impossible.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeadError {
    /// The CRDs are only looked for, and are not there.
    #[error(transparent)]
    Crds(Box<CrdError>),
}

/// What leading needs.
pub(crate) struct Lead {
    pub(crate) cx: Arc<Context>,
    pub(crate) tasks: Tasks,
    pub(crate) neighbours: Neighbours,
    /// Our own lease.
    pub(crate) mine: RivalLease,
    pub(crate) mode: Crds,
    pub(crate) leading: Handle,
    pub(crate) definitions: DefinitionMetrics,
}

impl Lead {
    /// Waits until this process leads, prepares, and starts the controllers.
    ///
    /// # Errors
    /// If what is missing can't be mended by waiting.
    pub(crate) async fn run(mut self, concurrency: usize) -> Result<(), LeadError> {
        let stopping = self.tasks.stopping().clone();
        self.leading.not_ready("waiting for the election");
        let mut leadership = self.cx.writer.fence().subscribe();
        let known = leadership.wait_for(|now| !matches!(now, Leadership::Follower { holder: None }));
        // A standby is ready when its caches are.
        if let Some(Ok(now)) = stopping.run_until_cancelled(known).await
            && !matches!(*now, Leadership::Leader { .. })
        {
            self.leading.ready();
        }
        let states = match stopping.run_until_cancelled(self.prepare()).await {
            None => return Ok(()),
            Some(prepared) => prepared?,
        };
        wiring::start(&self.cx, &self.tasks, concurrency);
        self.cx.work_figures.controllers_run();
        let wanted = self.cx.options.packages.clone();
        let (install, until) = (preinstall::run(self.cx.clone(), wanted), stopping.clone());
        self.tasks.spawn_job("preinstall", async move {
            until.run_until_cancelled(install).await;
        });
        if self.mode == Crds::Apply {
            let keeper = Keeper {
                cx: self.cx.clone(),
                claim: self.claim(),
                metrics: self.definitions.clone(),
                states,
            };
            let stopping = stopping.clone();
            self.tasks.spawn_job("definitions", async move {
                stopping.run_until_cancelled(keeper.run()).await;
            });
        }
        self.leading.ready();
        tracing::info!("leading");
        stopping.run_until_cancelled(self.stay()).await;
        stopping.cancelled().await;
        Ok(())
    }

    /// Leading goes on; a package manager of the reference that comes alive stops all writes, unless the
    /// admission policy keeps it from writing.
    async fn stay(&mut self) {
        let fence = self.cx.writer.fence().clone();
        let mut told: Option<String> = None;
        let mut beside: Option<String> = None;
        loop {
            match self.neighbours.alive() {
                Some(obstacle) => {
                    if fence.suspended().as_ref() != Some(&obstacle.why) {
                        fence.suspend(obstacle.why.clone());
                    }
                    // While it is being found out whether the policy is in force nothing is written, and
                    // nothing said.
                    if obstacle.settled && told.as_ref() != Some(&obstacle.why) {
                        let why = obstacle.why;
                        tracing::error!(
                            why,
                            "another package manager came alive: nothing is written beside it"
                        );
                        self.leading.not_ready(format!("nothing is written: {why}"));
                        told = Some(why);
                    }
                }
                None if fence.suspended().is_some() => {
                    if told.take().is_some() {
                        tracing::info!("no other package manager is in the way: writing again");
                        self.leading.ready();
                    }
                    fence.resume();
                    wiring::everything(&self.cx);
                }
                None => {}
            }
            let kept_out = self.neighbours.kept_out();
            if kept_out != beside
                && let Some(who) = &kept_out
            {
                tracing::info!(
                    who,
                    "leading beside it: the admission policy keeps it from packages"
                );
            }
            beside = kept_out;
            if !self.neighbours.changed().await {
                return;
            }
        }
    }

    fn claim(&self) -> Option<Claim> {
        crds::target(CLAIM_ON).map(|target| Claim {
            target,
            annotation: api::annotation::OPERATOR.to_owned(),
            mine: self.mine.clone(),
        })
    }

    async fn prepare(&mut self) -> Result<BTreeMap<String, State>, LeadError> {
        self.cx.writer.fence().until_leader().await;
        self.leading.not_ready("preparing to lead");
        self.stand_by().await;
        let claim = self.claim();
        let states = loop {
            let claimed = match &claim {
                Some(claim) => claim.acquire(&self.cx.writer, api::FIELD_MANAGER_CRDS).await,
                None => Ok(Claimed::Mine),
            };
            match claimed {
                Ok(Claimed::Mine) => {}
                // Our CRDs are not there yet: nobody can have claimed. They are written, then claimed.
                Ok(Claimed::NoTarget) => {
                    if let Err(error) = self.define().await {
                        self.refuse(error)?;
                        tokio::time::sleep(RETRY).await;
                    }
                    continue;
                }
                Ok(Claimed::Theirs { lease, why }) => {
                    tracing::warn!(%lease, %why, "another installation claims this cluster; standing by");
                    self.leading
                        .not_ready(format!("standing by: the cluster is claimed by {lease}: {why}"));
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
                Err(error) => {
                    let (ClaimError::Read(_) | ClaimError::Write(_)) = &error;
                    tracing::warn!(error = %anyhow::Error::new(error), "the cluster could not be claimed");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
            match self.define().await {
                Ok(states) => break states,
                Err(error) => {
                    self.refuse(error)?;
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        self.leading.not_ready("filling caches");
        self.cx.caches.poke();
        self.cx.caches.defined().await;
        self.cx.caches.filled().await;
        Ok(states)
    }

    /// Until nobody else manages packages, or nobody else can.
    async fn stand_by(&mut self) {
        // Until the other leases were read for the first time nobody knows; that is not worth a line.
        let _ = tokio::time::timeout(FIRST_LOOK, self.neighbours.clear()).await;
        let mut told: Option<String> = None;
        while let Some(obstacle) = self.neighbours.obstacle() {
            if obstacle.settled && told.as_ref() != Some(&obstacle.why) {
                let why = obstacle.why;
                tracing::warn!(why, "standing by beside another package manager");
                self.leading.not_ready(format!("standing by: {why}"));
                told = Some(why);
            }
            if !self.neighbours.changed().await {
                return std::future::pending().await;
            }
        }
    }

    async fn define(&self) -> Result<BTreeMap<String, State>, CrdError> {
        let applied = crds::apply(&self.cx.writer, self.mode).await?;
        if !applied.written.is_empty() {
            tracing::info!(
                crds = applied.written.join(", "),
                "custom resource definitions written"
            );
        }
        if !applied.newer.is_empty() {
            tracing::warn!(
                crds = applied.newer.join(", "),
                "a newer Gantry wrote these definitions; they are left as they are"
            );
        }
        let mut states = BTreeMap::new();
        for name in applied.all {
            let state = if applied.newer.contains(&name) {
                State::Newer
            } else if self.mode == Crds::Check {
                self.check(&name).await?
            } else {
                State::Current
            };
            states.insert(name, state);
        }
        self.definitions.set(&states);
        Ok(states)
    }

    /// What is only looked at may be of another version; that is said, and worked with.
    async fn check(&self, name: &str) -> Result<State, CrdError> {
        let (state, what) = match crds::compare(&self.cx.writer, name).await? {
            Compared::Same => return Ok(State::Current),
            Compared::Newer => (State::Newer, "a newer Gantry wrote this definition"),
            Compared::Differs { .. } => (
                State::Different,
                "this definition is not that of this version: apply deploy/crds",
            ),
        };
        tracing::warn!(crd = name, "{what}; it is left as it is, by --crds=check");
        Ok(state)
    }

    /// What waiting doesn't mend ends the process with a sentence; the rest is told and tried again.
    fn refuse(&self, error: CrdError) -> Result<(), LeadError> {
        if self.mode == Crds::Check && matches!(error, CrdError::Missing(_)) {
            return Err(LeadError::Crds(Box::new(error)));
        }
        tracing::warn!(%error, "custom resource definitions are not ready");
        self.leading.not_ready(error.to_string());
        Ok(())
    }
}
