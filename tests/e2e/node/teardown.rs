//! A node leaves nothing: not when it is stopped, and not when the process that started it is killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use testkit::wait::eventually;
use testkit::{Node, NodeOptions, run};

/// How long the kernel and the janitors may take.
const GONE: Duration = Duration::from_secs(30);
/// Set in the process that is killed.
const OWNER: &str = "GANTRY_TEST_NODE_OWNER";
/// Settings of the whole machine that a kubelet changes.
const SETTINGS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// What there is of a node on the machine.
#[derive(Debug, Deserialize, Serialize)]
struct Traces {
    network: PathBuf,
    folder: PathBuf,
    cgroups: Vec<PathBuf>,
}

impl Traces {
    fn of(node: &Node) -> Result<Self> {
        Ok(Self {
            network: std::fs::read_link(format!("/proc/{}/ns/net", node.namespace().pid()))?,
            folder: node.folder().to_owned(),
            cgroups: node.cgroup_folders().to_vec(),
        })
    }

    /// Processes in its network or, as pods have networks of their own, in its control groups.
    fn processes(&self) -> Result<Vec<String>> {
        let group = self
            .cgroups
            .first()
            .and_then(|g| g.file_name())
            .context("no control group")?;
        let group = group.to_string_lossy();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let path = entry?.path();
            let groups = std::fs::read_to_string(path.join("cgroup")).unwrap_or_default();
            let network = std::fs::read_link(path.join("ns/net"));
            if groups.contains(&*group) || network.is_ok_and(|n| n == self.network) {
                let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
                found.push(format!("{} {}", path.display(), name.trim()));
            }
        }
        Ok(found)
    }

    /// What is left, in words.
    fn left(&self) -> Result<Vec<String>> {
        let mut left = self.processes()?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let folder = self.folder.to_string_lossy();
        left.extend(mounts.lines().filter(|m| m.contains(&*folder)).map(str::to_owned));
        let paths = self.cgroups.iter().chain([&self.folder]);
        left.extend(paths.filter(|p| p.exists()).map(|p| p.display().to_string()));
        Ok(left)
    }
}

fn settings() -> BTreeMap<&'static str, Option<String>> {
    let read = |name| std::fs::read_to_string(format!("/proc/sys/{name}")).ok();
    SETTINGS.into_iter().map(|name| (name, read(name))).collect()
}

/// The machine's interfaces, routes and named networks.
fn networks() -> Result<String> {
    let mut all = String::new();
    for args in [&["-brief", "link"][..], &["route"], &["netns", "list"]] {
        let output = Command::new("ip").args(args).output().context("cannot run ip")?;
        all.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    Ok(all)
}

/// A node with a running pod.
async fn busy_node() -> Result<Node> {
    let node = Node::start(NodeOptions::default()).await?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "sleeper", "namespace": "default" },
        "spec": { "containers": [{ "name": "only", "image": node.busybox(), "args": ["sleep", "1000"] }] },
    });
    node.plane().apply_yaml(&pod.to_string()).await?;
    node.kubectl(&["wait", "pod/sleeper", "--for=condition=Ready", "--timeout=60s"])
        .await?;
    Ok(node)
}

#[test]
#[ignore = "needs root on Linux: make test-node"]
fn nothing_is_left_of_a_node_that_was_stopped() -> Result<()> {
    run(async {
        let before = (settings(), networks()?);
        // Of an owner that died together with whoever was to clean up; there is no such process id.
        let root = PathBuf::from("/sys/fs/cgroup");
        let version_1 = root.join("pids");
        let stale = if version_1.exists() { version_1 } else { root }.join("gantry-node-4194305-1-0");
        std::fs::create_dir_all(stale.join("kubepods"))?;
        let node = busy_node().await?;
        assert!(!stale.exists(), "{} is still there", stale.display());
        let traces = Traces::of(&node)?;
        let inside = traces.processes()?;
        for daemon in [
            "kubelet",
            "containerd",
            "containerd-shim",
            "kube-apiserver",
            "busybox",
        ] {
            assert!(
                inside.iter().any(|p| p.contains(daemon)),
                "{daemon} is not among {inside:?}"
            );
        }
        assert!(traces.left()?.len() > 2, "{traces:?}");
        // Also with a kubelet that was killed meanwhile.
        node.kubelet().kill()?;
        node.restart_kubelet()?;
        node.await_ready().await?;
        assert_eq!((settings(), networks()?), before, "the machine was changed");
        node.stop()?;
        assert_eq!(traces.left()?, [""; 0]);
        assert_eq!((settings(), networks()?), before, "the machine was changed");
        Ok(())
    })
}

#[test]
#[ignore = "needs root on Linux: make test-node"]
fn nothing_is_left_of_a_node_whose_owner_was_killed() -> Result<()> {
    let before = (settings(), networks()?);
    let mut owner = Command::new(std::env::current_exe()?)
        .args(["--exact", "node::teardown::owner", "--ignored", "--nocapture"])
        .env(OWNER, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(owner.stdout.take().context("no output")?);
    let found = output
        .lines()
        .find_map(|line| serde_json::from_str::<Traces>(&line.ok()?).ok());
    owner.kill()?;
    owner.wait()?;
    let traces = found.context("the owner did not start a node")?;
    run(async {
        eventually("nothing is left", GONE, async || {
            Ok(traces.left()?.is_empty().then_some(()))
        })
        .await
        .with_context(|| format!("left: {:?}", traces.left()))
    })?;
    assert_eq!((settings(), networks()?), before, "the machine was changed");
    Ok(())
}

/// Not a test by itself: the process that the test above kills.
#[test]
#[ignore = "needs root on Linux: make test-node"]
fn owner() -> Result<()> {
    if std::env::var_os(OWNER).is_none() {
        return Ok(());
    }
    run(async {
        let node = busy_node().await?;
        println!("\n{}", serde_json::to_string(&Traces::of(&node)?)?);
        std::future::pending::<()>().await;
        Ok(())
    })
}
