//! Start everything; build and push the packages.

use anyhow::{Result, ensure};
use serde_json::json;
use testkit::helm::VERSIONS;
use testkit::world::{NAMESPACE, USER};
use testkit::{Node, NodeOptions, World, WorldOptions};

use super::operator::{POLL, Place, STORE};
use super::source;
use super::stage::{Programs, Stage};
use super::terminal::Terminal;
use crate::image;
use crate::release::{NAME, Release};

/// The API server, the registry, and the operator under the rights of `deploy/rbac.yaml` and no others.
pub(super) async fn on_loopback(terminal: &mut Terminal) -> Result<Stage<'_>> {
    let world = World::start(WorldOptions::default()).await?;
    let mut stage = Stage::new(terminal, world, Place::Loopback)?;
    stage.start_operator().await?;
    stage.world.wait_served().await?;

    let version = version(&stage.world).await?;
    let plane = stage.world.plane();
    let own = stage.world.operator_kubeconfig().display().to_string();
    let me = plane
        .kubectl(&[
            "--kubeconfig",
            &own,
            "auth",
            "whoami",
            "-o",
            "jsonpath={.status.userInfo.username}",
        ])
        .await?;
    ensure!(me == USER, "the operator is {me}");
    let nodes = plane
        .try_kubectl(&["--kubeconfig", &own, "get", "nodes"], None)
        .await?;
    ensure!(!nodes.success, "the operator may read nodes");
    let address = stage.world.registry().host();
    stage.holds(&format!(
        "Kubernetes {version}, a registry at {address}, and the operator as {me}, which may not even read \
         nodes; it brought its own CRDs"
    ));
    Ok(stage)
}

/// A node with everything, and the operator as the chart installs it: two replicas, which share a content store.
pub(super) async fn on_a_node(terminal: &mut Terminal) -> Result<Stage<'_>> {
    let image = image::image(&Programs::find()?.operator)?;
    let world = World::on(Node::start(NodeOptions::default()).await?);
    let stage = Stage::new(terminal, world, Place::Cluster)?;
    let version = version(&stage.world).await?;
    stage.kubectl(&["get", "nodes"]).await?;
    stage.world.plane().install_stand_ins().await?;

    let release = Release::new(stage.world.node()?, VERSIONS[0], &image).await?;
    release.claim(STORE).await?;
    stage.command(&format!(
        "helm install {NAME} charts/gantry --namespace {NAMESPACE} --wait --set replicas=2 --set packageCache.pvc={STORE} …"
    ));
    let poll = format!("--tag-poll-interval={POLL}");
    let values = json!({ "replicas": 2, "packageCache": { "pvc": STORE }, "args": [poll] });
    release.install(&values).await?;
    stage.command(&format!("helm test {NAME} --namespace {NAMESPACE}"));
    release.test().await?;
    stage
        .kubectl(&["get", "pods,leases", "--namespace", NAMESPACE])
        .await?;
    stage.world.wait_served().await?;
    let may = ["auth", "can-i", "get", "nodes", "--as", USER];
    let may = stage.world.plane().try_kubectl(&may, None).await?;
    ensure!(may.stdout.trim() == "no", "may the operator read nodes? {may:?}");
    let leader = release.pods.leader().await?;
    let address = stage.world.registry().host();
    let mut stage = stage;
    stage.holds(&format!(
        "Kubernetes {version} on a node, a registry at {address} in its network, two replicas in a namespace that admits \
         only restricted pods; {} leads, may not even read nodes, and brought its own CRDs",
        leader.pod
    ));
    Ok(stage)
}

async fn version(world: &World) -> Result<String> {
    let version = world.plane().kubectl(&["get", "--raw", "/version"]).await?;
    let version: serde_json::Value = serde_json::from_str(&version)?;
    Ok(version["gitVersion"].as_str().unwrap_or_default().to_owned())
}

/// Builds and pushes the three packages.
pub(super) async fn publish(stage: &mut Stage<'_>) -> Result<()> {
    let nimbus = source::example("provider-nimbus");
    let first = build_and_push(stage, &nimbus, "provider-nimbus", "v1.0").await?;
    let again = stage.folder().join("again.xpkg").display().to_string();
    let again = stage.gantry(&nimbus, &["build", "-o", &again]).await?;
    ensure!(again == first, "built again, the digest is {again}, not {first}");

    build_and_push(
        stage,
        &source::example("configuration-network"),
        "configuration-network",
        "v1.0",
    )
    .await?;

    let folder = stage.folder().join("provider-large");
    let large = source::large(&folder)?;
    build_and_push(stage, &folder, "provider-large", "v1.0").await?;
    stage.holds(&format!(
        "built and pushed; the same files gave the same digest twice. The large one has {} CRDs ({}), \
         {} MB of YAML",
        large.crds,
        large.origin,
        large.bytes / 1_000_000
    ));
    Ok(())
}

/// Builds the package in a folder and pushes it; answers its digest, which builder and registry agree on.
pub(super) async fn build_and_push(
    stage: &Stage<'_>,
    folder: &std::path::Path,
    repository: &str,
    tag: &str,
) -> Result<String> {
    let file = stage
        .folder()
        .join(format!("{repository}.xpkg"))
        .display()
        .to_string();
    let built = stage.gantry(folder, &["build", "-o", &file]).await?;
    let host = stage.world.registry().outer_host();
    let reference = format!("{host}/examples/{repository}:{tag}");
    let pushed = stage
        .gantry(stage.folder(), &["push", &reference, "-f", &file])
        .await?;
    ensure!(built == pushed, "built as {built}, pushed as {pushed}");
    Ok(pushed)
}
