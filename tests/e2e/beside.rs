//! Beside the reference's composition engine (design §9): what the admission policy refuses and passes, and what the operator
//! makes of it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http::Request;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use testkit::tools::workspace;
use testkit::{Operator, World, WorldOptions, eventually, run};

use crate::leader::{Renewing, SOON, STILL, install, installed, replica, says, writes};
use crate::state::nothing_was_forbidden;

/// Namespace of the reference.
const THEIRS: &str = "crossplane-system";
/// Its lease.
const LEASE: &str = "crossplane-leader-election-core";
/// What the policy says when it refuses.
const REFUSAL: &str = "Gantry manages the packages of this cluster";

/// The policy and its binding, as a user applies them.
pub(crate) fn policy() -> Result<String> {
    let path = workspace().join("deploy/beside-crossplane.yaml");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// A client of one of the reference's service accounts, which may do everything that RBAC can allow.
pub(crate) async fn account(world: &World, name: &str) -> Result<Client> {
    world.plane().namespace(THEIRS).await?;
    let path = world.plane().service_account_kubeconfig(THEIRS, name).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": format!("test-{name}") },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin",
        },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": THEIRS }],
    });
    world.plane().apply_yaml(&binding.to_string()).await?;
    let config = Kubeconfig::read_from(path)?;
    let mut config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// How something is written.
#[derive(Clone, Copy, Debug)]
enum How {
    Create,
    TryCreate,
    Merge,
    Apply,
    Delete,
}

/// Whether the policy lets it through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Refused,
    Passes,
}
use Fate::{Passes, Refused};
use How::{Apply, Create, Delete, Merge, TryCreate};

/// One write: what it is, how, where, the body, and whether it passes.
type Write = (&'static str, How, String, Value, Fate);

async fn send(client: &Client, how: How, path: &str, body: &Value) -> Result<Fate> {
    let (method, query, content) = match how {
        Create => ("POST", "fieldManager=crossplane", "application/json"),
        TryCreate => ("POST", "fieldManager=crossplane&dryRun=All", "application/json"),
        Merge => ("PATCH", "fieldManager=crossplane", "application/merge-patch+json"),
        Apply => ("PATCH", "fieldManager=crossplane&force=true", "application/apply-patch+yaml"),
        Delete => ("DELETE", "", "application/json"),
    };
    let body = match how {
        Delete => vec![],
        _ => body.to_string().into_bytes(),
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("{path}?{query}"))
        .header("content-type", content)
        .body(body)?;
    match client.request::<Value>(request).await {
        Ok(_) => Ok(Passes),
        Err(kube::Error::Api(status)) if status.message.contains(REFUSAL) => Ok(Refused),
        Err(error) => Err(error.into()),
    }
}

fn pkg(path: &str) -> String {
    format!("/apis/pkg.crossplane.io/v1/{path}")
}

fn beta(path: &str) -> String {
    format!("/apis/pkg.crossplane.io/v1beta1/{path}")
}

fn crd(path: &str) -> String {
    format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions{path}")
}

fn composition(path: &str) -> String {
    format!("/apis/apiextensions.crossplane.io/v1/{path}")
}

fn managed(path: &str) -> String {
    format!("/apis/apiextensions.crossplane.io/v1alpha1/{path}")
}

fn rbac(path: &str) -> String {
    format!("/apis/rbac.authorization.k8s.io/v1/{path}")
}

fn theirs(path: &str) -> String {
    format!("/api/v1/namespaces/{THEIRS}/{path}")
}

fn deployments(path: &str) -> String {
    format!("/apis/apps/v1/namespaces/{THEIRS}/deployments{path}")
}

/// An owner reference as the reference makes it.
fn owner(api_version: &str, kind: &str, name: &str, controls: bool) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind, "name": name, "controller": controls,
        "uid": "11111111-2222-3333-4444-555555555555", "blockOwnerDeletion": true,
    })
}

fn revision() -> Value {
    owner("pkg.crossplane.io/v1", "ProviderRevision", "p-1", true)
}

fn package() -> Value {
    owner("pkg.crossplane.io/v1", "Provider", "p", false)
}

fn xrd() -> Value {
    owner("apiextensions.crossplane.io/v1", "CompositeResourceDefinition", "xs.own.example.org", true)
}

fn mrd() -> Value {
    owner("apiextensions.crossplane.io/v1alpha1", "ManagedResourceDefinition", "ms.own.example.org", false)
}

/// An object with these owners; `rest` is merged over it.
fn object(api_version: &str, kind: &str, name: &str, owners: &[Value], rest: Value) -> Value {
    let mut object = json!({
        "apiVersion": api_version, "kind": kind, "metadata": { "name": name, "ownerReferences": owners },
    });
    for (key, value) in rest.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    object
}

