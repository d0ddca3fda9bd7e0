//! The Deployment of a runtime: a runtime config's template, completed (spec: API reference 1.10.1). Pure.
//!
//! What is different from the reference, each for a reason in `docs/compatibility.md`: the image is pinned by digest;
//! replicas are set only where asked for; the template's own pull secrets, environment, volumes and mounts stay;
//! defaults keep to the "restricted" Pod Security Standard.

use api::label;
use api::pkg::PackageKind;
use serde_json::{Map, Value, json};

use super::templates::{Names, Templates};

/// Name of the container that runs a package's program; sidecars have others.
pub const CONTAINER: &str = "package-runtime";
/// Port of webhooks and of functions.
pub const PORT: u16 = 9443;
/// Port of metrics unless the template names one.
const METRICS_PORT: u16 = 8080;
/// User and group of the program unless the template says otherwise, as in the reference.
const USER: i64 = 2000;
const CLIENT_CERTIFICATES: &str = "/tls/client";
const SERVER_CERTIFICATES: &str = "/tls/server";

/// What a Deployment is made of.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// Kind of the package: Provider or Function.
    pub kind: PackageKind,
    /// Name of the package.
    pub package: &'a str,
    /// Name of the revision.
    pub revision: &'a str,
    /// UID of the revision.
    pub uid: &'a str,
    /// What the runtime config says.
    pub templates: &'a Templates,
    /// What the objects are called.
    pub names: &'a Names,
    /// The package's image, by digest.
    pub image: &'a str,
    /// Pull secrets of the package and of ImageConfigs.
    pub pull_secrets: &'a [String],
    /// Pull policy of the package.
    pub pull_policy: Option<&'a str>,
    /// Secret with the client certificate.
    pub client_secret: Option<&'a str>,
    /// Secret with the server certificate.
    pub server_secret: Option<&'a str>,
    /// What the pods load as their server certificate, where they load it once.
    pub loaded: Option<&'a str>,
    /// Nothing is to run: the runtime awaits its first activated definition.
    pub at_zero: bool,
}

/// Why a template can't be a Deployment. Names the place in the runtime config.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbuildable {
    /// Something is not of the type that it must be.
    #[error("spec.deploymentTemplate.spec.{path} is not {wanted}")]
    Type {
        /// Path within the Deployment's spec.
        path: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// Two entries of a list have one name.
    #[error("spec.deploymentTemplate.spec.{path} has two entries with {key} {name:?}: remove one")]
    Twice {
        /// Path within the Deployment's spec.
        path: String,
        /// The key that must differ.
        key: &'static str,
        /// Its value.
        name: String,
    },
}

/// The labels that a runtime's pods are selected by.
#[must_use]
pub fn selector(kind: PackageKind, package: &str, revision: &str) -> Map<String, Value> {
    let parent = match kind {
        PackageKind::Function => label::FUNCTION,
        _ => label::PROVIDER,
    };
    Map::from_iter([
        (label::REVISION.to_owned(), json!(revision)),
        (parent.to_owned(), json!(package)),
    ])
}

