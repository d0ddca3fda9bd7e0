//! The operator's pods on a node.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, LogParams};
use testkit::Node;
use testkit::node::Container;
use testkit::wait::eventually;
use testkit::world::{ACCOUNT, NAMESPACE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a pod may take to be ready: a second, and more on a busy machine.
pub(crate) const READY: Duration = Duration::from_secs(120);

/// Which pods are the operator's.
const SELECTOR: &str = "app.kubernetes.io/component=operator";
/// Name of the container.
const CONTAINER: &str = "operator";
/// Where the operator answers probes.
const PROBES: u16 = 8081;
/// How long it may take until another operator leads after one that was killed: the Lease has to run out.
const LEADS: Duration = Duration::from_secs(60);
/// Pause between two looks when a start is timed.
const LOOK: Duration = Duration::from_millis(5);

/// The pods of the chart's Deployment.
pub struct OperatorPods<'a> {
    node: &'a Node,
}

/// The operator that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Name of its pod.
    pub pod: String,
    /// What the Lease says: the pod's name, and digits that differ with each start.
    holder: String,
}

impl<'a> OperatorPods<'a> {
    /// Those of a node.
    pub fn on(node: &'a Node) -> Self {
        Self { node }
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.node.plane().client(), NAMESPACE)
    }

    /// All of them.
    pub async fn all(&self) -> Result<Vec<Pod>> {
        Ok(self
            .api()
            .list(&ListParams::default().labels(SELECTOR))
            .await?
            .items)
    }

    /// The process of the operator in that pod.
    pub async fn container(&self, pod: &str) -> Result<Container> {
        self.node.container(NAMESPACE, pod, CONTAINER).await
    }

    /// Waits until an operator leads that is in a pod of now.
    pub async fn leader(&self) -> Result<Leader> {
        self.next_leader("").await
    }

    /// Waits until another one leads.
    pub async fn leader_after(&self, old: &Leader) -> Result<Leader> {
        self.next_leader(&old.holder).await
    }

    async fn next_leader(&self, old: &str) -> Result<Leader> {
        let leases: Api<Lease> = Api::namespaced(self.node.plane().client(), NAMESPACE);
        eventually("an operator leads", LEADS, async || {
            let lease = leases.get_opt(ACCOUNT).await?;
            let holder = lease.and_then(|l| l.spec).and_then(|s| s.holder_identity);
            let Some(holder) = holder.filter(|h| !h.is_empty() && h != old) else {
                return Ok(None);
            };
            let names = self.all().await?.into_iter().filter_map(|pod| pod.metadata.name);
            let pod = names
                .into_iter()
                .find(|name| holder.starts_with(&format!("{name}_")));
            Ok(pod.map(|pod| Leader { pod, holder }))
        })
        .await
    }

    /// Kills the operator that leads (SIGKILL); answers which one it was.
    pub async fn kill_leader(&self) -> Result<Leader> {
        let leader = self.leader().await?;
        self.container(&leader.pod).await?.kill()?;
        Ok(leader)
    }

    /// Deletes the pod that leads, waits until another one leads.
    pub async fn replace_leader(&self) -> Result<Leader> {
        let leader = self.leader().await?;
        self.api().delete(&leader.pod, &DeleteParams::default()).await?;
        self.leader_after(&leader).await
    }

    /// The logs of all pods that have one.
    pub async fn log(&self) -> Result<String> {
        let mut all = String::new();
        for pod in self.all().await? {
            let name = pod.metadata.name.unwrap_or_default();
            // One that is being made, or has just gone, has none.
            let log = self
                .api()
                .logs(&name, &LogParams::default())
                .await
                .unwrap_or_default();
            all.extend(log.lines().map(|line| format!("{name} {line}\n")));
        }
        Ok(all)
    }

    /// Deletes the only pod; how many seconds the process of the next one needs from its start until `/readyz` is true.
    pub async fn restart(&self) -> Result<f64> {
        let old = self.leader().await?.pod;
        self.api().delete(&old, &DeleteParams::default()).await?;
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
    async fn next(&self, old: &str) -> Result<Option<(Container, String)>> {
        for pod in self.all().await? {
            let name = pod.metadata.name.unwrap_or_default();
            let address = pod.status.and_then(|s| s.pod_ip);
            if name == old {
                continue;
            }
            if let (Some(address), Ok(container)) = (address, self.container(&name).await) {
                return Ok(Some((container, address)));
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
}
