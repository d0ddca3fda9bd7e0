//! The HTTP clients below: trust, proxies, name lookup, and what their errors mean.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use url::Url;

use crate::address::{self, Reach};
use crate::config::{ClientConfig, ConfigError};
use crate::error::{At, Error, tidy};
use crate::limits::MAX_CA_CERTIFICATES;
use crate::proxy;

/// The clients of one set of trusted certificates.
pub(crate) struct Transport {
    config: Arc<ClientConfig>,
    certificates: Vec<reqwest::Certificate>,
    direct: reqwest::Client,
    guarded: [OnceLock<Result<reqwest::Client, String>>; 3],
}

impl Transport {
    /// Builds the clients; certificates come from the system and from `ca_bundle`.
    pub(crate) fn new(config: &Arc<ClientConfig>, ca_bundle: Option<&[u8]>) -> Result<Self, ConfigError> {
        let certificates = ca_bundle.map(read_bundle).transpose()?.unwrap_or_default();
        let direct = build(config, &certificates, None).map_err(ConfigError::Http)?;
        Ok(Self {
            config: Arc::clone(config),
            certificates,
            direct,
            guarded: Default::default(),
        })
    }

    /// The client for hosts that the user named.
    pub(crate) const fn direct(&self) -> &reqwest::Client {
        &self.direct
    }

    /// The client for hosts that a registry of `own` reach named. It looks names up and refuses addresses
    /// that the registry may not send us to, at the moment of connecting: a name that changes its address in
    /// between gains nothing.
    pub(crate) fn guarded(&self, own: Reach) -> Result<&reqwest::Client, String> {
        let [public, private, link_local] = &self.guarded;
        let cell = match own {
            Reach::Public => public,
            Reach::Private => private,
            Reach::LinkLocal => link_local,
        };
        cell.get_or_init(|| build(&self.config, &self.certificates, Some(own)))
            .as_ref()
            .map_err(Clone::clone)
    }
}

fn build(
    config: &Arc<ClientConfig>,
    certificates: &[reqwest::Certificate],
    guard: Option<Reach>,
) -> Result<reqwest::Client, String> {
    let builder = || {
        let proxies = Arc::clone(config);
        let lookup = Lookup {
            known: Arc::new(config.resolve.clone()),
            guard,
        };
        reqwest::Client::builder()
            .user_agent(&config.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(config.timeouts.connect)
            .no_proxy()
            .proxy(reqwest::Proxy::custom(move |url| {
                proxies.proxies.for_url(url).cloned()
            }))
            .dns_resolver(lookup)
    };
    match builder().tls_certs_merge(certificates.iter().cloned()).build() {
        Ok(client) => Ok(client),
        Err(error) => {
            // a system without CA certificates still reaches plain registries, and those of the bundle
            tracing::warn!(error = %innermost(&error), "the system's CA certificates cannot be used");
            let client = builder().tls_certs_only(certificates.iter().cloned()).build();
            client.map_err(|error| innermost(&error))
        }
    }
}

/// The certificates of a PEM bundle. Strict: a bundle that would silently trust nothing is a mistake to be
/// told.
fn read_bundle(pem: &[u8]) -> Result<Vec<reqwest::Certificate>, ConfigError> {
    let mut certificates = Vec::new();
    let mut roots = rustls::RootCertStore::empty();
    for (index, item) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let damaged = |detail: String| ConfigError::CaBundle {
            number: index + 1,
            detail,
        };
        let der = item.map_err(|error| damaged(tidy(&error.to_string())))?;
        let certificate = reqwest::Certificate::from_der(&der).map_err(|error| damaged(innermost(&error)))?;
        roots
            .add(der)
            .map_err(|error| damaged(tidy(&error.to_string())))?;
        certificates.push(certificate);
        if certificates.len() > MAX_CA_CERTIFICATES {
            return Err(ConfigError::LargeCaBundle);
        }
    }
    if certificates.is_empty() {
        Err(ConfigError::EmptyCaBundle)
    } else {
        Ok(certificates)
    }
}

