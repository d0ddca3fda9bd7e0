//! What cargo says about the workspace.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// Answer of `cargo metadata --no-deps`: the packages of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// All members.
    pub(crate) packages: Vec<Package>,
    /// Folder of the root `Cargo.toml`.
    pub(crate) workspace_root: PathBuf,
}

/// A member of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Name as in its `Cargo.toml`.
    pub(crate) name: String,
    /// What it depends on, ours and others'.
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency of a member.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// Name of the package, before any renaming.
    pub(crate) name: String,
    /// `dev`, `build`, or nothing for a normal one.
    pub(crate) kind: Option<String>,
    /// Folder, for dependencies that are not from a registry.
    pub(crate) path: Option<PathBuf>,
}

impl Metadata {
    /// Asks the cargo that runs this program.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(&cargo)
            .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
            .output()
            .with_context(|| format!("run {}", cargo.display()))?;
        ensure!(
            output.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        serde_json::from_slice(&output.stdout).context("read what cargo metadata says")
    }
}
