//! What happens: chosen by a seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;
use serde_json::json;
use testkit::world::{ACCOUNT, NAMESPACE, USER, condition_of};
use testkit::{
    AuditMark, Fault, FaultProxy, Match, OperatorOptions, PackageFixture, Rule, World, WorldOptions,
};

use super::sample::{Counter, Sample};
use crate::state::name;

/// Packages whenever everything has settled: sizes are compared, so what there is must be as much.
const PACKAGES: usize = 8;
/// Most CRDs of a package.
const MOST_CRDS: usize = 6;
/// For everything to settle on a busy machine.
const SOON: Duration = Duration::from_secs(180);
/// Nothing was written for so long: it has settled. Longer than a poll of a tag.
const CALM: Duration = Duration::from_secs(4);
/// How long a disturbance lasts.
const DISTURBED: Duration = Duration::from_millis(1_500);

/// One package.
struct Subject {
    name: String,
    crds: usize,
    /// Version that was pushed last.
    versions: usize,
    /// It follows a tag that moves.
    follows: bool,
}

pub(super) struct Churn {
    pub(super) world: World,
    api: FaultProxy,
    registry: FaultProxy,
    subjects: Vec<Subject>,
    random: Rng,
    counter: Counter,
    made: usize,
    done: usize,
}

impl Churn {
    pub(super) async fn start(operator: &Path, seed: u64) -> Result<Self> {
        let mut world = World::start(WorldOptions::default()).await?;
        let api = FaultProxy::for_api_server(world.plane()).await?;
        let registry = FaultProxy::for_plain(world.registry().addr()).await?;
        let token = world.plane().service_account_token(NAMESPACE, ACCOUNT).await?;
        let options =
            OperatorOptions::new(operator, api.kubeconfig(&token)?).args(["--tag-poll-interval=2s"]);
        world.replace_operator(Some(options)).await?;
        let mut churn = Self {
            world,
            api,
            registry,
            subjects: vec![],
            random: Rng::with_seed(seed),
            counter: Counter::default(),
            made: 0,
            done: 0,
        };
        churn.settle().await?;
        Ok(churn)
    }

