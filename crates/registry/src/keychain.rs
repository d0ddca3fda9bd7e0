//! Credentials for one request: a value that belongs to whoever asks, never to the client.
//!
//! Entries of `dockerconfigjson` and legacy `dockercfg` secrets are matched as Kubernetes does it
//! (format-and-cli.md
//! 3.2): ports equal, host labels equal in number and each a glob, path a prefix; the most specific entry
//! comes first. Other than there, the next entry is tried when one is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use oci::{Digest, Reference};
use serde::Deserialize;

use crate::limits::{MAX_CREDENTIALS_TRIED, MAX_SECRET_BYTES, MAX_SECRET_ENTRIES};

/// What proves who asks. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// User name and password: for Basic, and for getting a token.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// A refresh token (`identitytoken`), exchanged for access tokens.
    IdentityToken {
        /// User name, if one is given with it.
        username: String,
        /// The refresh token.
        token: String,
    },
    /// A bearer token that is ready for use (`registrytoken`).
    RegistryToken(String),
}

impl Credential {
    /// A hash that tells credentials apart without holding them: part of the key of remembered tokens.
    #[must_use]
    pub(crate) fn identity(&self) -> Digest {
        let (kind, user, secret) = match self {
            Self::Basic { username, password } => ("basic", username.as_str(), password),
            Self::IdentityToken { username, token } => ("identity", username.as_str(), token),
            Self::RegistryToken(token) => ("registry", "", token),
        };
        Digest::sha256(format!("{kind}\0{}\0{user}{secret}", user.len()).as_bytes())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(redacted)",
            Self::IdentityToken { .. } => "IdentityToken(redacted)",
            Self::RegistryToken(_) => "RegistryToken(redacted)",
        })
    }
}

/// A credential with the place it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced {
    /// The credential.
    pub credential: Credential,
    /// Its place, for messages: `secret "x"`.
    pub source: String,
}

/// The two forms of a pull secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// `kubernetes.io/dockerconfigjson`: an object with `auths`.
    DockerConfigJson,
    /// `kubernetes.io/dockercfg`: the map itself.
    DockerCfg,
}

/// A pull secret, as read from the cluster. `Debug` shows no data.
#[derive(Clone)]
pub struct PullSecret {
    /// Name, for messages.
    pub name: String,
    /// Form of the data.
    pub kind: SecretKind,
    /// The JSON document.
    pub data: Vec<u8>,
}

impl fmt::Debug for PullSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullSecret")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Why a secret, or an entry of it, is left out. The others are used all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeychainProblem {
    /// Not JSON of the right shape. What is wrong isn't quoted, since it may hold the secret.
    #[error("{0} is not a valid docker config: its JSON cannot be read; it is ignored")]
    Json(String),
    /// More than [`MAX_SECRET_BYTES`].
    #[error("{0} is larger than 1 MiB; it is ignored")]
    TooLarge(String),
    /// `auth` isn't base64 of `user:password`.
    #[error("{place}: the entry for {key:?} has an auth that is not base64 of user:password; it is ignored")]
    Auth {
        /// Which secret.
        place: String,
        /// Which entry.
        key: String,
    },
    /// More than [`MAX_SECRET_ENTRIES`].
    #[error("{0} has more entries than the limit of 1000; the rest is ignored")]
    TooMany(String),
}

/// Credentials by registry and path. Cheap to clone.
#[derive(Clone, Default)]
pub struct Keychain {
    entries: Arc<Vec<Entry>>,
    sources: Arc<Vec<String>>,
}

impl fmt::Debug for Keychain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self
            .entries
            .iter()
            .map(|entry| (&entry.key, &entry.sourced.source))
            .collect();
        f.debug_struct("Keychain").field("entries", &keys).finish()
    }
}

#[derive(Clone)]
struct Entry {
    key: String,
    host: String,
    port: Option<String>,
    path: String,
    sourced: Sourced,
}

