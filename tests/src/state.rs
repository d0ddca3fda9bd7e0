//! What a package left behind in the cluster, without what differs from run to run: to compare a disturbed
//! run with an undisturbed one.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use testkit::World;
use testkit::world::USER;

/// Kinds of objects that the packages of these tests carry.
const CARRIED: [&str; 2] = ["CustomResourceDefinition", "Composition"];

/// One package of a test: what its name, its group and its images are called.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name of the Provider.
    pub name: String,
    /// API group of everything in it; occurs in the name of every object it carries.
    pub group: String,
    /// Digests of its versions, in order.
    pub digests: Vec<String>,
}

impl Subject {
    /// `name` must be unique in the world and no part of another one.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            group: format!("{name}.example.org"),
            digests: vec![],
        }
    }

    /// All that there is of it, by kind and name, in comparable form.
    pub async fn state(&self, world: &World) -> Result<BTreeMap<String, Value>> {
        let mut revisions = world.revisions("Provider", &self.name).await?;
        revisions.reverse();
        let mut found: Vec<(String, Value)> = vec![];
        if let Some(package) = world.get("Provider", &self.name).await? {
            found.push(("Provider".to_owned(), package));
        }
        let names: Vec<String> = revisions.iter().map(name).collect();
        found.extend(revisions.into_iter().map(|r| ("ProviderRevision".to_owned(), r)));
        for kind in CARRIED {
            let objects = world.list(kind, "").await?;
            let ours = objects.into_iter().filter(|o| name(o).contains(&self.group));
            found.extend(ours.map(|object| (kind.to_owned(), object)));
        }
        let mut all = BTreeMap::new();
        for (kind, object) in found {
            let text = serde_json::to_string(&comparable(&object))?;
            let name = self.anonymous(&name(&object), &names);
            let mut object: Value = serde_json::from_str(&self.anonymous(&text, &names))?;
            for list in ["/metadata/owners", "/status/objectRefs", "/status/conditions"] {
                if let Some(list) = object.pointer_mut(list).and_then(Value::as_array_mut) {
                    list.sort_by_key(ToString::to_string);
                }
            }
            all.insert(format!("{kind} {name}"), object);
        }
        Ok(all)
    }

    fn anonymous(&self, text: &str, revisions: &[String]) -> String {
        let mut text = text.to_owned();
        for (n, digest) in self.digests.iter().enumerate() {
            text = text.replace(digest, &format!("(digest {})", n + 1));
        }
        for (n, revision) in revisions.iter().enumerate() {
            text = text.replace(revision, &format!("(revision {})", n + 1));
        }
        text.replace(&self.group, "(group)").replace(&self.name, "(name)")
    }
}

/// Whether an owner reference in a state leads to a revision that is gone: of these alone the name was not replaced.
pub fn owned_by_deleted(state: &BTreeMap<String, Value>) -> bool {
    let owners = state
        .values()
        .filter_map(|object| object["metadata"]["owners"].as_array())
        .flatten();
    owners
        .filter_map(Value::as_str)
        .any(|owner| owner.starts_with("ProviderRevision (name)-"))
}

