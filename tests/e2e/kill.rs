//! The operator is killed after each n-th write of an install, an upgrade and a collection, and started
//! again: it always ends in the state of an undisturbed run, and nothing of the users' is lost (design rule
//! 6).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use testkit::world::{ACCOUNT, NAMESPACE};
use testkit::{
    FaultProxy, KillSwitch, Match, OperatorOptions, PackageFixture, World, WorldOptions, synthetic,
};

use crate::OPERATOR;
use crate::state::{
    Subject, custom_resource, difference, make_custom_resource, nothing_was_forbidden, owned_by_deleted,
};

/// To reach the end of a scenario on a busy machine.
const SOON: Duration = Duration::from_secs(90);
/// Without a write for so long, a scenario has ended.
const CALM: Duration = Duration::from_millis(700);
/// No scenario needs more writes: what goes on writing is a loop.
const MAX_WRITES: u64 = 80;
/// A kill before a write leaves almost what a kill after the one before it leaves: every so many will do.
const BEFORE_EVERY: u64 = 6;
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// A world whose operator speaks to the API server through a proxy.
struct Stage {
    world: World,
    proxy: FaultProxy,
    store: tempfile::TempDir,
    token: String,
}

/// When it is killed: before the write takes effect, or after, with its answer lost.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Before,
    After,
}

/// What is killed.
trait Scenario: Sync {
    /// Everything that comes before the part in which it is killed.
    async fn prepare(&self, stage: &Stage, subject: &mut Subject) -> Result<()>;
    /// Starts the part in which it is killed.
    async fn begin(&self, stage: &Stage, subject: &Subject) -> Result<()>;
    /// What must hold beside the state.
    async fn check(&self, _: &Stage, _: &Subject) -> Result<()> {
        Ok(())
    }
}

impl Stage {
    async fn start() -> Result<Self> {
        let world = World::start(WorldOptions::default()).await?;
        let proxy = FaultProxy::for_api_server(world.plane()).await?;
        let token = world.plane().service_account_token(NAMESPACE, ACCOUNT).await?;
        let mut stage = Self {
            world,
            proxy,
            store: testkit::folder("store")?,
            token,
        };
        stage.run_operator().await?;
        Ok(stage)
    }

    async fn run_operator(&mut self) -> Result<()> {
        let options = OperatorOptions::new(OPERATOR, self.proxy.kubeconfig(&self.token)?)
            .store(self.store.path())
            .args(["--leader-election=false"]);
        self.world.replace_operator(Some(options)).await
    }

    fn writes(&self) -> usize {
        self.proxy.count(&Match::mutating())
    }

