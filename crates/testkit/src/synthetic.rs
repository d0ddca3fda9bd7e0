//! Custom resource definitions of the size that real providers have, made up.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

/// Properties of one level of a synthetic schema.
const FIELDS: usize = 8;
/// Description of every field: real ones are about this long.
const DESCRIPTION: &str = "A made-up setting of a made-up service, described at the length that generated \
    provider schemas usually have: what it does, which values it takes, when it is applied and what happens \
    otherwise.";

/// A CRD `<plural>.<group>` whose YAML is about `bytes` long (at least 1.5 KB). `version_label`, if given,
/// goes into a label and a description: two CRDs that differ in it differ in content but not in fields.
///
/// The plural is the lower-case kind plus `s`.
pub fn crd(group: &str, kind: &str, bytes: usize, version_label: Option<&str>) -> Value {
    sized(group, kind, fields_for(bytes), version_label)
}

/// How many leaves make a CRD about `bytes` long as YAML: found by trying, once per size.
fn fields_for(bytes: usize) -> usize {
    static KNOWN: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry(bytes).or_insert_with(|| {
        let length = |fields| {
            let crd = sized("example.org", "Thing", fields, None);
            serde_saphyr::to_string(&crd).map_or(usize::MAX, |text| text.len())
        };
        let (mut low, mut high) = (1, bytes / 200 + 2);
        while low + 1 < high {
            let middle = usize::midpoint(low, high);
            if length(middle) <= bytes {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    })
}

/// A CRD whose schema has `fields` leaves.
fn sized(group: &str, kind: &str, fields: usize, version_label: Option<&str>) -> Value {
    let plural = plural(kind);
    let mut spec = tree(fields, "setting");
    spec.insert(
        "providerConfigRef".to_owned(),
        json!({
            "type": "object", "description": "Which configuration of the provider is used.",
            "properties": { "name": { "type": "string" } }, "default": { "name": "default" },
        }),
    );
    let description = format!("{kind} is synthetic. {}", version_label.unwrap_or_default());
    let mut labels = Map::new();
    if let Some(version) = version_label {
        labels.insert("example.org/version".to_owned(), json!(version));
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}"), "labels": labels },
        "spec": {
            "group": group,
            "scope": "Cluster",
            "names": {
                "kind": kind, "listKind": format!("{kind}List"), "plural": plural,
                "singular": kind.to_lowercase(), "categories": ["synthetic"],
            },
            "versions": [{
                "name": "v1beta1", "served": true, "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": [
                    {
                        "name": "READY", "type": "string",
                        "jsonPath": ".status.conditions[?(@.type=='Ready')].status",
                    },
                    { "name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
                ],
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "description": description.trim(),
                    "properties": {
                        "apiVersion": { "type": "string" }, "kind": { "type": "string" },
                        "metadata": { "type": "object" },
                        "spec": { "type": "object", "properties": spec },
                        "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                    },
                } },
            }],
        },
    })
}

/// The plural of a synthetic kind.
pub fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}

/// A tree of properties with `fields` leaves.
fn tree(fields: usize, prefix: &str) -> Map<String, Value> {
    let mut properties = Map::new();
    for n in 0..FIELDS.min(fields) {
        let name = format!("{prefix}{n}");
        // Leaves are spread evenly over the branches.
        let share = fields / FIELDS + usize::from(n < fields % FIELDS);
        let field = if share > 1 {
            json!({ "type": "object", "description": DESCRIPTION, "properties": tree(share, "field") })
        } else {
            match n % 4 {
                0 => {
                    json!({ "type": "integer", "format": "int64", "minimum": 0, "description": DESCRIPTION })
                }
                1 => json!({ "type": "array", "items": { "type": "string" }, "description": DESCRIPTION }),
                2 => json!({ "type": "string", "enum": ["Enabled", "Disabled"], "description": DESCRIPTION }),
                _ => json!({ "type": "string", "maxLength": 253, "description": DESCRIPTION }),
            }
        };
        properties.insert(name, field);
    }
    properties
}
