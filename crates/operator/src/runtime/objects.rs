//! The objects of a runtime as they are applied, and whose live ones are. Pure.

use api::pkg::PackageKind;
use kit::meta::Owner;
use kit::resource::{Resource, Target};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::compare::covers;
use super::deployment::{self, Inputs, PORT, Unbuildable};
use super::templates::Head;

/// Deployments.
pub const DEPLOYMENTS: Resource = Resource::new("apps", "v1", "deployments", "Deployment");
/// Services.
pub const SERVICES: Resource = Resource::new("", "v1", "services", "Service");
/// Service accounts.
pub const ACCOUNTS: Resource = Resource::new("", "v1", "serviceaccounts", "ServiceAccount");

/// An object as it is to be, with the hash of what is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Which object.
    pub target: Target,
    /// What is applied.
    pub body: Value,
    /// Hash of the content, owners aside; it is in the object's annotations too.
    pub hash: String,
}

impl Wanted {
    fn new(target: Target, head: &Head, mut content: Map<String, Value>, owner: &Value) -> Self {
        let mut metadata = Map::from_iter([("name".to_owned(), json!(target.name))]);
        if !head.labels.is_empty() {
            metadata.insert("labels".to_owned(), json!(head.labels));
        }
        content.insert("apiVersion".to_owned(), json!(target.resource.api_version()));
        content.insert("kind".to_owned(), json!(target.resource.kind));
        let hashed = json!([content, head.labels, head.annotations]).to_string();
        let hash = package::object::content_hash(hashed.as_bytes());
        let mut annotations = head.annotations.clone();
        annotations.insert(api::annotation::CONTENT.to_owned(), hash.clone());
        metadata.insert("annotations".to_owned(), json!(annotations));
        metadata.insert("ownerReferences".to_owned(), json!([owner]));
        content.insert("metadata".to_owned(), Value::Object(metadata));
        Self {
            target,
            body: Value::Object(content),
            hash,
        }
    }

    /// UID of the owner that is to control it.
    #[must_use]
    pub fn owner(&self) -> &str {
        let owner = self.body.pointer("/metadata/ownerReferences/0/uid");
        owner.and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether the live object has all of it, and nothing of ours that is not wanted any more.
    #[must_use]
    pub fn is_in_place(&self, live: &Value) -> bool {
        annotation(live, api::annotation::CONTENT) == Some(self.hash.as_str()) && covers(live, &self.body)
    }
}

/// The Deployment.
///
/// # Errors
/// If the runtime config's template can't be one.
pub fn deployment(namespace: &str, inputs: &Inputs<'_>, owner: &Value) -> Result<Wanted, Unbuildable> {
    let target = Target::namespaced(DEPLOYMENTS, namespace, &inputs.names.deployment);
    let content = Map::from_iter([("spec".to_owned(), deployment::spec(inputs)?)]);
    Ok(Wanted::new(target, &inputs.templates.deployment, content, owner))
}

/// The Service: one for all revisions of the package, which selects the pods of one of them.
#[must_use]
pub fn service(namespace: &str, inputs: &Inputs<'_>, owner: &Value) -> Wanted {
    let selector = deployment::selector(inputs.kind, inputs.package, inputs.revision);
    let spec = match inputs.kind {
        PackageKind::Function => json!({
            "clusterIP": "None", "selector": selector,
            "ports": [{"name": "grpc", "protocol": "TCP", "port": PORT, "targetPort": "grpc", "appProtocol": "tls"}],
        }),
        _ => json!({
            "selector": selector,
            "ports": [{"name": "webhook", "protocol": "TCP", "port": PORT, "targetPort": "webhook"}],
        }),
    };
    let target = Target::namespaced(SERVICES, namespace, &inputs.names.service);
    let content = Map::from_iter([("spec".to_owned(), spec)]);
    Wanted::new(target, &inputs.templates.service, content, owner)
}

/// The ServiceAccount. Pull secrets that others gave the live one stay.
#[must_use]
pub fn account(
    namespace: &str,
    inputs: &Inputs<'_>,
    more_secrets: &[String],
    live: Option<&Value>,
    owner: &Value,
) -> Wanted {
    let given = live.and_then(|live| live.get("imagePullSecrets")?.as_array());
    let given = given
        .into_iter()
        .flatten()
        .filter_map(|s| s.get("name")?.as_str());
    let mut names: Vec<&str> = vec![];
    for name in inputs
        .pull_secrets
        .iter()
        .chain(more_secrets)
        .map(String::as_str)
        .chain(given)
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut content = Map::new();
    if !names.is_empty() {
        let secrets: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        content.insert("imagePullSecrets".to_owned(), json!(secrets));
    }
    let target = Target::namespaced(ACCOUNTS, namespace, &inputs.names.account);
    Wanted::new(target, &inputs.templates.account, content, owner)
}

/// The owner that controls a live object, as [`kit::meta::Meta::controller`] finds it in metadata.
#[must_use]
pub fn controller(live: &Value) -> Option<Owner> {
    let owners = live
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let mut owners = owners
        .into_iter()
        .flatten()
        .filter_map(|owner| Owner::deserialize(owner).ok());
    owners.find(|owner| owner.controller)
}

/// What pods a live Deployment selects.
#[must_use]
pub fn selects(live: &Value) -> Option<&Map<String, Value>> {
    live.pointer("/spec/selector/matchLabels")?.as_object()
}

/// An annotation of a live object, or of a template within one.
fn annotation<'a>(live: &'a Value, key: &str) -> Option<&'a str> {
    live.pointer("/metadata/annotations")?.get(key)?.as_str()
}

/// What pods of a live Deployment were told that they load as their server certificate.
#[must_use]
pub fn loaded(deployment: &Value) -> Option<&str> {
    annotation(
        deployment.pointer("/spec/template")?,
        api::annotation::CERTIFICATE_LOADED,
    )
}

/// A field of a live object's metadata.
#[must_use]
pub fn meta<'a>(live: &'a Value, field: &str) -> &'a str {
    live.get("metadata")
        .and_then(|m| m.get(field)?.as_str())
        .unwrap_or_default()
}

/// Whether its deletion was asked for.
#[must_use]
pub fn is_going(live: &Value) -> bool {
    !meta(live, "deletionTimestamp").is_empty()
}
