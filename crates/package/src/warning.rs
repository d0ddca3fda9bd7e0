//! What is wrong with a package but does not stop it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One finding in a package that installs nevertheless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    /// Number of the document, from 1, empty documents not counted.
    pub document: u32,
    /// Kind and name of the object.
    pub object: String,
    /// What sort of finding it is.
    pub kind: WarningKind,
    /// What is wrong and what follows from it, without the object.
    pub message: String,
}

/// Sort of a [`Warning`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WarningKind {
    /// The kind is known but not allowed in this type of package; the object is not applied.
    NotAllowed,
    /// No supported API server serves the object's version; it is not applied.
    NotServed,
    /// A label or annotation of the package's metadata is reserved; it is dropped.
    ReservedKey,
    /// A label or annotation of the package's metadata is one that no API server takes; it is dropped.
    InvalidKey,
    /// A dependency that can't be resolved as it is written.
    Dependency,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "document {}, {}: {}", self.document, self.object, self.message)
    }
}
