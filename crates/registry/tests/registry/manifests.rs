//! HEAD and GET of manifests.

use std::time::Duration;

use axum::body::Bytes;
use gantry_registry::{Error, Keychain, Reason, limits};
use oci::{Algorithm, Digest, media_type};

use crate::stub::*;

type Headers = Vec<(&'static str, String)>;

#[tokio::test]
async fn head_tells_what_a_tag_is() {
    let image = Image::of("layer");
    let stub = image.clone().start().await;
    let described = client()
        .head(&stub.reference("acme/pkg:v1"), &Keychain::anonymous(), soon())
        .await
        .unwrap();
    assert_eq!(described.digest, image.digest());
    assert_eq!(
        (described.media_type.as_str(), described.size),
        (image.media_type, image.manifest.len() as u64)
    );
    let seen = stub.seen();
    assert_eq!(
        (seen.len(), seen[0].method.as_str()),
        (1, "HEAD"),
        "one request, and no ping"
    );
    assert_eq!(seen[0].header("accept"), media_type::ACCEPTED.join(", "));
    assert!(
        seen[0].header("user-agent").starts_with("gantry/"),
        "{}",
        seen[0].header("user-agent")
    );
}

#[tokio::test]
async fn head_falls_back_to_get() {
    let image = Image::of("layer");
    let wrong = Digest::sha256(b"wrong").to_string();
    let broken: Vec<(&str, u16, Headers)> = vec![
        ("404", 404, vec![]),
        ("405", 405, vec![]),
        (
            "no digest",
            200,
            vec![("content-type", image.media_type.to_owned())],
        ),
        (
            "bad digest",
            200,
            vec![("docker-content-digest", "sha256:xyz".to_owned())],
        ),
        ("no type", 200, vec![("docker-content-digest", wrong.clone())]),
    ];
    for (name, status, headers) in broken {
        let served = image.clone();
        let stub = Stub::start(move |seen| {
            if seen.method != "HEAD" {
                return served.serve(seen);
            }
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            reply(status, &headers, "")
        })
        .await;
        let described = client()
            .head(&stub.reference("a/b:v1"), &Keychain::anonymous(), soon())
            .await
            .unwrap();
        assert_eq!(described.digest, image.digest(), "{name}");
        assert_eq!(stub.count("GET", "manifests/v1"), 1, "{name}");
    }
    // by digest, a header that names another one isn't believed
    let served = image.clone();
    let stub = Stub::start(move |seen| {
        let mut answer = served.serve(seen);
        answer
            .headers_mut()
            .insert("docker-content-digest", wrong.parse().unwrap());
        answer
    })
    .await;
    let pinned = stub.reference("a/b:v1").with_digest(&image.digest());
    assert_eq!(
        client()
            .head(&pinned, &Keychain::anonymous(), soon())
            .await
            .unwrap()
            .digest,
        image.digest()
    );
}

#[tokio::test]
async fn get_keeps_the_exact_bytes() {
    for media_type in [media_type::DOCKER_MANIFEST, media_type::OCI_MANIFEST] {
        let mut image = Image::of("layer");
        image.manifest = manifest(media_type, &[image.descriptor()]);
        image.media_type = media_type;
        let stub = image.clone().start().await;
        let raw = client()
            .manifest(&stub.reference("a/b:v1"), &Keychain::anonymous(), soon())
            .await
            .unwrap();
        assert_eq!(
            (raw.bytes, raw.digest.clone()),
            (image.manifest.clone(), image.digest())
        );
        assert_eq!(raw.media_type, media_type);
    }
    let index = Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#);
    for (declared, expected) in [
        (
            "application/vnd.oci.image.index.v1+json; charset=utf-8",
            media_type::OCI_INDEX,
        ),
        (media_type::DOCKER_LIST, media_type::DOCKER_LIST),
        ("application/json", media_type::OCI_INDEX),
    ] {
        let body = index.clone();
        let stub = Stub::start(move |_| reply(200, &[("content-type", declared)], body.clone())).await;
        let raw = client()
            .manifest(&stub.reference("a/b:v1"), &Keychain::anonymous(), soon())
            .await
            .unwrap();
        assert_eq!(raw.media_type, expected, "{declared}");
    }
}

#[tokio::test]
async fn get_by_digest_checks_it() {
    let image = Image::of("layer");
    let served = image.clone();
    // whatever is asked for, one manifest is given, with a header that says what was asked for
    let stub = Stub::start(move |seen| {
        let asked = seen.path.rsplit('/').next().unwrap_or_default();
        let headers = [
            ("content-type", served.media_type),
            ("docker-content-digest", asked),
        ];
        reply(200, &headers, served.manifest.clone())
    })
    .await;
    let get = async |digest: &Digest| {
        let reference = stub.reference("a/b:v1").with_digest(digest);
        client()
            .manifest(&reference, &Keychain::anonymous(), soon())
            .await
    };
    let sha512 = Digest::of(Algorithm::Sha512, &image.manifest);
    assert_eq!(get(&sha512).await.unwrap().digest, sha512);
    let error = get(&Digest::sha256(b"other")).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DigestMismatch);
    let message = error.to_string();
    assert!(
        message.contains(image.digest().as_str()) && message.contains(&stub.host()),
        "{message}"
    );
}

