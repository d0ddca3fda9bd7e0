//! The process's own HTTP server: `/livez`, `/readyz`, `/metrics` and `/log`.

pub mod ask;

use std::{
    fmt::Write as _,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{
    metrics::{CONTENT_TYPE, Metrics},
    ready::Readiness,
    tasks::Tasks,
    telemetry::{FILTER_BYTES, LogFilter},
};

/// Flags about the addresses of this server.
#[derive(Clone, Debug, clap::Args)]
pub struct AdminArgs {
    /// Address for /metrics. Port 0 takes a free one.
    #[arg(long, env = "METRICS_BIND_ADDRESS", default_value = ":8080")]
    #[arg(value_name = "ADDRESS", value_parser = address)]
    pub metrics_bind_address: SocketAddr,
    /// Address for /livez, /readyz and /log. May be the same as that for metrics.
    #[arg(long, env = "HEALTH_PROBE_BIND_ADDRESS", default_value = ":8081")]
    #[arg(value_name = "ADDRESS", value_parser = address)]
    pub health_probe_bind_address: SocketAddr,
    /// Write the addresses that were taken to this file, as lines `metrics=…` and `probes=…`.
    #[arg(long, value_name = "PATH")]
    pub bound_addresses_file: Option<PathBuf>,
}

/// Reads `host:port` with a numeric host, or `:port` for all addresses of the machine.
fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') {
        format!("[::]{text}")
    } else {
        text.to_owned()
    };
    full.parse()
        .map_err(|_| format!("{text:?} is not an address; write for example :8080 or 127.0.0.1:8080"))
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for {what}; is another process using it?")]
    Bind {
        /// The address as given.
        address: SocketAddr,
        /// Metrics or probes.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The file for the addresses cannot be written.
    #[error("cannot write the bound addresses to {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// The addresses that were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// For `/metrics`.
    pub metrics: SocketAddr,
    /// For `/livez`, `/readyz` and `/log`.
    pub probes: SocketAddr,
}

/// What the server shows.
#[derive(Clone, Debug)]
pub struct Admin {
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/log`; absent if the filter cannot be changed.
    pub log: Option<LogFilter>,
}

impl Admin {
    /// Binds both addresses and serves them among `tasks` until the process ends: also while it drains, since
    /// it is alive. Says which addresses were taken, in the log too.
    pub async fn serve(self, args: &AdminArgs, tasks: &Tasks) -> Result<Bound, AdminError> {
        let metrics = listen(args.metrics_bind_address, "metrics").await?;
        // A port of 0 means any, so equal addresses are the same only with a port.
        let shared = args.metrics_bind_address == args.health_probe_bind_address
            && args.metrics_bind_address.port() != 0;
        let bound = if shared {
            let bound = Bound {
                metrics: metrics.1,
                probes: metrics.1,
            };
            serve(
                tasks,
                "admin server",
                metrics.0,
                self.metrics_routes().merge(self.probe_routes()),
            );
            bound
        } else {
            let probes = listen(args.health_probe_bind_address, "probes").await?;
            let bound = Bound {
                metrics: metrics.1,
                probes: probes.1,
            };
            serve(tasks, "metrics server", metrics.0, self.metrics_routes());
            serve(tasks, "probe server", probes.0, self.probe_routes());
            bound
        };
        if let Some(path) = &args.bound_addresses_file {
            write_file(path, bound).map_err(|source| AdminError::File {
                path: path.clone(),
                source,
            })?;
        }
        tracing::info!(metrics = %bound.metrics, probes = %bound.probes, "admin server listens");
        Ok(bound)
    }

    fn metrics_routes(&self) -> Router {
        Router::new()
            .route("/metrics", get(show_metrics))
            .with_state(self.clone())
    }

    fn probe_routes(&self) -> Router {
        Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(show_readiness))
            .route("/log", get(show_filter).put(set_filter))
            .layer(DefaultBodyLimit::max(FILTER_BYTES))
            .with_state(self.clone())
    }
}

async fn listen(address: SocketAddr, what: &'static str) -> Result<(TcpListener, SocketAddr), AdminError> {
    let failed = |source| AdminError::Bind {
        address,
        what,
        source,
    };
    let listener = match TcpListener::bind(address).await {
        // All addresses of a machine without IPv6.
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    let listener = listener.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn serve(tasks: &Tasks, name: &'static str, listener: TcpListener, routes: Router) {
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    tasks.spawn_daemon(name, async move { axum::serve(listener, routes).await });
}

/// Written aside and renamed, so that a reader never sees half of it.
fn write_file(path: &Path, bound: Bound) -> io::Result<()> {
    let aside = path.with_extension("tmp");
    std::fs::write(
        &aside,
        format!("metrics={}\nprobes={}\n", bound.metrics, bound.probes),
    )?;
    std::fs::rename(&aside, path)
}

async fn show_metrics(State(admin): State<Admin>) -> Response {
    match admin.metrics.encode() {
        Ok(text) => (
            [(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE))],
            text,
        )
            .into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded\n").into_response(),
    }
}

async fn show_readiness(State(admin): State<Admin>) -> Response {
    let missing = admin.readiness.missing();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    let mut text = String::new();
    for (name, why) in missing {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}: {why}");
    }
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn show_filter(State(admin): State<Admin>) -> Response {
    match admin.log.as_ref().map(LogFilter::get) {
        Some(Ok(filter)) => (filter + "\n").into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Only from the machine itself (so also by `kubectl port-forward`): the probe port is open to the cluster.
async fn set_filter(
    State(admin): State<Admin>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    filter: String,
) -> Response {
    if !peer.ip().to_canonical().is_loopback() {
        let why = "the log filter can be changed only from the machine itself, or by kubectl port-forward\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    match admin.log.as_ref().map(|log| log.set(&filter)) {
        Some(Ok(())) => "ok\n".into_response(),
        Some(Err(error)) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests;
