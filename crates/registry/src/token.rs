//! Tokens: fetched once for all who need the same one, remembered until they expire.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use jiff::Timestamp;
use oci::Digest;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use url::Url;

use crate::address;
use crate::error::{At, Error};
use crate::exchange::{Answer, BodyError, Exchanger, Request};
use crate::keychain::Credential;
use crate::limits::{DEFAULT_TOKEN_LIFE, MAX_TOKEN_ANSWER_BYTES, MAX_TOKENS, TOKEN_MARGIN, TOKEN_TIMEOUT};
use crate::metrics::Operation;
use crate::retry;
use crate::transport::{authority, origin};

/// What a token is good for. Two credentials never share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) host: String,
    pub(crate) credential: Option<Digest>,
    pub(crate) realm: String,
    pub(crate) service: Option<String>,
    pub(crate) scopes: Vec<String>,
}

/// A bearer token, as it stands in a request.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    expires: Timestamp,
    fetched: Instant,
}

/// Why there is no token.
#[derive(Clone, Debug)]
pub(crate) enum TokenError {
    /// The endpoint refused the credential, or wants one: what it said.
    Refused(String),
    /// Anything else.
    Failed(Error),
}

type Flight = Shared<BoxFuture<'static, Result<Token, TokenError>>>;

/// All tokens of a client.
#[derive(Default)]
pub(crate) struct Tokens {
    flights: Mutex<HashMap<Key, Flight>>,
}

impl Tokens {
    /// The token for `key`: a remembered one that is new enough, the one being fetched, or a new one.
    pub(crate) async fn get(
        &self,
        key: &Key,
        now: Timestamp,
        newer_than: Option<Instant>,
        fetch: impl FnOnce() -> BoxFuture<'static, Result<Token, TokenError>>,
    ) -> Result<Token, TokenError> {
        let flight = {
            let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            let usable = |flight: &Flight| match flight.peek() {
                Some(Ok(token)) => {
                    token.expires > now && newer_than.is_none_or(|since| token.fetched >= since)
                }
                Some(Err(_)) => false,
                None => true,
            };
            match flights.get(key).filter(|flight| usable(flight)) {
                Some(flight) => flight.clone(),
                None => {
                    if flights.len() >= MAX_TOKENS {
                        flights.retain(|_, flight| usable(flight));
                    }
                    if flights.len() >= MAX_TOKENS {
                        flights.clear();
                    }
                    let flight = fetch().shared();
                    flights.insert(key.clone(), flight.clone());
                    flight
                }
            }
        };
        flight.await
    }

    /// Forgets a token that the registry refused, unless there is a newer one.
    pub(crate) fn forget(&self, key: &Key, refused: &HeaderValue) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let known = flights.get(key).and_then(|flight| flight.peek());
        if matches!(known, Some(Ok(token)) if token.header == *refused) {
            flights.remove(key);
        }
    }
}

/// Why a realm is refused, if it is. `registry` is where the challenge came from, `plain` tells which hosts
/// may be spoken to in plain HTTP.
pub(crate) fn realm_refusal(
    realm: &Url,
    registry: &Url,
    plain: impl Fn(&str) -> bool,
) -> Option<&'static str> {
    match (registry.scheme(), realm.scheme()) {
        (_, "https") | ("http", "http") => {}
        (_, "http") => return Some("credentials of a registry with HTTPS never go to plain HTTP"),
        _ => return Some("it is neither HTTP nor HTTPS"),
    }
    if realm.host_str() == registry.host_str() {
        return None;
    }
    // plain HTTP is for hosts that the user named, and for this machine: no registry can extend that to
    // others
    if realm.scheme() == "http" && !plain(&authority(realm)) {
        return Some("plain HTTP to another host than the registry");
    }
    match address::literal(realm).map(address::reach) {
        None | Some(address::Reach::Public) => None,
        Some(_) => Some("it is a private, loopback or link-local address and not the registry's own host"),
    }
}

