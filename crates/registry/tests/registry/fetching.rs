//! Client and store together.

use std::io::Read as _;
use std::path::Path;

use axum::body::Bytes;
use gantry_registry::{Client, Content, Error, Keychain, Reason, Registry, Store, StoreConfig, limits};
use oci::{Descriptor, Digest, Reference, media_type};

use crate::stub::*;

pub(crate) fn registry(root: &Path) -> Registry {
    Registry::new(client(), Store::open(root, StoreConfig::default()))
}

pub(crate) async fn fetch(
    registry: &Registry,
    reference: &Reference,
    digest: &Digest,
) -> Result<Content, Error> {
    registry
        .fetch(reference, digest, &Keychain::anonymous(), soon())
        .await
}

pub(crate) fn read(content: &Content) -> Vec<Vec<u8>> {
    let read = |layer: &gantry_registry::FetchedLayer| {
        let mut bytes = Vec::new();
        layer.blob.reader().read_to_end(&mut bytes).unwrap();
        bytes
    };
    content.layers.iter().map(read).collect()
}

/// A registry with any number of manifests and blobs, by digest; a tag gives the last manifest.
async fn holding(manifests: Vec<(&'static str, Bytes)>, blobs: Vec<Bytes>) -> Stub {
    Stub::start(move |seen| {
        let name = seen.path.rsplit('/').next().unwrap_or_default();
        let by_digest = |(_, bytes): &&(&str, Bytes)| Digest::sha256(bytes).as_str() == name;
        if seen.path.contains("/manifests/") {
            let found = manifests
                .iter()
                .find(by_digest)
                .or(manifests.last().filter(|_| !name.contains(':')));
            return match found {
                Some((media_type, bytes)) => reply(200, &[("content-type", media_type)], bytes.clone()),
                None => not_found(),
            };
        }
        match blobs.iter().find(|bytes| Digest::sha256(bytes).as_str() == name) {
            Some(bytes) => reply(200, &[], bytes.clone()),
            None => not_found(),
        }
    })
    .await
}

fn child(media_type: &str, manifest: &Bytes, platform: &str) -> serde_json::Value {
    let descriptor = Descriptor::new(media_type, Digest::sha256(manifest), manifest.len() as u64);
    let mut value = serde_json::to_value(descriptor).unwrap();
    if let Some((os, architecture)) = platform.split_once('/') {
        value["platform"] = serde_json::json!({ "os": os, "architecture": architecture });
    }
    value
}

fn index(children: &[serde_json::Value]) -> Bytes {
    let value =
        serde_json::json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": children });
    Bytes::from(value.to_string())
}

#[tokio::test]
async fn the_second_fetch_needs_no_network() {
    let root = tempfile::tempdir().unwrap();
    let image = Image::of(noise(300_000));
    let stub = image.clone().start().await;
    let reference = stub.reference("acme/pkg:v1");
    let registry = registry(root.path());
    let digest = registry
        .resolve(&reference, &Keychain::anonymous(), soon())
        .await
        .unwrap();
    assert_eq!(digest, image.digest());
    let content = fetch(&registry, &reference, &digest).await.unwrap();
    assert!(content.has_base());
    assert_eq!(
        (content.digest.clone(), content.child.clone()),
        (digest.clone(), digest.clone())
    );
    assert_eq!(read(&content), [image.layer.to_vec()]);
    assert_eq!(stub.seen().len(), 3, "one HEAD, one manifest, one layer");
    drop(stub);
    let again = fetch(&registry, &reference, &digest).await.unwrap();
    assert_eq!(read(&again), [image.layer.to_vec()]);
    // pull policy Never, by another process
    let registry = self::registry(root.path());
    assert_eq!(registry.resolve_stored(&reference).await.unwrap(), digest);
    assert_eq!(
        read(&registry.fetch_stored(&reference, &digest).await.unwrap()),
        [image.layer.to_vec()]
    );
    let pinned = reference.with_digest(&digest);
    assert_eq!(
        registry
            .resolve(&pinned, &Keychain::anonymous(), soon())
            .await
            .unwrap(),
        digest
    );
    let error = registry
        .resolve_stored(&Reference::parse("r.invalid/other:v1").unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::StoreMiss);
    let error = registry
        .fetch_stored(&reference, &Digest::sha256(b"other"))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::StoreMiss);
}

