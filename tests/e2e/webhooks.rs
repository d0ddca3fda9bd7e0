//! Packages whose controllers are run by somebody else: conditions and certificates of theirs are awaited.

use anyhow::Result;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use testkit::run;
use testkit::world::NAMESPACE;

use crate::scene::{SOON, Scene, configured, controller, message, name, reason, says};

/// What the one who runs the controllers says of a revision.
async fn say(scene: &Scene, revision: &str, status: Value) -> Result<()> {
    let patch = json!({
        "apiVersion": "pkg.crossplane.io/v1", "kind": "ProviderRevision",
        "metadata": { "name": revision }, "status": status,
    });
    let params = PatchParams::apply("somebody-else").force();
    let revisions = scene.world.api("ProviderRevision")?;
    revisions
        .patch_status(revision, &params, &Patch::Apply(patch))
        .await?;
    Ok(())
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

#[test]
fn health_of_controllers_that_others_run_counts() -> Result<()> {
    run(async {
        let scene = Scene::new(configured().await?, "Provider", "external");
        let reference = scene.push("v1", &scene.with_crds("v1", 1)).await?;
        scene.create(&reference, json!({})).await?;
        let package = scene
            .until("the objects are there, the runtime isn't", |p| {
                says(p, "Installed", "True") && message(p, "Healthy").contains("runtime health")
            })
            .await?;
        assert_eq!(reason(&package, "Healthy"), "False UnhealthyPackageRevision");
        assert_eq!(
            message(&package, "Healthy"),
            "Package runtime health is \"Unknown\""
        );
        let revision = scene.active().await?;
        assert!(
            says(&revision, "RevisionHealthy", "True"),
            "no certificates are awaited"
        );

        let down = condition(
            "RuntimeHealthy",
            "False",
            "UnhealthyPackageRevision",
            "it does not start",
        );
        say(&scene, name(&revision), json!({ "conditions": [down] })).await?;
        let expected = "Package runtime health is \"False\" with message: it does not start";
        scene
            .until("its words are passed on", |p| message(p, "Healthy") == expected)
            .await?;
        let up = condition("RuntimeHealthy", "True", "HealthyPackageRevision", "");
        say(&scene, name(&revision), json!({ "conditions": [up] })).await?;
        let package = scene.settled().await?;
        assert_eq!(reason(&package, "Healthy"), "True HealthyPackageRevision");
        let revision = scene.active().await?;
        assert!(
            says(&revision, "RuntimeHealthy", "True"),
            "theirs is left to them: {revision:#}"
        );
        scene.delete().await
    })
}

#[test]
fn webhook_configurations_are_named_and_wired() -> Result<()> {
    run(async {
        let scene = Scene::new(configured().await?, "Provider", "hooked");
        let rule = json!({
            "apiGroups": [scene.group()], "apiVersions": ["*"], "operations": ["CREATE"],
            "resources": ["nothings"],
        });
        let client = |path: &str| json!({ "service": { "name": "x", "namespace": "x", "path": path } });
        let configuration = |kind: &str| {
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
                "metadata": { "name": format!("{kind}-in-the-package").to_lowercase() },
                "webhooks": [{
                    "name": "hook.example.org", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                    "failurePolicy": "Ignore", "rules": [rule], "clientConfig": client("/judge"),
                }],
            })
        };
        let converted = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("converteds.{}", scene.group()) },
            "spec": {
                "group": scene.group(), "scope": "Cluster",
                "names": { "kind": "Converted", "plural": "converteds" },
                "conversion": { "strategy": "Webhook", "webhook": {
                    "conversionReviewVersions": ["v1"], "clientConfig": client("/convert"),
                } },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": { "type": "object" } },
                }],
            },
        });
        let fixture = scene
            .fixture("v1")
            .object(configuration("ValidatingWebhookConfiguration"))
            .object(configuration("MutatingWebhookConfiguration"))
            .object(converted);
        let reference = scene.push("v1", &fixture).await?;
        scene.create(&reference, json!({})).await?;

        // Nobody has made certificates yet.
        let waits = "waiting for package runtime controller to set revision's webhook TLS secret";
        scene
            .until("certificates are awaited", |p| {
                message(p, "Ready").contains(waits)
            })
            .await?;
        let revision = scene.active().await?;
        let secret = format!("{}-tls-server", scene.name);
        let up = condition("RuntimeHealthy", "True", "HealthyPackageRevision", "");
        say(
            &scene,
            name(&revision),
            json!({ "conditions": [up], "tlsServerSecretName": secret }),
        )
        .await?;
        scene
            .until("the secret is awaited", |p| {
                message(p, "Ready").contains("cannot get webhook tls secret")
            })
            .await?;
        let object = |certificate: &str| {
            json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": { "name": secret, "namespace": NAMESPACE },
                "data": { "tls.crt": certificate },
            })
        };
        let plane = scene.world.plane();
        plane.apply_yaml(&object("").to_string()).await?;
        scene
            .until("the certificate is awaited", |p| {
                message(p, "Ready").contains("the value for the key tls.crt cannot be empty")
            })
            .await?;
        // The API server wants to see a certificate, any will do.
        let bundle = testkit::pki::Authority::new("made-up")?.certificate().to_owned();
        let bundle = api_bundle(&bundle);
        plane.apply_yaml(&object(&bundle).to_string()).await?;
        scene.settled().await?;

        let crd = scene.crd(&format!("converteds.{}", scene.group())).await?;
        let wired = |path: &str| {
            json!({ "caBundle": bundle, "service": {
                "name": scene.name, "namespace": NAMESPACE, "port": 9443, "path": path,
            } })
        };
        assert_eq!(
            crd["spec"]["conversion"]["webhook"]["clientConfig"],
            wired("/convert")
        );
        let named = format!("crossplane-provider-{}", scene.name);
        for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
            let object = scene.world.get(kind, &named).await?.expect(kind);
            assert_eq!(object["webhooks"][0]["clientConfig"], wired("/judge"), "{kind}");
            assert_eq!(controller(&object), Some(name(&revision)));
        }
        let refs = scene.active().await?["status"]["objectRefs"].clone();
        assert_eq!(refs.as_array().map(Vec::len), Some(3), "{refs}");
        scene.delete().await?;
        scene
            .world
            .wait_gone("ValidatingWebhookConfiguration", &named, SOON)
            .await
    })
}

fn api_bundle(pem: &str) -> String {
    let bytes = k8s_openapi::ByteString(pem.as_bytes().to_vec());
    let value = serde_json::to_value(bytes).unwrap();
    value.as_str().unwrap().to_owned()
}