/// `spec` of the Deployment.
///
/// # Errors
/// If the template can't be one.
pub fn spec(inputs: &Inputs<'_>) -> Result<Value, Unbuildable> {
    let mut spec = inputs.templates.spec.clone();
    let labels = selector(inputs.kind, inputs.package, inputs.revision);
    let own = at(&mut spec, "", "selector")?;
    own.insert("matchLabels".to_owned(), Value::Object(labels.clone()));
    if inputs.at_zero {
        spec.insert("replicas".to_owned(), json!(0));
    }

    let template = at(&mut spec, "", "template")?;
    let meta = at(template, "template.", "metadata")?;
    at(meta, "template.metadata.", "labels")?.extend(labels);
    let mut annotations = at(meta, "template.metadata.", "annotations")?.clone();
    let pod = at(template, "template.", "spec")?;
    let path = "template.spec.";
    or_insert(pod, "serviceAccountName", || json!(inputs.names.runs_as));
    or_insert(pod, "securityContext", || {
        json!({
            "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    });
    let secrets = inputs.pull_secrets.iter().map(|name| json!({"name": name}));
    add(pod, path, "imagePullSecrets", "name", secrets)?;

    let (mut container, others) = containers(pod)?;
    let metrics = runtime_container(inputs, &mut container)?;
    let mut volumes = vec![];
    // A root file system that can't be written needs a place for what libraries expect to be able to write.
    let ours = !template_sets(inputs, "securityContext");
    if ours && !mounts(&container, "/tmp") {
        volumes.push(json!({"name": "tmp", "emptyDir": {}}));
        add(
            &mut container,
            CONTAINER_PATH,
            "volumeMounts",
            "mountPath",
            [json!({"name": "tmp", "mountPath": "/tmp"})],
        )?;
    }
    for (secret, volume, folder, variable) in [
        (
            inputs.client_secret,
            "tls-client-certs",
            CLIENT_CERTIFICATES,
            "TLS_CLIENT_CERTS_DIR",
        ),
        (
            inputs.server_secret,
            "tls-server-certs",
            SERVER_CERTIFICATES,
            "TLS_SERVER_CERTS_DIR",
        ),
    ] {
        let Some(secret) = secret else { continue };
        let items = ["tls.crt", "tls.key", "ca.crt"].map(|key| json!({"key": key, "path": key}));
        volumes.push(json!({"name": volume, "secret": {"secretName": secret, "items": items}}));
        let mount = json!({"name": volume, "readOnly": true, "mountPath": folder});
        add(
            &mut container,
            CONTAINER_PATH,
            "volumeMounts",
            "mountPath",
            [mount],
        )?;
        add(
            &mut container,
            CONTAINER_PATH,
            "env",
            "name",
            [json!({"name": variable, "value": folder})],
        )?;
    }
    environment(inputs, &mut container)?;
    add(pod, path, "volumes", "name", volumes)?;
    let mut all = vec![Value::Object(container)];
    all.extend(others);
    pod.insert("containers".to_owned(), Value::Array(all));

    if inputs.kind == PackageKind::Provider && !annotations.contains_key("prometheus.io/scrape") {
        annotations.insert("prometheus.io/scrape".to_owned(), json!("true"));
        annotations.insert("prometheus.io/port".to_owned(), json!(metrics.to_string()));
        annotations.insert("prometheus.io/path".to_owned(), json!("/metrics"));
    }
    if let Some(loaded) = inputs.loaded {
        annotations.insert(api::annotation::CERTIFICATE_LOADED.to_owned(), json!(loaded));
    }
    if let Some(Value::Object(meta)) = template.get_mut("metadata") {
        match annotations.is_empty() {
            true => meta.remove("annotations"),
            false => meta.insert("annotations".to_owned(), Value::Object(annotations)),
        };
    }
    Ok(Value::Object(spec))
}

const CONTAINER_PATH: &str = "template.spec.containers[package-runtime].";

fn template_sets(inputs: &Inputs<'_>, field: &str) -> bool {
    let containers = inputs
        .templates
        .spec
        .get("template")
        .and_then(|t| t.get("spec")?.get("containers")?.as_array());
    containers.into_iter().flatten().any(|c| {
        c.get("name").and_then(Value::as_str) == Some(CONTAINER) && c.get(field).is_some_and(|v| !v.is_null())
    })
}

fn mounts(container: &Map<String, Value>, folder: &str) -> bool {
    let mounts = container.get("volumeMounts").and_then(Value::as_array);
    mounts
        .into_iter()
        .flatten()
        .any(|m| m.get("mountPath").and_then(Value::as_str) == Some(folder))
}

/// Completes the container; answers its port of metrics.
fn runtime_container(inputs: &Inputs<'_>, container: &mut Map<String, Value>) -> Result<u64, Unbuildable> {
    or_insert(container, "image", || json!(inputs.image));
    // By digest, a pull brings nothing new; a policy is still worth having for `Never`, and for `Always`, which has the
    // registry asked whether the credentials still hold.
    or_insert(container, "imagePullPolicy", || {
        json!(inputs.pull_policy.unwrap_or("IfNotPresent"))
    });
    or_insert(container, "securityContext", || {
        json!({
            "runAsUser": USER, "runAsGroup": USER, "runAsNonRoot": true,
            "allowPrivilegeEscalation": false, "privileged": false,
            "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        })
    });
    // So that a crash can be told with the last line of the log.
    or_insert(container, "terminationMessagePolicy", || {
        json!("FallbackToLogsOnError")
    });
    // Of two variables of one name the last counts, as for a container; an apply refuses two.
    let env = list(container, CONTAINER_PATH, "env")?;
    let name = |entry: &Value| entry.get("name").and_then(Value::as_str).map(str::to_owned);
    let names: Vec<_> = env.iter().map(name).collect();
    let mut place = 0;
    env.retain(|_| {
        let last = !names.iter().skip(place + 1).any(|n| Some(n) == names.get(place));
        place += 1;
        last
    });
    let named = |ports: &[Value], name: &str| {
        let port = ports
            .iter()
            .find(|p| p.get("name").and_then(Value::as_str) == Some(name));
        port.and_then(|p| p.get("containerPort")?.as_u64())
    };
    let ports = list(container, CONTAINER_PATH, "ports")?;
    let metrics = named(ports, "metrics").unwrap_or(METRICS_PORT.into());
    let served = match inputs.kind {
        PackageKind::Function => Some("grpc"),
        _ => inputs.server_secret.map(|_| "webhook"),
    };
    for (name, port) in [("metrics", METRICS_PORT)]
        .into_iter()
        .chain(served.map(|name| (name, PORT)))
    {
        if named(ports, name).is_none() {
            ports.push(json!({"name": name, "containerPort": port}));
        }
    }
    Ok(metrics)
}

fn environment(inputs: &Inputs<'_>, container: &mut Map<String, Value>) -> Result<(), Unbuildable> {
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let labelled = |name: &str, label: &str| field(name, &format!("metadata.labels['{label}']"));
    let mut all = match inputs.kind {
        PackageKind::Function => vec![labelled("FUNCTION_NAME", label::FUNCTION)],
        _ => vec![
            field("POD_NAMESPACE", "metadata.namespace"),
            labelled("PROVIDER_NAME", label::PROVIDER),
        ],
    };
    all.push(labelled("REVISION_NAME", label::REVISION));
    all.push(json!({"name": "REVISION_UID", "value": inputs.uid}));
    if inputs.kind == PackageKind::Provider && inputs.server_secret.is_some() {
        all.push(json!({"name": "WEBHOOK_TLS_CERT_DIR", "value": "$(TLS_SERVER_CERTS_DIR)"}));
    }
    add(container, CONTAINER_PATH, "env", "name", all)
}

/// The container of the program, and the others. It is made where the template has none.
fn containers(pod: &mut Map<String, Value>) -> Result<(Map<String, Value>, Vec<Value>), Unbuildable> {
    let path = "template.spec.";
    let all = list(pod, path, "containers")?;
    once(all, path, "containers", "name")?;
    let is_runtime = |c: &Value| c.get("name").and_then(Value::as_str) == Some(CONTAINER);
    let runtime = all.iter().position(is_runtime).map(|place| all.remove(place));
    let runtime = match runtime {
        Some(Value::Object(container)) => container,
        _ => Map::from_iter([("name".to_owned(), json!(CONTAINER))]),
    };
    Ok((runtime, std::mem::take(all)))
}

/// Adds entries to a list, but for those whose key is there already: what the template says counts.
fn add(
    parent: &mut Map<String, Value>,
    path: &str,
    field: &str,
    key: &'static str,
    entries: impl IntoIterator<Item = Value>,
) -> Result<(), Unbuildable> {
    let all = list(parent, path, field)?;
    once(all, path, field, key)?;
    for entry in entries {
        if !all.iter().any(|have| have.get(key) == entry.get(key)) {
            all.push(entry);
        }
    }
    if all.is_empty() {
        parent.remove(field);
    }
    Ok(())
}

/// No two entries of the list have one key.
fn once(all: &[Value], path: &str, field: &str, key: &'static str) -> Result<(), Unbuildable> {
    let names: Vec<&str> = all.iter().filter_map(|entry| entry.get(key)?.as_str()).collect();
    let twice = names
        .iter()
        .enumerate()
        .find(|(place, name)| names.iter().take(*place).any(|n| n == *name));
    match twice {
        None => Ok(()),
        Some((_, name)) => Err(Unbuildable::Twice {
            path: format!("{path}{field}"),
            key,
            name: (*name).to_owned(),
        }),
    }
}

fn or_insert(map: &mut Map<String, Value>, field: &str, value: impl FnOnce() -> Value) {
    if map
        .get(field)
        .is_none_or(|have| have.is_null() || have.as_str() == Some(""))
    {
        map.insert(field.to_owned(), value());
    }
}

/// The object in this field, made where there is none.
fn at<'a>(
    parent: &'a mut Map<String, Value>,
    path: &str,
    field: &str,
) -> Result<&'a mut Map<String, Value>, Unbuildable> {
    or_insert(parent, field, || json!({}));
    match parent.get_mut(field) {
        Some(Value::Object(map)) => Ok(map),
        _ => Err(Unbuildable::Type {
            path: format!("{path}{field}"),
            wanted: "an object",
        }),
    }
}

/// The list in this field, made where there is none.
fn list<'a>(
    parent: &'a mut Map<String, Value>,
    path: &str,
    field: &str,
) -> Result<&'a mut Vec<Value>, Unbuildable> {
    or_insert(parent, field, || json!([]));
    match parent.get_mut(field) {
        Some(Value::Array(all)) => Ok(all),
        _ => Err(Unbuildable::Type {
            path: format!("{path}{field}"),
            wanted: "a list",
        }),
    }
}

#[cfg(test)]
#[path = "deployment_tests.rs"]
mod tests;
