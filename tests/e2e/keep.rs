//! What docs/uninstall.md says about keeping CRDs and custom resources is true.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use testkit::wait::lasting;

use crate::scene::{SOON, Scene};

/// Longer than the garbage collector and the operator need to do harm.
const WATCHED: Duration = Duration::from_secs(8);

async fn installed(prefix: &str) -> Result<Scene> {
    let scene = Scene::new(crate::world().await?, "Provider", prefix);
    let reference = scene.push("v1", &scene.with_crds("v1", 2)).await?;
    scene.create(&reference, json!({})).await?;
    let world = scene.world;
    world
        .wait_condition("Provider", &scene.name, "Ready", "True", SOON)
        .await?;
    let thing = json!({
        "apiVersion": format!("{}/v1beta1", scene.group()), "kind": "Thing0",
        "metadata": { "name": "kept" }, "spec": {},
    });
    let apply = async || Ok(world.plane().apply_yaml(&thing.to_string()).await.ok());
    testkit::eventually("a custom resource can be made", SOON, apply).await?;
    Ok(scene)
}

/// The CRDs and the custom resource are there, the same ones, and stay.
async fn expect_kept(scene: &Scene, before: &[Value]) -> Result<()> {
    let look = async || {
        let now = crds(scene).await?;
        let kept = now.len() == before.len()
            && now.iter().zip(before).all(|(a, b)| {
                a["metadata"]["uid"] == b["metadata"]["uid"] && a["metadata"]["deletionTimestamp"].is_null()
            });
        let resource = format!("thing0s.{}", scene.group());
        let thing = scene
            .world
            .plane()
            .try_kubectl(&["get", &resource, "kept"], None)
            .await?;
        Ok(kept && thing.success)
    };
    lasting("CRDs and custom resource are kept", WATCHED, look).await
}

async fn crds(scene: &Scene) -> Result<Vec<Value>> {
    let mut found = vec![];
    for n in 0..2 {
        found.extend(
            scene
                .world
                .get("CustomResourceDefinition", &scene.crd_name(n))
                .await?,
        );
    }
    Ok(found)
}

#[test]
fn without_owners_objects_outlive_their_package() -> Result<()> {
    testkit::run(async {
        let scene = installed("keep").await?;
        let (world, name) = (scene.world, scene.name.as_str());
        let before = crds(&scene).await?;
        let label = format!("pkg.crossplane.io/package={name}");
        let plane = world.plane();
        let paused = "crossplane.io/paused=true";
        plane.kubectl(&["annotate", "provider", name, paused]).await?;
        plane
            .kubectl(&["annotate", "providerrevisions", "-l", &label, paused])
            .await?;
        world
            .wait_reason("Provider", name, ("Synced", "False", "ReconcilePaused"), SOON)
            .await?;
        let patch = r#"{"metadata":{"ownerReferences":null}}"#;
        for n in 0..2 {
            plane
                .kubectl(&["patch", "crd", &scene.crd_name(n), "--type", "merge", "-p", patch])
                .await?;
        }
        plane
            .kubectl(&["delete", "provider", name, "--cascade=background"])
            .await?;
        world.wait_gone("Provider", name, SOON).await?;
        expect_kept(&scene, &before).await
    })
}

#[test]
fn orphaned_objects_outlive_their_package() -> Result<()> {
    testkit::run(async {
        let scene = installed("orphan").await?;
        let (world, name) = (scene.world, scene.name.as_str());
        let before = crds(&scene).await?;
        let label = format!("pkg.crossplane.io/package={name}");
        let plane = world.plane();
        plane
            .kubectl(&["delete", "provider", name, "--cascade=orphan"])
            .await?;
        plane
            .kubectl(&["delete", "providerrevisions", "-l", &label, "--cascade=orphan"])
            .await?;
        world.wait_gone("Provider", name, SOON).await?;
        assert!(world.revisions("Provider", name).await?.is_empty());
        expect_kept(&scene, &before).await?;

        // Installed again, the package adopts what nobody controls.
        let reference = scene.push("v2", &scene.with_crds("v2", 2)).await?;
        scene.create(&reference, json!({})).await?;
        world
            .wait_condition("Provider", name, "Ready", "True", SOON)
            .await?;
        expect_kept(&scene, &before).await
    })
}
