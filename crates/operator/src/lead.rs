//! The leader's way from winning the lease to working: nobody else manages this cluster, our kinds are defined, the caches
//! are filled.

use std::sync::Arc;
use std::time::Duration;

use kit::claim::{Claim, ClaimError, Claimed};
use kit::fence::Leadership;
use kit::lease::{RivalLease, Rivals};
use kit::ready::Handle;
use kit::tasks::Tasks;

use crate::args::Crds;
use crate::context::Context;
use crate::crds::{self, CrdError};
use crate::wiring;

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

/// Waits until this process leads, prepares, and starts the controllers.
///
/// # Errors
/// If what is missing can't be mended by waiting.
pub(crate) async fn lead(
    cx: Arc<Context>,
    tasks: Tasks,
    mut rivals: Rivals,
    mine: RivalLease,
    mode: Crds,
    leading: Handle,
    concurrency: usize,
) -> Result<(), LeadError> {
    let stopping = tasks.stopping().clone();
    leading.not_ready("waiting for the election");
    let mut leadership = cx.writer.fence().subscribe();
    let known = leadership.wait_for(|now| !matches!(now, Leadership::Follower { holder: None }));
    // A standby is ready when its caches are.
    if let Some(Ok(now)) = stopping.run_until_cancelled(known).await
        && !matches!(*now, Leadership::Leader { .. })
    {
        leading.ready();
    }
    let prepared = stopping
        .run_until_cancelled(prepare(&cx, &mut rivals, mine, mode, &leading))
        .await;
    match prepared {
        None => return Ok(()),
        Some(Err(error)) => return Err(error),
        Some(Ok(())) => {}
    }
    wiring::start(&cx, &tasks, concurrency);
    cx.work_figures.controllers_run();
    leading.ready();
    tracing::info!("leading");
    // Leading goes on; a package manager of the reference that comes alive stops all writes.
    let fence = cx.writer.fence().clone();
    let watch = async {
        while rivals.changed().await {
            match rivals.alive() {
                Some(why) if fence.suspended().is_none() => {
                    tracing::error!(
                        why,
                        "another package manager came alive: nothing is written until it is gone"
                    );
                    fence.suspend(why);
                }
                None if fence.suspended().is_some() => {
                    tracing::info!("no other package manager is alive: writing again");
                    fence.resume();
                    wiring::everything(&cx);
                }
                _ => {}
            }
        }
    };
    stopping.run_until_cancelled(watch).await;
    stopping.cancelled().await;
    Ok(())
}

async fn prepare(
    cx: &Arc<Context>,
    rivals: &mut Rivals,
    mine: RivalLease,
    mode: Crds,
    leading: &Handle,
) -> Result<(), LeadError> {
    cx.writer.fence().until_leader().await;
    leading.not_ready("preparing to lead");
    // Until the other leases were read for the first time nobody knows; that is not worth a line.
    let _ = tokio::time::timeout(FIRST_LOOK, rivals.clear()).await;
    if let Some(why) = rivals.obstacle() {
        tracing::warn!(why, "standing by beside another package manager");
        leading.not_ready(format!("standing by: {why}"));
    }
    rivals.clear().await;
    let claim = crds::target(CLAIM_ON).map(|target| Claim {
        target,
        annotation: api::annotation::OPERATOR.to_owned(),
        mine,
    });
    loop {
        let claimed = match &claim {
            Some(claim) => claim.acquire(&cx.writer, api::FIELD_MANAGER_CRDS).await,
            None => Ok(Claimed::Mine),
        };
        match claimed {
            Ok(Claimed::Mine) => {}
            // Our CRDs are not there yet: nobody can have claimed. They are written, then claimed.
            Ok(Claimed::NoTarget) => {
                if let Err(error) = define(cx, mode).await {
                    refuse(error, mode, leading)?;
                    tokio::time::sleep(RETRY).await;
                }
                continue;
            }
            Ok(Claimed::Theirs { lease, why }) => {
                tracing::warn!(%lease, %why, "another installation claims this cluster; standing by");
                leading.not_ready(format!("standing by: the cluster is claimed by {lease}: {why}"));
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
        match define(cx, mode).await {
            Ok(()) => break,
            Err(error) => {
                refuse(error, mode, leading)?;
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    leading.not_ready("filling caches");
    cx.caches.poke();
    cx.caches.defined().await;
    cx.caches.filled().await;
    Ok(())
}

async fn define(cx: &Arc<Context>, mode: Crds) -> Result<(), CrdError> {
    let applied = crds::apply(&cx.writer, mode).await?;
    if !applied.written.is_empty() {
        tracing::info!(
            crds = applied.written.join(", "),
            "custom resource definitions written"
        );
    }
    cx.work_figures.newer_crds(applied.newer.len());
    if !applied.newer.is_empty() {
        tracing::warn!(
            crds = applied.newer.join(", "),
            "a newer Gantry wrote these definitions; they are left as they are"
        );
    }
    Ok(())
}

/// What waiting doesn't mend ends the process with a sentence; the rest is told and tried again.
fn refuse(error: CrdError, mode: Crds, leading: &Handle) -> Result<(), LeadError> {
    if mode == Crds::Check && matches!(error, CrdError::Missing(_)) {
        return Err(LeadError::Crds(Box::new(error)));
    }
    tracing::warn!(%error, "custom resource definitions are not ready");
    leading.not_ready(error.to_string());
    Ok(())
}
