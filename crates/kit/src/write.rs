//! The only way to change an object.
//!
//! Each write asks the [`Fence`] immediately before it is sent, is bounded in time, is counted, and answers
//! with metadata only, so that a large object never travels back.

mod error;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use kube::{Client, client::Body};
use serde::Serialize;

pub use error::WriteError;
use error::refused;

use crate::{
    answer::{self, Answer},
    fence::Fence,
    meta::{Bare, Meta},
    metrics::Writes,
    resource::{BadName, Target},
};

/// How long one write may take altogether. Large definitions take seconds on a busy server; the API server
/// gives up after 60 s itself.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(40);

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
// The server takes JSON under this type too: JSON is YAML.
const APPLY: &str = "application/apply-patch+yaml";

/// What to do with dependents when an object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Propagation {
    /// The garbage collector deletes them afterwards.
    #[default]
    Background,
    /// The object stays until they are gone.
    Foreground,
    /// They stay and lose their owner reference.
    Orphan,
}

/// The object must still be this one when it is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preconditions {
    /// Its UID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Its resource version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

impl Preconditions {
    /// The object as it was seen.
    pub fn exactly(meta: &Meta) -> Self {
        Self {
            uid: Some(meta.uid.clone()),
            resource_version: Some(meta.resource_version.clone()),
        }
    }

    /// The same object, in whatever state.
    pub fn same(uid: impl Into<String>) -> Self {
        Self {
            uid: Some(uid.into()),
            resource_version: None,
        }
    }
}

/// A JSON body. Made from bytes that are JSON already, or from a value.
#[derive(Clone, Debug)]
pub struct Payload(Bytes);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes> for Payload {
    fn from(json: Bytes) -> Self {
        Self(json)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(json: Vec<u8>) -> Self {
        Self(json.into())
    }
}

impl From<&serde_json::Value> for Payload {
    fn from(value: &serde_json::Value) -> Self {
        // `Value` prints as JSON and cannot fail to.
        Self(value.to_string().into())
    }
}

impl From<serde_json::Value> for Payload {
    fn from(value: serde_json::Value) -> Self {
        Self::from(&value)
    }
}

/// Writes objects. Clones share connection, fence and counters.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    fence: Fence,
    writes: Writes,
    dry_run: bool,
}

struct Call<'a> {
    verb: &'static str,
    method: Method,
    path: String,
    content_type: &'static str,
    body: Payload,
    target: &'a Target,
}

impl Writer {
    /// A writer that asks `fence` before each write.
    pub fn new(client: Client, fence: Fence, writes: Writes) -> Self {
        Self {
            client,
            fence,
            writes,
            dry_run: false,
        }
    }

    /// The same writer, but the server only checks and stores nothing. Needs no lease and counts as no write.
    #[must_use]
    pub fn dry_run(&self) -> Self {
        Self {
            dry_run: true,
            ..self.clone()
        }
    }

    /// The fence that is asked.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// The connection, for reads.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Creates the object. `body` is the whole object; its name must be the target's.
    pub async fn create(
        &self,
        manager: &str,
        target: &Target,
        body: impl Into<Payload>,
    ) -> Result<Meta, WriteError> {
        let path = target
            .resource
            .collection_path(target.namespace.as_deref())
            .map_err(WriteError::Name)?;
        let path = self.query(path, Some(manager), false);
        self.meta(Call {
            verb: "create",
            method: Method::POST,
            path,
            content_type: JSON,
            body: body.into(),
            target,
        })
        .await
    }

    /// Replaces the object. `body` is the whole object with the `resourceVersion` and `uid` it is based on.
    pub async fn replace(
        &self,
        manager: &str,
        target: &Target,
        body: impl Into<Payload>,
    ) -> Result<Meta, WriteError> {
        let path = self.query(target.path().map_err(WriteError::Name)?, Some(manager), false);
        self.meta(Call {
            verb: "replace",
            method: Method::PUT,
            path,
            content_type: JSON,
            body: body.into(),
            target,
        })
        .await
    }

    /// Merges `body` into the object. To be conditional it carries `metadata.uid` and
    /// `metadata.resourceVersion`.
    pub async fn merge_patch(
        &self,
        manager: &str,
        target: &Target,
        body: impl Into<Payload>,
    ) -> Result<Meta, WriteError> {
        self.patch("patch", MERGE, "", manager, target, body.into(), false)
            .await
    }

    /// JSON patch (RFC 6902). Operations that set `metadata.uid` and `metadata.resourceVersion` make it
    /// conditional: another object, or another state of it, answers [`WriteError::Conflict`].
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn json_patch(
        &self,
        manager: &str,
        target: &Target,
        body: impl Into<Payload>,
    ) -> Result<Meta, WriteError> {
        self.patch("json_patch", JSON_PATCH, "", manager, target, body.into(), false)
            .await
    }

