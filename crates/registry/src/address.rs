//! Which addresses somebody else may send us to.
//!
//! A registry can name other hosts: by redirects and by the realm of its tokens. None of them may lead into
//! the private network that the operator runs in, unless the registry is there itself; link-local addresses
//! (the metadata services of clouds) are refused even then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// Anywhere.
    Public,
    /// Within a private network or this machine.
    Private,
    /// Within one link: metadata services live here.
    LinkLocal,
}

/// The reach of an address.
pub(crate) fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let octets = address.octets();
    if address.is_link_local() {
        Reach::LinkLocal
    } else if address.is_private()
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || octets[0] == 0
        || octets[0] >= 240
        || (octets[0] == 100 && octets[1] & 0xc0 == 64)
        || (octets[0] == 198 && octets[1] & 0xfe == 18)
        || (octets[0] == 192 && octets[1] == 0 && octets[2] == 0)
    {
        Reach::Private
    } else {
        Reach::Public
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    if let Some(embedded) = embedded_v4(address) {
        return reach_v4(embedded);
    }
    let first = address.segments()[0];
    if first & 0xffc0 == 0xfe80 {
        Reach::LinkLocal
    } else if address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || first & 0xfe00 == 0xfc00
        || first & 0xffc0 == 0xfec0
    {
        Reach::Private
    } else {
        Reach::Public
    }
}

/// The IPv4 address behind a mapped, compatible, translated (64:ff9b::/96) or tunnelled (6to4) one.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let from = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] => from(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => from(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => from(high, low),
        [0x2002, high, low, ..] => from(high, low),
        _ => None,
    }
}

/// The address that a URL's host is, if it is one and not a name.
pub(crate) fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(IpAddr::V4(address)),
        Host::Ipv6(address) => Some(IpAddr::V6(address)),
        Host::Domain(_) => None,
    }
}

/// Whether a registry with addresses of `own` reach may send us to an address of this reach.
pub(crate) fn allowed(own: Reach, target: Reach) -> bool {
    match target {
        Reach::Public => true,
        Reach::Private => own >= Reach::Private,
        Reach::LinkLocal => own == Reach::LinkLocal,
    }
}

/// The farthest inside that any of these addresses is.
pub(crate) fn innermost(addresses: impl IntoIterator<Item = SocketAddr>) -> Reach {
    addresses
        .into_iter()
        .map(|address| reach(address.ip()))
        .max()
        .unwrap_or(Reach::Public)
}

/// Whether a host (`host[:port]`) is this machine by its spelling: plain HTTP is safe there.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaches() {
        let table = [
            ("8.8.8.8", Reach::Public),
            ("100.63.0.1", Reach::Public),
            ("2606:4700::1", Reach::Public),
            ("10.1.2.3", Reach::Private),
            ("172.16.0.1", Reach::Private),
            ("192.168.0.1", Reach::Private),
            ("127.0.0.53", Reach::Private),
            ("0.0.0.0", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("198.19.0.1", Reach::Private),
            ("224.0.0.1", Reach::Private),
            ("255.255.255.255", Reach::Private),
            ("::1", Reach::Private),
            ("::", Reach::Private),
            ("fd00::1", Reach::Private),
            ("::ffff:10.0.0.1", Reach::Private),
            ("::10.0.0.1", Reach::Private),
            ("64:ff9b::a00:1", Reach::Private),
            ("2002:a00:1::", Reach::Private),
            ("169.254.169.254", Reach::LinkLocal),
            ("::ffff:169.254.169.254", Reach::LinkLocal),
            ("64:ff9b::a9fe:a9fe", Reach::LinkLocal),
            ("fe80::1", Reach::LinkLocal),
        ];
        for (address, expected) in table {
            assert_eq!(reach(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn odd_spellings_of_addresses_are_addresses() {
        for text in [
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(literal(&url).map(reach), Some(Reach::Private), "{text}");
        }
        assert_eq!(literal(&Url::parse("http://localhost/").unwrap()), None);
    }

    #[test]
    fn who_may_send_us_where() {
        use Reach::{LinkLocal, Private, Public};
        for (own, target, answer) in [
            (Public, Public, true),
            (Public, Private, false),
            (Private, Private, true),
            (Private, LinkLocal, false),
            (LinkLocal, LinkLocal, true),
        ] {
            assert_eq!(allowed(own, target), answer, "{own:?} {target:?}");
        }
    }

    #[test]
    fn loopback_by_spelling() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1",
            "127.1.2.3:80",
            "[::1]",
            "[::1]:5000",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.example.org",
            "128.0.0.1",
            "10.0.0.1:5000",
            "[::2]:5000",
            "example.org",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
