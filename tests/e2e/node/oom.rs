//! A memory limit that an upgrade does not fit into: the kernel kills the operator in the middle of it, as often as it is
//! tried. With more memory it ends as if nothing had happened, and meanwhile nothing is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gantry_tests::image::REGISTRY;
use gantry_tests::pod::OperatorPods;
use serde_json::{Value, json};
use testkit::wait::eventually;
use testkit::world::NAMESPACE;
use testkit::{Node, PackageFixture, synthetic};

/// How long what takes seconds may take on a busy machine; a container that was killed twice is started after 20 s only.
const SOON: Duration = Duration::from_secs(150);
/// The package, and the group of its CRDs.
const NAME: &str = "heavy";
const GROUP: &str = "heavy.example.org";
/// CRDs of the package; all of them differ between its versions.
const CRDS: usize = 6;
/// Bytes of one CRD as YAML: near to what etcd takes, and taken apart it needs many times as much.
const BYTES: usize = 600_000;
/// Memory beyond what the idle operator needs, in MiB: from the first that is too little for the upgrade on.
const ROOM: [u64; 4] = [16, 11, 8, 6];

/// Upgrades a package under a memory limit that is too small, and raises the limit afterwards.
pub(super) async fn an_upgrade_that_does_not_fit_into_memory(
    node: &Node,
    operator: &OperatorPods<'_>,
) -> Result<()> {
    for version in [1, 2] {
        let label = format!("v{version}");
        let objects = (0..CRDS).map(|n| synthetic::crd(GROUP, &format!("Thing{n}"), BYTES, Some(&label)));
        let fixture = PackageFixture::provider(NAME).version_label(&label);
        let image = objects.fold(fixture, PackageFixture::object).build()?;
        node.registry().push(NAME, &label, &image).await?;
    }
    ask_for(node, 1).await?;
    serves(node, 1).await.context("without a limit")?;
    let kept = json!({
        "apiVersion": format!("{GROUP}/v1beta1"), "kind": "Thing0", "metadata": { "name": "precious" },
        "spec": { "providerConfigRef": { "name": "default" } },
    });
    node.plane().apply_yaml(&kept.to_string()).await?;
    let before = identities(node).await?;

    let (mut now, mut killed) = (1, None);
    for room in ROOM {
        operator.restart().await?;
        let idle = operator
            .container(&operator.leader().await?.pod)
            .await?
            .anonymous()?
            >> 20;
        limit(node, &format!("{}Mi", idle + room)).await?;
        let next = 3 - now;
        ask_for(node, next).await?;
        // Either it is killed, or it fits.
        let ended = eventually("the operator is killed, or ready with it", SOON, async || {
            let oom = killed_for_memory(node).await?;
            Ok((oom || is_ready(node, next).await?).then_some(oom))
        });
        let ended = ended.await.with_context(|| format!("with {} MiB", idle + room))?;
        println!(
            "{idle} MiB idle and {room} more: {}",
            if ended {
                "OOMKilled in the upgrade"
            } else {
                "enough"
            }
        );
        now = next;
        if ended {
            killed = Some(idle + room);
            break;
        }
    }
    killed.context("every limit was enough for the upgrade")?;
    ensure!(!is_ready(node, now).await?, "it was killed after the upgrade");
    ensure!(
        identities(node).await? == before,
        "something was lost, or made twice"
    );

    // More memory, and the version is there.
    limit(node, "512Mi").await?;
    serves(node, now).await.context("with more memory")?;
    ensure!(
        identities(node).await? == before,
        "something was lost, or made twice"
    );
    let revisions = list(node, "providerrevisions").await?;
    let of_it = revisions
        .iter()
        .filter(|r| r["metadata"]["labels"]["pkg.crossplane.io/package"] == NAME);
    let active: Vec<&Value> = of_it
        .clone()
        .filter(|r| r["spec"]["desiredState"] == "Active")
        .collect();
    ensure!(of_it.count() == 2 && active.len() == 1, "{revisions:#?}");
    for crd in crds(node).await? {
        let version = &crd["metadata"]["labels"]["example.org/version"];
        ensure!(
            *version == format!("v{now}").as_str(),
            "{} is of {version}",
            crd["metadata"]["name"]
        );
        let owners = crd["metadata"]["ownerReferences"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let controller = owners.iter().find(|o| o["controller"] == true);
        let controller = controller.map(|o| &o["uid"]);
        ensure!(controller == Some(&active[0]["metadata"]["uid"]), "{owners:#?}");
    }
    Ok(())
}

/// Gives the operator's container a limit; answers when the pod that has it is ready.
async fn limit(node: &Node, memory: &str) -> Result<()> {
    let limits = format!("--limits=memory={memory}");
    node.kubectl(&[
        "-n",
        NAMESPACE,
        "set",
        "resources",
        "deployment/gantry-operator",
        &limits,
        "--requests=memory=1Mi",
    ])
    .await?;
    let timeout = format!("--timeout={}s", SOON.as_secs());
    let rollout = [
        "-n",
        NAMESPACE,
        "rollout",
        "status",
        "deployment/gantry-operator",
        &timeout,
    ];
    let ready = node.kubectl(&rollout).await;
    ready
        .with_context(|| format!("an idle operator with {memory}"))
        .map(drop)
}

/// Whether the container's last end was one for want of memory.
async fn killed_for_memory(node: &Node) -> Result<bool> {
    let ended = [
        "-n",
        NAMESPACE,
        "get",
        "pods",
        "--selector=app.kubernetes.io/component=operator",
        "-o",
        "jsonpath={.items[*].status.containerStatuses[*].lastState.terminated.reason} \
         {.items[*].status.containerStatuses[*].state.terminated.reason}",
    ];
    Ok(node.kubectl(&ended).await?.contains("OOMKilled"))
}

async fn ask_for(node: &Node, version: usize) -> Result<()> {
    let provider = json!({
        "apiVersion": "pkg.crossplane.io/v1", "kind": "Provider", "metadata": { "name": NAME },
        "spec": { "package": format!("{}/{NAME}:v{version}", REGISTRY) },
    });
    node.plane().apply_yaml(&provider.to_string()).await
}

async fn serves(node: &Node, version: usize) -> Result<()> {
    let what = format!("v{version} serves");
    eventually(&what, SOON, async || {
        Ok(is_ready(node, version).await?.then_some(()))
    })
    .await
}

async fn is_ready(node: &Node, version: usize) -> Result<bool> {
    let package = node.kubectl(&["get", "provider", NAME, "-o", "json"]).await?;
    let package: Value = serde_json::from_str(&package)?;
    let status = &package["status"];
    let asked = format!("{}/{NAME}:v{version}", REGISTRY);
    Ok(status["currentIdentifier"] == asked
        && status["servingRevision"] == status["currentRevision"]
        && status["observedGeneration"] == package["metadata"]["generation"]
        && testkit::world::condition_of(&package, "Ready")["status"] == "True")
}

async fn list(node: &Node, kind: &str) -> Result<Vec<Value>> {
    let mut list: Value = serde_json::from_str(&node.kubectl(&["get", kind, "-o", "json"]).await?)?;
    Ok(list["items"]
        .as_array_mut()
        .map(std::mem::take)
        .unwrap_or_default())
}

async fn crds(node: &Node) -> Result<Vec<Value>> {
    let mut crds = list(node, "customresourcedefinitions").await?;
    crds.retain(|crd| crd["spec"]["group"] == GROUP);
    ensure!(crds.len() == CRDS, "{} CRDs", crds.len());
    Ok(crds)
}

/// UIDs of the CRDs and of the custom resource.
async fn identities(node: &Node) -> Result<BTreeMap<String, Value>> {
    let mut all = crds(node).await?;
    let kind = format!("thing0s.{GROUP}");
    all.push(serde_json::from_str(
        &node.kubectl(&["get", &kind, "precious", "-o", "json"]).await?,
    )?);
    let uid = |object: &Value| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        (name, object["metadata"]["uid"].clone())
    };
    Ok(all.iter().map(uid).collect())
}
