//! One writer at a time: replicas, a package manager of the reference, another installation (design rule 5,
//! §7).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use testkit::world::NAMESPACE;
use testkit::{AuditEvent, AuditMark, Operator, OperatorOptions, PackageFixture, World, WorldOptions};

use crate::OPERATOR;
use crate::state::nothing_was_forbidden;

/// To become true on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(90);
/// How long a dead leader is respected.
const LEASE: Duration = Duration::from_secs(4);
/// A leader that stops in good order is followed within this time.
const HAND_OVER: Duration = Duration::from_secs(2);
/// Requests that one replica sends at a time while it establishes one package, and one of each controller.
const IN_FLIGHT: usize = 7;
/// How long nothing may happen to count as nothing.
pub(crate) const STILL: Duration = Duration::from_secs(8);

/// A replica that calls itself `agent` at the API server.
pub(crate) fn replica(world: &World, agent: &str) -> OperatorOptions {
    OperatorOptions::new(OPERATOR, world.operator_kubeconfig())
        .args([
            "--leader-election-lease-duration=4s",
            "--leader-election-renew-deadline=3s",
        ])
        .args(["--leader-election-retry-period=500ms", "--user-agent", agent])
}

/// Waits until somebody else than `before` holds our lease; answers who.
async fn holder(world: &World, before: &str, timeout: Duration) -> Result<String> {
    let api: Api<Lease> = Api::namespaced(world.plane().client(), NAMESPACE);
    let look = async || {
        let lease = api.get_opt(api::OPERATOR).await?;
        let holder = lease.and_then(|l| l.spec?.holder_identity).unwrap_or_default();
        Ok(Some(holder).filter(|h| !h.is_empty() && h != before))
    };
    testkit::eventually("the lease has a new holder", timeout, look).await
}

pub(crate) async fn install(world: &World, name: &str, crds: usize) -> Result<()> {
    let fixture = PackageFixture::provider(name).crds(&format!("{name}.example.org"), crds);
    let reference = world.push(name, "v1", &fixture.build()?).await?;
    world
        .create_package("Provider", name, &reference, json!({}))
        .await?;
    Ok(())
}

pub(crate) async fn installed(world: &World, name: &str) -> Result<()> {
    world
        .wait_condition("Provider", name, "Ready", "True", SOON)
        .await
        .map(drop)
}

/// What `agent` asked to change after `mark` and was not refused, Leases aside.
pub(crate) fn writes(world: &World, mark: AuditMark, agent: &str) -> Result<Vec<AuditEvent>> {
    let mut events = world.plane().audit_since(mark)?;
    events.retain(|e| e.agent == agent && e.is_write() && !e.is_lease() && e.code < 400);
    Ok(events)
}

