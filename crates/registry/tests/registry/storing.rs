//! What is left in the store, and what happens when it fails.

use std::path::Path;
use std::time::Duration;

use gantry_registry::{Keychain, Reason, Registry, Store, StoreConfig};
use oci::Digest;

use crate::fetching::{fetch, read, registry};
use crate::stub::*;

fn files(path: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| {
            if entry.path().is_dir() {
                files(&entry.path())
            } else {
                1
            }
        })
        .sum()
}

#[tokio::test]
async fn a_bad_layer_leaves_nothing_in_the_store() {
    let image = Image::of(noise(300_000));
    let bad: [(&str, Fault); 4] = [
        ("changed", || {
            let mut layer = noise(300_000).to_vec();
            layer[299_999] ^= 1;
            reply(200, &[], layer)
        }),
        ("longer", || {
            reply(200, &[], pieces(vec![noise(300_001)], Duration::ZERO, false))
        }),
        ("shorter", || reply(200, &[], noise(299_999))),
        ("broken off", || {
            reply(
                200,
                &[("content-length", "300000")],
                pieces(vec![noise(100)], Duration::ZERO, true),
            )
        }),
    ];
    for (name, answer) in bad {
        let (root, served) = (tempfile::tempdir().unwrap(), image.clone());
        let stub = Stub::start(move |seen| {
            if seen.path.contains("/blobs/") {
                answer()
            } else {
                served.serve(seen)
            }
        })
        .await;
        let registry = registry(root.path());
        let error = fetch(&registry, &stub.reference("a/b:v1"), &image.digest())
            .await
            .unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(Digest::sha256(&image.layer).as_str()),
            "{name}: {message}"
        );
        assert!(
            !registry.store().has_blob(&Digest::sha256(&image.layer)),
            "{name}"
        );
        assert_eq!(files(&root.path().join("tmp")), 0, "{name}");
    }
}

#[tokio::test]
async fn a_tampered_blob_is_fetched_again() {
    let root = tempfile::tempdir().unwrap();
    let image = Image::of(noise(10_000));
    let stub = image.clone().start().await;
    let (reference, registry) = (stub.reference("a/b:v1"), registry(root.path()));
    fetch(&registry, &reference, &image.digest()).await.unwrap();
    let folder = root.path().join("blobs/sha256");
    for entry in std::fs::read_dir(&folder).unwrap().flatten() {
        std::fs::write(entry.path(), "tampered").unwrap();
    }
    let content = fetch(&registry, &reference, &image.digest()).await.unwrap();
    assert_eq!(read(&content), [image.layer.to_vec()]);
    assert_eq!(
        (stub.count("GET", "/manifests/"), stub.count("GET", "/blobs/")),
        (2, 2)
    );
}

#[tokio::test]
async fn an_unwritable_store_never_fails_an_install() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let image = Image::of(noise(10_000));
    let stub = image.clone().start().await;
    let reference = stub.reference("a/b:v1");
    for store in [
        Store::open(&file.join("store"), StoreConfig::default()),
        Store::none(),
    ] {
        let registry = Registry::new(client(), store);
        registry
            .resolve(&reference, &Keychain::anonymous(), soon())
            .await
            .unwrap();
        let content = fetch(&registry, &reference, &image.digest()).await.unwrap();
        assert_eq!(read(&content), [image.layer.to_vec()]);
    }
    // a disk that breaks while the operator runs
    let root = tempfile::tempdir().unwrap();
    let registry = registry(root.path());
    std::fs::remove_dir_all(root.path()).unwrap();
    let content = fetch(&registry, &reference, &image.digest()).await.unwrap();
    assert_eq!(read(&content), [image.layer.to_vec()]);
}

#[tokio::test]
async fn many_at_once_fetch_once() {
    let root = tempfile::tempdir().unwrap();
    let image = Image::of(noise(200_000));
    let served = image.clone();
    let stub = Stub::start(move |seen| late(Duration::from_millis(30), served.serve(seen))).await;
    let (reference, registry, digest) = (stub.reference("a/b:v1"), registry(root.path()), image.digest());
    let all = futures::future::join_all((0..10).map(|_| fetch(&registry, &reference, &digest))).await;
    assert!(
        all.into_iter()
            .all(|content| read(&content.unwrap()) == [image.layer.to_vec()])
    );
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test]
async fn a_fetch_that_is_given_up_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let image = Image::of(noise(300_000));
    let served = image.clone();
    let stub = Stub::start(move |seen| {
        if seen.path.contains("/blobs/") {
            let parts = (0..300)
                .map(|part| served.layer.slice(part * 1_000..(part + 1) * 1_000))
                .collect();
            return reply(
                200,
                &[("content-length", "300000")],
                pieces(parts, Duration::from_millis(5), false),
            );
        }
        served.serve(seen)
    })
    .await;
    let (reference, registry, digest) = (stub.reference("a/b:v1"), registry(root.path()), image.digest());
    let short = gantry_registry::Deadline::after(Duration::from_millis(300));
    let error = registry
        .fetch(&reference, &digest, &Keychain::anonymous(), short)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::Timeout);
    assert_eq!(files(&root.path().join("tmp")), 0);
    // nobody is left waiting for the one who gave up
    let content = fetch(&registry, &reference, &digest).await.unwrap();
    assert_eq!(read(&content), [image.layer.to_vec()]);
}
