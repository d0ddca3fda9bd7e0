//! What is sent to the API server for one object: its complete body when it is created, a JSON patch that makes content
//! equal and touches only our keys in metadata when it exists (design §3.1.4). Pure.

use std::collections::BTreeMap;

use api::managed_resource::ACTIVE;
use kit::meta::{Meta, Owner};
use kit::write::Payload;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::diff::Item;
use super::items::{self, WebhookService};
use super::ownership;

/// Top-level fields that are not content.
const NOT_CONTENT: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

/// An object's content. Values are passed on as the text that they are: as trees, a few large definitions at a time would
/// be most of this process's memory.
#[derive(Clone, Debug)]
pub(super) struct Object {
    metadata: Value,
    fields: BTreeMap<String, Box<RawValue>>,
}

impl Object {
    /// The object of these fields.
    pub(super) fn new(mut fields: BTreeMap<String, Box<RawValue>>) -> Result<Self, serde_json::Error> {
        let metadata = match fields.remove("metadata") {
            Some(metadata) => serde_json::from_str(metadata.get())?,
            None => json!({}),
        };
        Ok(Self { metadata, fields })
    }

    /// A definition of a managed resource in the state that it has: who activates one is not its package (behaviour 2.4.2), unless
    /// that asks for `Active` itself.
    pub(super) fn in_state(mut self, live: &str) -> Result<Self, serde_json::Error> {
        let mut spec = match self.fields.get("spec") {
            Some(spec) => serde_json::from_str::<Map<String, Value>>(spec.get())?,
            None => Map::new(),
        };
        if spec.get("state").and_then(Value::as_str) != Some(ACTIVE) {
            spec.insert("state".to_owned(), json!(live));
            self.fields.insert("spec".to_owned(), to_raw_value(&spec)?);
        }
        Ok(self)
    }

    /// The same object with its webhooks pointing to their service.
    pub(super) fn wired(self, webhooks: &WebhookService) -> Result<Self, serde_json::Error> {
        let Self { metadata, fields } = self;
        let wired = items::wire(serde_json::to_value(fields)?, webhooks);
        let fields = serde_json::from_value(wired)?;
        Ok(Self { metadata, fields })
    }
}

/// The body that creates the object.
pub(super) fn create(object: Object, item: &Item, owners: &[Owner]) -> Result<Payload, serde_json::Error> {
    let Object {
        mut metadata,
        mut fields,
    } = object;
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("name".into(), json!(item.name));
        for (field, wanted) in [("labels", &item.labels), ("annotations", &item.annotations)] {
            let have = metadata.entry(field).or_insert_with(|| json!({}));
            if let Some(have) = have.as_object_mut() {
                have.extend(wanted.iter().map(|(key, value)| (key.clone(), json!(value))));
            }
        }
        if metadata
            .get("labels")
            .is_some_and(|l| l.as_object().is_none_or(Map::is_empty))
        {
            metadata.remove("labels");
        }
        metadata["annotations"][api::annotation::CONTENT] = json!(item.hash);
        if let Some(keys) = keys(item) {
            metadata["annotations"][api::annotation::KEYS] = json!(keys);
        }
        metadata.insert("ownerReferences".into(), ownership::to_json(owners));
    }
    fields.insert("metadata".to_owned(), to_raw_value(&metadata)?);
    Ok(Payload::from(serde_json::to_vec(&fields)?))
}

