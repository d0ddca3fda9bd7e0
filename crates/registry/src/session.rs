//! What is done for one reference with one set of credentials: authentication, retries, pauses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use jiff::Timestamp;
use oci::Reference;
use reqwest::Method;
use reqwest::header::HeaderValue;
use url::Url;

use crate::challenge::{Challenge, challenges, preferred};
use crate::client::Inner;
use crate::deadline::Deadline;
use crate::error::{At, Error};
use crate::exchange::{Answer, Exchanger, Request};
use crate::host::Host;
use crate::keychain::{Credential, Keychain, Sourced};
use crate::metrics::Operation;
use crate::retry;
use crate::token::{self, Key, TokenError};

/// Requests for one reference. Made for one call of the client.
pub(crate) struct Session<'a> {
    pub(crate) inner: &'a Arc<Inner>,
    pub(crate) reference: &'a Reference,
    pub(crate) at: At,
    pub(crate) deadline: Deadline,
    pub(crate) exchanger: Exchanger,
    actions: &'static str,
    base: Url,
    name: String,
    host: Arc<Host>,
    candidates: Vec<Sourced>,
    places: String,
    /// How many candidates were refused.
    refused: AtomicUsize,
}

/// What one request has learned about authentication on its way.
struct Progress {
    started: Instant,
    challenge: Option<Challenge>,
    /// Whether the challenge comes from an answer to this very request.
    asked: bool,
    /// Whether a refused token was replaced already.
    renewed: bool,
}

/// What a request was sent with.
enum Proof {
    Nothing,
    Basic(HeaderValue),
    Ready(HeaderValue),
    Token(Box<Key>, HeaderValue),
}

