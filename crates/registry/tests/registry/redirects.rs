//! Where a registry may send us, and what goes along.

use gantry_registry::{Client, Error, Keychain, Reason};
use oci::Reference;

use crate::stub::*;

const ALICE: &str = "Basic YWxpY2U6c2VjcmV0";

/// A registry with Basic that sends everybody who asks for a blob to `target`, where `P` is its own port.
async fn sending(target: String) -> Stub {
    let image = Image::of("layer");
    Stub::start(move |seen| {
        if seen.path == "/here" {
            return reply(200, &[], image.layer.clone());
        }
        if seen.authorization() != ALICE {
            return reply(401, &[("www-authenticate", "Basic")], "");
        }
        let port = seen
            .header("host")
            .rsplit(':')
            .next()
            .unwrap_or_default()
            .to_owned();
        reply(
            307,
            &[("location", &target.replace(":P", &format!(":{port}")))],
            "",
        )
    })
    .await
}

async fn cdn() -> Stub {
    Stub::start(|_| reply(200, &[], "layer")).await
}

async fn pull(client: &Client, host: &str) -> Result<(), Error> {
    let reference = Reference::parse(&format!("{host}/a/b:v1")).unwrap();
    let keychain = Keychain::single(host, basic("alice", "secret"), "secret \"x\"");
    let mut sink = Vec::new();
    client
        .blob(
            &reference,
            &layer_descriptor(b"layer"),
            &keychain,
            soon(),
            &mut sink,
        )
        .await
}

#[tokio::test]
async fn credentials_stay_at_home() {
    let cdn = cdn().await;
    let port = cdn.address.port();
    let stub = sending(format!("http://cdn.invalid:{port}/blob?signature=secret")).await;
    pull(&client(), &stub.name()).await.unwrap();
    let seen = cdn.seen();
    assert_eq!((seen.len(), seen[0].query.as_str()), (1, "signature=secret"));
    assert_eq!(seen[0].authorization(), "");
    // the same host on another port is another host
    let stub = sending(format!("http://r.invalid:{port}/blob")).await;
    pull(&client(), &stub.name()).await.unwrap();
    assert_eq!(cdn.seen()[1].authorization(), "");
    // within the registry itself, relative or absolute, they go along
    for target in ["/here", "http://r.invalid:P/here"] {
        let stub = sending(target.to_owned()).await;
        pull(&client(), &stub.name()).await.unwrap();
        let last = stub.seen().pop().unwrap();
        assert_eq!(
            (last.path.as_str(), last.authorization()),
            ("/here", ALICE),
            "{target}"
        );
    }
}

#[tokio::test]
async fn who_was_sent_away_comes_back_as_a_stranger() {
    let image = Image::of("layer");
    let stub = Stub::start(move |seen| {
        let port = seen
            .header("host")
            .rsplit(':')
            .next()
            .unwrap_or_default()
            .to_owned();
        match (seen.path.as_str(), seen.authorization()) {
            ("/back", "") => reply(200, &[], image.layer.clone()),
            ("/back", _) => reply(500, &[], "credentials came back"),
            ("/away", _) => reply(307, &[("location", &format!("http://r.invalid:{port}/back"))], ""),
            (_, ALICE) => reply(
                307,
                &[("location", &format!("http://cdn.invalid:{port}/away"))],
                "",
            ),
            _ => reply(401, &[("www-authenticate", "Basic")], ""),
        }
    })
    .await;
    pull(&client(), &stub.name()).await.unwrap();
}

#[tokio::test]
async fn a_challenge_from_elsewhere_is_not_answered() {
    let cdn = Stub::start(|_| reply(401, &[("www-authenticate", "Basic")], "")).await;
    let stub = sending(format!("http://cdn.invalid:{}/blob", cdn.address.port())).await;
    assert_eq!(
        pull(&client(), &stub.name()).await.unwrap_err().reason(),
        Reason::Forbidden
    );
    assert!(cdn.seen().iter().all(|seen| seen.authorization().is_empty()));
    assert_eq!(cdn.seen().len(), 1);
}

#[tokio::test]
async fn loops_end() {
    let stub = Stub::start(|seen| reply(307, &[("location", &format!("{}x", seen.path))], "")).await;
    let error = client()
        .manifest(&stub.reference("a/b:v1"), &Keychain::anonymous(), soon())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::RedirectRefused);
    assert_eq!(stub.seen().len(), 11);
}

#[tokio::test]
async fn targets_inside_are_refused() {
    let inside = cdn().await;
    let port = inside.address.port();
    let table = [
        format!("http://127.0.0.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://2130706433:{port}/"),
        // a name that leads inside: known to every machine
        format!("http://localhost:{port}/"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "http://[fd00::1]/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ];
    for target in table {
        let stub = sending(target.clone()).await;
        let error = pull(&client(), &stub.name()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::RedirectRefused, "{target}: {error}");
    }
    assert_eq!(inside.seen().len(), 0);
    // a registry that is inside itself may send us to its neighbours, but never to a metadata service
    let stub = sending(format!("http://localhost:{port}/")).await;
    pull(&client(), &stub.host()).await.unwrap();
    let stub = sending("http://169.254.169.254/latest/meta-data".to_owned()).await;
    assert_eq!(
        pull(&client(), &stub.host()).await.unwrap_err().reason(),
        Reason::RedirectRefused
    );
}

#[tokio::test]
async fn https_never_becomes_http() {
    let cdn = cdn().await;
    let certificate = rcgen::generate_simple_self_signed(["secure.invalid".to_owned()]).unwrap();
    let target = format!("http://cdn.invalid:{}/blob?signature=secret", cdn.address.port());
    let stub = Stub::tls(&certificate, move |_| reply(307, &[("location", &target)], "")).await;
    let mut config = setup();
    config.ca_bundle = Some(certificate.cert.pem().into_bytes());
    config.resolve.insert("secure.invalid".to_owned(), stub.address);
    let host = format!("secure.invalid:{}", stub.address.port());
    let error = pull(&Client::new(config).unwrap(), &host).await.unwrap_err();
    assert_eq!(error.reason(), Reason::RedirectRefused);
    assert!(
        error.to_string().contains("plain HTTP") && !error.to_string().contains("signature"),
        "{error}"
    );
    assert_eq!(cdn.seen().len(), 0);
}

#[tokio::test]
async fn broken_redirects_are_told() {
    let broken: [Fault; 2] = [
        || reply(302, &[], ""),
        || reply(302, &[("location", "http://[broken")], ""),
    ];
    for answer in broken {
        let stub = Stub::start(move |_| answer()).await;
        let error = client()
            .manifest(&stub.reference("a/b:v1"), &Keychain::anonymous(), soon())
            .await
            .unwrap_err();
        assert_eq!(error.reason(), Reason::UnexpectedAnswer, "{error}");
    }
}
