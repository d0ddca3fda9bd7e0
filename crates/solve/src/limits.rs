//! Bounds on what this crate reads.

use oci::limit::Limit;

/// Longest version string, in bytes. A tag has at most 128 characters; twice that leaves room for
/// build metadata and bounds what an error message repeats.
pub const MAX_VERSION_BYTES: usize = 256;

/// Longest constraint string, in bytes. Real ones have under 100; the bound keeps parsing and the
/// messages that quote a constraint small.
pub const MAX_CONSTRAINT_BYTES: usize = 4096;

/// The bounds of this crate, for the generated table.
pub const LIMITS: &[Limit] = &[
    Limit::fixed(
        "version string",
        "256 bytes",
        "a tag has at most 128 characters; room for build metadata",
    ),
    Limit::fixed(
        "version constraint",
        "4 KiB",
        "real constraints have under 100 bytes; messages quote them",
    ),
];
