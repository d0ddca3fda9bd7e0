//! The API server answers badly, or not at all, or refuses an object: installs and upgrades end in the state
//! that they have without, or leave alone what serves (design §3.1, rule 2).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::world::{ACCOUNT, NAMESPACE, USER, condition_of};
use testkit::{
    Fault, FaultProxy, Match, OperatorOptions, PackageFixture, Registry, Rule, World, WorldOptions, synthetic,
};

use crate::OPERATOR;
use crate::state::{Subject, custom_resource, difference, make_custom_resource, nothing_was_forbidden};

/// To become true while one in five requests fails, on a busy machine.
const SOON: Duration = Duration::from_secs(150);
/// One request of so many meets the fault.
const ONE_IN: u64 = 5;

/// A world whose operator speaks to the API server through a proxy.
async fn behind_a_proxy() -> Result<(World, FaultProxy)> {
    let mut world = World::start(WorldOptions::default()).await?;
    let proxy = FaultProxy::for_api_server(world.plane()).await?;
    let token = world.plane().service_account_token(NAMESPACE, ACCOUNT).await?;
    let options = OperatorOptions::new(OPERATOR, proxy.kubeconfig(&token)?).args(["--leader-election=false"]);
    world.replace_operator(Some(options)).await?;
    Ok((world, proxy))
}

/// Two versions of a package; the second changes a CRD, adds one and drops one.
async fn push(world: &World, subject: &mut Subject) -> Result<(String, String)> {
    let crd = |kind: &str, version| synthetic::crd(&subject.group, kind, 2_000, version);
    let old = PackageFixture::provider(&subject.name)
        .object(crd("Kept", None))
        .object(crd("Changed", None))
        .object(crd("Dropped", None));
    let new = PackageFixture::provider(&subject.name)
        .object(crd("Kept", None))
        .object(crd("Changed", Some("v2")))
        .object(crd("Added", None));
    let (old, new) = (old.build()?, new.build()?);
    subject.digests = vec![old.digest(), new.digest()];
    Ok((
        world.push(&subject.name, "v1", &old).await?,
        world.push(&subject.name, "v2", &new).await?,
    ))
}

async fn ready(world: &World, subject: &Subject, number: i64) -> Result<()> {
    let look = async || {
        let package = world
            .get("Provider", &subject.name)
            .await?
            .context("no package")?;
        let revisions = world.revisions("Provider", &subject.name).await?;
        let newest = revisions.first().filter(|r| {
            r["spec"]["revision"] == number && r["metadata"]["annotations"]["gantry.dev/served"] == "true"
        });
        let ready = condition_of(&package, "Ready")["status"] == "True";
        Ok(newest.filter(|_| ready).map(|_| ()))
    };
    let what = format!("revision {number} of {} serves", subject.name);
    if let Err(error) = testkit::eventually(&what, SOON, look).await {
        return Err(error.context(world.dump("Provider", &subject.name).await));
    }
    Ok(())
}

/// Installs and upgrades; answers the end state once it is `expected`, or once it stands still.
async fn through(
    world: &World,
    name: &str,
    expected: Option<&BTreeMap<String, Value>>,
) -> Result<BTreeMap<String, Value>> {
    let mut subject = Subject::new(name);
    let (old, new) = push(world, &mut subject).await?;
    world.create_package("Provider", name, &old, json!({})).await?;
    ready(world, &subject, 1).await?;
    let uid = make_custom_resource(world, &subject.group, "Dropped", "precious").await?;
    world
        .patch("Provider", name, json!({ "spec": { "package": new } }))
        .await?;
    ready(world, &subject, 2).await?;
    let start = Instant::now();
    let (mut state, mut since) = (subject.state(world).await?, Instant::now());
    while since.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = subject.state(world).await?;
        let arrived = expected.is_none_or(|expected| now == *expected);
        if now != state || !arrived {
            (state, since) = (now, Instant::now());
        }
        if start.elapsed() > SOON {
            let differs = expected.map(|e| difference(&state, e)).unwrap_or_default();
            let dump = world.dump("Provider", name).await;
            anyhow::bail!("{name}: not in its end state after {SOON:?}:\n{differs}\n{dump}");
        }
    }
    assert_eq!(
        custom_resource(world, &subject.group, "Dropped", "precious").await?,
        uid
    );
    Ok(state)
}

