//! kubectl against a control plane.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::ControlPlane;

/// What kubectl answered.
#[derive(Clone, Debug)]
pub struct Output {
    /// Whether its exit status was 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl ControlPlane {
    /// Runs kubectl with all rights, whatever its exit status.
    pub async fn try_kubectl(&self, args: &[&str], input: Option<&str>) -> Result<Output> {
        let mut child = Command::new(self.tools().path("kubectl"))
            // Discovery is cached per host and port for minutes: each control plane has a cache of its own.
            .arg("--cache-dir")
            .arg(self.folder().join("kubectl-cache"))
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(args)
            .stdin(if input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start kubectl")?;
        let pipe = child.stdin.take();
        let feed = async {
            if let (Some(mut pipe), Some(text)) = (pipe, input) {
                // An early end of kubectl shows in its exit status.
                pipe.write_all(text.as_bytes()).await.ok();
            }
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        let output = output.context("cannot run kubectl")?;
        Ok(Output {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs kubectl with all rights, answers its standard output.
    ///
    /// # Errors
    /// When its exit status is not 0; the message has its standard error.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        succeeded(args, self.try_kubectl(args, None).await?)
    }

    /// Server-side applies a stream of YAML documents.
    pub async fn apply_yaml(&self, documents: &str) -> Result<()> {
        let args = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=test",
            "-f",
            "-",
        ];
        succeeded(&args, self.try_kubectl(&args, Some(documents)).await?)?;
        Ok(())
    }
}

fn succeeded(args: &[&str], output: Output) -> Result<String> {
    if !output.success {
        bail!(
            "kubectl {}: {}{}",
            args.join(" "),
            output.stderr.trim(),
            output.stdout.trim()
        );
    }
    Ok(output.stdout)
}
