//! What can go wrong between Gantry and a registry, told apart as a user needs it (format-and-cli.md 7.5).

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use oci::{Digest, Reference};

use crate::limits::MAX_ERROR_DETAIL_CHARS;
use crate::reason::Reason;

/// Where something went wrong: shown at the start of each message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The host that was asked, with its port.
    pub host: String,
    /// The reference that was wanted, in the user's spelling.
    pub reference: String,
}

impl At {
    /// The registry of a reference.
    #[must_use]
    pub fn new(reference: &Reference) -> Self {
        Self {
            host: reference.registry().to_owned(),
            reference: reference.to_string(),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reference.starts_with(&self.host) {
            write!(f, "image {}", self.reference)
        } else {
            write!(f, "image {} at {}", self.reference, self.host)
        }
    }
}

/// Why content couldn't be had. Messages never hold tokens or the query of a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The reference can't be read, so nothing was asked.
    #[error(transparent)]
    InvalidReference(#[from] oci::ReferenceError),
    /// The name of the host can't be resolved.
    #[error("{at}: host {} is not found: check its name and the DNS it is looked up in ({detail})", at.host)]
    HostNotFound {
        /// Where.
        at: At,
        /// What the resolver said.
        detail: String,
    },
    /// No connection, or it broke before an answer came.
    #[error("{at}: no connection to {}: check that the registry runs and can be reached ({detail})", at.host)]
    Connect {
        /// Where.
        at: At,
        /// What the system said.
        detail: String,
    },
    /// The certificate's issuer isn't trusted.
    #[error("{at}: the certificate of {} is of an unknown authority: add its CA to the CA bundle", at.host)]
    TlsUnknownAuthority {
        /// Where.
        at: At,
    },
    /// The certificate is for other names.
    #[error("{at}: the certificate is not valid for the name {}: {detail}", at.host)]
    TlsNameMismatch {
        /// Where.
        at: At,
        /// Which names it is for, if known.
        detail: String,
    },
    /// Any other trouble with TLS, such as an expired certificate.
    #[error("{at}: TLS with {} failed: {detail}", at.host)]
    Tls {
        /// Where.
        at: At,
        /// What TLS said.
        detail: String,
    },
    /// The proxy can't be reached, or refuses.
    #[error("{at}: proxy {proxy} did not connect to {}: check HTTPS_PROXY, NO_PROXY ({detail})", at.host)]
    Proxy {
        /// Where.
        at: At,
        /// Host and port of the proxy.
        proxy: String,
        /// What happened.
        detail: String,
    },
    /// The registry wants credentials, and none were found for it.
    #[error("{at}: {} wants credentials, none found (in: {tried}): add a pull secret", at.host)]
    Unauthenticated {
        /// Where.
        at: At,
        /// Sources that were searched.
        tried: String,
    },
    /// Credentials were found, and refused.
    #[error("{at}: {} refused the credentials of {tried}: check user and password ({detail})", at.host)]
    CredentialsRefused {
        /// Where.
        at: At,
        /// Sources of the credentials that were tried.
        tried: String,
        /// What the registry said.
        detail: String,
    },
    /// The token endpoint gave no token.
    #[error("{at}: the token endpoint {realm} gave no token: {detail}")]
    TokenEndpoint {
        /// Where.
        at: At,
        /// The endpoint, without its query.
        realm: String,
        /// Status and message.
        detail: String,
        /// Whether it may work later.
        transient: bool,
    },
    /// The token endpoint that the registry names isn't one that credentials may go to.
    #[error("{at}: {} names the token endpoint {realm}, which is refused: {why}", at.host)]
    RealmRefused {
        /// Where.
        at: At,
        /// The endpoint, without its query.
        realm: String,
        /// The rule.
        why: &'static str,
    },
    /// A redirect that isn't followed.
    #[error("{at}: a redirect to {target} is refused: {why}")]
    RedirectRefused {
        /// Where.
        at: At,
        /// Scheme, host and port of the target.
        target: String,
        /// The rule.
        why: &'static str,
    },
    /// The registry knows who asks, and says no.
    #[error("{at}: {} forbids it: grant the account of {tried} access to the repository ({detail})", at.host)]
    Forbidden {
        /// Where.
        at: At,
        /// Sources of the credentials that were tried.
        tried: String,
        /// What the registry said.
        detail: String,
    },
    /// No such repository, tag or content.
    #[error("{at}: {what} is not there: check the name and the tag ({detail})")]
    NotFound {
        /// Where.
        at: At,
        /// What was asked for.
        what: String,
        /// What the registry said.
        detail: String,
    },
    /// No child of the index can be used.
    #[error("{at}: the index has no child that fits: it has [{platforms}]; push one for linux/amd64")]
    NoPlatform {
        /// Where.
        at: At,
        /// The platforms that the index has.
        platforms: String,
    },
    /// The manifest is of a type that isn't read, or not what it says it is.
    #[error("{at}: {detail}")]
    UnsupportedMediaType {
        /// Where.
        at: At,
        /// What is wrong with the manifest.
        detail: String,
    },
    /// The manifest isn't well-formed.
    #[error("{at}: {detail}")]
    InvalidManifest {
        /// Where.
        at: At,
        /// What is wrong with the manifest.
        detail: String,
    },
    /// The bytes don't have the digest that was asked for.
    #[error("{at}: {what} has digest {actual} and not {expected}: refused, something on the way changes it")]
    DigestMismatch {
        /// Where.
        at: At,
        /// Manifest or layer.
        what: &'static str,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// The content isn't as long as its descriptor says.
    #[error("{at}: {what} {digest} has {actual} bytes and not {expected}: refused")]
    SizeMismatch {
        /// Where.
        at: At,
        /// Manifest or layer.
        what: &'static str,
        /// Which one.
        digest: String,
        /// Bytes that the descriptor says.
        expected: u64,
        /// Bytes that came, or "more than …".
        actual: String,
    },
    /// Beyond one of the limits.
    #[error("{at}: {what} is {size}, more than the limit of {limit}: refused")]
    TooLarge {
        /// Where.
        at: At,
        /// What is too large, with its digest where it has one.
        what: String,
        /// How large it is.
        size: String,
        /// The limit.
        limit: String,
    },
    /// The registry asks for a pause that is too long to wait for.
    #[error("{at}: {} limits the rate of requests until {until}: tried again then", at.host)]
    RateLimited {
        /// Where.
        at: At,
        /// When to try again.
        until: Timestamp,
    },
    /// The registry is there and can't answer now.
    #[error("{at}: {} is not available: status {status} ({detail}); tried again later", at.host)]
    Unavailable {
        /// Where.
        at: At,
        /// The HTTP status.
        status: u16,
        /// What the registry said.
        detail: String,
    },
    /// A download that broke off too often.
    #[error(
        "{at}: the download of {digest} broke off {times} times, at {received} of {size} bytes ({detail})"
    )]
    Interrupted {
        /// Where.
        at: At,
        /// What was being downloaded.
        digest: String,
        /// Bytes received.
        received: u64,
        /// Bytes wanted.
        size: u64,
        /// How often it broke off.
        times: u32,
        /// How it broke off last.
        detail: String,
    },
    /// An answer that fits nothing else.
    #[error("{at}: {} gave an unexpected answer to {operation}: {detail}", at.host)]
    UnexpectedAnswer {
        /// Where.
        at: At,
        /// What was asked.
        operation: &'static str,
        /// Status and message.
        detail: String,
    },
    /// Time is up.
    #[error("{at}: {what} took longer than {}: check the registry and the network", seconds(*after))]
    Timeout {
        /// Where.
        at: At,
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The content store doesn't have it, and nothing else may be asked.
    #[error("{at}: the content store does not have it and pull policy Never forbids to fetch it")]
    StoreMiss {
        /// Where.
        at: At,
    },
    /// Neither the content store nor the temporary directory can hold the content.
    #[error("{at}: the content cannot be kept on disk: {detail}; free some space or mount a volume")]
    Storage {
        /// Where.
        at: At,
        /// What the disk said.
        detail: String,
    },
}

impl Error {
    /// The kind of trouble.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::InvalidReference(_) => Reason::InvalidReference,
            Self::HostNotFound { .. } => Reason::HostNotFound,
            Self::Connect { .. } => Reason::ConnectionFailed,
            Self::TlsUnknownAuthority { .. } => Reason::TlsUnknownAuthority,
            Self::TlsNameMismatch { .. } => Reason::TlsNameMismatch,
            Self::Tls { .. } => Reason::TlsFailed,
            Self::Proxy { .. } => Reason::ProxyRefused,
            Self::Unauthenticated { .. } => Reason::Unauthenticated,
            Self::CredentialsRefused { .. } => Reason::CredentialsRefused,
            Self::TokenEndpoint { .. } => Reason::TokenEndpointFailed,
            Self::RealmRefused { .. } => Reason::RealmRefused,
            Self::RedirectRefused { .. } => Reason::RedirectRefused,
            Self::Forbidden { .. } => Reason::Forbidden,
            Self::NotFound { .. } => Reason::NotFound,
            Self::NoPlatform { .. } => Reason::NoPlatform,
            Self::UnsupportedMediaType { .. } => Reason::UnsupportedMediaType,
            Self::InvalidManifest { .. } => Reason::InvalidManifest,
            Self::DigestMismatch { .. } => Reason::DigestMismatch,
            Self::SizeMismatch { .. } => Reason::SizeMismatch,
            Self::TooLarge { .. } => Reason::TooLarge,
            Self::RateLimited { .. } => Reason::RateLimited,
            Self::Unavailable { .. } | Self::Interrupted { .. } => Reason::Unavailable,
            Self::UnexpectedAnswer { .. } => Reason::UnexpectedAnswer,
            Self::Timeout { .. } => Reason::Timeout,
            Self::StoreMiss { .. } => Reason::StoreMiss,
            Self::Storage { .. } => Reason::StorageFailed,
        }
    }

    /// Whether trying again later can help although nobody changes anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::TokenEndpoint { transient, .. } => *transient,
            Self::HostNotFound { .. }
            | Self::Connect { .. }
            | Self::Proxy { .. }
            | Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::Interrupted { .. }
            | Self::Timeout { .. }
            | Self::Storage { .. } => true,
            _ => false,
        }
    }

    /// When the registry wants to be asked again, if it said so.
    #[must_use]
    pub const fn retry_at(&self) -> Option<Timestamp> {
        match self {
            Self::RateLimited { until, .. } => Some(*until),
            _ => None,
        }
    }
}