#[test]
fn whatever_the_api_server_answers_the_end_is_the_same() -> Result<()> {
    testkit::run(async {
        let (world, proxy) = behind_a_proxy().await?;
        let expected = through(&world, "calm", None).await?;
        let plain = |status| Fault::status(status);
        for (name, fault) in [
            ("conflict", plain(409)),
            ("throttled", Fault::retry_after(429, "1")),
            ("broken", plain(500)),
            ("unavailable", plain(503)),
            ("reset", Fault::Reset),
            ("lost", Fault::LoseAnswer),
            ("slow", Fault::Latency(Duration::from_secs(2))),
        ] {
            let meant = if name == "conflict" {
                Match::mutating()
            } else {
                Match::any()
            };
            let rule = Rule::new(meant.and(|seen| seen.sequence.is_multiple_of(ONE_IN)), fault);
            let hits = proxy.faults().add(rule);
            // Watches too: all that are open now end, and some of the next ones fail to start.
            proxy.cut();
            let state = through(&world, name, Some(&expected)).await;
            proxy.faults().clear();
            let state = state.with_context(|| format!("{name}, {} times", hits.count()))?;
            ensure!(state == expected, "{name}:\n{}", difference(&state, &expected));
            ensure!(hits.count() > 3, "{name} happened {} times only", hits.count());
        }
        // The network swallows everything for a while, in the middle.
        let frozen = async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            proxy.freeze();
            tokio::time::sleep(Duration::from_secs(5)).await;
            proxy.thaw();
            proxy.cut();
        };
        let (state, ()) = tokio::join!(through(&world, "frozen", Some(&expected)), frozen);
        assert_eq!(state?, expected);
        let operator = world.operator()?;
        ensure!(operator.process().is_running(), "{}", operator.log_tail());
        ensure!(!operator.log()?.contains("panicked"), "{}", operator.log_tail());
        nothing_was_forbidden(&world)
    })
}

/// A policy of the cluster that refuses objects with some text in their name.
struct Policy<'a> {
    world: &'a World,
    name: &'a str,
    part: &'a str,
    /// It lets dry runs pass.
    real_only: bool,
}

/// Sets up such a policy, and waits until it is in force.
async fn forbid<'a>(world: &'a World, name: &'a str, part: &'a str, real_only: bool) -> Result<Policy<'a>> {
    let condition = if real_only {
        format!("object.metadata.name.contains('{part}') && !(has(request.dryRun) && request.dryRun)")
    } else {
        format!("object.metadata.name.contains('{part}')")
    };
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": name },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [{
                "apiGroups": ["apiextensions.k8s.io"], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["customresourcedefinitions"],
            }] },
            "matchConditions": [
                { "name": "only-these", "expression": condition },
                { "name": "only-ours", "expression": format!("request.userInfo.username == '{USER}'") },
            ],
            "validations": [{ "expression": "false", "message": "the cluster's policy says no" }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": name },
        "spec": { "policyName": name, "validationActions": ["Deny"] },
    });
    world
        .plane()
        .apply_yaml(&format!("{policy}\n---\n{binding}"))
        .await?;
    let policy = Policy {
        world,
        name,
        part,
        real_only,
    };
    policy.in_force(true).await?;
    Ok(policy)
}

