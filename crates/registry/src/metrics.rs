//! What the client reports about its traffic. The crate knows no metrics library: who wants figures
//! implements [`Metrics`].

use std::time::Duration;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `GET /v2/`, to learn which authentication a registry wants.
    Ping,
    /// A token for later requests.
    Token,
    /// `HEAD` of a manifest.
    HeadManifest,
    /// `GET` of a manifest.
    GetManifest,
    /// `GET` of a blob.
    GetBlob,
    /// A page of tags.
    ListTags,
    /// Anything about the upload of a blob.
    PushBlob,
    /// `PUT` of a manifest.
    PushManifest,
}

impl Operation {
    /// The name as a label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Token => "token",
            Self::HeadManifest => "head_manifest",
            Self::GetManifest => "get_manifest",
            Self::GetBlob => "get_blob",
            Self::ListTags => "list_tags",
            Self::PushBlob => "push_blob",
            Self::PushManifest => "push_manifest",
        }
    }
}

/// Takes figures as they arise. Called on the hot path: must not block. `host` comes from users' references,
/// so an implementation bounds how many different ones it keeps.
pub trait Metrics: Send + Sync + 'static {
    /// One HTTP exchange ended: with a status, or without an answer.
    fn request(&self, _host: &str, _operation: Operation, _status: Option<u16>, _took: Duration) {}

    /// Bytes of an answer's body came.
    fn received(&self, _host: &str, _operation: Operation, _bytes: u64) {}

    /// A request is tried again, or a download taken up again.
    fn retry(&self, _host: &str, _operation: Operation) {}

    /// A request waits because the host asked for a pause.
    fn throttled(&self, _host: &str, _wait: Duration) {}

    /// The host said how many requests are left in its window (`ratelimit-remaining`).
    fn rate_limit_remaining(&self, _host: &str, _remaining: u64) {}
}

/// Keeps no figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMetrics;

impl Metrics for NoMetrics {}