    /// Waits until nothing was written for a moment.
    async fn calm(&self) -> Result<()> {
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

    async fn push(&self, subject: &mut Subject, version: usize, fixture: &PackageFixture) -> Result<()> {
        let image = fixture.build()?;
        self.world
            .push(&subject.name, &format!("v{version}"), &image)
            .await?;
        subject.digests.push(image.digest());
        Ok(())
    }

    fn reference(&self, subject: &Subject, version: usize) -> String {
        self.world
            .registry()
            .reference(&subject.name, &format!("v{version}"))
    }

    async fn install(&self, subject: &Subject, spec: Value) -> Result<()> {
        let reference = self.reference(subject, 1);
        self.world
            .create_package("Provider", &subject.name, &reference, spec)
            .await?;
        Ok(())
    }

    async fn upgrade(&self, subject: &Subject, version: usize) -> Result<()> {
        let patch = json!({ "spec": { "package": self.reference(subject, version) } });
        self.world.patch("Provider", &subject.name, patch).await?;
        Ok(())
    }

    /// Waits until revision `number` is in place, and nothing happens any more.
    async fn serves(&self, subject: &Subject, number: usize) -> Result<()> {
        let look = async || {
            let revisions = self.world.revisions("Provider", &subject.name).await?;
            let newest = revisions.first().filter(|r| {
                r["spec"]["revision"] == json!(number)
                    && r["metadata"]["annotations"]["gantry.dev/served"] == "true"
            });
            Ok(newest.map(|_| ()))
        };
        let what = format!("revision {number} of {} serves", subject.name);
        if let Err(error) = testkit::eventually(&what, SOON, look).await {
            return Err(error.context(self.world.dump("Provider", &subject.name).await));
        }
        let world = &self.world;
        world
            .wait_condition("Provider", &subject.name, "Ready", "True", SOON)
            .await?;
        self.calm().await
    }

    /// The scenario without a kill: its end state.
    async fn undisturbed(&self, scenario: &impl Scenario, name: &str) -> Result<BTreeMap<String, Value>> {
        let mut subject = Subject::new(&format!("{name}-calm"));
        scenario.prepare(self, &mut subject).await?;
        scenario.begin(self, &subject).await?;
        let start = Instant::now();
        let (mut state, mut since) = (subject.state(&self.world).await?, Instant::now());
        // Owner references of what was deleted are taken off by the cluster's own collector, on a busy machine many seconds later.
        while since.elapsed() < Duration::from_secs(4) || owned_by_deleted(&state) {
            tokio::time::sleep(LOOK).await;
            let now = subject.state(&self.world).await?;
            if now != state {
                (state, since) = (now, Instant::now());
            }
            ensure!(start.elapsed() < SOON, "it changes still after {SOON:?}");
        }
        scenario.check(self, &subject).await?;
        self.world.delete("Provider", &subject.name).await?;
        Ok(state)
    }

    /// The scenario with a kill at the n-th write. Whether it came that far.
    async fn killed_at(
        &mut self,
        scenario: &impl Scenario,
        name: &str,
        (n, moment): (u64, Moment),
        expected: &BTreeMap<String, Value>,
    ) -> Result<bool> {
        let mut subject = Subject::new(&format!("{name}-{moment:?}-{n}").to_lowercase());
        scenario.prepare(self, &mut subject).await?;
        self.calm().await?;
        let faults = self.proxy.faults();
        let switch = match moment {
            Moment::Before => KillSwitch::before(faults, Match::mutating(), n),
            Moment::After => KillSwitch::after(faults, Match::mutating(), n),
        };
        switch.arm(self.world.operator()?.process());
        scenario.begin(self, &subject).await?;
        let (mut start, mut restarted) = (Instant::now(), false);
        let mut same_since = None;
        loop {
            if switch.fired() && !restarted {
                self.proxy.faults().clear();
                self.run_operator().await?;
                (start, restarted) = (Instant::now(), true);
            }
            let state = subject.state(&self.world).await?;
            if state == *expected {
                let since = *same_since.get_or_insert_with(Instant::now);
                if since.elapsed() > CALM {
                    break;
                }
            } else {
                same_since = None;
            }
            if start.elapsed() > SOON {
                let differs = difference(&state, expected);
                bail!(
                    "{name}, killed {moment:?} write {n} ({restarted}): not in its end state:\n{differs}\n{}",
                    self.world.dump("Provider", &subject.name).await
                );
            }
            tokio::time::sleep(LOOK).await;
        }
        scenario.check(self, &subject).await?;
        // The switch may have fired on a last event.
        if switch.fired() && !restarted {
            self.proxy.faults().clear();
            self.run_operator().await?;
        }
        self.proxy.faults().clear();
        self.proxy.faults().forget();
        self.world.delete("Provider", &subject.name).await?;
        Ok(switch.fired())
    }

    /// Every `lanes`-th n, from `first`. Answers how many writes there were to kill at.
    async fn lane(mut self, scenario: &impl Scenario, name: &str, first: u64, lanes: u64) -> Result<u64> {
        let expected = self.undisturbed(scenario, name).await?;
        ensure!(
            !expected.values().any(|o| o["metadata"]["deleting"] == true),
            "{name} deletes something: {expected:#?}"
        );
        let mut n = first;
        while self
            .killed_at(scenario, name, (n, Moment::After), &expected)
            .await?
        {
            ensure!(n <= MAX_WRITES, "{name} needs more than {MAX_WRITES} writes");
            if n.is_multiple_of(BEFORE_EVERY) {
                self.killed_at(scenario, name, (n, Moment::Before), &expected)
                    .await?;
            }
            n += lanes;
        }
        nothing_was_forbidden(&self.world)?;
        Ok(n - 1)
    }
}

/// All n, in two worlds side by side. The scenario must have `least` writes.
async fn killed_everywhere(scenario: impl Scenario, name: &str, least: u64) -> Result<()> {
    let start = Instant::now();
    let (one, two) = tokio::try_join!(Stage::start(), Stage::start())?;
    let (one, two) = tokio::try_join!(one.lane(&scenario, name, 1, 2), two.lane(&scenario, name, 2, 2))?;
    let writes = one.min(two);
    println!(
        "{name}: killed at each of {writes} writes, in {:?}",
        start.elapsed()
    );
    ensure!(
        writes >= least,
        "{name} needs only {writes} writes: is this the scenario?"
    );
    Ok(())
}

/// A first install of four CRDs.
struct Install;

impl Scenario for Install {
    async fn prepare(&self, stage: &Stage, subject: &mut Subject) -> Result<()> {
        let fixture = PackageFixture::provider(&subject.name)
            .label("example.org/from", "metadata")
            .crds(&subject.group, 4);
        stage.push(subject, 1, &fixture).await
    }

