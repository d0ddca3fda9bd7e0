//! The image on a node: its size, how soon it is ready, what it holds when idle.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::{Node, NodeOptions};

use super::figures::{mebibytes, median};
use crate::pod::{OperatorPod, image};

/// How often a start is measured; the median counts.
const STARTS: usize = 5;
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
}

/// Starts a node and runs the operator on it, several times.
pub(super) async fn run(operator: &Path) -> Result<ImageFigures> {
    let start = std::time::Instant::now();
    let node = Node::start(NodeOptions::default()).await?;
    let ready_node = start.elapsed().as_secs_f64();
    let made = image(operator)?;
    let pod = OperatorPod::start(&node, &made).await?;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(pod.restart().await?);
    }
    tokio::time::sleep(SETTLE).await;
    let figures = ImageFigures {
        files: made.files,
        pulled: made.pulled(),
        node: ready_node,
        ready: median(starts).context("no start was measured")?,
        idle: pod.container().await?.rss()?,
    };
    node.stop()?;
    Ok(figures)
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
    ];
    for (what, target, measured, met) in rows {
        let verdict = if met { "met" } else { "**missed**" };
        text.push_str(&format!("| {what} | {target} | {measured} | {verdict} |\n"));
    }
    text + &format!(
        "\nThe node itself (control plane, containerd, kubelet, kube-proxy, CoreDNS, registry) was ready after {:.1} s.\n",
        figures.node
    )
}