/// Looks names up, and refuses addresses that a guarded client must not reach.
struct Lookup {
    known: Arc<BTreeMap<String, SocketAddr>>,
    guard: Option<Reach>,
}

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        if let Some(address) = self.known.get(name.as_str()) {
            let addresses: Addrs = Box::new(std::iter::once(*address));
            return Box::pin(std::future::ready(Ok(addresses)));
        }
        let guard = self.guard;
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let usable: Vec<_> = found
                .into_iter()
                .filter(|found| guard.is_none_or(|own| address::allowed(own, address::reach(found.ip()))))
                .collect();
            if usable.is_empty() {
                return Err(Box::new(InternalAddress) as Box<dyn StdError + Send + Sync>);
            }
            Ok(Box::new(usable.into_iter()) as Addrs)
        })
    }
}

/// A name that leads into a private network, from somebody who may not send us there.
#[derive(Debug)]
struct InternalAddress;

impl fmt::Display for InternalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name has only private addresses")
    }
}

impl StdError for InternalAddress {}

/// What an HTTP error means, for a request to `url`.
pub(crate) fn classify(config: &ClientConfig, at: &At, url: &Url, error: &reqwest::Error) -> Error {
    let at = at.clone();
    let detail = innermost(error);
    if find::<InternalAddress>(error).is_some() {
        return Error::RedirectRefused {
            at,
            target: origin(url),
            why: INTERNAL,
        };
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return classify_tls(at, tls);
    }
    let proxy = config.proxies.for_url(url).map(proxy::name);
    match proxy {
        Some(proxy) if error.is_connect() || error.is_dns() => Error::Proxy { at, proxy, detail },
        _ if error.is_dns() => Error::HostNotFound { at, detail },
        _ if error.is_timeout() => Error::Timeout {
            at,
            what: "connecting to the registry",
            after: config.timeouts.connect,
        },
        _ => Error::Connect { at, detail },
    }
}

/// Why addresses inside are refused.
pub(crate) const INTERNAL: &str =
    "it leads to a private or link-local address, and the registry is not there";

fn classify_tls(at: At, error: &rustls::Error) -> Error {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer) => Error::TlsUnknownAuthority { at },
        rustls::Error::InvalidCertificate(
            problem @ (Certificate::NotValidForName | Certificate::NotValidForNameContext { .. }),
        ) => Error::TlsNameMismatch {
            at,
            detail: tidy(&problem.to_string()),
        },
        other => Error::Tls {
            at,
            detail: tidy(&other.to_string()),
        },
    }
}

/// Looks for a cause of some type. I/O errors hide what they wrap from `source`, so they are opened.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| find::<T>(inner)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The innermost cause: it says what happened, and holds no URL.
pub(crate) fn innermost(error: &dyn StdError) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    tidy(&last.to_string())
}

/// Scheme, host and port of a URL, for messages: the rest may be a secret.
pub(crate) fn origin(url: &Url) -> String {
    format!("{}://{}", url.scheme(), authority(url))
}

/// Host and port of a URL; the port only if it isn't the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_are_read_strictly() {
        let certificate = rcgen::generate_simple_self_signed(["r.invalid".to_owned()])
            .unwrap()
            .cert
            .pem();
        assert_eq!(read_bundle(certificate.as_bytes()).unwrap().len(), 1);
        let two = format!("# a comment\n{certificate}\n{certificate}");
        assert_eq!(read_bundle(two.as_bytes()).unwrap().len(), 2);
        for empty in [
            "",
            "garbage",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            assert!(
                matches!(read_bundle(empty.as_bytes()), Err(ConfigError::EmptyCaBundle)),
                "{empty:?}"
            );
        }
        let damaged = format!("{certificate}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let broken = format!("{certificate}-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n");
        for bad in [damaged, broken] {
            let error = read_bundle(bad.as_bytes()).unwrap_err();
            assert!(
                matches!(error, ConfigError::CaBundle { number: 2, .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn origins_hold_no_secrets() {
        let url = Url::parse("https://user:pass@cdn.example.org:444/path?signature=secret").unwrap();
        assert_eq!(origin(&url), "https://cdn.example.org:444");
    }
}
