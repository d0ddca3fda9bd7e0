//! A package or a revision that is paused.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use testkit::run;
use testkit::wait::lasting;

use crate::scene::{Scene, controller, message, name, reason, says};
use crate::world;

fn paused(value: Value) -> Value {
    json!({ "metadata": { "annotations": { "crossplane.io/paused": value } } })
}

const TEXT: &str = "Reconciliation (including deletion) is paused via the pause annotation";

#[test]
fn a_paused_package_stands_still_and_goes_on_when_resumed() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "paused");
        scene.install("v1", &scene.with_crds("v1", 1)).await?;
        let old = scene.active().await?;
        scene.patch(paused(json!("true"))).await?;
        let package = scene
            .until("it says that it is paused", |p| {
                reason(p, "Synced") == "False ReconcilePaused"
            })
            .await?;
        assert_eq!(message(&package, "Synced"), TEXT);
        for condition in ["Installed", "Healthy", "Ready"] {
            assert!(says(&package, condition, "True"), "unchanged: {package:#}");
        }
        scene.event(&scene.name, "ReconciliationPaused").await?;
        scene.ask_for("v2", &scene.with_crds("v2", 1)).await?;
        let rests = async || Ok(scene.revisions().await?.len() == 1);
        lasting("nothing is done", Duration::from_secs(3), rests).await?;

        scene.patch(paused(Value::Null)).await?;
        let package = scene.settled().await?;
        assert_eq!(
            reason(&package, "Synced"),
            "- -",
            "nothing is said of pauses any more"
        );
        assert_ne!(name(&scene.active().await?), name(&old));
        scene.delete().await
    })
}

#[test]
fn a_paused_revision_repairs_nothing_until_resumed() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "paused-revision");
        scene.install("v1", &scene.with_crds("v1", 1)).await?;
        let revision = scene.active().await?;
        scene
            .patch_revision(name(&revision), paused(json!("true")))
            .await?;
        let kind = scene.revision_kind();
        let what = ("Synced", "False", "ReconcilePaused");
        scene
            .world
            .wait_reason(&kind, name(&revision), what, crate::scene::SOON)
            .await?;
        let crd = scene.crd_name(0);
        let spec = scene.crd(&crd).await?["spec"].clone();
        let edit = json!({ "spec": { "names": { "categories": ["edited"] } } });
        scene.world.patch("CustomResourceDefinition", &crd, edit).await?;
        let rests = async || Ok(scene.crd(&crd).await?["spec"]["names"]["categories"] == json!(["edited"]));
        lasting("the edit stays", Duration::from_secs(3), rests).await?;
        scene.patch_revision(name(&revision), paused(Value::Null)).await?;
        scene
            .crd_until(&crd, "the edit is undone", |crd| crd["spec"] == spec)
            .await?;
        let look = async || {
            let revision = scene.active().await?;
            Ok((reason(&revision, "Synced") == "- -").then_some(revision))
        };
        let revision = testkit::eventually("it is not paused any more", crate::scene::SOON, look).await?;
        assert!(says(&revision, "RevisionHealthy", "True"));
        scene.delete().await
    })
}

#[test]
fn a_paused_package_can_be_deleted() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "paused-deleted");
        scene.install("v1", &scene.with_crds("v1", 1)).await?;
        let revision = scene.active().await?;
        assert_eq!(
            controller(&scene.crd(&scene.crd_name(0)).await?),
            Some(name(&revision))
        );
        scene.patch(paused(json!("true"))).await?;
        scene
            .patch_revision(name(&revision), paused(json!("true")))
            .await?;
        scene.delete().await?;
        let kind = scene.revision_kind();
        scene
            .world
            .wait_gone(&kind, name(&revision), crate::scene::SOON)
            .await?;
        scene.crd_going(&scene.crd_name(0)).await
    })
}
