//! The bounds of this crate.

use crate::limit::Limit;

/// Longest repository path, in bytes. Longer ones are refused by common registries and clients.
pub const MAX_REPOSITORY_BYTES: usize = 255;

/// Longest tag, in bytes (distribution-spec, pulling manifests).
pub const MAX_TAG_BYTES: usize = 128;

/// Longest registry host with its port, in bytes: a DNS name has at most 253, a port at most 6 with its
/// colon.
pub const MAX_HOST_BYTES: usize = 259;

/// How deep an index may be nested in indexes before Gantry stops looking for an image.
/// Real images have one level; three leave room for tools that wrap an index in an index.
pub const MAX_INDEX_DEPTH: usize = 3;

/// The bounds of this crate, for the table of limits.
pub const LIMITS: &[Limit] = &[
    Limit::fixed(
        "repository path",
        "255 bytes",
        "longer paths are refused by common registries and clients",
    ),
    Limit::fixed("tag", "128 bytes", "bound of the distribution specification"),
    Limit::fixed("registry host", "259 bytes", "the longest DNS name with a port"),
    Limit::fixed(
        "nesting of indexes",
        "3 levels",
        "real images have one level; an endless chain of indexes must end",
    ),
];