    /// Merges `body` into the object's status.
    pub async fn merge_patch_status(
        &self,
        manager: &str,
        target: &Target,
        body: impl Into<Payload>,
    ) -> Result<Meta, WriteError> {
        self.patch(
            "patch_status",
            MERGE,
            "/status",
            manager,
            target,
            body.into(),
            false,
        )
        .await
    }

    /// Server-side apply: creates the object if it is missing (unless `body` carries `metadata.uid`).
    /// With `force` fields of other managers are taken over, without it they are a [`WriteError::Conflict`].
    pub async fn apply(
        &self,
        manager: &str,
        target: &Target,
        body: impl Into<Payload>,
        force: bool,
    ) -> Result<Meta, WriteError> {
        self.patch("apply", APPLY, "", manager, target, body.into(), force)
            .await
    }

    /// Server-side apply of the status, forced: each field of a status has one writer.
    pub async fn apply_status(
        &self,
        manager: &str,
        target: &Target,
        body: impl Into<Payload>,
    ) -> Result<Meta, WriteError> {
        self.patch(
            "apply_status",
            APPLY,
            "/status",
            manager,
            target,
            body.into(),
            true,
        )
        .await
    }

    /// Asks for deletion. A [`WriteError::NotFound`] means that it is gone already.
    pub async fn delete(
        &self,
        target: &Target,
        preconditions: &Preconditions,
        propagation: Propagation,
    ) -> Result<(), WriteError> {
        let mut body = serde_json::json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "propagationPolicy": propagation, "preconditions": preconditions,
        });
        // With options in the body the server doesn't look for any in the query.
        if self.dry_run {
            body["dryRun"] = serde_json::json!(["All"]);
        }
        let path = target.path().map_err(WriteError::Name)?;
        let body = body.into();
        self.send(Call {
            verb: "delete",
            method: Method::DELETE,
            path,
            content_type: JSON,
            body,
            target,
        })
        .await
        .map(drop)
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "private: the public methods fix most of them"
    )]
    async fn patch(
        &self,
        verb: &'static str,
        content_type: &'static str,
        subresource: &str,
        manager: &str,
        target: &Target,
        body: Payload,
        force: bool,
    ) -> Result<Meta, WriteError> {
        let path = target.path().map_err(WriteError::Name)? + subresource;
        let path = self.query(path, Some(manager), force);
        self.meta(Call {
            verb,
            method: Method::PATCH,
            path,
            content_type,
            body,
            target,
        })
        .await
    }

    fn query(&self, path: String, manager: Option<&str>, force: bool) -> String {
        let mut query = Vec::new();
        if let Some(manager) = manager {
            query.push(format!("fieldManager={manager}"));
        }
        if force {
            query.push("force=true".to_owned());
        }
        if self.dry_run {
            query.push("dryRun=All".to_owned());
        }
        if query.is_empty() {
            path
        } else {
            format!("{path}?{}", query.join("&"))
        }
    }

    async fn meta(&self, call: Call<'_>) -> Result<Meta, WriteError> {
        let target = call.target;
        let body = self.send(call).await?;
        let bare: Bare = serde_json::from_slice(&body).map_err(|error| WriteError::Unavailable {
            target: target.to_string(),
            why: format!("its answer cannot be read: {error}"),
        })?;
        Ok(bare.metadata)
    }

    async fn send(&self, call: Call<'_>) -> Result<Bytes, WriteError> {
        let target = call.target;
        let request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(header::CONTENT_TYPE, call.content_type)
            .header(header::ACCEPT, answer::METADATA_ONLY)
            .body(Body::from(call.body.0));
        let request = request.map_err(|_| {
            WriteError::Name(BadName {
                name: target.name.clone(),
            })
        })?;
        if !self.dry_run {
            self.fence.check().map_err(WriteError::Fenced)?;
        }
        let answer = tokio::time::timeout(WRITE_TIMEOUT, answer::receive(&self.client, request)).await;
        let result = match answer {
            Err(_) => Err(WriteError::Timeout {
                target: target.to_string(),
            }),
            Ok(Err(error)) => Err(WriteError::Unavailable {
                target: target.to_string(),
                why: error.to_string(),
            }),
            Ok(Ok(Answer::Body(body))) => Ok(body),
            Ok(Ok(Answer::Refused {
                code,
                refusal,
                retry_after,
            })) => Err(refused(target, code, refusal, retry_after)),
        };
        if !self.dry_run {
            let outcome = result.as_ref().map_or_else(WriteError::reason, |_| "Written");
            self.writes.count(call.verb, &target.resource.kind, outcome);
        }
        result
    }
}

#[cfg(test)]
mod tests;
