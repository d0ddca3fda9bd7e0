//! Proxies, by the environment variables that other programs obey too.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

use crate::address;
use crate::config::ConfigError;

/// Which requests go through which proxy. Loopback hosts never do.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    exceptions: Vec<Exception>,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // a proxy's URL may hold a password
        let shown = |url: &Option<Url>| url.as_ref().map(name);
        f.debug_struct("Proxies")
            .field("http", &shown(&self.http))
            .field("https", &shown(&self.https))
            .field("exceptions", &self.exceptions)
            .finish()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    Everything,
    Network {
        address: IpAddr,
        bits: u32,
        port: Option<u16>,
    },
    Domain {
        name: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl Proxies {
    /// Reads `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, upper-case first, then lower-case, through
    /// `variable`.
    ///
    /// # Errors
    /// If a proxy's address can't be read.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let get = |name: &str| {
            variable(name)
                .filter(|text| !text.is_empty())
                .or_else(|| variable(&name.to_ascii_lowercase()))
        };
        Ok(Self {
            http: parse("HTTP_PROXY", get("HTTP_PROXY"))?,
            https: parse("HTTPS_PROXY", get("HTTPS_PROXY"))?,
            exceptions: get("NO_PROXY")
                .unwrap_or_default()
                .split(',')
                .filter_map(Exception::parse)
                .collect(),
        })
    }

    /// The proxy for a URL, if it goes through one.
    pub(crate) fn for_url(&self, url: &Url) -> Option<&Url> {
        let proxy = if url.scheme() == "https" {
            self.https.as_ref()
        } else {
            self.http.as_ref()
        }?;
        let host = url.host_str()?;
        let port = url.port_or_known_default();
        if address::is_loopback(host) || self.exceptions.iter().any(|exception| exception.holds(url, port)) {
            return None;
        }
        Some(proxy)
    }
}

/// Host and port of a proxy, for messages.
pub(crate) fn name(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn parse(variable: &str, value: Option<String>) -> Result<Option<Url>, ConfigError> {
    let Some(value) = value.filter(|value| !value.trim().is_empty()) else {
        return Ok(None);
    };
    let wrong = || ConfigError::Proxy {
        variable: variable.to_owned(),
    };
    let value = value.trim();
    let text = if value.contains("://") {
        value.to_owned()
    } else {
        format!("http://{value}")
    };
    let url = Url::parse(&text).map_err(|_| wrong())?;
    if url.has_host() && matches!(url.scheme(), "http" | "https") {
        Ok(Some(url))
    } else {
        Err(wrong())
    }
}

impl Exception {
    /// One entry of `NO_PROXY`: `*`, an address with optional mask, or a name (which covers what is below it;
    /// with a leading dot only that), each with an optional port.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() {
            return None;
        }
        if text == "*" {
            return Some(Self::Everything);
        }
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            return Some(Self::Network {
                address,
                bits: bits.parse().ok()?,
                port: None,
            });
        }
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Some(Self::Network {
                address,
                bits: u32::MAX,
                port: None,
            });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (text.as_str(), None),
        };
        if let Ok(address) = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
        {
            return Some(Self::Network {
                address,
                bits: u32::MAX,
                port,
            });
        }
        let below = name.trim_start_matches('*').trim_start_matches('.');
        Some(Self::Domain {
            name: below.to_owned(),
            itself: below.len() == name.len(),
            port,
        })
    }

    fn holds(&self, url: &Url, actual: Option<u16>) -> bool {
        let port_fits = |port: &Option<u16>| port.is_none() || *port == actual;
        match self {
            Self::Everything => true,
            Self::Network { address, bits, port } => {
                port_fits(port)
                    && address::literal(url).is_some_and(|literal| within(literal, *address, *bits))
            }
            Self::Domain { name, itself, port } => match url.host() {
                Some(Host::Domain(host)) => {
                    let below = host
                        .strip_suffix(name.as_str())
                        .is_some_and(|rest| rest.ends_with('.'));
                    port_fits(port) && (below || (*itself && host == name))
                }
                _ => false,
            },
        }
    }
}

fn within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        _ => return false,
    };
    let ignored = width - bits.min(width);
    address.checked_shr(ignored).unwrap_or(0) == network.checked_shr(ignored).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(no_proxy: &str) -> Proxies {
        let no_proxy = no_proxy.to_owned();
        Proxies::from_env(|name| match name {
            "HTTPS_PROXY" => Some("http://user:hunter2@proxy.example.org:3128".to_owned()),
            "http_proxy" => Some("proxy.example.org".to_owned()),
            "NO_PROXY" => Some(no_proxy.clone()),
            _ => None,
        })
        .unwrap()
    }

    #[test]
    fn exceptions_are_obeyed() {
        // NO_PROXY, URL, direct
        let table = [
            ("", "https://r.example.org/", false),
            ("", "http://r.example.org/", false),
            ("", "http://localhost:5000/", true),
            ("", "http://127.0.0.1:5000/", true),
            ("*", "https://r.example.org/", true),
            ("example.org", "https://r.example.org/", true),
            ("example.org", "https://example.org/", true),
            (".example.org", "https://example.org/", false),
            (".example.org", "https://r.example.org/", true),
            ("*.example.org", "https://r.example.org/", true),
            ("ample.org", "https://r.example.org/", false),
            ("r.example.org:5000", "https://r.example.org:5000/", true),
            ("r.example.org:5000", "https://r.example.org/", false),
            ("r.example.org:443", "https://r.example.org/", true),
            ("other.example.org, R.example.org", "https://r.example.org/", true),
            ("10.0.0.0/8", "https://10.1.2.3/", true),
            ("10.0.0.0/8", "https://11.1.2.3/", false),
            ("10.0.0.0/0", "https://11.1.2.3/", true),
            ("10.1.2.3", "https://10.1.2.3/", true),
            ("10.1.2.3:5000", "https://10.1.2.3/", false),
            ("fd00::/8", "https://[fd00::1]/", true),
            ("[fd00::1]", "https://[fd00::1]/", true),
            ("10.0.0.0/x,/,:,::/200", "https://10.1.2.3/", false),
        ];
        for (no_proxy, url, direct) in table {
            let proxies = proxies(no_proxy);
            assert_eq!(
                proxies.for_url(&Url::parse(url).unwrap()).is_none(),
                direct,
                "{no_proxy:?} {url}"
            );
        }
    }

    #[test]
    fn bad_addresses_are_named_and_passwords_are_not_shown() {
        let error =
            Proxies::from_env(|name| (name == "HTTP_PROXY").then(|| "socks5://x".to_owned())).unwrap_err();
        assert!(error.to_string().contains("HTTP_PROXY"), "{error}");
        let shown = format!("{:?}", proxies(""));
        assert!(
            shown.contains("proxy.example.org:3128") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
