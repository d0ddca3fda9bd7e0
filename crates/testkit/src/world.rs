//! A control plane, a registry and an operator that belong together: on loopback, or on a whole node.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, ControlPlaneOptions};
use crate::image::Image;
use crate::node::Node;
use crate::operator::{Operator, OperatorOptions};
use crate::registry::Registry;
use crate::tools::workspace;
use crate::wait::eventually;

/// The operator's namespace, as `deploy/rbac.yaml` has it.
pub const NAMESPACE: &str = "gantry-system";
/// The operator's service account, as `deploy/rbac.yaml` has it.
pub const ACCOUNT: &str = "gantry-operator";
/// The operator's user name at the API server.
pub const USER: &str = "system:serviceaccount:gantry-system:gantry-operator";

/// How long a namespace's or CRD's arrival may take.
const SOON: Duration = Duration::from_secs(20);

/// Kinds that tests name by kind alone: kind, plural, API version.
const KINDS: &[(&str, &str, &str)] = &[
    ("Provider", "providers", "pkg.crossplane.io/v1"),
    ("Configuration", "configurations", "pkg.crossplane.io/v1"),
    ("Function", "functions", "pkg.crossplane.io/v1"),
    ("ProviderRevision", "providerrevisions", "pkg.crossplane.io/v1"),
    (
        "ConfigurationRevision",
        "configurationrevisions",
        "pkg.crossplane.io/v1",
    ),
    ("FunctionRevision", "functionrevisions", "pkg.crossplane.io/v1"),
    ("Lock", "locks", "pkg.crossplane.io/v1beta1"),
    ("ImageConfig", "imageconfigs", "pkg.crossplane.io/v1beta1"),
    (
        "DeploymentRuntimeConfig",
        "deploymentruntimeconfigs",
        "pkg.crossplane.io/v1beta1",
    ),
    (
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "apiextensions.k8s.io/v1",
    ),
    (
        "CompositeResourceDefinition",
        "compositeresourcedefinitions",
        "apiextensions.crossplane.io/v1",
    ),
    ("Composition", "compositions", "apiextensions.crossplane.io/v1"),
    (
        "ManagedResourceDefinition",
        "managedresourcedefinitions",
        "apiextensions.crossplane.io/v1alpha1",
    ),
    (
        "ManagedResourceActivationPolicy",
        "managedresourceactivationpolicies",
        "apiextensions.crossplane.io/v1alpha1",
    ),
    ("Operation", "operations", "ops.crossplane.io/v1alpha1"),
    ("CronOperation", "cronoperations", "ops.crossplane.io/v1alpha1"),
    ("WatchOperation", "watchoperations", "ops.crossplane.io/v1alpha1"),
    (
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        "admissionregistration.k8s.io/v1",
    ),
    (
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        "admissionregistration.k8s.io/v1",
    ),
    ("ClusterRole", "clusterroles", "rbac.authorization.k8s.io/v1"),
];

/// What a world has.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// Path of the operator's binary; `None`: no operator is started.
    pub operator: Option<PathBuf>,
    /// Further flags of the operator.
    pub operator_args: Vec<String>,
    /// The control plane.
    pub control_plane: ControlPlaneOptions,
    /// Whether the stand-ins for the kinds of the reference's core are installed. On by default.
    pub stand_ins: bool,
    /// Whether there are the operator's namespace, service account and the rights of `deploy/rbac.yaml`. On by
    /// default; without them something else makes them, and no operator is started.
    pub rights: bool,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            operator: None,
            operator_args: Vec::new(),
            control_plane: ControlPlaneOptions::default(),
            stand_ins: true,
            rights: true,
        }
    }
}

impl WorldOptions {
    /// A world with this operator.
    pub fn with_operator(program: impl Into<PathBuf>) -> Self {
        Self {
            operator: Some(program.into()),
            ..Self::default()
        }
    }

    /// Adds flags of the operator.
    pub fn operator_args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.operator_args.extend(args.into_iter().map(Into::into));
        self
    }
}