#[test]
fn replicas_follow_each_other_and_a_frozen_leader_writes_nothing() -> Result<()> {
    testkit::run(async {
        let world = World::start(WorldOptions::default()).await?;
        let first = Operator::start(replica(&world, "first")).await?;
        let one = holder(&world, "", SOON).await?;
        install(&world, "early", 2).await?;
        installed(&world, "early").await?;
        let second = Operator::start(replica(&world, "second")).await?;

        // A leader that is asked to stop hands over at once.
        let asked = Instant::now();
        let (ended, two) = tokio::join!(first.term(SOON), holder(&world, &one, SOON));
        let (ended, two) = (ended?, two?);
        ensure!(ended.success(), "{ended}: {}", first.log_tail());
        // Twice as long, since the machine may be busy.
        ensure!(
            asked.elapsed() < 2 * HAND_OVER,
            "handed over after {:?}",
            asked.elapsed()
        );
        handed_over(&first, &second, HAND_OVER)?;
        install(&world, "middle", 2).await?;
        installed(&world, "middle").await?;

        // A leader that dies is respected for as long as its lease says, and not much longer.
        let third = Operator::start(replica(&world, "third")).await?;
        let died = Instant::now();
        second.kill()?;
        let three = holder(&world, &two, SOON).await?;
        ensure!(
            died.elapsed() < LEASE + Duration::from_secs(5),
            "taken over after {:?}",
            died.elapsed()
        );
        ensure!(
            died.elapsed() > Duration::from_secs(1),
            "the dead leader's lease was not respected"
        );

        // A leader that stands still past its lease, in the middle of its work, writes nothing when it goes
        // on.
        let fourth = Operator::start(replica(&world, "fourth")).await?;
        let begun = world.plane().audit_mark()?;
        install(&world, "late", 60).await?;
        let look = async || Ok((writes(&world, begun, "third")?.len() > 20).then_some(()));
        testkit::eventually("the third replica is at work", SOON, look).await?;
        third.freeze()?;
        holder(&world, &three, SOON).await?;
        installed(&world, "late").await?;
        let mark = world.plane().audit_mark()?;
        third.thaw()?;
        let ended = third.process().wait(SOON).await?;
        ensure!(!ended.success(), "it lost its lease: {}", third.log_tail());
        // A request that was about to go out when it froze may go out; it is conditional, and comes too late.
        let mut tried = world.plane().audit_since(mark)?;
        tried.retain(|e| e.agent == "third" && e.is_write() && !e.is_lease());
        ensure!(tried.len() <= IN_FLIGHT, "it went on writing: {tried:#?}");
        let late = writes(&world, mark, "third")?;
        ensure!(late.is_empty(), "written after the lease was lost: {late:#?}");
        ensure!(third.log()?.contains("was lost"), "{}", third.log_tail());
        installed(&world, "late").await?;
        ensure!(fourth.process().is_running(), "{}", fourth.log_tail());
        nothing_was_forbidden(&world)
    })
}

/// From the log line of the one that frees the lease to that of the one that takes it.
fn handed_over(from: &Operator, to: &Operator, within: Duration) -> Result<()> {
    let at = |log: &str, words: &str| -> Result<Timestamp> {
        let line = log
            .lines()
            .find(|l| l.contains(words))
            .with_context(|| format!("{words:?} not in {log}"))?;
        let line: serde_json::Value = serde_json::from_str(line)?;
        Ok(line["timestamp"].as_str().context("no timestamp")?.parse()?)
    };
    let freed = at(&from.log()?, "lease freed")?;
    let taken = at(&to.log()?, "this process leads")?;
    let took = taken.duration_since(freed);
    ensure!(
        took.unsigned_abs() < within,
        "taken over {took:#} after it was freed"
    );
    Ok(())
}

/// Somebody who holds a lease and renews it until dropped.
pub(crate) struct Renewing(tokio::task::JoinHandle<()>);

impl Renewing {
    pub(crate) async fn start(world: &World, namespace: &str, name: &str) -> Result<Self> {
        world.plane().namespace(namespace).await?;
        let api: Api<Lease> = Api::namespaced(world.plane().client(), namespace);
        let name = name.to_owned();
        let renew = async move || {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(LeaseSpec {
                    holder_identity: Some("somebody-else".to_owned()),
                    lease_duration_seconds: Some(5),
                    renew_time: Some(MicroTime(Timestamp::now())),
                    ..LeaseSpec::default()
                }),
            };
            let force = PatchParams::apply("somebody-else").force();
            api.patch(&name, &force, &Patch::Apply(&lease)).await
        };
        renew().await?;
        Ok(Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                renew().await.ok();
            }
        })))
    }
}

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) async fn says(operator: &Operator, words: &str) -> Result<()> {
    let look = async || Ok(operator.log()?.contains(words).then_some(()));
    let heard = testkit::eventually(words, SOON, look).await;
    heard.with_context(|| operator.log_tail())
}