/// A JSON patch (RFC 6902) that makes the live object's content equal to the package's, sets our labels and annotations
/// and the owners, and keeps everything else in its metadata. Setting uid and resourceVersion makes it conditional: the
/// API server answers 409 when either is another by then.
pub(super) fn replace(
    object: &Object,
    item: &Item,
    owners: &[Owner],
    live: &Meta,
) -> Result<Payload, serde_json::Error> {
    #[derive(serde::Serialize)]
    struct Add<'a> {
        op: &'static str,
        path: String,
        value: &'a RawValue,
    }
    let mut ops = condition(live, owners)
        .iter()
        .map(to_raw_value)
        .collect::<Result<Vec<_>, _>>()?;
    for (key, value) in &object.fields {
        if !NOT_CONTENT.contains(&key.as_str()) {
            // `add` replaces what is there and makes what isn't.
            let path = pointer(&[key]);
            ops.push(to_raw_value(&Add {
                op: "add",
                path,
                value,
            })?);
        }
    }
    let content = |field: &str| object.metadata.get(field).and_then(Value::as_object);
    let labels = merged(content("labels"), &item.labels);
    let mut annotations = merged(content("annotations"), &item.annotations);
    annotations.insert(api::annotation::CONTENT.to_owned(), json!(item.hash));
    annotations.extend(keys(item).map(|keys| (api::annotation::KEYS.to_owned(), json!(keys))));
    let gone = stale(live, &labels, &annotations);
    let mut metadata = vec![];
    for (field, wanted, have) in [
        ("labels", labels, &live.labels),
        ("annotations", annotations, &live.annotations),
    ] {
        if have.is_empty() && !wanted.is_empty() {
            // Nobody has any (or only what a watch doesn't show): a map is made if there is none, then filled.
            metadata.push(json!({"op": "add", "path": pointer(&["metadata", field]), "value": wanted}));
            continue;
        }
        for (key, value) in wanted {
            if have.get(&key).map(String::as_str) != value.as_str() {
                metadata
                    .push(json!({"op": "add", "path": pointer(&["metadata", field, &key]), "value": value}));
            }
        }
    }
    metadata.extend(gone.iter().map(|path| json!({"op": "remove", "path": path})));
    for op in &metadata {
        ops.push(to_raw_value(op)?);
    }
    Ok(Payload::from(serde_json::to_vec(&ops)?))
}

/// The keys that we set, for [`api::annotation::KEYS`]; nothing where we set none.
fn keys(item: &Item) -> Option<String> {
    let keys = |map: &BTreeMap<String, String>| map.keys().cloned().collect::<Vec<_>>();
    let set = json!({"labels": keys(&item.labels), "annotations": keys(&item.annotations)});
    (!item.labels.is_empty() || !item.annotations.is_empty()).then(|| set.to_string())
}

/// Pointers to labels and annotations that we set once and that are not wanted any more.
fn stale(live: &Meta, labels: &Map<String, Value>, annotations: &Map<String, Value>) -> Vec<String> {
    let text = live.annotations.get(api::annotation::KEYS);
    let Some(set) = text.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return vec![];
    };
    let mut gone = vec![];
    for (field, wanted, have) in [
        ("labels", labels, &live.labels),
        ("annotations", annotations, &live.annotations),
    ] {
        let keys = set
            .get(field)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let left = keys.filter(|key| have.contains_key(*key) && !wanted.contains_key(*key));
        gone.extend(left.map(|key| pointer(&["metadata", field, key])));
    }
    if !annotations.contains_key(api::annotation::KEYS) {
        gone.push(pointer(&["metadata", "annotations", api::annotation::KEYS]));
    }
    gone
}

/// A JSON patch of nothing but the owners.
#[must_use]
pub(super) fn own(owners: &[Owner], live: &Meta) -> Payload {
    Payload::from(Value::Array(condition(live, owners)))
}

fn condition(live: &Meta, owners: &[Owner]) -> Vec<Value> {
    vec![
        json!({"op": "replace", "path": "/metadata/uid", "value": live.uid}),
        json!({"op": "replace", "path": "/metadata/resourceVersion", "value": live.resource_version}),
        json!({"op": "add", "path": "/metadata/ownerReferences", "value": ownership::to_json(owners)}),
    ]
}

fn merged(
    content: Option<&serde_json::Map<String, Value>>,
    ours: &std::collections::BTreeMap<String, String>,
) -> serde_json::Map<String, Value> {
    let mut all = content.cloned().unwrap_or_default();
    all.extend(ours.iter().map(|(key, value)| (key.clone(), json!(value))));
    all
}

