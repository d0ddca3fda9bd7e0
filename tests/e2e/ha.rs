//! Two and three replicas, a package of a hundred CRDs, and a leader that something happens to in the middle of an
//! upgrade: who wrote when is read from the API server's audit log, and when each request was begun from the network of
//! the replica that made it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};
use testkit::world::{ACCOUNT, NAMESPACE};
use testkit::{
    AuditEvent, AuditMark, FaultProxy, Operator, OperatorOptions, PackageFixture, WallClock, World,
    WorldOptions,
};

use crate::OPERATOR;
use crate::ledger::{Ledger, renews};
use crate::scene::{is_current, says};
use crate::state::nothing_was_forbidden_but;

/// To become true on a busy machine.
const SOON: Duration = Duration::from_secs(120);
/// For how long candidates respect a leader that they don't hear of.
const LEASE: Duration = Duration::from_secs(4);
/// Work goes on within the lease's duration and this.
const GOES_ON: Duration = Duration::from_secs(5);
/// A leader that stops in good order is followed within this time.
const HAND_OVER: Duration = Duration::from_secs(2);
/// An API server that calls itself ready has read who may do what soon.
const STARTED: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);
/// A leader may begin writes for so long after it began its last renewal.
const DEADLINE: Duration = Duration::from_secs(3);
/// CRDs of the package; each upgrade changes all of them.
const CRDS: usize = 100;
/// A leader that has written so many CRDs of an upgrade is in the middle of it.
const MIDDLE: usize = 15;
const NAME: &str = "fleet";

/// What happens to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, until somebody else has finished its work.
    Stop,
    /// Its packets are swallowed, those of others are not.
    Cut,
    /// SIGTERM.
    Term,
    /// The API server is killed and started again.
    ApiServer,
    /// Its wall clock is set by so many seconds.
    Clock(i64),
}

/// One replica, on a network and with a clock of its own.
struct Replica {
    agent: String,
    operator: Operator,
    network: FaultProxy,
    clock: WallClock,
}

struct Fleet {
    world: World,
    token: String,
    replicas: Vec<Replica>,
    started: usize,
    version: usize,
    references: BTreeMap<usize, String>,
    /// When the API server was starting.
    starts: Vec<(Timestamp, Timestamp)>,
    /// What replicas have begun.
    ledger: Ledger,
}

impl Fleet {
    async fn start(replicas: usize) -> Result<Self> {
        let world = World::start(WorldOptions::default()).await?;
        let token = world.plane().service_account_token(NAMESPACE, ACCOUNT).await?;
        let mut fleet = Self {
            world,
            token,
            replicas: vec![],
            started: 0,
            version: 1,
            references: BTreeMap::new(),
            starts: vec![],
            ledger: Ledger::default(),
        };
        for version in [1, 2] {
            let fixture = PackageFixture::provider(NAME)
                .version_label(&format!("v{version}"))
                .crds("fleet.example.org", CRDS);
            let tag = format!("v{version}");
            let reference = fleet.world.push(NAME, &tag, &fixture.build()?).await?;
            fleet.references.insert(version, reference);
        }
        fleet.fill(replicas).await?;
        fleet
            .world
            .create_package("Provider", NAME, &fleet.references[&1], json!({}))
            .await?;
        fleet.settled().await?;
        Ok(fleet)
    }

    /// Starts replicas until there are so many.
    async fn fill(&mut self, replicas: usize) -> Result<()> {
        while self.replicas.len() < replicas {
            self.started += 1;
            let agent = format!("replica-{}", self.started);
            let (network, clock) = (
                FaultProxy::for_api_server(self.world.plane()).await?,
                WallClock::new()?,
            );
            let options = OperatorOptions::new(OPERATOR, network.kubeconfig(&self.token)?)
                .args([
                    "--leader-election-lease-duration=4s",
                    "--leader-election-renew-deadline=3s",
                ])
                .args(["--leader-election-retry-period=500ms", "--tag-poll-interval=1s"])
                .args(["--user-agent", &agent]);
            let operator = Operator::start(clock.worn_by(options)).await?;
            self.replicas.push(Replica {
                agent,
                operator,
                network,
                clock,
            });
        }
        Ok(())
    }

