//! Certificates for TLS between processes in one cluster: issuing, reading, judging.
//!
//! Pure but for randomness: the time is an input, nothing is read or written. Any bytes may be given to what reads;
//! a typed [`Flaw`] says what is wrong with them. Private keys are never shown: their `Debug` says nothing.
//!
//! # Decisions
//! - An [`Authority`] has an RSA-2048 key in PKCS #1 PEM: programs that share the secret of an authority are known to
//!   read nothing else. What it issues has an ECDSA P-256 key in PKCS #8 PEM, which Go's `tls.LoadX509KeyPair`, gRPC and
//!   OpenSSL load as readily, and which is made a hundred times faster.
//! - Each certificate has a new key and a serial number made of it (SHA-256), so two never share one.
//! - Each authority has a subject of its own: who looks an issuer up by name finds the one that signed, also while two are
//!   trusted.
//! - An authority is valid from [`BACKDATE`] before it was made, and what it issues from the same moment: the authority would
//!   not be accepted before, and nothing is gained by saying less. So a machine whose clock was set wrong, and right again,
//!   issues nothing that others take for not yet valid.

mod authority;
mod held;
mod judge;
mod parse;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use authority::{Authority, IssueError, Issued, Request};
pub use held::{Contents, Leaf, read};
pub use judge::{Finding, Usage, examine, verifies};
pub use parse::{Certificate, Fingerprint, PrivateKey, bundle, certificates, pair};

/// Key of a secret that holds the certificate, the leaf first.
pub const CERTIFICATE: &str = "tls.crt";
/// Key of a secret that holds the private key.
pub const KEY: &str = "tls.key";
/// Key of a secret that holds the authorities that its reader is to trust.
pub const AUTHORITIES: &str = "ca.crt";

/// A day; certificates are counted in them.
const DAY: u64 = 24 * 60 * 60;
/// How long a leaf is valid.
pub const VALIDITY: Duration = Duration::from_secs(90 * DAY);
/// How long an authority is valid.
pub const AUTHORITY_VALIDITY: Duration = Duration::from_secs(3650 * DAY);
/// How long before it was made an authority is valid.
pub const BACKDATE: Duration = Duration::from_secs(366 * DAY);
/// Largest PEM text that is read.
pub const PEM_BYTES: usize = 256 << 10;
/// Certificates in one PEM text.
pub const CERTIFICATES: usize = 16;
/// Names that one certificate is issued for.
pub const NAMES: usize = 32;
/// Longest name, in bytes, as in the DNS.
pub const NAME_BYTES: usize = 253;

/// What is wrong with bytes that should be a certificate or a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Larger than [`PEM_BYTES`].
    #[error("{what} is larger than {} KiB", PEM_BYTES >> 10)]
    TooLarge {
        /// Key of the secret.
        what: &'static str,
    },
    /// More than [`CERTIFICATES`].
    #[error("{what} holds more than {CERTIFICATES} certificates")]
    TooMany {
        /// Key of the secret.
        what: &'static str,
    },
    /// No PEM block of the right sort.
    #[error("{what} holds no {sort} in PEM")]
    Nothing {
        /// Key of the secret.
        what: &'static str,
        /// What was looked for.
        sort: &'static str,
    },
    /// A PEM block that is not what it says.
    #[error("{what} can't be read: {why}")]
    Unreadable {
        /// Key of the secret.
        what: &'static str,
        /// The reader's words; never a part of a key.
        why: String,
    },
    /// The key belongs to another certificate.
    #[error("{KEY} is not the key of the certificate in {CERTIFICATE}")]
    OtherKey,
    /// The certificate may not sign others.
    #[error("the certificate in {CERTIFICATE} is not that of an authority")]
    NoAuthority,
}