fn definition(plural: &str, owners: &[Value]) -> Value {
    let kind = plural[..1].to_uppercase() + &plural[1..plural.len() - 1];
    let version = json!({
        "name": "v1", "served": true, "storage": true,
        "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
        "subresources": { "status": {} },
    });
    let spec = json!({
        "group": "own.example.org", "scope": "Cluster", "versions": [version],
        "names": { "kind": kind, "plural": plural },
    });
    object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        &format!("{plural}.own.example.org"),
        owners,
        json!({ "spec": spec }),
    )
}

fn webhooks(kind: &str, name: &str, owners: &[Value]) -> Value {
    object("admissionregistration.k8s.io/v1", kind, name, owners, json!({ "webhooks": [] }))
}

fn webhooks_path(plural: &str) -> String {
    format!("/apis/admissionregistration.k8s.io/v1/{plural}")
}

fn deployment(name: &str, owners: &[Value]) -> Value {
    let labels = json!({ "pkg.crossplane.io/revision": name });
    let container = json!({ "name": "package-runtime", "image": "registry.invalid/p:v1" });
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [container] } });
    let spec = json!({ "replicas": 0, "selector": { "matchLabels": labels }, "template": template });
    object("apps/v1", "Deployment", name, owners, json!({ "spec": spec }))
}

fn role(name: &str, owners: &[Value]) -> Value {
    object("rbac.authorization.k8s.io/v1", "ClusterRole", name, owners, json!({ "rules": [] }))
}

fn event(api_version: &str, name: &str, about: &str, about_version: &str) -> Value {
    let about_object = json!({ "apiVersion": about_version, "kind": "Thing", "name": "p" });
    let mut event = json!({
        "apiVersion": api_version, "kind": "Event", "metadata": { "name": name },
        about: about_object, "reason": "Test", "type": "Warning",
    });
    if about == "regarding" {
        event["eventTime"] = json!("2026-01-01T00:00:00.000000Z");
        event["action"] = json!("Test");
        event["reportingController"] = json!("crossplane.io/test");
        event["reportingInstance"] = json!("test");
    }
    event
}

/// What is in the cluster before: packages and what they own, as Gantry leaves it.
async fn furnish(world: &World) -> Result<()> {
    let crds = api::crds().into_iter().map(|crd| Ok(serde_json::to_string(&crd)?));
    let crds = crds.collect::<Result<Vec<_>>>()?.join("\n---\n");
    world.plane().apply_yaml(&crds).await?;
    world.wait_served().await?;
    let reference = "registry.invalid/p:v1";
    for (kind, name) in [("Provider", "p"), ("Configuration", "c"), ("Function", "f")] {
        world.create_package(kind, name, reference, json!({})).await?;
        let labels = json!({ "pkg.crossplane.io/package": name });
        let revision = json!({
            "metadata": { "name": format!("{name}-1"), "labels": labels },
            "spec": { "image": reference, "revision": 1, "desiredState": "Active" },
        });
        world.create(&format!("{kind}Revision"), revision).await?;
    }
    let left = json!({ "metadata": { "finalizers": ["revision.pkg.crossplane.io"] } });
    world.patch("FunctionRevision", "f-1", left).await?;
    let content = |mut object: Value| {
        object["metadata"]["annotations"] = json!({ "gantry.dev/content": "v1:test" });
        object
    };
    let owners = [revision(), package()];
    let names = json!({ "kind": "X", "plural": "xs" });
    let spec = json!({ "group": "own.example.org", "names": names, "versions": [] });
    let objects = [
        content(definition("owneds", &owners)),
        content(definition("bothes", &[revision(), mrd()])),
        definition("strays", &[]),
        content(object(
            "apiextensions.crossplane.io/v1",
            "CompositeResourceDefinition",
            "xs.own.example.org",
            &owners,
            json!({ "spec": spec }),
        )),
        content(object(
            "apiextensions.crossplane.io/v1",
            "Composition",
            "own",
            &owners,
            json!({ "spec": { "compositeTypeRef": { "apiVersion": "own.example.org/v1", "kind": "X" } } }),
        )),
        content(object(
            "apiextensions.crossplane.io/v1alpha1",
            "ManagedResourceDefinition",
            "ms.own.example.org",
            &owners,
            json!({ "spec": { "group": "own.example.org", "state": "Inactive" } }),
        )),
        role("test:owned", &owners),
    ];
    let yaml: Vec<String> = objects.iter().map(Value::to_string).collect();
    world.plane().apply_yaml(&yaml.join("\n---\n")).await?;
    let mut running = deployment("p-0", &[revision()]);
    running["metadata"]["namespace"] = json!(THEIRS);
    world.plane().apply_yaml(&running.to_string()).await
}

