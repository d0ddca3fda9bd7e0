//! Versions and version constraints as package authors write them.
//!
//! Semantics are those of Masterminds/semver v3.5.0, which the reference uses: versions are read
//! leniently (`v1.2` is `1.2.0`) and keep their spelling, constraints know `||`, commas, wildcards,
//! hyphen ranges, `~` and `^`, and a pre-release only satisfies a group that mentions one.

mod constraint;
pub mod limits;
mod parts;
mod version;

pub use constraint::{Constraint, ConstraintError};
pub use limits::LIMITS;
pub use version::{Version, VersionError, sorted_versions};
