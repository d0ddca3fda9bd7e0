//! Which revisions are kept, and which go.

use anyhow::Result;
use serde_json::{Value, json};
use testkit::run;

use crate::scene::{SOON, Scene, name};
use crate::world;

/// Numbers of the revisions, highest first.
fn numbers(revisions: &[Value]) -> Vec<i64> {
    revisions
        .iter()
        .filter_map(|r| r["spec"]["revision"].as_i64())
        .collect()
}

/// Waits until the revisions have these numbers.
async fn kept(scene: &Scene, expected: &[i64]) -> Result<()> {
    let look = async || Ok((numbers(&scene.revisions().await?) == expected).then_some(()));
    match testkit::eventually(&format!("revisions {expected:?} are kept"), SOON, look).await {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(scene.world.dump(scene.kind, &scene.name).await)),
    }
}

#[test]
fn the_oldest_that_served_go_first_and_a_raised_limit_brings_nothing_back() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "history");
        let first = scene.push("v1", &scene.with_crds("v1", 1)).await?;
        // The default keeps one beside the active one.
        scene.create(&first, json!({})).await?;
        scene.settled().await?;
        for version in ["v2", "v3"] {
            scene.ask_for(version, &scene.with_crds(version, 1)).await?;
            scene.settled().await?;
        }
        kept(&scene, &[3, 2]).await?;
        scene
            .patch(json!({ "spec": { "revisionHistoryLimit": 2 } }))
            .await?;
        for version in ["v4", "v5"] {
            scene.ask_for(version, &scene.with_crds(version, 1)).await?;
            scene.settled().await?;
        }
        kept(&scene, &[5, 4, 3]).await?;

        // A revision that is taken again becomes the youngest.
        let again = scene.revisions().await?[2].clone();
        scene.set(again["spec"]["image"].as_str().unwrap()).await?;
        scene.settled().await?;
        kept(&scene, &[6, 5, 4]).await?;
        assert_eq!(name(&scene.active().await?), name(&again));

        // Lowering it is enough to collect.
        scene
            .patch(json!({ "spec": { "revisionHistoryLimit": 1 } }))
            .await?;
        kept(&scene, &[6, 5]).await?;

        // Zero keeps all.
        scene
            .patch(json!({ "spec": { "revisionHistoryLimit": 0 } }))
            .await?;
        for version in ["v6", "v7", "v8"] {
            scene.ask_for(version, &scene.with_crds(version, 1)).await?;
            scene.settled().await?;
        }
        kept(&scene, &[9, 8, 7, 6, 5]).await?;
        // Whoever is gone left its objects to those who came after.
        let crd = scene.crd(&scene.crd_name(0)).await?;
        assert_eq!(crate::scene::controller(&crd), Some(name(&scene.active().await?)));
        scene.delete().await
    })
}

#[test]
fn a_candidate_that_never_served_goes_when_another_is_wanted() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "superseded");
        scene.install("v1", &scene.with_crds("v1", 1)).await?;
        scene
            .patch(json!({ "spec": { "revisionHistoryLimit": 0 } }))
            .await?;
        scene
            .ask_for("v2", &scene.with_crds("v2", 1).crossplane(">=v99.0.0"))
            .await?;
        scene.refused().await?;
        kept(&scene, &[2, 1]).await?;
        scene
            .ask_for("v3", &scene.with_crds("v3", 1).crossplane(">=v98.0.0"))
            .await?;
        kept(&scene, &[3, 1]).await?;
        scene.refused().await?;
        // Until something better serves, the one that serves is never collected.
        scene
            .patch(json!({ "spec": { "revisionHistoryLimit": 1 } }))
            .await?;
        scene.ask_for("v4", &scene.with_crds("v4", 1)).await?;
        scene.settled().await?;
        kept(&scene, &[4, 1]).await?;
        scene.delete().await
    })
}
