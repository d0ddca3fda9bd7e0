//! The Kubernetes API of Gantry: `pkg.crossplane.io` types and CRDs, package metadata, names, labels,
//! conditions.
//!
//! Pure data and pure functions: no I/O, no async. The Rust types decode whatever the reference or an older
//! version stored (all fields optional or defaulted); what the API server accepts is said by [`crds`], which
//! is stricter.

#[macro_use]
mod resource;

pub mod annotation;
pub mod beside;
pub mod condition;
pub mod image_config;
pub mod label;
pub mod limits;
pub mod lock;
pub mod managed_resource;
pub mod names;
pub mod pkg;
pub mod rbac;
pub mod runtime_config;

mod absent;
mod crd;
mod identity;

pub use crd::crds;
pub use identity::*;
pub use limits::LIMITS;
