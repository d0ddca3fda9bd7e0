//! A small OCI registry in this process: every request noted, every answer changeable.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;

use crate::fault::{Faults, Match, spoil, strike};
use crate::http_client::collect;
use crate::image::Image;
use crate::pki::{Authority, server_config};
use crate::serve::{Body, Broken, Connection, Handler, Server, full};

mod answers;

use answers::store_manifest;

/// Whom the registry lets in.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Anybody.
    #[default]
    Open,
    /// Who shows user and password by Basic.
    Basic(String, String),
    /// Who shows a token of `/token`, which gives one to this user and password; each token is good for the
    /// scope that it was asked for.
    Bearer(String, String),
}

struct Stored {
    media_type: String,
    bytes: Bytes,
}

#[derive(Default)]
struct Content {
    blobs: BTreeMap<String, Bytes>,
    /// By repository and digest.
    manifests: BTreeMap<(String, String), Arc<Stored>>,
    /// By repository and tag.
    tags: BTreeMap<(String, String), String>,
    uploads: BTreeMap<String, Vec<u8>>,
    /// Tokens given out, with their scope.
    tokens: BTreeMap<String, String>,
    auth: Auth,
}

struct State {
    content: Mutex<Content>,
    faults: Faults,
    tokens_given: AtomicU64,
    uploads_opened: AtomicU64,
    scheme: &'static str,
}

/// A registry in this process. Stops when dropped.
pub struct TestRegistry {
    server: Arc<Server>,
    state: Arc<State>,
    authority: Option<Authority>,
}

impl TestRegistry {
    /// Starts an empty registry without TLS, open to anybody.
    pub async fn start() -> Result<Self> {
        Self::launch(None).await
    }

    /// Starts an empty registry with TLS; its certificate is signed by [`TestRegistry::authority`].
    pub async fn start_tls() -> Result<Self> {
        Self::launch(Some(Authority::new("gantry-test-registry")?)).await
    }

    async fn launch(authority: Option<Authority>) -> Result<Self> {
        let state = Arc::new(State {
            content: Mutex::default(),
            faults: Faults::default(),
            tokens_given: AtomicU64::default(),
            uploads_opened: AtomicU64::default(),
            scheme: if authority.is_some() { "https" } else { "http" },
        });
        let shared = state.clone();
        let handler: Handler =
            Arc::new(move |request, connection| Box::pin(answer(shared.clone(), request, connection)));
        let tls = authority
            .as_ref()
            .map(|a| server_config(&a.server(&[])?))
            .transpose()?;
        Ok(Self {
            server: Server::start(tls, handler).await?,
            state,
            authority,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Host and port, as references have it.
    pub fn host(&self) -> String {
        self.addr().to_string()
    }

    /// The authority that signed its certificate, if it speaks TLS.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// `<host>/<repository>:<tag>`; with a digest instead of a tag, `@`.
    pub fn reference(&self, repository: &str, tag: &str) -> String {
        let separator = if tag.contains(':') { '@' } else { ':' };
        format!("{}/{repository}{separator}{tag}", self.addr())
    }

    /// Puts an image in under a tag, answers its reference by tag. Blobs are kept under the digests that the
    /// image claims, true or not.
    pub fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        for blob in &image.blobs {
            self.put_blob(&blob.digest, blob.bytes.clone());
        }
        self.put_manifest(repository, tag, &image.media_type, image.manifest.clone());
        self.reference(repository, tag)
    }

    /// Puts a blob in under a digest, true or not; overwrites.
    pub fn put_blob(&self, digest: &str, bytes: Bytes) {
        self.content().blobs.insert(digest.to_owned(), bytes);
    }

    /// Puts any bytes in as a manifest under a tag; answers their digest.
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: Bytes) -> String {
        store_manifest(&mut self.content(), repository, tag, media_type, bytes)
    }

    /// Lets a tag name another digest, there or not.
    pub fn set_tag(&self, repository: &str, tag: &str, digest: &str) -> String {
        self.content()
            .tags
            .insert((repository.to_owned(), tag.to_owned()), digest.to_owned());
        self.reference(repository, tag)
    }

    /// Takes a tag away.
    pub fn remove_tag(&self, repository: &str, tag: &str) {
        self.content()
            .tags
            .remove(&(repository.to_owned(), tag.to_owned()));
    }

    /// Whom it lets in from now on. Tokens given out before are void.
    pub fn set_auth(&self, auth: Auth) {
        let mut content = self.content();
        content.tokens.clear();
        content.auth = auth;
    }

    /// Makes all tokens given out so far void.
    pub fn revoke_tokens(&self) {
        self.content().tokens.clear();
    }

    /// How many tokens were given out.
    pub fn tokens_given(&self) -> u64 {
        self.state.tokens_given.load(Ordering::SeqCst)
    }

    /// Rules, hooks and what was seen.
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// How many requests that `what` means were seen so far.
    pub fn count(&self, what: &Match) -> usize {
        self.state.faults.count(what)
    }

    /// Refuses connections from now on, and ends the present ones. Content stays.
    pub fn stop(&self) {
        self.server.cut();
        self.server.stop();
    }

    /// Accepts connections again, on the same port.
    pub async fn start_again(&self) -> Result<()> {
        self.server.start_again().await
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.state.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        self.server.stop();
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
    connection: Arc<Connection>,
) -> Result<Response<Body>, Broken> {
    let (parts, body) = request.into_parts();
    let mut seen = state.faults.note(&parts);
    let due = state.faults.due(&seen);
    if let Some(answer) = strike(&due, &connection).await? {
        state.faults.answered(&mut seen, answer.status());
        return Ok(answer);
    }
    state.faults.run_before(&seen).await;
    let body = collect(body).await?;
    let response = state.respond(&parts, body)?;
    state.faults.answered(&mut seen, response.status());
    state.faults.run_after(&seen).await;
    spoil(&due, response.map(full), &connection)
}
