//! References to images: `registry/repository[:tag][@digest]`.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, DigestError, shorten};
use crate::limits::{MAX_HOST_BYTES, MAX_REPOSITORY_BYTES, MAX_TAG_BYTES};

/// The tag that a reference without tag and digest stands for.
pub const DEFAULT_TAG: &str = "latest";

/// A reference as somebody wrote it, taken apart.
///
/// The rules are the lenient ones of the reference's client (format-and-cli.md 1.15), but a registry host
/// must be named: there is no default registry. Repository components `.` and `..` are refused, since they
/// would change the path of a request.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    text: String,
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads a reference. Neither tag nor digest is needed; the registry host is.
    ///
    /// # Errors
    /// If a part is missing or not valid; the error names the part and says what is allowed.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = Digest::parse(digest).map_err(|source| ReferenceError::Digest {
                    reference: shorten(text),
                    source,
                })?;
                (name, Some(digest))
            }
            None => (text, None),
        };
        let (registry, path) = name
            .split_once('/')
            .ok_or_else(|| ReferenceError::NoRegistry(shorten(text)))?;
        if !looks_like_host(registry) {
            return Err(ReferenceError::NoRegistry(shorten(text)));
        }
        if !valid_host(registry) {
            return Err(ReferenceError::Registry {
                reference: shorten(text),
                registry: shorten(registry),
            });
        }
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        if !valid_repository(repository) {
            return Err(ReferenceError::Repository {
                reference: shorten(text),
                repository: shorten(repository),
            });
        }
        if let Some(tag) = tag
            && !valid_tag(tag)
        {
            return Err(ReferenceError::Tag {
                reference: shorten(text),
                tag: shorten(tag),
            });
        }
        Ok(Self {
            text: text.to_owned(),
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// The user's spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The registry's host, with its port if one is written, as the user spelled it.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository's path within the registry, as the user spelled it.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The host that requests go to: as [`registry`](Self::registry), lower-case, but for Docker Hub, whose
    /// API lives under another name than its references (format-and-cli.md 1.15).
    #[must_use]
    pub fn api_host(&self) -> String {
        let host = self.registry.to_ascii_lowercase();
        if host == "docker.io" {
            "index.docker.io".to_owned()
        } else {
            host
        }
    }

    /// The repository in request paths: as [`repository`](Self::repository), but single names on Docker Hub
    /// are in `library/`.
    #[must_use]
    pub fn api_repository(&self) -> String {
        if self.api_host() == "index.docker.io" && !self.repository.contains('/') {
            format!("library/{}", self.repository)
        } else {
            self.repository.clone()
        }
    }

    /// The tag, if one is written. With a digest beside it, the digest decides.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one is written.
    #[must_use]
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The user's spelling without tag and digest. (The reference keeps the tag of `repo:tag@digest`; that
    /// made two sources of one package.)
    #[must_use]
    pub fn source(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What a request asks for: the digest if there is one, else the tag, else [`DEFAULT_TAG`].
    #[must_use]
    pub fn identifier(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    /// `source@digest`: the same repository, pinned.
    #[must_use]
    pub fn with_digest(&self, digest: &Digest) -> Self {
        Self {
            text: format!("{}@{digest}", self.source()),
            registry: self.registry.clone(),
            repository: self.repository.clone(),
            tag: None,
            digest: Some(digest.clone()),
        }
    }

    /// `source:tag`: the same repository at another tag.
    ///
    /// # Errors
    /// If the tag isn't valid.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        let text = format!("{}:{tag}", self.source());
        if valid_tag(tag) {
            Ok(Self {
                text,
                registry: self.registry.clone(),
                repository: self.repository.clone(),
                tag: Some(tag.to_owned()),
                digest: None,
            })
        } else {
            Err(ReferenceError::Tag {
                reference: shorten(&text),
                tag: shorten(tag),
            })
        }
    }

    /// Whether the API server takes this text as `spec.package`: the validation rule of the package types
    /// (api.md 1.1), which is at once stricter (a dot in the host, a tag or digest) and laxer (character
    /// sets) than [`parse`](Self::parse).
    #[must_use]
    pub fn package_rule(text: &str) -> bool {
        let Some((host, rest)) = text.split_once('/') else {
            return false;
        };
        let mut labels = host.split('.');
        if host.split('.').count() < 2 || labels.any(str::is_empty) {
            return false;
        }
        let Some(tail_at) = rest.find([':', '@']) else {
            return false;
        };
        let (path, tail) = rest.split_at(tail_at);
        if path.split('/').any(str::is_empty) {
            return false;
        }
        let is_digest = |text: &str| {
            text.strip_prefix("@sha256")
                .is_some_and(|rest| !rest.is_empty() && !rest.contains('\n'))
        };
        match tail.strip_prefix(':') {
            None => is_digest(tail),
            Some(tagged) => match tagged.find([':', '@']) {
                None => !tagged.is_empty(),
                Some(end) => end > 0 && is_digest(&tagged[end..]),
            },
        }
    }
}

/// Whether the first segment of a name is meant as a host and not as part of a path.
fn looks_like_host(segment: &str) -> bool {
    segment == "localhost" || segment.contains(['.', ':'])
}

fn valid_host(host: &str) -> bool {
    if host.is_empty() || host.len() > MAX_HOST_BYTES {
        return false;
    }
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            if address.parse::<Ipv6Addr>().is_err() {
                return false;
            }
            match port {
                "" => return true,
                port => ("v6", port.strip_prefix(':')),
            }
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, Some("443")),
        },
    };
    let byte_ok = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let labels_ok = name.split('.').all(|label| !label.is_empty());
    let port_ok = port.is_some_and(|port| {
        !port.is_empty()
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    labels_ok && name.bytes().all(byte_ok) && port_ok
}

fn valid_repository(path: &str) -> bool {
    let byte_ok = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.' | b'/')
    };
    !path.is_empty()
        && path.len() <= MAX_REPOSITORY_BYTES
        && path.bytes().all(byte_ok)
        && path
            .split('/')
            .all(|component| !matches!(component, "" | "." | ".."))
}

