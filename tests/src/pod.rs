//! The operator in a pod of a node, from the image that `Dockerfile` makes: the tests and the benchmark.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use testkit::node::{ADDRESS, Container, images};
use testkit::tools::workspace;
use testkit::wait::eventually;
use testkit::world::{ACCOUNT, NAMESPACE};
use testkit::{Image, Node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A name of the node's registry, for pods.
pub const REGISTRY: &str = "registry.gantry-system.svc.cluster.local:5000";

/// Where the operator answers probes.
const PROBES: u16 = 8081;
/// How long a pod may take to be ready: a second, and more on a busy machine.
const READY: Duration = Duration::from_secs(120);
/// Pause between two looks when a start is timed.
const LOOK: Duration = Duration::from_millis(5);

/// An image, and what its files take on a node.
pub struct OperatorImage {
    /// The image.
    pub image: Image,
    /// Bytes of all files.
    pub files: u64,
}

impl OperatorImage {
    /// Bytes that a node pulls.
    pub fn pulled(&self) -> u64 {
        self.image.blobs.iter().map(|b| b.bytes.len() as u64).sum()
    }
}

/// The image of the operator built at `program`: the same root file system as in `Dockerfile`, by the same script,
/// with the same user and entry point.
pub fn image(program: &Path) -> Result<OperatorImage> {
    let folder = testkit::folder("image")?;
    let named = folder.path().join("gantry-operator");
    std::fs::copy(program, &named).with_context(|| format!("cannot copy {}", program.display()))?;
    let root = folder.path().join("root");
    let output = Command::new(workspace().join("deploy/image/rootfs.sh"))
        .arg(&root)
        .arg(&named)
        .output()
        .context("cannot run deploy/image/rootfs.sh")?;
    if !output.status.success() {
        bail!(
            "deploy/image/rootfs.sh: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(OperatorImage {
        image: images::from_folder(&root, config()?)?,
        files: size(&root)?,
    })
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            size(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}

/// What the last stage of `Dockerfile` says about the container.
fn config() -> Result<Value> {
    let text = std::fs::read_to_string(workspace().join("Dockerfile"))?;
    let (_, last) = text.rsplit_once("\nFROM ").context("Dockerfile has no stages")?;
    let instruction = |name: &str| {
        let line = last
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.with_context(|| format!("the last stage of Dockerfile has no {name}"))
    };
    Ok(json!({
        "User": instruction("USER")?,
        "Env": [instruction("ENV")?],
        "Entrypoint": serde_json::from_str::<Value>(instruction("ENTRYPOINT")?)?,
    }))
}

/// The operator, running on a node in a namespace that admits only pods of Pod Security level "restricted".
pub struct OperatorPod<'a> {
    node: &'a Node,
}

impl<'a> OperatorPod<'a> {
    /// Deploys the operator, and waits until its pod is ready.
    pub async fn start(node: &'a Node, image: &OperatorImage) -> Result<Self> {
        let image = &image.image;
        node.registry().push("gantry", "test", image).await?;
        let reference = node.registry().reference("gantry", &image.digest());
        let rights = std::fs::read_to_string(workspace().join("deploy/rbac.yaml"))?;
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": NAMESPACE, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
        });
        let plane = node.plane();
        plane.apply_yaml(&namespace.to_string()).await?;
        plane.apply_yaml(&rights).await?;
        plane.apply_yaml(&registry_service()).await?;
        plane
            .apply_yaml(&deployment(node, &reference).to_string())
            .await?;
        let timeout = format!("--timeout={}s", READY.as_secs());
        let done = [
            "-n",
            NAMESPACE,
            "rollout",
            "status",
            "deployment/gantry",
            &timeout,
        ];
        if let Err(error) = node.kubectl(&done).await {
            let pods = node.kubectl(&["-n", NAMESPACE, "describe", "pods"]).await;
            return Err(error.context(pods.unwrap_or_default()));
        }
        Ok(Self { node })
    }

    /// Its process.
    pub async fn container(&self) -> Result<Container> {
        let pod = self.only().await?;
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        self.node.container(NAMESPACE, name, "gantry").await
    }

    /// Its log.
    pub async fn log(&self) -> Result<String> {
        self.node
            .kubectl(&["-n", NAMESPACE, "logs", "deployment/gantry"])
            .await
    }

    /// Deletes the pod; how many seconds the process of the next one needs from its start until `/readyz` is true.
    pub async fn restart(&self) -> Result<f64> {
        let old = self.only().await?["metadata"]["uid"].clone();
        let gone = [
            "-n",
            NAMESPACE,
            "delete",
            "pod",
            "--selector=app=gantry",
            "--wait=false",
        ];
        self.node.kubectl(&gone).await?;
        let deadline = Instant::now() + READY;
        loop {
            if let Some((container, address)) = self.next(&old).await?
                && self.is_ready(&address).await.unwrap_or(false)
            {
                return container.age();
            }
            if Instant::now() >= deadline {
                bail!("the operator's pod is not ready again after {READY:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Process and address of the pod that came after `old`, once there are.
    async fn next(&self, old: &Value) -> Result<Option<(Container, String)>> {
        let pods = self.pods().await?;
        for pod in pods.iter().filter(|p| p["metadata"]["uid"] != *old) {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let address = pod["status"]["podIP"].as_str();
            let container = self.node.container(NAMESPACE, name, "gantry").await;
            if let (Some(address), Ok(container)) = (address, container) {
                return Ok(Some((container, address.to_owned())));
            }
        }
        Ok(None)
    }

    async fn is_ready(&self, address: &str) -> Result<bool> {
        let to = format!("{address}:{PROBES}").parse()?;
        let mut stream = self.node.namespace().connect(to).await?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.split_whitespace().nth(1) == Some("200"))
    }

    async fn pods(&self) -> Result<Vec<Value>> {
        let pods = [
            "-n",
            NAMESPACE,
            "get",
            "pods",
            "--selector=app=gantry",
            "-o",
            "json",
        ];
        let mut list: Value = serde_json::from_str(&self.node.kubectl(&pods).await?)?;
        Ok(list["items"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default())
    }

    async fn only(&self) -> Result<Value> {
        eventually("there is one pod of the operator", READY, async || {
            let mut pods = self.pods().await?;
            Ok(if pods.len() == 1 { pods.pop() } else { None })
        })
        .await
    }
}

/// The service by which pods find the node's registry, which is no pod.
fn registry_service() -> String {
    let ports = json!([{ "name": "http", "port": 5000 }]);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "registry", "namespace": NAMESPACE },
        "spec": { "ports": ports },
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": ports,
        "metadata": {
            "name": "registry", "namespace": NAMESPACE, "labels": { "kubernetes.io/service-name": "registry" },
        },
        "endpoints": [{ "addresses": [ADDRESS], "conditions": { "ready": true } }],
    });
    format!("{service}\n---\n{slice}\n")
}

fn deployment(node: &Node, image: &str) -> Value {
    let labels = json!({ "app": "gantry" });
    let probe = |path: &str| json!({ "httpGet": { "path": path, "port": PROBES }, "periodSeconds": 1 });
    let container = json!({
        "name": "gantry",
        "image": image,
        "args": ["--plain-http", node.registry().host(), "--plain-http", REGISTRY],
        "env": [{ "name": "POD_NAMESPACE", "valueFrom": { "fieldRef": { "fieldPath": "metadata.namespace" } } }],
        "readinessProbe": probe("/readyz"),
        "livenessProbe": probe("/livez"),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": [{ "name": "cache", "mountPath": "/cache" }],
    });
    let pod = json!({
        "serviceAccountName": ACCOUNT,
        "securityContext": { "fsGroup": 65532 },
        "containers": [container],
        "volumes": [{ "name": "cache", "emptyDir": {} }],
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "gantry", "namespace": NAMESPACE },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": pod },
        },
    })
}
