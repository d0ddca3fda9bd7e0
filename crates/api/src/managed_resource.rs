//! `ManagedResourceDefinition` of the reference's composition engine: of it only whether it is active (spec: API reference 7.2,
//! 7.5).

use kube::core::{ObjectMeta, TypeMeta};
use serde::{Deserialize, Serialize};

/// `kind` of the definition.
pub const KIND: &str = "ManagedResourceDefinition";
/// Resource name of the definition.
pub const PLURAL: &str = "managedresourcedefinitions";
/// State of a definition whose CRD is to be there.
pub const ACTIVE: &str = "Active";

/// A definition. Its schema, by far the most of it, is not kept.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ManagedResourceDefinition {
    /// `apiVersion` and `kind`, where the object carries them.
    #[serde(flatten, default)]
    pub types: Option<TypeMeta>,
    /// Name, owners.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Its state.
    #[serde(default, deserialize_with = "crate::absent::null_as_default")]
    pub spec: ManagedResourceDefinitionSpec,
}

impl_resource!(
    ManagedResourceDefinition,
    "apiextensions.crossplane.io",
    "v1alpha1",
    KIND,
    PLURAL
);

/// What is wanted of a definition.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ManagedResourceDefinitionSpec {
    /// `Active` or `Inactive`.
    pub state: String,
}

impl ManagedResourceDefinition {
    /// Whether its CRD is to be there.
    pub fn is_active(&self) -> bool {
        self.spec.state == ACTIVE
    }
}
