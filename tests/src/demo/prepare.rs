//! Start everything; build and push the packages.

use anyhow::{Result, ensure};
use testkit::{World, WorldOptions};

use super::source;
use super::stage::Stage;
use super::terminal::Terminal;

/// The API server, the registry, and the operator under the rights of `deploy/rbac.yaml` and no others.
pub(super) async fn start(terminal: &mut Terminal) -> Result<Stage<'_>> {
    let world = World::start(WorldOptions::default()).await?;
    let mut stage = Stage::new(terminal, world)?;
    stage.start_operator().await?;
    stage.world.wait_served().await?;

    let plane = stage.world.plane();
    let version = plane.kubectl(&["get", "--raw", "/version"]).await?;
    let version: serde_json::Value = serde_json::from_str(&version)?;
    let version = version["gitVersion"].as_str().unwrap_or_default();
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
    ensure!(me == testkit::world::USER, "the operator is {me}");
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
    let reference = stage
        .world
        .registry()
        .reference(&format!("examples/{repository}"), tag);
    let pushed = stage
        .gantry(stage.folder(), &["push", &reference, "-f", &file])
        .await?;
    ensure!(built == pushed, "built as {built}, pushed as {pushed}");
    Ok(pushed)
}
