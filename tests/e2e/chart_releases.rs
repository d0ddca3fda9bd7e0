//! Releases of the chart, from an older version to nothing and back, with the operator running under exactly the rights
//! and flags that the chart gives it. Pods do not run here: the operator is a process of the test. Those with pods are in
//! `node/chart.rs`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::helm::VERSIONS;
use testkit::world::{ACCOUNT, NAMESPACE, USER, condition_of};
use testkit::{Helm, OperatorOptions, PackageFixture, World, WorldOptions, run};

use crate::OPERATOR;
use crate::scene::SOON;
use crate::state::nothing_was_forbidden;

/// Version of the older chart: lower than any.
const OLDER: &str = "0.0.1";
/// How long nothing may be written after an operator is ready again.
const QUIET: Duration = Duration::from_secs(2);
/// How long a second installation is watched for not leading.
const STANDS_BY: Duration = Duration::from_secs(3);

/// A release of the chart in one namespace.
struct Release<'a> {
    world: &'a World,
    helm: &'a Helm,
    namespace: &'static str,
}

impl Release<'_> {
    /// Runs a command of helm on this release.
    async fn helm(&self, command: &[&str], values: Option<&Value>) -> Result<String> {
        let mut args = command.to_vec();
        args.extend(["--namespace", self.namespace]);
        if values.is_some() {
            args.extend(["--values", "-"]);
        }
        self.helm.run(&args, values).await
    }

    /// The Deployment that is in the cluster.
    async fn deployment(&self) -> Result<Value> {
        let args = ["get", "deployment", ACCOUNT, "-n", self.namespace, "-o", "json"];
        Ok(serde_json::from_str(&self.world.plane().kubectl(&args).await?)?)
    }

    /// An operator as the Deployment says: its service account, its flags but for what differs on this machine.
    async fn operator(&self) -> Result<OperatorOptions> {
        let pod = &self.deployment().await?["spec"]["template"]["spec"];
        let account = pod["serviceAccountName"].as_str().context("a service account")?;
        // The token is made for the account that the chart made, not for one that is made here.
        let plane = self.world.plane();
        plane
            .kubectl(&["get", "serviceaccount", account, "-n", self.namespace])
            .await?;
        let kubeconfig = plane.service_account_kubeconfig(self.namespace, account).await?;
        let here = [
            "--namespace=",
            "--service-account=",
            "--xpkg-cache-dir=",
            "--metrics-",
            "--health-",
        ];
        let args = pod["containers"][0]["args"].as_array().context("flags")?.iter();
        let args = args.filter_map(Value::as_str).map(str::to_owned);
        let args = args.filter(|arg| !here.iter().any(|flag| arg.starts_with(flag)));
        let mut options = OperatorOptions::new(OPERATOR, kubeconfig)
            .args(args)
            .args(["--service-account", account]);
        self.namespace.clone_into(&mut options.namespace);
        Ok(options)
    }
}

/// Values that install a Provider.
fn values(reference: &str, replicas: u32) -> Value {
    json!({
        "replicas": replicas,
        "provider": { "packages": [{ "package": reference, "name": "nimbus", "revisionHistoryLimit": 5 }] },
    })
}

/// Waits until the Provider that [`values`] installs serves this reference.
pub(crate) async fn serves(world: &World, reference: &str) -> Result<Value> {
    let what = format!("the provider serves {reference}");
    world
        .wait_for("Provider", "nimbus", &what, SOON, |provider| {
            provider["spec"]["package"] == *reference
                && provider["status"]["currentIdentifier"] == *reference
                && condition_of(provider, "Ready")["status"] == "True"
                && provider["status"]["observedGeneration"] == provider["metadata"]["generation"]
        })
        .await
}

/// What must survive: UID and resource version of CRDs, packages and revisions.
pub(crate) async fn established(world: &World) -> Result<Vec<String>> {
    let mut all = vec![];
    for kind in [
        "CustomResourceDefinition",
        "Provider",
        "ProviderRevision",
        "ImageConfig",
    ] {
        for object in world.list(kind, "").await? {
            let meta = &object["metadata"];
            all.push(format!(
                "{kind} {} {} {}",
                meta["name"], meta["uid"], meta["resourceVersion"]
            ));
        }
    }
    Ok(all)
}

#[test]
fn what_was_installed_outlives_every_step_of_a_release() -> Result<()> {
    run(async {
        let options = WorldOptions {
            rights: false,
            ..WorldOptions::default()
        };
        let mut world = World::start(options).await?;
        let kubeconfig = world.plane().kubeconfig();
        for version in VERSIONS {
            let helm = Helm::new(version, Some(&kubeconfig))?;
            a_life(&mut world, &helm)
                .await
                .with_context(|| format!("with {version}"))?;
        }
        nothing_was_forbidden(&world)
    })
}

