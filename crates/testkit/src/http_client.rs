//! The smallest HTTP/1.1 client that does: for pushing fixtures, probing, and the far side of the fault
//! proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::serve::{Body, full};

/// How long one whole exchange of [`Target::send`] may take. Servers under test are on loopback.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A byte stream, plain or TLS.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A server on loopback.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// A new connection.
    pub(crate) async fn dial(&self) -> Result<SendRequest<Body>> {
        let stream = TcpStream::connect(self.addr)
            .await
            .with_context(|| format!("cannot connect to {}", self.addr))?;
        stream.set_nodelay(true)?;
        let wire: Box<dyn Wire> = match &self.tls {
            None => Box::new(stream),
            Some(config) => {
                let name = ServerName::IpAddress(self.addr.ip().into());
                Box::new(TlsConnector::from(config.clone()).connect(name, stream).await?)
            }
        };
        let (sender, connection) = handshake(TokioIo::new(wire)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        Ok(sender)
    }

    /// One request on a connection of its own, the answer read whole.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>> {
        let what = format!("{} {}", request.method(), request.uri());
        let exchange = async {
            let mut sender = self.dial().await?;
            let mut request = request.map(full);
            let host = http::HeaderValue::from_str(&self.addr.to_string())?;
            request.headers_mut().insert(http::header::HOST, host);
            let (parts, body) = sender.send_request(request).await?.into_parts();
            Ok::<_, anyhow::Error>(Response::from_parts(parts, collect(body).await?))
        };
        tokio::time::timeout(TIMEOUT, exchange)
            .await
            .with_context(|| format!("{what} at {} took longer than {TIMEOUT:?}", self.addr))?
            .with_context(|| format!("{what} at {} failed", self.addr))
    }
}

/// Reads a body to its end.
pub(crate) async fn collect(body: Incoming) -> Result<Bytes> {
    Ok(body.collect().await?.to_bytes())
}

/// A body that is all there.
pub(crate) fn whole(bytes: Bytes) -> Full<Bytes> {
    Full::new(bytes)
}
