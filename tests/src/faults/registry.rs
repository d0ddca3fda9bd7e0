//! The registry and the way to it.

use std::time::Duration;

use anyhow::Result;
use testkit::{Fault as Wire, Match, Rule};

use super::Stage;
use super::case::Moment;
use crate::state::Subject;

pub(super) async fn dead(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    stage.registry.stop();
    at.begin(stage, subject).await?;
    at.last().await;
    stage.registry.start_again().await
}

pub(super) async fn slow(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    let drip = Wire::Drip {
        bytes: 1,
        every: Duration::from_secs(1),
    };
    stage
        .registry
        .faults()
        .add(Rule::new(Match::any().path("/blobs/"), drip));
    at.begin(stage, subject).await?;
    at.last().await;
    stage.registry.faults().clear();
    // What drips already would go on.
    stage.registry.cut();
    Ok(())
}

pub(super) async fn flaps(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    stage.registry.stop();
    at.begin(stage, subject).await?;
    for n in 0..at.times() {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if n % 2 == 0 {
            stage.registry.start_again().await?;
        } else {
            stage.registry.stop();
        }
    }
    stage.registry.start_again().await
}

pub(super) async fn throttles(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    stage
        .registry
        .faults()
        .add(Rule::new(Match::any(), Wire::retry_after(429, "7")));
    at.begin(stage, subject).await?;
    at.last().await;
    stage.registry.faults().clear();
    Ok(())
}
