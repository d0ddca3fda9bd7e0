//! The operator as a child process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Request;
use tempfile::TempDir;

use crate::http_client::Target;
use crate::port;
use crate::process::{Process, Spec};

/// The flag that says where `/livez` and `/readyz` are.
pub const PROBE_FLAG: &str = "--health-probe-bind-address";
/// The flag that says where `/metrics` is.
pub const METRICS_FLAG: &str = "--metrics-bind-address";
/// The flag that names the folder of the content store.
pub const STORE_FLAG: &str = "--cache-dir";

/// How long a graceful stop may take when the handle is dropped; the operator promises 10 s.
const GRACE: Duration = Duration::from_secs(12);

/// What to start, and how.
#[derive(Clone, Debug)]
pub struct OperatorOptions {
    /// Path of the binary. `GANTRY_OPERATOR` in the environment replaces it.
    pub program: PathBuf,
    /// Who it is at the API server.
    pub kubeconfig: PathBuf,
    /// Its namespace.
    pub namespace: String,
    /// Folder of its content store; a fresh one by default. It may outlive the operator: give the same to the
    /// next.
    pub store: Option<PathBuf>,
    /// Further flags.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// A program that is started in its place, with the operator and its flags as arguments, and becomes it.
    pub within: Option<PathBuf>,
    /// How long it may take until `/readyz` is true; `None`: don't wait.
    pub ready: Option<Duration>,
}

impl OperatorOptions {
    /// The binary at `program` (tests pass `env!("CARGO_BIN_EXE_…")`) as the holder of `kubeconfig`.
    pub fn new(program: impl Into<PathBuf>, kubeconfig: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            kubeconfig: kubeconfig.into(),
            namespace: "gantry-system".to_owned(),
            store: None,
            args: Vec::new(),
            env: Vec::new(),
            within: None,
            ready: Some(Duration::from_secs(30)),
        }
    }

    /// Adds flags.
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Names the folder of the content store.
    pub fn store(mut self, folder: impl Into<PathBuf>) -> Self {
        self.store = Some(folder.into());
        self
    }

    /// Has it started by another program.
    pub fn within(mut self, program: impl Into<PathBuf>) -> Self {
        self.within = Some(program.into());
        self
    }

    /// Doesn't wait until it is ready.
    pub fn without_waiting(mut self) -> Self {
        self.ready = None;
        self
    }
}

/// A running operator. Dropping it ends it.
pub struct Operator {
    process: Process,
    probe: SocketAddr,
    metrics: SocketAddr,
    store: PathBuf,
    _folder: TempDir,
}

impl Operator {
    /// Starts the operator and waits until it is ready, unless told not to.
    ///
    /// # Errors
    /// When it ends or isn't ready in time; the message has the end of its log.
    pub async fn start(options: OperatorOptions) -> Result<Self> {
        let folder = crate::folder("operator")?;
        let program = std::env::var_os("GANTRY_OPERATOR")
            .filter(|v| !v.is_empty())
            .map_or_else(|| options.program.clone(), PathBuf::from);
        let probe = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
        let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
        let store = options
            .store
            .clone()
            .unwrap_or_else(|| folder.path().join("store"));
        let log = folder.path().join("operator.log");
        let spec = match &options.within {
            None => Spec::new("gantry-operator", program, log),
            Some(wrapper) => Spec::new("gantry-operator", wrapper, log).arg(program),
        };
        let mut spec = spec
            .arg("--kubeconfig")
            .arg(&options.kubeconfig)
            .args(["--namespace", &options.namespace])
            .args([PROBE_FLAG, &probe.to_string(), METRICS_FLAG, &metrics.to_string()])
            .arg(STORE_FLAG)
            .arg(&store)
            .args(&options.args);
        for (name, value) in &options.env {
            spec = spec.env(name, value);
        }
        spec.grace = GRACE;
        let operator = Self {
            process: Process::start(spec)?,
            probe,
            metrics,
            store,
            _folder: folder,
        };
        if let Some(timeout) = options.ready {
            operator.await_ready(timeout).await?;
        }
        Ok(operator)
    }

    /// Waits until `/readyz` is true.
    pub async fn await_ready(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            let answer = self.get(self.probe, "/readyz").await;
            if answer.as_ref().is_ok_and(|(status, _)| *status == 200) {
                return Ok(());
            }
            if let Some(status) = self.process.exit_status() {
                bail!(
                    "the operator ended with {status}; the end of its log:\n{}",
                    self.log_tail()
                );
            }
            if Instant::now() >= deadline {
                let says =
                    answer.map_or_else(|e| format!("{e:#}"), |(status, text)| format!("{status} {text}"));
                bail!(
                    "the operator is not ready after {timeout:?} ({says}); the end of its log:\n{}",
                    self.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether `/readyz` is true now.
    pub async fn is_ready(&self) -> bool {
        self.get(self.probe, "/readyz")
            .await
            .is_ok_and(|(status, _)| status == 200)
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> Result<String> {
        Ok(self.get(self.metrics, "/metrics").await?.1)
    }

    /// Where it answers probes.
    pub fn probe_addr(&self) -> SocketAddr {
        self.probe
    }

    /// Its process: log, CPU seconds, memory, freeze, exit status.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The folder of its content store.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Ends it by SIGKILL.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// Asks it to end (SIGTERM) and waits for it.
    pub async fn term(&self, timeout: Duration) -> Result<ExitStatus> {
        self.process.term()?;
        self.process
            .wait(timeout)
            .await
            .with_context(|| format!("the end of its log:\n{}", self.log_tail()))
    }

    /// Freezes it: no heartbeat, no answers, connections stay open.
    pub fn freeze(&self) -> Result<()> {
        self.process.freeze()
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        self.process.thaw()
    }

    /// CPU time used so far, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        self.process.cpu_seconds()
    }

    /// The most resident memory it ever had, in bytes.
    pub fn vm_hwm(&self) -> Result<u64> {
        self.process.vm_hwm()
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// Its whole log so far.
    pub fn log(&self) -> Result<String> {
        let path = self.process.log();
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    }

    async fn get(&self, addr: SocketAddr, path: &str) -> Result<(u16, String)> {
        let answer = Target { addr, tls: None }
            .send(Request::get(path).body(Bytes::new())?)
            .await?;
        Ok((
            answer.status().as_u16(),
            String::from_utf8_lossy(answer.body()).into_owned(),
        ))
    }
}
