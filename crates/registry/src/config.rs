//! How a client is set up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::address;
use crate::limits;
use crate::metrics::{Metrics, NoMetrics};
use crate::proxy::Proxies;

/// Tells the time of day. Tests set it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Settings of a client; the default talks to public registries directly.
#[derive(Clone)]
pub struct ClientConfig {
    /// Sent with each request.
    pub user_agent: String,
    /// PEM certificates that are trusted beside the system's.
    pub ca_bundle: Option<Vec<u8>>,
    /// Hosts (`host` or `host:port`) that are spoken to in plain HTTP, beside loopback ones.
    pub plain_http_hosts: BTreeSet<String>,
    /// Proxies.
    pub proxies: Proxies,
    /// Addresses of hosts that aren't looked up. They count as public, whatever the address.
    pub resolve: BTreeMap<String, SocketAddr>,
    /// Bounds on waiting for one exchange.
    pub timeouts: Timeouts,
    /// What is tried again, and when.
    pub retry: RetryPolicy,
    /// Requests to one host at the same time.
    pub per_host_concurrency: usize,
    /// Where figures go.
    pub metrics: Arc<dyn Metrics>,
    /// The time of day.
    pub clock: Clock,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            user_agent: concat!("gantry/", env!("CARGO_PKG_VERSION")).to_owned(),
            ca_bundle: None,
            plain_http_hosts: BTreeSet::new(),
            proxies: Proxies::default(),
            resolve: BTreeMap::new(),
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            per_host_concurrency: limits::DEFAULT_PER_HOST_CONCURRENCY,
            metrics: Arc::new(NoMetrics),
            clock: Arc::new(Timestamp::now),
        }
    }
}

impl ClientConfig {
    /// Whether a host (`host[:port]`) is spoken to in plain HTTP.
    pub(crate) fn is_plain(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => name,
            _ => host,
        };
        address::is_loopback(host)
            || self.plain_http_hosts.contains(host)
            || self.plain_http_hosts.contains(name)
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("user_agent", &self.user_agent)
            .field("plain_http_hosts", &self.plain_http_hosts)
            .field("proxies", &self.proxies)
            .field("timeouts", &self.timeouts)
            .field("retry", &self.retry)
            .field("per_host_concurrency", &self.per_host_concurrency)
            .finish_non_exhaustive()
    }
}

/// Bounds on waiting for one exchange. The caller's deadline bounds all of them together.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To connect, TLS included.
    pub connect: Duration,
    /// From the request to the end of the answer's headers.
    pub headers: Duration,
    /// Silence within a body.
    pub idle: Duration,
    /// Window in which a body must make at least [`limits::MIN_PROGRESS_BYTES`] of progress.
    pub progress: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: limits::DEFAULT_CONNECT_TIMEOUT,
            headers: limits::DEFAULT_HEADER_TIMEOUT,
            idle: limits::DEFAULT_IDLE_TIMEOUT,
            progress: limits::DEFAULT_PROGRESS_WINDOW,
        }
    }
}

/// What is tried again, and when.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Tries of one request, the first one included.
    pub attempts: u32,
    /// Wait before the second try; doubled before each further one, with up to a quarter of jitter.
    pub backoff: Duration,
    /// Longest wait within a call. What takes longer is reported.
    pub max_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: limits::DEFAULT_ATTEMPTS,
            backoff: limits::DEFAULT_BACKOFF,
            max_wait: limits::DEFAULT_MAX_WAIT,
        }
    }
}

/// Why a client can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The CA bundle isn't PEM, or holds a certificate that can't be read.
    #[error(
        "the CA bundle cannot be read: certificate {number} is damaged ({detail}); write it again as PEM"
    )]
    CaBundle {
        /// Which one, counted from 1.
        number: usize,
        /// What is wrong.
        detail: String,
    },
    /// The CA bundle holds no certificate.
    #[error("the CA bundle holds no certificate: it needs at least one between BEGIN and END CERTIFICATE")]
    EmptyCaBundle,
    /// The CA bundle is absurdly large.
    #[error("the CA bundle holds more than 2000 certificates: name a smaller one")]
    LargeCaBundle,
    /// A proxy's address isn't one.
    #[error("{variable} is not the address of a proxy: write it as http://host:port")]
    Proxy {
        /// The environment variable.
        variable: String,
    },
    /// The HTTP library refuses.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(String),
}