/// What the package controllers of the reference's core write (behaviour.md, chapters 1 to 4).
fn of_package_controllers() -> Vec<Write> {
    let owners = [revision(), package()];
    let conditions = json!({ "status": { "conditions": [{
        "type": "Healthy", "status": "False", "reason": "UnhealthyPackageRevision",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }] } });
    let entry = json!({
        "name": "p-1", "apiVersion": "pkg.crossplane.io/v1", "kind": "Provider", "source": "registry.invalid/p",
        "version": "v1", "dependencies": [],
    });
    let lock = |packages: Value| {
        json!({
            "apiVersion": "pkg.crossplane.io/v1beta1", "kind": "Lock", "metadata": { "name": "lock" },
            "packages": packages,
        })
    };
    let made = json!({
        "apiVersion": "pkg.crossplane.io/v1", "kind": "ProviderRevision",
        "metadata": { "name": "p-2", "ownerReferences": [owner("pkg.crossplane.io/v1", "Provider", "p", true)] },
        "spec": { "image": "registry.invalid/p:v2", "revision": 2, "desiredState": "Active" },
    });
    let released = json!({ "metadata": { "ownerReferences": [
        owner("pkg.crossplane.io/v1", "ProviderRevision", "p-1", false), package(),
    ] } });
    let dependency = json!({
        "apiVersion": "pkg.crossplane.io/v1", "kind": "Provider", "metadata": { "name": "needed" },
        "spec": { "package": "registry.invalid/needed:v1" },
    });
    let in_namespace = |kind: &str, name: &str, owners: &[Value]| object("v1", kind, name, owners, json!({}));
    let service = json!({ "spec": { "ports": [{ "port": 9443 }] } });
    let service = object("v1", "Service", "p", &[revision()], service);
    let xrd = |name: &str| object("apiextensions.crossplane.io/v1", "CompositeResourceDefinition", name, &owners, json!({}));
    let alpha = |kind: &str, name: &str| object("apiextensions.crossplane.io/v1alpha1", kind, name, &owners, json!({}));
    let operation = |kind: &str| object("ops.crossplane.io/v1alpha1", kind, "o", &owners, json!({}));
    let ops = |plural: &str| format!("/apis/ops.crossplane.io/v1alpha1/{plural}");
    let mut writes: Vec<Write> = vec![
        ("manager: status of a package", Merge, pkg("providers/p/status"), conditions.clone(), Refused),
        ("manager: new revision", Create, pkg("providerrevisions"), made, Refused),
        (
            "manager: deactivate a revision",
            Merge,
            pkg("providerrevisions/p-1"),
            json!({ "spec": { "desiredState": "Inactive" } }),
            Refused,
        ),
        (
            "manager: labels of a revision",
            Merge,
            pkg("configurationrevisions/c-1"),
            json!({ "metadata": { "labels": { "team": "x" } } }),
            Refused,
        ),
        ("manager: history", Delete, pkg("providerrevisions/p-1"), json!({}), Refused),
        (
            "revision: finalizer",
            Merge,
            pkg("providerrevisions/p-1"),
            json!({ "metadata": { "finalizers": ["revision.pkg.crossplane.io"] } }),
            Refused,
        ),
        (
            "revision: finalizer goes",
            Merge,
            pkg("functionrevisions/f-1"),
            json!({ "metadata": { "finalizers": null } }),
            Refused,
        ),
        (
            "revision: annotations from metadata",
            Merge,
            pkg("providerrevisions/p-1"),
            json!({ "metadata": { "annotations": { "meta.crossplane.io/license": "x" } } }),
            Refused,
        ),
        ("revision: status", Merge, pkg("providerrevisions/p-1/status"), conditions.clone(), Refused),
        ("revision: lock with an entry", Create, beta("locks"), lock(json!([entry])), Refused),
        ("revision: empty lock", Create, beta("locks"), lock(json!([])), Passes),
        ("revision: entry of the lock", Merge, beta("locks/lock"), json!({ "packages": [entry] }), Refused),
        (
            "resolver: finalizer of the lock",
            Merge,
            beta("locks/lock"),
            json!({ "metadata": { "finalizers": ["lock.pkg.crossplane.io"] } }),
            Refused,
        ),
        ("resolver: status of the lock", Merge, beta("locks/lock/status"), conditions.clone(), Refused),
        ("resolver: dependency", Create, pkg("providers"), dependency, Refused),
        (
            "resolver: version of a dependency",
            Merge,
            pkg("functions/f"),
            json!({ "spec": { "package": "registry.invalid/f:v2" } }),
            Refused,
        ),
        ("establish: CRD, dry run", TryCreate, crd(""), definition("news", &owners), Refused),
        ("establish: CRD", Create, crd(""), definition("news", &owners), Refused),
        (
            "establish: take a CRD over",
            Merge,
            crd("/strays.own.example.org"),
            json!({ "metadata": { "ownerReferences": owners } }),
            Refused,
        ),
        (
            "establish: update a CRD",
            Merge,
            crd("/owneds.own.example.org"),
            json!({ "spec": { "names": { "kind": "Owned", "plural": "owneds", "categories": ["x"] } } }),
            Refused,
        ),
        (
            "establish: labels of a CRD",
            Merge,
            crd("/owneds.own.example.org"),
            json!({ "metadata": { "annotations": null } }),
            Refused,
        ),
        ("release: CRD", Merge, crd("/owneds.own.example.org"), released.clone(), Refused),
        ("release: MRD", Merge, managed("managedresourcedefinitions/ms.own.example.org"), released, Refused),
        (
            "establish: MRD",
            Create,
            managed("managedresourcedefinitions"),
            alpha("ManagedResourceDefinition", "ns.own.example.org"),
            Refused,
        ),
        (
            "establish: XRD",
            Create,
            composition("compositeresourcedefinitions"),
            xrd("ys.own.example.org"),
            Refused,
        ),
        (
            "establish: update an XRD",
            Merge,
            composition("compositeresourcedefinitions/xs.own.example.org"),
            json!({ "spec": { "defaultCompositionUpdatePolicy": "Manual" } }),
            Refused,
        ),
        (
            "establish: Composition",
            Create,
            composition("compositions"),
            object("apiextensions.crossplane.io/v1", "Composition", "new", &owners, json!({})),
            Refused,
        ),
        (
            "establish: activation policy",
            Create,
            managed("managedresourceactivationpolicies"),
            alpha("ManagedResourceActivationPolicy", "a"),
            Refused,
        ),
        ("establish: Operation", Create, ops("operations"), operation("Operation"), Refused),
        ("establish: CronOperation", Create, ops("cronoperations"), operation("CronOperation"), Refused),
        ("establish: WatchOperation", Create, ops("watchoperations"), operation("WatchOperation"), Refused),
        (
            "establish: validating webhooks",
            Create,
            webhooks_path("validatingwebhookconfigurations"),
            webhooks("ValidatingWebhookConfiguration", "crossplane-provider-p", &owners),
            Refused,
        ),
        (
            "establish: mutating webhooks",
            Create,
            webhooks_path("mutatingwebhookconfigurations"),
            webhooks("MutatingWebhookConfiguration", "crossplane-provider-p", &owners),
            Refused,
        ),
        ("runtime: Service", Apply, theirs("services/p"), service, Refused),
        (
            "runtime: ServiceAccount",
            Apply,
            theirs("serviceaccounts/p-1"),
            in_namespace("ServiceAccount", "p-1", &[revision()]),
            Refused,
        ),
        (
            "runtime: TLS secret",
            Create,
            theirs("secrets"),
            in_namespace("Secret", "p-tls-server", &[revision()]),
            Refused,
        ),
        (
            "runtime: TLS secret of the package",
            Create,
            theirs("secrets"),
            in_namespace("Secret", "p-tls-client", &[package()]),
            Refused,
        ),
        ("runtime: Deployment", Apply, deployments("/p-1"), deployment("p-1", &[revision()]), Refused),
        ("runtime: Deployment goes", Delete, deployments("/p-0"), json!({}), Refused),
        (
            "runtime: endpoint",
            Merge,
            pkg("functionrevisions/f-1/status"),
            json!({ "status": { "endpoint": "dns:///f.crossplane-system:9443" } }),
            Refused,
        ),
    ];
    for (what, api, path, about) in [
        ("event", "v1", "/api/v1/namespaces/default/events", "involvedObject"),
        ("new event", "events.k8s.io/v1", "/apis/events.k8s.io/v1/namespaces/default/events", "regarding"),
    ] {
        let about_package = event(api, &format!("{about}-p"), about, "pkg.crossplane.io/v1");
        writes.push((what, Create, path.to_owned(), about_package, Refused));
        let about_other = event(api, &format!("{about}-x"), about, "own.example.org/v1");
        writes.push((what, Create, path.to_owned(), about_other, Passes));
    }
    writes
}