#[tokio::test]
async fn only_the_marked_layer_is_fetched() {
    let (root, base, runtime) = (tempfile::tempdir().unwrap(), noise(1_000), noise(5_000));
    let plain = Descriptor::new(media_type::OCI_LAYER, Digest::sha256(&runtime), 5_000);
    let image = manifest(media_type::OCI_MANIFEST, &[plain, layer_descriptor(&base)]);
    let digest = Digest::sha256(&image);
    let stub = holding(
        vec![(media_type::OCI_MANIFEST, image)],
        vec![base.clone(), runtime],
    )
    .await;
    let content = fetch(&registry(root.path()), &stub.reference("a/b:v1"), &digest)
        .await
        .unwrap();
    assert_eq!(read(&content), [base.to_vec()]);
    assert!(content.layers[0].annotated_base);
    assert_eq!(stub.count("GET", "/blobs/"), 1);
}

#[tokio::test]
async fn without_a_mark_all_layers_come_in_order() {
    let root = tempfile::tempdir().unwrap();
    let blobs: Vec<Bytes> = [30_000, 10, 20, 10, 40].map(noise).to_vec();
    let descriptors: Vec<Descriptor> = blobs
        .iter()
        .map(|blob| {
            Descriptor::new(
                media_type::OCI_LAYER_GZIP,
                Digest::sha256(blob),
                blob.len() as u64,
            )
        })
        .collect();
    let image = manifest(media_type::OCI_MANIFEST, &descriptors);
    let digest = Digest::sha256(&image);
    let stub = holding(vec![(media_type::OCI_MANIFEST, image)], blobs.clone()).await;
    let content = fetch(&registry(root.path()), &stub.reference("a/b:v1"), &digest)
        .await
        .unwrap();
    assert!(!content.has_base());
    assert_eq!(read(&content), blobs);
    assert_eq!(
        stub.count("GET", "/blobs/"),
        4,
        "a layer that comes twice is fetched once"
    );
}