impl Policy<'_> {
    /// Waits until the API server refuses by it, or doesn't any more: it looks at its policies once a second.
    async fn in_force(&self, wanted: bool) -> Result<()> {
        let look = async || Ok((self.refuses().await? == wanted).then_some(()));
        let what = if wanted { "in force" } else { "out of force" };
        testkit::eventually(&format!("the policy is {what}"), SOON, look).await
    }

    /// Tries it out in the operator's name, if possible without writing.
    async fn refuses(&self) -> Result<bool> {
        let (world, part) = (self.world, self.part);
        let kubeconfig = world.operator_kubeconfig().to_string_lossy().into_owned();
        let as_operator = ["--kubeconfig", &kubeconfig];
        let tried = if self.real_only {
            // A dry run says nothing here; an annotation on an existing CRD that is refused does.
            let existing = world.list("CustomResourceDefinition", "").await?;
            let existing = existing.iter().map(crate::state::name).find(|n| n.contains(part));
            let existing = existing.context("no CRD to try the policy on")?;
            let annotate = [
                "annotate",
                "crd",
                "--overwrite",
                &existing,
                "example.org/tried=yes",
            ];
            world
                .plane()
                .try_kubectl(&[&as_operator[..], &annotate].concat(), None)
                .await?
        } else {
            let crd = synthetic::crd(&format!("probe.{part}.example.org"), "Probe", 2_000, None);
            let create = ["create", "--dry-run=server", "-f", "-"];
            world
                .plane()
                .try_kubectl(&[&as_operator[..], &create].concat(), Some(&crd.to_string()))
                .await?
        };
        Ok(tried.stderr.contains("says no"))
    }

    /// Removes it, and waits until it is out of force.
    async fn lift(self) -> Result<()> {
        for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
            self.world.plane().kubectl(&["delete", kind, self.name]).await?;
        }
        self.in_force(false).await
    }
}

/// Owners of a CRD as `<kind> <name> <controller>`.
async fn controllers(world: &World, group: &str) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for crd in world.list("CustomResourceDefinition", "").await? {
        let name = crate::state::name(&crd);
        if name.ends_with(&format!(".{group}")) {
            let owners = crd["metadata"]["ownerReferences"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let controller = owners.iter().find(|o| o["controller"] == true);
            let controller = controller.and_then(|o| o["name"].as_str()).unwrap_or_default();
            all.insert(name, controller.to_owned());
        }
    }
    Ok(all)
}

