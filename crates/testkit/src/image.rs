//! OCI images as bytes, built by hand: the malformed ones too, and sharing no code with what is tested.

use std::io::Write;

use anyhow::Result;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// Media type of an OCI manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of a Docker manifest, which the reference's tools write.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// `sha256:` and the hex digits of the hash of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// Bytes with the digest and media type by which a manifest names them.
#[derive(Clone, Debug)]
pub struct Blob {
    /// What the manifest says its digest is. Normally true.
    pub digest: String,
    /// What the manifest says its media type is.
    pub media_type: String,
    /// Annotation `io.crossplane.xpkg`, if any.
    pub annotation: Option<String>,
    /// The content.
    pub bytes: Bytes,
}

impl Blob {
    /// A blob named by its true digest.
    pub fn new(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            digest: sha256(&bytes),
            media_type: media_type.to_owned(),
            annotation: None,
            bytes,
        }
    }

    /// A gzipped Docker layer with these tar entries.
    pub fn layer(entries: &[Entry]) -> Result<Self> {
        Ok(Self::new(DOCKER_LAYER, gzip(&tar(entries)?)?))
    }

    /// The layer of a package: one file `package.yaml` with this content, annotated `base`.
    pub fn package(yaml: &str) -> Result<Self> {
        Ok(Self::layer(&[Entry::file("package.yaml", yaml)])?.annotated("base"))
    }

    /// Sets the annotation `io.crossplane.xpkg`.
    pub fn annotated(mut self, value: &str) -> Self {
        self.annotation = Some(value.to_owned());
        self
    }

    fn descriptor(&self) -> Value {
        let mut descriptor =
            json!({ "mediaType": self.media_type, "size": self.bytes.len(), "digest": self.digest });
        if let (Some(value), Some(map)) = (&self.annotation, descriptor.as_object_mut()) {
            map.insert("annotations".to_owned(), json!({ "io.crossplane.xpkg": value }));
        }
        descriptor
    }
}

/// One entry of a tar archive, also of kinds that no package may have.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its path, written as it is: also absolute, also with `..`.
    pub path: String,
    /// What it is.
    pub kind: EntryType,
    /// Target of a link.
    pub link: Option<String>,
    /// Content of a file.
    pub content: Bytes,
}

impl Entry {
    /// A regular file.
    pub fn file(path: &str, content: impl AsRef<[u8]>) -> Self {
        let content = Bytes::copy_from_slice(content.as_ref());
        Self {
            path: path.to_owned(),
            kind: EntryType::Regular,
            link: None,
            content,
        }
    }

    /// A link (`EntryType::Symlink` or `EntryType::Link`).
    pub fn link(kind: EntryType, path: &str, target: &str) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            link: Some(target.to_owned()),
            content: Bytes::new(),
        }
    }

    /// A directory, device or fifo.
    pub fn special(kind: EntryType, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            link: None,
            content: Bytes::new(),
        }
    }
}

