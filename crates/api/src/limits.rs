//! The bounds of this crate, for the table of limits.

use oci::limit::Limit;

/// All bounds of this crate.
pub const LIMITS: &[Limit] = &[
    Limit {
        name: "revision name",
        value: "63 bytes",
        reason: "a revision's name becomes the value of labels and the name of DNS labels (RFC 1123)",
        flag: None,
    },
    Limit {
        name: "part of the package's name in a revision's name",
        value: "50 bytes",
        reason: "leaves room for a dash and 12 digits of the hash",
        flag: None,
    },
];
