//! The main job: packages become objects in the cluster.

use anyhow::Result;
use serde_json::{Value, json};
use testkit::run;

use crate::scene::{SOON, Scene, controller, name, owners, reason, says};
use crate::world;

#[test]
fn a_provider_is_installed_with_owners_references_and_status() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "complete");
        let fixture = scene
            .with_crds("v1", 3)
            .label("pkg.crossplane.io/provider-family", "family-made-up")
            .label("pkg.crossplane.io/package", "stolen")
            .label("example.org/team", "storage")
            .annotation("meta.crossplane.io/maintainer", "somebody")
            .annotation("gantry.dev/digest", "sha256:made-up")
            .annotation("crossplane.io/paused", "true")
            .capability("safe-start")
            .depends_on("Provider", "registry.invalid/not/there", ">=v1.0.0");
        let image = fixture.build()?;
        let (reference, package) = scene.install("v1.0.0", &fixture).await?;

        let status = &package["status"];
        assert_eq!(status["currentIdentifier"], reference);
        assert_eq!(status["resolvedPackage"], reference);
        assert_eq!(status["resolvedDigest"], image.digest());
        assert_eq!(reason(&package, "Installed"), "True ActivePackageRevision");
        assert_eq!(reason(&package, "Healthy"), "True HealthyPackageRevision");
        assert_eq!(reason(&package, "UpToDate"), "True Checked");
        for condition in status["conditions"].as_array().unwrap() {
            assert_eq!(condition["observedGeneration"], package["metadata"]["generation"]);
        }

        let revisions = scene.revisions().await?;
        assert_eq!(revisions.len(), 1, "{revisions:#?}");
        let revision = &revisions[0];
        assert_eq!(revision["metadata"]["name"], status["currentRevision"]);
        assert_eq!(owners(revision), [format!("Provider/{}*", scene.name)]);
        assert_eq!(
            revision["metadata"]["ownerReferences"][0]["blockOwnerDeletion"],
            true
        );
        assert_eq!(revision["spec"]["revision"], 1);
        assert_eq!(revision["spec"]["image"], reference);
        assert_eq!(revision["spec"]["desiredState"], "Active");
        assert_eq!(revision["spec"]["runtimeConfigRef"]["name"], "default");
        // What the package says of itself comes along, but for keys that have a meaning here.
        let meta = &revision["metadata"];
        assert_eq!(meta["labels"]["pkg.crossplane.io/package"], scene.name);
        assert_eq!(
            meta["labels"]["pkg.crossplane.io/provider-family"],
            "family-made-up"
        );
        assert_eq!(meta["labels"]["example.org/team"], "storage");
        assert_eq!(meta["annotations"]["meta.crossplane.io/maintainer"], "somebody");
        assert_eq!(meta["annotations"]["gantry.dev/digest"], image.digest());
        assert_eq!(meta["annotations"]["crossplane.io/paused"], Value::Null);
        let event = scene.event(name(revision), "LintPackage").await?;
        for key in ["gantry.dev/digest", "crossplane.io/paused"] {
            assert!(event.contains(key), "{key} is not in {event}");
        }
        scene.event(name(revision), "SyncPackage").await?;
        scene.event(&scene.name, "InstallPackageRevision").await?;

        let status = &revision["status"];
        assert_eq!(status["resolvedImage"], reference);
        assert_eq!(status["capabilities"], json!(["safe-start"]));
        assert_eq!(
            status["declaredDependencies"][0]["package"],
            "registry.invalid/not/there"
        );
        assert_eq!(status["declaredDependencies"][0]["constraints"], ">=v1.0.0");
        assert_eq!(
            revision["metadata"]["finalizers"],
            Value::Null,
            "nothing may hang without us"
        );
        // In the reference's order: descending.
        let refs = status["objectRefs"].as_array().unwrap();
        let names: Vec<&str> = refs.iter().filter_map(|r| r["name"].as_str()).collect();
        assert_eq!(names, [2, 1, 0].map(|n| scene.crd_name(n)));
        for reference in refs {
            let crd = scene.crd(reference["name"].as_str().unwrap()).await?;
            assert_eq!(reference["apiVersion"], "apiextensions.k8s.io/v1");
            assert_eq!(reference["kind"], "CustomResourceDefinition");
            assert_eq!(reference["uid"], crd["metadata"]["uid"]);
            assert_eq!(reference["generation"], crd["metadata"]["generation"]);
            assert!(says(&crd, "Established", "True"));
            let owner = |object: &Value, kind: &str, controls: bool| {
                json!({
                    "apiVersion": "pkg.crossplane.io/v1", "kind": kind, "name": object["metadata"]["name"],
                    "uid": object["metadata"]["uid"], "controller": controls, "blockOwnerDeletion": true,
                })
            };
            let expected = json!([
                owner(revision, "ProviderRevision", true),
                owner(&package, "Provider", false)
            ]);
            assert_eq!(crd["metadata"]["ownerReferences"], expected);
        }
        scene.make_thing(0, "first").await?;
        scene.delete().await
    })
}

