//! Which of the three package kinds an object is.

use std::fmt;

/// Kind of a package.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PackageKind {
    /// Brings managed resources and a controller for them.
    Provider,
    /// Brings composite resource definitions and compositions.
    Configuration,
    /// Brings a composition function.
    Function,
}

impl PackageKind {
    /// All kinds, in the order in which we list them.
    pub const ALL: [Self; 3] = [Self::Provider, Self::Configuration, Self::Function];

    /// `kind` of the package: `Provider`.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Provider => "Provider",
            Self::Configuration => "Configuration",
            Self::Function => "Function",
        }
    }

    /// Resource name of the package kind: `providers`.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Provider => "providers",
            Self::Configuration => "configurations",
            Self::Function => "functions",
        }
    }

    /// `kind` of its revisions: `ProviderRevision`.
    pub const fn revision_kind(self) -> &'static str {
        match self {
            Self::Provider => "ProviderRevision",
            Self::Configuration => "ConfigurationRevision",
            Self::Function => "FunctionRevision",
        }
    }

    /// Resource name of its revisions: `providerrevisions`.
    pub const fn revision_plural(self) -> &'static str {
        match self {
            Self::Provider => "providerrevisions",
            Self::Configuration => "configurationrevisions",
            Self::Function => "functionrevisions",
        }
    }

    /// Whether packages of this kind run something in the cluster.
    pub const fn has_runtime(self) -> bool {
        matches!(self, Self::Provider | Self::Function)
    }

    /// The package kind of that name (`Provider`), if there is one. Revision kinds are not package kinds.
    pub fn from_kind(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.kind() == kind)
    }
}

impl fmt::Display for PackageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.kind())
    }
}

/// Kind of a revision: the revisions of one package kind.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RevisionKind(pub PackageKind);

impl fmt::Display for RevisionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.revision_kind())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_plurals_belong_together() {
        for kind in PackageKind::ALL {
            assert_eq!(kind.plural(), format!("{}s", kind.kind().to_lowercase()));
            assert_eq!(kind.revision_kind(), format!("{}Revision", kind.kind()));
            assert_eq!(
                kind.revision_plural(),
                format!("{}s", kind.revision_kind().to_lowercase())
            );
            assert_eq!(PackageKind::from_kind(kind.kind()), Some(kind));
            assert_eq!(PackageKind::from_kind(kind.revision_kind()), None);
            assert_eq!(RevisionKind(kind).to_string(), kind.revision_kind());
        }
        assert_eq!(PackageKind::from_kind("Lock"), None);
        assert!(PackageKind::Provider.has_runtime() && PackageKind::Function.has_runtime());
        assert!(!PackageKind::Configuration.has_runtime());
    }
}