fn valid_tag(tag: &str) -> bool {
    let byte_ok = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    // a leading dot or dash is refused by the distribution specification; "." and ".." would change the
    // request's path
    !tag.is_empty() && tag.len() <= MAX_TAG_BYTES && tag.bytes().all(byte_ok) && !tag.starts_with(['.', '-'])
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Why a text is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The first segment is no host, or there is no slash.
    #[error(
        "reference {0:?} names no registry: write it as host/repository:tag, there is no default registry"
    )]
    NoRegistry(String),
    /// The host or its port isn't valid.
    #[error(
        "reference {reference:?}: {registry:?} is not a registry host: use a DNS name or \
         address, with :port if needed"
    )]
    Registry {
        /// The reference, shortened.
        reference: String,
        /// Its first segment, shortened.
        registry: String,
    },
    /// The repository isn't valid.
    #[error(
        "reference {reference:?}: {repository:?} is not a repository: use 1 to 255 characters of a-z, \
         0-9, '_', '-', '.' in segments separated by '/'"
    )]
    Repository {
        /// The reference, shortened.
        reference: String,
        /// The part between the host and the tag, shortened.
        repository: String,
    },
    /// The tag isn't valid.
    #[error(
        "reference {reference:?}: {tag:?} is not a tag: use 1 to 128 characters of A-Z, a-z, 0-9, '_', \
         '-', '.', the first one no '-' or '.'"
    )]
    Tag {
        /// The reference, shortened.
        reference: String,
        /// The tag, shortened.
        tag: String,
    },
    /// What follows the `@` is no digest.
    #[error("reference {reference:?} has no valid digest after the '@'")]
    Digest {
        /// The reference, shortened.
        reference: String,
        /// What is wrong with the digest.
        source: DigestError,
    },
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
