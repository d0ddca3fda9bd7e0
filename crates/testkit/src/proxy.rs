//! A proxy that sees every request and lets go wrong what a test asks for.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::StreamExt;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{Request, Response};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Incoming;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::control_plane::{ControlPlane, kubeconfig};
use crate::fault::{Faults, Match, Seen, Verdict, spoil, strike};
use crate::http_client::{Target, collect};
use crate::pki::{Authority, client_config, server_config};
use crate::serve::{Body, Broken, Connection, Handler, Server, full};

/// An HTTP/1.1 proxy in front of one API server or registry. Every request is noted ([`Faults::seen`]), every
/// rule applies ([`Faults::add`]), watches stream through.
///
/// Before an API server it ends TLS with a certificate of the same authority. Clients must use tokens
/// ([`FaultProxy::kubeconfig`]): a client certificate does not pass.
pub struct FaultProxy {
    number: u64,
    server: Arc<Server>,
    faults: Faults,
    frozen: watch::Sender<bool>,
    authority: Option<String>,
    folder: TempDir,
}

/// By this header a client names its request for the API server's audit log.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

struct Way {
    number: u64,
    upstream: Target,
    faults: Faults,
    frozen: watch::Receiver<bool>,
}

impl FaultProxy {
    /// A proxy before the API server of `plane`.
    pub async fn for_api_server(plane: &ControlPlane) -> Result<Self> {
        let authority = plane.authority();
        let upstream = Target {
            addr: plane.addr(),
            tls: Some(client_config(authority.certificate(), None)?),
        };
        Self::start(upstream, Some(authority)).await
    }

    /// A proxy before a plain HTTP server, such as a registry.
    pub async fn for_plain(addr: SocketAddr) -> Result<Self> {
        Self::start(Target { addr, tls: None }, None).await
    }

    /// A proxy before a TLS server whose certificate `authority` signed; shows one signed by the same.
    pub async fn for_tls(addr: SocketAddr, authority: &Authority) -> Result<Self> {
        let upstream = Target {
            addr,
            tls: Some(client_config(authority.certificate(), None)?),
        };
        Self::start(upstream, Some(authority)).await
    }

