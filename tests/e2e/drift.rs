//! Somebody changes or deletes what is installed.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use testkit::run;

use crate::scene::{SOON, Scene, controller, name};
use crate::world;

/// What is promised, plus what a busy test machine may add.
const BACK: Duration = Duration::from_secs(5 + 10);

#[test]
fn a_deleted_or_edited_crd_comes_back_and_labels_of_others_stay() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "drift");
        let reference = scene.push("v1", &scene.with_crds("v1", 2)).await?;
        scene
            .create(&reference, json!({ "commonLabels": { "ours": "yes" } }))
            .await?;
        scene.settled().await?;
        let revision = scene.active().await?;
        let crd = scene.crd_name(0);
        let written = scene.crd(&crd).await?;
        let patch = async |patch: Value| scene.world.patch("CustomResourceDefinition", &crd, patch).await;

        // Labels of others are theirs.
        patch(
            json!({ "metadata": { "labels": { "theirs": "stays" }, "annotations": { "theirs": "stays" } } }),
        )
        .await?;

        // The spec is edited.
        let start = Instant::now();
        patch(json!({ "spec": { "names": { "categories": ["edited"] } } })).await?;
        scene
            .crd_until(&crd, "the edit is undone", |crd| crd["spec"] == written["spec"])
            .await?;
        assert!(start.elapsed() < BACK, "{:?}", start.elapsed());

        // Our label is changed, then removed.
        for value in [json!("no"), Value::Null] {
            let start = Instant::now();
            patch(json!({ "metadata": { "labels": { "ours": value } } })).await?;
            scene
                .crd_until(&crd, "our label is back", |crd| {
                    crd["metadata"]["labels"]["ours"] == "yes"
                })
                .await?;
            assert!(start.elapsed() < BACK, "{:?}", start.elapsed());
        }
        let mended = scene.crd(&crd).await?;
        assert_eq!(mended["metadata"]["labels"]["theirs"], "stays");
        assert_eq!(mended["metadata"]["annotations"]["theirs"], "stays");

        // Our owner reference is removed.
        patch(json!({ "metadata": { "ownerReferences": [] } })).await?;
        scene
            .crd_until(&crd, "it is controlled again", |crd| {
                controller(crd) == Some(name(&revision))
            })
            .await?;

        // It is deleted.
        let uid = mended["metadata"]["uid"].clone();
        let start = Instant::now();
        scene.world.delete("CustomResourceDefinition", &crd).await?;
        let look = async || {
            let found = scene.world.get("CustomResourceDefinition", &crd).await?;
            Ok(found.filter(|crd| crd["metadata"]["uid"] != uid))
        };
        let again = testkit::eventually("the deleted CRD is back", SOON, look).await?;
        assert!(start.elapsed() < BACK, "{:?}", start.elapsed());
        assert_eq!(controller(&again), Some(name(&revision)));
        scene.settled().await?;
        let refs = |revision: &Value| revision["status"]["objectRefs"].clone();
        let look = async || {
            let revision = scene.active().await?;
            let known = refs(&revision)
                .as_array()
                .is_some_and(|all| all.iter().any(|r| r["uid"] == again["metadata"]["uid"]));
            Ok(known.then_some(()))
        };
        testkit::eventually("the reference names the new CRD", SOON, look).await?;
        scene.delete().await
    })
}

#[test]
fn a_deleted_revision_is_made_again() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "revision-gone");
        scene.install("v1", &scene.with_crds("v1", 1)).await?;
        let old = scene.active().await?;
        let uid = scene.crd(&scene.crd_name(0)).await?["metadata"]["uid"].clone();
        scene.world.delete(&scene.revision_kind(), name(&old)).await?;
        let look = async || {
            let revisions = scene.revisions().await?;
            Ok(revisions
                .into_iter()
                .find(|r| r["metadata"]["uid"] != old["metadata"]["uid"]))
        };
        let new = testkit::eventually("the revision is made again", SOON, look).await?;
        assert_eq!(name(&new), name(&old), "the same content has the same name");
        scene
            .crd_until(&scene.crd_name(0), "the new one controls it", |crd| {
                let owners = crd["metadata"]["ownerReferences"].as_array();
                owners.is_some_and(|all| {
                    all.iter()
                        .any(|o| o["uid"] == new["metadata"]["uid"] && o["controller"] == true)
                })
            })
            .await?;
        scene.settled().await?;
        assert_eq!(
            scene.crd(&scene.crd_name(0)).await?["metadata"]["uid"],
            uid,
            "the package kept it from the collector"
        );
        scene.delete().await
    })
}
