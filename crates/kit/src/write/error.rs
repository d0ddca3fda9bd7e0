//! Why a write did not happen.

use std::time::Duration;

use http::StatusCode;

use super::WRITE_TIMEOUT;
use crate::{
    answer::Refusal,
    fence::Fenced,
    resource::{BadName, Resource, Target},
};

/// Why a write did not happen, or may not have happened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// Not sent: this process may not write now.
    #[error("{0}")]
    Fenced(Fenced),
    /// Not sent: the name cannot be one.
    #[error("{0}")]
    Name(BadName),
    /// 409: the object changed, has another uid, or its fields belong to another manager.
    #[error("{target} was changed by somebody else: {refusal}")]
    Conflict {
        /// The object.
        target: String,
        /// The server's words.
        refusal: Refusal,
    },
    /// 409 on create: the name is taken, or the object that had it is still being deleted.
    #[error("{target} exists already: {refusal}")]
    AlreadyExists {
        /// The object.
        target: String,
        /// The server's words.
        refusal: Refusal,
    },
    /// 404: there is no such object.
    #[error("{target} does not exist")]
    NotFound {
        /// The object.
        target: String,
    },
    /// 404: the server does not serve this resource.
    #[error("the API server does not serve {resource} {version}; is its definition installed?")]
    NotServed {
        /// Plural and group.
        resource: String,
        /// Version asked for.
        version: String,
    },
    /// 422 or 400: the server refuses the content; sending it again cannot help.
    #[error("{target} is refused as invalid: {refusal}")]
    Invalid {
        /// The object.
        target: String,
        /// The server's words.
        refusal: Refusal,
    },
    /// 403: missing rights, or an admission policy or quota says no.
    #[error("{target} is forbidden: {refusal}")]
    Forbidden {
        /// The object.
        target: String,
        /// The server's words.
        refusal: Refusal,
    },
    /// 413: larger than the server or its store takes.
    #[error("{target} is too large for the API server: {refusal}")]
    TooLarge {
        /// The object.
        target: String,
        /// The server's words.
        refusal: Refusal,
    },
    /// 429: the server asks for patience.
    #[error("the API server is busy, {target} was not written")]
    TooManyRequests {
        /// The object.
        target: String,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// 5xx, or the connection failed. It is unknown whether the write took place.
    #[error("the API server could not be asked to write {target}: {why}")]
    Unavailable {
        /// The object.
        target: String,
        /// What happened.
        why: String,
    },
    /// No answer within [`WRITE_TIMEOUT`]. It is unknown whether the write took place.
    #[error("the API server did not answer within {} s when writing {target}", WRITE_TIMEOUT.as_secs())]
    Timeout {
        /// The object.
        target: String,
    },
    /// Anything else.
    #[error("{target} was not written, status {code}: {refusal}")]
    Other {
        /// The object.
        target: String,
        /// HTTP status.
        code: u16,
        /// The server's words.
        refusal: Refusal,
    },
}

impl WriteError {
    /// Whether the same request may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::TooManyRequests { .. } | Self::Unavailable { .. } | Self::Timeout { .. } | Self::Fenced(_)
        )
    }

    /// A short closed word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Fenced(_) => "Fenced",
            Self::Name(_) => "BadName",
            Self::Conflict { .. } => "Conflict",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::NotFound { .. } => "NotFound",
            Self::NotServed { .. } => "NotServed",
            Self::Invalid { .. } => "Invalid",
            Self::Forbidden { .. } => "Forbidden",
            Self::TooLarge { .. } => "TooLarge",
            Self::TooManyRequests { .. } => "TooManyRequests",
            Self::Unavailable { .. } => "Unavailable",
            Self::Timeout { .. } => "Timeout",
            Self::Other { .. } => "Other",
        }
    }

    /// How long the server asked to wait, if it did.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The server's own words, where it said any.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Conflict { refusal, .. }
            | Self::AlreadyExists { refusal, .. }
            | Self::Invalid { refusal, .. }
            | Self::Forbidden { refusal, .. }
            | Self::TooLarge { refusal, .. }
            | Self::Other { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// Whether a dry run failed only because some admission webhook cannot do one.
    pub fn is_dry_run_unsupported(&self) -> bool {
        self.refusal()
            .is_some_and(|refusal| refusal.message.contains("does not support dry run"))
    }
}