#[test]
fn a_configuration_brings_its_xrd_and_composition() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Configuration", "platform");
        let composition = format!("{}-large", scene.name);
        let fixture = scene.fixture("v1").xrd(&scene.group(), "Database").composition(
            &composition,
            &scene.group(),
            "Database",
        );
        let (_, package) = scene.install("v1.0.0", &fixture).await?;
        let revision = scene.revision(&package["status"]["currentRevision"]).await?;
        assert_eq!(revision["spec"]["runtimeConfigRef"], Value::Null);
        let xrd = format!("xdatabases.{}", scene.group());
        for (kind, object) in [
            ("CompositeResourceDefinition", &xrd),
            ("Composition", &composition),
        ] {
            let object = scene.world.get(kind, object).await?.expect(kind);
            let expected = [
                format!("ConfigurationRevision/{}*", name(&revision)),
                format!("Configuration/{}", scene.name),
            ];
            assert_eq!(owners(&object), expected, "{kind}");
        }
        let refs = &revision["status"]["objectRefs"];
        assert_eq!(refs[0]["kind"], "Composition", "descending by kind: {refs}");
        assert_eq!(refs[1]["kind"], "CompositeResourceDefinition");
        scene.delete().await
    })
}

#[test]
fn a_function_has_nothing_to_establish() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Function", "function");
        let (_, package) = scene.install("v1.0.0", &scene.fixture("v1")).await?;
        assert_eq!(reason(&package, "Healthy"), "True HealthyPackageRevision");
        let revision = scene.active().await?;
        assert_eq!(revision["status"]["objectRefs"], Value::Null);
        assert!(says(&revision, "RevisionHealthy", "True"));
        scene.delete().await
    })
}

#[test]
fn a_digest_is_taken_as_it_is() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "pinned");
        let image = scene.with_crds("v1", 1).build()?;
        scene.world.push(&scene.name, "v1", &image).await?;
        let reference = scene.world.registry().reference(&scene.name, &image.digest());
        scene.create(&reference, json!({})).await?;
        let package = scene.settled().await?;
        assert_eq!(package["status"]["resolvedDigest"], image.digest());
        let pinned = scene.active().await?;

        // A tag of the same digest is the same revision.
        let tagged = scene.world.registry().reference(&scene.name, "v1");
        scene.set(&tagged).await?;
        let package = scene.settled().await?;
        assert_eq!(package["status"]["currentIdentifier"], tagged);
        let now = scene.active().await?;
        assert_eq!(now["metadata"]["uid"], pinned["metadata"]["uid"]);
        assert_eq!(now["spec"]["revision"], pinned["spec"]["revision"]);
        assert_eq!(now["spec"]["image"], tagged, "the revision follows the spelling");
        scene.delete().await
    })
}

#[test]
fn common_labels_and_annotations_reach_every_object_and_follow_a_change() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "common");
        let reference = scene.push("v1", &scene.with_crds("v1", 2)).await?;
        let spec = json!({
            "commonLabels": { "baz": "qux", "example.org/version": "ours" },
            "commonAnnotations": { "foo": "bar" },
        });
        scene.create(&reference, spec).await?;
        scene.settled().await?;
        let revision = scene.active().await?;
        assert_eq!(revision["spec"]["commonLabels"]["baz"], "qux");
        assert_eq!(revision["spec"]["commonAnnotations"]["foo"], "bar");
        for n in 0..2 {
            let crd = scene.crd(&scene.crd_name(n)).await?;
            assert_eq!(crd["metadata"]["labels"]["baz"], "qux");
            assert_eq!(
                crd["metadata"]["labels"]["example.org/version"], "ours",
                "they win over those of the package"
            );
            assert_eq!(crd["metadata"]["annotations"]["foo"], "bar");
        }
        scene
            .patch(json!({ "spec": { "commonLabels": { "baz": "quux" } } }))
            .await?;
        for n in 0..2 {
            scene
                .crd_until(&scene.crd_name(n), "the label follows", |crd| {
                    crd["metadata"]["labels"]["baz"] == "quux"
                })
                .await?;
        }
        scene.settled().await?;
        assert_eq!(scene.revisions().await?.len(), 1, "a label makes no new revision");
        scene.delete().await
    })
}

#[test]
fn kubectl_lists_all_kinds_by_category() -> Result<()> {
    run(async {
        let world = world().await?;
        let mut scenes = vec![];
        for kind in ["Provider", "Configuration", "Function"] {
            let scene = Scene::new(world, kind, "listed");
            scene.install("v1", &scene.fixture("v1")).await?;
            scenes.push(scene);
        }
        // Categories come from what kubectl remembers of the API server, which this reads again.
        world.plane().kubectl(&["api-resources"]).await?;
        let packages = world.plane().kubectl(&["get", "packages"]).await?;
        let revisions = world.plane().kubectl(&["get", "packagerevisions"]).await?;
        for scene in &scenes {
            let lower = scene.kind.to_lowercase();
            let package = format!("{lower}.pkg.crossplane.io/{} ", scene.name);
            let line = packages
                .lines()
                .find(|l| l.starts_with(&package))
                .expect(&packages);
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words[1..3], ["True", "True"], "installed and healthy: {line}");
            let revision = format!(
                "{lower}revision.pkg.crossplane.io/{} ",
                name(&scene.active().await?)
            );
            assert!(revisions.contains(&revision), "{revision} is not in\n{revisions}");
            scene.delete().await?;
        }
        Ok(())
    })
}

#[test]
fn deleting_a_package_takes_its_revisions_and_crds_along() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "deleted");
        scene.install("v1", &scene.with_crds("v1", 2)).await?;
        scene.ask_for("v2", &scene.with_crds("v2", 1)).await?;
        scene.settled().await?;
        scene.make_thing(0, "goes-too").await?;
        assert_eq!(controller(&scene.crd(&scene.crd_name(1)).await?), None);
        scene.delete().await?;
        for n in 0..2 {
            scene.crd_going(&scene.crd_name(n)).await?;
        }
        let look = async || Ok(scene.revisions().await?.is_empty().then_some(()));
        testkit::eventually("all revisions are gone", SOON, look).await
    })
}