/// Install (older chart), upgrade with other values, roll back, a second release beside it, uninstall, install again.
async fn a_life(world: &mut World, helm: &Helm) -> Result<()> {
    let content = |version: &str| {
        PackageFixture::provider("nimbus")
            .version_label(version)
            .crd("nimbus.example.org", "Network")
    };
    let one = world.push("nimbus", "v1", &content("v1").build()?).await?;
    let two = world
        .push("nimbus", "v2", &content("v2").annotation("a", "2").build()?)
        .await?;
    let chart = Helm::chart();
    let folder = testkit::folder("chart")?;
    let place = folder.path().display().to_string();
    let packed = [
        "package",
        &chart,
        "--version",
        OLDER,
        "--app-version",
        OLDER,
        "--destination",
        &place,
    ];
    helm.run(&packed, None).await?;
    let older: PathBuf = folder.path().join(format!("gantry-{OLDER}.tgz"));
    let older = older.display().to_string();

    // An older chart, one replica.
    let release = Release {
        world,
        helm,
        namespace: NAMESPACE,
    };
    release
        .helm(
            &["install", "gantry", &older, "--create-namespace"],
            Some(&values(&one, 1)),
        )
        .await?;
    let operator = release.operator().await?;
    world.replace_operator(Some(operator)).await?;
    let provider = serves(world, &one).await?;
    assert_eq!(provider["spec"]["revisionHistoryLimit"], 5);

    // This one, with other values.
    let release = Release {
        world,
        helm,
        namespace: NAMESPACE,
    };
    release
        .helm(&["upgrade", "gantry", &chart], Some(&values(&two, 2)))
        .await?;
    let deployment = release.deployment().await?;
    assert_eq!(deployment["spec"]["replicas"], 2);
    let version = &deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"];
    assert_eq!(*version, env!("CARGO_PKG_VERSION"));
    let operator = release.operator().await?;
    world.replace_operator(Some(operator)).await?;
    serves(world, &two).await?;

    // Back: the flags of before, and so the package of before.
    let release = Release {
        world,
        helm,
        namespace: NAMESPACE,
    };
    release.helm(&["rollback", "gantry", "1"], None).await?;
    assert_eq!(release.deployment().await?["spec"]["replicas"], 1);
    let operator = release.operator().await?;
    world.replace_operator(Some(operator)).await?;
    serves(world, &one).await?;

    // A second installation elsewhere does not lead, and says who does.
    let second = Release {
        world,
        helm,
        namespace: "elsewhere",
    };
    let flags = ["install", "gantry", &chart, "--create-namespace"];
    second.helm(&flags, Some(&json!({}))).await?;
    let beside = testkit::Operator::start(second.operator().await?.without_waiting()).await?;
    let why = beside
        .await_ready(STANDS_BY)
        .await
        .expect_err("it leads")
        .to_string();
    ensure!(
        why.contains(&format!("claimed by {NAMESPACE}/{ACCOUNT}")),
        "it doesn't say who leads: {why}"
    );
    drop(beside);
    second.helm(&["uninstall", "gantry"], None).await?;

    // Nothing that Helm does not own goes with it.
    world.replace_operator(None).await?;
    let before = established(world).await?;
    let release = Release {
        world,
        helm,
        namespace: NAMESPACE,
    };
    let said = release.helm(&["uninstall", "gantry"], None).await?;
    assert!(said.contains("uninstalled"), "{said}");
    let role = format!("{NAMESPACE}:{ACCOUNT}");
    let roles = world
        .plane()
        .try_kubectl(&["get", "clusterrole", &role], None)
        .await?;
    assert!(roles.stderr.contains("not found"), "{roles:?}");
    assert_eq!(established(world).await?, before);
    assert!(
        before
            .iter()
            .any(|line| line.contains("networks.nimbus.example.org")),
        "{before:#?}"
    );

    // A second life takes everything up without a write.
    release
        .helm(&["install", "gantry", &chart], Some(&values(&one, 1)))
        .await?;
    let operator = release.operator().await?;
    let mark = world.plane().audit_mark()?;
    world.replace_operator(Some(operator)).await?;
    serves(world, &one).await?;
    tokio::time::sleep(QUIET).await;
    let writes = world.plane().writes_since(mark, USER)?;
    ensure!(writes.is_empty(), "written again: {writes:#?}");
    assert_eq!(established(world).await?, before);
    world.replace_operator(None).await?;
    Release {
        world,
        helm,
        namespace: NAMESPACE,
    }
    .helm(&["uninstall", "gantry"], None)
    .await?;
    Ok(())
}
