//! A client that does nothing but send requests: the floor. It shares no code with the operator.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// Asks for the answer's metadata only: what a package manager needs to know of what it wrote.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// One request.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

/// Who asks, and where.
#[derive(Clone)]
pub(super) struct Bare {
    addr: SocketAddr,
    tls: Arc<ClientConfig>,
    token: String,
}

impl Bare {
    /// A client of the API server at `addr`, whose certificate is signed by `authority` (PEM).
    pub(super) fn new(addr: SocketAddr, authority: &str, token: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).context("certificate")?)?;
        let mut tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            addr,
            tls: Arc::new(tls),
            token: format!("Bearer {token}"),
        })
    }

    /// Sends all calls over `connections` connections, each taking the next one when it has an answer.
    ///
    /// # Errors
    /// When one is refused.
    pub(super) async fn send_all(&self, calls: Vec<Call>, connections: usize) -> Result<()> {
        let calls = Arc::new(calls);
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = JoinSet::new();
        for _ in 0..connections {
            let (this, calls, next) = (self.clone(), calls.clone(), next.clone());
            let mut sender = self.connect().await?;
            workers.spawn(async move {
                while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                    this.send(&mut sender, call).await?;
                }
                Ok::<_, anyhow::Error>(())
            });
        }
        while let Some(worker) = workers.join_next().await {
            worker??;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.addr).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(self.addr.ip().into());
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn send(&self, sender: &mut SendRequest<Full<Bytes>>, call: &Call) -> Result<()> {
        let request = Request::builder()
            .method(call.method.clone())
            .uri(&call.path)
            .header(HOST, self.addr.to_string())
            .header(AUTHORIZATION, &self.token)
            .header(CONTENT_TYPE, call.content_type)
            .header(ACCEPT, METADATA)
            .body(Full::new(call.body.clone()))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!(
                "{} {} was answered {status}: {}",
                call.method,
                call.path,
                String::from_utf8_lossy(&body)
            );
        }
        Ok(())
    }
}
