//! The operator's image, as `Dockerfile` makes it, from a built program: for nodes, which can pull from nowhere else.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use testkit::Image;
use testkit::node::{ADDRESS, images};
use testkit::tools::workspace;
use testkit::world::NAMESPACE;

/// A name of the node's registry, for pods.
pub const REGISTRY: &str = "registry.gantry-system.svc.cluster.local:5000";

/// An image, and what its files take on a node.
pub struct OperatorImage {
    /// The image.
    pub image: Image,
    /// Bytes of all files.
    pub files: u64,
}

impl OperatorImage {
    /// Bytes that a node pulls.
    pub fn pulled(&self) -> u64 {
        self.image.blobs.iter().map(|b| b.bytes.len() as u64).sum()
    }
}

/// The image of the operator built at `program`: the same root file system as in `Dockerfile`, by the same script,
/// with the same user and entry point.
pub fn image(program: &Path) -> Result<OperatorImage> {
    let folder = testkit::folder("image")?;
    let named = folder.path().join("gantry-operator");
    std::fs::copy(program, &named).with_context(|| format!("cannot copy {}", program.display()))?;
    let root = folder.path().join("root");
    let output = Command::new(workspace().join("deploy/image/rootfs.sh"))
        .arg(&root)
        .arg(&named)
        .output()
        .context("cannot run deploy/image/rootfs.sh")?;
    if !output.status.success() {
        bail!(
            "deploy/image/rootfs.sh: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(OperatorImage {
        image: images::from_folder(&root, config()?)?,
        files: size(&root)?,
    })
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            size(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}

/// What the last stage of `Dockerfile` says about the container.
fn config() -> Result<Value> {
    let text = std::fs::read_to_string(workspace().join("Dockerfile"))?;
    let (_, last) = text.rsplit_once("\nFROM ").context("Dockerfile has no stages")?;
    let instruction = |name: &str| {
        let line = last
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.with_context(|| format!("the last stage of Dockerfile has no {name}"))
    };
    Ok(json!({
        "User": instruction("USER")?,
        "Env": [instruction("ENV")?],
        "Entrypoint": serde_json::from_str::<Value>(instruction("ENTRYPOINT")?)?,
    }))
}

/// The service by which pods find the node's registry, which is no pod.
pub(crate) fn registry_service() -> String {
    let ports = json!([{ "name": "http", "port": 5000 }]);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "registry", "namespace": NAMESPACE },
        "spec": { "ports": ports },
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": ports,
        "metadata": {
            "name": "registry", "namespace": NAMESPACE, "labels": { "kubernetes.io/service-name": "registry" },
        },
        "endpoints": [{ "addresses": [ADDRESS], "conditions": { "ready": true } }],
    });
    format!("{service}\n---\n{slice}\n")
}