/// Control plane, registry and operator. All ends when it is dropped.
pub struct World {
    /// The operator, if one was asked for. Declared first: it ends first.
    operator: Option<Operator>,
    /// The operator's kubeconfig, with its own service account's rights.
    kubeconfig: PathBuf,
    ground: Ground,
    names: AtomicU64,
}

/// What a world stands on.
enum Ground {
    /// Processes on loopback.
    Loopback {
        registry: Box<Registry>,
        plane: Box<ControlPlane>,
    },
    /// A whole node.
    Node(Box<Node>),
}

impl World {
    /// Starts a world: control plane and registry side by side, the namespace, the rights of
    /// `deploy/rbac.yaml`, the stand-ins, then the operator with the rights of its service account and no
    /// others. It brings its own CRDs.
    pub async fn start(options: WorldOptions) -> Result<Self> {
        let (plane, registry) = tokio::try_join!(
            ControlPlane::start(options.control_plane.clone()),
            Registry::distribution()
        )?;
        let rights = async {
            if !options.rights {
                return Ok(plane.kubeconfig());
            }
            plane.namespace(NAMESPACE).await?;
            let rbac = workspace().join("deploy/rbac.yaml");
            let rbac = std::fs::read_to_string(&rbac)
                .with_context(|| format!("cannot read {}: run `cargo xtask gen`", rbac.display()))?;
            plane.apply_yaml(&rbac).await?;
            plane.service_account_kubeconfig(NAMESPACE, ACCOUNT).await
        };
        let stand_ins = async {
            if options.stand_ins {
                plane.install_stand_ins().await
            } else {
                Ok(())
            }
        };
        let (kubeconfig, ()) = tokio::try_join!(rights, stand_ins)?;
        let mut world = Self {
            operator: None,
            kubeconfig,
            ground: Ground::Loopback {
                registry: Box::new(registry),
                plane: Box::new(plane),
            },
            names: AtomicU64::default(),
        };
        if let Some(program) = options.operator.filter(|_| options.rights) {
            let operator = OperatorOptions::new(program, &world.kubeconfig).args(options.operator_args);
            world.operator = Some(Operator::start(operator).await?);
        }
        Ok(world)
    }

    /// The world of a node: nothing is in it yet, and an operator is a pod there.
    pub fn on(node: Node) -> Self {
        Self {
            operator: None,
            kubeconfig: node.plane().kubeconfig(),
            ground: Ground::Node(Box::new(node)),
            names: AtomicU64::default(),
        }
    }

    /// The node.
    ///
    /// # Errors
    /// When the world is not on one.
    pub fn node(&self) -> Result<&Node> {
        match &self.ground {
            Ground::Node(node) => Ok(node),
            Ground::Loopback { .. } => bail!("this world is not on a node"),
        }
    }

    /// The control plane.
    pub fn plane(&self) -> &ControlPlane {
        match &self.ground {
            Ground::Loopback { plane, .. } => plane,
            Ground::Node(node) => node.plane(),
        }
    }

    /// The registry.
    pub fn registry(&self) -> &Registry {
        match &self.ground {
            Ground::Loopback { registry, .. } => registry,
            Ground::Node(node) => node.registry(),
        }
    }

    /// The kubeconfig of the operator's service account; without [`WorldOptions::rights`] that of the
    /// administrator.
    pub fn operator_kubeconfig(&self) -> &PathBuf {
        &self.kubeconfig
    }

    /// The operator.
    ///
    /// # Errors
    /// When the world was started without one.
    pub fn operator(&self) -> Result<&Operator> {
        self.operator.as_ref().context("this world has no operator")
    }

    /// Puts another operator in the place of the present one, which is ended first; `None`: there is none
    /// then.
    pub async fn replace_operator(&mut self, options: Option<OperatorOptions>) -> Result<()> {
        self.operator = None;
        if let Some(options) = options {
            self.operator = Some(Operator::start(options).await?);
        }
        Ok(())
    }

