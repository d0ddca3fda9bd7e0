//! Helm against a control plane.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::control_plane::Output;
use crate::tools::{Tools, workspace};

/// The versions of Helm that the chart is for, as programs of the tools.
pub const VERSIONS: [&str; 2] = ["helm", "helm3"];

/// One version of Helm, with folders of its own: nothing of the person who runs the tests is read or written.
pub struct Helm {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    home: TempDir,
}

impl Helm {
    /// `version` is one of [`VERSIONS`]. Without a kubeconfig it can only render.
    ///
    /// # Errors
    /// When it has not been built.
    pub fn new(version: &str, kubeconfig: Option<&Path>) -> Result<Self> {
        let program = Tools::find()?.path(version);
        if !program.exists() {
            bail!("{} is not there: run `make tools`", program.display());
        }
        Ok(Self {
            program,
            kubeconfig: kubeconfig.map(Path::to_owned),
            home: crate::folder("helm")?,
        })
    }

    /// The chart in the clone.
    pub fn chart() -> String {
        workspace().join("charts/gantry").display().to_string()
    }

    /// Runs it, whatever its exit status. Values are read from standard input with `--values=-`.
    pub async fn try_run(&self, args: &[&str], input: Option<&Value>) -> Result<Output> {
        let mut command = Command::new(&self.program);
        for (variable, folder) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
            ("HOME", "home"),
        ] {
            command.env(variable, self.home.path().join(folder));
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        } else {
            command.env("KUBECONFIG", "/dev/null");
        }
        let mut child = command
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
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let pipe = child.stdin.take();
        let feed = async {
            if let (Some(mut pipe), Some(values)) = (pipe, input) {
                // JSON is YAML. An early end shows in the exit status.
                pipe.write_all(values.to_string().as_bytes()).await.ok();
            }
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        let output = output.with_context(|| format!("cannot run {}", self.program.display()))?;
        Ok(Output {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs it, answers its standard output.
    ///
    /// # Errors
    /// When its exit status is not 0; the message has its standard error.
    pub async fn run(&self, args: &[&str], input: Option<&Value>) -> Result<String> {
        let output = self.try_run(args, input).await?;
        if !output.success {
            bail!(
                "helm {}: {}{}",
                args.join(" "),
                output.stderr.trim(),
                output.stdout.trim()
            );
        }
        Ok(output.stdout)
    }
}
