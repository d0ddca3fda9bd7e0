//! Reads of single objects: metadata, conditions, or bounded raw JSON. Nothing is decoded that is not asked
//! for.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use jiff::Timestamp;
use kube::{Client, client::Body};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    answer::{self, Answer, METADATA_BYTES, NoAnswer, Refusal},
    meta::{Bare, Meta},
    resource::{BadName, Resource, Target},
};

/// How long one read may take altogether.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest object that is read: the store behind the API server takes 1.5 MiB by default, some are set to
/// more.
pub const OBJECT_BYTES: usize = 16 << 20;

/// Objects per page of a list: as many as the official clients ask for.
pub const PAGE_SIZE: usize = 500;

/// Largest page of a metadata list: [`PAGE_SIZE`] objects with large `managedFields`.
pub const PAGE_BYTES: usize = 64 << 20;

/// Pages of one list, 500 objects each; more is a server that never ends.
pub const PAGES: usize = 2_000;

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The name cannot be one.
    #[error("{0}")]
    Name(BadName),
    /// 404: the server does not serve this resource.
    #[error("the API server does not serve {resource} {version}; is its definition installed?")]
    NotServed {
        /// Plural and group.
        resource: String,
        /// Version asked for.
        version: String,
    },
    /// 401 or 403.
    #[error("reading {what} is forbidden: {refusal}")]
    Forbidden {
        /// The object or collection.
        what: String,
        /// The server's words.
        refusal: Refusal,
    },
    /// 429, 5xx, no connection, no answer in time, or an answer that cannot be read.
    #[error("{what} could not be read: {why}")]
    Unavailable {
        /// The object or collection.
        what: String,
        /// What happened.
        why: String,
        /// How long the server asked to wait.
        retry_after: Option<Duration>,
    },
    /// Larger than the bound.
    #[error("{what} is larger than {limit} bytes and is not read")]
    TooLarge {
        /// The object or collection.
        what: String,
        /// The bound.
        limit: usize,
    },
    /// Any other refusal.
    #[error("{what} could not be read, status {code}: {refusal}")]
    Other {
        /// The object or collection.
        what: String,
        /// HTTP status.
        code: u16,
        /// The server's words.
        refusal: Refusal,
    },
}

impl ReadError {
    /// Whether the same request may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// A short closed word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Name(_) => "BadName",
            Self::NotServed { .. } => "NotServed",
            Self::Forbidden { .. } => "Forbidden",
            Self::Unavailable { .. } => "Unavailable",
            Self::TooLarge { .. } => "TooLarge",
            Self::Other { .. } => "Other",
        }
    }
}

/// One condition of an object's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: Option<String>,
    /// A sentence.
    pub message: Option<String>,
    /// The generation it speaks of.
    pub observed_generation: Option<i64>,
    /// When its status last changed.
    pub last_transition_time: Option<Timestamp>,
}

/// Metadata and conditions of an object whose other content was skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The object's metadata.
    pub meta: Meta,
    /// Its conditions in order.
    pub conditions: Vec<Condition>,
}

impl Conditions {
    /// The condition of this type.
    pub fn get(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// Whether the condition of this type is `True`.
    pub fn is_true(&self, type_: &str) -> bool {
        self.get(type_)
            .is_some_and(|condition| condition.status == "True")
    }
}

/// Metadata of one object; `None` if it does not exist.
pub async fn meta(client: &Client, target: &Target) -> Result<Option<Meta>, ReadError> {
    let body = object(client, target, answer::METADATA_ONLY, METADATA_BYTES).await?;
    let bare: Option<Bare> = body.map(|body| decode(&target.to_string(), &body)).transpose()?;
    Ok(bare.map(|bare| bare.metadata))
}

/// The object's JSON, at most `limit` bytes; `None` if it does not exist.
pub async fn raw(client: &Client, target: &Target, limit: usize) -> Result<Option<Bytes>, ReadError> {
    object(client, target, "application/json", limit).await
}

/// The object as a value, at most [`OBJECT_BYTES`]; `None` if it does not exist.
pub async fn value(client: &Client, target: &Target) -> Result<Option<serde_json::Value>, ReadError> {
    let body = raw(client, target, OBJECT_BYTES).await?;
    body.map(|body| decode(&target.to_string(), &body)).transpose()
}

/// Metadata and conditions of the object; `None` if it does not exist. The rest is skipped while reading.
pub async fn conditions(client: &Client, target: &Target) -> Result<Option<Conditions>, ReadError> {
    let body = raw(client, target, OBJECT_BYTES).await?;
    body.map(|body| decode_conditions(&target.to_string(), &body))
        .transpose()
}

/// Metadata of all objects of a resource, by name, page by page; `None` if the resource is not served.
pub async fn list_meta(
    client: &Client,
    resource: &Resource,
    namespace: Option<&str>,
    label_selector: Option<&str>,
) -> Result<Option<BTreeMap<String, Meta>>, ReadError> {
    let selection = Selection {
        namespace,
        labels: label_selector,
        ..Selection::default()
    };
    let mut found = BTreeMap::new();
    let served = pages(client, resource, &selection, METADATA_LIST, |page: Vec<Bare>| {
        found.extend(
            page.into_iter()
                .map(|bare| (bare.metadata.name.clone(), bare.metadata)),
        );
    })
    .await?;
    Ok(served.then_some(found))
}

/// Which objects of a resource a list shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'a> {
    /// Only those of this namespace.
    pub namespace: Option<&'a str>,
    /// A label selector.
    pub labels: Option<&'a str>,
    /// A field selector.
    pub fields: Option<&'a str>,
    /// Objects per page, for objects that are large; [`PAGE_SIZE`] without.
    pub page: Option<usize>,
}

