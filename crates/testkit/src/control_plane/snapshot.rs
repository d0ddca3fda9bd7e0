//! Losing a control plane, and going back to what it stored earlier.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::ControlPlane;
use crate::process::Process;

/// Everything that a cluster stored at some moment.
pub struct Snapshot(TempDir);

impl ControlPlane {
    /// Copies what the cluster stores, as a crash at this moment would leave it: etcd stands still meanwhile.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let folder = crate::folder("snapshot")?;
        self.stop_etcd()?;
        let copied = copy(&self.data(), &folder.path().join("etcd"));
        self.cont_etcd()?;
        copied?;
        Ok(Snapshot(folder))
    }

    /// Puts an older state in the place of the present one. Resource versions start again where they were then; the
    /// cluster's own processes are started anew, as the manual of etcd asks for.
    pub async fn restore(&self, snapshot: &Snapshot) -> Result<()> {
        self.end_all()?;
        std::fs::remove_dir_all(self.data()).context("cannot remove the data of etcd")?;
        copy(&snapshot.0.path().join("etcd"), &self.data())?;
        self.start_all().await
    }

    /// Kills all its processes at once, and starts them again.
    pub async fn power_cycle(&self) -> Result<()> {
        self.end_all()?;
        self.start_all().await
    }

    fn data(&self) -> PathBuf {
        self.folder().join("etcd")
    }

    fn end_all(&self) -> Result<()> {
        self.api_server().kill()?;
        if let Some(manager) = &self.controller_manager {
            manager.lock().unwrap_or_else(PoisonError::into_inner).kill()?;
        }
        self.etcd().kill()
    }

    async fn start_all(&self) -> Result<()> {
        again(&self.etcd)?;
        self.restart_api_server().await?;
        self.controller_manager.as_ref().map_or(Ok(()), again)
    }
}

fn again(process: &Mutex<Process>) -> Result<()> {
    let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
    *process = Process::start(process.spec().clone())?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status()
        .context("cannot run cp")?;
    ensure!(
        copied.success(),
        "cannot copy {} to {}",
        from.display(),
        to.display()
    );
    Ok(())
}
