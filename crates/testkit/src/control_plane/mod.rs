//! etcd, kube-apiserver and kube-controller-manager on free ports of loopback, ready in about three seconds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Request;
use tempfile::TempDir;

use crate::http_client::Target;
use crate::node::{self, Namespace};
use crate::pki::{Authority, Identity, client_config, signing_key};
use crate::port;
use crate::process::{Process, Spec};
use crate::tools::Tools;

mod access;
mod audit;
mod kubectl;
mod snapshot;

pub use crate::program::Output;
pub(crate) use access::kubeconfig;
pub use audit::{AuditEvent, AuditMark};
pub use snapshot::Snapshot;

/// How long etcd and the API server may take to be ready: 3 s on an idle machine, twenty times that where thirty compilers
/// run beside it.
const READY: Duration = Duration::from_secs(120);
/// How often a start is tried again when somebody took a port meanwhile.
const STARTS: usize = 4;
/// Where cluster IPs come from; nothing routes them.
const SERVICE_RANGE: &str = "10.96.0.0/16";
/// Where the API server of a node listens in the node's network.
const INSIDE: SocketAddr = SocketAddr::new(IpAddr::V4(node::ADDRESS), 6443);

/// What a control plane has.
#[derive(Clone, Debug)]
pub struct ControlPlaneOptions {
    /// Whether requests are logged at level Metadata ([`ControlPlane::audit`]). On by default.
    pub audit: bool,
    /// Whether kube-controller-manager runs (garbage collection by owner, default service accounts). On by
    /// default.
    pub controller_manager: bool,
    /// Further flags of kube-apiserver.
    pub api_server_args: Vec<String>,
    /// The node's network that it runs in; `None`: on 127.0.0.1. Set by [`node::Node::start`].
    pub namespace: Option<Arc<Namespace>>,
}

impl Default for ControlPlaneOptions {
    fn default() -> Self {
        Self {
            audit: true,
            controller_manager: true,
            api_server_args: Vec::new(),
            namespace: None,
        }
    }
}

/// A running control plane. Everything ends when it is dropped.
pub struct ControlPlane {
    // Declared in the order in which they are to end: clients before servers.
    controller_manager: Option<Mutex<Process>>,
    api_server: Mutex<Process>,
    etcd: Mutex<Process>,
    client: kube::Client,
    authority: Authority,
    admin: Identity,
    addr: SocketAddr,
    tools: Tools,
    folder: TempDir,
    _namespace: Option<Arc<Namespace>>,
}

/// What all starts of one control plane share.
struct Site {
    folder: TempDir,
    tools: Tools,
    authority: Authority,
    admin: Identity,
    namespace: Option<Arc<Namespace>>,
    /// Where the test process reaches the API server.
    addr: SocketAddr,
}

impl Site {
    fn daemon(&self, name: &str) -> Spec {
        let log = self.folder.path().join(format!("{name}.log"));
        let spec = Spec::new(name, self.tools.path(name), log);
        match &self.namespace {
            None => spec,
            Some(namespace) => spec.through(namespace.network()),
        }
    }

    /// Where the other components reach the API server.
    fn inner_addr(&self) -> SocketAddr {
        match self.namespace {
            None => self.addr,
            Some(_) => INSIDE,
        }
    }
}

impl ControlPlane {
    /// Starts a control plane and waits until `/readyz` is true.
    pub async fn start(options: ControlPlaneOptions) -> Result<Self> {
        let tools = Tools::find()?;
        let mut tries = 1;
        loop {
            match Self::try_start(&tools, &options).await {
                Ok(plane) => return Ok(plane),
                Err(error) if tries < STARTS && is_collision(&error) => tries += 1,
                Err(error) => return Err(error.context("cannot start a control plane")),
            }
        }
    }