/// All selected objects of a resource, page by page; `None` if the resource is not served.
///
/// What `T` doesn't name is skipped while reading; a page has at most [`PAGE_BYTES`].
pub async fn list<T: DeserializeOwned>(
    client: &Client,
    resource: &Resource,
    selection: &Selection<'_>,
) -> Result<Option<Vec<T>>, ReadError> {
    let mut found = Vec::new();
    let served = pages(client, resource, selection, "application/json", |page: Vec<T>| {
        found.extend(page);
    })
    .await?;
    Ok(served.then_some(found))
}

/// How many objects of a resource there are, in one small request; `None` if the resource is not served.
pub async fn count(client: &Client, resource: &Resource) -> Result<Option<u64>, ReadError> {
    let path = resource.collection_path(None).map_err(ReadError::Name)?;
    let what = resource.to_string();
    let body = get(
        client,
        &what,
        resource,
        format!("{path}?limit=1"),
        METADATA_LIST,
        PAGE_BYTES,
    )
    .await;
    let list: List<Bare> = match body {
        Ok(Some(body)) => decode(&what, &body)?,
        Ok(None) | Err(ReadError::NotServed { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let shown = u64::try_from(list.items.unwrap_or_default().len()).unwrap_or(u64::MAX);
    Ok(Some(
        shown.saturating_add(list.metadata.remaining.unwrap_or_default()),
    ))
}

const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

#[derive(Deserialize)]
struct List<T> {
    #[serde(default)]
    metadata: ListMeta,
    /// An empty list of metadata has `null` here.
    #[serde(default = "Option::default")]
    items: Option<Vec<T>>,
}

#[derive(Default, Deserialize)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    token: Option<String>,
    #[serde(default, rename = "remainingItemCount")]
    remaining: Option<u64>,
}

/// Hands every page to `take`; `false` if the resource is not served.
async fn pages<T: DeserializeOwned>(
    client: &Client,
    resource: &Resource,
    selection: &Selection<'_>,
    accept: &str,
    mut take: impl FnMut(Vec<T>),
) -> Result<bool, ReadError> {
    let what = resource.to_string();
    let path = resource
        .collection_path(selection.namespace)
        .map_err(ReadError::Name)?;
    let mut token: Option<String> = None;
    for _ in 0..PAGES {
        let mut query = format!("{path}?limit={}", selection.page.unwrap_or(PAGE_SIZE));
        for (key, value) in [
            ("labelSelector", selection.labels),
            ("fieldSelector", selection.fields),
            ("continue", token.as_deref()),
        ] {
            if let Some(value) = value {
                query.push_str(&format!("&{key}={}", escape(value)));
            }
        }
        let body = match get(client, &what, resource, query, accept, PAGE_BYTES).await {
            Ok(Some(body)) => body,
            Ok(None) | Err(ReadError::NotServed { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let list: List<T> = decode(&what, &body)?;
        take(list.items.unwrap_or_default());
        token = list.metadata.token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(true);
        }
    }
    Err(ReadError::TooLarge {
        what,
        limit: PAGES * PAGE_BYTES,
    })
}

async fn object(
    client: &Client,
    target: &Target,
    accept: &str,
    limit: usize,
) -> Result<Option<Bytes>, ReadError> {
    let path = target.path().map_err(ReadError::Name)?;
    get(client, &target.to_string(), &target.resource, path, accept, limit).await
}

pub(crate) async fn get(
    client: &Client,
    what: &str,
    resource: &Resource,
    path: String,
    accept: &str,
    limit: usize,
) -> Result<Option<Bytes>, ReadError> {
    let request = Request::get(path)
        .header(header::ACCEPT, accept)
        .body(Body::empty());
    let request = request.map_err(|_| {
        ReadError::Name(BadName {
            name: what.to_owned(),
        })
    })?;
    let what = what.to_owned();
    let late = |why: String, retry_after| ReadError::Unavailable {
        what: what.clone(),
        why,
        retry_after,
    };
    let answer = tokio::time::timeout(READ_TIMEOUT, answer::receive_bounded(client, request, limit)).await;
    let (code, refusal, retry_after) = match answer {
        Err(_) => {
            return Err(late(
                format!("no answer within {} s", READ_TIMEOUT.as_secs()),
                None,
            ));
        }
        Ok(Err(NoAnswer::TooLarge { limit })) => return Err(ReadError::TooLarge { what, limit }),
        Ok(Err(error)) => return Err(late(error.to_string(), None)),
        Ok(Ok(Answer::Body(body))) => return Ok(Some(body)),
        Ok(Ok(Answer::Refused {
            code,
            refusal,
            retry_after,
        })) => (code.as_u16(), refusal, retry_after),
    };
    match code {
        404 if refusal.names_object => Ok(None),
        404 => Err(ReadError::NotServed {
            resource: resource.to_string(),
            version: resource.version.to_string(),
        }),
        401 | 403 => Err(ReadError::Forbidden { what, refusal }),
        429 => Err(late("the API server is busy".to_owned(), retry_after)),
        code if code >= 500 => Err(late(refusal.to_string(), retry_after)),
        code => Err(ReadError::Other { what, code, refusal }),
    }
}

fn decode<'a, T: Deserialize<'a>>(what: &str, body: &'a [u8]) -> Result<T, ReadError> {
    serde_json::from_slice(body).map_err(|error| ReadError::Unavailable {
        what: what.to_owned(),
        why: format!("its answer cannot be read: {error}"),
        retry_after: None,
    })
}

pub(crate) fn decode_conditions(what: &str, body: &[u8]) -> Result<Conditions, ReadError> {
    // Serde skips what is not named here without building it, which for a definition is nearly everything.
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Object {
        metadata: Meta,
        status: Option<Status>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        conditions: Option<Vec<Condition>>,
    }
    let object: Object = decode(what, body)?;
    let conditions = object
        .status
        .and_then(|status| status.conditions)
        .unwrap_or_default();
    Ok(Conditions {
        meta: object.metadata,
        conditions,
    })
}

/// Percent-encodes a query value.
pub(crate) fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_conditions_beside_anything() {
        let body =
            br#"{"spec":{"deep":[{"schema":{"x":[1,2,{"y":null}]}}]},"metadata":{"name":"a","uid":"u"},
            "status":{"acceptedNames":{"kind":"A"},"conditions":[
                {"type":"Established","status":"True","reason":"InitialNamesAccepted","message":"m",
                 "lastTransitionTime":"2026-11-01T10:00:00Z"},
                {"type":"Terminating","status":"False"}]}}"#;
        let read = decode_conditions("a", body).unwrap();
        assert!(read.is_true("Established") && !read.is_true("Terminating") && !read.is_true("Else"));
        assert_eq!(read.meta.uid, "u");
        let none = decode_conditions("a", br#"{"status":{"conditions":null}}"#).unwrap();
        assert!(none.conditions.is_empty());
        assert!(decode_conditions("a", b"<html>").unwrap_err().is_transient());
    }

    #[test]
    fn an_empty_list_may_be_null() {
        for body in [r#"{"items":null}"#, r#"{"items":[],"metadata":{}}"#, "{}"] {
            let list: List<Bare> = decode("a", body.as_bytes()).unwrap();
            assert!(list.items.unwrap_or_default().is_empty(), "{body}");
        }
    }

    #[test]
    fn escapes_queries() {
        assert_eq!(escape("a=b,c in (d)"), "a%3Db%2Cc%20in%20%28d%29");
    }
}
