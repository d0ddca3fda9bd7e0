//! Helm against a control plane.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::program::{Output, run, succeeded};
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
        command.args(args);
        // JSON is YAML.
        let input = input.map(Value::to_string);
        run(command, &self.program.display().to_string(), input.as_deref()).await
    }

    /// Runs it, answers its standard output.
    ///
    /// # Errors
    /// When its exit status is not 0; the message has its standard error.
    pub async fn run(&self, args: &[&str], input: Option<&Value>) -> Result<String> {
        succeeded("helm", args, self.try_run(args, input).await?)
    }
}
