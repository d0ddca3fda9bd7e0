//! Who runs the operator: the demonstration itself, or a node's kubelet, as a release of the chart says. The rest of the
//! story does not know.

use std::time::Instant;

use anyhow::Result;
use testkit::OperatorOptions;

use super::stage::Stage;
use crate::pod::{Leader, OperatorPods};

/// Pause between polls of tags, short so that nobody waits for it here.
pub(super) const POLL: &str = "5s";
/// The volume in which replicas share their content store.
pub(super) const STORE: &str = "store";

/// Where the story takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// An API server and a registry on loopback; the operator is a process beside them.
    Loopback,
    /// A whole node; the operator is in two pods, installed by Helm.
    Cluster,
}

impl Place {
    /// More commands for somebody who looks around.
    pub(super) fn commands(self) -> &'static str {
        match self {
            Self::Loopback => "",
            Self::Cluster => {
                "  kubectl -n gantry-system get pods,leases\n  \
                 kubectl -n gantry-system logs deployment/gantry-operator --all-pods --prefix\n  \
                 helm -n gantry-system list\n"
            }
        }
    }
}

impl Stage<'_> {
    /// Starts the operator as a process, in place of the one that runs, with the same content store.
    pub(super) async fn start_operator(&mut self) -> Result<()> {
        let options = OperatorOptions::new(&self.programs.operator, self.world.operator_kubeconfig())
            .store(self.folder().join("store"))
            .args(["--tag-poll-interval", POLL])
            .env("NO_PROXY", "127.0.0.1");
        self.world.replace_operator(Some(options)).await
    }

    /// Kills the operator that works; answers which one, where there are several.
    pub(super) async fn kill_operator(&mut self) -> Result<Option<Leader>> {
        match self.place {
            Place::Loopback => {
                self.spent += self.world.operator()?.cpu_seconds()?;
                self.world.operator()?.kill()?;
                self.note("The operator is killed.");
                Ok(None)
            }
            Place::Cluster => {
                let leader = OperatorPods::on(self.world.node()?).kill_leader().await?;
                self.note(&format!(
                    "The operator in pod {} is killed, which leads.",
                    leader.pod
                ));
                Ok(Some(leader))
            }
        }
    }

    /// Sees to it that an operator works after that one; answers who does since when.
    pub(super) async fn operator_after(&mut self, killed: &Option<Leader>) -> Result<String> {
        let begun = Instant::now();
        let who = match killed {
            None => {
                self.start_operator().await?;
                "Started again it was ready after".to_owned()
            }
            Some(killed) => {
                let next = OperatorPods::on(self.world.node()?).leader_after(killed).await?;
                format!("The operator in pod {} leads after", next.pod)
            }
        };
        Ok(format!("{who} {:.1} s", begun.elapsed().as_secs_f64()))
    }

    /// What the operator cost, as a sentence.
    // Gauges for a person; the precision of a float is enough.
    #[allow(clippy::cast_precision_loss, reason = "memory in MiB, for a person")]
    pub(super) async fn operator_cost(&self) -> Result<String> {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        match self.place {
            Place::Loopback => {
                let operator = self.world.operator()?;
                let cpu = self.spent + operator.cpu_seconds()?;
                let memory = mebibytes(operator.vm_hwm()?);
                Ok(format!(
                    "The operator (a debug build) used {cpu:.1} s of CPU in all; since its restart at most {memory:.0} MiB."
                ))
            }
            Place::Cluster => {
                let pods = OperatorPods::on(self.world.node()?);
                let mut memory = Vec::new();
                for name in pods.all().await?.into_iter().filter_map(|pod| pod.metadata.name) {
                    let resident = mebibytes(pods.container(&name).await?.rss()?);
                    memory.push(format!("{name} {resident:.0} MiB"));
                }
                Ok(format!(
                    "Resident memory (of a debug build): {}.",
                    memory.join(", ")
                ))
            }
        }
    }
}
