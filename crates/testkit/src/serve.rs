//! The smallest HTTP/1.1 server that does: for the in-process registry and the near side of the fault proxy.
//!
//! It can be stopped and started on the same port, cut its connections, and hand a request's connection to
//! whoever wants to reset it.

use std::error::Error;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::http_client::{Wire, whole};

/// An error of a body or a handler: ends the connection.
#[derive(Debug)]
pub(crate) struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Broken {}

impl From<&str> for Broken {
    fn from(why: &str) -> Self {
        Self(why.to_owned())
    }
}

impl From<anyhow::Error> for Broken {
    fn from(why: anyhow::Error) -> Self {
        Self(format!("{why:#}"))
    }
}

/// The errors that handlers meet.
macro_rules! broken_by {
    ($($error:ty),*) => {$(
        impl From<$error> for Broken {
            fn from(why: $error) -> Self {
                Self(why.to_string())
            }
        }
    )*};
}
broken_by!(
    hyper::Error,
    http::Error,
    http::header::InvalidHeaderValue,
    serde_json::Error,
    tokio::task::JoinError
);

/// Any body.
pub(crate) type Body = UnsyncBoxBody<Bytes, Broken>;

/// How long a port may stay taken after a server on it was stopped.
const REBIND: Duration = Duration::from_secs(5);

/// A body that is all there.
pub(crate) fn full(bytes: Bytes) -> Body {
    whole(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// The connection that a request came by.
pub(crate) struct Connection {
    socket: OwnedFd,
    /// A proxy's connection to the other side, kept for the next request.
    pub(crate) upstream: tokio::sync::Mutex<Option<SendRequest<Body>>>,
}

impl Connection {
    /// Makes the coming end of this connection a reset (RST) instead of a close (FIN).
    pub(crate) fn reset_on_close(&self) {
        rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO)).ok();
    }
}

/// Answers one request; an error ends the connection without an answer.
pub(crate) type Handler = Arc<
    dyn Fn(Request<Incoming>, Arc<Connection>) -> BoxFuture<'static, Result<Response<Body>, Broken>>
        + Send
        + Sync,
>;

/// A server on a port of loopback.
pub(crate) struct Server {
    addr: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    handler: Handler,
    /// Cancelled to stop listening and end all connections; `None` while stopped.
    up: Mutex<Option<CancellationToken>>,
    /// Cancelled (and replaced) to end the present connections.
    cut: Mutex<CancellationToken>,
}

impl Server {
    /// Starts a server on a free port.
    pub(crate) async fn start(tls: Option<Arc<ServerConfig>>, handler: Handler) -> Result<Arc<Self>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen on 127.0.0.1")?;
        let server = Arc::new(Self {
            addr: listener.local_addr()?,
            tls,
            handler,
            up: Mutex::default(),
            cut: Mutex::default(),
        });
        server.serve(listener);
        Ok(server)
    }

    /// Where it listens (or listened).
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Whether it shows a certificate.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Stops listening and ends all connections: connecting is refused from now on.
    pub(crate) fn stop(&self) {
        if let Some(token) = self.up.lock().unwrap_or_else(PoisonError::into_inner).take() {
            token.cancel();
        }
    }

    /// Listens again on the same port, if stopped.
    pub(crate) async fn start_again(self: &Arc<Self>) -> Result<()> {
        if self.up.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let deadline = tokio::time::Instant::now() + REBIND;
        let listener = loop {
            match TcpListener::bind(self.addr).await {
                Ok(listener) => break listener,
                Err(error) if tokio::time::Instant::now() >= deadline => {
                    return Err(error).with_context(|| format!("cannot listen on {} again", self.addr));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        self.serve(listener);
        Ok(())
    }

    /// Resets all present connections.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().unwrap_or_else(PoisonError::into_inner)).cancel();
    }

    fn serve(self: &Arc<Self>, listener: TcpListener) {
        let token = CancellationToken::new();
        *self.up.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        let server = self.clone();
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = token.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, _)) = accepted else { continue };
                let cut = server.cut.lock().unwrap_or_else(PoisonError::into_inner).clone();
                tokio::spawn(server.clone().converse(stream, token.clone(), cut));
            }
        });
    }

    async fn converse(self: Arc<Self>, stream: TcpStream, up: CancellationToken, cut: CancellationToken) {
        let Ok(socket) = stream.as_fd().try_clone_to_owned() else {
            return;
        };
        stream.set_nodelay(true).ok();
        let connection = Arc::new(Connection {
            socket,
            upstream: tokio::sync::Mutex::default(),
        });
        let talk = async {
            let wire: Box<dyn Wire> = match &self.tls {
                None => Box::new(stream),
                Some(config) => Box::new(TlsAcceptor::from(config.clone()).accept(stream).await?),
            };
            let service = service_fn(|request| (self.handler)(request, connection.clone()));
            http1::Builder::new()
                .serve_connection(TokioIo::new(wire), service)
                .await
                .map_err(anyhow::Error::from)
        };
        tokio::select! {
            ended = talk => if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            },
            () = up.cancelled() => {}
            () = cut.cancelled() => connection.reset_on_close(),
        }
    }
}