/// What its init container writes, in order (behaviour.md 7.4).
fn of_init() -> Vec<Write> {
    let secret = |data: Value| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "crossplane-root-ca" }, "stringData": data,
        })
    };
    let mut writes: Vec<Write> = vec![
        ("init: CA", Create, theirs("secrets"), secret(json!({})), Passes),
        (
            "init: CA is filled",
            Merge,
            theirs("secrets/crossplane-root-ca"),
            secret(json!({ "tls.crt": "x" })),
            Passes,
        ),
    ];
    for definition in api::crds() {
        let name = definition.metadata.name.unwrap_or_default();
        // It applies its own by merge patch; here with something that differs from ours.
        let theirs = json!({
            "metadata": { "annotations": { "controller-gen.kubebuilder.io/version": "v0.18.0" } },
            "spec": { "names": { "categories": ["crossplane", "pkg"] } },
        });
        writes.push(("init: its definitions", Merge, crd(&format!("/{name}")), theirs, Passes));
    }
    let lock = json!({
        "apiVersion": "pkg.crossplane.io/v1beta1", "kind": "Lock", "metadata": { "name": "lock" },
    });
    let config = json!({
        "apiVersion": "pkg.crossplane.io/v1beta1", "kind": "DeploymentRuntimeConfig",
        "metadata": { "name": "default" }, "spec": {},
    });
    let policy = json!({
        "apiVersion": "apiextensions.crossplane.io/v1alpha1", "kind": "ManagedResourceActivationPolicy",
        "metadata": { "name": "default" }, "spec": { "activate": ["*"] },
    });
    let stored = json!({ "status": { "storedVersions": ["v1"] } });
    let vwc = "validatingwebhookconfigurations";
    writes.extend([
        (
            "init: webhooks",
            Create,
            webhooks_path(vwc),
            webhooks("ValidatingWebhookConfiguration", "crossplane-no-usages", &[]),
            Passes,
        ),
        (
            "init: webhooks again",
            Merge,
            webhooks_path(&format!("{vwc}/crossplane-no-usages")),
            json!({ "metadata": { "labels": { "a": "b" } } }),
            Passes,
        ),
        ("init: stored functions", Merge, pkg("functions/f"), json!({}), Passes),
        ("init: stored function revisions", Merge, pkg("functionrevisions/f-1"), json!({}), Passes),
        ("init: stored functions, old version", Merge, beta("functions/f"), json!({}), Passes),
        ("init: stored versions", Merge, crd("/functions.pkg.crossplane.io/status"), stored, Passes),
        ("init: lock, there already", Merge, beta("locks/lock"), lock, Passes),
        ("init: default runtime config", Create, beta("deploymentruntimeconfigs"), config, Passes),
        (
            "init: default activation policy",
            Create,
            managed("managedresourceactivationpolicies"),
            policy,
            Passes,
        ),
    ]);
    for kind in ["Provider", "Configuration", "Function"] {
        let package = json!({
            "apiVersion": "pkg.crossplane.io/v1", "kind": kind, "metadata": { "name": "given" },
            "spec": { "package": "registry.invalid/given:v1" },
        });
        let path = pkg(&format!("{}s", kind.to_lowercase()));
        writes.push(("init: packages of its flags", Create, path, package, Refused));
    }
    writes
}

