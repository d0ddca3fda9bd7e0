//! What would not work here is refused before anything changes, and the old version goes on serving.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use testkit::wait::lasting;
use testkit::{PackageFixture, eventually, run};

use crate::scene::{SOON, Scene, controller, message, name, owners, reason, says};
use crate::world;

/// One version of a CRD.
fn version(storage: bool) -> Value {
    let schema = json!({ "openAPIV3Schema": { "type": "object" } });
    json!({ "name": "v1", "served": true, "storage": storage, "schema": schema })
}

/// A provider with two CRDs that serves.
async fn serving(prefix: &str) -> Result<(Scene, Value)> {
    let scene = Scene::new(world().await?, "Provider", prefix);
    scene.install("v1", &scene.with_crds("v1", 2)).await?;
    let old = scene.active().await?;
    Ok((scene, old))
}

/// That the version is refused with all these words while the old one serves untouched; answers the message.
async fn refused(scene: &Scene, old: &Value, fixture: &PackageFixture, words: &[&str]) -> Result<String> {
    let before = [
        scene.crd(&scene.crd_name(0)).await?,
        scene.crd(&scene.crd_name(1)).await?,
    ];
    scene.ask_for("v2", fixture).await?;
    let why = scene.refused().await?;
    for word in words {
        assert!(why.contains(word), "{word} is not in: {why}");
    }
    still_serves(scene, old, &before).await?;
    Ok(why)
}

async fn still_serves(scene: &Scene, old: &Value, before: &[Value; 2]) -> Result<()> {
    let package = scene.get().await?;
    assert_eq!(reason(&package, "Installed"), "True ActivePackageRevision");
    assert_eq!(reason(&package, "Healthy"), "True HealthyPackageRevision");
    assert_eq!(package["status"]["servingRevision"], name(old));
    assert_eq!(name(&scene.active().await?), name(old));
    for (n, before) in before.iter().enumerate() {
        let crd = scene.crd(&scene.crd_name(n)).await?;
        assert_eq!(controller(&crd), Some(name(old)));
        assert_eq!(
            crd["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"],
            "nothing is written"
        );
    }
    Ok(())
}

#[test]
fn a_version_for_another_host_is_refused_unless_told_to_ignore_it() -> Result<()> {
    run(async {
        let (scene, old) = serving("too-new").await?;
        let fixture = scene.with_crds("v2", 2).crossplane(">=v99.0.0");
        let why = refused(&scene, &old, &fixture, &[">=v99.0.0", "v2.4.0"]).await?;
        assert!(why.contains("incompatible Crossplane version"), "{why}");
        let revision = scene
            .revision(&scene.get().await?["status"]["currentRevision"])
            .await?;
        assert_eq!(
            reason(&revision, "RevisionHealthy"),
            "False UnhealthyPackageRevision"
        );
        assert!(
            message(&revision, "RevisionHealthy").starts_with("incompatible Crossplane version: "),
            "{revision:#}"
        );
        scene
            .event(&scene.name, "incompatible Crossplane version")
            .await?;
        scene
            .patch(json!({ "spec": { "ignoreCrossplaneConstraints": true } }))
            .await?;
        scene.settled().await?;
        assert_ne!(name(&scene.active().await?), name(&old));
        scene.delete().await
    })
}