impl Error {
    /// The same trouble, for another reference: several callers may have waited for one answer.
    pub(crate) fn for_reference(mut self, reference: &Reference) -> Self {
        match &mut self {
            Self::InvalidReference(_) => {}
            Self::HostNotFound { at, .. }
            | Self::Connect { at, .. }
            | Self::TlsUnknownAuthority { at }
            | Self::TlsNameMismatch { at, .. }
            | Self::Tls { at, .. }
            | Self::Proxy { at, .. }
            | Self::Unauthenticated { at, .. }
            | Self::CredentialsRefused { at, .. }
            | Self::TokenEndpoint { at, .. }
            | Self::RealmRefused { at, .. }
            | Self::RedirectRefused { at, .. }
            | Self::Forbidden { at, .. }
            | Self::NotFound { at, .. }
            | Self::NoPlatform { at, .. }
            | Self::UnsupportedMediaType { at, .. }
            | Self::InvalidManifest { at, .. }
            | Self::DigestMismatch { at, .. }
            | Self::SizeMismatch { at, .. }
            | Self::TooLarge { at, .. }
            | Self::RateLimited { at, .. }
            | Self::Unavailable { at, .. }
            | Self::Interrupted { at, .. }
            | Self::UnexpectedAnswer { at, .. }
            | Self::Timeout { at, .. }
            | Self::StoreMiss { at }
            | Self::Storage { at, .. } => reference.as_str().clone_into(&mut at.reference),
        }
        self
    }
}

