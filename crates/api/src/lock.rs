//! `Lock`: the reference's list of active revisions (spec: API reference 1.7). A projection for us, never an
//! input.

use kube::core::{ObjectMeta, TypeMeta};
use serde::{Deserialize, Serialize};

use crate::{absent::null_as_default, condition::Condition};

/// `kind` of the lock.
pub const KIND: &str = "Lock";
/// Resource name of the lock.
pub const PLURAL: &str = "locks";
/// Name of the only lock.
pub const NAME: &str = "lock";

/// The lock. It has no `spec`; its rows are a field of the root.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Lock {
    /// `apiVersion` and `kind`, where the object carries them.
    #[serde(flatten, default)]
    pub types: Option<TypeMeta>,
    /// Name, finalizers, resourceVersion.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// One row per revision that isn't inactive.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub packages: Vec<LockPackage>,
    /// Conditions of the reference's resolver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<LockStatus>,
}

impl_resource!(Lock, KIND, PLURAL);

/// A row: one revision.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockPackage {
    /// Name of the revision.
    pub name: String,
    /// `apiVersion` of the package kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// `kind` of the package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Deprecated predecessor of `apiVersion` and `kind`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Reference without tag or digest.
    pub source: String,
    /// Tag or digest.
    pub version: String,
    /// What it needs.
    #[serde(deserialize_with = "null_as_default")]
    pub dependencies: Vec<LockDependency>,
}

/// A dependency of a row.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockDependency {
    /// Source that is needed.
    pub package: String,
    /// `apiVersion` of the package kind, in the explicit form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// `kind` of the package, in the explicit form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `Provider`, `Configuration` or `Function`, in the older form.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Version constraint, or a digest.
    pub constraints: String,
}

/// Status of the lock.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockStatus {
    /// One condition per type.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub conditions: Vec<Condition>,
}
