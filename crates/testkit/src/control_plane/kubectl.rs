//! kubectl and helm against a control plane.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::ControlPlane;

/// What a command answered.
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
        let mut command = Command::new(self.tools().path("kubectl"));
        command
            // Discovery is cached per host and port for minutes: each control plane has a cache of its own.
            .arg("--cache-dir")
            .arg(self.folder().join("kubectl-cache"))
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(args);
        run(command, "kubectl", input).await
    }
    /// Runs kubectl with all rights, answers its standard output.
    ///
    /// # Errors
    /// When its exit status is not 0; the message has its standard error.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        succeeded("kubectl", args, self.try_kubectl(args, None).await?)
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
        succeeded("kubectl", &args, self.try_kubectl(&args, Some(documents)).await?)?;
        Ok(())
    }

    /// Runs helm with all rights, whatever its exit status. What it keeps on disk is this control plane's own.
    pub async fn try_helm(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(self.tools().path("helm"));
        for (variable, folder) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            command.env(variable, self.folder().join("helm").join(folder));
        }
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(args);
        run(command, "helm", None).await
    }

    /// Runs helm with all rights, answers its standard output.
    ///
    /// # Errors
    /// When its exit status is not 0; the message has its standard error.
    pub async fn helm(&self, args: &[&str]) -> Result<String> {
        succeeded("helm", args, self.try_helm(args).await?)
    }
}

async fn run(mut command: Command, name: &str, input: Option<&str>) -> Result<Output> {
    let mut child = command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let pipe = child.stdin.take();
    let feed = async {
        if let (Some(mut pipe), Some(text)) = (pipe, input) {
            // An early end shows in its exit status.
            pipe.write_all(text.as_bytes()).await.ok();
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.with_context(|| format!("cannot run {name}"))?;
    Ok(Output {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn succeeded(name: &str, args: &[&str], output: Output) -> Result<String> {
    if !output.success {
        bail!(
            "{name} {}: {}{}",
            args.join(" "),
            output.stderr.trim(),
            output.stdout.trim()
        );
    }
    Ok(output.stdout)
}