    /// Waits until the package serves what is asked for.
    async fn settled(&self) -> Result<()> {
        self.world
            .wait_for("Provider", NAME, "what is asked for serves", SOON, |package| {
                is_current(package)
                    && package["status"]["currentIdentifier"] == package["spec"]["package"]
                    && package["status"]["servingRevision"] == package["status"]["currentRevision"]
                    && says(package, "Ready", "True")
            })
            .await
            .map(drop)
    }

    /// Number of the replica that renewed the lease last.
    fn leader(&self) -> Result<usize> {
        let renewals = self.world.plane().audit()?.into_iter().filter(renews);
        let last = renews_last(renewals).context("nobody leads")?;
        let found = self.replicas.iter().position(|r| r.agent == last);
        found.with_context(|| format!("{last} leads, and is gone"))
    }

    /// What was asked to change after `mark`, by replica.
    fn writes(&self, mark: AuditMark) -> Result<Vec<AuditEvent>> {
        let mut events = self.world.plane().audit_since(mark)?;
        events.retain(|e| e.agent.starts_with("replica-") && e.is_write() && !e.is_lease());
        events.sort_by_key(|e| e.received);
        Ok(events)
    }

    /// Asks for the other version, lets it happen in the middle, and waits until the version serves.
    async fn strike(&mut self, blow: Blow) -> Result<()> {
        let leader = self.leader()?;
        let agent = self.replicas[leader].agent.clone();
        let mark = self.world.plane().audit_mark()?;
        self.version = 3 - self.version;
        let patch = json!({ "spec": { "package": self.references[&self.version] } });
        self.world.patch("Provider", NAME, patch).await?;
        let crds = |events: &[AuditEvent], agent: &str| {
            let ours =
                |e: &&AuditEvent| e.agent == agent && e.name.ends_with(".fleet.example.org") && e.code < 300;
            events.iter().filter(ours).count()
        };
        let look = async || Ok((crds(&self.writes(mark)?, &agent) >= MIDDLE).then_some(()));
        testkit::eventually("the leader is in the middle of its work", SOON, look).await?;

        let struck = Timestamp::now();
        let (mut since, mut ready) = (struck, struck);
        let done = crds(&self.writes(mark)?, &agent);
        ensure!(done < CRDS, "{blow:?}: it came too late, after {done} CRDs");
        let victim = &self.replicas[leader];
        match blow {
            Blow::Kill => victim.operator.kill()?,
            Blow::Stop => victim.operator.freeze()?,
            Blow::Cut => victim.network.freeze(),
            Blow::Term => {
                let ended = victim.operator.term(SOON).await?;
                ensure!(ended.success(), "{ended}: {}", victim.operator.log_tail());
                // What was under way at the stop is finished first.
                since = self.freed(&agent)?;
                ready = since;
            }
            Blow::ApiServer => {
                self.world.plane().restart_api_server().await?;
                ready = Timestamp::now();
                self.starts.push((struck, ready + STARTED));
            }
            Blow::Clock(seconds) => victim.clock.shift(seconds)?,
        }
        let stays = matches!(blow, Blow::ApiServer | Blow::Clock(_));
        let look = async || {
            let events = self.writes(mark)?;
            let goes_on = |e: &&AuditEvent| e.received > since && e.code < 300 && (stays || e.agent != agent);
            Ok(events.iter().find(goes_on).map(|e| (e.agent.clone(), e.received)))
        };
        let (next, at) = testkit::eventually("somebody goes on", SOON, look).await?;
        // An API server answers before it calls itself ready.
        let took = at.duration_since(ready.min(at)).unsigned_abs();
        println!(
            "{} replicas, {blow:?} at {done} of {CRDS} CRDs: {next} goes on {took:.1?} later",
            self.replicas.len()
        );
        let within = if blow == Blow::Term {
            HAND_OVER
        } else {
            LEASE + GOES_ON
        };
        ensure!(took < within, "{blow:?}: work went on after {took:?} only");
        self.settled().await?;
        self.recover(blow, leader).await
    }