/// What the composition engine writes, also about what packages own.
fn of_composition() -> Vec<Write> {
    let xrds = composition("compositeresourcedefinitions/xs.own.example.org");
    let mrds = managed("managedresourcedefinitions/ms.own.example.org");
    let in_use = json!({ "metadata": { "labels": { "crossplane.io/in-use": "true" } } });
    let composed = owner("own.example.org/v1", "X", "x", true);
    let established = json!({ "status": { "conditions": [{
        "type": "Established", "status": "True", "reason": "WatchingCompositeResource",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }] } });
    let generated = || definition("ms", &[mrd(), revision()]);
    let mut changed = generated();
    changed["spec"]["names"]["categories"] = json!(["managed"]);
    let revision_of = owner("apiextensions.crossplane.io/v1", "Composition", "own", true);
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "test" },
        "spec": { "holderIdentity": "x" },
    });
    vec![
        (
            "XRD: finalizer",
            Merge,
            xrds.clone(),
            json!({ "metadata": { "finalizers": ["defined.apiextensions.crossplane.io"] } }),
            Passes,
        ),
        ("XRD: status", Merge, format!("{xrds}/status"), established.clone(), Passes),
        ("XRD: CRD", Create, crd(""), definition("xs", &[xrd()]), Passes),
        (
            "XRD: CRD changes",
            Merge,
            crd("/xs.own.example.org"),
            json!({ "spec": { "names": { "categories": ["composite"] } } }),
            Passes,
        ),
        ("XRD: CRD goes", Delete, crd("/xs.own.example.org"), json!({}), Passes),
        (
            "Composition: revision",
            Create,
            composition("compositionrevisions"),
            object("apiextensions.crossplane.io/v1", "CompositionRevision", "own-1", &[revision_of], json!({})),
            Passes,
        ),
        (
            "composite: composed resource",
            Apply,
            theirs("configmaps/composed"),
            object("v1", "ConfigMap", "composed", std::slice::from_ref(&composed), json!({ "data": { "a": "b" } })),
            Passes,
        ),
        (
            "composite: connection secret",
            Create,
            theirs("secrets"),
            object("v1", "Secret", "connection", &[composed], json!({})),
            Passes,
        ),
        ("composed resource goes", Delete, theirs("configmaps/composed"), json!({}), Passes),
        ("MRD: activation", Merge, mrds.clone(), json!({ "spec": { "state": "Active" } }), Passes),
        ("MRD: another field", Merge, mrds.clone(), json!({ "spec": { "scope": "Cluster" } }), Refused),
        ("MRD: status", Merge, format!("{mrds}/status"), established, Passes),
        ("MRD: CRD", Create, crd(""), generated(), Passes),
        ("MRD: CRD changes", Apply, crd("/ms.own.example.org"), changed, Passes),
        (
            "MRD: CRD that Gantry established",
            Merge,
            crd("/bothes.own.example.org"),
            json!({ "spec": { "names": { "categories": ["managed"] } } }),
            Refused,
        ),
        ("usage: a package", Merge, pkg("providers/p"), in_use.clone(), Passes),
        ("usage: an XRD", Merge, xrds, in_use, Passes),
        (
            "usage: another label with it",
            Merge,
            pkg("providers/p"),
            json!({ "metadata": { "labels": { "crossplane.io/in-use": null, "x": "y" } } }),
            Refused,
        ),
        (
            "lease",
            Create,
            format!("/apis/coordination.k8s.io/v1/namespaces/{THEIRS}/leases"),
            lease,
            Passes,
        ),
    ]
}

