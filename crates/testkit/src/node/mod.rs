//! A whole node: what a control plane lacks to run pods. Needs root on Linux.
//!
//! Everything is inside namespaces of its own ([`Namespace`]): a network without uplink, the processes of
//! containerd, the kubelet and all pods, and what they mount. Outside are only directories of control groups
//! ([`cgroup`]), a folder, and forwarded ports of 127.0.0.1 by which the test process reaches the API server
//! and the registry. No setting of the machine changes. When the node is dropped, or the test process dies in
//! whatever way, the kernel ends all of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Request;
use k8s_openapi::api::core::v1::{Node as NodeObject, ServiceAccount};
use kube::api::Api;
use tempfile::TempDir;

use crate::control_plane::{ControlPlane, ControlPlaneOptions};
use crate::http_client::Target;
use crate::process::Process;
use crate::registry::{Registry, RegistryOptions};
use crate::tools::Tools;
use crate::wait::eventually;

mod cgroup;
mod container;
mod daemons;
pub mod images;
mod namespace;
mod requirements;

pub use container::Container;
pub(crate) use daemons::POD_NETWORK;
pub use namespace::{ADDRESS, Namespace};

use cgroup::Cgroup;
use daemons::Site;

/// The node's name in the cluster.
pub const NAME: &str = "n1";

/// How long the node may take to be ready after its control plane is: 2 s on an idle machine.
const READY: Duration = Duration::from_secs(60);
/// The port of its registry.
const REGISTRY_PORT: u16 = 5000;

/// What a node has.
#[derive(Clone, Debug, Default)]
pub struct NodeOptions {
    /// Its control plane.
    pub control_plane: ControlPlaneOptions,
}

/// A running node. Everything ends when it is dropped.
pub struct Node {
    daemons: Daemons,
    registry: Registry,
    plane: ControlPlane,
    busybox: String,
    namespace: Arc<Namespace>,
    cgroup: Cgroup,
    folder: TempDir,
}

struct Daemons {
    kubelet: Mutex<Process>,
    containerd: Mutex<Process>,
    others: Vec<Process>,
}

impl Node {
    /// Starts a node and waits until it is Ready, pods can be made, and names of services resolve.
    ///
    /// # Errors
    /// When this machine can't have one; the message says what is missing.
    pub async fn start(options: NodeOptions) -> Result<Self> {
        let tools = requirements::check()?;
        Self::try_start(&tools, options)
            .await
            .context("cannot start a node")
    }

    async fn try_start(tools: &Tools, options: NodeOptions) -> Result<Self> {
        let folder = crate::folder("node")?;
        let cgroup = Cgroup::new()?;
        let namespace = Arc::new(Namespace::start(folder.path()).await?);
        let site = Site {
            folder: folder.path(),
            tools,
            namespace: &namespace,
        };
        let early = async {
            let options = RegistryOptions {
                inside: Some((namespace.clone(), REGISTRY_PORT)),
                ..RegistryOptions::default()
            };
            let registry = Registry::start(options).await?;
            trust(folder.path(), &registry)?;
            let pause = registry.push("pause", "1", &images::pause()?).await?;
            let busybox = registry.push("busybox", "1", &images::busybox()?).await?;
            Ok((site.containerd(&pause)?, busybox, registry))
        };
        let mut control_plane = options.control_plane;
        control_plane.namespace = Some(namespace.clone());
        let (plane, (containerd, busybox, registry)) =
            tokio::try_join!(ControlPlane::start(control_plane), early)?;
        let kubelet = site.kubelet(&plane, &cgroup.path())?;
        let others = vec![
            site.scheduler(&plane)?,
            site.dns(&plane)?,
            site.kube_proxy(&plane)?,
        ];
        plane.apply_yaml(&daemons::dns_service()).await?;
        let node = Self {
            daemons: Daemons {
                kubelet: Mutex::new(kubelet),
                containerd: Mutex::new(containerd),
                others,
            },
            registry,
            plane,
            busybox,
            namespace,
            cgroup,
            folder,
        };
        node.await_ready().await?;
        Ok(node)
    }

