//! A package: what a user asks to be installed, and what came of it.

use std::{borrow::Cow, collections::BTreeMap};

use kube::{
    Resource,
    core::{ObjectMeta, TypeMeta},
};
use serde::{Deserialize, Serialize};

use super::{ImageConfigRef, LocalObjectReference, PackageKind, RuntimeConfigReference};
use crate::{absent::null_as_default, condition::Condition};

/// A `Provider`, `Configuration` or `Function`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Package {
    /// `apiVersion` and `kind`, where the object carries them.
    #[serde(flatten, default)]
    pub types: Option<TypeMeta>,
    /// Name, labels, annotations, owners.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wanted. The schema allows it to be absent; then the reference is empty.
    #[serde(default, deserialize_with = "null_as_default")]
    pub spec: PackageSpec,
    /// What was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PackageStatus>,
}

impl Package {
    /// A package of that kind and name that is not in the cluster yet.
    pub fn new(kind: PackageKind, name: impl Into<String>, spec: PackageSpec) -> Self {
        Self {
            types: Some(TypeMeta {
                api_version: crate::API_VERSION.to_owned(),
                kind: kind.kind().to_owned(),
            }),
            metadata: ObjectMeta {
                name: Some(name.into()),
                ..ObjectMeta::default()
            },
            spec,
            status: None,
        }
    }
}

impl Resource for Package {
    type DynamicType = PackageKind;
    type Scope = kube::core::ClusterResourceScope;

    fn kind(kind: &PackageKind) -> Cow<'_, str> {
        kind.kind().into()
    }

    fn group(_: &PackageKind) -> Cow<'_, str> {
        crate::GROUP.into()
    }

    fn version(_: &PackageKind) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural(kind: &PackageKind) -> Cow<'_, str> {
        kind.plural().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What a user asks for (spec: API reference 1.3).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PackageSpec {
    /// OCI reference of the package, as the user spells it.
    #[serde(deserialize_with = "null_as_default")]
    pub package: String,
    /// `Automatic` or `Manual`, see [`PackageSpec::activation`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_activation_policy: Option<String>,
    /// Number of inactive revisions to keep, 0 for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<i64>,
    /// Secrets for the registry, in the operator's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_pull_secrets: Option<Vec<LocalObjectReference>>,
    /// `Always`, `IfNotPresent` or `Never`, see [`PackageSpec::pull_policy`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_pull_policy: Option<String>,
    /// Whether the package's `crossplane.version` constraint is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_crossplane_constraints: Option<bool>,
    /// Whether dependencies are left alone. Absent means yes, as in the reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_dependency_resolution: Option<bool>,
    /// Labels for every established object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_labels: Option<BTreeMap<String, String>>,
    /// Annotations for every established object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_annotations: Option<BTreeMap<String, String>>,
    /// Runtime config, for kinds that have a runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_config_ref: Option<RuntimeConfigReference>,
}

/// What makes the wanted revision serve.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ActivationPolicy {
    /// It does so once it is checked.
    Automatic,
    /// A person says so.
    Manual,
}

/// When the registry is asked.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PullPolicy {
    /// At each poll.
    Always,
    /// When the reference changes.
    IfNotPresent,
    /// Never: only what is in the content store.
    Never,
}

impl PullPolicy {
    /// Reads the API's value. Absent and unknown strings mean `IfNotPresent`, as in the reference.
    pub fn parse(value: Option<&str>) -> Self {
        match value {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            _ => Self::IfNotPresent,
        }
    }
}

impl PackageSpec {
    /// How revisions become active. Absent means Automatic; any other string than `Automatic` acts as Manual.
    pub fn activation(&self) -> ActivationPolicy {
        match self.revision_activation_policy.as_deref() {
            None | Some("Automatic") => ActivationPolicy::Automatic,
            Some(_) => ActivationPolicy::Manual,
        }
    }

    /// When the registry is asked.
    pub fn pull_policy(&self) -> PullPolicy {
        PullPolicy::parse(self.package_pull_policy.as_deref())
    }

    /// Number of revisions to keep beside the active one; `None` keeps all (a limit of 0, or below, or none).
    pub fn history_limit(&self) -> Option<usize> {
        self.revision_history_limit
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| *limit > 0)
    }

    /// The runtime config after defaulting; `None` for kinds without a runtime.
    pub fn runtime_config(&self, kind: PackageKind) -> Option<RuntimeConfigReference> {
        kind.has_runtime()
            .then(|| self.runtime_config_ref.clone().unwrap_or_default())
    }
}

/// What came of it (spec: API reference 1.4; ours where said).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PackageStatus {
    /// `metadata.generation` that this status speaks of (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One condition per type.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub conditions: Vec<Condition>,
    /// Name of the wanted revision, active or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<String>,
    /// `spec.package` that the wanted revision was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_identifier: Option<String>,
    /// Image configs that were used.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub applied_image_config_refs: Vec<ImageConfigRef>,
    /// Reference after rewriting, equal to `spec.package` when nothing was rewritten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_package: Option<String>,
    /// Digest that the reference had at the last check (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_digest: Option<String>,
    /// Value of annotation `gantry.dev/check-requested-at` that was answered last (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_check_request: Option<String>,
    /// Name of the revision whose health the package shows: the active one once its objects are in place,
    /// until then the one before (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving_revision: Option<String>,
    /// Objects of former revisions that the package still owns but no revision carries (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released_objects: Option<i64>,
}
