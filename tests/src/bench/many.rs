//! A thousand small packages at once, as when a platform's repository is applied to a fresh cluster: the store has all
//! content already, and a bare client does the same writes on a control plane of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::Method;
use jiff::Timestamp;
use registry::{Client, ClientConfig, Deadline, Keychain, Store, StoreConfig};
use serde_json::{Value, json};
use testkit::control_plane::AuditEvent;
use testkit::world::{ACCOUNT, NAMESPACE, USER, condition_of, resource};
use testkit::{OperatorOptions, PackageFixture, World, WorldOptions};

use super::bare::{Bare, Call};
use super::figures::{Many, seconds};
use super::floor::{install_ours, owners};
use super::{PATIENCE, quiet};

pub(super) const KIND: &str = "Configuration";
const GROUP: &str = "many.example.org";
/// Requests that are under way at a time: whoever applies the packages, pushes their images, and the bare client, which
/// has as many as the operator has for all packages.
const AT_A_TIME: usize = 8;
/// How often it is looked whether all are ready. Each look reads all packages.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);
/// What the operator writes for a package, in the order in which it can first be written.
const KINDS: [&str; 4] = [
    "ConfigurationRevision",
    "CompositeResourceDefinition",
    "Composition",
    KIND,
];

/// Installs `count` Configurations with one XRD and one Composition each.
pub(super) async fn run(count: usize, operator: &Path) -> Result<Many> {
    let world = World::start(WorldOptions::default()).await?;
    let folder = testkit::folder("bench-store")?;
    let store = folder.path().join("store");
    let references = push(&world, count).await?;
    fill(&store, &references).await?;
    let options = OperatorOptions::new(operator, world.operator_kubeconfig()).store(&store);
    let mut world = world;
    world.replace_operator(Some(options)).await?;
    world.wait_served().await?;
    quiet(world.plane()).await?;

    let (plane, operator) = (world.plane(), world.operator()?);
    let (mark, cpu) = (plane.audit_mark()?, operator.cpu_seconds()?);
    let applied = Timestamp::now();
    apply(&world, &references, 0).await?;
    ready(&world, count).await?;
    let (took, cpu) = (seconds(applied, Timestamp::now()), operator.cpu_seconds()? - cpu);
    // What is written last follows within moments; it belongs to the same work.
    quiet(plane).await?;
    let events = plane.writes_since(mark, USER)?;
    let rounds = rounds(&events, count)?;
    let hwm = operator.vm_hwm()?;
    let mut objects = vec![];
    for kind in KINDS {
        objects.push(by_number(&world, kind).await?);
    }
    drop(world);
    let floor = floor(&references, &rounds, &objects).await?;
    Ok(Many {
        count,
        ready: took,
        cpu,
        hwm,
        writes: by_resource(&events),
        floor,
    })
}

pub(super) fn name(n: usize) -> String {
    format!("many-{n:04}")
}

/// Pushes the packages, answers their references by digest.
pub(super) async fn push(world: &World, count: usize) -> Result<Vec<String>> {
    let push = (0..count).map(|n| async move {
        let name = name(n);
        let image = PackageFixture::configuration(&name)
            .xrd(GROUP, &format!("Thing{n:04}"))
            .composition(&name, GROUP, &format!("Thing{n:04}"))
            .build()?;
        let repository = format!("acme/{name}");
        world.push(&repository, "v1", &image).await?;
        anyhow::Ok(format!(
            "{}/{repository}@{}",
            world.registry().host(),
            image.digest()
        ))
    });
    futures::stream::iter(push)
        .buffered(AT_A_TIME)
        .try_collect()
        .await
}

/// Fetches them into a store, by the same code as the operator's.
async fn fill(store: &Path, references: &[String]) -> Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let store = Store::open(store, StoreConfig::default());
    let registry = registry::Registry::new(Client::new(ClientConfig::default())?, store);
    for reference in references {
        let reference = oci::Reference::parse(reference)?;
        let digest = reference.digest().context("a reference without digest")?.clone();
        registry
            .fetch(
                &reference,
                &digest,
                &Keychain::default(),
                Deadline::after(PATIENCE),
            )
            .await?;
    }
    match registry.store().problem() {
        Some(problem) => bail!("the store can't be filled: {problem}"),
        None => Ok(()),
    }
}

/// Creates the packages, as somebody who applies a folder of manifests; the first has the number `first`.
pub(super) async fn apply(world: &World, references: &[String], first: usize) -> Result<()> {
    let create = references.iter().zip(first..).map(|(reference, n)| async move {
        world.create_package(KIND, &name(n), reference, json!({})).await
    });
    futures::stream::iter(create)
        .buffer_unordered(AT_A_TIME)
        .try_for_each(|_| async { Ok(()) })
        .await
}

