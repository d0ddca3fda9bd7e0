//! Compact object metadata: what a controller needs to know of an object that it does not keep.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::{Deserialize, Serialize};

/// Annotation in which `kubectl apply` keeps a whole copy of the object; never kept in memory.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Metadata of one object without `managedFields` and without the [`LAST_APPLIED`] annotation.
///
/// Decoding never fails on missing fields: absent means empty or 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Name.
    pub name: String,
    /// Namespace, absent for cluster-scoped objects.
    pub namespace: Option<String>,
    /// UID; empty when the server has not given one (dry run of a create).
    pub uid: String,
    /// Opaque version of the object's stored state.
    pub resource_version: String,
    /// Counts changes of the desired state; 0 where the resource has none.
    pub generation: i64,
    /// Labels.
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(deserialize_with = "annotations")]
    pub annotations: BTreeMap<String, String>,
    /// Owner references.
    #[serde(deserialize_with = "nullable")]
    pub owner_references: Vec<Owner>,
    /// Finalizers.
    #[serde(deserialize_with = "nullable")]
    pub finalizers: Vec<String>,
    /// Set once deletion was asked for.
    pub deletion_timestamp: Option<Timestamp>,
    /// When the object was created.
    pub creation_timestamp: Option<Timestamp>,
}

impl Meta {
    /// Whether deletion was asked for.
    pub fn is_terminating(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// The owner that controls the object, if there is one.
    pub fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// Whether the object names `uid` among its owners.
    pub fn is_owned_by(&self, uid: &str) -> bool {
        self.owner_references.iter().any(|owner| owner.uid == uid)
    }
}

impl From<&ObjectMeta> for Meta {
    fn from(meta: &ObjectMeta) -> Self {
        let mut annotations = meta.annotations.clone().unwrap_or_default();
        annotations.remove(LAST_APPLIED);
        Self {
            name: meta.name.clone().unwrap_or_default(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            labels: meta.labels.clone().unwrap_or_default(),
            annotations,
            owner_references: meta.owner_references.iter().flatten().map(Owner::from).collect(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
            deletion_timestamp: meta.deletion_timestamp.as_ref().map(|time| time.0),
            creation_timestamp: meta.creation_timestamp.as_ref().map(|time| time.0),
        }
    }
}

/// One owner reference. Serializes to the form that the API takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// `group/version` of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// UID of the owner: its identity, the name is for readers.
    pub uid: String,
    /// Whether this owner controls the object; at most one does.
    #[serde(skip_serializing_if = "is_false", deserialize_with = "nullable")]
    pub controller: bool,
    /// Whether foreground deletion of the owner waits for the object.
    #[serde(skip_serializing_if = "is_false", deserialize_with = "nullable")]
    pub block_owner_deletion: bool,
}

impl From<&OwnerReference> for Owner {
    fn from(owner: &OwnerReference) -> Self {
        Self {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
            controller: owner.controller.unwrap_or_default(),
            block_owner_deletion: owner.block_owner_deletion.unwrap_or_default(),
        }
    }
}

impl From<&Owner> for OwnerReference {
    fn from(owner: &Owner) -> Self {
        Self {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
            controller: owner.controller.then_some(true),
            block_owner_deletion: owner.block_owner_deletion.then_some(true),
        }
    }
}

/// Any object, of which only the metadata is decoded; the rest is skipped without being built.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Bare {
    pub(crate) metadata: Meta,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !*value
}

fn nullable<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn annotations<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let mut annotations: BTreeMap<String, String> = nullable(from)?;
    annotations.remove(LAST_APPLIED);
    Ok(annotations)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> serde_json::Value {
        json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": {
                "name": "a", "uid": "u", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2026-11-01T10:00:00Z", "deletionTimestamp": "2026-11-01T11:00:00Z",
                "labels": {"l": "1"}, "annotations": {"n": "2", LAST_APPLIED: "{}"}, "finalizers": ["f"],
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "K", "name": "x", "uid": "ux"},
                    {"apiVersion": "v1", "kind": "K", "name": "y", "uid": "uy", "controller": true},
                ],
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}],
            },
        })
    }

    #[test]
    fn decodes_like_the_typed_metadata() {
        let bare: Bare = serde_json::from_value(answer()).unwrap();
        let typed: ObjectMeta = serde_json::from_value(answer()["metadata"].clone()).unwrap();
        assert_eq!(bare.metadata, Meta::from(&typed));
        assert_eq!(bare.metadata.controller().unwrap().uid, "uy");
        assert!(bare.metadata.is_owned_by("ux") && !bare.metadata.is_owned_by("uz"));
        assert!(bare.metadata.is_terminating());
        assert!(!bare.metadata.annotations.contains_key(LAST_APPLIED));
    }

    #[test]
    fn tolerates_absent_and_null() {
        let bare: Bare = serde_json::from_value(json!({"metadata": {"name": "a", "labels": null}})).unwrap();
        assert_eq!(
            bare.metadata,
            Meta {
                name: "a".into(),
                ..Meta::default()
            }
        );
        assert_eq!(
            serde_json::from_str::<Bare>("{}").unwrap().metadata,
            Meta::default()
        );
    }

    #[test]
    fn owner_writes_only_what_is_set() {
        let owner = Owner {
            uid: "u".into(),
            controller: true,
            ..Owner::default()
        };
        let written = serde_json::to_value(&owner).unwrap();
        assert_eq!(written["controller"], true);
        assert!(written.get("blockOwnerDeletion").is_none());
    }
}
