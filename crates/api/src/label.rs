//! Label keys (spec: API reference 4.1).

/// On every revision: name of its package. The reference lists a package's revisions by it.
pub const PACKAGE: &str = "pkg.crossplane.io/package";
/// On runtime pods and in selectors: name of the revision.
pub const REVISION: &str = "pkg.crossplane.io/revision";
/// On runtime pods and in selectors of providers: name of the package.
pub const PROVIDER: &str = "pkg.crossplane.io/provider";
/// On runtime pods and in selectors of functions: name of the package.
pub const FUNCTION: &str = "pkg.crossplane.io/function";
/// On provider revisions, from the package's metadata: the family whose members share rights.
pub const PROVIDER_FAMILY: &str = "pkg.crossplane.io/provider-family";
/// On any object that something uses; an admission webhook of the reference then refuses deletion.
pub const IN_USE: &str = "crossplane.io/in-use";
/// Key prefix of labels that say which ClusterRole is made for what.
pub const RBAC_PREFIX: &str = "rbac.crossplane.io/";