/// Name of an object.
pub fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// What counts: metadata that says something, the spec, of the status what is not a time or a text.
fn comparable(object: &Value) -> Value {
    let mut metadata = Map::new();
    for key in ["labels", "annotations", "finalizers"] {
        if let Some(value) = object["metadata"].get(key) {
            metadata.insert(key.to_owned(), value.clone());
        }
    }
    // The hash follows from the content, which is compared anyway.
    if let Some(hash) = metadata
        .get_mut("annotations")
        .and_then(|a| a.get_mut("gantry.dev/content"))
    {
        *hash = json!("(hash)");
    }
    let owners = object["metadata"]["ownerReferences"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let owners = owners.iter().map(|o| {
        let (kind, name) = (o["kind"].as_str(), o["name"].as_str());
        format!(
            "{} {} controller={}",
            kind.unwrap_or_default(),
            name.unwrap_or_default(),
            o["controller"]
        )
    });
    let owners: Vec<String> = owners.collect();
    metadata.insert("owners".to_owned(), json!(owners));
    metadata.insert(
        "deleting".to_owned(),
        json!(!object["metadata"]["deletionTimestamp"].is_null()),
    );
    let mut status = Map::new();
    for (key, value) in object["status"].as_object().into_iter().flatten() {
        let value = match key.as_str() {
            "conditions" => conditions(value),
            "objectRefs" => object_refs(value),
            "observedGeneration" => json!(*value == object["metadata"]["generation"]),
            // Of a CRD only its conditions are compared.
            "acceptedNames" | "storedVersions" => continue,
            _ => value.clone(),
        };
        status.insert(key.clone(), value);
    }
    json!({ "metadata": metadata, "spec": object["spec"], "status": status })
}

fn conditions(conditions: &Value) -> Value {
    let all = conditions.as_array().cloned().unwrap_or_default();
    let one = |c: &Value| format!("{}={} {}", c["type"], c["status"], c["reason"]);
    json!(all.iter().map(one).collect::<Vec<_>>())
}

fn object_refs(refs: &Value) -> Value {
    let all = refs.as_array().cloned().unwrap_or_default();
    let one = |r: &Value| format!("{} {}", r["kind"], r["name"]);
    json!(all.iter().map(one).collect::<Vec<_>>())
}

/// Where two states differ, for messages.
pub fn difference(found: &BTreeMap<String, Value>, expected: &BTreeMap<String, Value>) -> String {
    let mut lines = vec![];
    for key in expected
        .keys()
        .chain(found.keys().filter(|k| !expected.contains_key(*k)))
    {
        let nothing = Value::Null;
        let (is, should) = (
            found.get(key).unwrap_or(&nothing),
            expected.get(key).unwrap_or(&nothing),
        );
        differing(key, is, should, &mut lines);
    }
    lines.join("\n")
}

fn differing(path: &str, is: &Value, should: &Value, lines: &mut Vec<String>) {
    match (is, should) {
        (is, should) if is == should => {}
        (Value::Object(is), Value::Object(should)) => {
            for key in is.keys().chain(should.keys().filter(|k| !is.contains_key(*k))) {
                let nothing = Value::Null;
                let (is, should) = (
                    is.get(key).unwrap_or(&nothing),
                    should.get(key).unwrap_or(&nothing),
                );
                differing(&format!("{path}.{key}"), is, should, lines);
            }
        }
        (is, should) => lines.push(format!("{path}: is {is}, should be {should}")),
    }
}

/// UID of a custom resource `kind` in lower case plus `s` of `group`, which must exist and stay.
pub async fn custom_resource(world: &World, group: &str, kind: &str, name: &str) -> Result<String> {
    let resource = format!("{}s.{group}", kind.to_lowercase());
    let path = "jsonpath={.metadata.uid}{.metadata.deletionTimestamp}";
    let uid = world
        .plane()
        .kubectl(&["get", &resource, name, "-o", path])
        .await?;
    ensure!(uid.len() == 36, "{resource} {name} is being deleted: {uid}");
    Ok(uid)
}

/// Makes a custom resource of a synthetic kind; answers its UID.
pub async fn make_custom_resource(world: &World, group: &str, kind: &str, name: &str) -> Result<String> {
    let object = json!({
        "apiVersion": format!("{group}/v1beta1"), "kind": kind,
        "metadata": { "name": name }, "spec": {},
    });
    world
        .plane()
        .apply_yaml(&object.to_string())
        .await
        .with_context(|| format!("cannot make a {kind} of {group}"))?;
    custom_resource(world, group, kind, name).await
}

/// That the operator was never told that it may not: `deploy/rbac.yaml` is enough for all it did here.
pub fn nothing_was_forbidden(world: &World) -> Result<()> {
    nothing_was_forbidden_but(world, &[])
}

/// The same, but for these times: an API server that starts answers before it has read who may do what.
pub fn nothing_was_forbidden_but(world: &World, starts: &[(Timestamp, Timestamp)]) -> Result<()> {
    let events = world.plane().audit()?.into_iter();
    let starting = |at: Timestamp| starts.iter().any(|(from, to)| (*from..=*to).contains(&at));
    let forbidden = events.filter(|e| e.user == USER && e.code == 403 && !starting(e.received));
    let forbidden: Vec<_> = forbidden.map(|e| format!("{} {}", e.verb, e.uri)).collect();
    ensure!(forbidden.is_empty(), "forbidden to the operator: {forbidden:#?}");
    Ok(())
}