#[test]
fn what_the_cluster_refuses_is_listed_and_the_old_revision_serves_on() -> Result<()> {
    testkit::run(async {
        let world = World::start(WorldOptions::with_operator(OPERATOR)).await?;

        // A first install: what is refused is named, and comes when it is allowed.
        let mut first = Subject::new("first");
        let (old, _) = push(&world, &mut first).await?;
        let no_changed = forbid(&world, "no-changed", "changeds.first", false).await?;
        world.create_package("Provider", "first", &old, json!({})).await?;
        let package = world
            .wait_condition("Provider", "first", "Stalled", "True", SOON)
            .await?;
        let why = condition_of(&package, "Ready")["message"]
            .as_str()
            .unwrap_or_default();
        for part in ["changeds.first.example.org", "the cluster's policy says no"] {
            ensure!(why.contains(part), "{part} is not in {why}");
        }
        ensure!(
            condition_of(&package, "Healthy")["status"] == "False",
            "{package:#}"
        );
        no_changed.lift().await?;
        world
            .patch(
                "Provider",
                "first",
                json!({ "metadata": { "annotations": { "gantry.dev/check-requested-at": "1" } } }),
            )
            .await?;
        ready(&world, &first, 1).await?;

        // An upgrade: the check finds it, nothing is touched.
        let mut second = Subject::new("second");
        let (old, new) = push(&world, &mut second).await?;
        world
            .create_package("Provider", "second", &old, json!({}))
            .await?;
        ready(&world, &second, 1).await?;
        let before = controllers(&world, &second.group).await?;
        forbid(&world, "no-added", "addeds.second", false).await?;
        world
            .patch("Provider", "second", json!({ "spec": { "package": new } }))
            .await?;
        let package = world
            .wait_condition("Provider", "second", "Stalled", "True", SOON)
            .await?;
        for (type_, status) in [("Installed", "True"), ("Healthy", "True"), ("Ready", "False")] {
            assert_eq!(
                condition_of(&package, type_)["status"],
                status,
                "{type_} of {package:#}"
            );
        }
        assert_eq!(controllers(&world, &second.group).await?, before, "half switched");
        let revisions = world.revisions("Provider", "second").await?;
        let states: Vec<_> = revisions.iter().map(|r| &r["spec"]["desiredState"]).collect();
        assert_eq!(states, ["Inactive", "Active"]);

        // What the check could not see is refused after activation: the old revision takes everything back.
        let mut third = Subject::new("third");
        let (old, new) = push(&world, &mut third).await?;
        world.create_package("Provider", "third", &old, json!({})).await?;
        ready(&world, &third, 1).await?;
        let before = controllers(&world, &third.group).await?;
        let no_real = forbid(&world, "no-real", "changeds.third", true).await?;
        world
            .patch("Provider", "third", json!({ "spec": { "package": new } }))
            .await?;
        let package = world
            .wait_condition("Provider", "third", "Stalled", "True", SOON)
            .await?;
        ensure!(
            condition_of(&package, "Installed")["status"] == "True",
            "{package:#}"
        );
        let look = async || {
            let now = controllers(&world, &third.group).await?;
            let same = before
                .iter()
                .all(|(name, controller)| now.get(name) == Some(controller));
            let revisions = world.revisions("Provider", "third").await?;
            let old = revisions.iter().find(|r| r["spec"]["image"] == old.as_str());
            let active = old.is_some_and(|r| r["spec"]["desiredState"] == "Active");
            Ok((same && active).then_some(()))
        };
        if let Err(error) = testkit::eventually("the old revision has everything back", SOON, look).await {
            return Err(error.context(world.dump("Provider", "third").await));
        }
        // And so it stays: it is not activated again and again.
        let turns = async || -> Result<i64> {
            let revisions = world.revisions("Provider", "third").await?;
            Ok(revisions
                .first()
                .and_then(|r| r["spec"]["revision"].as_i64())
                .unwrap_or_default())
        };
        let at = turns().await?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        ensure!(
            turns().await? <= at + 1,
            "it goes back and forth: {at}, then {}",
            turns().await?
        );
        let package = world.get("Provider", "third").await?.context("no package")?;
        for (type_, status) in [("Installed", "True"), ("Healthy", "True"), ("Ready", "False")] {
            let found = condition_of(&package, type_);
            assert_eq!(
                found["status"],
                status,
                "{}",
                world.dump("Provider", "third").await
            );
        }
        // Allowed, and asked for again, it works.
        no_real.lift().await?;
        world
            .patch("Provider", "third", json!({ "spec": { "package": old } }))
            .await?;
        world
            .wait_condition("Provider", "third", "Ready", "True", SOON)
            .await?;
        world
            .patch("Provider", "third", json!({ "spec": { "package": new } }))
            .await?;
        world
            .wait_condition("Provider", "third", "Ready", "True", SOON)
            .await?;
        Ok(())
    })
}

#[test]
fn a_registry_that_hangs_holds_up_nobody_else() -> Result<()> {
    testkit::run(async {
        let (world, hanging) = tokio::try_join!(
            World::start(WorldOptions::with_operator(OPERATOR)),
            Registry::distribution()
        )?;
        let image = PackageFixture::provider("hangs")
            .crd("hangs.example.org", "Thing")
            .build()?;
        let reference = hanging.push("isolation/hangs", "v1", &image).await?;
        hanging.freeze()?;
        world
            .create_package("Provider", "hangs", &reference, json!({}))
            .await?;
        let start = Instant::now();
        let mut names = vec![];
        for n in 0..30 {
            let name = format!("prompt-{n}");
            let fixture = PackageFixture::provider(&name).crds(&format!("{name}.example.org"), 1);
            let reference = world.push(&name, "v1", &fixture.build()?).await?;
            world
                .create_package("Provider", &name, &reference, json!({}))
                .await?;
            names.push(name);
        }
        for name in &names {
            world
                .wait_condition("Provider", name, "Ready", "True", SOON)
                .await?;
        }
        println!("30 packages beside a registry that hangs: {:?}", start.elapsed());
        ensure!(
            start.elapsed() < Duration::from_secs(60),
            "30 packages took {:?}",
            start.elapsed()
        );
        let package = world.get("Provider", "hangs").await?.context("no package")?;
        ensure!(
            condition_of(&package, "Installed")["status"] != "True",
            "{package:#}"
        );
        hanging.thaw()?;
        world
            .wait_condition("Provider", "hangs", "Ready", "True", SOON)
            .await?;
        Ok(())
    })
}
