//! What the in-process registry answers, by the distribution specification.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LINK, LOCATION, RANGE, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{Auth, Content, State, Stored};
use crate::image::{OCI_INDEX, sha256};
use crate::serve::Broken;

/// Tags of one page when the client does not ask for another number.
const PAGE: usize = 100;

type Answer = Result<Response<Bytes>, Broken>;

impl State {
    pub(super) fn respond(&self, parts: &Parts, body: Bytes) -> Answer {
        let path = parts.uri.path();
        if path == "/token" {
            return self.token(parts);
        }
        let Some(rest) = path.strip_prefix("/v2/") else {
            return error(StatusCode::NOT_FOUND, "NOT_FOUND");
        };
        let repository = repository(rest);
        if let Some(refusal) = self.refusal(parts, repository)? {
            return Ok(refusal);
        }
        if rest.is_empty() {
            return Ok(Response::new(Bytes::from_static(b"{}")));
        }
        let what = rest.strip_prefix(repository).unwrap_or_default();
        if what == "/tags/list" {
            return self.tags(parts, repository);
        }
        if let Some(session) = what.strip_prefix("/blobs/uploads/") {
            return self.upload(parts, repository, session, body);
        }
        if let Some(digest) = what.strip_prefix("/blobs/") {
            return self.blob(parts, digest);
        }
        if let Some(reference) = what.strip_prefix("/manifests/") {
            return self.manifest(parts, repository, reference, body);
        }
        if let Some(digest) = what.strip_prefix("/referrers/") {
            return self.referrers(repository, digest);
        }
        error(StatusCode::NOT_FOUND, "NOT_FOUND")
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusal(&self, parts: &Parts, repository: &str) -> Result<Option<Response<Bytes>>, Broken> {
        let content = self.content();
        let shown = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let challenge = match &content.auth {
            Auth::Open => return Ok(None),
            Auth::Basic(user, password) => {
                if shown == basic(user, password) {
                    return Ok(None);
                }
                "Basic realm=\"test\"".to_owned()
            }
            Auth::Bearer(..) => {
                let scope = content
                    .tokens
                    .get(shown.strip_prefix("Bearer ").unwrap_or_default());
                if scope.is_some_and(|s| {
                    repository.is_empty() || s.contains(&format!("repository:{repository}:"))
                }) {
                    return Ok(None);
                }
                let host = parts
                    .headers
                    .get("host")
                    .and_then(|h| h.to_str().ok())
                    .unwrap_or_default();
                let actions = if parts.method == Method::GET || parts.method == Method::HEAD {
                    "pull"
                } else {
                    "pull,push"
                };
                let realm = format!("{}://{host}/token", self.scheme);
                format!(
                    "Bearer realm=\"{realm}\",service=\"test\",scope=\"repository:{repository}:{actions}\""
                )
            }
        };
        let mut refusal = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED")?;
        refusal.headers_mut().insert(WWW_AUTHENTICATE, challenge.parse()?);
        Ok(Some(refusal))
    }

    fn token(&self, parts: &Parts) -> Answer {
        let mut content = self.content();
        let Auth::Bearer(user, password) = &content.auth else {
            return error(StatusCode::NOT_FOUND, "NOT_FOUND");
        };
        let shown = parts.headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        if shown != Some(&basic(user, password)) {
            return error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        }
        let number = self.tokens_given.fetch_add(1, Ordering::SeqCst);
        let token = format!("token-{number}");
        content
            .tokens
            .insert(token.clone(), query(parts, "scope").unwrap_or_default());
        json_answer(&json!({ "token": token, "access_token": token, "expires_in": 300 }))
    }

    fn tags(&self, parts: &Parts, repository: &str) -> Answer {
        let content = self.content();
        let last = query(parts, "last").unwrap_or_default();
        let page = query(parts, "n").and_then(|n| n.parse().ok()).unwrap_or(PAGE);
        let all: Vec<&str> = content
            .tags
            .keys()
            .filter(|(r, t)| r == repository && *t > last)
            .map(|(_, t)| t.as_str())
            .collect();
        if all.is_empty() && !content.manifests.keys().any(|(r, _)| r == repository) {
            return error(StatusCode::NOT_FOUND, "NAME_UNKNOWN");
        }
        let shown = all.get(..page).unwrap_or(&all);
        let mut answer = json_answer(&json!({ "name": repository, "tags": shown }))?;
        if let (true, Some(last)) = (shown.len() < all.len(), shown.last()) {
            let next = format!("</v2/{repository}/tags/list?n={page}&last={last}>; rel=\"next\"");
            answer.headers_mut().insert(LINK, next.parse()?);
        }
        Ok(answer)
    }

    fn upload(&self, parts: &Parts, repository: &str, session: &str, body: Bytes) -> Answer {
        let mut content = self.content();
        let done = |content: &mut Content, bytes: Bytes, digest: String| {
            if sha256(&bytes) != digest {
                return error(StatusCode::BAD_REQUEST, "DIGEST_INVALID");
            }
            let location = format!("/v2/{repository}/blobs/{digest}");
            content.blobs.insert(digest, bytes);
            Ok(Response::builder()
                .status(StatusCode::CREATED)
                .header(LOCATION, location)
                .body(Bytes::new())?)
        };
        let open = |session: &str| {
            let location = format!("/v2/{repository}/blobs/uploads/{session}");
            Response::builder()
                .status(StatusCode::ACCEPTED)
                .header(LOCATION, location)
                .body(Bytes::new())
        };
        let digest = query(parts, "digest");
        match (&parts.method, digest) {
            (&Method::POST, Some(digest)) if session.is_empty() => done(&mut content, body, digest),
            (&Method::POST, None) if session.is_empty() => {
                let session = format!("session-{}", self.uploads_opened.fetch_add(1, Ordering::SeqCst));
                content.uploads.insert(session.clone(), Vec::new());
                Ok(open(&session)?)
            }
            (&Method::PATCH, _) => match content.uploads.get_mut(session) {
                None => error(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
                Some(bytes) => {
                    bytes.extend_from_slice(&body);
                    Ok(open(session)?)
                }
            },
            (&Method::PUT, Some(digest)) => match content.uploads.remove(session) {
                None => error(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
                Some(mut bytes) => {
                    bytes.extend_from_slice(&body);
                    done(&mut content, bytes.into(), digest)
                }
            },
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
        }
    }

    fn blob(&self, parts: &Parts, digest: &str) -> Answer {
        let Some(bytes) = self.content().blobs.get(digest).cloned() else {
            return error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN");
        };
        let total = bytes.len();
        let answer = Response::builder()
            .header("docker-content-digest", digest)
            .header(CONTENT_TYPE, "application/octet-stream");
        if parts.method == Method::HEAD {
            return Ok(answer.header(CONTENT_LENGTH, total).body(Bytes::new())?);
        }
        match range(parts, total) {
            None => Ok(answer.header(CONTENT_LENGTH, total).body(bytes)?),
            Some((from, to)) if from < to => Ok(answer
                .status(StatusCode::PARTIAL_CONTENT)
                .header(CONTENT_RANGE, format!("bytes {from}-{}/{total}", to - 1))
                .header(CONTENT_LENGTH, to - from)
                .body(bytes.slice(from..to))?),
            Some(_) => error(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID"),
        }
    }

    fn manifest(&self, parts: &Parts, repository: &str, reference: &str, body: Bytes) -> Answer {
        let mut content = self.content();
        let key = |value: &str| (repository.to_owned(), value.to_owned());
        if parts.method == Method::PUT {
            let media_type = parts
                .headers
                .get(CONTENT_TYPE)
                .and_then(|t| t.to_str().ok())
                .unwrap_or_default();
            if reference.contains(':') && sha256(&body) != reference {
                return error(StatusCode::BAD_REQUEST, "DIGEST_INVALID");
            }
            let digest = store_manifest(&mut content, repository, reference, media_type, body);
            let location = format!("/v2/{repository}/manifests/{digest}");
            return Ok(Response::builder()
                .status(StatusCode::CREATED)
                .header(LOCATION, location)
                .header("docker-content-digest", digest)
                .body(Bytes::new())?);
        }
        let digest = if reference.contains(':') {
            Some(reference.to_owned())
        } else {
            content.tags.get(&key(reference)).cloned()
        };
        let Some(digest) = digest.filter(|d| content.manifests.contains_key(&key(d))) else {
            return error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN");
        };
        if parts.method == Method::DELETE {
            content.manifests.remove(&key(&digest));
            content.tags.retain(|(r, _), d| r != repository || *d != digest);
            return Ok(Response::builder()
                .status(StatusCode::ACCEPTED)
                .body(Bytes::new())?);
        }
        let Some(stored) = content.manifests.get(&key(&digest)) else {
            return error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN");
        };
        let body = if parts.method == Method::HEAD {
            Bytes::new()
        } else {
            stored.bytes.clone()
        };
        Ok(Response::builder()
            .header(CONTENT_TYPE, &stored.media_type)
            .header(CONTENT_LENGTH, stored.bytes.len())
            .header("docker-content-digest", digest)
            .body(body)?)
    }

    fn referrers(&self, repository: &str, subject: &str) -> Answer {
        let content = self.content();
        let of_subject = |(key, stored): (&(String, String), &Arc<Stored>)| {
            let manifest: Value = serde_json::from_slice(&stored.bytes).ok()?;
            (key.0 == repository && manifest["subject"]["digest"] == subject).then(|| {
                json!({
                    "mediaType": stored.media_type, "digest": key.1, "size": stored.bytes.len(),
                    "artifactType": manifest["artifactType"], "annotations": manifest["annotations"],
                })
            })
        };
        let found: Vec<Value> = content.manifests.iter().filter_map(of_subject).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found });
        let mut answer = json_answer(&index)?;
        answer.headers_mut().insert(CONTENT_TYPE, OCI_INDEX.parse()?);
        Ok(answer)
    }
}

fn repository(rest: &str) -> &str {
    let end = ["/manifests/", "/blobs/", "/tags/", "/referrers/"]
        .iter()
        .filter_map(|m| rest.rfind(m))
        .max();
    end.and_then(|end| rest.get(..end)).unwrap_or_default()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The value of a query parameter, with the escapes that clients use in digests and scopes undone.
fn query(parts: &Parts, name: &str) -> Option<String> {
    let value = parts
        .uri
        .query()?
        .split('&')
        .find_map(|p| p.strip_prefix(name)?.strip_prefix('='))?;
    let mut decoded = value.to_owned();
    for (escape, plain) in [
        ("%3A", ":"),
        ("%3a", ":"),
        ("%2F", "/"),
        ("%2f", "/"),
        ("%2C", ","),
        ("%2c", ","),
    ] {
        decoded = decoded.replace(escape, plain);
    }
    Some(decoded)
}

/// The half-open range of bytes asked for by `Range: bytes=from-` or `bytes=from-to`.
fn range(parts: &Parts, total: usize) -> Option<(usize, usize)> {
    let value = parts.headers.get(RANGE)?.to_str().ok()?.strip_prefix("bytes=")?;
    let (from, to) = value.split_once('-')?;
    let to = to
        .parse::<usize>()
        .map_or(total, |to| total.min(to.saturating_add(1)));
    Some((from.parse().ok()?, to))
}

fn json_answer(value: &Value) -> Answer {
    Ok(Response::builder()
        .header(CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(value)?.into())?)
}

fn error(status: StatusCode, code: &str) -> Answer {
    let body = json!({ "errors": [{ "code": code, "message": code.to_lowercase().replace('_', " ") }] });
    let mut answer = json_answer(&body)?;
    *answer.status_mut() = status;
    Ok(answer)
}

/// Keeps a manifest under its digest, and lets the tag (if it is none of a digest's form) name it.
pub(super) fn store_manifest(
    content: &mut Content,
    repository: &str,
    tag: &str,
    media_type: &str,
    bytes: Bytes,
) -> String {
    let digest = sha256(&bytes);
    let stored = Arc::new(Stored {
        media_type: media_type.to_owned(),
        bytes,
    });
    content
        .manifests
        .insert((repository.to_owned(), digest.clone()), stored);
    if !tag.contains(':') {
        content
            .tags
            .insert((repository.to_owned(), tag.to_owned()), digest.clone());
    }
    digest
}