impl Proof {
    const fn header(&self) -> Option<&HeaderValue> {
        match self {
            Self::Nothing => None,
            Self::Basic(header) | Self::Ready(header) | Self::Token(_, header) => Some(header),
        }
    }
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        inner: &'a Arc<Inner>,
        reference: &'a Reference,
        keychain: &Keychain,
        deadline: Deadline,
        actions: &'static str,
    ) -> Result<Self, Error> {
        let at = At::new(reference);
        let name = reference.api_host();
        let scheme = if inner.config.is_plain(&name) {
            "http"
        } else {
            "https"
        };
        let base = Url::parse(&format!("{scheme}://{name}/v2/")).map_err(|error| Error::HostNotFound {
            at: at.clone(),
            detail: format!("it cannot be part of a URL: {error}"),
        })?;
        Ok(Self {
            inner,
            reference,
            deadline,
            exchanger: Exchanger::new(&inner.config, inner.transport(), base.clone(), at.clone()),
            at,
            actions,
            host: inner.hosts.get(&name),
            base,
            candidates: keychain.candidates(reference),
            places: keychain.places(),
            refused: AtomicUsize::new(0),
            name,
        })
    }

    /// A URL below the reference's repository.
    pub(crate) fn url(&self, below: &str) -> Result<Url, Error> {
        let path = format!("{}/{below}", self.reference.api_repository());
        self.base.join(&path).map_err(|error| Error::UnexpectedAnswer {
            at: self.at.clone(),
            operation: "making a URL",
            detail: error.to_string(),
        })
    }

    /// Sends a request until it is answered for good. Success, and 416 for a range, are returned; everything
    /// else is an error. `what` names what is asked for in messages.
    pub(crate) async fn send(&self, request: &Request, what: &str) -> Result<Answer, Error> {
        let policy = self.inner.config.retry;
        let challenge = self.demand().await;
        let mut progress = Progress {
            started: Instant::now(),
            challenge,
            asked: false,
            renewed: false,
        };
        let mut attempt = 1;
        loop {
            self.wait_for_pause().await?;
            let slot = Arc::clone(&self.host.slots).acquire_owned().await.ok();
            let proof = match self.prove(&progress).await {
                Ok(proof) => proof,
                Err(TokenError::Refused(detail)) => {
                    self.next_candidate(&detail)?;
                    progress.renewed = false;
                    continue;
                }
                Err(TokenError::Failed(error)) => return Err(error.for_reference(self.reference)),
            };
            let (error, wait) = match self.exchanger.exchange(request, proof.header()).await {
                Ok(mut answer) => match answer.status() {
                    200..=299 | 416 => {
                        if let Some(slot) = slot {
                            answer.hold(slot);
                        }
                        return Ok(answer);
                    }
                    401 if !answer.foreign => {
                        self.challenged(&mut progress, proof, answer).await?;
                        continue;
                    }
                    _ => self.trouble(answer, request, what, attempt).await?,
                },
                Err(error @ (Error::Connect { .. } | Error::Timeout { .. })) => (error, None),
                Err(error) => return Err(error),
            };
            drop(slot);
            let wait = wait.unwrap_or_default().max(retry::backoff(&policy, attempt));
            if attempt >= policy.attempts || wait > policy.max_wait || wait >= self.deadline.remaining() {
                return Err(error);
            }
            tracing::debug!(host = %self.name, operation = request.operation.as_str(), %error, "tried again");
            self.inner.config.metrics.retry(&self.name, request.operation);
            if matches!(error, Error::RateLimited { .. }) {
                self.inner.config.metrics.throttled(&self.name, wait);
            }
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// What the host demands, as far as it is known. With a credential at hand and nothing known, it is
    /// asked: a registry may answer 404 and not 401 to somebody it doesn't know.
    async fn demand(&self) -> Option<Challenge> {
        if let Some(known) = self.host.demand() {
            return known;
        }
        let has_secret = |sourced: &Sourced| !matches!(sourced.credential, Credential::RegistryToken(_));
        if !self.candidates.first().is_some_and(has_secret) {
            return None;
        }
        let ping = Request::new(Operation::Ping, Method::GET, self.base.clone());
        // whatever goes wrong here shows up, and is told, with the request itself
        let answer = self.exchanger.exchange(&ping, None).await.ok()?;
        let demand = match answer.status() {
            401 if !answer.foreign => preferred(&challenges(answer.response.headers())).cloned(),
            200..=299 => None,
            _ => return None,
        };
        self.host.learn(demand.clone());
        demand
    }

    /// Waits while the host wants no requests, if that is short.
    async fn wait_for_pause(&self) -> Result<(), Error> {
        loop {
            let pause = self.host.pause();
            if pause.is_zero() {
                return Ok(());
            }
            if pause > self.inner.config.retry.max_wait || pause >= self.deadline.remaining() {
                return Err(self.rate_limited(pause));
            }
            self.inner.config.metrics.throttled(&self.name, pause);
            tokio::time::sleep(pause).await;
        }
    }

    fn candidate(&self) -> Option<&Sourced> {
        self.candidates.get(self.refused.load(Ordering::Relaxed))
    }

    async fn prove(&self, progress: &Progress) -> Result<Proof, TokenError> {
        let candidate = self.candidate();
        let credential = candidate.map(|sourced| &sourced.credential);
        if let Some(Credential::RegistryToken(ready)) = credential {
            let refused =
                || TokenError::Refused("the token holds characters that no header may hold".to_owned());
            return token::bearer(ready).map(Proof::Ready).ok_or_else(refused);
        }
        match &progress.challenge {
            None => Ok(Proof::Nothing),
            Some(Challenge::Basic) => Ok(credential
                .and_then(token::basic)
                .map_or(Proof::Nothing, Proof::Basic)),
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => {
                let key = Key {
                    host: self.name.clone(),
                    credential: credential.map(Credential::identity),
                    realm: realm.clone(),
                    service: service.clone(),
                    scopes: self.scopes(scope.as_deref()),
                };
                let now = (self.inner.config.clock)();
                // after a refusal only a token that is newer than this request can help
                let newer_than = progress.renewed.then_some(progress.started);
                let fetch = || {
                    let registry = self
                        .exchanger
                        .for_home(self.exchanger.home.clone(), self.at.clone());
                    token::fetch(registry, key.clone(), credential.cloned()).boxed()
                };
                let token = self.inner.tokens.get(&key, now, newer_than, fetch).await?;
                Ok(Proof::Token(Box::new(key), token.header))
            }
        }
    }

    /// The demanded scope first, then ours, each once.
    fn scopes(&self, demanded: Option<&str>) -> Vec<String> {
        let own = format!("repository:{}:{}", self.reference.api_repository(), self.actions);
        let mut scopes: Vec<String> = demanded
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        if !scopes.contains(&own) {
            scopes.push(own);
        }
        scopes
    }

    /// Decides what a 401 means: a demand that wasn't known, a token that expired, or a credential that is
    /// refused.
    async fn challenged(&self, progress: &mut Progress, proof: Proof, answer: Answer) -> Result<(), Error> {
        let found = challenges(answer.response.headers());
        let Some(challenge) = preferred(&found).cloned() else {
            let detail = format!(
                "{}, without saying which authentication it takes",
                answer.detail().await
            );
            return self.next_candidate(&detail);
        };
        self.host.learn(Some(challenge.clone()));
        let changed = match (&progress.challenge, &challenge) {
            (Some(Challenge::Basic), Challenge::Basic) => false,
            (Some(Challenge::Bearer { realm: a, .. }), Challenge::Bearer { realm: b, .. }) => a != b,
            _ => true,
        };
        if matches!(challenge, Challenge::Basic) && self.candidate().is_none() {
            return Err(self.unauthenticated());
        }
        match proof {
            Proof::Nothing | Proof::Basic(_) if changed && !progress.asked => {
                progress.challenge = Some(challenge);
                progress.asked = true;
                Ok(())
            }
            Proof::Token(key, header) if !progress.renewed => {
                self.inner.tokens.forget(&key, &header);
                progress.challenge = Some(challenge);
                progress.renewed = true;
                Ok(())
            }
            _ => {
                progress.renewed = false;
                progress.challenge = Some(challenge);
                let detail = answer.detail().await;
                self.next_candidate(&detail)
            }
        }
    }

    /// Gives the present credential up. An error if there is no other.
    fn next_candidate(&self, detail: &str) -> Result<(), Error> {
        if self.candidates.is_empty() {
            return Err(self.unauthenticated());
        }
        let next = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if next < self.candidates.len() {
            return Ok(());
        }
        // the next request of this session starts with the last one again, not with none at all
        self.refused.store(self.candidates.len() - 1, Ordering::Relaxed);
        let (at, tried) = (self.at.clone(), self.tried());
        Err(Error::CredentialsRefused {
            at,
            tried,
            detail: detail.to_owned(),
        })
    }

    /// An answer that is neither success nor a challenge: an error that may be tried again, with the wait
    /// that the host asks for, or at once the error for good.
    async fn trouble(
        &self,
        answer: Answer,
        request: &Request,
        what: &str,
        attempt: u32,
    ) -> Result<(Error, Option<Duration>), Error> {
        let status = answer.status();
        let now = (self.inner.config.clock)();
        let wait = retry::retry_after(answer.response.headers(), now);
        let foreign = answer.foreign;
        let at = self.at.clone();
        let detail = answer.detail().await;
        match status {
            429 => {
                let policy = self.inner.config.retry;
                let wait = wait.unwrap_or_default().max(retry::backoff(&policy, attempt));
                if !foreign {
                    self.host.pause_for(wait);
                }
                Ok((self.rate_limited(wait), Some(wait)))
            }
            status if retry::is_transient(status) => Ok((Error::Unavailable { at, status, detail }, wait)),
            404 | 410 => Err(Error::NotFound {
                at,
                what: what.to_owned(),
                detail,
            }),
            401 | 403 => Err(Error::Forbidden {
                at,
                tried: self.tried(),
                detail,
            }),
            407 => Err(Error::Proxy {
                at,
                proxy: "on the way".to_owned(),
                detail,
            }),
            _ => Err(Error::UnexpectedAnswer {
                at,
                operation: request.operation.as_str(),
                detail,
            }),
        }
    }

    fn rate_limited(&self, wait: Duration) -> Error {
        let until = (self.inner.config.clock)()
            .saturating_add(wait)
            .unwrap_or(Timestamp::MAX);
        Error::RateLimited {
            at: self.at.clone(),
            until,
        }
    }

    fn unauthenticated(&self) -> Error {
        Error::Unauthenticated {
            at: self.at.clone(),
            tried: self.places.clone(),
        }
    }

    fn tried(&self) -> String {
        if self.candidates.is_empty() {
            return "an anonymous user".to_owned();
        }
        let mut sources: Vec<&str> = self
            .candidates
            .iter()
            .map(|sourced| sourced.source.as_str())
            .collect();
        sources.dedup();
        sources.join(", ")
    }
}