#[tokio::test]
async fn an_index_leads_to_its_child() {
    let layer = noise(1_000);
    let amd = manifest(media_type::DOCKER_MANIFEST, &[layer_descriptor(&layer)]);
    let arm = manifest(media_type::OCI_MANIFEST, &[layer_descriptor(&layer)]);
    let other = manifest(media_type::OCI_MANIFEST, &[layer_descriptor(b"other")]);
    let (docker, oci) = (media_type::DOCKER_MANIFEST, media_type::OCI_MANIFEST);
    let nested = index(&[child(docker, &amd, "linux/amd64")]);
    // index, the image chosen
    let table = [
        (
            index(&[
                child(oci, &other, "linux/arm64"),
                child(docker, &amd, "linux/amd64"),
            ]),
            Some(&amd),
        ),
        (index(&[child(oci, &arm, "linux/arm64")]), Some(&arm)),
        (index(&[child(oci, &arm, "")]), Some(&arm)),
        (
            index(&[
                child(oci, &arm, "linux/arm64"),
                child(docker, &amd, "linux/ppc64le"),
            ]),
            Some(&arm),
        ),
        (
            index(&[
                child(oci, &arm, "linux/arm64"),
                child(oci, &other, "linux/ppc64le"),
            ]),
            None,
        ),
        (index(&[child(media_type::OCI_INDEX, &nested, "")]), Some(&amd)),
        (index(&[]), None),
    ];
    for (number, (index, expected)) in table.into_iter().enumerate() {
        let root = tempfile::tempdir().unwrap();
        let digest = Digest::sha256(&index);
        let manifests = vec![
            (docker, amd.clone()),
            (oci, arm.clone()),
            (oci, other.clone()),
            (media_type::OCI_INDEX, nested.clone()),
            (media_type::OCI_INDEX, index),
        ];
        let stub = holding(manifests, vec![layer.clone()]).await;
        let reference = stub.reference("a/b:v1");
        let registry = registry(root.path());
        match (fetch(&registry, &reference, &digest).await, expected) {
            (Ok(content), Some(expected)) => {
                assert_eq!(
                    (content.child, &content.digest),
                    (Digest::sha256(expected), &digest),
                    "{number}"
                );
                drop(stub);
                fetch(&registry, &reference, &digest).await.unwrap();
            }
            (Err(error), None) => assert_eq!(error.reason(), Reason::NoPlatform, "{number}"),
            (outcome, _) => panic!("{number}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn endless_nesting_ends() {
    let root = tempfile::tempdir().unwrap();
    let mut manifests = vec![(media_type::OCI_INDEX, index(&[]))];
    for _ in 0..6 {
        let inner = &manifests.last().unwrap().1;
        manifests.push((
            media_type::OCI_INDEX,
            index(&[child(media_type::OCI_INDEX, inner, "")]),
        ));
    }
    let digest = Digest::sha256(&manifests.last().unwrap().1);
    let stub = holding(manifests, vec![]).await;
    let error = fetch(&registry(root.path()), &stub.reference("a/b:v1"), &digest)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::TooLarge, "{error}");
    assert_eq!(stub.seen().len(), 1 + oci::limits::MAX_INDEX_DEPTH);
}

#[tokio::test]
async fn limits_are_checked_before_anything_is_downloaded() {
    let sized = |size: u64, number: u64| {
        Descriptor::new(media_type::OCI_LAYER, Digest::sha256(&number.to_le_bytes()), size)
    };
    let mut base = sized(limits::MAX_BASE_LAYER_BYTES + 1, 0);
    base.annotations = layer_descriptor(b"").annotations;
    let images = [
        vec![base],
        vec![sized(limits::MAX_LAYER_BYTES + 1, 0)],
        vec![
            sized(limits::MAX_LAYER_BYTES, 0),
            sized(limits::MAX_LAYER_BYTES, 1),
            sized(1, 2),
        ],
        (0..=limits::MAX_LAYERS as u64)
            .map(|number| sized(1, number))
            .collect(),
        vec![sized(u64::MAX, 0), sized(u64::MAX, 1)],
    ];
    for layers in images {
        let root = tempfile::tempdir().unwrap();
        let image = manifest(media_type::OCI_MANIFEST, &layers);
        let digest = Digest::sha256(&image);
        let stub = holding(vec![(media_type::OCI_MANIFEST, image)], vec![]).await;
        let error = fetch(&registry(root.path()), &stub.reference("a/b:v1"), &digest)
            .await
            .unwrap_err();
        assert_eq!(error.reason(), Reason::TooLarge, "{error}");
        assert_eq!(stub.count("GET", "/blobs/"), 0);
    }
}

#[tokio::test]
async fn a_manifest_of_another_size_than_its_parent_says_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let image = Image::of("layer");
    let mut lying = child(image.media_type, &image.manifest, "linux/amd64");
    lying["size"] = (image.manifest.len() + 1).into();
    let index = index(&[lying]);
    let digest = Digest::sha256(&index);
    let manifests = vec![
        (image.media_type, image.manifest.clone()),
        (media_type::OCI_INDEX, index),
    ];
    let stub = holding(manifests, vec![]).await;
    let error = fetch(&registry(root.path()), &stub.reference("a/b:v1"), &digest)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::SizeMismatch, "{error}");
}

#[tokio::test]
async fn clients_are_cheap_to_share() {
    let client = client();
    let clone: Client = client.clone();
    drop(client);
    let stub = Image::of("layer").start().await;
    tokio::spawn(async move {
        clone
            .head(&stub.reference("a/b:v1"), &Keychain::anonymous(), soon())
            .await
            .unwrap();
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_tag_that_moves_between_resolve_and_fetch_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (old, new) = (Image::of("old"), Image::of("new"));
    let (first, second) = (old.clone(), new);
    let stub = Stub::start(move |seen| {
        let by_tag = seen.path.ends_with("/manifests/v1");
        match first.serve(seen) {
            // the tag is the old image once, the new one ever after
            answer if by_tag && seen.nth == 0 => answer,
            _ if by_tag => second.serve(seen),
            answer if answer.status() == 200 => answer,
            _ => second.serve(seen),
        }
    })
    .await;
    let (reference, registry) = (stub.reference("a/b:v1"), registry(root.path()));
    let digest = registry
        .resolve(&reference, &Keychain::anonymous(), soon())
        .await
        .unwrap();
    let content = fetch(&registry, &reference, &digest).await.unwrap();
    assert_eq!(
        (content.digest.clone(), read(&content)),
        (old.digest(), vec![b"old".to_vec()])
    );
    assert_ne!(
        registry
            .resolve(&reference, &Keychain::anonymous(), soon())
            .await
            .unwrap(),
        digest
    );
}