/// What the second process writes, which makes rights for providers and composites.
fn of_rbac_manager() -> Vec<Write> {
    let mut writes: Vec<Write> = vec![];
    for suffix in ["aggregate-to-edit", "aggregate-to-view", "system"] {
        let name = format!("crossplane:provider:p-1:{suffix}");
        writes.push(("roles of a provider", Create, rbac("clusterroles"), role(&name, &[revision()]), Refused));
        let name = format!("crossplane:composite:xs.own.example.org:{suffix}");
        writes.push(("roles of an XRD", Create, rbac("clusterroles"), role(&name, &[xrd()]), Passes));
    }
    let mut binding = role("crossplane:provider:p-1:system", &[revision()]);
    binding["kind"] = json!("ClusterRoleBinding");
    binding["roleRef"] = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "x" });
    binding["rules"].take();
    if let Some(fields) = binding.as_object_mut() {
        fields.remove("rules");
    }
    let rules = json!({ "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] }] });
    writes.push(("binding of a provider", Create, rbac("clusterrolebindings"), binding, Refused));
    writes.push(("role that a provider owns", Merge, rbac("clusterroles/test:owned"), rules, Refused));
    let about = event("v1", "rbac", "involvedObject", "pkg.crossplane.io/v1");
    let path = "/api/v1/namespaces/default/events".to_owned();
    writes.push(("event about a revision", Create, path, about, Refused));
    writes
}

#[test]
fn the_policy_refuses_package_controllers_and_nothing_else() -> Result<()> {
    run(async {
        let world = World::start(WorldOptions::default()).await?;
        let core = account(&world, "crossplane").await?;
        let roles = account(&world, "rbac-manager").await?;
        furnish(&world).await?;
        world.plane().apply_yaml(&policy()?).await?;
        // API servers learn of a policy a moment later.
        let status = pkg("providers/p/status");
        let nothing = json!({ "status": { "conditions": [] } });
        let refused = async || {
            let fate = send(&core, Merge, &status, &json!({ "status": { "currentRevision": "x" } })).await?;
            Ok((fate == Refused).then_some(()))
        };
        eventually("the policy is in force", SOON, refused).await?;
        send(&world.plane().client(), Merge, &status, &nothing).await?;

        let mut wrong = vec![];
        for (client, writes) in [
            (&core, of_package_controllers()),
            (&core, of_init()),
            (&core, of_composition()),
            (&roles, of_rbac_manager()),
        ] {
            for (what, how, path, body, expected) in writes {
                match send(client, how, &path, &body).await {
                    Ok(fate) if fate == expected => {}
                    Ok(fate) => wrong.push(format!("{what}: {how:?} {path}: {fate:?}")),
                    Err(error) => wrong.push(format!("{what}: {how:?} {path}: {error}")),
                }
            }
        }
        ensure!(wrong.is_empty(), "{} writes went wrong:\n{}", wrong.len(), wrong.join("\n"));

        // Nobody else is concerned.
        let admin = world.plane().client();
        for (how, path, body) in [
            (Merge, pkg("providers/p"), json!({ "metadata": { "labels": { "team": "x" } } })),
            (Create, crd(""), definition("news", &[revision(), package()])),
            (Delete, pkg("providerrevisions/p-1"), json!({})),
        ] {
            ensure!(send(&admin, how, &path, &body).await? == Passes, "{path} is refused to everybody");
        }
        // And the policy does not surprise the API server.
        let type_checked = async || {
            let path = "jsonpath={.status.observedGeneration}{.status.typeChecking.expressionWarnings}";
            let args = ["get", "validatingadmissionpolicy", "gantry-beside-crossplane", "-o", path];
            Ok(Some(world.plane().kubectl(&args).await?).filter(|said| !said.is_empty()))
        };
        let said = eventually("its expressions are checked", SOON, type_checked).await?;
        ensure!(said == "1", "{said}");
        Ok(())
    })
}

/// The value of a metric with one label.
async fn metric(operator: &Operator, name: &str) -> Result<String> {
    let metrics = operator.metrics().await?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.with_context(|| format!("{name} is not in {metrics}"))?.trim().to_owned())
}

