//! What the reference's package manager left is taken over: same names, same objects.

use std::collections::BTreeSet;

use anyhow::Result;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use testkit::{World, run};

use crate::scene::{SOON, Scene, controller, name, says};
use crate::world;

/// Sets the status as the reference's controllers do.
async fn set_status(world: &World, kind: &str, name: &str, status: Value) -> Result<()> {
    let patch = json!({ "status": status });
    world
        .api(kind)?
        .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}

#[test]
fn revisions_of_the_reference_are_taken_over_under_their_names() -> Result<()> {
    run(async {
        let world = world().await?;
        let scene = Scene::new(world, "Provider", "inherited");
        let image = scene.with_crds("v1", 2).build()?;
        let reference = world.push(&scene.name, "v1", &image).await?;

        // The package comes paused, so that all of it is there before anybody looks.
        let paused = json!({ "crossplane.io/paused": "true" });
        let package = json!({
            "metadata": { "name": scene.name, "annotations": paused },
            "spec": { "package": reference },
        });
        let package = serde_json::to_value(world.create("Provider", package).await?)?;
        let hex = image.digest().replace("sha256:", "");
        let theirs = api::names::reference_revision_name(&scene.name, &hex, 1);
        let owner = |object: &Value, kind: &str, controls: bool| {
            json!({
                "apiVersion": "pkg.crossplane.io/v1", "kind": kind, "name": object["metadata"]["name"],
                "uid": object["metadata"]["uid"], "controller": controls, "blockOwnerDeletion": true,
            })
        };
        let revision = json!({
            "metadata": {
                "name": theirs,
                "labels": { "pkg.crossplane.io/package": scene.name },
                "annotations": paused,
                "finalizers": ["revision.pkg.crossplane.io"],
                "ownerReferences": [owner(&package, "Provider", true)],
            },
            "spec": {
                "desiredState": "Active", "image": reference, "revision": 1,
                "packagePullPolicy": "IfNotPresent", "ignoreCrossplaneConstraints": false,
                "skipDependencyResolution": false,
                "runtimeConfigRef": {
                    "apiVersion": "pkg.crossplane.io/v1beta1", "kind": "DeploymentRuntimeConfig",
                    "name": "default",
                },
                "tlsServerSecretName": format!("{}-tls-server", scene.name),
                "tlsClientSecretName": format!("{}-tls-client", scene.name),
            },
        });
        let revision = serde_json::to_value(world.create("ProviderRevision", revision).await?)?;
        let mut refs = vec![];
        let mut uids = BTreeSet::new();
        let yaml = scene.with_crds("v1", 2).yaml()?;
        for document in yaml
            .split("---\n")
            .filter(|d| d.contains("CustomResourceDefinition"))
        {
            world.plane().apply_yaml(document).await?;
        }
        for n in 0..2 {
            let crd = scene.crd_name(n);
            let owners = json!([
                owner(&revision, "ProviderRevision", true),
                owner(&package, "Provider", false)
            ]);
            let owned = json!({ "metadata": { "ownerReferences": owners } });
            let crd = world.patch("CustomResourceDefinition", &crd, owned).await?;
            let crd = serde_json::to_value(crd)?;
            refs.push(json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "name": name(&crd), "uid": crd["metadata"]["uid"],
            }));
            uids.insert(crd["metadata"]["uid"].to_string());
        }
        let condition = |type_: &str, reason: &str| {
            json!({
                "type": type_, "status": "True", "reason": reason,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        let status = json!({
            "conditions": [
                condition("RevisionHealthy", "HealthyPackageRevision"),
                condition("RuntimeHealthy", "HealthyPackageRevision"),
            ],
            "objectRefs": refs, "resolvedImage": reference,
        });
        set_status(world, "ProviderRevision", &theirs, status).await?;
        let status = json!({
            "conditions": [
                condition("Installed", "ActivePackageRevision"),
                condition("Healthy", "HealthyPackageRevision"),
            ],
            "currentRevision": theirs, "currentIdentifier": reference, "resolvedPackage": reference,
        });
        set_status(world, "Provider", &scene.name, status).await?;
        scene.make_thing(0, "precious").await?;

        let resume = json!({ "metadata": { "annotations": { "crossplane.io/paused": null } } });
        scene.patch_revision(&theirs, resume.clone()).await?;
        scene.patch(resume).await?;
        let package = scene.settled().await?;
        assert_eq!(package["status"]["currentRevision"], theirs);
        assert_eq!(package["status"]["resolvedDigest"], image.digest());
        let revisions = scene.revisions().await?;
        assert_eq!(revisions.len(), 1, "{revisions:#?}");
        let now = &revisions[0];
        assert_eq!(now["metadata"]["uid"], revision["metadata"]["uid"]);
        assert_eq!(
            now["metadata"]["annotations"]["gantry.dev/digest"],
            image.digest()
        );
        assert_eq!(
            now["metadata"]["finalizers"],
            Value::Null,
            "nothing hangs without the reference"
        );
        assert_eq!(
            now["spec"]["tlsServerSecretName"],
            format!("{}-tls-server", scene.name),
            "what others need stays"
        );
        assert_eq!(now["spec"]["revision"], 1);
        for n in 0..2 {
            let crd = scene.crd(&scene.crd_name(n)).await?;
            assert!(
                uids.contains(&crd["metadata"]["uid"].to_string()),
                "not made again"
            );
            assert_eq!(controller(&crd), Some(theirs.as_str()));
        }
        let thing = format!("thing0s.{}", scene.group());
        world.plane().kubectl(&["get", &thing, "precious"]).await?;

        // And goes on from there.
        scene.ask_for("v2", &scene.with_crds("v2", 2)).await?;
        scene.settled().await?;
        let active = scene.active().await?;
        assert_eq!(active["spec"]["revision"], 2);
        assert!(says(&active, "RevisionHealthy", "True"));
        assert_eq!(
            controller(&scene.crd(&scene.crd_name(0)).await?),
            Some(name(&active))
        );
        scene.delete().await?;
        world.wait_gone("ProviderRevision", &theirs, SOON).await
    })
}

#[test]
fn a_revision_of_the_reference_that_is_being_deleted_does_not_hang() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "held");
        scene.install("v1", &scene.with_crds("v1", 1)).await?;
        let old = scene.active().await?;
        let finalizer =
            json!({ "metadata": { "finalizers": ["revision.pkg.crossplane.io", "example.org/x"] } });
        scene.ask_for("v2", &scene.with_crds("v2", 1)).await?;
        scene.settled().await?;
        scene.patch_revision(name(&old), finalizer).await?;
        let look = async || {
            let revision = scene.revision(&json!(name(&old))).await?;
            Ok((revision["metadata"]["finalizers"] == json!(["example.org/x"])).then_some(()))
        };
        testkit::eventually("only that of the reference is gone", SOON, look).await?;
        let none = json!({ "metadata": { "finalizers": null } });
        scene.patch_revision(name(&old), none).await?;
        scene.delete().await
    })
}