#[test]
fn beside_a_live_package_manager_of_the_reference_it_stands_by() -> Result<()> {
    testkit::run(async {
        let mut world = World::start(WorldOptions::default()).await?;
        let rival = ("crossplane-system", "crossplane-leader-election-core");
        let other = Renewing::start(&world, rival.0, rival.1).await?;
        let mark = world.plane().audit_mark()?;
        let options = replica(&world, "gantry-late").without_waiting();
        world.replace_operator(Some(options)).await?;
        says(world.operator()?, "standing by beside another package manager").await?;
        tokio::time::sleep(STILL).await;
        ensure!(
            !world.operator()?.is_ready().await,
            "ready beside a live package manager"
        );
        let wrote = writes(&world, mark, "gantry-late")?;
        ensure!(
            wrote.is_empty(),
            "it wrote beside a live package manager: {wrote:#?}"
        );

        // The other one goes: it leads.
        drop(other);
        world.operator()?.await_ready(SOON).await?;
        install(&world, "after", 2).await?;
        installed(&world, "after").await?;

        // It comes back: writing stops, whatever there is to do, and goes on when it is gone again.
        let other = Renewing::start(&world, rival.0, rival.1).await?;
        says(world.operator()?, "another package manager came alive").await?;
        let mark = world.plane().audit_mark()?;
        install(&world, "meanwhile", 2).await?;
        tokio::time::sleep(STILL).await;
        let wrote = writes(&world, mark, "gantry-late")?;
        ensure!(
            wrote.is_empty(),
            "it wrote beside a live package manager: {wrote:#?}"
        );
        drop(other);
        installed(&world, "meanwhile").await?;
        nothing_was_forbidden(&world)
    })
}

#[test]
fn definitions_are_never_downgraded_and_a_live_claim_is_respected() -> Result<()> {
    testkit::run(async {
        let mut world = World::start(WorldOptions::default()).await?;
        // Nothing is there, and nothing may be written.
        let check = replica(&world, "gantry-check")
            .args(["--crds=check"])
            .without_waiting();
        let operator = Operator::start(check.clone()).await?;
        let ended = operator.process().wait(SOON).await?;
        ensure!(!ended.success(), "it must not work without definitions");
        let log = operator.log()?;
        let sentence = log.lines().find(|l| l.starts_with("gantry-operator: "));
        let sentence = sentence.with_context(|| format!("no sentence in {log}"))?;
        for part in [
            "--crds=check",
            "providers.pkg.crossplane.io",
            "locks.pkg.crossplane.io",
        ] {
            ensure!(sentence.contains(part), "{part} is not in {sentence}");
        }
        ensure!(
            world
                .get("CustomResourceDefinition", "providers.pkg.crossplane.io")
                .await?
                .is_none(),
            "written"
        );

        // All are there, one is of a newer version, and somebody else claims the cluster.
        let crds = api::crds().into_iter().map(|crd| {
            let mut crd = serde_json::to_value(&crd)?;
            let newer = crd["metadata"]["name"] == "locks.pkg.crossplane.io";
            crd["metadata"]["annotations"]["gantry.dev/version"] =
                json!(if newer { "v99.0.0" } else { "v0.0.1" });
            if crd["metadata"]["name"] == "providers.pkg.crossplane.io" {
                crd["metadata"]["annotations"]["gantry.dev/operator"] = json!("elsewhere/gantry-operator");
            }
            Ok(crd.to_string())
        });
        let crds = crds.collect::<Result<Vec<_>>>()?.join("\n---\n");
        world.plane().apply_yaml(&crds).await?;
        world.wait_served().await?;
        let lock = async |world: &World| {
            world
                .get("CustomResourceDefinition", "locks.pkg.crossplane.io")
                .await
        };
        // The API server's own writes are over.
        let established = [
            "wait",
            "--for=condition=Established",
            "crd/locks.pkg.crossplane.io",
        ];
        world.plane().kubectl(&established).await?;
        let before = lock(&world).await?;
        let other = Renewing::start(&world, "elsewhere", "gantry-operator").await?;
        let mark = world.plane().audit_mark()?;
        let options = replica(&world, "gantry-claim").without_waiting();
        world.replace_operator(Some(options)).await?;
        says(world.operator()?, "another installation claims this cluster").await?;
        ensure!(
            !world.operator()?.is_ready().await,
            "ready beside another installation"
        );
        let wrote = writes(&world, mark, "gantry-claim")?;
        ensure!(
            wrote.is_empty(),
            "it wrote beside another installation: {wrote:#?}"
        );

        // The other one dies: its claim is taken over, older definitions are written, the newer one is left
        // alone.
        drop(other);
        world.operator()?.await_ready(SOON).await?;
        let provider = world
            .get("CustomResourceDefinition", "providers.pkg.crossplane.io")
            .await?;
        let provider = provider.context("no definition")?;
        let annotations = &provider["metadata"]["annotations"];
        assert_eq!(
            annotations["gantry.dev/operator"],
            "gantry-system/gantry-operator"
        );
        ensure!(annotations["gantry.dev/version"] != "v0.0.1", "{annotations}");
        assert_eq!(lock(&world).await?, before, "a newer definition was touched");
        says(world.operator()?, "a newer Gantry wrote these definitions").await?;
        let metrics = world.operator()?.metrics().await?;
        ensure!(
            metrics.contains("gantry_definitions{state=\"newer\"} 1"),
            "{metrics}"
        );
        install(&world, "claimed", 1).await?;
        installed(&world, "claimed").await?;

        // Where all are there, `check` works, writes none, and says which are of another version.
        world.replace_operator(None).await?;
        let old = json!({ "metadata": { "annotations": { "gantry.dev/version": "v0.0.1" } } });
        world
            .patch("CustomResourceDefinition", "imageconfigs.pkg.crossplane.io", old)
            .await?;
        let mark = world.plane().audit_mark()?;
        world
            .replace_operator(Some(replica(&world, "gantry-check").args(["--crds=check"])))
            .await?;
        install(&world, "checked", 1).await?;
        installed(&world, "checked").await?;
        let metrics = world.operator()?.metrics().await?;
        for (state, count) in [("newer", 1), ("current", api::crds().len() - 2), ("different", 1)] {
            let line = format!("gantry_definitions{{state=\"{state}\"}} {count}");
            ensure!(metrics.contains(&line), "{line} is not in {metrics}");
        }
        says(world.operator()?, "is not that of this version").await?;
        let ours: Vec<_> = writes(&world, mark, "gantry-check")?
            .into_iter()
            .filter(|e| e.name.ends_with(".pkg.crossplane.io"))
            .collect();
        ensure!(ours.is_empty(), "definitions were written: {ours:#?}");
        Ok(())
    })
}

