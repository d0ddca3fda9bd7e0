//! The kinds of trouble, for machines.

use std::fmt;

/// The closed set of reasons, one per kind of trouble, for conditions, events and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is explained at the error of the same name")]
pub enum Reason {
    InvalidReference,
    HostNotFound,
    ConnectionFailed,
    TlsUnknownAuthority,
    TlsNameMismatch,
    TlsFailed,
    ProxyRefused,
    Unauthenticated,
    CredentialsRefused,
    TokenEndpointFailed,
    RealmRefused,
    RedirectRefused,
    Forbidden,
    NotFound,
    NoPlatform,
    UnsupportedMediaType,
    InvalidManifest,
    DigestMismatch,
    SizeMismatch,
    TooLarge,
    RateLimited,
    Unavailable,
    UnexpectedAnswer,
    Timeout,
    StoreMiss,
    StorageFailed,
}

impl Reason {
    /// The reason as it stands in a condition: the name of the variant.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidReference => "InvalidReference",
            Self::HostNotFound => "HostNotFound",
            Self::ConnectionFailed => "ConnectionFailed",
            Self::TlsUnknownAuthority => "TlsUnknownAuthority",
            Self::TlsNameMismatch => "TlsNameMismatch",
            Self::TlsFailed => "TlsFailed",
            Self::ProxyRefused => "ProxyRefused",
            Self::Unauthenticated => "Unauthenticated",
            Self::CredentialsRefused => "CredentialsRefused",
            Self::TokenEndpointFailed => "TokenEndpointFailed",
            Self::RealmRefused => "RealmRefused",
            Self::RedirectRefused => "RedirectRefused",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::NoPlatform => "NoPlatform",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::InvalidManifest => "InvalidManifest",
            Self::DigestMismatch => "DigestMismatch",
            Self::SizeMismatch => "SizeMismatch",
            Self::TooLarge => "TooLarge",
            Self::RateLimited => "RateLimited",
            Self::Unavailable => "Unavailable",
            Self::UnexpectedAnswer => "UnexpectedAnswer",
            Self::Timeout => "Timeout",
            Self::StoreMiss => "StoreMiss",
            Self::StorageFailed => "StorageFailed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
