//! The image on a node, installed by Helm: its size, how soon it is ready, what it holds when idle, how soon the first
//! package is Ready.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use testkit::helm::VERSIONS;
use testkit::wait::eventually;
use testkit::world::condition_of;
use testkit::{Node, NodeOptions, PackageFixture, World};

use super::figures::{mebibytes, median};
use crate::image::image;
use crate::release::Release;

/// How often a start is measured; the median counts.
const STARTS: usize = 5;
/// How often an installation is measured.
const INSTALLATIONS: usize = 3;
/// CRDs of the package that comes with an installation.
const CRDS: usize = 3;
/// Pause between two looks at the package.
const LOOK: Duration = Duration::from_millis(20);
/// How long an installation, or its removal, may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the operator does nothing before its memory is read.
const SETTLE: Duration = Duration::from_secs(15);
/// Targets: bytes of the image (all files), seconds, bytes resident.
const SIZE: u64 = 40_000_000;
const READY: f64 = 1.0;
const IDLE: u64 = 64 << 20;

/// What was measured.
pub(super) struct ImageFigures {
    /// Bytes of all files.
    files: u64,
    /// Bytes that are pulled.
    pulled: u64,
    /// From the start of the first process to a node that is ready, in seconds.
    node: f64,
    /// From the start of the container's process to `/readyz`, in seconds.
    ready: f64,
    /// Resident memory of an operator without packages, in bytes.
    idle: u64,
    /// From the start of `helm install` until the package that its values name is Ready, in seconds.
    first_package: f64,
}

/// Starts a node and runs the operator on it, several times.
pub(super) async fn run(operator: &Path) -> Result<ImageFigures> {
    let made = image(operator)?;
    let start = Instant::now();
    let world = World::on(Node::start(NodeOptions::default()).await?);
    let ready_node = start.elapsed().as_secs_f64();
    let release = Release::new(world.node()?, VERSIONS[0], &made).await?;
    release.install(&json!({})).await?;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(release.pods.restart().await?);
    }
    tokio::time::sleep(SETTLE).await;
    let leader = release.pods.leader().await?;
    let idle = release.pods.container(&leader.pod).await?.rss()?;
    let package = PackageFixture::provider("first").crds("first.example.org", CRDS);
    let package = world.push("first", "v1", &package.build()?).await?;
    let mut installations = Vec::new();
    for _ in 0..INSTALLATIONS {
        clear(&world, &release).await?;
        installations.push(first_package(&world, &release, &package).await?);
    }
    Ok(ImageFigures {
        files: made.files,
        pulled: made.pulled(),
        node: ready_node,
        ready: median(starts).context("no start was measured")?,
        idle,
        first_package: median(installations).context("no installation was measured")?,
    })
}

/// Seconds from the start of `helm install` until the package that its values name is Ready, in a cluster that has the
/// image and nothing else of Gantry.
async fn first_package(world: &World, release: &Release<'_>, package: &str) -> Result<f64> {
    let values = json!({ "provider": { "packages": [{ "package": package, "name": "first" }] } });
    let start = Instant::now();
    release.install_only(&values).await?;
    loop {
        // The kind is not there at first.
        let provider = world.get("Provider", "first").await.ok().flatten();
        if provider.is_some_and(|p| condition_of(&p, "Ready")["status"] == "True") {
            return Ok(start.elapsed().as_secs_f64());
        }
        ensure!(
            start.elapsed() < PATIENCE,
            "{}",
            world.dump("Provider", "first").await
        );
        tokio::time::sleep(LOOK).await;
    }
}

/// Removes the release, the packages, and all CRDs.
async fn clear(world: &World, release: &Release<'_>) -> Result<()> {
    world.delete("Provider", "first").await?;
    release.uninstall().await?;
    world
        .plane()
        .kubectl(&["delete", "crd", "--all", "--wait=false"])
        .await?;
    eventually("all CRDs are gone", PATIENCE, async || {
        let left = world.list("CustomResourceDefinition", "").await?;
        Ok(left.is_empty().then_some(()))
    })
    .await
}

/// The chapter of the page.
pub(super) fn chapter(figures: &Result<ImageFigures>) -> String {
    let mut text = String::from("\n## The image, on a node\n\n");
    let figures = match figures {
        Ok(figures) => figures,
        Err(error) => return text + &format!("Not measured: {error:#}.\n"),
    };
    text.push_str("| | target | measured | |\n|---|---|---|---|\n");
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let rows = [
        (
            "size of all files",
            megabytes(SIZE),
            format!(
                "{}; {} to pull",
                megabytes(figures.files),
                megabytes(figures.pulled)
            ),
            figures.files <= SIZE,
        ),
        (
            "start of the process to ready, image on the node",
            format!("{READY:.1} s"),
            format!("{:.2} s (median of {STARTS})", figures.ready),
            figures.ready <= READY,
        ),
        (
            "idle without packages, resident",
            format!("{:.0} MiB", mebibytes(IDLE)),
            format!("{:.0} MiB", mebibytes(figures.idle)),
            figures.idle <= IDLE,
        ),
        (
            "start of `helm install` to its first package Ready, image on the node",
            "–".to_owned(),
            format!("{:.1} s (median of {INSTALLATIONS})", figures.first_package),
            true,
        ),
    ];
    for (what, target, measured, met) in rows {
        let verdict = match (met, target.as_str()) {
            (_, "–") => "",
            (true, _) => "met",
            (false, _) => "**missed**",
        };
        text.push_str(&format!("| {what} | {target} | {measured} | {verdict} |\n"));
    }
    text + &format!(
        "\nThe node itself (control plane, containerd, kubelet, kube-proxy, CoreDNS, registry) was ready after {:.1} s.\n",
        figures.node
    )
}
