//! What is under way when a fault happens.

use std::fmt;

use anyhow::Result;
use serde_json::{Value, json};
use testkit::{PackageFixture, synthetic};

use super::stage::Stage;
use crate::state::{Subject, make_custom_resource};

/// The custom resource that must survive.
pub(super) const PRECIOUS: &str = "precious";
/// Its kind; every version has it.
pub(super) const KEPT: &str = "Thing0";

/// A part of a package's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Version 1 comes into an empty cluster.
    Install,
    /// Version 2 changes every other CRD, drops one and adds one.
    Upgrade,
    /// From version 2 back to 1.
    Rollback,
    /// Old revisions are removed.
    Collect,
}

/// All phases.
pub(super) const ALL: &[Phase] = &[Phase::Install, Phase::Upgrade, Phase::Rollback, Phase::Collect];
/// All but the removal of old revisions, which asks no registry, opens no package and writes no CRD.
pub(super) const WITH_CONTENT: &[Phase] = &[Phase::Install, Phase::Upgrade, Phase::Rollback];

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
            Self::Rollback => "rollback",
            Self::Collect => "GC",
        })
    }
}

fn version(subject: &Subject, size: usize, number: usize, collect: bool) -> PackageFixture {
    let changed = number == 2 && !collect;
    let last = if changed { "Added" } else { "Dropped" };
    let mut fixture =
        PackageFixture::provider(&subject.name).annotation("example.org/version", &number.to_string());
    for n in 0..size.saturating_sub(1) {
        let label = (changed && n % 2 == 1).then_some("v2");
        fixture = fixture.object(synthetic::crd(&subject.group, &format!("Thing{n}"), 2_000, label));
    }
    fixture.object(synthetic::crd(&subject.group, last, 2_000, None))
}

impl Phase {
    /// Everything that comes before.
    pub async fn prepare(self, stage: &Stage, subject: &mut Subject, size: usize) -> Result<()> {
        let versions = match self {
            Self::Install => 1,
            Self::Upgrade | Self::Rollback => 2,
            Self::Collect => 3,
        };
        for number in 1..=versions {
            let fixture = version(subject, size, number, self == Self::Collect);
            stage.push(subject, &fixture).await?;
        }
        if self == Self::Install {
            return Ok(());
        }
        stage.create(subject, 1, self.spec_before()).await?;
        stage.serves(subject).await?;
        make_custom_resource(&stage.world, &subject.group, KEPT, PRECIOUS).await?;
        let before = match self {
            Self::Rollback => 2..=2,
            Self::Collect => 2..=3,
            Self::Install | Self::Upgrade => return Ok(()),
        };
        for number in before {
            stage.ask_for(subject, number).await?;
            stage.serves(subject).await?;
        }
        Ok(())
    }

    fn spec_before(self) -> Value {
        match self {
            Self::Collect => json!({ "revisionHistoryLimit": 0 }),
            Self::Install | Self::Upgrade | Self::Rollback => json!({}),
        }
    }

    /// The version that is asked for in the end.
    pub fn target(self) -> usize {
        match self {
            Self::Install | Self::Rollback => 1,
            Self::Upgrade => 2,
            Self::Collect => 3,
        }
    }

    /// The spec in the end, without the package's reference.
    pub fn spec(self) -> Value {
        match self {
            Self::Collect => json!({ "revisionHistoryLimit": 1 }),
            Self::Install | Self::Upgrade | Self::Rollback => json!({}),
        }
    }

    /// Starts it.
    pub async fn begin(self, stage: &Stage, subject: &Subject) -> Result<()> {
        match self {
            Self::Install => stage.create(subject, 1, json!({})).await,
            Self::Upgrade | Self::Rollback => stage.ask_for(subject, self.target()).await,
            Self::Collect => stage.patch(subject, json!({ "spec": self.spec() })).await,
        }
    }

    /// So many writes of the operator later it is in the middle.
    pub fn middle(self, size: usize) -> usize {
        match self {
            Self::Install | Self::Upgrade | Self::Rollback => size / 2 + 3,
            Self::Collect => 1,
        }
    }

    /// Starts it, and waits until it is in the middle.
    pub async fn begin_to_middle(self, stage: &Stage, subject: &Subject, size: usize) -> Result<()> {
        let before = stage.writes();
        self.begin(stage, subject).await?;
        stage.wrote(before, self.middle(size)).await
    }
}
