//! A revision: one digest of a package, and what it established.

use std::{borrow::Cow, collections::BTreeMap};

use kube::{
    Resource,
    core::{ObjectMeta, TypeMeta},
};
use serde::{Deserialize, Serialize};

use super::{
    DeclaredDependency, DependencyState, ImageConfigRef, LocalObjectReference, ObjectRef, PackageKind,
    Progress, PullPolicy, RevisionKind, RuntimeConfigReference,
};
use crate::{absent::null_as_default, condition::Condition};

/// A `ProviderRevision`, `ConfigurationRevision` or `FunctionRevision`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Revision {
    /// `apiVersion` and `kind`, where the object carries them.
    #[serde(flatten, default)]
    pub types: Option<TypeMeta>,
    /// Name, labels, annotations, owners.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What the manager decided.
    #[serde(default, deserialize_with = "null_as_default")]
    pub spec: RevisionSpec,
    /// What was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RevisionStatus>,
}

impl Revision {
    /// A revision of that package kind and name that is not in the cluster yet.
    pub fn new(kind: PackageKind, name: impl Into<String>, spec: RevisionSpec) -> Self {
        let types = TypeMeta {
            api_version: crate::API_VERSION.to_owned(),
            kind: kind.revision_kind().to_owned(),
        };
        Self {
            types: Some(types),
            metadata: ObjectMeta {
                name: Some(name.into()),
                ..ObjectMeta::default()
            },
            spec,
            status: None,
        }
    }

    /// The package it belongs to, by its label.
    pub fn package_name(&self) -> Option<&str> {
        self.metadata
            .labels
            .as_ref()?
            .get(crate::label::PACKAGE)
            .map(String::as_str)
    }

    /// The digest it stands for, as its annotation says. Revisions that the reference made have none.
    pub fn digest(&self) -> Option<&str> {
        self.metadata
            .annotations
            .as_ref()?
            .get(crate::annotation::DIGEST)
            .map(String::as_str)
    }
}

impl Resource for Revision {
    type DynamicType = RevisionKind;
    type Scope = kube::core::ClusterResourceScope;

    fn kind(kind: &RevisionKind) -> Cow<'_, str> {
        kind.0.revision_kind().into()
    }

    fn group(_: &RevisionKind) -> Cow<'_, str> {
        crate::GROUP.into()
    }

    fn version(_: &RevisionKind) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural(kind: &RevisionKind) -> Cow<'_, str> {
        kind.0.revision_plural().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Whether a revision shall serve.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DesiredState {
    /// It establishes and controls its objects.
    Active,
    /// It gives up control and touches nothing.
    Inactive,
    /// Neither was said: the reference makes revisions so under Manual activation.
    Unset,
}

impl DesiredState {
    /// The value in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Inactive => "Inactive",
            Self::Unset => "",
        }
    }
}

/// What the manager decided (spec: API reference 1.5).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RevisionSpec {
    /// `Active` or `Inactive`, see [`RevisionSpec::state`].
    #[serde(deserialize_with = "null_as_default")]
    pub desired_state: String,
    /// Package reference as in `spec.package` of the package, not rewritten.
    #[serde(deserialize_with = "null_as_default")]
    pub image: String,
    /// Number within the package; the highest is the wanted one.
    #[serde(deserialize_with = "null_as_default")]
    pub revision: i64,
    /// Copied from the package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_pull_secrets: Option<Vec<LocalObjectReference>>,
    /// Copied from the package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_pull_policy: Option<String>,
    /// Copied from the package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_crossplane_constraints: Option<bool>,
    /// Copied from the package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_dependency_resolution: Option<bool>,
    /// Copied from the package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_labels: Option<BTreeMap<String, String>>,
    /// Copied from the package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_annotations: Option<BTreeMap<String, String>>,
    /// Copied from the package, for kinds with a runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_config_ref: Option<RuntimeConfigReference>,
    /// Secret for the runtime's server certificate, for kinds with a runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_secret_name: Option<String>,
    /// Secret for the runtime's client certificate, for providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_secret_name: Option<String>,
}

impl RevisionSpec {
    /// The desired state; a string that is neither `Active` nor `Inactive` counts as unset.
    pub fn state(&self) -> DesiredState {
        match self.desired_state.as_str() {
            "Active" => DesiredState::Active,
            "Inactive" => DesiredState::Inactive,
            _ => DesiredState::Unset,
        }
    }

    /// When the registry is asked.
    pub fn pull_policy(&self) -> PullPolicy {
        PullPolicy::parse(self.package_pull_policy.as_deref())
    }
}

/// What was seen (spec: API reference 1.6; ours where said).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RevisionStatus {
    /// `metadata.generation` that this status speaks of (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One condition per type.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub conditions: Vec<Condition>,
    /// Objects of this revision, in descending order of group, version, kind and name.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub object_refs: Vec<ObjectRef>,
    /// Number of dependencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_dependencies: Option<i64>,
    /// How many of them are installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed_dependencies: Option<i64>,
    /// How many direct ones have a version that the constraint excludes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid_dependencies: Option<i64>,
    /// Image configs that were used.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub applied_image_config_refs: Vec<ImageConfigRef>,
    /// Reference after rewriting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_image: Option<String>,
    /// Capabilities from the package's metadata; absent and empty differ for functions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// Secret with the runtime's server certificate, once it is being provided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_secret_name: Option<String>,
    /// Secret with the runtime's client certificate, once it is being provided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_secret_name: Option<String>,
    /// gRPC target of a function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Dependencies as the metadata declares them (ours).
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub declared_dependencies: Vec<DeclaredDependency>,
    /// How it stands with each direct dependency (ours).
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub dependencies: Vec<DependencyState>,
    /// Lint warnings, the first few (ours).
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub warnings: Vec<String>,
    /// How far establishing has come, while it runs (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}
