//! `pkg.crossplane.io/v1`: packages and their revisions.
//!
//! The three package kinds have the same fields (but for the runtime's), so one [`Package`] and one
//! [`Revision`] stand for all of them; which kind is meant is the `DynamicType` of [`kube::Resource`].

mod kind;
mod package;
mod references;
mod revision;
mod view;

pub use crate::condition::Condition;
pub use kind::{PackageKind, RevisionKind};
pub use package::{ActivationPolicy, Package, PackageSpec, PackageStatus, PullPolicy};
pub use references::{
    AppliedReason, DeclaredDependency, DependencyState, ImageConfigRef, LocalObjectReference, ObjectRef,
    Progress, RuntimeConfigReference,
};
pub use revision::{DesiredState, Revision, RevisionSpec, RevisionStatus};
pub use view::View;
