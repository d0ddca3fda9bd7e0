//! The cluster refuses an object: what serves is left alone, or comes back (design §3.1, rule 2). A registry that hangs
//! holds up nobody else. For all that can go wrong see `every_fault`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use testkit::world::condition_of;
use testkit::{PackageFixture, Registry, World, WorldOptions, synthetic};

use gantry_tests::policy::forbid;

use crate::OPERATOR;
use crate::state::Subject;

/// To become true on a busy machine.
const SOON: Duration = Duration::from_secs(150);

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