    /// Waits until the node is Ready, pods can be made, and names of services resolve.
    pub async fn await_ready(&self) -> Result<()> {
        let dns = self
            .namespace
            .forward(([127, 0, 0, 1], daemons::DNS_READY).into())
            .await?;
        let dns = Target { addr: dns, tls: None };
        let nodes: Api<NodeObject> = Api::all(self.plane.client());
        let accounts: Api<ServiceAccount> = Api::default_namespaced(self.plane.client());
        let ready = eventually("the node is ready", READY, async || {
            self.all_run()?;
            let node = nodes.get_opt(NAME).await.ok().flatten();
            let conditions = node.and_then(|n| n.status).and_then(|s| s.conditions);
            let ready = conditions
                .unwrap_or_default()
                .iter()
                .any(|c| c.type_ == "Ready" && c.status == "True");
            // Pods are refused until their namespace has its default account.
            let ready = ready && accounts.get_opt("default").await.is_ok_and(|a| a.is_some());
            let answer = dns.send(Request::get("/ready").body(Bytes::new())?).await;
            let ready = ready && answer.is_ok_and(|a| a.status().is_success());
            Ok(ready.then_some(()))
        });
        match ready.await {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(self.log_tails())),
        }
    }

    fn all_run(&self) -> Result<()> {
        let (kubelet, containerd) = (self.kubelet(), self.containerd());
        for daemon in self.daemons.others.iter().chain([&*kubelet, &*containerd]) {
            if let Some(status) = daemon.exit_status() {
                bail!("{} ended with {status}", daemon.name());
            }
        }
        Ok(())
    }

    /// The ends of the daemons' logs, for messages.
    pub fn log_tails(&self) -> String {
        let (kubelet, containerd) = (self.kubelet(), self.containerd());
        let all = self.daemons.others.iter().chain([&*containerd, &*kubelet]);
        all.map(|daemon| format!("--- {}\n{}\n", daemon.name(), daemon.log_tail()))
            .collect()
    }

    /// Its control plane: client, kubectl, helm, audit log.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// Its registry. References are as pods and containerd need them; [`Registry::push`] works from outside.
    /// An operator in a pod needs `--plain-http` with [`Registry::host`].
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Its namespaces.
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// Reference of an image with busybox: a container's `args` are the applet and its arguments. `/www` holds
    /// an `index.html` for `httpd`. It is linked statically: names are looked up by `nslookup` only, and of clients `nc`
    /// works.
    pub fn busybox(&self) -> &str {
        &self.busybox
    }

    /// Its folder: logs, configurations, `lib` (its `/var/lib`), `log` (its `/var/log`).
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The kubelet. `restart_kubelet` brings it back after a kill.
    pub fn kubelet(&self) -> MutexGuard<'_, Process> {
        self.daemons
            .kubelet
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// containerd. `restart_containerd` brings it back after a kill; containers go on without it.
    pub fn containerd(&self) -> MutexGuard<'_, Process> {
        self.daemons
            .containerd
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the kubelet if it runs, and starts it again.
    pub fn restart_kubelet(&self) -> Result<()> {
        restart(&mut self.kubelet())
    }

    /// Kills containerd if it runs, and starts it again.
    pub fn restart_containerd(&self) -> Result<()> {
        restart(&mut self.containerd())
    }

    /// Lets containerd pull from another registry in the node's network.
    pub fn trust(&self, registry: &Registry) -> Result<()> {
        trust(self.folder.path(), registry)
    }

    /// Runs kubectl with all rights, answers its standard output.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.plane.kubectl(args).await
    }

    /// The process of a running container, to look at and to signal.
    pub async fn container(&self, namespace: &str, pod: &str, container: &str) -> Result<Container> {
        let id = container::id(&self.plane, namespace, pod, container).await?;
        Container::new(&self.cgroup.processes(&format!("/{id}")))
            .with_context(|| format!("container {container} of {pod}"))
    }

    /// Directories of the machine's control groups that are this node's: they are gone when it has stopped.
    pub fn cgroup_folders(&self) -> &[PathBuf] {
        self.cgroup.folders()
    }

    /// Ends everything at once, and waits until nothing is left.
    ///
    /// # Errors
    /// When something is.
    pub fn stop(self) -> Result<()> {
        self.end()
    }

    fn end(&self) -> Result<()> {
        self.namespace.end()?;
        self.cgroup.remove()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // First what would notice that the rest goes; errors show in `stop`.
        self.end().ok();
    }
}

fn restart(process: &mut Process) -> Result<()> {
    process.kill()?;
    *process = Process::start(process.spec().clone())?;
    Ok(())
}

/// Tells containerd how to speak to a registry.
fn trust(folder: &Path, registry: &Registry) -> Result<()> {
    let at = daemons::registries(folder).join(registry.host());
    std::fs::create_dir_all(&at)?;
    let scheme = if registry.authority().is_some() {
        "https"
    } else {
        "http"
    };
    let mut hosts = format!(
        "[host.\"{scheme}://{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
        registry.host()
    );
    if let Some(authority) = registry.authority() {
        let path = at.join("ca.crt");
        std::fs::write(&path, authority.certificate())?;
        hosts.push_str(&format!("  ca = \"{}\"\n", path.display()));
    }
    std::fs::write(at.join("hosts.toml"), hosts).with_context(|| format!("cannot write {}", at.display()))
}
