//! A container's process, as the machine sees it.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::control_plane::ControlPlane;
use crate::process::{memory, start_time};

/// The one process of a container.
#[derive(Debug)]
pub struct Container {
    pid: u32,
    handle: OwnedFd,
}

impl Container {
    /// The container whose processes are `pids`.
    pub(super) fn new(pids: &[u32]) -> Result<Self> {
        let [pid] = pids else {
            bail!("one process was expected, it has {pids:?}");
        };
        let raw = i32::try_from(*pid)
            .ok()
            .and_then(Pid::from_raw)
            .context("no process id")?;
        Ok(Self {
            pid: *pid,
            handle: pidfd_open(raw, PidfdFlags::empty()).context("its process has ended")?,
        })
    }

    /// Its process id on the machine.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Resident memory now, in bytes.
    pub fn rss(&self) -> Result<u64> {
        memory(self.pid, "VmRSS:")
    }

    /// Resident memory that no file backs, in bytes: what a limit leaves no other place for.
    pub fn anonymous(&self) -> Result<u64> {
        memory(self.pid, "RssAnon:")
    }

    /// Seconds since its process was started, to a hundredth.
    pub fn age(&self) -> Result<f64> {
        let uptime = std::fs::read_to_string("/proc/uptime")?;
        let uptime = uptime
            .split_whitespace()
            .next()
            .context("/proc/uptime is empty")?;
        let started = start_time(self.pid).context("the container's process has ended")?;
        Ok(uptime.parse::<f64>()? - started as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Freezes it (SIGSTOP).
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it (SIGKILL); the kubelet starts another one.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        pidfd_send_signal(&self.handle, signal).context("the container's process has ended")
    }
}

/// containerd's id of a running container.
pub(super) async fn id(plane: &ControlPlane, namespace: &str, pod: &str, container: &str) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(plane.client(), namespace);
    let status = pods.get(pod).await?.status.unwrap_or_default();
    let statuses = status.container_statuses.unwrap_or_default();
    let found = statuses.into_iter().find(|c| c.name == container);
    let id = found.and_then(|c| c.container_id);
    let id = id.as_deref().and_then(|id| id.strip_prefix("containerd://"));
    Ok(id
        .with_context(|| format!("pod {namespace}/{pod} has no running container {container}"))?
        .to_owned())
}
