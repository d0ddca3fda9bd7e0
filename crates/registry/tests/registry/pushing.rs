//! Uploads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use gantry_registry::{Keychain, Pushed, Reason};
use oci::Digest;

use crate::stub::*;

type Shelf = Arc<Mutex<BTreeMap<String, (String, Bytes)>>>;

/// A registry that keeps what is pushed, for whoever has a token that may push.
async fn registry(shelf: &Shelf) -> Stub {
    let shelf = Arc::clone(shelf);
    Stub::start(move |seen| {
        let host = seen.header("host").to_owned();
        if seen.path == "/token" {
            let may_push = seen.query.contains("pull%2Cpush");
            return reply(
                200,
                &[],
                format!(r#"{{"token":"{}"}}"#, if may_push { "push" } else { "pull" }),
            );
        }
        if seen.authorization() != "Bearer push" {
            let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
            return reply(401, &[("www-authenticate", &challenge)], "");
        }
        let mut shelf = shelf.lock().unwrap();
        match (seen.method.as_str(), seen.path.as_str()) {
            ("HEAD", path) => match shelf.get(path) {
                Some(_) => reply(200, &[], ""),
                None => not_found(),
            },
            ("POST", "/v2/a/b/blobs/uploads/") => {
                reply(202, &[("location", "/v2/a/b/blobs/uploads/id?_state=x%2By")], "")
            }
            ("PUT", "/v2/a/b/blobs/uploads/id") => {
                let digest = seen
                    .query
                    .strip_prefix("_state=x%2By&digest=sha256%3A")
                    .unwrap_or_default();
                shelf.insert(
                    format!("/v2/a/b/blobs/sha256:{digest}"),
                    (String::new(), seen.body.clone()),
                );
                reply(201, &[], "")
            }
            ("PUT", path) => {
                let content_type = seen.header("content-type").to_owned();
                shelf.insert(path.to_owned(), (content_type, seen.body.clone()));
                reply(
                    201,
                    &[("docker-content-digest", Digest::sha256(&seen.body).as_str())],
                    "",
                )
            }
            _ => not_found(),
        }
    })
    .await
}

#[tokio::test]
async fn blobs_then_the_manifest() {
    let shelf = Shelf::default();
    let stub = registry(&shelf).await;
    let (client, anonymous, image) = (client(), Keychain::anonymous(), Image::of("layer"));
    let reference = stub.reference("a/b:v1");
    let digest = Digest::sha256(&image.layer);
    for outcome in [Pushed::Uploaded, Pushed::Present] {
        let pushed = client
            .push_blob(&reference, &digest, image.layer.clone(), &anonymous, soon())
            .await;
        assert_eq!(pushed.unwrap(), outcome);
    }
    let pushed = client
        .push_manifest(
            &reference,
            image.media_type,
            image.manifest.clone(),
            &anonymous,
            soon(),
        )
        .await;
    assert_eq!(pushed.unwrap(), image.digest());
    let shelf = shelf.lock().unwrap();
    assert_eq!(
        shelf.get(&format!("/v2/a/b/blobs/{digest}")).unwrap().1,
        image.layer
    );
    assert_eq!(
        *shelf.get("/v2/a/b/manifests/v1").unwrap(),
        (image.media_type.to_owned(), image.manifest)
    );
}

#[tokio::test]
async fn wrong_digests_are_noticed() {
    let stub = registry(&Shelf::default()).await;
    let (client, anonymous, image) = (client(), Keychain::anonymous(), Image::of("layer"));
    let wrong = Digest::sha256(b"wrong");
    let reference = stub.reference("a/b:v1");
    let pushed = client
        .push_blob(&reference, &wrong, image.layer.clone(), &anonymous, soon())
        .await;
    assert_eq!(pushed.unwrap_err().reason(), Reason::DigestMismatch);
    let pinned = reference.with_digest(&wrong);
    let pushed = client
        .push_manifest(
            &pinned,
            image.media_type,
            image.manifest.clone(),
            &anonymous,
            soon(),
        )
        .await;
    assert_eq!(pushed.unwrap_err().reason(), Reason::DigestMismatch);
    assert_eq!(stub.seen().len(), 0);
    let lying = Stub::start(move |_| reply(201, &[("docker-content-digest", wrong.as_str())], "")).await;
    let reference = lying.reference("a/b:v1");
    let pushed = client
        .push_manifest(&reference, image.media_type, image.manifest, &anonymous, soon())
        .await;
    assert_eq!(pushed.unwrap_err().reason(), Reason::DigestMismatch);
}

#[tokio::test]
async fn uploads_elsewhere_get_no_credentials_and_no_plain_http() {
    let stub = Stub::start(|seen| match seen.method.as_str() {
        "HEAD" => not_found(),
        _ => reply(
            202,
            &[("location", "http://cdn.invalid/upload?signature=secret")],
            "",
        ),
    })
    .await;
    let (client, image) = (client(), Image::of("layer"));
    let digest = Digest::sha256(&image.layer);
    let pushed = client
        .push_blob(
            &stub.reference("a/b:v1"),
            &digest,
            image.layer,
            &Keychain::anonymous(),
            soon(),
        )
        .await;
    let error = pushed.unwrap_err();
    assert_eq!(error.reason(), Reason::RedirectRefused);
    assert!(!error.to_string().contains("secret"), "{error}");
}