pub(super) fn refused(
    target: &Target,
    code: StatusCode,
    refusal: Refusal,
    retry_after: Option<Duration>,
) -> WriteError {
    let resource: &Resource = &target.resource;
    let version = resource.version.to_string();
    let resource = resource.to_string();
    let target = target.to_string();
    match code.as_u16() {
        404 if !refusal.names_object => WriteError::NotServed { resource, version },
        404 => WriteError::NotFound { target },
        // A type that this server does not know for the resource: also not served, in another way.
        405 => WriteError::NotServed { resource, version },
        409 if refusal.reason == "AlreadyExists" => WriteError::AlreadyExists { target, refusal },
        409 => WriteError::Conflict { target, refusal },
        // The uid of a patch is a condition for us; for the server it changes a field that cannot change.
        422 if refusal.causes.iter().any(|cause| cause.field == "metadata.uid") => {
            WriteError::Conflict { target, refusal }
        }
        400 | 422 => WriteError::Invalid { target, refusal },
        401 | 403 => WriteError::Forbidden { target, refusal },
        413 => WriteError::TooLarge { target, refusal },
        429 => WriteError::TooManyRequests { target, retry_after },
        code if code >= 500 => WriteError::Unavailable {
            target,
            why: refusal.to_string(),
        },
        code => WriteError::Other {
            target,
            code,
            refusal,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Cause;

    fn answer(code: u16, refusal: Refusal) -> WriteError {
        let target = Target::cluster(Resource::new("example.org", "v1", "things", "Thing"), "a");
        refused(
            &target,
            StatusCode::from_u16(code).unwrap(),
            refusal,
            Some(Duration::from_secs(7)),
        )
    }

    #[test]
    fn tells_refusals_apart() {
        let says = |reason: &str| Refusal {
            reason: reason.into(),
            names_object: true,
            ..Refusal::default()
        };
        for (code, refusal, reason, transient) in [
            (404, says("NotFound"), "NotFound", false),
            (404, Refusal::default(), "NotServed", false),
            (409, says("AlreadyExists"), "AlreadyExists", false),
            (409, says("Conflict"), "Conflict", false),
            (422, says("Invalid"), "Invalid", false),
            (400, says("BadRequest"), "Invalid", false),
            (403, says("Forbidden"), "Forbidden", false),
            (413, says(""), "TooLarge", false),
            (429, says("TooManyRequests"), "TooManyRequests", true),
            (500, says("InternalError"), "Unavailable", true),
            (504, says("Timeout"), "Unavailable", true),
            (418, says(""), "Other", false),
        ] {
            let error = answer(code, refusal);
            assert_eq!(
                (error.reason(), error.is_transient()),
                (reason, transient),
                "{code}"
            );
            assert_eq!(error.retry_after().is_some(), code == 429);
        }
    }

    #[test]
    fn another_uid_is_a_conflict() {
        let cause = Cause {
            field: "metadata.uid".into(),
            ..Cause::default()
        };
        let refusal = Refusal {
            causes: vec![cause],
            names_object: true,
            ..Refusal::default()
        };
        assert_eq!(answer(422, refusal).reason(), "Conflict");
    }

    #[test]
    fn knows_webhooks_without_dry_run() {
        let message = "admission webhook \"x\" does not support dry run".to_owned();
        assert!(
            answer(
                400,
                Refusal {
                    message,
                    ..Refusal::default()
                }
            )
            .is_dry_run_unsupported()
        );
    }
}
