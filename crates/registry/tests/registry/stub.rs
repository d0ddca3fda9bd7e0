//! A registry whose answers a test writes, and what the tests share.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use gantry_registry::{Client, ClientConfig, Credential, Deadline, Keychain, RetryPolicy, Timeouts};
use oci::{Descriptor, Digest, Reference, media_type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A request as the stub saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// How many requests with the same method and path came before.
    pub(crate) nth: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn authorization(&self) -> &str {
        self.header("authorization")
    }
}

/// Put into an answer's extensions: sent only after so long.
#[derive(Clone)]
pub(crate) struct Late(pub Duration);

type Log = Arc<Mutex<Vec<Seen>>>;

/// A server on a free port of loopback; stopped when dropped.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    log: Log,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stub {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), None, answer)
    }

    pub(crate) async fn tls(
        certificate: &rcgen::CertifiedKey<rcgen::KeyPair>,
        answer: impl Fn(&Seen) -> Response + Send + Sync + 'static,
    ) -> Self {
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::on(
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            Some(acceptor),
            answer,
        )
    }

    fn on(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Seen) -> Response + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let log = Log::default();
        let (kept, counts) = (Arc::clone(&log), Mutex::new(HashMap::new()));
        let shared = Arc::new((answer, counts));
        let app = axum::Router::new().fallback(move |request: Request<Body>| {
            let (log, shared) = (Arc::clone(&kept), Arc::clone(&shared));
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 64 << 20).await.unwrap_or_default();
                let (method, path) = (parts.method.to_string(), parts.uri.path().to_owned());
                let nth = {
                    let mut counts = shared.1.lock().unwrap();
                    let count: &mut usize = counts.entry((method.clone(), path.clone())).or_default();
                    *count += 1;
                    *count - 1
                };
                let query = parts.uri.query().unwrap_or_default().to_owned();
                let seen = Seen {
                    method,
                    path,
                    query,
                    headers: parts.headers,
                    body,
                    nth,
                };
                log.lock().unwrap().push(seen.clone());
                let answer = (shared.0)(&seen);
                if let Some(Late(wait)) = answer.extensions().get::<Late>() {
                    tokio::time::sleep(*wait).await;
                }
                answer
            }
        });
        let task = tokio::spawn(async move {
            let _ = axum::serve(Listener { listener, tls }, app).await;
        });
        Self { address, log, task }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// `r.invalid:port`: a name that counts as public, by [`setup`].
    pub(crate) fn name(&self) -> String {
        format!("r.invalid:{}", self.address.port())
    }

    pub(crate) fn reference(&self, rest: &str) -> Reference {
        Reference::parse(&format!("{}/{rest}", self.host())).unwrap()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    /// How many requests had this method and a path with this part.
    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        self.seen()
            .iter()
            .filter(|seen| seen.method == method && seen.path.contains(part))
            .count()
    }
}

struct Listener {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl Io for TcpStream {}
impl Io for tokio_rustls::server::TlsStream<TcpStream> {}

impl axum::serve::Listener for Listener {
    type Io = Box<dyn Io>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else {
                continue;
            };
            match &self.tls {
                None => return (Box::new(stream) as Box<dyn Io>, address),
                // a client that dislikes the certificate just goes away
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        return (Box::new(stream) as Box<dyn Io>, address);
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Makes an answer that does something wrong.
pub(crate) type Fault = fn() -> Response;

/// An answer.
pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut builder = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body.into()).unwrap()
}

pub(crate) fn late(wait: Duration, mut answer: Response) -> Response {
    answer.extensions_mut().insert(Late(wait));
    answer
}

/// A body of pieces with a wait before each; `break_off` ends it with a reset.
pub(crate) fn pieces(pieces: Vec<Bytes>, wait: Duration, break_off: bool) -> Body {
    let mut items: Vec<Result<Bytes, std::io::Error>> = pieces.into_iter().map(Ok).collect();
    if break_off {
        items.push(Err(std::io::ErrorKind::ConnectionReset.into()));
    }
    let stream = futures::stream::unfold(items.into_iter(), move |mut items| async move {
        let item = items.next()?;
        tokio::time::sleep(wait).await;
        Some((item, items))
    });
    Body::from_stream(stream)
}

/// The client of a test: impatient, and knowing `r.invalid`, `cdn.invalid` and `auth.invalid`.
pub(crate) fn setup() -> ClientConfig {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let names = ["r.invalid", "cdn.invalid", "auth.invalid"];
    ClientConfig {
        plain_http_hosts: names.map(str::to_owned).into(),
        resolve: names.map(|name| (name.to_owned(), loopback)).into(),
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            headers: Duration::from_millis(600),
            idle: Duration::from_millis(300),
            progress: Duration::from_millis(600),
        },
        retry: RetryPolicy {
            attempts: 3,
            backoff: Duration::from_millis(5),
            max_wait: Duration::from_millis(300),
        },
        ..ClientConfig::default()
    }
}

