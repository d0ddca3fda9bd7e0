//! Versions, constraints and the choice of versions.
//!
//! Versions and constraints are read as package authors write them, with the semantics of Masterminds/semver
//! v3.5.0, which the reference uses: versions are read leniently (`v1.2` is `1.2.0`) and keep their spelling,
//! constraints know `||`, commas, wildcards, hyphen ranges, `~` and `^`, and a pre-release only satisfies a
//! group that mentions one.
//!
//! [`solve`] chooses one version of each package such that all dependencies are met, or as many as can be,
//! and explains the others. It is pure: what it does not know it names as a [`Need`], for its caller to ask.

mod catalogue;
mod choices;
mod constraint;
mod explain;
mod explanation;
mod facts;
mod island;
pub mod limits;
mod map;
mod parts;
mod plan;
mod relax;
mod requirement;
mod search;
mod solver;
mod source;
mod version;
mod world;

pub use catalogue::{Answer, Catalogue, Metadata, Need};
pub use constraint::{Constraint, ConstraintError};
pub use explanation::{Asks, Explanation, Remedy, Who, Why};
pub use facts::{Change, Facts, Name, Options, Package, Request};
pub use limits::LIMITS;
pub use plan::{Action, Duplicate, Edge, GaveUp, Pick, Plan, State};
pub use requirement::{Dependency, Requirement};
pub use solver::solve;
pub use version::{Version, VersionError, sorted_versions};