impl Keychain {
    /// No credentials at all.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// One credential for one host (`host[:port][/path]`): for the command line and tests.
    #[must_use]
    pub fn single(host: &str, credential: Credential, source: &str) -> Self {
        let (host, port, path) = split_key(host);
        let sourced = Sourced {
            credential,
            source: source.to_owned(),
        };
        Self::assemble(
            vec![Entry {
                key: host.clone(),
                host,
                port,
                path,
                sourced,
            }],
            vec![source.to_owned()],
        )
    }

    /// The credentials of pull secrets, and what is wrong with those that are left out.
    #[must_use]
    pub fn from_secrets(secrets: &[PullSecret]) -> (Self, Vec<KeychainProblem>) {
        let mut loader = Loader::default();
        for secret in secrets {
            loader.load(&format!("secret {:?}", secret.name), secret.kind, &secret.data);
        }
        loader.finish()
    }

    /// The credentials of a docker or podman configuration file. Helper programs that it names are not run.
    #[must_use]
    pub fn from_docker_config(place: &str, data: &[u8]) -> (Self, Vec<KeychainProblem>) {
        let mut loader = Loader::default();
        loader.load(place, SecretKind::DockerConfigJson, data);
        loader.finish()
    }

    /// These credentials, and where they don't match, those of `other`.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let entries = self.entries.iter().chain(other.entries.iter()).cloned().collect();
        let sources = self.sources.iter().chain(other.sources.iter()).cloned().collect();
        Self {
            entries: Arc::new(entries),
            sources: Arc::new(sources),
        }
    }

    /// Whether there are no credentials.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The credentials for a reference, best first, without repetitions, at most [`MAX_CREDENTIALS_TRIED`].
    #[must_use]
    pub fn candidates(&self, reference: &Reference) -> Vec<Sourced> {
        let host = reference.api_host();
        let (name, port) = split_port(&host);
        let path = reference.api_repository();
        let mut found: Vec<Sourced> = Vec::new();
        for entry in self
            .entries
            .iter()
            .filter(|entry| entry.matches(name, port, &path))
        {
            if found.len() < MAX_CREDENTIALS_TRIED
                && !found
                    .iter()
                    .any(|known| known.credential == entry.sourced.credential)
            {
                found.push(entry.sourced.clone());
            }
        }
        found
    }

    /// Where credentials were looked for, for messages.
    #[must_use]
    pub fn places(&self) -> String {
        if self.sources.is_empty() {
            "no pull secrets given".to_owned()
        } else {
            self.sources.join(", ")
        }
    }

    fn assemble(mut entries: Vec<Entry>, sources: Vec<String>) -> Self {
        // stable: entries of equal rank stay in the order in which the secrets are listed
        entries.sort_by_key(|entry| {
            (
                std::cmp::Reverse(entry.path.len()),
                entry.host.matches(['*', '?', '[']).count(),
            )
        });
        Self {
            entries: Arc::new(entries),
            sources: Arc::new(sources),
        }
    }
}

impl Entry {
    fn matches(&self, host: &str, port: Option<&str>, path: &str) -> bool {
        self.port.as_deref() == port
            && path.starts_with(&self.path)
            && self.host.split('.').count() == host.split('.').count()
            && self
                .host
                .split('.')
                .zip(host.split('.'))
                .all(|(glob, label)| glob_matches(glob, label))
    }
}

#[derive(Default)]
struct Loader {
    entries: Vec<Entry>,
    sources: Vec<String>,
    problems: Vec<KeychainProblem>,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: Option<BTreeMap<String, Option<Auth>>>,
}

