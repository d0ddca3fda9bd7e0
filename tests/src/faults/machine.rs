//! Processes that end, and state that goes back.

use anyhow::Result;

use super::Stage;
use super::case::Moment;
use crate::state::Subject;

pub(super) async fn killed(stage: &mut Stage, subject: &Subject, at: Moment) -> Result<()> {
    at.middle(stage, subject).await?;
    stage.world.operator()?.kill()?;
    stage.run_operator().await
}

pub(super) async fn restarts(stage: &mut Stage, subject: &Subject, at: Moment) -> Result<()> {
    at.middle(stage, subject).await?;
    stage.world.operator()?.kill()?;
    stage.world.plane().power_cycle().await?;
    stage.run_operator().await
}

/// The operator is not started anew: it has to notice by itself.
pub(super) async fn etcd_restored(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    let snapshot = stage.world.plane().snapshot()?;
    at.begin(stage, subject).await?;
    stage.serves(subject).await?;
    stage.world.plane().restore(&snapshot).await?;
    at.begin(stage, subject).await
}
