//! When a registry is asked, and when not.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use testkit::wait::lasting;
use testkit::{Match, TestRegistry, run};

use crate::scene::{Scene, configured, is_current, message, name, reason, says};
use crate::world;

#[test]
fn a_moved_tag_is_followed_with_policy_always() -> Result<()> {
    run(async {
        let scene = Scene::new(configured().await?, "Configuration", "followed");
        let content = |version: &str| scene.fixture(version).xrd(&scene.group(), "Thing");
        let reference = scene.push("latest", &content("v1")).await?;
        scene
            .create(&reference, json!({ "packagePullPolicy": "Always" }))
            .await?;
        let before = scene.settled().await?;
        scene.push("latest", &content("v2")).await?;
        let after = scene
            .until("the new digest serves", |p| {
                let status = &p["status"];
                status["servingRevision"] == status["currentRevision"]
                    && status["currentRevision"] != before["status"]["currentRevision"]
                    && says(p, "Ready", "True")
            })
            .await?;
        assert_eq!(after["status"]["resolvedDigest"], content("v2").build()?.digest());
        assert_eq!(after["status"]["currentIdentifier"], reference);
        assert_eq!(after["metadata"]["generation"], before["metadata"]["generation"]);

        // And back: A, B, A.
        scene.push("latest", &content("v1")).await?;
        let back = scene
            .until("the first one serves again", |p| {
                p["status"]["servingRevision"] == before["status"]["currentRevision"]
                    && says(p, "Ready", "True")
            })
            .await?;
        assert_eq!(
            back["status"]["currentRevision"],
            before["status"]["currentRevision"]
        );
        let active = scene.active().await?;
        assert_eq!(active["spec"]["revision"], 3);
        scene.delete().await
    })
}

#[test]
fn a_moved_tag_is_not_followed_unless_somebody_asks() -> Result<()> {
    run(async {
        let registry = TestRegistry::start().await?;
        let scene = Scene::new(configured().await?, "Configuration", "at-rest");
        let content = |version: &str| scene.fixture(version).xrd(&scene.group(), "Thing");
        let reference = registry.push(&scene.name, "latest", &content("v1").build()?);
        scene.create(&reference, json!({})).await?;
        let before = scene.settled().await?;
        registry.push(&scene.name, "latest", &content("v2").build()?);
        let asked = registry.count(&Match::any());
        // Neither time nor a change of other fields is a reason to ask, also when a poll would be due.
        let rests = async || Ok(registry.count(&Match::any()) == asked);
        lasting("nobody asks", Duration::from_secs(3), rests).await?;
        scene
            .patch(json!({ "spec": { "revisionHistoryLimit": 3 } }))
            .await?;
        scene.until("the change is seen", is_current).await?;
        lasting("nobody asks", Duration::from_secs(2), rests).await?;
        let digest = |p: &Value| p["status"]["resolvedDigest"].clone();
        assert_eq!(digest(&scene.get().await?), digest(&before));

        let request =
            |at: &str| json!({ "metadata": { "annotations": { "gantry.dev/check-requested-at": at } } });
        scene.patch(request("first")).await?;
        let second = content("v2").build()?.digest();
        scene
            .until("the new digest serves", |p| {
                p["status"]["resolvedDigest"] == second
                    && p["status"]["lastCheckRequest"] == "first"
                    && p["status"]["servingRevision"] == p["status"]["currentRevision"]
            })
            .await?;
        // The same value is no new request; another one is.
        registry.push(&scene.name, "latest", &content("v3").build()?);
        let asked = registry.count(&Match::any());
        scene.patch(request("first")).await?;
        lasting("nobody asks", Duration::from_secs(2), async || {
            Ok(registry.count(&Match::any()) == asked)
        })
        .await?;
        scene.patch(request("second")).await?;
        let third = content("v3").build()?.digest();
        scene
            .until("the third digest serves", |p| {
                p["status"]["resolvedDigest"] == third
            })
            .await?;
        scene.settled().await?;
        scene.delete().await
    })
}

#[test]
fn never_takes_what_the_store_has_and_nothing_else() -> Result<()> {
    run(async {
        let registry = TestRegistry::start().await?;
        let world = world().await?;
        let first = Scene::new(world, "Provider", "stored");
        let image = first.with_crds("v1", 1).build()?;
        let reference = registry.push("shared", "v1", &image);
        first.create(&reference, json!({})).await?;
        first.settled().await?;
        first.delete().await?;
        registry.stop();

        let again = Scene::new(world, "Provider", "from-store");
        again
            .create(&reference, json!({ "packagePullPolicy": "Never" }))
            .await?;
        let package = again.settled().await?;
        assert_eq!(package["status"]["resolvedDigest"], image.digest());
        again.delete().await?;

        let missing = Scene::new(world, "Provider", "not-stored");
        let unknown = format!("{}/nobody/pulled:v1", registry.host());
        missing
            .create(&unknown, json!({ "packagePullPolicy": "Never" }))
            .await?;
        let package = missing
            .until("it says what is missing", |p| {
                is_current(p) && says(p, "Installed", "False") && says(p, "UpToDate", "Unknown")
            })
            .await?;
        let why = message(&package, "Installed");
        assert!(
            why.contains("package not in cache and pull policy is Never"),
            "{why}"
        );
        assert_eq!(reason(&package, "Installed"), "False UnpackingPackage");
        assert_eq!(missing.revisions().await?, Vec::<Value>::new());
        missing.delete().await
    })
}

#[test]
fn a_registry_that_comes_up_later_is_enough() -> Result<()> {
    run(async {
        let registry = TestRegistry::start().await?;
        let scene = Scene::new(world().await?, "Provider", "late");
        let image = scene.with_crds("v1", 1).build()?;
        let reference = registry.reference(&scene.name, "v1");
        registry.stop();
        scene.create(&reference, json!({})).await?;
        let package = scene
            .until("the registry is unreachable", |p| {
                reason(p, "UpToDate") == "Unknown Unreachable"
            })
            .await?;
        for condition in ["Installed", "Healthy", "Ready"] {
            assert!(says(&package, condition, "False"), "{package:#}");
            assert!(message(&package, condition).contains(&registry.host()));
        }
        assert!(
            says(&package, "Reconciling", "True"),
            "retrying may help: {package:#}"
        );
        registry.start_again().await?;
        registry.push(&scene.name, "v1", &image);
        scene.settled().await?;
        assert!(name(&scene.active().await?).starts_with(&scene.name));
        scene.delete().await
    })
}