    /// A name that nobody else in this world has: `<prefix>-<number>`.
    pub fn unique(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.names.fetch_add(1, Ordering::SeqCst))
    }

    /// Pushes an image, answers its reference by tag.
    pub async fn push(&self, repository: &str, tag: &str, image: &Image) -> Result<String> {
        self.registry().push(repository, tag, image).await
    }

    /// All objects of a cluster-scoped kind of the table that this world knows.
    pub fn api(&self, kind: &str) -> Result<Api<DynamicObject>> {
        Ok(Api::all_with(self.plane().client(), &resource(kind)?))
    }

    /// Creates a package of `kind` that names `reference`; `spec` holds further fields.
    pub async fn create_package(
        &self,
        kind: &str,
        name: &str,
        reference: &str,
        spec: Value,
    ) -> Result<DynamicObject> {
        let mut spec = spec;
        spec["package"] = json!(reference);
        self.create(kind, json!({ "metadata": { "name": name }, "spec": spec }))
            .await
    }

    /// Creates an object; `apiVersion` and `kind` are filled in.
    pub async fn create(&self, kind: &str, mut object: Value) -> Result<DynamicObject> {
        let resource = resource(kind)?;
        object["apiVersion"] = json!(resource.api_version);
        object["kind"] = json!(resource.kind);
        let object = serde_json::from_value(object)?;
        Ok(self.api(kind)?.create(&PostParams::default(), &object).await?)
    }

    /// Changes an object by JSON merge patch.
    pub async fn patch(&self, kind: &str, name: &str, patch: Value) -> Result<DynamicObject> {
        Ok(self
            .api(kind)?
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?)
    }

    /// The object as it is now; `None` if there is none.
    pub async fn get(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        Ok(self
            .api(kind)?
            .get_opt(name)
            .await?
            .map(serde_json::to_value)
            .transpose()?)
    }

    /// All objects of a kind that have the labels of `selector`.
    pub async fn list(&self, kind: &str, selector: &str) -> Result<Vec<Value>> {
        let found = self
            .api(kind)?
            .list(&ListParams::default().labels(selector))
            .await?;
        found
            .items
            .into_iter()
            .map(|o| Ok(serde_json::to_value(o)?))
            .collect()
    }

    /// Deletes an object in the background; it may be gone already.
    pub async fn delete(&self, kind: &str, name: &str) -> Result<()> {
        match self.api(kind)?.delete(name, &DeleteParams::background()).await {
            Err(kube::Error::Api(status)) if status.code != 404 => Err(kube::Error::Api(status).into()),
            Err(error) if !matches!(error, kube::Error::Api(_)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The revisions of a package, highest number first.
    pub async fn revisions(&self, kind: &str, package: &str) -> Result<Vec<Value>> {
        let mut found = self
            .list(
                &format!("{kind}Revision"),
                &format!("pkg.crossplane.io/package={package}"),
            )
            .await?;
        found.sort_by_key(|r| std::cmp::Reverse(r["spec"]["revision"].as_i64()));
        Ok(found)
    }

    /// Waits until the object has this condition with this status; answers the object.
    ///
    /// # Errors
    /// After `timeout`; the message shows the object, its events and the end of the operator's log.
    pub async fn wait_condition(
        &self,
        kind: &str,
        name: &str,
        condition: &str,
        status: &str,
        timeout: Duration,
    ) -> Result<Value> {
        let what = format!("{kind} {name} has {condition}={status}");
        self.wait_for(kind, name, &what, timeout, |object| {
            condition_of(object, condition)["status"] == status
        })
        .await
    }

    /// Waits until the object has this condition with this status and reason; answers the object.
    pub async fn wait_reason(
        &self,
        kind: &str,
        name: &str,
        (condition, status, reason): (&str, &str, &str),
        timeout: Duration,
    ) -> Result<Value> {
        let what = format!("{kind} {name} has {condition}={status} because {reason}");
        self.wait_for(kind, name, &what, timeout, |object| {
            let found = condition_of(object, condition);
            found["status"] == status && found["reason"] == reason
        })
        .await
    }

    /// Waits until `holds` is true of the object; answers the object.
    ///
    /// # Errors
    /// After `timeout`; the message shows the object, its events and the end of the operator's log.
    pub async fn wait_for(
        &self,
        kind: &str,
        name: &str,
        what: &str,
        timeout: Duration,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let look = async || Ok(self.get(kind, name).await?.filter(|object| holds(object)));
        match eventually(what, timeout, look).await {
            Ok(object) => Ok(object),
            Err(error) => Err(error.context(self.dump(kind, name).await)),
        }
    }

    /// Waits until there is no such object.
    pub async fn wait_gone(&self, kind: &str, name: &str, timeout: Duration) -> Result<()> {
        let what = format!("{kind} {name} is gone");
        let look = async || Ok(self.get(kind, name).await?.is_none().then_some(()));
        match eventually(&what, timeout, look).await {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(self.dump(kind, name).await)),
        }
    }

    /// Waits until the operator's CRDs are served.
    pub async fn wait_served(&self) -> Result<()> {
        let look = async || {
            Ok(self
                .api("Provider")?
                .list(&ListParams::default().limit(1))
                .await
                .ok()
                .map(|_| ()))
        };
        eventually("providers are served", SOON, look).await
    }

    /// For messages: the object, its revisions, its events, the end of the operator's log.
    pub async fn dump(&self, kind: &str, name: &str) -> String {
        let object = match self.get(kind, name).await {
            Ok(Some(mut object)) => {
                object["metadata"]["managedFields"] = Value::Null;
                serde_json::to_string_pretty(&object).unwrap_or_default()
            }
            Ok(None) => "(not there)".to_owned(),
            Err(error) => format!("(cannot be read: {error:#})"),
        };
        let field = format!("involvedObject.name={name}");
        let events = self
            .shown(&["get", "events", "--all-namespaces", "--field-selector", &field])
            .await;
        let label = format!("pkg.crossplane.io/package={name}");
        let revisions = self
            .shown(&["get", "packagerevisions", "-l", &label, "-o", "wide"])
            .await;
        let log = self.operator_log_tail().await;
        format!(
            "{kind} {name}:\n{object}\n--- revisions\n{revisions}\n--- events\n{events}\n--- operator\n{log}"
        )
    }

    /// The end of the operator's log, or of those of all operators on the node.
    pub async fn operator_log_tail(&self) -> String {
        match (&self.operator, &self.ground) {
            (Some(operator), _) => operator.log_tail(),
            (None, Ground::Loopback { .. }) => "(no operator)".to_owned(),
            (None, Ground::Node(_)) => {
                let pods = "--selector=app.kubernetes.io/component=operator";
                self.shown(&["-n", NAMESPACE, "logs", pods, "--prefix", "--tail=50"])
                    .await
            }
        }
    }

    async fn shown(&self, args: &[&str]) -> String {
        match self.plane().try_kubectl(args, None).await {
            Ok(output) => format!("{}{}", output.stdout, output.stderr),
            Err(error) => format!("{error:#}"),
        }
    }
}

/// The condition of this type, `null` if there is none.
pub fn condition_of<'a>(object: &'a Value, condition: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array();
    all.and_then(|all| all.iter().find(|c| c["type"] == condition))
        .unwrap_or(&Value::Null)
}

/// How the API server calls a kind.
pub fn resource(kind: &str) -> Result<ApiResource> {
    let (kind, plural, api_version) = KINDS
        .iter()
        .find(|(k, _, _)| *k == kind)
        .ok_or_else(|| anyhow!("testkit does not know the kind {kind}"))?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Ok(ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: (*api_version).to_owned(),
        kind: (*kind).to_owned(),
        plural: (*plural).to_owned(),
    })
}
