//! Activation by hand.

use anyhow::Result;
use serde_json::json;
use testkit::run;

use crate::scene::{Scene, controller, is_current, message, name, reason, says};
use crate::world;

#[test]
fn a_person_activates_and_may_choose_an_older_revision() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "by-hand");
        let reference = scene.push("v1", &scene.with_crds("v1", 2)).await?;
        scene
            .create(&reference, json!({ "revisionActivationPolicy": "Manual" }))
            .await?;
        let waits = scene
            .until("it waits for a person", |p| {
                is_current(p) && reason(p, "Ready") == "False AwaitingActivation"
            })
            .await?;
        assert_eq!(reason(&waits, "Installed"), "False InactivePackageRevision");
        assert_eq!(message(&waits, "Installed"), "Package is inactive");
        assert_eq!(reason(&waits, "Healthy"), "True HealthyPackageRevision");
        let first = scene.revision(&waits["status"]["currentRevision"]).await?;
        assert_ne!(first["spec"]["desiredState"], "Active");
        assert!(
            says(&first, "Preflighted", "True"),
            "it is known already whether it would work"
        );
        assert!(
            scene
                .world
                .get("CustomResourceDefinition", &scene.crd_name(0))
                .await?
                .is_none(),
            "nothing is put in place before"
        );
        let activate = async |revision: &str| {
            scene
                .patch_revision(revision, json!({ "spec": { "desiredState": "Active" } }))
                .await
        };
        activate(name(&first)).await?;
        scene.settled().await?;

        // The next version waits beside the one that serves.
        scene.ask_for("v2", &scene.with_crds("v2", 1)).await?;
        let offered = scene
            .until("an update is offered", |p| {
                is_current(p) && reason(p, "Ready") == "True UpdateAvailable"
            })
            .await?;
        assert_eq!(reason(&offered, "Installed"), "True ActivePackageRevision");
        assert_eq!(offered["status"]["servingRevision"], name(&first));
        let second = scene.revision(&offered["status"]["currentRevision"]).await?;
        assert_ne!(name(&second), name(&first));
        assert_eq!(
            controller(&scene.crd(&scene.crd_name(0)).await?),
            Some(name(&first))
        );
        activate(name(&second)).await?;
        scene.settled().await?;
        assert_eq!(
            scene.active().await?["metadata"]["uid"],
            second["metadata"]["uid"]
        );
        assert_eq!(
            controller(&scene.crd(&scene.crd_name(0)).await?),
            Some(name(&second))
        );
        assert_eq!(controller(&scene.crd(&scene.crd_name(1)).await?), None);

        // An older one is a decision too: it gets the highest number and the others rest.
        activate(name(&first)).await?;
        scene
            .until("the older one serves", |p| {
                p["status"]["servingRevision"] == name(&first) && reason(p, "Ready") == "True UpdateAvailable"
            })
            .await?;
        let active = scene.active().await?;
        assert_eq!(name(&active), name(&first));
        assert_eq!(active["spec"]["revision"], 3);
        for n in 0..2 {
            let crd = scene.crd(&scene.crd_name(n)).await?;
            assert_eq!(controller(&crd), Some(name(&first)));
        }

        // Automatic follows what spec.package asks for.
        scene
            .patch(json!({ "spec": { "revisionActivationPolicy": "Automatic" } }))
            .await?;
        scene.settled().await?;
        assert_eq!(name(&scene.active().await?), name(&second));
        scene.delete().await
    })
}

#[test]
fn what_would_not_work_says_so_before_anybody_activates_it() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "hand-refused");
        let fixture = scene.with_crds("v1", 1).crossplane(">=v99.0.0");
        let reference = scene.push("v1", &fixture).await?;
        scene
            .create(&reference, json!({ "revisionActivationPolicy": "Manual" }))
            .await?;
        let why = scene.refused().await?;
        assert!(
            why.contains("incompatible Crossplane version") && why.contains(">=v99.0.0"),
            "{why}"
        );
        let package = scene.get().await?;
        assert_eq!(reason(&package, "Installed"), "False InactivePackageRevision");
        assert_eq!(reason(&package, "Healthy"), "False UnhealthyPackageRevision");
        scene.delete().await
    })
}
