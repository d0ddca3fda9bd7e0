//! Programs of packages, as far as an API server and its controllers show them: pods are made and deleted by the cluster's
//! own controllers, and the test plays the node that runs them. What real pods do is tested on a node.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service, ServiceAccount};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use testkit::world::NAMESPACE;
use testkit::{World, WorldOptions, eventually, run};
use tokio::sync::OnceCell;

use crate::OPERATOR;
use crate::scene::{SOON, Scene, message, name, reason, says};

/// A world whose operator runs the programs of packages.
pub(crate) async fn running() -> Result<&'static World> {
    static SHARED: OnceCell<World> = OnceCell::const_new();
    SHARED
        .get_or_try_init(|| {
            let flags = ["--tag-poll-interval=1s", "--package-runtime=Deployment"];
            World::start(WorldOptions::with_operator(OPERATOR).operator_args(flags))
        })
        .await
}

fn api<K>(world: &World) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    <K as kube::Resource>::DynamicType: Default,
{
    Api::namespaced(world.plane().client(), NAMESPACE)
}

/// Names of the pods of a package's revision.
async fn pods(scene: &Scene, revision: &Value) -> Result<Vec<String>> {
    let labels = format!("pkg.crossplane.io/revision={}", name(revision));
    let pods = api::<Pod>(scene.world)
        .list(&ListParams::default().labels(&labels))
        .await?;
    Ok(pods
        .items
        .into_iter()
        .filter_map(|pod| pod.metadata.name)
        .collect())
}

/// Plays the node: gives the pods of a revision this status, as soon as there are some.
pub(crate) async fn node_says(scene: &Scene, revision: &Value, status: &Value) -> Result<()> {
    let pods = eventually("there are pods", SOON, async || {
        let pods = pods(scene, revision).await?;
        Ok((!pods.is_empty()).then_some(pods))
    })
    .await?;
    for pod in pods {
        let patch = Patch::Merge(json!({ "status": status }));
        api::<Pod>(scene.world)
            .patch_status(&pod, &PatchParams::default(), &patch)
            .await?;
    }
    Ok(())
}

