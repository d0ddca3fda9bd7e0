//! The operator on a node as administrators have it: installed by Helm, from the image, in a namespace that admits only
//! pods of Pod Security level "restricted". For the tests, the demonstration and the benchmark.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testkit::wait::eventually;
use testkit::world::{ACCOUNT, NAMESPACE};
use testkit::{Helm, Node};

use crate::image::{OperatorImage, REGISTRY, registry_service};
use crate::pod::{OperatorPods, READY};

/// The name of the release.
pub const NAME: &str = "gantry";

/// Helm's patience, as its flag.
const TIMEOUT: &str = "--timeout=120s";

/// The release `gantry` of the chart on a node.
pub struct Release<'a> {
    node: &'a Node,
    /// What runs.
    pub pods: OperatorPods<'a>,
    helm: Helm,
    image: Value,
}

impl<'a> Release<'a> {
    /// Makes the namespace and pushes the image; nothing is installed. `version` is one of [`testkit::helm::VERSIONS`].
    pub async fn new(node: &'a Node, version: &str, image: &OperatorImage) -> Result<Self> {
        let image = &image.image;
        node.registry().push("gantry", "test", image).await?;
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": NAMESPACE, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
        });
        let all = format!("{namespace}\n---\n{}", registry_service());
        node.plane().apply_yaml(&all).await?;
        Ok(Self {
            node,
            pods: OperatorPods::on(node),
            helm: Helm::new(version, Some(&node.plane().kubeconfig()))?,
            image: json!({
                "repository": format!("{}/gantry", node.registry().host()), "digest": image.digest(),
            }),
        })
    }

    /// Makes a claim of this name, whose volume several pods may write to; answers the volume's folder.
    pub async fn claim(&self, name: &str) -> Result<PathBuf> {
        let folder = self.node.folder().join(format!("volume-{name}"));
        std::fs::create_dir(&folder)?;
        let here =
            json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": [testkit::node::NAME] });
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": name },
            "spec": {
                "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteMany"], "storageClassName": name,
                "local": { "path": folder },
                "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [here] }] } },
            },
        });
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": {
                "accessModes": ["ReadWriteMany"], "storageClassName": name, "volumeName": name,
                "resources": { "requests": { "storage": "1Gi" } },
            },
        });
        self.node
            .plane()
            .apply_yaml(&format!("{volume}\n---\n{claim}\n"))
            .await?;
        Ok(folder)
    }

    /// What every installation here says, and `values`.
    fn values(&self, values: &Value) -> Value {
        let mut args = vec![
            format!("--plain-http={}", self.node.registry().host()),
            format!("--plain-http={REGISTRY}"),
        ];
        let more = values["args"].as_array().into_iter().flatten();
        args.extend(more.filter_map(Value::as_str).map(str::to_owned));
        let mut all = values.clone();
        all["image"] = self.image.clone();
        all["args"] = json!(args);
        all
    }

    /// Runs a command of Helm in the namespace, answers what it said.
    ///
    /// # Errors
    /// When it fails; the message shows the pods.
    pub async fn helm(&self, command: &[&str], values: Option<&Value>) -> Result<String> {
        let mut args = command.to_vec();
        args.extend(["--namespace", NAMESPACE]);
        if values.is_some() {
            args.extend(["--values", "-"]);
        }
        match self.helm.run(&args, values).await {
            Ok(said) => Ok(said),
            Err(error) => {
                let pods = self.node.kubectl(&["-n", NAMESPACE, "describe", "pods"]).await;
                let log = self.pods.log().await.unwrap_or_default();
                Err(error.context(format!("{}\n{log}", pods.unwrap_or_default())))
            }
        }
    }

    /// `helm install --wait`.
    pub async fn install(&self, values: &Value) -> Result<()> {
        let command = ["install", NAME, &Helm::chart(), "--wait", TIMEOUT];
        self.helm(&command, Some(&self.values(values))).await?;
        self.settled().await
    }

    /// `helm install`, which ends when the objects are there.
    pub async fn install_only(&self, values: &Value) -> Result<()> {
        let command = ["install", NAME, &Helm::chart(), TIMEOUT];
        self.helm(&command, Some(&self.values(values))).await?;
        Ok(())
    }

    /// `helm upgrade --wait`.
    pub async fn upgrade(&self, values: &Value) -> Result<()> {
        let command = ["upgrade", NAME, &Helm::chart(), "--wait", TIMEOUT];
        self.helm(&command, Some(&self.values(values))).await?;
        self.settled().await
    }

    /// `helm rollback --wait` to that revision.
    pub async fn rollback(&self, revision: &str) -> Result<()> {
        self.helm(&["rollback", NAME, revision, "--wait", TIMEOUT], None)
            .await?;
        self.settled().await
    }

    /// `helm test`.
    pub async fn test(&self) -> Result<()> {
        let said = self.helm(&["test", NAME, TIMEOUT], None).await?;
        ensure!(said.contains("Succeeded"), "helm test said: {said}");
        Ok(())
    }

    /// `helm uninstall`, until the pods are gone.
    pub async fn uninstall(&self) -> Result<()> {
        self.helm(&["uninstall", NAME, "--wait", TIMEOUT], None).await?;
        eventually("the operator's pods are gone", READY, async || {
            Ok(self.pods.all().await?.is_empty().then_some(()))
        })
        .await
    }

    /// Waits until there are as many pods as there should be: those before them have gone.
    async fn settled(&self) -> Result<()> {
        let wanted = ["get", "deployment", ACCOUNT, "-n", NAMESPACE];
        let wanted = [&wanted[..], &["-o", "jsonpath={.spec.replicas}"]].concat();
        let wanted: usize = self.node.kubectl(&wanted).await?.parse()?;
        eventually("pods of before are gone", READY, async || {
            Ok((self.pods.all().await?.len() == wanted).then_some(()))
        })
        .await
    }
}