/// What came from outside, fit for a message: one line, no control characters, not too long.
pub(crate) fn tidy(text: &str) -> String {
    let mut tidy = String::new();
    for (count, c) in text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .enumerate()
    {
        if count == MAX_ERROR_DETAIL_CHARS {
            tidy.push('…');
            break;
        }
        tidy.push(if c.is_control() { ' ' } else { c });
    }
    tidy
}

/// "1.5 s", for messages.
fn seconds(duration: Duration) -> String {
    format!("{} s", (duration.as_millis() as f64 / 100.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_text_is_tidied() {
        assert_eq!(tidy("a\n\t b\u{7}c"), "a b c");
        assert_eq!(
            tidy(&"x".repeat(1000)).chars().count(),
            MAX_ERROR_DETAIL_CHARS + 1
        );
        assert_eq!(seconds(Duration::from_millis(1_520)), "1.5 s");
    }

    #[test]
    fn messages_name_host_and_reference() {
        let reference = Reference::parse("r.example.org/a/b:v1").unwrap();
        let at = At::new(&reference);
        let error = Error::TlsUnknownAuthority { at: at.clone() };
        let message = error.to_string();
        assert!(
            message.contains("r.example.org/a/b:v1") && message.contains("CA bundle"),
            "{message}"
        );
        assert_eq!(error.reason().as_str(), "TlsUnknownAuthority");
        assert!(!error.is_transient());
        let elsewhere = At {
            host: "auth.example.org".to_owned(),
            ..at
        };
        assert_eq!(
            elsewhere.to_string(),
            "image r.example.org/a/b:v1 at auth.example.org"
        );
    }
}