/// Waits until all packages are ready.
pub(super) async fn ready(world: &World, count: usize) -> Result<()> {
    let begin = Instant::now();
    loop {
        let all = world.list(KIND, "").await?;
        let ready = all.iter().filter(|package| {
            ["Installed", "Healthy", "Ready"]
                .iter()
                .all(|type_| condition_of(package, type_)["status"] == "True")
        });
        let ready = ready.count();
        if ready == count {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            bail!("{ready} of {count} packages are ready after {PATIENCE:?}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How many writes of each resource there were.
fn by_resource(events: &[AuditEvent]) -> BTreeMap<String, usize> {
    let mut writes = BTreeMap::new();
    for event in events {
        *writes
            .entry(format!("{} {}", event.verb, event.resource))
            .or_default() += 1;
    }
    writes
}

/// How often each kind was created, changed, and its status written, for one package.
type Rounds = BTreeMap<(&'static str, &'static str), usize>;

fn rounds(events: &[AuditEvent], count: usize) -> Result<Rounds> {
    let mut rounds = Rounds::new();
    for kind in KINDS {
        let found = resource(kind)?;
        let main = format!("{}.{}", found.plural, found.group);
        let status = format!("{main}/status");
        let times = |test: &dyn Fn(&AuditEvent) -> bool| {
            let all = events.iter().filter(|e| (200..300).contains(&e.code) && test(e));
            all.count().div_ceil(count)
        };
        rounds.insert(
            (kind, "create"),
            times(&|e| e.resource == main && e.verb == "create"),
        );
        rounds.insert(
            (kind, "change"),
            times(&|e| e.resource == main && e.verb != "create"),
        );
        rounds.insert((kind, "status"), times(&|e| e.resource == status));
    }
    Ok(rounds)
}

/// The objects of a kind as they are, in the order of their packages.
async fn by_number(world: &World, kind: &str) -> Result<Vec<Value>> {
    let mut all = world.list(kind, "").await?;
    all.sort_by_key(|object| object["metadata"]["name"].as_str().map(str::to_owned));
    Ok(all)
}

/// The same writes of objects like these by a bare client, in seconds; the packages themselves are created by whoever
/// applies them, in both.
async fn floor(references: &[String], rounds: &Rounds, objects: &[Vec<Value>]) -> Result<f64> {
    let world = World::start(WorldOptions::default()).await?;
    let plane = world.plane();
    install_ours(plane).await?;
    world.wait_served().await?;
    let token = plane.service_account_token(NAMESPACE, ACCOUNT).await?;
    let bare = Bare::new(plane.addr(), plane.authority().certificate(), &token)?;
    let owners = owners(plane, 2, 0).await?;
    let mut calls = vec![];
    for (kind, objects) in KINDS.iter().copied().zip(objects) {
        let found = resource(kind)?;
        let path = format!("/apis/{}/{}", found.api_version, found.plural);
        let times = |what| rounds.get(&(kind, what)).copied().unwrap_or_default();
        let bodies: Vec<Value> = objects.iter().map(|object| fresh(object, &owners)).collect();
        if times("create") > 0 {
            calls.extend(bodies.iter().map(|body| Call {
                method: Method::POST,
                path: format!("{path}?fieldManager=bare-client"),
                content_type: "application/json",
                body: Bytes::from(body.to_string()),
            }));
        }
        for round in 0..times("change") {
            let change = json!({ "metadata": { "annotations": { "example.org/round": round.to_string() } } });
            calls.extend(bodies.iter().map(|body| Call {
                method: Method::PATCH,
                path: format!("{path}/{}?fieldManager=bare-client", name_of(body)),
                content_type: "application/merge-patch+json",
                body: Bytes::from(change.to_string()),
            }));
        }
        for round in 0..times("status") {
            calls.extend(bodies.iter().zip(objects).map(|(body, object)| Call {
                method: Method::PATCH,
                path: format!(
                    "{path}/{}/status?fieldManager=bare-client&force=true",
                    name_of(body)
                ),
                content_type: "application/apply-patch+yaml",
                body: Bytes::from(status(object, round).to_string()),
            }));
        }
    }
    quiet(plane).await?;
    let begin = Instant::now();
    apply(&world, references, 0).await?;
    bare.send_all(calls, AT_A_TIME).await?;
    Ok(begin.elapsed().as_secs_f64())
}

/// An apply of an object's status, another one in each round.
fn status(object: &Value, round: usize) -> Value {
    let mut status = object["status"].clone();
    if let Some(first) = status["conditions"].get_mut(0) {
        first["message"] = json!(format!("round {round}"));
    }
    json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"],
        "metadata": { "name": object["metadata"]["name"] },
        "status": status,
    })
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// An object as it was when it was created: what the API server adds is taken off, and the owners are such as exist.
fn fresh(object: &Value, owners: &Value) -> Value {
    let mut fresh = object.clone();
    let metadata = &object["metadata"];
    fresh["metadata"] = json!({
        "name": metadata["name"], "labels": metadata["labels"], "annotations": metadata["annotations"],
    });
    if object["kind"] != KIND {
        fresh["metadata"]["ownerReferences"] = owners.clone();
    }
    if let Some(fields) = fresh.as_object_mut() {
        fields.remove("status");
    }
    fresh
}
