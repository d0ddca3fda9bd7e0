//! What a machine needs for a node.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::process::geteuid;

use crate::tools::Tools;

/// Tools beside those of a control plane, built by `make tools-node`.
const TOOLS: &[&str] = &[
    "bridge",
    "containerd",
    "containerd-shim-runc-v2",
    "coredns",
    "host-local",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
    "loopback",
    "portmap",
];
/// Programs of Debian, installed by `make tools-node`.
const PROGRAMS: &[&str] = &[
    "bash", "busybox", "find", "ip", "iptables", "mount", "nsenter", "runc", "unshare",
];
/// Where administrators' programs are, which not everybody has on `PATH`.
pub(super) const FOLDERS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The tools, if this machine can have a node.
///
/// # Errors
/// When it can't; the message says what is missing.
pub(super) fn check() -> Result<Tools> {
    if !cfg!(target_os = "linux") {
        bail!("a node needs Linux: run the node tests in a Linux machine");
    }
    if !geteuid().is_root() {
        bail!("a node needs root (namespaces, mounts, control groups): run `make test-node` with sudo -E");
    }
    for name in PROGRAMS {
        program(name)?;
    }
    let tools = Tools::find()?;
    for tool in TOOLS {
        if !tools.path(tool).exists() {
            bail!(
                "{tool} is not in {}: run `make tools-node`",
                tools.folder().display()
            );
        }
    }
    Ok(tools)
}

/// The path of a program of the system.
pub(super) fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let all = path.split(':').chain(FOLDERS.split(':'));
    all.map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("{name} is not installed: run `make tools-node`, which installs it on Debian")
        })
}
