//! The same registry read by this client and by an independent one.

use gantry_registry::Keychain;
use oci::media_type;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;

use crate::stub::*;

#[tokio::test]
async fn both_clients_see_the_same() {
    for media_type in [media_type::DOCKER_MANIFEST, media_type::OCI_MANIFEST] {
        let mut image = Image::of(noise(70_000));
        image.manifest = manifest(media_type, &[image.descriptor()]);
        image.media_type = media_type;
        let (served, tokens) = (image.clone(), std::sync::atomic::AtomicUsize::new(0));
        // tokens and a redirect in between, as real registries have them
        let stub = Stub::start(move |seen| {
            let host = seen.header("host");
            if seen.path == "/token" {
                tokens.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                return reply(200, &[], r#"{"token":"t","expires_in":300}"#);
            }
            if seen.path.starts_with("/storage/") {
                return reply(200, &[], served.layer.clone());
            }
            if seen.authorization() != "Bearer t" {
                let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"svc\"");
                return reply(401, &[("www-authenticate", &challenge)], "");
            }
            if seen.path.contains("/blobs/") {
                return reply(307, &[("location", "/storage/x")], "");
            }
            served.serve(seen)
        })
        .await;

        let (ours, reference, anonymous) = (client(), stub.reference("a/b:v1"), Keychain::anonymous());
        let config = ClientConfig {
            protocol: ClientProtocol::Http,
            ..ClientConfig::default()
        };
        let theirs = oci_client::Client::try_from(config).unwrap();
        let image_name: oci_client::Reference = reference.as_str().parse().unwrap();

        let head = ours.head(&reference, &anonymous, soon()).await.unwrap();
        let digest = theirs
            .fetch_manifest_digest(&image_name, &RegistryAuth::Anonymous)
            .await
            .unwrap();
        assert_eq!(head.digest.as_str(), digest);

        let raw = ours.manifest(&reference, &anonymous, soon()).await.unwrap();
        let accepted = [media_type];
        let (bytes, digest) = theirs
            .pull_manifest_raw(&image_name, &RegistryAuth::Anonymous, &accepted)
            .await
            .unwrap();
        assert_eq!((raw.bytes, raw.digest.as_str()), (bytes, digest.as_str()));

        let (mut mine, mut other) = (Vec::new(), Vec::new());
        ours.blob(&reference, &image.descriptor(), &anonymous, soon(), &mut mine)
            .await
            .unwrap();
        let layer = image.descriptor().digest.to_string();
        let descriptor = oci_client::manifest::OciDescriptor {
            digest: layer,
            size: image.layer.len() as i64,
            ..Default::default()
        };
        theirs
            .pull_blob(&image_name, &descriptor, &mut other)
            .await
            .unwrap();
        assert_eq!(mine, other);
    }
}