#[test]
fn objects_of_others_are_listed_all_together_and_left_alone() -> Result<()> {
    run(async {
        let (other, _) = serving("neighbour").await?;
        let (scene, old) = serving("conflict").await?;
        let crowded = (0..12).fold(other.fixture("v2"), |f, n| {
            f.crd(&format!("shared.{}", other.group()), &format!("Thing{n}"))
        });
        other.ask_for("v2", &crowded.crds(&other.group(), 2)).await?;
        let theirs = other.settled().await?;
        let shared = |n: usize| format!("thing{n}s.shared.{}", other.group());
        let before = other.crd(&shared(0)).await?;

        let fixture = (0..12).fold(scene.with_crds("v2", 2), |f, n| {
            f.crd(&format!("shared.{}", other.group()), &format!("Thing{n}"))
        });
        let owner = theirs["status"]["currentRevision"].as_str().unwrap();
        let why = refused(
            &scene,
            &old,
            &fixture,
            &[&shared(0), owner, "already controlled by"],
        )
        .await?;
        let named = (0..12).filter(|n| why.contains(&shared(*n))).count();
        assert_eq!(named, 10, "the first ten by name: {why}");
        assert!(why.contains("12 objects") && why.contains("and 2 more"), "{why}");
        let after = other.crd(&shared(0)).await?;
        assert_eq!(
            after["metadata"]["resourceVersion"],
            before["metadata"]["resourceVersion"]
        );

        // Once the other gives them up, they are free to take.
        other.delete().await?;
        for n in 0..12 {
            scene
                .crd_until(&shared(n), "it is taken over", |crd| {
                    controller(crd).is_some_and(|c| c.starts_with(&scene.name))
                })
                .await?;
        }
        scene.settled().await?;
        scene.delete().await
    })
}

#[test]
fn objects_that_nobody_controls_are_adopted() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "adopted");
        let fixture = scene.with_crds("v1", 1);
        let yaml = fixture.yaml()?;
        let crd = yaml.split("---\n").nth(2).unwrap();
        scene.world.plane().apply_yaml(crd).await?;
        let uid = scene.crd(&scene.crd_name(0)).await?["metadata"]["uid"].clone();
        scene.install("v1", &fixture).await?;
        let crd = scene.crd(&scene.crd_name(0)).await?;
        assert_eq!(crd["metadata"]["uid"], uid);
        assert_eq!(controller(&crd), Some(name(&scene.active().await?)));
        scene.delete().await
    })
}

#[test]
fn an_object_that_is_being_deleted_is_waited_for() -> Result<()> {
    run(async {
        let (scene, old) = serving("terminating").await?;
        let crd = format!("laters.{}", scene.group());
        let fixture = scene.with_crds("v2", 2).crd(&scene.group(), "Later");
        let yaml = fixture.yaml()?;
        let document = yaml.split("---\n").find(|d| d.contains(&crd)).unwrap();
        scene.world.plane().apply_yaml(document).await?;
        let hold = json!({ "metadata": { "finalizers": ["example.org/hold"] } });
        scene.world.patch("CustomResourceDefinition", &crd, hold).await?;
        scene.world.delete("CustomResourceDefinition", &crd).await?;

        let before = [
            scene.crd(&scene.crd_name(0)).await?,
            scene.crd(&scene.crd_name(1)).await?,
        ];
        scene.ask_for("v2", &fixture).await?;
        let package = scene
            .until("it names what is being deleted", |p| {
                says(p, "Ready", "False") && message(p, "Ready").contains(&crd)
            })
            .await?;
        assert!(
            message(&package, "Ready").contains("is being deleted"),
            "{package:#}"
        );
        still_serves(&scene, &old, &before).await?;

        let free = json!({ "metadata": { "finalizers": null } });
        scene.world.patch("CustomResourceDefinition", &crd, free).await?;
        scene.settled().await?;
        assert_eq!(
            controller(&scene.crd(&crd).await?),
            Some(name(&scene.active().await?))
        );
        scene.delete().await
    })
}

#[test]
fn a_crd_that_the_api_server_refuses_is_found_before_anything_changes() -> Result<()> {
    run(async {
        let (scene, old) = serving("invalid-crd").await?;
        let broken = |kind: &str| {
            let plural = format!("{}s", kind.to_lowercase());
            json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": { "name": format!("{plural}.{}", scene.group()) },
                "spec": {
                    "group": scene.group(), "scope": "Cluster",
                    "names": { "kind": kind, "plural": plural },
                    "versions": [version(false)],
                },
            })
        };
        let fixture = scene
            .with_crds("v2", 2)
            .crd(&scene.group(), "Fine")
            .object(broken("Aaa"))
            .object(broken("Bbb"));
        let names = [
            format!("aaas.{}", scene.group()),
            format!("bbbs.{}", scene.group()),
        ];
        refused(&scene, &old, &fixture, &[&names[0], &names[1], "storage"]).await?;
        let fine = format!("fines.{}", scene.group());
        let fine = scene.world.get("CustomResourceDefinition", &fine).await?;
        assert!(
            fine.is_none(),
            "not even what would have been fine is made: {fine:?}"
        );
        let told = scene.events(&scene.name).await?;
        assert!(
            !told.iter().any(|e| e.starts_with("TransitionRevision")),
            "it was never active: {told:?}"
        );

        // The next version mends it.
        scene.ask_for("v3", &scene.with_crds("v3", 2)).await?;
        scene.settled().await?;
        let refused = scene.revisions().await?;
        assert_eq!(
            refused.len(),
            2,
            "the candidate that never served is gone: {refused:#?}"
        );
        scene.delete().await
    })
}

