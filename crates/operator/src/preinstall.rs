//! Packages that flags name. The leader makes them at start, or brings them to what the flags say (behaviour 7.4); what it
//! does not name is left to others, and nothing is deleted when a flag goes.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use api::names::{MAX_NAME_BYTES, to_dns_label};
use api::pkg::{Package, PackageKind};
use kit::write::{Preconditions, WriteError};
use oci::Reference;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::context::{Context, by_source, package_target};
use crate::key::Key;

/// First pause before what could not be written is tried again: caches follow a write within it.
pub(crate) const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest such pause: somebody may change what refuses it.
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(300);

/// Why a flag's value can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PreinstallError {
    /// The JSON is none, or has fields that there are not.
    #[error("the package is no JSON object with the fields that it may have: {0}")]
    Json(serde_json::Error),
    /// The reference can't be read.
    #[error(transparent)]
    Reference(#[from] oci::ReferenceError),
    /// The API server would refuse the reference.
    #[error("{0} can't be spec.package: write registry, repository, and tag or digest")]
    Incomplete(String),
    /// The name can't be one.
    #[error("{0:?} can't be the name of a package: use lower-case letters, digits, '-' and '.'")]
    Name(String),
    /// A name can't be made of the repository.
    #[error("no name can be made of repository {0}: give one, as {{\"package\": …, \"name\": …}}")]
    NoName(String),
    /// Configurations have no runtime.
    #[error("Configuration {0} can't have a runtimeConfigRef: configurations have no runtime")]
    NoRuntime(String),
    /// Two flags mean one package.
    #[error("{kind} {name} is asked for twice; give each package once, or names of their own")]
    Twice {
        /// Kind of package.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

/// A package that a flag names: an OCI reference, or a JSON object with the reference and options.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    name: Option<String>,
    reference: Reference,
    /// Fields of the spec that the flag sets.
    spec: Value,
}

/// What the JSON may say: the fields of a package's spec, and its name.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    #[serde(skip_serializing)]
    name: Option<String>,
    package: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_pull_policy: Option<Pull>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_pull_secrets: Option<Vec<Secret>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision_activation_policy: Option<Activation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision_history_limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_crossplane_constraints: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skip_dependency_resolution: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    common_labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    common_annotations: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_config_ref: Option<RuntimeConfig>,
}

#[derive(Deserialize, Serialize)]
enum Pull {
    Always,
    IfNotPresent,
    Never,
}

#[derive(Deserialize, Serialize)]
enum Activation {
    Automatic,
    Manual,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    name: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuntimeConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    name: String,
}

impl FromStr for Wanted {
    type Err = PreinstallError;

    fn from_str(text: &str) -> Result<Self, PreinstallError> {
        let text = text.trim();
        let (name, package, spec) = if text.starts_with('{') {
            let options: Options = serde_json::from_str(text).map_err(PreinstallError::Json)?;
            let spec = serde_json::to_value(&options).map_err(PreinstallError::Json)?;
            (options.name, options.package, spec)
        } else {
            (None, text.to_owned(), json!({ "package": text }))
        };
        let reference = Reference::parse(&package)?;
        if !Reference::package_rule(&package) {
            return Err(PreinstallError::Incomplete(package));
        }
        match &name {
            Some(name) if !is_name(name) => return Err(PreinstallError::Name(name.clone())),
            None if to_dns_label(reference.repository()).is_empty() => {
                return Err(PreinstallError::NoName(reference.repository().to_owned()));
            }
            _ => {}
        }
        Ok(Self {
            name,
            reference,
            spec,
        })
    }
}

fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let edge = |c: char| c.is_ascii_alphanumeric();
    name.len() <= MAX_NAME_BYTES && name.chars().all(good) && name.starts_with(edge) && name.ends_with(edge)
}

impl Wanted {
    /// The name that it has, or gets where no package of the same source exists.
    #[must_use]
    pub fn name(&self) -> String {
        let made = || to_dns_label(self.reference.repository());
        self.name.clone().unwrap_or_else(made)
    }
}