    /// Notes what replicas have begun so far.
    fn remember(&mut self) {
        for replica in &self.replicas {
            self.ledger.note(&replica.agent, &replica.network);
        }
    }

    /// When this replica gave the lease back.
    fn freed(&self, agent: &str) -> Result<Timestamp> {
        let events = self.world.plane().audit()?;
        let last = events.iter().rfind(|e| e.agent == agent && renews(e));
        Ok(last.context("it never held the lease")?.received)
    }

    /// Ends what happened; a replica that is lost is replaced.
    async fn recover(&mut self, blow: Blow, leader: usize) -> Result<()> {
        let replicas = self.replicas.len();
        self.remember();
        match blow {
            Blow::Kill | Blow::Term => drop(self.replicas.remove(leader)),
            Blow::Stop | Blow::Cut => {
                let victim = &self.replicas[leader];
                let mark = self.world.plane().audit_mark()?;
                if blow == Blow::Stop {
                    self.ledger.stopped(&victim.agent);
                    victim.operator.thaw()?;
                }
                let ended = victim.operator.process().wait(SOON).await?;
                ensure!(
                    !ended.success(),
                    "it lost its lease: {}",
                    victim.operator.log_tail()
                );
                victim.network.thaw();
                let late: Vec<_> = self
                    .writes(mark)?
                    .into_iter()
                    .filter(|e| e.agent == victim.agent)
                    .collect();
                let effect: Vec<_> = late.iter().filter(|e| e.code < 400).collect();
                ensure!(effect.is_empty(), "written after the lease was lost: {effect:#?}");
                println!("{blow:?}: {} requests came late, all refused", late.len());
                self.remember();
                drop(self.replicas.remove(leader));
            }
            Blow::ApiServer => {
                // Who could not renew in time has ended, as it should.
                self.replicas.retain(|r| r.operator.process().is_running());
            }
            Blow::Clock(_) => {
                let victim = &self.replicas[leader];
                ensure!(
                    self.leader()? == leader,
                    "a clock took the lease from it: {}",
                    victim.operator.log_tail()
                );
                ensure!(
                    victim.operator.process().is_running(),
                    "{}",
                    victim.operator.log_tail()
                );
                self.follows_tags().await?;
            }
        }
        self.fill(replicas).await
    }

    /// A tag that moves is still noticed: whatever the clock shows, time goes by.
    async fn follows_tags(&self) -> Result<()> {
        let name = self.world.unique("polled");
        let push = async |version: &str| {
            let fixture = PackageFixture::provider(&name)
                .version_label(version)
                .crds(&format!("{name}.example.org"), 1);
            let image = fixture.build()?;
            let reference = self.world.push(&name, "stable", &image).await?;
            anyhow::Ok((reference, image.digest()))
        };
        let serves = async |digest: String| {
            self.world
                .wait_for("Provider", &name, &format!("serves {digest}"), SOON, |package| {
                    package["status"]["resolvedDigest"] == digest && says(package, "Ready", "True")
                })
                .await
        };
        let (reference, first) = push("v1").await?;
        let always = json!({ "packagePullPolicy": "Always" });
        self.world
            .create_package("Provider", &name, &reference, always)
            .await?;
        serves(first).await?;
        for (n, seconds) in [7_200, -7_200].into_iter().enumerate() {
            self.replicas[self.leader()?].clock.shift(seconds)?;
            let asked = Instant::now();
            let (_, moved) = push(&format!("after-{n}")).await?;
            serves(moved).await?;
            println!(
                "a tag was followed {:.1?} after the clock was set by {seconds} s",
                asked.elapsed()
            );
            ensure!(asked.elapsed() < SOON / 4, "tags are not followed any more");
        }
        self.replicas[self.leader()?].clock.shift(0)?;
        self.world.delete("Provider", &name).await
    }
}