#[test]
fn a_conversion_webhook_needs_somebody_who_serves_it() -> Result<()> {
    run(async {
        let (scene, old) = serving("conversion").await?;
        let webhook = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("converteds.{}", scene.group()) },
            "spec": {
                "group": scene.group(), "scope": "Cluster",
                "names": { "kind": "Converted", "plural": "converteds" },
                "conversion": { "strategy": "Webhook", "webhook": {
                    "conversionReviewVersions": ["v1"],
                    "clientConfig": { "service": { "name": "x", "namespace": "x", "path": "/convert" } },
                } },
                "versions": [version(true)],
            },
        });
        let name = format!("converteds.{}", scene.group());
        let words = [name.as_str(), "converts between versions by webhook", "None"];
        refused(&scene, &old, &scene.with_crds("v2", 2).object(webhook), &words).await?;
        let crd = scene.world.get("CustomResourceDefinition", &name).await?;
        assert!(crd.is_none(), "{crd:?}");
        scene.delete().await
    })
}

#[test]
fn a_crd_whose_names_are_taken_gives_everything_back() -> Result<()> {
    run(async {
        let (scene, old) = serving("names-taken").await?;
        let crd = |group: &str, plural: &str| {
            json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": { "name": format!("{plural}.{group}") },
                "spec": {
                    "group": group, "scope": "Cluster",
                    "names": { "kind": "Occupied", "plural": plural },
                    "versions": [version(true)],
                },
            })
        };
        let first = crd(&scene.group(), "occupieds");
        scene.world.create("CustomResourceDefinition", first).await?;
        let fixture = scene.with_crds("v2", 2).object(crd(&scene.group(), "others"));
        scene.ask_for("v2", &fixture).await?;
        let why = scene.refused().await?;
        assert!(
            why.contains("names are not accepted") && why.contains("others."),
            "{why}"
        );
        // It was active for a moment; who served before has everything again.
        for n in 0..2 {
            let crd = scene
                .crd_until(&scene.crd_name(n), "it is given back", |crd| {
                    controller(crd) == Some(name(&old))
                })
                .await?;
            assert!(owners(&crd).contains(&format!("Provider/{}", scene.name)));
        }
        scene
            .until("the old one serves", |p| {
                p["status"]["servingRevision"] == name(&old) && says(p, "Healthy", "True")
            })
            .await?;
        // It is checked once more, and then not tried again and again.
        let checked = async || {
            let wanted = scene.get().await?["status"]["currentRevision"].clone();
            let revision = scene.revision(&wanted).await?;
            let refused = reason(&revision, "Preflighted") == "False Refused";
            Ok((refused && revision["spec"]["desiredState"] == "Inactive").then_some(()))
        };
        eventually("it is checked once more", SOON, checked).await?;
        let rests = async || Ok(name(&scene.active().await?) == name(&old));
        lasting("the refused one rests", Duration::from_secs(6), rests).await?;
        scene.refused().await?;
        assert_eq!(name(&scene.active().await?), name(&old));
        let version = |crd: &Value| crd["metadata"]["labels"]["example.org/version"] == "v1";
        scene
            .crd_until(&scene.crd_name(0), "content is that of v1", version)
            .await?;
        scene.delete().await?;
        let occupied = format!("occupieds.{}", scene.group());
        scene.world.delete("CustomResourceDefinition", &occupied).await?;
        scene.crd_going(&occupied).await
    })
}