    async fn begin(&self, stage: &Stage, subject: &Subject) -> Result<()> {
        stage
            .install(subject, json!({ "commonLabels": { "team": "a" } }))
            .await
    }
}

/// An upgrade that changes one CRD, adds one, drops one and keeps the others; a kept and the dropped kind
/// have custom resources.
struct Upgrade;

const INSTANCE: &str = "precious";

impl Upgrade {
    fn crd(subject: &Subject, kind: &str, version: Option<&str>) -> Value {
        synthetic::crd(&subject.group, kind, 2_000, version)
    }
}

impl Scenario for Upgrade {
    async fn prepare(&self, stage: &Stage, subject: &mut Subject) -> Result<()> {
        let both = |package: PackageFixture| {
            package
                .object(Self::crd(subject, "Kept", None))
                .object(Self::crd(subject, "Kepttoo", None))
        };
        let old = both(PackageFixture::provider(&subject.name))
            .object(Self::crd(subject, "Changed", None))
            .object(Self::crd(subject, "Dropped", None));
        let new = both(PackageFixture::provider(&subject.name))
            .object(Self::crd(subject, "Changed", Some("v2")))
            .object(Self::crd(subject, "Added", None));
        stage.push(subject, 1, &old).await?;
        stage.push(subject, 2, &new).await?;
        stage.install(subject, json!({})).await?;
        stage.serves(subject, 1).await?;
        for kind in ["Kept", "Dropped"] {
            make_custom_resource(&stage.world, &subject.group, kind, INSTANCE).await?;
        }
        Ok(())
    }

    async fn begin(&self, stage: &Stage, subject: &Subject) -> Result<()> {
        stage.upgrade(subject, 2).await
    }

    async fn check(&self, stage: &Stage, subject: &Subject) -> Result<()> {
        for kind in ["Kept", "Dropped"] {
            custom_resource(&stage.world, &subject.group, kind, INSTANCE)
                .await
                .with_context(|| format!("a {kind} was lost"))?;
        }
        Ok(())
    }
}

/// Three revisions that have served are kept; then only one may be.
struct Collection;

impl Scenario for Collection {
    async fn prepare(&self, stage: &Stage, subject: &mut Subject) -> Result<()> {
        for version in 1..=4 {
            let fixture = PackageFixture::provider(&subject.name)
                .annotation("example.org/version", &version.to_string())
                .crds(&subject.group, 1);
            stage.push(subject, version, &fixture).await?;
        }
        stage
            .install(subject, json!({ "revisionHistoryLimit": 0 }))
            .await?;
        stage.serves(subject, 1).await?;
        make_custom_resource(&stage.world, &subject.group, "Thing0", INSTANCE).await?;
        for version in 2..=4 {
            stage.upgrade(subject, version).await?;
            stage.serves(subject, version).await?;
        }
        Ok(())
    }

    async fn begin(&self, stage: &Stage, subject: &Subject) -> Result<()> {
        let patch = json!({ "spec": { "revisionHistoryLimit": 1 } });
        stage.world.patch("Provider", &subject.name, patch).await?;
        Ok(())
    }

    async fn check(&self, stage: &Stage, subject: &Subject) -> Result<()> {
        custom_resource(&stage.world, &subject.group, "Thing0", INSTANCE).await?;
        let left = stage.world.revisions("Provider", &subject.name).await?;
        assert_eq!(left.len(), 2, "{left:#?}");
        Ok(())
    }
}

#[test]
fn killed_at_any_write_of_an_install_it_ends_as_if_nothing_had_happened() -> Result<()> {
    testkit::run(killed_everywhere(Install, "install", 8))
}

#[test]
fn killed_at_any_write_of_an_upgrade_it_ends_as_if_nothing_had_happened() -> Result<()> {
    testkit::run(killed_everywhere(Upgrade, "upgrade", 10))
}

#[test]
fn killed_at_any_write_of_a_collection_it_ends_as_if_nothing_had_happened() -> Result<()> {
    testkit::run(killed_everywhere(Collection, "collection", 2))
}
