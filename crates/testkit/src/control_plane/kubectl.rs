//! kubectl with all rights.

use anyhow::Result;
use tokio::process::Command;

use super::ControlPlane;
use crate::program::{Output, run, succeeded};

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
}
