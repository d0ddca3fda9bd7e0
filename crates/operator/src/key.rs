//! What a controller's queue holds: which package, or the revisions of which kind.

use std::fmt;

use api::pkg::PackageKind;

/// A package, or a revision of a package of that kind, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Kind of the package.
    pub kind: PackageKind,
    /// Name of the package or revision.
    pub name: String,
}

impl Key {
    pub(crate) fn new(kind: PackageKind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}