    /// How much has happened.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    pub(super) async fn look(&mut self) -> Result<Sample> {
        self.counter.look(&self.world, &self.registry).await
    }

    /// Stirs for so long, then lets everything settle. Says what happened.
    pub(super) async fn round(&mut self, lasting: Duration) -> Result<String> {
        let begun = Instant::now();
        let mut happened: BTreeMap<&str, usize> = BTreeMap::new();
        while begun.elapsed() < lasting {
            let what = self.step().await?;
            *happened.entry(what).or_default() += 1;
            self.done += 1;
            tokio::time::sleep(Duration::from_millis(self.random.u64(50..600))).await;
        }
        self.settle().await?;
        let all: Vec<String> = happened.iter().map(|(what, n)| format!("{n} {what}")).collect();
        Ok(all.join(", "))
    }

    async fn step(&mut self) -> Result<&'static str> {
        let at = self.random.usize(..self.subjects.len().max(1));
        if self.subjects.is_empty() {
            self.install().await?;
            return Ok("installs");
        }
        match self.random.u32(..100) {
            0..12 => {
                self.install().await?;
                Ok("installs")
            }
            12..22 => {
                let gone = self.subjects.swap_remove(at);
                self.world.delete("Provider", &gone.name).await?;
                Ok("deletions")
            }
            22..50 => {
                let follows = self.subjects[at].follows;
                let version = self.subjects[at].versions + 1;
                self.subjects[at].versions = version;
                let reference = self.push(at).await?;
                if !follows {
                    self.ask_for(at, &reference).await?;
                }
                Ok(if follows { "tags moved" } else { "upgrades" })
            }
            50..58 => {
                let subject = &self.subjects[at];
                if !subject.follows && subject.versions > 1 {
                    let reference = self.reference(&subject.name, &format!("v{}", subject.versions - 1));
                    self.ask_for(at, &reference).await?;
                }
                Ok("rollbacks")
            }
            58..66 => {
                let revisions = self.world.revisions("Provider", &self.subjects[at].name).await?;
                if let Some(newest) = revisions.first() {
                    self.world.delete("ProviderRevision", &name(newest)).await?;
                }
                Ok("revisions deleted")
            }
            66..76 => {
                let crd = format!("thing0s.{}.example.org", self.subjects[at].name);
                self.world.delete("CustomResourceDefinition", &crd).await?;
                Ok("CRDs deleted")
            }
            76..82 => {
                self.api.cut();
                Ok("cuts")
            }
            82..87 => {
                let one_in_three = Match::any().and(|seen| seen.sequence.is_multiple_of(3));
                self.api.faults().add(Rule::new(one_in_three, Fault::status(500)));
                tokio::time::sleep(DISTURBED).await;
                self.api.faults().clear();
                Ok("times 500")
            }
            87..92 => {
                self.api.freeze();
                tokio::time::sleep(DISTURBED).await;
                self.api.thaw();
                Ok("freezes")
            }
            92..97 => {
                self.registry.stop();
                tokio::time::sleep(DISTURBED).await;
                self.registry.start_again().await?;
                Ok("registry outages")
            }
            _ => {
                std::fs::remove_dir_all(self.world.operator()?.store()).ok();
                Ok("stores removed")
            }
        }
    }

    async fn install(&mut self) -> Result<()> {
        self.made += 1;
        let subject = Subject {
            name: format!("soaked-{}", self.made),
            crds: self.random.usize(1..=MOST_CRDS),
            versions: 1,
            follows: self.made.is_multiple_of(3),
        };
        self.subjects.push(subject);
        let at = self.subjects.len() - 1;
        let reference = self.push(at).await?;
        let subject = &self.subjects[at];
        let policy = if subject.follows { "Always" } else { "IfNotPresent" };
        let spec = json!({ "packagePullPolicy": policy, "revisionHistoryLimit": 1 });
        self.world
            .create_package("Provider", &subject.name, &reference, spec)
            .await
            .map(drop)
    }

    fn reference(&self, name: &str, tag: &str) -> String {
        format!("{}/{name}:{tag}", self.registry.addr())
    }

    /// Pushes the present version; answers the reference by which it is asked for.
    async fn push(&self, at: usize) -> Result<String> {
        let Subject {
            name,
            crds,
            versions,
            follows,
        } = &self.subjects[at];
        let version = format!("v{versions}");
        let fixture = PackageFixture::provider(name)
            .annotation("example.org/version", &version)
            .version_label(if versions % 2 == 0 { "even" } else { "odd" })
            .crds(&format!("{name}.example.org"), *crds);
        let tag = if *follows { "stable".to_owned() } else { version };
        self.world.push(name, &tag, &fixture.build()?).await?;
        Ok(self.reference(name, &tag))
    }

    async fn ask_for(&self, at: usize, reference: &str) -> Result<()> {
        let patch = json!({ "spec": { "package": reference } });
        self.world
            .patch("Provider", &self.subjects[at].name, patch)
            .await
            .map(drop)
    }

    /// Ends every disturbance, makes as many packages as always, and waits until they serve and nothing is written.
    async fn settle(&mut self) -> Result<()> {
        while self.subjects.len() > PACKAGES {
            let gone = self.subjects.swap_remove(0);
            self.world.delete("Provider", &gone.name).await?;
        }
        while self.subjects.len() < PACKAGES {
            self.install().await?;
        }
        for subject in &self.subjects {
            let what = format!("{} serves", subject.name);
            self.world
                .wait_for("Provider", &subject.name, &what, SOON, |package| {
                    package["status"]["currentIdentifier"] == package["spec"]["package"]
                        && condition_of(package, "Ready")["status"] == "True"
                })
                .await?;
        }
        let (mut mark, mut since) = (self.world.plane().audit_mark()?, Instant::now());
        let begun = Instant::now();
        while since.elapsed() < CALM {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let next: AuditMark = self.world.plane().audit_mark()?;
            let new = self.world.plane().writes_since(mark, USER)?;
            if let Some(last) = new.last() {
                (mark, since) = (next, Instant::now());
                let late = begun.elapsed() > SOON;
                anyhow::ensure!(!late, "it still writes {} after {SOON:?}", last.uri);
            }
        }
        self.world.operator().context("no operator").map(drop)
    }
}
