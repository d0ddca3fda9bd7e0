//! Who we are in the API: groups, field managers, and the version that packages are checked against.

/// API group of packages, revisions, the lock and image configs.
pub const GROUP: &str = "pkg.crossplane.io";
/// `apiVersion` of packages and revisions.
pub const API_VERSION: &str = "pkg.crossplane.io/v1";
/// `apiVersion` of `Lock`, `ImageConfig` and `DeploymentRuntimeConfig`.
pub const API_VERSION_BETA: &str = "pkg.crossplane.io/v1beta1";

/// The Crossplane version that Gantry counts as when a package states a `crossplane.version` constraint.
pub const CROSSPLANE_VERSION: &str = "v2.4.0";

/// Namespace that Gantry runs in unless told otherwise.
pub const DEFAULT_NAMESPACE: &str = "gantry-system";
/// Name of the operator's Deployment, ServiceAccount and Lease.
pub const OPERATOR: &str = "gantry-operator";
/// Name of the Lease of the process that runs the `access` controller.
pub const ACCESS_LEASE: &str = "gantry-access";
/// Lease that a running package manager of the reference holds; Gantry leads beside it only while [`crate::beside`]'s policy
/// is in force.
pub const REFERENCE_LEASE: &str = "crossplane-leader-election-core";
/// Service accounts of the reference's two processes by default.
pub const REFERENCE_SERVICE_ACCOUNTS: &[&str] = &["crossplane", "rbac-manager"];
/// Namespace that the reference is installed in by default.
pub const REFERENCE_NAMESPACE: &str = "crossplane-system";

/// Field manager of the `manager` controller.
pub const FIELD_MANAGER_MANAGER: &str = "gantry-manager";
/// Field manager of the `revision` controller.
pub const FIELD_MANAGER_REVISION: &str = "gantry-revision";
/// Field manager of the `runtime` controller.
pub const FIELD_MANAGER_RUNTIME: &str = "gantry-runtime";
/// Field manager of the `dependencies` controller.
pub const FIELD_MANAGER_DEPENDENCIES: &str = "gantry-dependencies";
/// Field manager of the `access` controller.
pub const FIELD_MANAGER_ACCESS: &str = "gantry-access";
/// Field manager of the job that applies our own CRDs.
pub const FIELD_MANAGER_CRDS: &str = "gantry-crds";
/// Field manager of the job that makes the packages that flags name.
pub const FIELD_MANAGER_PREINSTALL: &str = "gantry-preinstall";

/// Finalizer that the reference puts on revisions. Gantry adds none and removes this one where it finds it.
pub const REFERENCE_REVISION_FINALIZER: &str = "revision.pkg.crossplane.io";
/// Finalizer that the reference puts on the lock. Gantry removes it where it finds it.
pub const REFERENCE_LOCK_FINALIZER: &str = "lock.pkg.crossplane.io";
