//! Beside the reference's composition engine (design §9): what the admission policy refuses and passes, and
//! what the operator makes of it.

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
#[derive(Clone, Copy, Debug, serde::Deserialize)]
enum How {
    Create,
    TryCreate,
    Merge,
    Apply,
    Delete,
}

/// Whether the policy lets it through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
enum Fate {
    Refused,
    Passes,
}
use Fate::{Passes, Refused};
use How::{Apply, Create, Delete, Merge, TryCreate};

/// What is in the cluster, and what is written then: `beside.yaml`.
#[derive(serde::Deserialize)]
struct Table {
    there: Vec<Value>,
    writes: Vec<Write>,
}

/// One write: what it is, whose, how and where, and whether it passes.
#[derive(serde::Deserialize)]
struct Write {
    what: String,
    by: String,
    how: How,
    at: String,
    #[serde(default)]
    body: Value,
    fate: Fate,
}

async fn send(client: &Client, how: How, path: &str, body: &Value) -> Result<Fate> {
    let (method, query, content) = match how {
        Create => ("POST", "fieldManager=crossplane", "application/json"),
        TryCreate => ("POST", "fieldManager=crossplane&dryRun=All", "application/json"),
        Merge => ("PATCH", "fieldManager=crossplane", "application/merge-patch+json"),
        Apply => (
            "PATCH",
            "fieldManager=crossplane&force=true",
            "application/apply-patch+yaml",
        ),
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

/// Defines the kinds of `pkg.crossplane.io` and waits until all of them are served.
pub(crate) async fn define(world: &World) -> Result<()> {
    let crds = api::crds()
        .into_iter()
        .map(|crd| Ok(serde_json::to_string(&crd)?));
    let crds = crds.collect::<Result<Vec<_>>>()?.join("\n---\n");
    world.plane().apply_yaml(&crds).await?;
    for crd in api::crds() {
        let kind = crd.spec.names.kind;
        let listed = async || Ok(world.list(&kind, "").await.ok().map(drop));
        eventually(&format!("{kind} is served"), SOON, listed).await?;
    }
    Ok(())
}

#[test]
fn the_policy_refuses_package_controllers_and_nothing_else() -> Result<()> {
    run(async {
        // Owners are made up: no garbage collector may look for them.
        let mut options = WorldOptions::default();
        options.control_plane.controller_manager = false;
        let world = World::start(options).await?;
        let core = account(&world, "crossplane").await?;
        let roles = account(&world, "rbac-manager").await?;
        let table = std::fs::read_to_string(workspace().join("tests/e2e/beside.yaml"))?;
        let table: Table = serde_saphyr::from_str(&table)?;
        define(&world).await?;
        let there: Vec<String> = table.there.iter().map(Value::to_string).collect();
        world.plane().apply_yaml(&there.join("\n---\n")).await?;
        world.plane().apply_yaml(&policy()?).await?;
        // API servers learn of a policy a moment later. What changes nothing passes: each try changes
        // something.
        let package = "/apis/pkg.crossplane.io/v1/providers/p";
        let refused = async || {
            let now = jiff::Timestamp::now().as_millisecond().to_string();
            let label = json!({ "metadata": { "labels": { "tried": now } } });
            Ok((send(&core, Merge, package, &label).await? == Refused).then_some(()))
        };
        eventually("the policy is in force", SOON, refused).await?;

        let mut wrong = vec![];
        for write in &table.writes {
            let client = match write.by.as_str() {
                "crossplane" => &core,
                "rbac-manager" => &roles,
                by => bail!("{}: who is {by}?", write.what),
            };
            let what = format!("{}: {:?} {}", write.what, write.how, write.at);
            match send(client, write.how, &write.at, &write.body).await {
                Ok(met) if met == write.fate => {}
                Ok(met) => wrong.push(format!("{what}: {met:?}")),
                Err(error) => wrong.push(format!("{what}: {error}")),
            }
        }
        ensure!(
            wrong.is_empty(),
            "{} writes went wrong:\n{}",
            wrong.len(),
            wrong.join("\n")
        );

        // Nobody else is concerned.
        let admin = world.plane().client();
        let revision = "/apis/pkg.crossplane.io/v1/providerrevisions/p-1";
        let owned = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/owneds.own.example.org";
        let label = json!({ "metadata": { "labels": { "team": "x" } } });
        for (how, path, body) in [
            (Merge, package, label.clone()),
            (Merge, owned, label),
            (Delete, revision, json!({})),
        ] {
            ensure!(
                send(&admin, how, path, &body).await? == Passes,
                "{path} is refused to everybody"
            );
        }
        Ok(())
    })
}

/// The value of a metric with one label.
async fn metric(operator: &Operator, name: &str) -> Result<String> {
    let metrics = operator.metrics().await?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    Ok(line
        .with_context(|| format!("{name} is not in {metrics}"))?
        .trim()
        .to_owned())
}

async fn metric_is(operator: &Operator, name: &str, value: &str) -> Result<()> {
    let look = async || Ok((metric(operator, name).await? == value).then_some(()));
    eventually(&format!("{name} is {value}"), SOON, look).await
}

/// Log lines that contain `words`.
fn lines(operator: &Operator, words: &str) -> Result<usize> {
    Ok(operator
        .log()?
        .lines()
        .filter(|line| line.contains(words))
        .count())
}

#[test]
fn it_leads_beside_the_reference_while_the_policy_is_in_force() -> Result<()> {
    run(async {
        let mut world = World::start(WorldOptions::default()).await?;
        let _other = Renewing::start(&world, THEIRS, LEASE).await?;
        world
            .replace_operator(Some(replica(&world, "beside").without_waiting()))
            .await?;
        says(
            world.operator()?,
            "is not there: apply deploy/beside-crossplane.yaml",
        )
        .await?;
        ensure!(
            !world.operator()?.is_ready().await,
            "ready beside a live package manager"
        );

        // A policy that covers one of the two accounts is not enough.
        let half = policy()?.replace(",\"system:serviceaccount:crossplane-system:rbac-manager\"", "");
        world.plane().apply_yaml(&half).await?;
        says(
            world.operator()?,
            "does not cover system:serviceaccount:crossplane-system:rbac-manager",
        )
        .await?;
        ensure!(!world.operator()?.is_ready().await, "ready beside half a policy");

        world.plane().apply_yaml(&policy()?).await?;
        world.operator()?.await_ready(SOON).await?;
        says(world.operator()?, "leading beside it").await?;
        metric_is(
            world.operator()?,
            "gantry_other_package_manager{state=\"kept_out\"}",
            "1",
        )
        .await?;
        // The policy does not surprise the API server.
        let type_checked = async || {
            let path = "jsonpath={.status.observedGeneration}{.status.typeChecking.expressionWarnings}";
            let args = [
                "get",
                "validatingadmissionpolicy",
                "gantry-beside-crossplane",
                "-o",
                path,
            ];
            Ok(Some(world.plane().kubectl(&args).await?).filter(|said| !said.is_empty()))
        };
        let said = eventually("its expressions are checked", SOON, type_checked).await?;
        ensure!(said.parse::<u32>().is_ok(), "{said}");
        install(&world, "first", 2).await?;
        installed(&world, "first").await?;

        // Whoever weakens the policy or takes it away stops Gantry, until it is there again.
        let binding = "validatingadmissionpolicybinding";
        let name = "gantry-beside-crossplane";
        let audit = r#"{"spec":{"validationActions":["Audit"]}}"#;
        let ignore = r#"{"spec":{"failurePolicy":"Ignore"}}"#;
        let weakenings: [(&str, Vec<&str>, &str); 4] = [
            (
                "second",
                vec!["patch", binding, name, "--type=merge", "-p", audit],
                "do not have Deny",
            ),
            (
                "third",
                vec![
                    "patch",
                    "validatingadmissionpolicy",
                    name,
                    "--type=merge",
                    "-p",
                    ignore,
                ],
                "its failurePolicy are not those of this version",
            ),
            (
                "fourth",
                vec!["delete", "validatingadmissionpolicy", name],
                "is not there",
            ),
            (
                "fifth",
                vec!["delete", binding, name],
                "the binding of admission policy",
            ),
        ];
        for (n, (package, weaken, words)) in weakenings.into_iter().enumerate() {
            world.plane().kubectl(&weaken).await?;
            let stopped = async || {
                let lines = lines(world.operator()?, "another package manager came alive")?;
                Ok((lines > n).then_some(()))
            };
            eventually("it stops", SOON, stopped).await?;
            says(world.operator()?, words).await?;
            ensure!(
                !world.operator()?.is_ready().await,
                "ready without the policy: {words}"
            );
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
            let crd = api::crds()
                .into_iter()
                .find(|crd| crd.metadata.name.as_deref() == Some(name));
            serde_json::to_value(crd).unwrap()
        };
        let names: Vec<String> = api::crds()
            .into_iter()
            .filter_map(|crd| crd.metadata.name)
            .collect();
        for name in &names {
            replaced(&core, name, &wanted(name)).await?;
        }
        for name in &names {
            back(&world, name, &wanted(name)).await?;
        }
        says(world.operator()?, "are put back").await?;
        says(world.operator()?, "\"by\":\"crossplane\"").await?;
        let claim = async || {
            let crd = world
                .get("CustomResourceDefinition", "providers.pkg.crossplane.io")
                .await?;
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
        ensure!(
            lines(world.operator()?, "stop that writer")? == 1,
            "said more than once"
        );
        let told = async || {
            let field = format!("involvedObject.name={CONTESTED}");
            let args = [
                "get",
                "events",
                "-A",
                "--field-selector",
                &field,
                "-o",
                "jsonpath={.items[*].message}",
            ];
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
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
    match send(core, Merge, &path, &patch).await? {
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
    eventually(
        &format!("{name} comes back"),
        SOON.min(Duration::from_secs(60)),
        look,
    )
    .await
}