/// All packages that flags name.
///
/// # Errors
/// If two flags mean the same package, or a Configuration has what it can't have.
pub fn all(
    flags: impl IntoIterator<Item = (PackageKind, Vec<Wanted>)>,
) -> Result<Vec<(PackageKind, Wanted)>, PreinstallError> {
    let mut all: Vec<(PackageKind, Wanted)> = vec![];
    for (kind, wanted) in flags {
        for wanted in wanted {
            let name = wanted.name();
            if !kind.has_runtime() && wanted.spec.get("runtimeConfigRef").is_some() {
                return Err(PreinstallError::NoRuntime(name));
            }
            // Without a name a package of the same source would be taken for this one, too.
            let same = |(k, other): &(PackageKind, Wanted)| {
                let unnamed = wanted.name.is_none() || other.name.is_none();
                let source = unnamed && other.reference.source() == wanted.reference.source();
                *k == kind && (other.name() == name || source)
            };
            if all.iter().any(same) {
                let kind = kind.kind();
                return Err(PreinstallError::Twice { kind, name });
            }
            all.push((kind, wanted));
        }
    }
    Ok(all)
}

/// What to do about one package.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It is as the flag says.
    Nothing,
    /// It is being deleted; its name is free later.
    Await,
    /// There is none.
    Create {
        /// The whole object.
        body: Value,
    },
    /// It differs.
    Change {
        /// Its name.
        name: String,
        /// A merge patch, for exactly what was seen.
        patch: Value,
    },
}

/// Decides. `found` are packages of this kind that have the same source or the flag's name. Without a name in the flag the
/// name of a package with the same source counts, as in the reference.
#[must_use]
pub fn plan(kind: PackageKind, wanted: &Wanted, found: &[Arc<Package>]) -> Step {
    let named = |package: &&Arc<Package>| package.metadata.name.as_deref() == Some(&wanted.name());
    let same_source = |package: &&Arc<Package>| {
        crate::dependencies::plan::source(&package.spec.package).as_deref()
            == Some(&wanted.reference.source())
    };
    let by_source = || {
        let all = found.iter().filter(same_source);
        all.min_by_key(|package| (!named(package), package.metadata.name.clone()))
    };
    let by_name = || found.iter().find(named);
    let chosen = match wanted.name {
        Some(_) => by_name(),
        None => by_source().or_else(by_name),
    };
    let Some(package) = chosen else {
        let body = json!({
            "apiVersion": api::API_VERSION, "kind": kind.kind(),
            "metadata": { "name": wanted.name() }, "spec": wanted.spec,
        });
        return Step::Create { body };
    };
    if package.metadata.deletion_timestamp.is_some() {
        return Step::Await;
    }
    let have = serde_json::to_value(&package.spec).unwrap_or_default();
    let differs = |(key, value): &(&String, &Value)| !have.get(key).is_some_and(|have| covers(have, value));
    let spec: serde_json::Map<_, _> = wanted
        .spec
        .as_object()
        .into_iter()
        .flatten()
        .filter(differs)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if spec.is_empty() {
        return Step::Nothing;
    }
    let exactly = Preconditions::exactly(&kit::meta::Meta::from(&package.metadata));
    Step::Change {
        name: package.metadata.name.clone().unwrap_or_default(),
        patch: json!({ "metadata": exactly, "spec": spec }),
    }
}

/// Whether merging `want` into `have` would change nothing.
fn covers(have: &Value, want: &Value) -> bool {
    match (have, want) {
        (Value::Object(have), Value::Object(want)) => want
            .iter()
            .all(|(key, value)| have.get(key).is_some_and(|have| covers(have, value))),
        (have, want) => have == want,
    }
}