async fn metric_is(operator: &Operator, name: &str, value: &str) -> Result<()> {
    let look = async || Ok((metric(operator, name).await? == value).then_some(()));
    eventually(&format!("{name} is {value}"), SOON, look).await
}

/// Log lines that contain `words`.
fn lines(operator: &Operator, words: &str) -> Result<usize> {
    Ok(operator.log()?.lines().filter(|line| line.contains(words)).count())
}

#[test]
fn it_leads_beside_the_reference_while_the_policy_is_in_force() -> Result<()> {
    run(async {
        let mut world = World::start(WorldOptions::default()).await?;
        let _other = Renewing::start(&world, THEIRS, LEASE).await?;
        world.replace_operator(Some(replica(&world, "beside").without_waiting())).await?;
        says(world.operator()?, "is not there: apply deploy/beside-crossplane.yaml").await?;
        ensure!(!world.operator()?.is_ready().await, "ready beside a live package manager");

        // A policy that covers one of the two accounts is not enough.
        let half = policy()?.replace(",\"system:serviceaccount:crossplane-system:rbac-manager\"", "");
        world.plane().apply_yaml(&half).await?;
        says(world.operator()?, "does not cover system:serviceaccount:crossplane-system:rbac-manager").await?;
        ensure!(!world.operator()?.is_ready().await, "ready beside half a policy");

        world.plane().apply_yaml(&policy()?).await?;
        world.operator()?.await_ready(SOON).await?;
        says(world.operator()?, "leading beside it").await?;
        metric_is(world.operator()?, "gantry_other_package_manager{state=\"kept_out\"}", "1").await?;
        install(&world, "first", 2).await?;
        installed(&world, "first").await?;

        // Whoever weakens the policy or takes it away stops Gantry, until it is there again.
        let binding = "validatingadmissionpolicybinding";
        let name = "gantry-beside-crossplane";
        let audit = r#"{"spec":{"validationActions":["Audit"]}}"#;
        let ignore = r#"{"spec":{"failurePolicy":"Ignore"}}"#;
        let weakenings: [(&str, Vec<&str>, &str); 4] = [
            ("second", vec!["patch", binding, name, "--type=merge", "-p", audit], "do not have Deny"),
            (
                "third",
                vec!["patch", "validatingadmissionpolicy", name, "--type=merge", "-p", ignore],
                "its failurePolicy are not those of this version",
            ),
            ("fourth", vec!["delete", "validatingadmissionpolicy", name], "is not there"),
            ("fifth", vec!["delete", binding, name], "the binding of admission policy"),
        ];
        for (n, (package, weaken, words)) in weakenings.into_iter().enumerate() {
            world.plane().kubectl(&weaken).await?;
            let stopped = async || {
                let lines = lines(world.operator()?, "another package manager came alive")?;
                Ok((lines > n).then_some(()))
            };
            eventually("it stops", SOON, stopped).await?;
            says(world.operator()?, words).await?;
            ensure!(!world.operator()?.is_ready().await, "ready without the policy: {words}");
            let mark = world.plane().audit_mark()?;
            install(&world, package, 2).await?;
            tokio::time::sleep(STILL / 4).await;
            let wrote = writes(&world, mark, "beside")?;
            ensure!(wrote.is_empty(), "it wrote without the policy: {wrote:#?}");
            world.plane().apply_yaml(&policy()?).await?;
            installed(&world, package).await?;
        }
        world.operator()?.await_ready(SOON).await?;
        nothing_was_forbidden(&world)
    })
}

/// Name of the CRD that is fought about.
const CONTESTED: &str = "locks.pkg.crossplane.io";

