//! One request, one bounded answer.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::{Client, client::Body};
use serde::Deserialize;

/// Largest answer that carries metadata or a refusal. `managedFields` of large objects are part of it and
/// reach hundreds of kilobytes; the API server's own bound for an object is 3 MiB.
pub const METADATA_BYTES: usize = 4 << 20;

/// Longest piece of the server's words that is kept: it ends up in conditions and events.
pub const REFUSAL_BYTES: usize = 4 << 10;

/// Most causes that are kept of one refusal: a reader wants the first few.
pub const REFUSAL_CAUSES: usize = 20;

/// Asks for metadata only. The fall-back is for aggregated servers that cannot do that.
pub(crate) const METADATA_ONLY: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// What the server said when it refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Its machine-readable reason, for example `Conflict`; empty if it gave none.
    pub reason: String,
    /// Its message, cut at [`REFUSAL_BYTES`].
    pub message: String,
    /// Field by field, cut at [`REFUSAL_CAUSES`].
    pub causes: Vec<Cause>,
    /// Whether the refusal speaks of a named object; a 404 that does not means that the resource is unknown.
    pub names_object: bool,
}

/// One cause of a refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// Path of the field.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// Machine-readable kind, for example `FieldManagerConflict`.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.message.is_empty(), self.reason.is_empty()) {
            (false, _) => f.write_str(&self.message),
            (true, false) => f.write_str(&self.reason),
            (true, true) => f.write_str("the server gave no reason"),
        }
    }
}

pub(crate) enum Answer {
    Body(Bytes),
    Refused {
        code: StatusCode,
        refusal: Refusal,
        retry_after: Option<Duration>,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("{}", causes(.0))]
    Connection(kube::Error),
    #[error("the answer is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the connection broke during the answer")]
    Broken,
}

pub(crate) async fn receive(client: &Client, request: Request<Body>) -> Result<Answer, NoAnswer> {
    receive_bounded(client, request, METADATA_BYTES).await
}

pub(crate) async fn receive_bounded(
    client: &Client,
    request: Request<Body>,
    limit: usize,
) -> Result<Answer, NoAnswer> {
    let answer = client.send(request).await.map_err(NoAnswer::Connection)?;
    let (head, body) = answer.into_parts();
    let refused = !head.status.is_success();
    let limit = if refused { METADATA_BYTES } else { limit };
    let body = match Limited::new(body, limit).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(NoAnswer::TooLarge { limit });
        }
        Err(_) => return Err(NoAnswer::Broken),
    };
    if !refused {
        return Ok(Answer::Body(body));
    }
    let retry_after = retry_after(&head.headers);
    Ok(Answer::Refused {
        code: head.status,
        refusal: refusal(&body),
        retry_after,
    })
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

/// Reads a `Status` object; anything else becomes the message.
fn refusal(body: &[u8]) -> Refusal {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        kind: String,
        reason: Option<String>,
        message: Option<String>,
        details: Option<Details>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Details {
        name: Option<String>,
        causes: Option<Vec<Cause>>,
    }
    match serde_json::from_slice::<Status>(body) {
        Ok(status) if status.kind == "Status" => {
            let details = status.details.unwrap_or_default();
            let mut causes = details.causes.unwrap_or_default();
            causes.truncate(REFUSAL_CAUSES);
            Refusal {
                reason: status.reason.unwrap_or_default(),
                message: cut(&status.message.unwrap_or_default()),
                causes,
                names_object: details.name.is_some_and(|name| !name.is_empty()),
            }
        }
        _ => Refusal {
            message: cut(String::from_utf8_lossy(body).trim()),
            ..Refusal::default()
        },
    }
}

fn cut(text: &str) -> String {
    if text.len() <= REFUSAL_BYTES {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(REFUSAL_BYTES)])
}

/// The chain of causes in one line: the outermost words of the client library say little.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words.push_str(": ");
            words.push_str(&cause_words);
        }
        next = cause.source();
    }
    cut(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_status() {
        let body = br#"{"kind":"Status","status":"Failure","message":"boom","reason":"Conflict","details":
            {"name":"a","causes":[{"reason":"FieldManagerConflict","message":"m","field":".spec"}]}}"#;
        let refusal = refusal(body);
        assert_eq!(
            (refusal.reason.as_str(), refusal.message.as_str()),
            ("Conflict", "boom")
        );
        assert_eq!(refusal.causes[0].field, ".spec");
        assert!(refusal.names_object);
    }

    #[test]
    fn keeps_other_words_and_bounds_them() {
        let unknown = refusal(b"404 page not found\n");
        assert_eq!(unknown.message, "404 page not found");
        assert!(!unknown.names_object);
        let long = refusal("ü".repeat(REFUSAL_BYTES).as_bytes());
        assert!(long.message.len() <= REFUSAL_BYTES + '…'.len_utf8());
        assert_eq!(refusal(b"").to_string(), "the server gave no reason");
        assert_eq!(
            refusal(br#"{"kind":"Status","details":{"causes":null}}"#).causes,
            Vec::new()
        );
    }
}