fn renews_last(renewals: impl Iterator<Item = AuditEvent>) -> Option<String> {
    renewals.max_by_key(|e| e.received).map(|e| e.agent)
}

/// Value of a metric without labels, or of the one with this text among its labels.
fn metric(metrics: &str, name: &str, label: &str) -> Result<f64> {
    let line = metrics.lines().find(|l| l.starts_with(name) && l.contains(label));
    let value = line
        .and_then(|l| l.rsplit(' ').next())
        .with_context(|| format!("no {name} {label} in {metrics}"))?;
    Ok(value.parse()?)
}

/// The standby has the same objects in its caches as the leader, and no package in memory.
async fn standby_is_warm_and_small(fleet: &Fleet) -> Result<()> {
    let leader = fleet.leader()?;
    let known = async |replica: &Replica| {
        let metrics = replica.operator.metrics().await?;
        metric(
            &metrics,
            "gantry_watch_objects",
            "kind=\"CustomResourceDefinition\"",
        )
    };
    for (n, replica) in fleet.replicas.iter().enumerate() {
        let objects = known(replica).await?;
        let metrics = replica.operator.metrics().await?;
        let parsed = metric(&metrics, "gantry_parsed_packages", "")?;
        let rss = replica.operator.process().rss()? >> 20;
        let role = if n == leader { "leader" } else { "standby" };
        println!(
            "{role}: {rss} MiB resident, {objects} CRDs in its cache, {parsed} parsed packages in memory"
        );
        ensure!(replica.operator.is_ready().await, "{role} is not ready");
        ensure!(objects > CRDS as f64, "{role} knows {objects} CRDs only");
        if n != leader {
            ensure!(parsed == 0.0, "a standby holds {parsed} parsed packages");
            ensure!(
                objects == known(&fleet.replicas[leader]).await?,
                "its cache is not the leader's"
            );
        }
    }
    Ok(())
}

async fn struck(replicas: usize, blows: &[Blow]) -> Result<()> {
    let mut fleet = Fleet::start(replicas).await?;
    let precious = made(&fleet.world).await?;
    for blow in blows {
        fleet
            .strike(*blow)
            .await
            .with_context(|| format!("{replicas} replicas, {blow:?}"))?;
    }
    standby_is_warm_and_small(&fleet).await?;
    ensure!(made(&fleet.world).await? == precious, "CRDs were made twice");
    fleet.remember();
    fleet.ledger.one_writer_at_a_time(&fleet.world, LEASE, DEADLINE)?;
    nothing_was_forbidden_but(&fleet.world, &fleet.starts)
}

/// Names and UIDs of the package's CRDs.
async fn made(world: &World) -> Result<BTreeMap<String, Value>> {
    let crds = world.list("CustomResourceDefinition", "").await?.into_iter();
    let ours = crds.filter(|crd| crd["spec"]["group"] == "fleet.example.org");
    let made: BTreeMap<_, _> = ours
        .map(|crd| (crate::state::name(&crd), crd["metadata"]["uid"].clone()))
        .collect();
    ensure!(made.len() == CRDS, "{} CRDs", made.len());
    Ok(made)
}

#[test]
fn two_replicas_lose_their_leader_in_any_way_and_nothing_is_written_twice() -> Result<()> {
    testkit::run(struck(2, &[Blow::Kill, Blow::Stop, Blow::Cut, Blow::Term]))
}

#[test]
fn three_replicas_survive_a_lost_leader_an_api_server_that_restarts_and_a_clock_that_jumps() -> Result<()> {
    testkit::run(struck(
        3,
        &[
            Blow::Cut,
            Blow::ApiServer,
            Blow::Clock(86_400),
            Blow::Kill,
            Blow::Clock(-86_400),
            Blow::Term,
        ],
    ))
}
