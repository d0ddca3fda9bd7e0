//! Small records that packages and revisions share.

use serde::{Deserialize, Serialize};

/// Name of an object in the operator's namespace (a Secret).
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalObjectReference {
    /// Name of the object; empty means none.
    pub name: String,
}

/// Which runtime config a package wants.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuntimeConfigReference {
    /// `apiVersion` of the config, `pkg.crossplane.io/v1beta1` unless set.
    pub api_version: String,
    /// `kind` of the config, `DeploymentRuntimeConfig` unless set.
    pub kind: String,
    /// Name of the config.
    pub name: String,
}

impl Default for RuntimeConfigReference {
    /// What the API server fills in: the DeploymentRuntimeConfig `default`.
    fn default() -> Self {
        Self {
            api_version: crate::API_VERSION_BETA.to_owned(),
            kind: crate::runtime_config::KIND.to_owned(),
            name: crate::runtime_config::DEFAULT_NAME.to_owned(),
        }
    }
}

/// What an image config was used for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AppliedReason {
    /// The reference's prefix was rewritten.
    RewriteImage,
    /// A pull secret was added.
    SetImagePullSecret,
    /// Signatures were verified.
    VerifyImage,
    /// The runtime config came from it. Written by the runtime controller only, on revisions only.
    ConfigureRuntime,
}

impl AppliedReason {
    /// All reasons, in the order in which they are written.
    pub const ALL: [Self; 4] = [
        Self::RewriteImage,
        Self::SetImagePullSecret,
        Self::VerifyImage,
        Self::ConfigureRuntime,
    ];

    /// The value in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RewriteImage => "RewriteImage",
            Self::SetImagePullSecret => "SetImagePullSecret",
            Self::VerifyImage => "VerifyImage",
            Self::ConfigureRuntime => "ConfigureRuntime",
        }
    }
}

/// An image config that was used for a package or revision. At most one per reason.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageConfigRef {
    /// Name of the ImageConfig.
    pub name: String,
    /// What it was used for, see [`AppliedReason`].
    pub reason: String,
}

impl ImageConfigRef {
    /// Says that `name` was used for `reason`.
    pub fn new(name: impl Into<String>, reason: AppliedReason) -> Self {
        Self {
            name: name.into(),
            reason: reason.as_str().to_owned(),
        }
    }
}

/// An object that a revision established, or would.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// `apiVersion` of the object.
    pub api_version: String,
    /// `kind` of the object.
    pub kind: String,
    /// Name of the object; all of them are cluster scoped.
    pub name: String,
    /// UID, once it was created or taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// `metadata.generation` after our last write (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
}

/// A dependency as the package's metadata declares it, in explicit form (ours).
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeclaredDependency {
    /// `apiVersion` of the package that is needed.
    pub api_version: String,
    /// `kind` of the package that is needed.
    pub kind: String,
    /// Its source: repository without tag or digest.
    pub package: String,
    /// Version constraint, or a digest.
    pub constraints: String,
}

/// How it stands with one direct dependency (ours).
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DependencyState {
    /// Source of the package that is needed.
    pub package: String,
    /// Version constraint, or a digest.
    pub constraints: String,
    /// Version or digest that is installed, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// One word: `Satisfied`, `Missing`, `Incompatible`, `Unhealthy` or `Unknown`.
    pub state: String,
    /// Why the state is not `Satisfied`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How far establishing has come (ours).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// Objects that are in place.
    pub established: i64,
    /// Objects that the package carries.
    pub total: i64,
}
