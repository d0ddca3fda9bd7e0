//! The daemons of a node beside its control plane: how each is configured and started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::namespace::ADDRESS;
use super::{NAME, Namespace, requirements};
use crate::control_plane::ControlPlane;
use crate::process::{Process, Spec};
use crate::tools::Tools;

/// Where pods get their addresses from; the network of the whole cluster, and of its only node.
pub(crate) const POD_NETWORK: &str = "10.88.0.0/16";
const NODE_POD_NETWORK: &str = "10.88.0.0/24";
/// The service of the cluster's DNS.
pub(super) const DNS: &str = "10.96.0.10";
/// Where CoreDNS says that it is ready; inside.
pub(super) const DNS_READY: u16 = 8181;
/// Where containerd listens, as the kubelet sees it.
const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// What the daemons of one node share.
pub(super) struct Site<'a> {
    pub(super) folder: &'a Path,
    pub(super) tools: &'a Tools,
    pub(super) namespace: &'a Namespace,
}

impl Site<'_> {
    fn daemon(&self, name: &str) -> Spec {
        let path = format!("{}:{}", self.tools.folder().display(), requirements::FOLDERS);
        Spec::new(
            name,
            self.tools.path(name),
            self.folder.join(format!("{name}.log")),
        )
        .env("PATH", path)
        .through(self.namespace.whole())
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// containerd, with its pods' networks and where it finds registries.
    pub(super) fn containerd(&self, pause: &str) -> Result<Process> {
        let networks = self.folder.join("networks");
        std::fs::create_dir_all(&networks)?;
        let network = json!({
            "cniVersion": "1.0.0", "name": "node", "plugins": [
                {
                    "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{ "subnet": NODE_POD_NETWORK }]],
                        "routes": [{ "dst": "0.0.0.0/0" }],
                    },
                },
                { "type": "portmap", "capabilities": { "portMappings": true } },
            ],
        });
        self.write("networks/10-node.conflist", &network.to_string())?;
        let (registries, tools) = (registries(self.folder), self.tools.folder());
        let config = format!(
            r#"version = 3
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{pause}"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{registries}"
[plugins."io.containerd.cri.v1.runtime"]
  # Without this pods don't start where root lacks CAP_SYS_RESOURCE.
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{tools}"]
    conf_dir = "{networks}"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    runtime_path = "{tools}/containerd-shim-runc-v2"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
"#,
            registries = registries.display(),
            tools = tools.display(),
            networks = networks.display(),
        );
        let config = self.write("containerd.toml", &config)?;
        Process::start(self.daemon("containerd").arg("--config").arg(config))
    }

    /// The kubelet, whose pods are in `cgroup`.
    pub(super) fn kubelet(&self, plane: &ControlPlane, cgroup: &str) -> Result<Process> {
        let authority = self.folder.join("kubelet-ca.crt");
        std::fs::write(&authority, plane.authority().certificate())?;
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": { "enabled": false },
                "webhook": { "enabled": true },
                "x509": { "clientCAFile": authority },
            },
            "authorization": { "mode": "Webhook" },
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroup,
            "clusterDNS": [DNS],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": format!("unix://{CONTAINERD}"),
            // The machine's disk and memory are not this node's to judge.
            "evictionHard": { "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
            "imageGCHighThresholdPercent": 100,
            "localStorageCapacityIsolation": false,
            "failCgroupV1": false,
            "failSwapOn": false,
            "nodeStatusUpdateFrequency": "3s",
            "registryPullQPS": 0,
            "resolvConf": "/dev/null",
            "serializeImagePulls": false,
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        });
        let config = self.write("kubelet.yaml", &serde_json::to_string_pretty(&config)?)?;
        let kubeconfig =
            plane.component_kubeconfig("kubelet", &format!("system:node:{NAME}"), Some("system:nodes"))?;
        let flags: [(&str, OsString); 4] = [
            ("--config", config.into()),
            ("--kubeconfig", kubeconfig.into()),
            ("--hostname-override", NAME.into()),
            ("--node-ip", ADDRESS.to_string().into()),
        ];
        let spec = flags
            .into_iter()
            .fold(self.daemon("kubelet"), |spec, (flag, value)| {
                spec.arg(flag).arg(value)
            });
        Process::start(spec)
    }

    /// What makes services reachable.
    pub(super) fn kube_proxy(&self, plane: &ControlPlane) -> Result<Process> {
        let kubeconfig = plane.component_kubeconfig("kube-proxy", "system:kube-proxy", None)?;
        let spec = self
            .daemon("kube-proxy")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--hostname-override", NAME, "--proxy-mode", "iptables"])
            .args(["--cluster-cidr", POD_NETWORK, "--conntrack-max-per-core", "0"])
            .args(["--iptables-min-sync-period", "100ms"])
            .args(["--metrics-bind-address", "127.0.0.1:10249"])
            .args(["--healthz-bind-address", "127.0.0.1:10256"]);
        Process::start(spec)
    }

    /// What gives pods a node.
    pub(super) fn scheduler(&self, plane: &ControlPlane) -> Result<Process> {
        let kubeconfig = plane.component_kubeconfig("kube-scheduler", "system:kube-scheduler", None)?;
        let spec = self
            .daemon("kube-scheduler")
            .through(self.namespace.network())
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--leader-elect=false", "--bind-address", "127.0.0.1"]);
        Process::start(spec)
    }

    /// The cluster's DNS. It knows the cluster's names only; there are no others here.
    pub(super) fn dns(&self, plane: &ControlPlane) -> Result<Process> {
        let kubeconfig = plane.component_kubeconfig("coredns", "coredns", Some("system:masters"))?;
        let config = format!(
            "cluster.local in-addr.arpa ip6.arpa {{
    bind {ADDRESS}
    errors
    ready 127.0.0.1:{DNS_READY}
    kubernetes {{
        kubeconfig {}
        ttl 1
    }}
}}
. {{
    bind {ADDRESS}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
",
            kubeconfig.display()
        );
        let config = self.write("Corefile", &config)?;
        let spec = self
            .daemon("coredns")
            .through(self.namespace.network())
            .arg("-conf")
            .arg(config);
        Process::start(spec)
    }
}

/// The folder in which containerd looks for how to speak to a registry, at each pull.
pub(super) fn registries(folder: &Path) -> PathBuf {
    folder.join("registries")
}

/// The service by which pods find [`Site::dns`], which is no pod.
pub(super) fn dns_service() -> String {
    let meta = json!({ "name": "kube-dns", "namespace": "kube-system" });
    let ports = json!([
        { "name": "dns", "port": 53, "protocol": "UDP" },
        { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
    ]);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": meta,
        "spec": { "clusterIP": DNS, "ports": ports },
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": ports,
        "metadata": {
            "name": "kube-dns", "namespace": "kube-system",
            "labels": { "kubernetes.io/service-name": "kube-dns" },
        },
        "endpoints": [{ "addresses": [ADDRESS], "conditions": { "ready": true } }],
    });
    format!("{service}\n---\n{slice}\n")
}
