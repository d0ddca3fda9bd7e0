//! Our own CRDs: written by the leader at start, never downgraded (design §7).

use std::time::Duration;

use api::annotation;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kit::read;
use kit::resource::Target;
use kit::write::{Preconditions, WriteError, Writer};
use serde_json::{Value, json};
use solve::Version;

use crate::args::Crds;
use crate::kinds;

/// Fresh CRDs are served within this time, or the API server has a problem that waiting doesn't mend.
pub const SERVED_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between looks at CRDs that are not served yet.
const SERVED_POLL: Duration = Duration::from_millis(200);
/// Tries of one CRD against somebody who changes it at the same time.
const TRIES: usize = 5;

/// Why the CRDs are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// The API server didn't answer, or refused to.
    #[error("custom resource definition {name} could not be read: {error}")]
    Read {
        /// Name of the CRD.
        name: String,
        /// What it said.
        error: read::ReadError,
    },
    /// It could not be written.
    #[error("custom resource definition {name} could not be written: {error}")]
    Write {
        /// Name of the CRD.
        name: String,
        /// What the API server said.
        error: WriteError,
    },
    /// They are only looked for, and some are not there.
    #[error("these custom resource definitions are missing, and --crds=check forbids to write them: {0}")]
    Missing(String),
    /// They are there but not served.
    #[error("these custom resource definitions were not served within {} s: {names}", SERVED_TIMEOUT.as_secs())]
    NotServed {
        /// Their names.
        names: String,
    },
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// All of our definitions, in their order.
    pub all: Vec<String>,
    /// Written.
    pub written: Vec<String>,
    /// Left alone, since a newer Gantry wrote them.
    pub newer: Vec<String>,
}

fn name(crd: &CustomResourceDefinition) -> String {
    crd.metadata.name.clone().unwrap_or_default()
}

/// Where a CRD is.
pub(crate) fn target(name: &str) -> Option<Target> {
    Some(Target::cluster(
        kinds::ALL.get(kinds::CRD)?.resource.clone(),
        name,
    ))
}

/// Brings our CRDs to this version, or only looks.
///
/// # Errors
/// If one could not be read or written, is missing under `check`, or is not served in time.
pub async fn apply(writer: &Writer, mode: Crds) -> Result<Applied, CrdError> {
    let crds = api::crds();
    let mut applied = Applied {
        all: crds.iter().map(name).collect(),
        ..Applied::default()
    };
    let mut missing = vec![];
    for crd in &crds {
        let name = name(crd);
        let body = serde_json::to_value(crd).unwrap_or_default();
        match mode {
            Crds::Check => {
                if live(writer, &name).await?.is_none() {
                    missing.push(name);
                }
            }
            Crds::Apply => match write(writer, &name, body).await? {
                Outcome::Same => {}
                Outcome::Written => applied.written.push(name),
                Outcome::Newer => applied.newer.push(name),
            },
        }
    }
    if !missing.is_empty() {
        return Err(CrdError::Missing(missing.join(", ")));
    }
    served(writer, applied.all.clone()).await?;
    Ok(applied)
}

enum Outcome {
    Same,
    Written,
    Newer,
}

/// How a definition in the cluster compares with ours.
pub(crate) enum Compared {
    /// It is ours.
    Same,
    /// A newer Gantry wrote it.
    Newer,
    /// It is not there, or not as it should be.
    Differs {
        /// The field manager that wrote it last, if that was not us.
        by: Option<String>,
    },
}

fn wanted(wanted: &str) -> Option<Value> {
    let crd = api::crds().into_iter().find(|crd| name(crd) == wanted)?;
    serde_json::to_value(crd).ok()
}

/// Compares one of our definitions with what is in the cluster.
pub(crate) async fn compare(writer: &Writer, name: &str) -> Result<Compared, CrdError> {
    let Some(body) = wanted(name) else {
        return Ok(Compared::Same);
    };
    let Some(live) = live(writer, name).await? else {
        return Ok(Compared::Differs { by: None });
    };
    Ok(if is_newer(version(&live)) {
        Compared::Newer
    } else if patch(&live, &body).is_none() {
        Compared::Same
    } else {
        Compared::Differs {
            by: last_writer(&live),
        }
    })
}