#[test]
fn a_second_installation_does_not_lead_and_says_who_does() -> Result<()> {
    testkit::run(async {
        let world = World::start(WorldOptions::with_operator(OPERATOR)).await?;
        // The same manifest for another namespace, as a second `helm install` would have it.
        let rbac = std::fs::read_to_string(testkit::tools::workspace().join("deploy/rbac.yaml"))?;
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&rbac)?;
        world.plane().namespace("second-system").await?;
        for mut document in documents {
            let kind = document["kind"].as_str().unwrap_or_default().to_owned();
            if kind == "ClusterRoleBinding" || document["metadata"]["namespace"] == "default" {
                document["metadata"]["name"] = json!("gantry-operator-second");
            }
            if document["roleRef"]["kind"] == "Role" && document["metadata"]["namespace"] == "default" {
                document["roleRef"]["name"] = json!("gantry-operator-second");
            }
            let text = document.to_string().replace(NAMESPACE, "second-system");
            world.plane().apply_yaml(&text).await?;
        }
        let account = world
            .plane()
            .service_account_kubeconfig("second-system", "gantry-operator");
        let mut options = OperatorOptions::new(OPERATOR, account.await?)
            .args(["--user-agent", "second"])
            .without_waiting();
        options.namespace = "second-system".to_owned();
        let mark = world.plane().audit_mark()?;
        let second = Operator::start(options).await?;
        says(&second, "another installation claims this cluster").await?;
        says(&second, "gantry-system/gantry-operator").await?;
        ensure!(!second.is_ready().await, "ready beside another installation");
        install(&world, "single", 2).await?;
        installed(&world, "single").await?;
        let wrote = writes(&world, mark, "second")?;
        ensure!(wrote.is_empty(), "the second one wrote: {wrote:#?}");
        nothing_was_forbidden(&world)
    })
}