pub(crate) fn client() -> Client {
    Client::new(setup()).unwrap()
}

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

pub(crate) fn basic(user: &str, password: &str) -> Credential {
    Credential::Basic {
        username: user.to_owned(),
        password: password.to_owned(),
    }
}

pub(crate) fn login(stub: &Stub, user: &str, password: &str) -> Keychain {
    Keychain::single(&stub.host(), basic(user, password), "secret \"test\"")
}

/// An image with one layer that is marked as the package's content.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) manifest: Bytes,
    pub(crate) media_type: &'static str,
    pub(crate) layer: Bytes,
}

pub(crate) fn layer_descriptor(layer: &[u8]) -> Descriptor {
    let mut descriptor = Descriptor::new(
        media_type::DOCKER_LAYER_GZIP,
        Digest::sha256(layer),
        layer.len() as u64,
    );
    descriptor.annotations.insert(
        oci::annotation::XPKG.to_owned(),
        oci::annotation::XPKG_BASE.to_owned(),
    );
    descriptor
}

pub(crate) fn manifest(media_type: &str, layers: &[Descriptor]) -> Bytes {
    let config = Descriptor::new(media_type::DOCKER_CONFIG, Digest::sha256(b"{}"), 2);
    let value = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers, "unknown": {},
    });
    Bytes::from(serde_json::to_vec_pretty(&value).unwrap())
}

impl Image {
    pub(crate) fn of(layer: impl Into<Bytes>) -> Self {
        let (layer, media_type) = (layer.into(), media_type::DOCKER_MANIFEST);
        Self {
            manifest: manifest(media_type, &[layer_descriptor(&layer)]),
            media_type,
            layer,
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::sha256(&self.manifest)
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        layer_descriptor(&self.layer)
    }

    /// The right answer of a registry that has this image under every repository and tag.
    pub(crate) fn serve(&self, seen: &Seen) -> Response {
        let digest = self.digest().to_string();
        let (kind, name) = seen.path.rsplit_once('/').unwrap_or_default();
        let kind = kind.rsplit('/').next().unwrap_or_default();
        let length = |bytes: &Bytes| bytes.len().to_string();
        match (seen.method.as_str(), kind) {
            (_, "manifests") if !name.contains(':') || name == digest => {
                let headers = [
                    ("content-type", self.media_type),
                    ("docker-content-digest", &digest),
                ];
                let mut answer = reply(200, &headers, self.manifest.clone());
                if seen.method == "HEAD" {
                    answer
                        .headers_mut()
                        .insert("content-length", length(&self.manifest).parse().unwrap());
                }
                answer
            }
            ("GET", "blobs") if name == Digest::sha256(&self.layer).as_str() => reply(
                200,
                &[("content-type", "application/octet-stream")],
                self.layer.clone(),
            ),
            _ => not_found(),
        }
    }

    pub(crate) async fn start(self) -> Stub {
        Stub::start(move |seen| self.serve(seen)).await
    }
}

pub(crate) fn not_found() -> Response {
    let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
    reply(404, &[("content-type", "application/json")], body)
}

/// Bytes that compress badly and aren't the same anywhere.
pub(crate) fn noise(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..length).map(byte).collect()
}