/// Writes one of our definitions, if it differs.
pub(crate) async fn put(writer: &Writer, name: &str) -> Result<(), CrdError> {
    match wanted(name) {
        Some(body) => write(writer, name, body).await.map(drop),
        None => Ok(()),
    }
}

fn version(live: &Value) -> Option<&str> {
    live.pointer("/metadata/annotations")?
        .get(annotation::VERSION)?
        .as_str()
}

/// Who, other than us, wrote the definition last.
fn last_writer(live: &Value) -> Option<String> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let theirs = entries.iter().filter(|entry| {
        entry.get("manager").and_then(Value::as_str) != Some(api::FIELD_MANAGER_CRDS)
            && entry.pointer("/fieldsV1/f:spec").is_some()
    });
    let last = theirs.max_by_key(|entry| entry.get("time").and_then(Value::as_str))?;
    Some(last.get("manager")?.as_str()?.to_owned())
}

async fn live(writer: &Writer, name: &str) -> Result<Option<Value>, CrdError> {
    let Some(target) = target(name) else {
        return Ok(None);
    };
    read::value(writer.client(), &target)
        .await
        .map_err(|error| CrdError::Read {
            name: name.to_owned(),
            error,
        })
}

async fn write(writer: &Writer, name: &str, body: Value) -> Result<Outcome, CrdError> {
    let manager = api::FIELD_MANAGER_CRDS;
    let Some(target) = target(name) else {
        return Ok(Outcome::Same);
    };
    let failed = |error| CrdError::Write {
        name: name.to_owned(),
        error,
    };
    for attempt in 1..=TRIES {
        let written = match live(writer, name).await? {
            None => writer.create(manager, &target, &body).await,
            Some(live) => {
                let text = |path: &str| {
                    live.pointer(path)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned()
                };
                if is_newer(version(&live)) {
                    return Ok(Outcome::Newer);
                }
                let Some(patch) = patch(&live, &body) else {
                    return Ok(Outcome::Same);
                };
                let exactly = Preconditions {
                    uid: Some(text("/metadata/uid")),
                    resource_version: Some(text("/metadata/resourceVersion")),
                };
                writer
                    .json_patch(manager, &target, conditional(patch, &exactly))
                    .await
            }
        };
        match written {
            Ok(_) => return Ok(Outcome::Written),
            Err(
                WriteError::Conflict { .. } | WriteError::AlreadyExists { .. } | WriteError::NotFound { .. },
            ) if attempt < TRIES => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(Outcome::Same)
}

/// A version that this process doesn't know better than is left alone: the cluster may just be rolled back by one replica.
fn is_newer(theirs: Option<&str>) -> bool {
    let ours = Version::parse(env!("CARGO_PKG_VERSION")).ok();
    match (theirs.and_then(|t| Version::parse(t).ok()), ours) {
        (Some(theirs), Some(ours)) => theirs > ours,
        _ => false,
    }
}

/// What has to change, as JSON patch operations; `None` if nothing. Stored versions that we don't serve any more stay, for
/// the API server refuses to lose them; conversion and what the server fills in stay too.
fn patch(live: &Value, wanted: &Value) -> Option<Vec<Value>> {
    let mut ops = vec![];
    let version = wanted
        .pointer("/metadata/annotations")
        .and_then(|a| a.get(annotation::VERSION));
    let annotations = live.pointer("/metadata/annotations");
    if annotations.and_then(|a| a.get(annotation::VERSION)) != version {
        match (annotations.is_some_and(Value::is_object), version) {
            (true, Some(version)) => {
                let path = format!("/metadata/annotations/{}", annotation::VERSION.replace('/', "~1"));
                ops.push(json!({"op": "add", "path": path, "value": version}));
            }
            (false, Some(version)) => {
                let all = json!({annotation::VERSION: version});
                ops.push(json!({"op": "add", "path": "/metadata/annotations", "value": all}));
            }
            (_, None) => {}
        }
    }
    for field in ["names", "versions", "scope", "group"] {
        let (have, want) = (
            live.pointer(&format!("/spec/{field}")),
            wanted.pointer(&format!("/spec/{field}")),
        );
        let Some(want) = want else { continue };
        if !have.is_some_and(|have| contains(have, want)) {
            ops.push(json!({"op": "add", "path": format!("/spec/{field}"), "value": want}));
        }
    }
    (!ops.is_empty()).then_some(ops)
}

/// `have` is `want` with nothing but defaults added to objects.
fn contains(have: &Value, want: &Value) -> bool {
    match (have, want) {
        (Value::Object(have), Value::Object(want)) => {
            want.iter()
                .all(|(key, value)| have.get(key).is_some_and(|have| contains(have, value)))
                && have
                    .iter()
                    .all(|(key, value)| want.contains_key(key) || is_default(key, value))
        }
        (Value::Array(have), Value::Array(want)) => {
            have.len() == want.len() && have.iter().zip(want).all(|(have, want)| contains(have, want))
        }
        (have, want) => have == want,
    }
}

/// What the API server adds to a definition by itself.
fn is_default(key: &str, value: &Value) -> bool {
    match key {
        "listKind" | "singular" => true,
        "preserveUnknownFields" | "deprecated" => *value == json!(false),
        "priority" => *value == json!(0),
        _ => value.is_null(),
    }
}

fn conditional(mut ops: Vec<Value>, exactly: &Preconditions) -> Value {
    ops.insert(
        0,
        json!({"op": "replace", "path": "/metadata/uid", "value": exactly.uid}),
    );
    ops.insert(
        1,
        json!({"op": "replace", "path": "/metadata/resourceVersion", "value": exactly.resource_version}),
    );
    Value::Array(ops)
}

async fn served(writer: &Writer, mut names: Vec<String>) -> Result<(), CrdError> {
    let deadline = tokio::time::Instant::now() + SERVED_TIMEOUT;
    loop {
        let mut left = vec![];
        for name in names {
            let Some(target) = target(&name) else { continue };
            let conditions = read::conditions(writer.client(), &target)
                .await
                .map_err(|error| CrdError::Read {
                    name: name.clone(),
                    error,
                })?;
            let served = conditions.and_then(|c| c.get("Established").map(|c| c.status == "True"));
            if served != Some(true) {
                left.push(name);
            }
        }
        names = left;
        if names.is_empty() {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(CrdError::NotServed {
                names: names.join(", "),
            });
        }
        tokio::time::sleep(SERVED_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_writer_is_somebody_else() {
        let entry = |manager: &str, time: &str, fields: &str| json!({"manager": manager, "time": time, "fieldsV1": {fields: {}}});
        let live = json!({"metadata": {"managedFields": [
            entry("crossplane", "2026-01-01T00:00:02Z", "f:spec"),
            entry(api::FIELD_MANAGER_CRDS, "2026-01-01T00:00:03Z", "f:spec"),
            entry("kube-apiserver", "2026-01-01T00:00:04Z", "f:status"),
            entry("kubectl", "2026-01-01T00:00:01Z", "f:spec"),
        ]}});
        assert_eq!(last_writer(&live).as_deref(), Some("crossplane"));
        assert_eq!(last_writer(&json!({})), None);
    }

    #[test]
    fn defaults_of_the_server_are_no_difference() {
        let want = json!({"names": {"plural": "a", "kind": "A"}, "versions": [{"name": "v1", "additionalPrinterColumns":
            [{"name": "AGE"}]}]});
        let have = json!({"names": {"plural": "a", "kind": "A", "listKind": "AList", "singular": "a"}, "versions":
            [{"name": "v1", "additionalPrinterColumns": [{"name": "AGE", "priority": 0}]}]});
        assert!(contains(&have, &want));
        assert!(!contains(&json!({"versions": []}), &want));
        let more = json!({"names": {"plural": "a", "kind": "A", "shortNames": ["x"]}});
        assert!(
            !contains(&more, &json!({"names": {"plural": "a", "kind": "A"}})),
            "somebody's short name goes"
        );
    }

    #[test]
    fn newer_definitions_are_known_by_their_version() {
        assert!(is_newer(Some("v99.0.0")));
        assert!(!is_newer(Some(env!("CARGO_PKG_VERSION"))));
        assert!(!is_newer(None) && !is_newer(Some("garbage")));
    }

    #[test]
    fn a_patch_of_what_is_right_is_none() {
        for crd in api::crds() {
            let wanted = serde_json::to_value(&crd).unwrap();
            assert_eq!(patch(&wanted, &wanted), None, "{}", name(&crd));
            let mut other = wanted.clone();
            other["spec"]["names"]["categories"] = json!(["x"]);
            assert!(patch(&other, &wanted).is_some_and(|ops| ops.len() == 1));
        }
    }
}