/// Does it, again and again until all is done. What is refused is told once.
pub(crate) async fn run(cx: Arc<Context>, wanted: Vec<(PackageKind, Wanted)>) {
    let mut left: Vec<_> = wanted.into_iter().map(|one| (one, String::new())).collect();
    let mut pause = RETRY_FIRST;
    loop {
        let mut later = vec![];
        for ((kind, wanted), told) in left {
            match settle(&cx, kind, &wanted).await {
                Ok(true) => {}
                Ok(false) => later.push(((kind, wanted), told)),
                Err(error) => {
                    let why = error.to_string();
                    if why != told {
                        let (kind, name) = (kind.kind(), wanted.name());
                        tracing::error!(
                            kind,
                            name,
                            why,
                            "a package that a flag names could not be written"
                        );
                    }
                    later.push(((kind, wanted), why));
                }
            }
        }
        if later.is_empty() {
            return;
        }
        left = later;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// Whether the package is as it should be, after at most one write.
async fn settle(cx: &Context, kind: PackageKind, wanted: &Wanted) -> Result<bool, WriteError> {
    let Some(live) = cx.caches.packages.get(kind) else {
        return Ok(true);
    };
    let mut found = live.lookup_objects(&by_source(&wanted.reference.source()));
    found.extend(live.get(&wanted.name()));
    let manager = api::FIELD_MANAGER_PREINSTALL;
    let written = match plan(kind, wanted, &found) {
        Step::Nothing => return Ok(true),
        Step::Await => return Ok(false),
        Step::Create { body } => {
            let target = package_target(&Key::new(kind, wanted.name()));
            cx.writer.create(manager, &target, body).await
        }
        Step::Change { name, patch } => {
            let target = package_target(&Key::new(kind, name));
            cx.writer.merge_patch(manager, &target, patch).await
        }
    };
    match written {
        Ok(meta) => {
            tracing::info!(
                kind = kind.kind(),
                name = meta.name,
                "a package that a flag names was written"
            );
            Ok(true)
        }
        // Somebody else was faster; the cache will show it.
        Err(WriteError::AlreadyExists { .. } | WriteError::Conflict { .. } | WriteError::NotFound { .. }) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    const NIMBUS: &str = "registry.example.org/team/nimbus:v1";

    fn wanted(text: &str) -> Wanted {
        text.parse().unwrap()
    }

    fn package(name: &str, spec: Value) -> Arc<Package> {
        let object = json!({
            "metadata": { "name": name, "uid": "u", "resourceVersion": "7" }, "spec": spec,
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_value_is_a_reference_or_an_object_with_options() {
        assert_eq!(wanted(NIMBUS).name(), "team-nimbus");
        let text = r#"{"package": "registry.example.org/team/nimbus:v1", "name": "nimbus", "packagePullPolicy": "Always",
            "packagePullSecrets": [{"name": "key"}], "revisionHistoryLimit": 3}"#;
        let one = wanted(text);
        assert_eq!(one.name(), "nimbus");
        let spec = json!({
            "package": NIMBUS, "packagePullPolicy": "Always", "packagePullSecrets": [{"name": "key"}],
            "revisionHistoryLimit": 3,
        });
        assert_eq!(one.spec, spec);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("nimbus", "registry"),
            ("registry.example.org/team/nimbus", "tag or digest"),
            ("{", "JSON"),
            (
                r#"{"package": "r.example.org/a:v1", "pullPolicy": "Always"}"#,
                "unknown field `pullPolicy`",
            ),
            (
                r#"{"package": "r.example.org/a:v1", "packagePullPolicy": "Now"}"#,
                "`IfNotPresent`",
            ),
            (r#"{"package": "r.example.org/a:v1", "name": "A_B"}"#, "A_B"),
            (r#"{"name": "a"}"#, "missing field `package`"),
            ("registry.example.org/___:v1", "no name can be made"),
        ] {
            let error = text.parse::<Wanted>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let twice = [(PackageKind::Provider, vec![wanted(NIMBUS), wanted(NIMBUS)])];
        assert!(
            all(twice)
                .unwrap_err()
                .to_string()
                .contains("Provider team-nimbus")
        );
        let named = wanted(r#"{"package": "registry.example.org/team/nimbus:v2", "name": "n"}"#);
        assert!(all([(PackageKind::Provider, vec![named.clone(), wanted(NIMBUS)])]).is_err());
        let other = wanted(r#"{"package": "registry.example.org/team/nimbus:v2", "name": "m"}"#);
        assert!(all([(PackageKind::Provider, vec![named, other])]).is_ok());
        let one_each = PackageKind::ALL.map(|kind| (kind, vec![wanted(NIMBUS)]));
        assert_eq!(all(one_each).unwrap().len(), 3);
        let runtime = r#"{"package": "r.example.org/a:v1", "runtimeConfigRef": {"name": "x"}}"#;
        let flags = |kind| all([(kind, vec![wanted(runtime)])]);
        assert!(flags(PackageKind::Configuration).is_err() && flags(PackageKind::Function).is_ok());
    }

    #[test]
    fn an_absent_package_is_made() {
        let step = plan(PackageKind::Function, &wanted(NIMBUS), &[]);
        let Step::Create { body } = step else {
            panic!("{step:?}")
        };
        assert_eq!(body["kind"], "Function");
        assert_eq!(body["metadata"]["name"], "team-nimbus");
        assert_eq!(body["spec"], json!({ "package": NIMBUS }));
    }

    #[test]
    fn a_package_of_the_same_source_keeps_its_name_and_all_that_the_flag_does_not_say() {
        let spec = json!({ "package": "registry.example.org/team/nimbus:v0", "revisionHistoryLimit": 9 });
        let live = [package("mine", spec)];
        let step = plan(PackageKind::Provider, &wanted(NIMBUS), &live);
        let patch = json!({
            "metadata": { "uid": "u", "resourceVersion": "7" }, "spec": { "package": NIMBUS },
        });
        let name = "mine".to_owned();
        assert_eq!(step, Step::Change { name, patch });
        // A name in the flag decides.
        let named = wanted(&format!(r#"{{"package": "{NIMBUS}", "name": "other"}}"#));
        assert!(matches!(
            plan(PackageKind::Provider, &named, &live),
            Step::Create { .. }
        ));
        // Of several the one with the flag's name, then the first.
        let both = [
            package("a", json!({ "package": NIMBUS })),
            package(
                "team-nimbus",
                json!({ "package": "registry.example.org/team/nimbus:v0" }),
            ),
        ];
        let step = plan(PackageKind::Provider, &wanted(NIMBUS), &both);
        assert!(matches!(step, Step::Change { name, .. } if name == "team-nimbus"));
        // Another registry under the same path: the package moves there.
        let moved = [package(
            "team-nimbus",
            json!({ "package": "elsewhere.example.org/team/nimbus:v1" }),
        )];
        let step = plan(PackageKind::Provider, &wanted(NIMBUS), &moved);
        assert!(matches!(step, Step::Change { name, .. } if name == "team-nimbus"));
    }

    #[test]
    fn what_is_right_is_not_written() {
        let text = format!(
            r#"{{"package": "{NIMBUS}", "commonLabels": {{"a": "1"}}, "runtimeConfigRef": {{"name": "big"}}}}"#
        );
        let spec = json!({
            "package": NIMBUS, "packagePullPolicy": "Always", "commonLabels": { "a": "1", "b": "2" },
            "runtimeConfigRef": { "apiVersion": "x/v1", "kind": "X", "name": "big" },
        });
        let live = [package("team-nimbus", spec)];
        assert_eq!(plan(PackageKind::Provider, &wanted(&text), &live), Step::Nothing);
        assert_eq!(plan(PackageKind::Provider, &wanted(NIMBUS), &live), Step::Nothing);
    }

    #[test]
    fn what_is_being_deleted_is_awaited() {
        let mut going = Package::clone(&package("team-nimbus", json!({ "package": NIMBUS })));
        going.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(
            plan(PackageKind::Provider, &wanted(NIMBUS), &[Arc::new(going)]),
            Step::Await
        );
    }
}
