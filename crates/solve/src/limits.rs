//! Bounds on what this crate reads.

use oci::limit::Limit;

/// Longest version string, in bytes. A tag has at most 128 characters; twice that leaves room for
/// build metadata and bounds what an error message repeats.
pub const MAX_VERSION_BYTES: usize = 256;

/// Longest constraint string, in bytes: the reference's bound. Real ones have under 100.
pub const MAX_CONSTRAINT_BYTES: usize = 512;

/// Most alternatives, separated by `||`, in one constraint: the reference's bound.
pub const MAX_CONSTRAINT_GROUPS: usize = 32;

/// The bounds of this crate, for the generated table.
pub const LIMITS: &[Limit] = &[
    Limit::fixed(
        "version string",
        "256 bytes",
        "a tag has at most 128 characters; room for build metadata",
    ),
    Limit::fixed(
        "version constraint",
        "512 bytes",
        "the reference's bound; real constraints have under 100 bytes",
    ),
    Limit::fixed(
        "alternatives in a version constraint",
        "32",
        "the reference's bound",
    ),
];