/// A JSON pointer (RFC 6901).
fn pointer(path: &[&str]) -> String {
    path.iter()
        .map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = r#"{"annotations":[],"labels":["team"]}"#;

    fn item() -> Item {
        Item {
            kind: 0,
            version: "v1".into(),
            name: "x.example.org".into(),
            hash: "1-h".into(),
            labels: [("team".to_owned(), "a".to_owned())].into(),
            annotations: BTreeMap::new(),
            entry: 0,
        }
    }

    fn content() -> Value {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "x.example.org", "annotations": {"a/b": "c"}, "labels": {"team": "content"}},
            "spec": {"group": "example.org"},
        })
    }

    fn object() -> Object {
        Object::new(serde_json::from_value(content()).unwrap()).unwrap()
    }

    fn json_of(payload: Result<Payload, serde_json::Error>) -> Value {
        serde_json::from_slice(payload.unwrap().as_ref()).unwrap()
    }

    #[test]
    fn a_new_object_carries_content_owners_and_common_labels() {
        let body = json_of(create(object(), &item(), &[]));
        assert_eq!(
            body["metadata"]["labels"],
            json!({"team": "a"}),
            "common labels win (api.md 4.1)"
        );
        assert_eq!(
            body["metadata"]["annotations"],
            json!({"a/b": "c", "gantry.dev/content": "1-h", "gantry.dev/keys": KEYS})
        );
        assert_eq!(body["spec"], content()["spec"]);
        assert_eq!(body["kind"], "CustomResourceDefinition");
    }

    #[test]
    fn a_patch_touches_only_our_keys() {
        let live = Meta {
            uid: "u".into(),
            resource_version: "7".into(),
            labels: [("theirs".to_owned(), "x".to_owned())].into(),
            annotations: [
                ("a/b".to_owned(), "c".to_owned()),
                ("theirs".to_owned(), "y".to_owned()),
            ]
            .into(),
            ..Meta::default()
        };
        let patch = json_of(replace(&object(), &item(), &[], &live));
        let paths: Vec<&str> = patch
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|op| op["path"].as_str())
            .collect();
        assert_eq!(
            paths,
            [
                "/metadata/uid",
                "/metadata/resourceVersion",
                "/metadata/ownerReferences",
                "/spec",
                "/metadata/labels/team",
                "/metadata/annotations/gantry.dev~1content",
                "/metadata/annotations/gantry.dev~1keys",
            ]
        );
    }

    #[test]
    fn a_definition_keeps_the_state_that_others_gave_it() {
        for (wanted, live, then) in [
            (json!({}), "Active", "Active"),
            (json!({"state": "Inactive"}), "Active", "Active"),
            (json!({"state": "Active"}), "Inactive", "Active"),
            (json!({"group": "x"}), "Inactive", "Inactive"),
        ] {
            let object = Object::new(serde_json::from_value(json!({"spec": wanted})).unwrap()).unwrap();
            let patch = json_of(replace(
                &object.in_state(live).unwrap(),
                &item(),
                &[],
                &Meta::default(),
            ));
            let spec = patch.as_array().unwrap().iter().find(|op| op["path"] == "/spec");
            assert_eq!(spec.unwrap()["value"]["state"], then, "{wanted} {live}");
            assert_eq!(spec.unwrap()["value"]["group"], wanted["group"]);
        }
    }

    #[test]
    fn keys_that_are_not_wanted_any_more_are_taken_away() {
        let live = Meta {
            labels: [("team", "a"), ("cost", "b"), ("theirs", "c")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            annotations: [(
                api::annotation::KEYS.to_owned(),
                r#"{"labels":["team","cost","gone"],"annotations":[]}"#.to_owned(),
            )]
            .into(),
            ..Meta::default()
        };
        let removed = |item: &Item| -> Vec<String> {
            let patch = json_of(replace(&object(), item, &[], &live));
            let ops = patch.as_array().unwrap().iter().filter(|op| op["op"] == "remove");
            ops.filter_map(|op| op["path"].as_str().map(str::to_owned))
                .collect()
        };
        assert_eq!(
            removed(&item()),
            ["/metadata/labels/cost"],
            "not what is wanted, nor what others set"
        );
        let none = Item {
            labels: BTreeMap::new(),
            ..item()
        };
        assert_eq!(
            removed(&none),
            ["/metadata/labels/cost", "/metadata/annotations/gantry.dev~1keys"]
        );
    }

    #[test]
    fn maps_are_made_where_there_are_none() {
        let patch = json_of(replace(&object(), &item(), &[], &Meta::default()));
        let made = |path: &str| {
            patch
                .as_array()
                .unwrap()
                .iter()
                .find(|op| op["path"] == path)
                .cloned()
        };
        assert_eq!(made("/metadata/labels").unwrap()["value"], json!({"team": "a"}));
        assert_eq!(
            made("/metadata/annotations").unwrap()["value"],
            json!({"a/b": "c", "gantry.dev/content": "1-h", "gantry.dev/keys": KEYS})
        );
    }
}
