//! Folders that go away with the process, also when it crashes.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;

/// The folder of this process, and the pipe whose end tells the janitor that the process is gone.
struct Root {
    path: PathBuf,
    _pipe: Option<ChildStdin>,
}

static ROOT: LazyLock<Result<Root, String>> = LazyLock::new(|| root().map_err(|e| format!("{e:#}")));

/// A fresh folder under this process's own; removed when the handle is dropped, at the latest soon after the
/// process ended in whatever way. With `GANTRY_KEEP=1` in the environment all folders stay.
pub fn folder(label: &str) -> Result<TempDir> {
    let root = ROOT.as_ref().map_err(|e| anyhow!("{e}"))?;
    let mut folder = tempfile::Builder::new()
        .prefix(&format!("{label}-"))
        .tempdir_in(&root.path)
        .with_context(|| format!("cannot make a folder in {}", root.path.display()))?;
    folder.disable_cleanup(keep());
    Ok(folder)
}

fn keep() -> bool {
    std::env::var_os("GANTRY_KEEP").is_some_and(|v| !v.is_empty())
}

fn root() -> Result<Root> {
    let path = tempfile::Builder::new()
        .prefix("gantry-test-")
        .tempdir()
        .context("cannot make a temporary folder")?
        .keep();
    if keep() {
        return Ok(Root { path, _pipe: None });
    }
    // Statics are never dropped and a killed process drops nothing: a child that waits for the end of its
    // input removes the folder then. It waits a moment first, for the kernel to have ended the other
    // children.
    let mut janitor = Command::new("sh")
        .args(["-c", "cat >/dev/null; sleep 1; rm -rf -- \"$1\"", "janitor"])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start sh to clean up later")?;
    let pipe = janitor.stdin.take();
    Ok(Root { path, _pipe: pipe })
}