/// A pod that runs.
pub(crate) fn up() -> Value {
    let condition = |type_: &str| json!({ "type": type_, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    json!({ "phase": "Running", "conditions": [condition("Ready"), condition("ContainersReady")] })
}

/// A pod whose program ends again and again.
pub(crate) fn crashed() -> Value {
    json!({
        "phase": "Running",
        "containerStatuses": [{
            "name": "package-runtime", "image": "x", "imageID": "x", "ready": false, "restartCount": 3,
            "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } },
            "lastState": { "terminated": { "exitCode": 1, "reason": "Error", "message": "starting\nno such flag: -x\n" } },
        }],
    })
}

async fn serves(scene: &Scene) -> Result<Value> {
    // As soon as the wanted revision is active, its pods run.
    let wanted = scene
        .until("its program is awaited", |package| {
            says(package, "Installed", "True") && message(package, "Ready").contains("replicas are available")
        })
        .await?;
    let revision = scene.revision(&wanted["status"]["currentRevision"]).await?;
    node_says(scene, &revision, &up()).await?;
    scene.settled().await
}

async fn deployments(scene: &Scene) -> Result<BTreeMap<String, Deployment>> {
    let all = api::<Deployment>(scene.world)
        .list(&ListParams::default())
        .await?;
    let of = all.items.into_iter().filter(|deployment| {
        let labels = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.match_labels.as_ref());
        labels.is_some_and(|labels| labels.values().any(|value| *value == scene.name))
    });
    Ok(of
        .map(|d| (d.metadata.name.clone().unwrap_or_default(), d))
        .collect())
}

#[test]
fn a_provider_runs_is_upgraded_and_goes() -> Result<()> {
    run(async {
        let scene = Scene::new(running().await?, "Provider", "runs");
        let reference = scene.push("v1", &scene.with_crds("v1", 2)).await?;
        scene.create(&reference, json!({})).await?;
        serves(&scene).await?;
        let first = scene.active().await?;
        let revision = name(&first).to_owned();
        let digest = first["metadata"]["annotations"]["gantry.dev/digest"]
            .as_str()
            .context("digest")?;

        let deployment = deployments(&scene)
            .await?
            .remove(&revision)
            .context("a Deployment")?;
        let pod = deployment.spec.context("spec")?.template.spec.context("pod")?;
        let image = pod.containers[0].image.clone().context("image")?;
        assert!(image.ends_with(digest), "what was checked is what runs: {image}");
        assert_eq!(pod.service_account_name.as_deref(), Some(revision.as_str()));
        let account = api::<ServiceAccount>(scene.world).get(&revision).await?;
        assert_eq!(
            account.metadata.owner_references.context("owners")?[0].name,
            revision
        );
        let selector = async || -> Result<String> {
            let service = api::<Service>(scene.world).get(&scene.name).await?;
            let selector = service.spec.and_then(|spec| spec.selector).context("selector")?;
            Ok(selector["pkg.crossplane.io/revision"].clone())
        };
        assert_eq!(selector().await?, revision);
        for secret in ["tls-server", "tls-client"] {
            let secret = api::<Secret>(scene.world)
                .get(&format!("{}-{secret}", scene.name))
                .await?;
            let keys: Vec<String> = secret.data.context("data")?.into_keys().collect();
            assert_eq!(keys, ["ca.crt", "tls.crt", "tls.key"]);
        }
        assert!(says(&first, "RuntimeActive", "True"), "{first:#}");
        assert_eq!(
            first["status"]["tlsServerSecretName"],
            format!("{}-tls-server", scene.name)
        );

        // Nothing is written to what is right.
        let mark = scene.world.plane().audit_mark()?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let writes: Vec<String> = scene
            .world
            .plane()
            .audit_since(mark)?
            .into_iter()
            .filter(|event| event.is_write() && event.uri.contains(&scene.name))
            .map(|event| format!("{} {}", event.verb, event.uri))
            .collect();
        assert!(writes.is_empty(), "{writes:#?}");

        // What somebody deletes comes back.
        let plane = scene.world.plane();
        plane
            .kubectl(&["delete", "service", &scene.name, "-n", NAMESPACE])
            .await?;
        plane
            .kubectl(&[
                "delete",
                "secret",
                &format!("{}-tls-server", scene.name),
                "-n",
                NAMESPACE,
            ])
            .await?;
        eventually("the service and the certificate are back", SOON, async || {
            let service = api::<Service>(scene.world).get_opt(&scene.name).await?;
            let secret = api::<Secret>(scene.world)
                .get_opt(&format!("{}-tls-server", scene.name))
                .await?;
            Ok(
                (service.is_some() && secret.is_some_and(|s| s.data.is_some_and(|d| d.len() == 3)))
                    .then_some(()),
            )
        })
        .await?;

        // The next version: the former pods are gone before there is a Deployment of its own.
        scene.ask_for("v2", &scene.with_crds("v2", 2)).await?;
        serves(&scene).await?;
        let second = scene.active().await?;
        assert_ne!(name(&second), revision);
        assert_eq!(
            deployments(&scene).await?.into_keys().collect::<Vec<_>>(),
            [name(&second)]
        );
        assert_eq!(selector().await?, name(&second));
        assert!(pods(&scene, &first).await?.is_empty());

        // And back.
        scene.set(&reference).await?;
        serves(&scene).await?;
        assert_eq!(name(&scene.active().await?), revision);
        assert_eq!(
            deployments(&scene).await?.into_keys().collect::<Vec<_>>(),
            [revision.as_str()]
        );
        scene.delete().await?;
        eventually("nothing of it runs", SOON, async || {
            Ok(deployments(&scene).await?.is_empty().then_some(()))
        })
        .await
    })
}

/// A CRD that converts by webhook, in these versions; the first is stored.
fn converting(scene: &Scene, versions: &[&str]) -> Value {
    let version = |name: &&str| {
        json!({
            "name": name, "served": true, "storage": *name == versions[0],
            "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("converteds.{}", scene.group()) },
        "spec": {
            "group": scene.group(), "scope": "Cluster", "names": { "kind": "Converted", "plural": "converteds" },
            "conversion": { "strategy": "Webhook", "webhook": {
                "conversionReviewVersions": ["v1"],
                "clientConfig": { "service": { "name": "x", "namespace": "x", "path": "/convert" } },
            } },
            "versions": versions.iter().map(version).collect::<Vec<_>>(),
        },
    })
}

#[test]
fn a_crd_that_converts_changes_when_the_new_program_runs() -> Result<()> {
    run(async {
        let scene = Scene::new(running().await?, "Provider", "converts");
        let crd = format!("converteds.{}", scene.group());
        let live = async || -> Result<Value> {
            let crd = scene.world.get("CustomResourceDefinition", &crd).await?;
            crd.context("the CRD is there")
        };
        let versions = async || -> Result<usize> {
            Ok(live().await?["spec"]["versions"].as_array().map_or(0, Vec::len))
        };
        // What does not exist yet serves nobody: the first version waits for nothing.
        let old = scene.with_crds("v1", 1).object(converting(&scene, &["v1"]));
        let reference = scene.push("v1", &old).await?;
        scene.create(&reference, json!({})).await?;
        serves(&scene).await?;
        let first = live().await?;
        let config = &first["spec"]["conversion"]["webhook"]["clientConfig"];
        assert_eq!(config["service"]["name"], scene.name);
        assert_eq!(
            (&config["service"]["port"], &config["service"]["path"]),
            (&json!(9443), &json!("/convert"))
        );
        let secrets = api::<Secret>(scene.world);
        let secret = format!("{}-tls-server", scene.name);
        let bundle = async || -> Result<Value> {
            let data = secrets.get(&secret).await?.data.context("data")?;
            Ok(serde_json::to_value(&data["ca.crt"])?)
        };
        assert_eq!(config["caBundle"], bundle().await?);

        let new = scene.with_crds("v2", 1).object(converting(&scene, &["v2", "v1"]));
        scene.ask_for("v2", &new).await?;
        let waiting = scene
            .until("it waits for its program", |package| {
                says(package, "Installed", "True")
                    && message(package, "Ready").contains("replicas are available")
            })
            .await?;
        let revision = scene.revision(&waiting["status"]["currentRevision"]).await?;
        assert_eq!(reason(&revision, "Established"), "False AwaitingProgram");
        let why = message(&revision, "Established");
        assert!(why.contains(&crd), "{why}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(versions().await?, 1, "its webhook does not answer yet");
        node_says(&scene, &revision, &up()).await?;
        scene.settled().await?;
        assert_eq!(versions().await?, 2);

        // Whom callers trust follows another authority.
        let before = live().await?["spec"]["conversion"].clone();
        scene
            .world
            .plane()
            .kubectl(&["delete", "secret", "crossplane-root-ca", "-n", NAMESPACE])
            .await?;
        eventually("callers trust the new authority", SOON, async || {
            let now = live().await?["spec"]["conversion"].clone();
            let told = now["webhook"]["clientConfig"]["caBundle"] == bundle().await?;
            Ok((now != before && told).then_some(()))
        })
        .await?;
        scene.settled().await?;
        scene.delete().await
    })
}

#[test]
fn a_provider_that_starts_safely_waits_for_its_first_definition() -> Result<()> {
    run(async {
        let scene = Scene::new(running().await?, "Provider", "safe");
        let definition = |n: usize| format!("thing{n}s.{}", scene.group());
        let object = |n: usize| {
            json!({
                "apiVersion": "apiextensions.crossplane.io/v1alpha1", "kind": "ManagedResourceDefinition",
                "metadata": { "name": definition(n) }, "spec": { "group": scene.group() },
            })
        };
        let fixture = scene
            .fixture("v1")
            .capability("safe-start")
            .object(object(0))
            .object(object(1));
        let reference = scene.push("v1", &fixture).await?;
        scene.create(&reference, json!({})).await?;
        let package = scene.settled().await?;
        let revision = scene.revision(&package["status"]["currentRevision"]).await?;
        assert_eq!(reason(&revision, "RuntimeActive"), "False AwaitingActivation");
        let replicas = async || -> Result<Option<i32>> {
            let deployment = api::<Deployment>(scene.world).get(name(&revision)).await?;
            Ok(deployment.spec.and_then(|spec| spec.replicas))
        };
        assert_eq!(replicas().await?, Some(0));
        let state = |state: &str| json!({ "spec": { "state": state } });
        scene
            .world
            .patch("ManagedResourceDefinition", &definition(1), state("Active"))
            .await?;
        serves(&scene).await?;
        assert_eq!(replicas().await?, Some(1));
        assert!(says(&scene.active().await?, "RuntimeActive", "True"));
        // What ran once goes on.
        scene
            .world
            .patch("ManagedResourceDefinition", &definition(1), state("Inactive"))
            .await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(replicas().await?, Some(1));
        scene.delete().await
    })
}

#[test]
fn a_program_that_crashes_says_why() -> Result<()> {
    run(async {
        let scene = Scene::new(running().await?, "Provider", "crashes");
        let reference = scene.push("v1", &scene.with_crds("v1", 1)).await?;
        scene.create(&reference, json!({})).await?;
        scene
            .until("its program is awaited", |p| {
                message(p, "Ready").contains("replicas are available")
            })
            .await?;
        let revision = scene.active().await?;
        node_says(&scene, &revision, &crashed()).await?;
        let package = scene
            .until("the crash is told", |p| {
                message(p, "Healthy").contains("CrashLoopBackOff")
            })
            .await?;
        let said = message(&package, "Healthy");
        assert!(
            said.contains("container package-runtime of pod")
                && said.ends_with("is in CrashLoopBackOff: exit 1, last line: no such flag: -x"),
            "{said}"
        );
        let told = scene.events(name(&revision)).await?;
        assert!(
            told.iter()
                .any(|event| event.to_string().contains("CrashLoopBackOff")),
            "{told:#?}"
        );
        node_says(&scene, &revision, &json!({ "containerStatuses": null })).await?;
        node_says(&scene, &revision, &up()).await?;
        scene.settled().await?;
        scene.delete().await
    })
}

#[test]
fn a_function_is_reached_by_its_endpoint_and_configured_at_once() -> Result<()> {
    run(async {
        let scene = Scene::new(running().await?, "Function", "answers");
        let config = json!({
            "apiVersion": "pkg.crossplane.io/v1beta1", "kind": "DeploymentRuntimeConfig",
            "metadata": { "name": scene.name },
            "spec": { "deploymentTemplate": { "spec": { "selector": {}, "template": { "spec": {
                "containers": [{ "name": "package-runtime", "args": ["--debug"] }],
            } } } } },
        });
        let reference = scene.push("v1", &scene.fixture("v1")).await?;
        scene
            .create(&reference, json!({ "runtimeConfigRef": { "name": scene.name } }))
            .await?;
        scene
            .until("the missing config is named", |p| {
                message(p, "Healthy").contains("there is no DeploymentRuntimeConfig")
            })
            .await?;
        scene.world.plane().apply_yaml(&config.to_string()).await?;
        serves(&scene).await?;
        let revision = scene.active().await?;
        let endpoint = format!("dns:///{}.{NAMESPACE}:9443", scene.name);
        assert_eq!(revision["status"]["endpoint"], endpoint);
        let service = api::<Service>(scene.world).get(&scene.name).await?;
        assert_eq!(
            service.spec.and_then(|spec| spec.cluster_ip).as_deref(),
            Some("None")
        );
        let args = async || -> Result<Option<Vec<String>>> {
            let deployment = deployments(&scene)
                .await?
                .remove(name(&revision))
                .context("a Deployment")?;
            Ok(deployment
                .spec
                .and_then(|spec| spec.template.spec)
                .and_then(|pod| pod.containers.into_iter().next()?.args))
        };
        assert_eq!(args().await?, Some(vec!["--debug".to_owned()]));

        // An edited config acts on the revision that is there; a hand's edit does not last.
        let edited = json!({ "spec": { "deploymentTemplate": { "spec": { "selector": {}, "template": { "spec": {
            "containers": [{ "name": "package-runtime", "args": ["--quiet"] }],
        } } } } } });
        let plane = scene.world.plane();
        plane
            .kubectl(&[
                "patch",
                "deploymentruntimeconfig",
                &scene.name,
                "--type=merge",
                "-p",
                &edited.to_string(),
            ])
            .await?;
        let quiet = Some(vec!["--quiet".to_owned()]);
        let arrives = async || {
            eventually("the argument is there", SOON, async || {
                Ok((args().await? == quiet).then_some(()))
            })
            .await
        };
        arrives().await?;
        let by_hand = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/args/0", "value": "--loud" }]);
        plane
            .kubectl(&[
                "patch",
                "deployment",
                name(&revision),
                "-n",
                NAMESPACE,
                "--type=json",
                "-p",
                &by_hand.to_string(),
            ])
            .await?;
        arrives().await?;
        // What an autoscaler sets stays.
        plane
            .kubectl(&[
                "scale",
                "deployment",
                name(&revision),
                "-n",
                NAMESPACE,
                "--replicas=2",
            ])
            .await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let deployment = deployments(&scene)
            .await?
            .remove(name(&revision))
            .context("a Deployment")?;
        assert_eq!(deployment.spec.and_then(|spec| spec.replicas), Some(2));
        scene.delete().await
    })
}

#[test]
fn what_belongs_to_somebody_else_is_named_and_left_alone() -> Result<()> {
    run(async {
        let world = running().await?;
        let owner = Scene::new(world, "Provider", "owner");
        let reference = owner.push("v1", &owner.with_crds("v1", 1)).await?;
        owner.create(&reference, json!({})).await?;
        serves(&owner).await?;
        let scene = Scene::new(world, "Provider", "other");
        let config = json!({
            "apiVersion": "pkg.crossplane.io/v1beta1", "kind": "DeploymentRuntimeConfig",
            "metadata": { "name": scene.name },
            "spec": { "serviceTemplate": { "metadata": { "name": owner.name } } },
        });
        world.plane().apply_yaml(&config.to_string()).await?;
        let reference = scene.push("v1", &scene.with_crds("v1", 1)).await?;
        scene
            .create(&reference, json!({ "runtimeConfigRef": { "name": scene.name } }))
            .await?;
        let expected = format!(
            "Service {0} is already controlled by Provider {0} (UID",
            owner.name
        );
        scene
            .until("the other is named", |p| {
                message(p, "Healthy").contains(&expected)
            })
            .await?;
        assert!(deployments(&scene).await?.is_empty());
        assert!(says(&owner.get().await?, "Healthy", "True"));
        scene.delete().await?;
        owner.delete().await
    })
}