/// A tar archive with these entries, all times zero.
pub fn tar(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for entry in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(entry.kind);
        header.set_size(entry.content.len() as u64);
        header.set_mode(0o644);
        // By hand: the library refuses the paths that tests of refusals need.
        let raw = header.as_old_mut();
        for (slot, byte) in raw.name.iter_mut().zip(entry.path.bytes()) {
            *slot = byte;
        }
        for (slot, byte) in raw
            .linkname
            .iter_mut()
            .zip(entry.link.iter().flat_map(|l| l.bytes()))
        {
            *slot = byte;
        }
        header.set_cksum();
        archive.extend_from_slice(header.as_bytes());
        archive.extend_from_slice(&entry.content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    Ok(archive)
}

/// Gzip, the same bytes each time.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// A manifest with its config and layers.
#[derive(Clone, Debug)]
pub struct Image {
    /// Media type of the manifest.
    pub media_type: String,
    /// The manifest's bytes.
    pub manifest: Bytes,
    /// The config and the layers.
    pub blobs: Vec<Blob>,
}

impl Image {
    /// A Docker v2s2 image of these layers, as the reference's tools push it: annotations in the manifest,
    /// labels in the config.
    pub fn docker(layers: Vec<Blob>) -> Result<Self> {
        Self::assemble(layers, DOCKER_MANIFEST, DOCKER_CONFIG)
    }

    /// An OCI image of these layers.
    pub fn oci(mut layers: Vec<Blob>) -> Result<Self> {
        for layer in layers.iter_mut().filter(|l| l.media_type == DOCKER_LAYER) {
            OCI_LAYER.clone_into(&mut layer.media_type);
        }
        Self::assemble(layers, OCI_MANIFEST, OCI_CONFIG)
    }

    /// An image that this machine's containers can run; `config` as in an image's `config`: `Entrypoint`,
    /// `User`, `Env`.
    pub fn container(layer: Blob, config: Value) -> Result<Self> {
        let config = json!({
            "architecture": goarch(), "os": "linux", "created": "1970-01-01T00:00:00Z",
            "config": config,
            "rootfs": { "type": "layers", "diff_ids": [sha256(&inflated(&layer.bytes))] },
        });
        let config = Blob::new(OCI_CONFIG, serde_json::to_vec(&config)?);
        Self::new(config, vec![layer], OCI_MANIFEST)
    }

    /// The digest of the manifest: what the image is known by.
    pub fn digest(&self) -> String {
        sha256(&self.manifest)
    }

    fn assemble(layers: Vec<Blob>, media_type: &str, config_type: &str) -> Result<Self> {
        let labels: serde_json::Map<String, Value> = layers
            .iter()
            .filter_map(|l| {
                Some((
                    format!("io.crossplane.xpkg:{}", l.digest),
                    json!(l.annotation.as_ref()?),
                ))
            })
            .collect();
        let mut diff_ids = Vec::new();
        for layer in &layers {
            diff_ids.push(sha256(&inflated(&layer.bytes)));
        }
        let config = json!({
            "architecture": "", "os": "", "created": "0001-01-01T00:00:00Z",
            "config": { "Labels": labels },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": vec![json!({}); layers.len()],
        });
        Self::new(
            Blob::new(config_type, serde_json::to_vec(&config)?),
            layers,
            media_type,
        )
    }

    fn new(config: Blob, layers: Vec<Blob>, media_type: &str) -> Result<Self> {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        let mut blobs = vec![config];
        blobs.extend(layers);
        Ok(Self {
            media_type: media_type.to_owned(),
            manifest: serde_json::to_vec(&manifest)?.into(),
            blobs,
        })
    }
}

/// This machine's architecture, as images name it.
fn goarch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The bytes of an OCI index of these images, each for a platform such as `linux/arm64/v8`, or for none.
pub fn index(children: &[(&Image, Option<&str>)]) -> Result<Bytes> {
    let describe = |(image, platform): &(&Image, Option<&str>)| {
        let mut child = json!({
            "mediaType": image.media_type, "digest": image.digest(), "size": image.manifest.len(),
        });
        if let Some(platform) = platform {
            let mut parts = platform.split('/');
            child["platform"] = json!({ "os": parts.next(), "architecture": parts.next() });
            if let Some(variant) = parts.next() {
                child["platform"]["variant"] = json!(variant);
            }
        }
        child
    };
    let manifests: Vec<Value> = children.iter().map(describe).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
    Ok(serde_json::to_vec(&index)?.into())
}

/// How much of a layer is inflated to name its diff id: bombs need none that is true.
const DIFF_ID_BYTES: u64 = 256 << 20;

/// The content of a gzipped layer; of any other, its bytes.
fn inflated(bytes: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut out = Vec::new();
    match flate2::read::MultiGzDecoder::new(bytes)
        .take(DIFF_ID_BYTES)
        .read_to_end(&mut out)
    {
        Ok(_) => out,
        Err(_) => bytes.to_vec(),
    }
}
