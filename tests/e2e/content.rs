//! Packages whose content is not what it should be, met at installation.

use anyhow::Result;
use serde_json::json;
use testkit::wait::lasting;
use testkit::{Match, TestRegistry, malformed, run};

use crate::scene::{Scene, configured, is_current, message, name, reason, says};
use crate::world;

/// The operator may use this much, unoptimised and with all these packages at once: less than one bomb
/// inflates to.
const MEMORY: u64 = 210 << 20;

#[test]
fn malformed_packages_are_refused_with_a_sentence_and_leave_nothing() -> Result<()> {
    run(async {
        let world = world().await?;
        let mut scenes = vec![];
        for case in malformed::all()? {
            let scene = Scene::new(world, "Provider", case.name);
            let reference = world.push(&scene.name, "v1", &case.image).await?;
            scene.create(&reference, json!({})).await?;
            scenes.push((case, scene));
        }
        for (case, scene) in &scenes {
            let what = format!("refused: {}", case.wrong);
            let package = scene
                .until(&what, |p| {
                    is_current(p) && says(p, "Ready", "False") && says(p, "Stalled", "True")
                })
                .await?;
            let why = message(&package, "Ready");
            assert!(
                why.len() > 20 && why.len() < 2_000,
                "{}: {} bytes: {why}",
                case.name,
                why.len()
            );
            assert!(says(&package, "Healthy", "False"), "{}", case.name);
            let revision = scene.revision(&package["status"]["currentRevision"]).await?;
            assert_ne!(
                revision["spec"]["desiredState"], "Active",
                "{}: it never becomes active",
                case.name
            );
            assert!(says(&revision, "RevisionHealthy", "False"), "{}", case.name);
        }
        let crd = "things.malformed.example.org";
        let applied = world.get("CustomResourceDefinition", crd).await?;
        assert!(applied.is_none(), "{applied:?}");
        let peak = world.operator()?.vm_hwm()?;
        assert!(peak < MEMORY, "the operator used {} MiB", peak >> 20);
        for (_, scene) in &scenes {
            scene.delete().await?;
        }
        Ok(())
    })
}

#[test]
fn a_malformed_version_leaves_the_one_that_serves_alone() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "spoilt");
        scene.install("v1", &scene.with_crds("v1", 2)).await?;
        let old = scene.active().await?;
        let before = scene.crd(&scene.crd_name(0)).await?["metadata"]["resourceVersion"].clone();
        let unreadable = scene.with_crds("v2", 2).document("kind: [\nmore: text\n");
        let twice = scene.with_crds("v3", 2).crd(&scene.group(), "Thing0");
        for (version, fixture, words) in [
            ("v2", unreadable, "document 4".to_owned()),
            ("v3", twice, scene.crd_name(0)),
        ] {
            scene.ask_for(version, &fixture).await?;
            let what = format!("{version} is refused");
            let package = scene
                .until(&what, |p| {
                    is_current(p)
                        && p["status"]["currentIdentifier"] == p["spec"]["package"]
                        && says(p, "Stalled", "True")
                })
                .await?;
            let why = message(&package, "Ready");
            assert!(why.contains(&words), "{words} is not in {why}");
            assert_eq!(reason(&package, "Healthy"), "True HealthyPackageRevision");
            assert_eq!(package["status"]["servingRevision"], name(&old));
        }
        let after = scene.crd(&scene.crd_name(0)).await?["metadata"]["resourceVersion"].clone();
        assert_eq!(before, after);
        scene.delete().await
    })
}

#[test]
fn a_package_of_another_kind_is_refused() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Configuration", "mistaken");
        let fixture = testkit::PackageFixture::provider(&scene.name).crds(&scene.group(), 1);
        let reference = scene.push("v1", &fixture).await?;
        scene.create(&reference, json!({})).await?;
        let why = scene.refused().await?;
        assert!(
            why.contains(
                "package meta type is not Configuration: it is a Provider; create a Provider instead"
            ),
            "{why}"
        );
        scene.delete().await
    })
}

#[test]
fn objects_not_allowed_in_a_package_type_are_left_out_with_one_warning() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "odd");
        let odd = scene
            .with_crds("v1", 1)
            .composition(&scene.name, &scene.group(), "Thing0");
        let (_, package) = scene.install("v1", &odd).await?;
        assert!(says(&package, "Healthy", "True"));
        let revision = scene.active().await?;
        let warnings = revision["status"]["warnings"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let warning = warnings[0].as_str().unwrap();
        assert!(
            warning.contains("Composition")
                && warning.contains(&scene.name)
                && warning.contains("document 3"),
            "{warning}"
        );
        scene.event(name(&revision), "LintPackage").await?;
        assert!(scene.world.get("Composition", &scene.name).await?.is_none());
        scene.delete().await
    })
}

#[test]
fn strict_lint_refuses_a_package_with_a_warning() -> Result<()> {
    run(async {
        let scene = Scene::new(configured().await?, "Configuration", "strict");
        let fixture = scene.fixture("v1").xrd(&scene.group(), "Thing");
        scene.install("v1", &fixture).await?;
        let odd = scene
            .fixture("v2")
            .xrd(&scene.group(), "Thing")
            .crds(&scene.group(), 1);
        scene.ask_for("v2", &odd).await?;
        let why = scene.refused().await?;
        assert!(
            why.contains("linting package contents failed") && why.contains(&scene.crd_name(0)),
            "{why}"
        );
        let package = scene.get().await?;
        assert!(says(&package, "Healthy", "True"), "the first version serves");
        scene.delete().await
    })
}

#[test]
fn content_that_does_not_have_its_digest_is_not_used() -> Result<()> {
    run(async {
        let registry = TestRegistry::start().await?;
        let scene = Scene::new(world().await?, "Provider", "tampered");
        let image = scene.with_crds("v1", 1).build()?;
        let reference = registry.push(&scene.name, "v1", &image);
        let layer = image.blobs.last().unwrap().digest.clone();
        registry.faults().add(testkit::Rule::new(
            Match::any().path(&layer),
            testkit::Fault::Corrupt(100),
        ));
        scene.create(&reference, json!({})).await?;
        let package = scene
            .until("the digest is named", |p| {
                message(p, "Ready").contains(&layer) && says(p, "Installed", "False")
            })
            .await?;
        assert!(says(&package, "Healthy", "False"));
        let blob = scene
            .world
            .operator()?
            .store()
            .join("blobs/sha256")
            .join(layer.trim_start_matches("sha256:"));
        let absent = async || Ok(!blob.exists());
        lasting(
            "nothing is left in the store",
            std::time::Duration::from_secs(1),
            absent,
        )
        .await?;
        // The registry mends it; the package recovers without anybody's help.
        registry.faults().clear();
        let again = json!({ "metadata": { "annotations": { "gantry.dev/check-requested-at": "now" } } });
        scene.patch(again).await?;
        scene.settled().await?;
        scene.delete().await
    })
}