    async fn try_start(tools: &Tools, options: &ControlPlaneOptions) -> Result<Self> {
        let authority = Authority::new("gantry-test")?;
        let admin = authority.client("admin", Some("system:masters"))?;
        let addr = match &options.namespace {
            None => SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?)),
            Some(namespace) => namespace.forward(INSIDE).await?,
        };
        let site = Site {
            folder: crate::folder("control-plane")?,
            tools: tools.clone(),
            authority,
            admin,
            namespace: options.namespace.clone(),
            addr,
        };
        let (etcd, etcd_url) = start_etcd(&site)?;
        let api_server = start_api_server(&site, options, &etcd_url)?;
        let kubeconfig = write_kubeconfig(&site, "admin", addr, &site.admin)?;
        let client = access::client(&kubeconfig).await?;
        await_ready(&site, addr, &[&etcd, &api_server]).await?;
        let controller_manager = if options.controller_manager {
            Some(Mutex::new(start_controller_manager(&site)?))
        } else {
            None
        };
        let Site {
            folder,
            tools,
            authority,
            admin,
            namespace,
            addr,
        } = site;
        let (api_server, etcd) = (Mutex::new(api_server), Mutex::new(etcd));
        Ok(Self {
            controller_manager,
            api_server,
            etcd,
            client,
            authority,
            admin,
            addr,
            tools,
            folder,
            _namespace: namespace,
        })
    }

    /// A client with all rights.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Where the API server listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// URL of the API server.
    pub fn url(&self) -> String {
        format!("https://{}", self.addr)
    }

    /// The tools it runs with.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The authority that signed all certificates.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Its folder: logs, kubeconfigs, data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// CPU time used by kube-apiserver since its last start, in seconds.
    pub fn api_cpu_seconds(&self) -> Result<f64> {
        self.api_server().cpu_seconds()
    }

    /// Resident memory of kube-apiserver, in bytes.
    pub fn api_rss(&self) -> Result<u64> {
        self.api_server().rss()
    }

    /// Freezes etcd: writes hang, and after a while reads too.
    pub fn stop_etcd(&self) -> Result<()> {
        self.etcd().freeze()
    }

    /// Lets etcd go on.
    pub fn cont_etcd(&self) -> Result<()> {
        self.etcd().thaw()
    }

    /// Freezes kube-apiserver: connections stay open, nothing is answered.
    pub fn stop_api_server(&self) -> Result<()> {
        self.api_server().freeze()
    }

    /// Lets kube-apiserver go on.
    pub fn cont_api_server(&self) -> Result<()> {
        self.api_server().thaw()
    }

    /// Kills kube-apiserver. [`ControlPlane::restart_api_server`] brings it back.
    pub fn kill_api_server(&self) -> Result<()> {
        self.api_server().kill()
    }

    /// Kills kube-apiserver if it runs, starts it again on the same port, and waits until it is ready.
    pub async fn restart_api_server(&self) -> Result<()> {
        {
            let mut process = self.api_server();
            process.kill()?;
            *process = Process::start(process.spec().clone())?;
        }
        let deadline = Instant::now() + READY;
        let probe = ready_probe(&self.authority, &self.admin, self.addr)?;
        while !is_ready(&probe).await {
            if Instant::now() >= deadline || !self.api_server().is_running() {
                let log = self.api_server().log_tail();
                bail!("kube-apiserver is not ready again after {READY:?}; the end of its log:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn api_server(&self) -> MutexGuard<'_, Process> {
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn etcd(&self) -> MutexGuard<'_, Process> {
        self.etcd.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a start failed because a port was taken.
fn is_collision(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("address already in use")
}

fn start_etcd(site: &Site) -> Result<(Process, String)> {
    let at = site.folder.path();
    let url = format!("http://127.0.0.1:{}", port::free()?);
    let peer = format!("http://127.0.0.1:{}", port::free()?);
    let spec = site
        .daemon("etcd")
        .arg("--data-dir")
        .arg(at.join("etcd"))
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ])
        .arg("--initial-cluster")
        .arg(format!("default={peer}"))
        .args([
            "--unsafe-no-fsync",
            "--log-level",
            "error",
            "--quota-backend-bytes",
            "4294967296",
        ]);
    Ok((Process::start(spec)?, url))
}

fn start_api_server(site: &Site, options: &ControlPlaneOptions, etcd: &str) -> Result<Process> {
    let at = site.folder.path();
    let addr = site.inner_addr();
    let server = site
        .authority
        .server(&["10.96.0.1", "kubernetes.default.svc", &addr.ip().to_string()])?;
    let (key, public) = signing_key()?;
    write(&at.join("ca.crt"), site.authority.certificate())?;
    write(&at.join("server.crt"), &server.certificate)?;
    write(&at.join("server.key"), &server.key)?;
    write(&at.join("sa.key"), &key)?;
    write(&at.join("sa.pub"), &public)?;
    let mut spec = site
        .daemon("kube-apiserver")
        .args(["--etcd-servers", etcd, "--secure-port", &addr.port().to_string()])
        .args(["--advertise-address", &addr.ip().to_string()])
        .args(["--service-account-issuer", "https://kubernetes.default.svc"])
        .args(["--service-cluster-ip-range", SERVICE_RANGE])
        .args(["--allow-privileged", "--profiling=false"]);
    if site.namespace.is_none() {
        spec = spec
            .args([
                "--bind-address",
                "127.0.0.1",
                "--endpoint-reconciler-type",
                "none",
            ])
            .args(["--authorization-mode", "RBAC"]);
    } else {
        let kubelets = site.authority.client("kube-apiserver", Some("system:masters"))?;
        write(&at.join("kubelets.crt"), &kubelets.certificate)?;
        write(&at.join("kubelets.key"), &kubelets.key)?;
        spec = spec
            .args(["--bind-address", "0.0.0.0", "--authorization-mode", "Node,RBAC"])
            .args(["--enable-admission-plugins", "NodeRestriction"])
            .args(["--kubelet-preferred-address-types", "InternalIP"])
            .arg("--kubelet-client-certificate")
            .arg(at.join("kubelets.crt"))
            .arg("--kubelet-client-key")
            .arg(at.join("kubelets.key"));
    }
    for (flag, file) in [
        ("--tls-cert-file", "server.crt"),
        ("--tls-private-key-file", "server.key"),
        ("--client-ca-file", "ca.crt"),
        ("--service-account-key-file", "sa.pub"),
        ("--service-account-signing-key-file", "sa.key"),
    ] {
        spec = spec.arg(flag).arg(at.join(file));
    }
    if options.audit {
        write(&at.join("audit-policy.yaml"), audit::POLICY)?;
        spec = spec
            .arg("--audit-policy-file")
            .arg(at.join("audit-policy.yaml"))
            .arg("--audit-log-path")
            .arg(at.join(audit::FILE))
            // Never rotated: a reader's mark stays valid.
            .args(["--audit-log-maxsize", "100000", "--audit-log-mode", "blocking"]);
    }
    Process::start(spec.args(options.api_server_args.clone()))
}

fn start_controller_manager(site: &Site) -> Result<Process> {
    let at = site.folder.path();
    let identity = site.authority.client("system:kube-controller-manager", None)?;
    let kubeconfig = write_kubeconfig(site, "controller-manager", site.inner_addr(), &identity)?;
    let mut spec = site
        .daemon("kube-controller-manager")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("--service-account-private-key-file")
        .arg(at.join("sa.key"))
        .arg("--root-ca-file")
        .arg(at.join("ca.crt"))
        .args(["--use-service-account-credentials", "--leader-elect=false"])
        .args(["--bind-address", "127.0.0.1", "--secure-port", "0"]);
    if site.namespace.is_some() {
        write(&at.join("ca.key"), &site.authority.key())?;
        spec = spec
            .args(["--allocate-node-cidrs", "--cluster-cidr", node::POD_NETWORK])
            .arg("--cluster-signing-cert-file")
            .arg(at.join("ca.crt"))
            .arg("--cluster-signing-key-file")
            .arg(at.join("ca.key"));
    }
    Process::start(spec)
}

fn write_kubeconfig(site: &Site, name: &str, addr: SocketAddr, identity: &Identity) -> Result<PathBuf> {
    let path = site.folder.path().join(format!("{name}.kubeconfig"));
    let user = access::certificate_user(identity);
    write(
        &path,
        &kubeconfig(&format!("https://{addr}"), site.authority.certificate(), &user)?,
    )?;
    Ok(path)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn ready_probe(authority: &Authority, admin: &Identity, addr: SocketAddr) -> Result<Target> {
    Ok(Target {
        addr,
        tls: Some(client_config(authority.certificate(), Some(admin))?),
    })
}

async fn is_ready(probe: &Target) -> bool {
    let Ok(request) = Request::get("/readyz").body(Bytes::new()) else {
        return false;
    };
    matches!(probe.send(request).await, Ok(answer) if answer.status().is_success())
}

async fn await_ready(site: &Site, addr: SocketAddr, processes: &[&Process]) -> Result<()> {
    let probe = ready_probe(&site.authority, &site.admin, addr)?;
    let deadline = Instant::now() + READY;
    while !is_ready(&probe).await {
        for process in processes {
            if let Some(status) = process.exit_status() {
                bail!(
                    "{} ended with {status}; the end of its log:\n{}",
                    process.name(),
                    process.log_tail()
                );
            }
        }
        if Instant::now() >= deadline {
            let logs: Vec<String> = processes
                .iter()
                .map(|p| format!("{}:\n{}", p.name(), p.log_tail()))
                .collect();
            bail!(
                "the API server is not ready after {READY:?}; the ends of the logs:\n{}",
                logs.join("\n")
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