#[tokio::test]
async fn bad_manifests_are_refused() {
    let image = Image::of("layer");
    let json = |text: &str| Bytes::from(text.to_owned());
    let table = [
        (
            media_type::OCI_INDEX,
            image.manifest.clone(),
            Reason::UnsupportedMediaType,
        ),
        ("text/html", json("<html>"), Reason::InvalidManifest),
        (
            media_type::DOCKER_SCHEMA1_SIGNED,
            json("{\"schemaVersion\":1}"),
            Reason::UnsupportedMediaType,
        ),
        (media_type::OCI_MANIFEST, json("{}"), Reason::InvalidManifest),
        (
            media_type::OCI_MANIFEST,
            json("{\"schemaVersion\":2,\"layers\":[],\"manifests\":[]}"),
            Reason::InvalidManifest,
        ),
        (
            media_type::OCI_MANIFEST,
            json(&"[".repeat(100_000)),
            Reason::InvalidManifest,
        ),
    ];
    for (declared, body, reason) in table {
        let stub = Stub::start(move |_| reply(200, &[("content-type", declared)], body.clone())).await;
        let error = client()
            .manifest(&stub.reference("a/b:v1"), &Keychain::anonymous(), soon())
            .await
            .unwrap_err();
        assert_eq!(error.reason(), reason, "{declared}: {error}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn giant_manifests_are_refused_without_being_read() {
    let limit = usize::try_from(limits::MAX_MANIFEST_BYTES).unwrap();
    // announced, and endless without announcement
    let announced = Stub::start(move |_| reply(200, &[], vec![b' '; limit + 1])).await;
    let endless = Stub::start(move |_| {
        let piece = Bytes::from(vec![b' '; 1 << 20]);
        reply(200, &[], pieces(vec![piece; 100], Duration::ZERO, false))
    })
    .await;
    for stub in [&announced, &endless] {
        let error = client()
            .manifest(&stub.reference("a/b:v1"), &Keychain::anonymous(), soon())
            .await
            .unwrap_err();
        assert_eq!(error.reason(), Reason::TooLarge);
        assert!(error.to_string().contains("4194304"), "{error}");
    }
    // exactly the limit passes
    let mut body = Image::of("layer").manifest.to_vec();
    body.resize(limit, b' ');
    let exact = Stub::start(move |_| {
        reply(
            200,
            &[("content-type", media_type::DOCKER_MANIFEST)],
            body.clone(),
        )
    })
    .await;
    client()
        .manifest(&exact.reference("a/b:v1"), &Keychain::anonymous(), soon())
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_missing_or_forbidden_is_told_apart() {
    for (status, reason) in [
        (404, Reason::NotFound),
        (403, Reason::Forbidden),
        (418, Reason::UnexpectedAnswer),
    ] {
        let stub = Stub::start(move |_| {
            reply(
                status,
                &[],
                r#"{"errors":[{"code":"NAME_UNKNOWN","message":"say\nso"}]}"#,
            )
        })
        .await;
        let reference = stub.reference("acme/pkg:v1");
        let error = client()
            .manifest(&reference, &Keychain::anonymous(), soon())
            .await
            .unwrap_err();
        assert_eq!(error.reason(), reason);
        let message = error.to_string();
        assert!(
            message.contains(reference.as_str()) && message.contains("NAME_UNKNOWN, say so"),
            "{message}"
        );
        assert_eq!(stub.count("GET", ""), 1, "never tried again");
    }
    for body in [
        "",
        "<html>no</html>",
        "\u{0}\u{1}",
        "{\"errors\":[]}",
        "{\"errors\":[{}]}",
    ] {
        let stub = Stub::start(move |_| reply(404, &[], body)).await;
        let error = client()
            .manifest(&stub.reference("a/b:v1"), &Keychain::anonymous(), soon())
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::NotFound { what, .. } if what == "tag \"v1\""),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_manifest_that_breaks_off_is_fetched_again() {
    let image = Image::of("layer");
    let served = image.clone();
    let stub = Stub::start(move |seen| match seen.nth {
        0 | 1 => {
            let part = served.manifest.slice(..served.manifest.len() / 2);
            reply(
                200,
                &[("content-type", served.media_type)],
                pieces(vec![part], Duration::ZERO, true),
            )
        }
        _ => served.serve(seen),
    })
    .await;
    let raw = client()
        .manifest(&stub.reference("a/b:v1"), &Keychain::anonymous(), soon())
        .await
        .unwrap();
    assert_eq!(raw.digest, image.digest());
    assert_eq!(stub.count("GET", "manifests"), 3);
}
