//! Where faults happen: a control plane, a registry and an operator, with a proxy between any two of them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testkit::world::{ACCOUNT, NAMESPACE};
use testkit::{FaultProxy, Match, OperatorOptions, PackageFixture, World, WorldOptions};

use crate::state::Subject;

/// To become true on a busy machine, with pauses between tries of up to a minute.
pub(super) const SOON: Duration = Duration::from_secs(150);
/// Pause between two looks.
pub(super) const LOOK: Duration = Duration::from_millis(150);
/// Without a write for so long, nothing is under way.
const CALM: Duration = Duration::from_millis(700);

/// A world whose connections can be disturbed.
pub struct Stage {
    /// Control plane, registry, operator.
    pub world: World,
    /// Between operator and API server.
    pub api: FaultProxy,
    /// Between operator and registry.
    pub registry: FaultProxy,
    /// The content store; outlives the operator.
    pub store: tempfile::TempDir,
    operator: PathBuf,
    token: String,
}

impl Stage {
    /// Starts all.
    pub async fn start(operator: &Path) -> Result<Self> {
        let world = World::start(WorldOptions::default()).await?;
        let api = FaultProxy::for_api_server(world.plane()).await?;
        let registry = FaultProxy::for_plain(world.registry().addr()).await?;
        let token = world.plane().service_account_token(NAMESPACE, ACCOUNT).await?;
        let mut stage = Self {
            world,
            api,
            registry,
            store: testkit::folder("store")?,
            operator: operator.to_owned(),
            token,
        };
        stage.run_operator().await?;
        Ok(stage)
    }

    /// How the operator is started here.
    pub fn options(&self) -> Result<OperatorOptions> {
        Ok(
            OperatorOptions::new(&self.operator, self.api.kubeconfig(&self.token)?)
                .store(self.store.path())
                .args(["--leader-election=false", "--tag-poll-interval=2s"]),
        )
    }

    /// The operator's binary.
    pub fn program(&self) -> &Path {
        &self.operator
    }

    /// Starts the operator, in place of the one that runs or ran.
    pub async fn run_operator(&mut self) -> Result<()> {
        let options = self.options()?;
        self.world.replace_operator(Some(options)).await
    }

    /// How many writes the operator has asked for.
    pub fn writes(&self) -> usize {
        self.api.count(&Match::mutating())
    }

    /// Waits until the operator has asked for `more` writes than `before`; or for none for a while, after some.
    pub async fn wrote(&self, before: usize, more: usize) -> Result<()> {
        let (mut seen, mut since) = (before, Instant::now());
        while self.writes() < before + more {
            tokio::time::sleep(LOOK / 10).await;
            if self.writes() != seen {
                (seen, since) = (self.writes(), Instant::now());
            }
            let patience = if seen == before { SOON } else { CALM };
            if since.elapsed() > patience {
                ensure!(seen > before, "the operator does nothing");
                break;
            }
        }
        Ok(())
    }

    /// Waits until the operator writes nothing.
    pub async fn calm(&self) -> Result<()> {
        let start = Instant::now();
        let (mut since, mut writes) = (Instant::now(), self.writes());
        while since.elapsed() < CALM {
            tokio::time::sleep(LOOK).await;
            if self.writes() != writes {
                (since, writes) = (Instant::now(), self.writes());
            }
            ensure!(start.elapsed() < SOON, "it still writes after {SOON:?}");
        }
        Ok(())
    }

    /// Pushes the next version of a subject.
    pub async fn push(&self, subject: &mut Subject, fixture: &PackageFixture) -> Result<()> {
        let image = fixture.build()?;
        subject.digests.push(image.digest());
        let tag = format!("v{}", subject.digests.len());
        self.world.push(&subject.name, &tag, &image).await.map(drop)
    }

    /// How packages name a version, from 1: by way of the proxy.
    pub fn reference(&self, subject: &Subject, version: usize) -> String {
        format!("{}/{}:v{version}", self.registry.addr(), subject.name)
    }

    /// Creates the package at a version.
    pub async fn create(&self, subject: &Subject, version: usize, spec: Value) -> Result<()> {
        let reference = self.reference(subject, version);
        self.world
            .create_package("Provider", &subject.name, &reference, spec)
            .await
            .map(drop)
    }

    /// Changes the package by merge patch.
    pub async fn patch(&self, subject: &Subject, patch: Value) -> Result<()> {
        self.world.patch("Provider", &subject.name, patch).await.map(drop)
    }

    /// Makes the package ask for a version.
    pub async fn ask_for(&self, subject: &Subject, version: usize) -> Result<()> {
        let reference = self.reference(subject, version);
        self.patch(subject, json!({ "spec": { "package": reference } }))
            .await
    }

    /// Waits until the package serves the version it asks for, and nothing is under way.
    pub async fn serves(&self, subject: &Subject) -> Result<()> {
        let is = |package: &Value, condition: &str| {
            testkit::world::condition_of(package, condition)["status"] == "True"
        };
        let what = format!("{} serves what it asks for", subject.name);
        self.world
            .wait_for("Provider", &subject.name, &what, SOON, |package| {
                let status = &package["status"];
                status["observedGeneration"] == package["metadata"]["generation"]
                    && status["currentIdentifier"] == package["spec"]["package"]
                    && status["servingRevision"] == status["currentRevision"]
                    && is(package, "Ready")
            })
            .await?;
        self.calm().await
    }
}