#[derive(Default, Deserialize)]
struct Auth {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

impl Loader {
    fn load(&mut self, place: &str, kind: SecretKind, data: &[u8]) {
        self.sources.push(place.to_owned());
        if data.len() > MAX_SECRET_BYTES {
            self.problems.push(KeychainProblem::TooLarge(place.to_owned()));
            return;
        }
        let auths = match kind {
            SecretKind::DockerConfigJson => {
                serde_json::from_slice::<DockerConfig>(data).map(|config| config.auths.unwrap_or_default())
            }
            SecretKind::DockerCfg => serde_json::from_slice(data),
        };
        let Ok(auths) = auths else {
            self.problems.push(KeychainProblem::Json(place.to_owned()));
            return;
        };
        for (key, auth) in auths {
            if self.entries.len() == MAX_SECRET_ENTRIES {
                self.problems.push(KeychainProblem::TooMany(place.to_owned()));
                return;
            }
            match credential(auth.unwrap_or_default()) {
                Ok(None) => {}
                Ok(Some(credential)) => {
                    let (host, port, path) = split_key(&key);
                    let sourced = Sourced {
                        credential,
                        source: place.to_owned(),
                    };
                    self.entries.push(Entry {
                        key,
                        host,
                        port,
                        path,
                        sourced,
                    });
                }
                Err(()) => self.problems.push(KeychainProblem::Auth {
                    place: place.to_owned(),
                    key,
                }),
            }
        }
    }

    fn finish(self) -> (Keychain, Vec<KeychainProblem>) {
        (Keychain::assemble(self.entries, self.sources), self.problems)
    }
}

/// The credential of an entry; none if it is empty, as programs write it that keep the secret elsewhere.
fn credential(auth: Auth) -> Result<Option<Credential>, ()> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = given(auth.registrytoken) {
        return Ok(Some(Credential::RegistryToken(token)));
    }
    let (mut username, mut password) = (given(auth.username), given(auth.password));
    if let Some(encoded) = given(auth.auth) {
        let encoded = encoded.trim();
        let decoded = STANDARD
            .decode(encoded)
            .or_else(|_| STANDARD_NO_PAD.decode(encoded))
            .map_err(drop)?;
        let text = String::from_utf8(decoded).map_err(drop)?;
        let (user, secret) = text.split_once(':').ok_or(())?;
        // podman pads the decoded text with zero bytes
        (username, password) = (
            Some(user.to_owned()),
            Some(secret.trim_end_matches('\0').to_owned()),
        );
    }
    if let Some(token) = given(auth.identitytoken) {
        return Ok(Some(Credential::IdentityToken {
            username: username.unwrap_or_default(),
            token,
        }));
    }
    Ok(match (username, password) {
        (None, None) => None,
        (username, password) => Some(Credential::Basic {
            username: username.unwrap_or_default(),
            password: password.unwrap_or_default(),
        }),
    })
}

/// Host, port and path of an entry's key: without scheme and without the API's own path.
fn split_key(key: &str) -> (String, Option<String>, String) {
    let key = key.trim();
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let path = match path {
        "v1" | "v2" => "",
        path => path
            .strip_prefix("v1/")
            .or_else(|| path.strip_prefix("v2/"))
            .unwrap_or(path),
    };
    let host = host.to_ascii_lowercase();
    let (name, port) = split_port(&host);
    // Docker Hub has several names; the client uses one
    let name = match name {
        "docker.io" | "registry-1.docker.io" => "index.docker.io",
        name => name,
    };
    (
        name.to_owned(),
        port.map(str::to_owned),
        path.trim_end_matches('/').to_owned(),
    )
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// Shell-like match of one host label: `*` any run, `?` any character, everything else itself.
fn glob_matches(glob: &str, label: &str) -> bool {
    let (glob, label) = (glob.as_bytes(), label.as_bytes());
    let (mut g, mut l) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = label.get(l) {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, l));
                g += 1;
            }
            Some(&wanted) if wanted == b'?' || wanted == byte => {
                g += 1;
                l += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    g = at + 1;
                    l = from + 1;
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    glob.get(g..)
        .is_some_and(|rest| rest.iter().all(|&byte| byte == b'*'))
}

#[cfg(test)]
#[path = "keychain_tests.rs"]
mod tests;