/// Gets a token from the realm.
pub(crate) async fn fetch(
    registry: Exchanger,
    key: Key,
    credential: Option<Credential>,
) -> Result<Token, TokenError> {
    let at = registry.at.clone();
    let refuse = |why| {
        let realm =
            Url::parse(&key.realm).map_or_else(|_| "that is no URL".to_owned(), |realm| origin(&realm));
        TokenError::Failed(Error::RealmRefused {
            at: at.clone(),
            realm,
            why,
        })
    };
    let realm = Url::parse(&key.realm).map_err(|_| refuse("it is not a URL"))?;
    if let Some(why) = realm_refusal(&realm, &registry.registry, |host| registry.config.is_plain(host)) {
        return Err(refuse(why));
    }
    let at = At {
        host: authority(&realm),
        reference: at.reference,
    };
    let exchanger = registry.for_home(realm.clone(), at.clone());
    let work = attempts(&exchanger, &realm, &key, credential.as_ref());
    match tokio::time::timeout(TOKEN_TIMEOUT, work).await {
        Ok(outcome) => outcome.map_err(|error| match error {
            TokenError::Failed(Error::RedirectRefused { at, target, why }) if target == origin(&realm) => {
                TokenError::Failed(Error::RealmRefused {
                    at,
                    realm: target,
                    why,
                })
            }
            other => other,
        }),
        Err(_) => Err(TokenError::Failed(Error::Timeout {
            at,
            what: "getting a token",
            after: TOKEN_TIMEOUT,
        })),
    }
}

async fn attempts(
    exchanger: &Exchanger,
    realm: &Url,
    key: &Key,
    credential: Option<&Credential>,
) -> Result<Token, TokenError> {
    let policy = exchanger.config.retry;
    // registries without the newer flow answer 404 or 405 to it
    let mut grant = matches!(credential, Some(Credential::IdentityToken { .. }));
    let mut attempt = 1;
    loop {
        let (request, authorization) = request(realm, key, credential, grant);
        let (error, wait) = match exchanger.exchange(&request, authorization.as_ref()).await {
            Ok(answer) => match (answer.status(), grant) {
                (200..=299, _) => match read(answer, exchanger).await {
                    Ok(token) => return Ok(token),
                    Err((error, false)) => return Err(TokenError::Failed(error)),
                    Err((error, true)) => (error, None),
                },
                (404 | 405, true) => {
                    grant = false;
                    continue;
                }
                (401 | 403, _) => return Err(TokenError::Refused(answer.detail().await)),
                (status, _) => {
                    let now = (exchanger.config.clock)();
                    let wait = retry::retry_after(answer.response.headers(), now);
                    let transient = retry::is_transient(status);
                    let detail = answer.detail().await;
                    if status == 429 {
                        let wait = wait.unwrap_or_else(|| retry::backoff(&policy, attempt));
                        let until = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
                        (
                            Error::RateLimited {
                                at: exchanger.at.clone(),
                                until,
                            },
                            Some(wait),
                        )
                    } else {
                        let error = failed(exchanger, detail, transient);
                        if !transient {
                            return Err(TokenError::Failed(error));
                        }
                        (error, wait)
                    }
                }
            },
            Err(error @ (Error::Connect { .. } | Error::Timeout { .. })) => (error, None),
            Err(error) => return Err(TokenError::Failed(error)),
        };
        let wait = wait.unwrap_or_default().max(retry::backoff(&policy, attempt));
        if attempt >= policy.attempts || wait > policy.max_wait {
            return Err(TokenError::Failed(error));
        }
        exchanger
            .config
            .metrics
            .retry(&exchanger.at.host, Operation::Token);
        tokio::time::sleep(wait).await;
        attempt += 1;
    }
}

fn failed(exchanger: &Exchanger, detail: String, transient: bool) -> Error {
    let mut realm = exchanger.home.clone();
    realm.set_query(None);
    realm.set_fragment(None);
    let realm = format!("{}{}", origin(&realm), realm.path());
    Error::TokenEndpoint {
        at: exchanger.at.clone(),
        realm,
        detail,
        transient,
    }
}

fn request(
    realm: &Url,
    key: &Key,
    credential: Option<&Credential>,
    grant: bool,
) -> (Request, Option<HeaderValue>) {
    let mut url = realm.clone();
    if let (true, Some(Credential::IdentityToken { token, .. })) = (grant, credential) {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token")
            .append_pair("client_id", "gantry");
        form.append_pair("refresh_token", token)
            .append_pair("scope", &key.scopes.join(" "));
        if let Some(service) = &key.service {
            form.append_pair("service", service);
        }
        let mut request = Request::new(Operation::Token, Method::POST, url);
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers.insert(CONTENT_TYPE, form_type);
        request.body = Some(Bytes::from(form.finish()));
        return (request, None);
    }
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = &key.service {
            query.append_pair("service", service);
        }
        for scope in &key.scopes {
            query.append_pair("scope", scope);
        }
    }
    (
        Request::new(Operation::Token, Method::GET, url),
        credential.and_then(basic),
    )
}

