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
    Limit {
        name: "repository path",
        value: "255 bytes",
        reason: "longer paths are refused by common registries and clients",
        flag: None,
    },
    Limit {
        name: "tag",
        value: "128 bytes",
        reason: "bound of the distribution specification",
        flag: None,
    },
    Limit {
        name: "registry host",
        value: "259 bytes",
        reason: "the longest DNS name with a port",
        flag: None,
    },
    Limit {
        name: "nesting of indexes",
        value: "3 levels",
        reason: "real images have one level; an endless chain of indexes must end",
        flag: None,
    },
];