#[test]
fn its_definitions_come_back_and_a_fight_is_bounded() -> Result<()> {
    run(async {
        let mut world = World::start(WorldOptions::default()).await?;
        let core = account(&world, "crossplane").await?;
        world.plane().apply_yaml(&policy()?).await?;
        let _other = Renewing::start(&world, THEIRS, LEASE).await?;
        world.replace_operator(Some(replica(&world, "keeper"))).await?;
        install(&world, "kept", 2).await?;
        installed(&world, "kept").await?;
        let current = "gantry_definitions{state=\"current\"}";
        metric_is(world.operator()?, current, &api::crds().len().to_string()).await?;

        // The reference starts: it applies its own definitions, all of them, and ours come back.
        let wanted = |name: &str| {
            let crd = api::crds().into_iter().find(|crd| crd.metadata.name.as_deref() == Some(name));
            serde_json::to_value(crd).unwrap()
        };
        let names: Vec<String> = api::crds().into_iter().filter_map(|crd| crd.metadata.name).collect();
        for name in &names {
            replaced(&core, name, &wanted(name)).await?;
        }
        for name in &names {
            back(&world, name, &wanted(name)).await?;
        }
        says(world.operator()?, "are put back").await?;
        says(world.operator()?, "\"by\":\"crossplane\"").await?;
        let claim = async || {
            let crd = world.get("CustomResourceDefinition", "providers.pkg.crossplane.io").await?;
            let claim = crd.map(|crd| crd["metadata"]["annotations"]["gantry.dev/operator"].clone());
            Ok((claim == Some(json!("gantry-system/gantry-operator"))).then_some(()))
        };
        eventually("the claim comes back", SOON, claim).await?;
        install(&world, "after", 2).await?;
        installed(&world, "after").await?;
        installed(&world, "kept").await?;

        // Somebody who does it again and again is left alone, and named.
        let mut times = 1;
        loop {
            replaced(&core, CONTESTED, &wanted(CONTESTED)).await?;
            let over = async || {
                let over = lines(world.operator()?, "stop that writer")? > 0;
                Ok((over || is_back(&world, CONTESTED, &wanted(CONTESTED)).await?).then_some(over))
            };
            if eventually("it is put back, or given up", SOON, over).await? {
                break;
            }
            times += 1;
            ensure!(times < 10, "the fight does not end");
        }
        ensure!(times == 4, "put back {times} times");
        metric_is(world.operator()?, "gantry_definitions{state=\"contested\"}", "1").await?;
        let mark = world.plane().audit_mark()?;
        tokio::time::sleep(STILL / 2).await;
        let wrote = writes(&world, mark, "keeper")?;
        let wrote: Vec<_> = wrote.iter().filter(|e| e.name == CONTESTED).collect();
        ensure!(wrote.is_empty(), "the fight goes on: {wrote:#?}");
        ensure!(lines(world.operator()?, "stop that writer")? == 1, "said more than once");
        let told = async || {
            let field = format!("involvedObject.name={CONTESTED}");
            let args = ["get", "events", "-A", "--field-selector", &field, "-o", "jsonpath={.items[*].message}"];
            let said = world.plane().kubectl(&args).await?;
            Ok(said.contains("field manager crossplane").then_some(()))
        };
        eventually("an event tells", SOON, told).await?;
        // The others go on as before.
        install(&world, "later", 1).await?;
        installed(&world, "later").await?;
        nothing_was_forbidden(&world)
    })
}

/// Replaces a definition by one that lacks what is ours: annotations, categories, a field of the status.
async fn replaced(core: &Client, name: &str, wanted: &Value) -> Result<()> {
    let mut theirs = wanted.clone();
    theirs["spec"]["names"]["categories"] = json!(["crossplane", "theirs"]);
    theirs["spec"]["names"]["shortNames"] = Value::Null;
    let patch = json!({
        "metadata": { "annotations": { "gantry.dev/version": null, "gantry.dev/operator": null } },
        "spec": { "names": theirs["spec"]["names"] },
    });
    match send(core, Merge, &crd(&format!("/{name}")), &patch).await? {
        Passes => Ok(()),
        Refused => bail!("the reference may not apply {name}"),
    }
}

async fn is_back(world: &World, name: &str, wanted: &Value) -> Result<bool> {
    let crd = world.get("CustomResourceDefinition", name).await?;
    Ok(crd.is_some_and(|crd| {
        crd["spec"]["names"]["categories"] == wanted["spec"]["names"]["categories"]
            && crd["metadata"]["annotations"]["gantry.dev/version"].is_string()
    }))
}

async fn back(world: &World, name: &str, wanted: &Value) -> Result<()> {
    let look = async || Ok(is_back(world, name, wanted).await?.then_some(()));
    eventually(&format!("{name} comes back"), SOON.min(Duration::from_secs(60)), look).await
}