/// The header of Basic authentication.
pub(crate) fn basic(credential: &Credential) -> Option<HeaderValue> {
    let (username, password) = match credential {
        Credential::Basic { username, password } => (username, password),
        Credential::IdentityToken { username, token } => (username, token),
        Credential::RegistryToken(_) => return None,
    };
    let encoded = STANDARD.encode(format!("{username}:{password}"));
    secret_header(&format!("Basic {encoded}"))
}

/// The header of a bearer token.
pub(crate) fn bearer(token: &str) -> Option<HeaderValue> {
    secret_header(&format!("Bearer {token}"))
}

fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
}

/// Reads a token; the flag says whether trying again can help.
async fn read(mut answer: Answer, exchanger: &Exchanger) -> Result<Token, (Error, bool)> {
    let fail = |detail: &str, transient| (failed(exchanger, detail.to_owned(), transient), transient);
    let body = answer
        .body(MAX_TOKEN_ANSWER_BYTES)
        .await
        .map_err(|error| match error {
            BodyError::Broken(detail) => fail(&detail, true),
            BodyError::TooLarge(_) => fail("its answer is larger than 64 KiB", false),
        })?;
    let parsed: TokenAnswer =
        serde_json::from_slice(&body).map_err(|_| fail("its answer is not the JSON of a token", false))?;
    let text = [parsed.token, parsed.access_token]
        .into_iter()
        .flatten()
        .find(|text| !text.is_empty());
    let header = text
        .and_then(|text| bearer(&text))
        .ok_or_else(|| fail("its answer holds no token", false))?;
    let life = parsed
        .expires_in
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|life| !life.is_zero())
        .unwrap_or(DEFAULT_TOKEN_LIFE);
    // a short life keeps half of it, else a token of ten seconds would never be used twice
    let life = life.saturating_sub(TOKEN_MARGIN.min(life / 2));
    let expires = (exchanger.config.clock)()
        .saturating_add(life)
        .unwrap_or(Timestamp::MAX);
    Ok(Token {
        header,
        expires,
        fetched: Instant::now(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realms_obey_the_rules() {
        // realm, registry, allowed
        let table = [
            ("https://auth.example.org/token", "https://r.example.org", true),
            ("https://r.example.org/token", "https://r.example.org", true),
            ("http://auth.example.org/token", "https://r.example.org", false),
            ("http://r.example.org/token", "https://r.example.org", false),
            ("http://r.example.org/token", "http://r.example.org", true),
            ("http://auth.example.org/token", "http://r.example.org", false),
            ("https://auth.example.org/token", "http://r.example.org", true),
            ("https://10.0.0.1/token", "https://r.example.org", false),
            ("https://127.0.0.1/token", "https://r.example.org", false),
            ("https://[::1]/token", "https://r.example.org", false),
            ("https://169.254.169.254/latest", "https://r.example.org", false),
            ("https://2130706433/token", "https://r.example.org", false),
            ("https://10.0.0.1:8443/token", "https://10.0.0.1:5000", true),
            ("https://10.0.0.2/token", "https://10.0.0.1:5000", false),
            ("http://127.0.0.1:5001/token", "http://127.0.0.1:5000", true),
            ("http://127.0.0.1:5001/token", "http://r.example.org", false),
            ("http://10.0.0.2/token", "http://127.0.0.1:5000", false),
            ("https://8.8.8.8/token", "https://r.example.org", true),
            ("http://named.example.org/token", "http://r.example.org", true),
            ("http://named.example.org/token", "https://r.example.org", false),
            ("file:///etc/passwd", "https://r.example.org", false),
        ];
        let plain = |host: &str| address::is_loopback(host) || host == "named.example.org";
        for (realm, registry, allowed) in table {
            let refusal = realm_refusal(&Url::parse(realm).unwrap(), &Url::parse(registry).unwrap(), plain);
            assert_eq!(refusal.is_none(), allowed, "{realm} for {registry}: {refusal:?}");
        }
    }
}
