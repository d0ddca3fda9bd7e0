//! The objects of a package: what identifies one, and its canonical form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an object is, handed to the sink with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHeader {
    /// Number of the document, from 1, empty documents not counted.
    pub document: u32,
    /// `group/version`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// `metadata.name`; empty for kinds that are never applied and came without.
    pub name: String,
}

/// One object that the package establishes, and where its content is in the derived JSON lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectEntry {
    /// Number of the document, from 1, empty documents not counted.
    pub document: u32,
    /// API group.
    pub group: String,
    /// API version without group.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// Hash of the canonical content with the version of the hash's format: `1-` and 32 hex digits.
    pub content_hash: String,
    /// Where the canonical JSON begins in the JSON lines, in bytes.
    pub offset: u64,
    /// Its length without the line end, in bytes.
    pub len: u64,
    /// Labels that the package gives it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations that the package gives it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Whether it is a CRD that converts between versions by webhook.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub conversion_webhook: bool,
}

impl ObjectEntry {
    /// `group/version`.
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// Whether it is a CustomResourceDefinition.
    pub fn is_crd(&self) -> bool {
        self.group == "apiextensions.k8s.io" && self.kind == "CustomResourceDefinition"
    }

    /// Whether it is a Validating- or MutatingWebhookConfiguration, which needs a service that answers.
    pub fn is_webhook_configuration(&self) -> bool {
        self.group == "admissionregistration.k8s.io"
            && matches!(
                self.kind.as_str(),
                "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration"
            )
    }

    /// Whether it only works with a webhook server: a webhook configuration, or a CRD that converts by
    /// webhook.
    pub fn needs_webhook(&self) -> bool {
        self.conversion_webhook || self.is_webhook_configuration()
    }
}

/// Version of the hash's format. It changes when the canonical form of unchanged input changes, which makes
/// every installed object be written once: not without need.
pub const HASH_FORMAT: u32 = 1;

/// Hash of canonical content: `1-` and the first 32 hex digits of its SHA-256.
pub fn content_hash(canonical_json: &[u8]) -> String {
    let digest = oci::Digest::sha256(canonical_json);
    format!("{HASH_FORMAT}-{}", digest.hex().get(..32).unwrap_or_default())
}

/// Metadata that belongs to the cluster, not to the package: it is dropped, as an API server would ignore or
/// refuse it. All kinds that packages establish are cluster-scoped, so there is no namespace either.
const SERVER_METADATA: [&str; 10] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generateName",
    "generation",
    "managedFields",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "uid",
];

/// Removes what is the cluster's: status and server-set metadata.
pub(crate) fn strip(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    fields.remove("status");
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in SERVER_METADATA {
            metadata.remove(key);
        }
        metadata.remove("selfLink");
    }
}

/// Writes `value` as JSON with sorted keys and no spaces.
///
/// Own code instead of `Value`'s: whether that sorts depends on a feature that any crate in the build can
/// switch, and the hash of unchanged content must never change.
pub fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_scalar(key, out);
                out.push(b':');
                write_canonical(value, out);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_canonical(item, out);
            }
            out.push(b']');
        }
        scalar => write_scalar(scalar, out),
    }
}

fn write_scalar<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // Writing a text or number into memory can't fail; should it, the object would lack a value and its
    // hash differ: nothing worse.
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn canonical(value: &Value) -> String {
        let mut out = Vec::new();
        write_canonical(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn canonical_json_is_sorted_and_valid() {
        let value = json!({"b": [1, -2.5, null, true, {"z": "ü\n\"", "a": {}}], "a": "x", "B": []});
        let text = canonical(&value);
        assert_eq!(
            text,
            r#"{"B":[],"a":"x","b":[1,-2.5,null,true,{"a":{},"z":"ü\n\""}]}"#
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn the_hash_is_stable() {
        // Changing this vector makes every installed object be written once more.
        assert_eq!(content_hash(b"{\"a\":1}"), "1-015abd7f5cc57a2dd94b7590f04ad808");
    }

    #[test]
    fn what_is_the_clusters_is_dropped() {
        let mut object = json!({
            "metadata": {
                "name": "x", "labels": {"a": "b"}, "uid": "u", "namespace": "n", "creationTimestamp": null,
                "managedFields": [], "ownerReferences": [], "resourceVersion": "1", "generation": 3,
                "selfLink": "s",
            },
            "spec": {"status": 1}, "status": {"conditions": []},
        });
        strip(&mut object);
        assert_eq!(
            object,
            json!({"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"status": 1}})
        );
        let mut odd = json!([1]);
        strip(&mut odd);
        assert_eq!(odd, json!([1]));
    }
}