    async fn start(upstream: Target, authority: Option<&Authority>) -> Result<Self> {
        let faults = Faults::default();
        let (frozen, watching) = watch::channel(false);
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let way = Arc::new(Way {
            number,
            upstream,
            faults: faults.clone(),
            frozen: watching,
        });
        let handler: Handler =
            Arc::new(move |request, connection| Box::pin(pass(way.clone(), request, connection)));
        let tls = authority.map(|a| server_config(&a.server(&[])?)).transpose()?;
        Ok(Self {
            number,
            server: Server::start(tls, handler).await?,
            faults,
            frozen,
            authority: authority.map(|a| a.certificate().to_owned()),
            folder: crate::folder("proxy")?,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!(
            "{}://{}",
            if self.server.is_tls() { "https" } else { "http" },
            self.addr()
        )
    }

    /// Rules, hooks and what was seen.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Under which id the API server's audit log has a request that was seen here.
    pub fn audit_id(&self, seen: &Seen) -> String {
        audit_id(self.number, seen)
    }

    /// How many requests that `what` means were seen so far.
    pub fn count(&self, what: &Match) -> usize {
        self.faults.count(what)
    }

    /// Writes a kubeconfig that leads through this proxy, with a bearer token
    /// ([`ControlPlane::service_account_token`]).
    pub fn kubeconfig(&self, token: &str) -> Result<PathBuf> {
        let authority = self
            .authority
            .as_deref()
            .context("this proxy is not before an API server")?;
        let path = self
            .folder
            .path()
            .join(format!("{:016x}.kubeconfig", fingerprint(token)));
        let text = kubeconfig(&self.url(), authority, &serde_json::json!({ "token": token }))?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Resets all present connections, watches included. New ones are accepted.
    pub fn cut(&self) {
        self.server.cut();
    }

    /// Refuses connections from now on, and resets the present ones.
    pub fn stop(&self) {
        self.server.cut();
        self.server.stop();
    }

    /// Accepts connections again, on the same port.
    pub async fn start_again(&self) -> Result<()> {
        self.server.start_again().await
    }

    /// Nothing gets through from now on, in either direction; connections stay open. A network that swallows
    /// packets.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// Lets through again, also what was held back.
    pub fn thaw(&self) {
        self.frozen.send_replace(false);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.server.stop();
    }
}

impl Way {
    /// Waits while frozen.
    async fn open(&self) {
        self.frozen.clone().wait_for(|frozen| !frozen).await.ok();
    }
}

async fn pass(
    way: Arc<Way>,
    request: Request<Incoming>,
    connection: Arc<Connection>,
) -> Result<Response<Body>, Broken> {
    let (mut parts, body) = request.into_parts();
    let mut seen = way.faults.note(&parts);
    way.open().await;
    let due = way.faults.due(&seen);
    if let Some(answer) = strike(&due, &connection).await? {
        way.faults.answered(&mut seen, answer.status());
        return Ok(answer);
    }
    for hop in [&CONNECTION, &CONTENT_LENGTH, &TRANSFER_ENCODING, &UPGRADE] {
        parts.headers.remove(hop);
    }
    // The API server's audit log takes it over: both ends of a request can be told to be one.
    if let Ok(id) = HeaderValue::from_str(&audit_id(way.number, &seen)) {
        parts.headers.insert(AUDIT_ID, id);
    }
    let repeatable = !seen.is_mutating();
    let body = if repeatable {
        Bytes::new()
    } else {
        collect(body).await?
    };
    if way.faults.run_before(&seen).await == Verdict::Drop {
        connection.reset_on_close();
        return Err("dropped by a hook before it was forwarded".into());
    }
    let response = if repeatable {
        forward(&way, &connection, &parts, &body, true).await?
    } else {
        // What was sent reaches the server even if the client dies now.
        let (way, connection) = (way.clone(), connection.clone());
        tokio::spawn(async move { forward(&way, &connection, &parts, &body, false).await }).await??
    };
    way.faults.answered(&mut seen, response.status());
    if way.faults.run_after(&seen).await == Verdict::Drop {
        connection.reset_on_close();
        return Err("dropped by a hook after it was answered".into());
    }
    let response = response.map(|body| thawing(way.clone(), body));
    spoil(&due, response, &connection)
}

/// Sends the request on the connection's own way to the other side; a fresh one if that has gone meanwhile.
async fn forward(
    way: &Way,
    connection: &Connection,
    parts: &http::request::Parts,
    body: &Bytes,
    repeatable: bool,
) -> Result<Response<Body>, Broken> {
    let mut kept = connection.upstream.lock().await;
    let mut fresh = false;
    loop {
        let mut usable = None;
        if let Some(mut sender) = kept.take()
            && sender.ready().await.is_ok()
        {
            usable = Some(sender);
        }
        let mut sender = match usable {
            Some(sender) => sender,
            None => {
                fresh = true;
                way.upstream.dial().await?
            }
        };
        let mut request = Request::new(full(body.clone()));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = parts.uri.clone();
        *request.headers_mut() = parts.headers.clone();
        match sender.send_request(request).await {
            Ok(response) => {
                *kept = Some(sender);
                let (mut parts, body) = response.into_parts();
                for hop in [&CONNECTION, &TRANSFER_ENCODING] {
                    parts.headers.remove(hop);
                }
                return Ok(Response::from_parts(
                    parts,
                    body.map_err(Broken::from).boxed_unsync(),
                ));
            }
            Err(_) if repeatable && !fresh => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A body that stands still while the proxy is frozen.
fn thawing(way: Arc<Way>, body: Body) -> Body {
    let pieces = BodyStream::new(body).then(move |frame| {
        let way = way.clone();
        async move {
            way.open().await;
            frame
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

fn audit_id(proxy: u64, seen: &Seen) -> String {
    format!("proxy-{proxy}-{}", seen.sequence)
}

fn fingerprint(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
