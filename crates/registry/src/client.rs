//! The distribution client: manifests.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use oci::{Algorithm, Digest, Document, ManifestError, Reference, media_type};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};

use crate::config::{ClientConfig, ConfigError};
use crate::deadline::Deadline;
use crate::error::{At, Error};
use crate::exchange::{BodyError, Request};
use crate::host::Hosts;
use crate::keychain::Keychain;
use crate::limits::MAX_MANIFEST_BYTES;
use crate::metrics::Operation;
use crate::retry;
use crate::session::Session;
use crate::token::Tokens;
use crate::transport::Transport;

/// The header that holds the digest of a manifest.
const DIGEST_HEADER: &str = "docker-content-digest";

/// A client of any number of registries. Cheap to clone; clones share connections, tokens and pauses.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) hosts: Hosts,
    pub(crate) tokens: Tokens,
    transport: RwLock<Arc<Transport>>,
}

impl Inner {
    pub(crate) fn transport(&self) -> Arc<Transport> {
        Arc::clone(&self.transport.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

/// What a reference points at, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// Its type, without parameters.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A manifest or index, exactly as the registry holds it, and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    /// The exact bytes: what the digest is of.
    pub bytes: Bytes,
    /// Their digest.
    pub digest: Digest,
    /// Their type, without parameters.
    pub media_type: String,
}

impl Client {
    /// Sets a client up. Nothing is sent yet.
    ///
    /// # Errors
    /// If the CA bundle holds no certificate or a damaged one.
    pub fn new(config: ClientConfig) -> Result<Self, ConfigError> {
        let config = Arc::new(config);
        let transport = Transport::new(&config, config.ca_bundle.as_deref())?;
        let inner = Inner {
            hosts: Hosts::new(config.per_host_concurrency),
            tokens: Tokens::default(),
            transport: RwLock::new(Arc::new(transport)),
            config,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Trusts the certificates of another CA bundle from now on, instead of those of the last one.
    ///
    /// # Errors
    /// If the bundle holds no certificate or a damaged one; then nothing changes.
    pub fn reload_ca(&self, ca_bundle: Option<&[u8]>) -> Result<(), ConfigError> {
        let transport = Arc::new(Transport::new(&self.inner.config, ca_bundle)?);
        *self
            .inner
            .transport
            .write()
            .unwrap_or_else(PoisonError::into_inner) = transport;
        Ok(())
    }

    /// What a reference points at, by `HEAD`; by `GET` where a registry doesn't answer that in full.
    ///
    /// # Errors
    /// Any of the kinds of [`Error`].
    pub async fn head(
        &self,
        reference: &Reference,
        keychain: &Keychain,
        deadline: Deadline,
    ) -> Result<Described, Error> {
        let at = At::new(reference);
        let work = async {
            let session = self.session(reference, keychain, deadline, "pull")?;
            if let Some(described) = head(&session).await? {
                return Ok(described);
            }
            let manifest = get(&session).await?;
            let size = manifest.bytes.len() as u64;
            Ok(Described {
                digest: manifest.digest,
                media_type: manifest.media_type,
                size,
            })
        };
        deadline
            .bound(&at, "asking what the reference points at", work)
            .await
    }

    /// The manifest or index that a reference points at: at most [`MAX_MANIFEST_BYTES`], with the digest
    /// asked for, and of the type that the registry says.
    ///
    /// # Errors
    /// Any of the kinds of [`Error`].
    pub async fn manifest(
        &self,
        reference: &Reference,
        keychain: &Keychain,
        deadline: Deadline,
    ) -> Result<RawManifest, Error> {
        let at = At::new(reference);
        let work = async { get(&self.session(reference, keychain, deadline, "pull")?).await };
        deadline.bound(&at, "getting the manifest", work).await
    }

    pub(crate) fn session<'a>(
        &'a self,
        reference: &'a Reference,
        keychain: &Keychain,
        deadline: Deadline,
        actions: &'static str,
    ) -> Result<Session<'a>, Error> {
        Session::new(&self.inner, reference, keychain, deadline, actions)
    }
}

fn request(session: &Session<'_>, operation: Operation, method: Method) -> Result<Request, Error> {
    let url = session.url(&format!("manifests/{}", session.reference.identifier()))?;
    let mut request = Request::new(operation, method, url);
    request.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
    Ok(request)
}

/// Value of `Accept`: every type that is read. A test compares it with [`media_type::ACCEPTED`].
const ACCEPTED: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.index.v1+json";

/// The answer to `HEAD`; nothing if it isn't complete, so that a `GET` has to tell.
async fn head(session: &Session<'_>) -> Result<Option<Described>, Error> {
    let request = request(session, Operation::HeadManifest, Method::HEAD)?;
    let answer = match session.send(&request, &what(session.reference)).await {
        Ok(answer) if answer.status() == 200 => answer,
        Ok(_) | Err(Error::NotFound { .. } | Error::UnexpectedAnswer { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let digest = answer
        .header(DIGEST_HEADER)
        .and_then(|text| Digest::parse(text).ok());
    let size = answer
        .header(CONTENT_LENGTH.as_str())
        .and_then(|text| text.parse().ok());
    let media_type = answer.header(CONTENT_TYPE.as_str()).map(media_type::essence);
    let (Some(digest), Some(size), Some(media_type)) = (digest, size, media_type) else {
        return Ok(None);
    };
    let asked = session.reference.digest();
    if asked.is_some_and(|asked| *asked != digest) || media_type.is_empty() {
        return Ok(None);
    }
    Ok(Some(Described {
        digest,
        media_type: media_type.to_owned(),
        size,
    }))
}

async fn get(session: &Session<'_>) -> Result<RawManifest, Error> {
    let request = request(session, Operation::GetManifest, Method::GET)?;
    let (bytes, declared) = fetch_small(
        session,
        &request,
        &what(session.reference),
        "the manifest",
        MAX_MANIFEST_BYTES,
    )
    .await?;
    let asked = session.reference.digest();
    let digest = Digest::of(asked.map_or(Algorithm::Sha256, Digest::algorithm), &bytes);
    if let Some(expected) = asked.filter(|asked| **asked != digest).cloned() {
        let at = session.at.clone();
        return Err(Error::DigestMismatch {
            at,
            what: "the manifest",
            expected,
            actual: digest,
        });
    }
    let document = Document::parse(&declared, &bytes).map_err(|error| manifest_error(&session.at, &error))?;
    let embedded = match document {
        Document::Manifest(manifest) => manifest.media_type.unwrap_or(media_type::OCI_MANIFEST.to_owned()),
        Document::Index(index) => index.media_type.unwrap_or(media_type::OCI_INDEX.to_owned()),
    };
    let declared = media_type::essence(&declared);
    let known = media_type::is_manifest(declared) || media_type::is_index(declared);
    let media_type = if known {
        declared.to_owned()
    } else {
        media_type::essence(&embedded).to_owned()
    };
    Ok(RawManifest {
        bytes,
        digest,
        media_type,
    })
}

/// A small body and its declared type. A body that breaks off is fetched again as a whole.
pub(crate) async fn fetch_small(
    session: &Session<'_>,
    request: &Request,
    what: &str,
    noun: &'static str,
    limit: u64,
) -> Result<(Bytes, String), Error> {
    let policy = session.inner.config.retry;
    let mut attempt = 1;
    loop {
        let mut answer = session.send(request, what).await?;
        let declared = answer
            .header(CONTENT_TYPE.as_str())
            .unwrap_or_default()
            .to_owned();
        let at = session.at.clone();
        match answer.body(limit).await {
            Ok(body) => return Ok((body, declared)),
            Err(BodyError::TooLarge(size)) => {
                let size = format!("{size} bytes");
                return Err(Error::TooLarge {
                    at,
                    what: noun.to_owned(),
                    size,
                    limit: format!("{limit} bytes"),
                });
            }
            Err(BodyError::Broken(detail)) => {
                let wait = retry::backoff(&policy, attempt);
                if attempt >= policy.attempts || wait >= session.deadline.remaining() {
                    return Err(Error::Connect { at, detail });
                }
                drop(answer);
                session
                    .inner
                    .config
                    .metrics
                    .retry(&session.reference.api_host(), request.operation);
                tokio::time::sleep(wait).await;
                attempt += 1;
            }
        }
    }
}

/// What is wrong with a manifest, as this crate's error.
pub(crate) fn manifest_error(at: &At, error: &ManifestError) -> Error {
    let (at, detail) = (at.clone(), crate::error::tidy(&crate::store::chain(error)));
    match error {
        ManifestError::Json { .. } | ManifestError::Ambiguous => Error::InvalidManifest { at, detail },
        _ => Error::UnsupportedMediaType { at, detail },
    }
}

/// What a reference asks for, for messages.
fn what(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("digest {digest}"),
        (None, tag) => format!("tag {:?}", tag.unwrap_or(oci::reference::DEFAULT_TAG)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_types_that_are_read_are_asked_for() {
        assert_eq!(ACCEPTED, media_type::ACCEPTED.join(", "));
    }
}
