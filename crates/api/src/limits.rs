//! The bounds of this crate, for the table of limits.

use oci::limit::Limit;

/// All bounds of this crate.
pub const LIMITS: &[Limit] = &[
    Limit::fixed(
        "revision name",
        "63 bytes",
        "a revision's name becomes the value of labels and the name of DNS labels (RFC 1123)",
    ),
    Limit::fixed(
        "part of the package's name in a revision's name",
        "50 bytes",
        "leaves room for a dash and 12 digits of the hash",
    ),
];
