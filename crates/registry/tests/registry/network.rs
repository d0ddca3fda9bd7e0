//! TLS, plain HTTP and proxies.

use gantry_registry::{Client, ClientConfig, ConfigError, Error, Keychain, Proxies, Reason};
use oci::Reference;
use rcgen::{CertifiedKey, KeyPair};

use crate::stub::*;

fn certificate(names: &[&str]) -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        .unwrap()
}

async fn secure(certificate: &CertifiedKey<KeyPair>) -> (Stub, ClientConfig, Reference) {
    let image = Image::of("layer");
    let stub = Stub::tls(certificate, move |seen| image.serve(seen)).await;
    let mut config = setup();
    config.resolve.insert("secure.invalid".to_owned(), stub.address);
    let reference = Reference::parse(&format!("secure.invalid:{}/a/b:v1", stub.address.port())).unwrap();
    (stub, config, reference)
}

async fn head(client: &Client, reference: &Reference) -> Result<(), Error> {
    client
        .head(reference, &Keychain::anonymous(), soon())
        .await
        .map(drop)
}

#[tokio::test]
async fn an_unknown_authority_is_told_and_can_be_added() {
    let certificate = certificate(&["secure.invalid"]);
    let (_stub, config, reference) = secure(&certificate).await;
    let client = Client::new(config).unwrap();
    let error = head(&client, &reference).await.unwrap_err();
    assert_eq!(error.reason(), Reason::TlsUnknownAuthority, "{error}");
    assert!(
        error.to_string().contains("CA bundle") && !error.is_transient(),
        "{error}"
    );
    // a damaged bundle changes nothing, a good one works at once, and can be taken away again
    assert!(matches!(
        client.reload_ca(Some(b"garbage")),
        Err(ConfigError::EmptyCaBundle)
    ));
    client.reload_ca(Some(certificate.cert.pem().as_bytes())).unwrap();
    assert!(client.reload_ca(Some(b"")).is_err());
    head(&client, &reference).await.unwrap();
    client.reload_ca(None).unwrap();
    assert_eq!(
        head(&client, &reference).await.unwrap_err().reason(),
        Reason::TlsUnknownAuthority
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_is_told() {
    let certificate = certificate(&["other.invalid"]);
    let (_stub, mut config, reference) = secure(&certificate).await;
    config.ca_bundle = Some(certificate.cert.pem().into_bytes());
    let error = head(&Client::new(config).unwrap(), &reference).await.unwrap_err();
    assert_eq!(error.reason(), Reason::TlsNameMismatch, "{error}");
    assert!(error.to_string().contains("secure.invalid"), "{error}");
}

#[tokio::test]
async fn an_expired_certificate_is_told() {
    let key = KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["secure.invalid".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let cert = params.self_signed(&key).unwrap();
    let (_stub, mut config, reference) = secure(&CertifiedKey {
        cert: cert.clone(),
        signing_key: key,
    })
    .await;
    config.ca_bundle = Some(cert.pem().into_bytes());
    let error = head(&Client::new(config).unwrap(), &reference).await.unwrap_err();
    assert!(
        matches!(&error, Error::Tls { detail, .. } if detail.contains("expired")),
        "{error}"
    );
}

#[tokio::test]
async fn a_bad_bundle_stops_the_start() {
    for bundle in ["", "garbage"] {
        let config = ClientConfig {
            ca_bundle: Some(bundle.into()),
            ..setup()
        };
        assert!(matches!(Client::new(config), Err(ConfigError::EmptyCaBundle)));
    }
}

#[tokio::test]
async fn plain_http_only_where_allowed() {
    let stub = Image::of("layer").start().await;
    let port = stub.address.port();
    let mut config = setup();
    config.resolve.insert("named.invalid".to_owned(), stub.address);
    config.resolve.insert("port.invalid".to_owned(), stub.address);
    config.resolve.insert("other.invalid".to_owned(), stub.address);
    config.plain_http_hosts = ["named.invalid".to_owned(), format!("port.invalid:{port}")].into();
    let client = Client::new(config).unwrap();
    for (name, plain) in [
        ("127.0.0.1", true),
        ("localhost", true),
        ("named.invalid", true),
        ("port.invalid", true),
        ("other.invalid", false),
    ] {
        let reference = Reference::parse(&format!("{name}:{port}/a/b:v1")).unwrap();
        let outcome = head(&client, &reference).await;
        assert_eq!(outcome.is_ok(), plain, "{name}: {outcome:?}");
        if let Err(error) = outcome {
            assert_eq!(error.reason(), Reason::TlsFailed, "{error}");
        }
    }
}

/// A proxy's settings, as the environment would give them.
fn proxies(proxy: &str, no_proxy: &'static str) -> Proxies {
    let proxy = proxy.to_owned();
    Proxies::from_env(move |name| match name {
        "HTTP_PROXY" | "HTTPS_PROXY" => Some(proxy.clone()),
        "NO_PROXY" => Some(no_proxy.to_owned()),
        _ => None,
    })
    .unwrap()
}

#[tokio::test]
async fn proxies_are_used_and_passed_by() {
    let image = Image::of("layer");
    let served = image.clone();
    // a proxy for plain HTTP gets the request itself, with the whole URL
    let proxy = Stub::start(move |seen| served.serve(seen)).await;
    let address = format!("http://user:pass@{}", proxy.host());
    let mut config = ClientConfig {
        proxies: proxies(&address, "direct.invalid"),
        ..setup()
    };
    config
        .plain_http_hosts
        .extend(["far.invalid".to_owned(), "direct.invalid".to_owned()]);
    let direct = image.start().await;
    config.resolve.insert("direct.invalid".to_owned(), direct.address);
    let client = Client::new(config).unwrap();

    // nobody here knows this name: only the proxy can have answered
    head(&client, &Reference::parse("far.invalid/a/b:v1").unwrap())
        .await
        .unwrap();
    let seen = proxy.seen();
    assert_eq!((seen.len(), seen[0].header("host")), (1, "far.invalid"));
    assert_eq!(seen[0].header("proxy-authorization"), "Basic dXNlcjpwYXNz");

    let port = direct.address.port();
    head(
        &client,
        &Reference::parse(&format!("direct.invalid:{port}/a/b:v1")).unwrap(),
    )
    .await
    .unwrap();
    head(&client, &direct.reference("a/b:v1")).await.unwrap();
    assert_eq!(
        (proxy.seen().len(), direct.seen().len()),
        (1, 2),
        "NO_PROXY and loopback go directly"
    );
}

#[tokio::test]
async fn a_proxy_that_refuses_is_told() {
    // for HTTPS the proxy is asked to connect, and says no
    let refusing = Stub::start(|_| reply(407, &[], "")).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap().to_string();
    drop(listener);
    for address in [refusing.host(), gone] {
        let config = ClientConfig {
            proxies: proxies(&address, ""),
            ..setup()
        };
        let client = Client::new(config).unwrap();
        let error = head(&client, &Reference::parse("far.invalid/a/b:v1").unwrap())
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Proxy { proxy, .. } if *proxy == address),
            "{error}"
        );
        assert!(error.to_string().contains("NO_PROXY"), "{error}");
    }
    let mut config = ClientConfig {
        proxies: proxies(&refusing.host(), ""),
        ..setup()
    };
    config.plain_http_hosts.insert("far.invalid".to_owned());
    let plain = Client::new(config).unwrap();
    let error = head(&plain, &Reference::parse("far.invalid/a/b:v1").unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::ProxyRefused, "{error}");
}
