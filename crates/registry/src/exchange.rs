//! One request and its answer, redirects included.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Response};
use tokio::sync::{OnceCell, OwnedSemaphorePermit};
use url::Url;

use crate::address::{self, Reach};
use crate::config::{ClientConfig, Timeouts};
use crate::error::{At, Error, tidy};
use crate::limits::{MAX_ERROR_BODY_BYTES, MAX_REDIRECTS, MIN_PROGRESS_BYTES};
use crate::metrics::{Metrics, Operation};
use crate::transport::{INTERNAL, Transport, authority, classify, innermost, origin};

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
}

impl Request {
    pub(crate) fn new(operation: Operation, method: Method, url: Url) -> Self {
        Self {
            operation,
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
        }
    }
}

/// Sends requests on behalf of one registry, which decides what redirects may do.
pub(crate) struct Exchanger {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) transport: Arc<Transport>,
    /// Where credentials may go: scheme, host and port of the registry or token endpoint.
    pub(crate) home: Url,
    /// The registry itself, whose place in the network decides where others may be.
    pub(crate) registry: Url,
    pub(crate) at: At,
    reach: OnceCell<Reach>,
}

impl Exchanger {
    pub(crate) fn new(config: &Arc<ClientConfig>, transport: Arc<Transport>, registry: Url, at: At) -> Self {
        let home = registry.clone();
        Self {
            config: Arc::clone(config),
            transport,
            home,
            registry,
            at,
            reach: OnceCell::new(),
        }
    }

    /// The same registry, with credentials for another home: its token endpoint.
    pub(crate) fn for_home(&self, home: Url, at: At) -> Self {
        Self {
            config: Arc::clone(&self.config),
            transport: Arc::clone(&self.transport),
            home,
            registry: self.registry.clone(),
            at,
            reach: self.reach.clone(),
        }
    }

    /// Sends a request and follows redirects. `authorization` goes to home and nowhere else.
    pub(crate) async fn exchange(
        &self,
        request: &Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Error> {
        let mut url = request.url.clone();
        let mut foreign = !same_origin(&url, &self.home);
        for _ in 0..=MAX_REDIRECTS {
            let response = self
                .once(request, &url, authorization.filter(|_| !foreign))
                .await?;
            if !is_redirect(response.status().as_u16()) {
                return Ok(self.answer(request, response, foreign));
            }
            let target = response
                .headers()
                .get(LOCATION)
                .and_then(|value| value.to_str().ok());
            let next = target.and_then(|target| url.join(target).ok()).ok_or_else(|| {
                self.unexpected(
                    request,
                    format!("status {} without a target", response.status().as_u16()),
                )
            })?;
            let refuse = |why| Error::RedirectRefused {
                at: self.at.clone(),
                target: origin(&next),
                why,
            };
            if let Some(why) = refusal(&url, &next) {
                return Err(refuse(why));
            }
            if !matches!(request.method, Method::GET | Method::HEAD) {
                return Err(refuse("only reading requests follow redirects"));
            }
            // sticky: whoever is elsewhere can't send credentials home either
            foreign |= !same_origin(&next, &self.home);
            url = next;
        }
        let why = "there were more than 10 redirects before it";
        Err(Error::RedirectRefused {
            at: self.at.clone(),
            target: origin(&url),
            why,
        })
    }

    async fn once(
        &self,
        request: &Request,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Error> {
        let mut builder = self
            .client(url)
            .await?
            .request(request.method.clone(), url.clone())
            .headers(request.headers.clone());
        if let Some(authorization) = authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let at = At {
            host: authority(url),
            reference: self.at.reference.clone(),
        };
        // a host on its default port is named as the user spelled it
        let at = if same_origin(url, &self.registry) {
            self.at_registry()
        } else {
            at
        };
        let started = Instant::now();
        let limit = self.config.timeouts.headers;
        let outcome = match tokio::time::timeout(limit, builder.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(classify(&self.config, &at, url, &error)),
            Err(_) => Err(Error::Timeout {
                at,
                what: "the answer of the registry",
                after: limit,
            }),
        };
        let status = outcome.as_ref().ok().map(|response| response.status().as_u16());
        self.config
            .metrics
            .request(&authority(url), request.operation, status, started.elapsed());
        outcome
    }

    /// The client for a URL: one that looks where it goes, if somebody else named the host.
    async fn client(&self, url: &Url) -> Result<&reqwest::Client, Error> {
        if url.host_str() == self.registry.host_str() {
            return Ok(self.transport.direct());
        }
        let own = self.own_reach().await;
        let refused = || Error::RedirectRefused {
            at: self.at.clone(),
            target: origin(url),
            why: INTERNAL,
        };
        if let Some(literal) = address::literal(url) {
            return if address::allowed(own, address::reach(literal)) {
                Ok(self.transport.direct())
            } else {
                Err(refused())
            };
        }
        if self.config.proxies.for_url(url).is_some() {
            // the proxy looks the name up, from its own place in the network
            return Ok(self.transport.direct());
        }
        self.transport.guarded(own).map_err(|detail| Error::Connect {
            at: self.at.clone(),
            detail,
        })
    }

    /// How far the registry itself reaches.
    async fn own_reach(&self) -> Reach {
        *self.reach.get_or_init(|| async { self.look_up().await }).await
    }

    async fn look_up(&self) -> Reach {
        if let Some(address) = address::literal(&self.registry) {
            return address::reach(address);
        }
        let name = self.registry.host_str().unwrap_or_default();
        if self.config.resolve.contains_key(name) || self.config.proxies.for_url(&self.registry).is_some() {
            return Reach::Public;
        }
        match tokio::net::lookup_host((name, 0)).await {
            Ok(addresses) => address::innermost(addresses),
            Err(_) => Reach::Public,
        }
    }

    fn at_registry(&self) -> At {
        if same_origin(&self.home, &self.registry) {
            self.at.clone()
        } else {
            At {
                host: authority(&self.registry),
                reference: self.at.reference.clone(),
            }
        }
    }

    fn answer(&self, request: &Request, response: Response, foreign: bool) -> Answer {
        let remaining = response
            .headers()
            .get("ratelimit-remaining")
            .and_then(|value| value.to_str().ok());
        let remaining = remaining.and_then(|text| text.split(';').next()?.trim().parse().ok());
        let host = authority(response.url());
        if let Some(remaining) = remaining {
            self.config.metrics.rate_limit_remaining(&host, remaining);
        }
        Answer {
            response,
            foreign,
            host,
            operation: request.operation,
            timeouts: self.config.timeouts,
            metrics: Arc::clone(&self.config.metrics),
            window: (Instant::now(), 0),
            _slot: None,
        }
    }

    fn unexpected(&self, request: &Request, detail: String) -> Error {
        Error::UnexpectedAnswer {
            at: self.at.clone(),
            operation: request.operation.as_str(),
            detail,
        }
    }
}

/// Whether a redirect is refused by its URLs alone, and why.
fn refusal(from: &Url, to: &Url) -> Option<&'static str> {
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => None,
        ("https", "http") => Some("it leads from HTTPS to plain HTTP"),
        _ => Some("it is neither HTTP nor HTTPS"),
    }
}

const fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// Whether two URLs have the same scheme, host and port.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// An answer whose body hasn't been read.
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// Whether it came by way of another host than the one that was asked.
    pub(crate) foreign: bool,
    host: String,
    operation: Operation,
    timeouts: Timeouts,
    metrics: Arc<dyn Metrics>,
    /// Start of the present window of progress, and bytes since.
    window: (Instant, u64),
    /// Keeps the host's slot until the body is read.
    _slot: Option<OwnedSemaphorePermit>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header's value, if it is there and text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Keeps a slot until this answer is dropped.
    pub(crate) fn hold(&mut self, slot: OwnedSemaphorePermit) {
        self._slot = Some(slot);
    }

    /// The next piece of the body; `None` at its end. The error says in a few words how it broke.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        let chunk = match tokio::time::timeout(self.timeouts.idle, self.response.chunk()).await {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => return Err(innermost(&error)),
            Err(_) => return Err(format!("nothing came for {} s", self.timeouts.idle.as_secs_f32())),
        };
        let bytes = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        self.metrics.received(&self.host, self.operation, bytes);
        let (since, seen) = self.window;
        self.window = (since, seen + bytes);
        if chunk.is_some() && since.elapsed() > self.timeouts.progress {
            if self.window.1 < MIN_PROGRESS_BYTES {
                let window = self.timeouts.progress.as_secs_f32();
                return Err(format!("only {} bytes came in {window} s", self.window.1));
            }
            self.window = (Instant::now(), 0);
        }
        Ok(chunk)
    }

    /// The whole body, at most `limit` bytes.
    pub(crate) async fn body(&mut self, limit: u64) -> Result<Bytes, BodyError> {
        if let Some(announced) = self
            .response
            .content_length()
            .filter(|announced| *announced > limit)
        {
            return Err(BodyError::TooLarge(announced.to_string()));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await.map_err(BodyError::Broken)? {
            if body.len() as u64 + chunk.len() as u64 > limit {
                return Err(BodyError::TooLarge(format!("more than {limit}")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// Status and the registry's own words, for messages. Any body is tolerated.
    pub(crate) async fn detail(mut self) -> String {
        #[derive(serde::Deserialize)]
        struct Errors {
            errors: Vec<Item>,
        }
        #[derive(serde::Deserialize)]
        struct Item {
            #[serde(default)]
            code: Option<String>,
            #[serde(default)]
            message: Option<String>,
        }
        let status = self.response.status();
        let fallback = format!(
            "status {} {}",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default()
        );
        // a body that never ends must not keep the error from being told
        let body = tokio::time::timeout(Duration::from_secs(5), self.body(MAX_ERROR_BODY_BYTES)).await;
        let Ok(Ok(body)) = body else {
            return tidy(&fallback);
        };
        let errors = serde_json::from_slice::<Errors>(&body)
            .map(|errors| errors.errors)
            .unwrap_or_default();
        match errors.first() {
            Some(Item { code, message }) => {
                let parts = [code.as_deref(), message.as_deref()];
                tidy(&format!(
                    "{}: {}",
                    fallback.trim(),
                    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
                ))
            }
            None => tidy(&fallback),
        }
    }
}

/// Why a body can't be had.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// It broke off, with how.
    Broken(String),
    /// It has more bytes than the limit: how many.
    TooLarge(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downgrades_and_odd_schemes_are_refused() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert_eq!(refusal(&url("https://a/"), &url("https://b/")), None);
        assert_eq!(refusal(&url("http://a/"), &url("https://b/")), None);
        assert_eq!(refusal(&url("http://a/"), &url("http://b/")), None);
        assert!(refusal(&url("https://a/"), &url("http://a/")).is_some());
        assert!(refusal(&url("http://a/"), &url("file:///etc/passwd")).is_some());
        assert!(refusal(&url("https://a/"), &url("ftp://b/")).is_some());
    }

    #[test]
    fn origins_include_the_port() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(same_origin(&url("https://a/x"), &url("https://a:443/y")));
        assert!(!same_origin(&url("https://a/"), &url("https://a:444/")));
        assert!(!same_origin(&url("https://a/"), &url("http://a/")));
        assert!(!same_origin(&url("https://a/"), &url("https://b/")));
    }
}
