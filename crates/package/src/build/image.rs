//! The image that a package is: config, layers, manifest.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder};
use oci::{Descriptor, Digest, Index, Manifest, Platform, annotation, media_type};
use serde_json::{Map, Value, json};

use crate::object::write_canonical;

/// Which media types a manifest states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Docker schema 2, as the reference writes.
    #[default]
    Docker,
    /// OCI.
    Oci,
}

/// One layer, compressed with gzip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Digest of `bytes`.
    pub digest: Digest,
    /// Digest of the tar inside.
    pub diff_id: Digest,
    /// The compressed tar.
    pub bytes: Vec<u8>,
}

/// A manifest or index, ready to be pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestBlob {
    /// Its media type.
    pub media_type: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
}

/// An image: a config and its layers, lowest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The config, kept as it is but for labels, history and layers, since it may be that of a runtime image.
    pub(super) config: Value,
    pub(super) layers: Vec<Layer>,
}

impl Default for Image {
    /// An image without layers, for no platform: what a package without runtime is built on. The time is Go's
    /// zero time, as in the reference (spec: format 1.5).
    fn default() -> Self {
        let config = json!({
            "architecture": "", "os": "", "created": "0001-01-01T00:00:00Z", "config": {}, "history": [],
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        Self {
            config,
            layers: Vec::new(),
        }
    }
}

impl Layer {
    /// A layer that holds one file. Owner, time and compression are fixed, so the same content gives the same
    /// digest.
    pub(super) fn of_file(path: &str, content: &[u8]) -> Self {
        let mut tar = tar::Builder::new(Vec::with_capacity(content.len() + 2048));
        // Can only fail for paths longer than a header has room for; ours are constants.
        if let Ok(header) = plain_header(path, content.len()) {
            let _ = tar.append(&header, content);
        }
        Self::of_tar(&tar.into_inner().unwrap_or_default())
    }

    /// Compresses a tar.
    pub(super) fn of_tar(tar: &[u8]) -> Self {
        // Writing into memory does not fail.
        let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(6));
        let _ = encoder.write_all(tar);
        let bytes = encoder.finish().unwrap_or_default();
        Self {
            digest: Digest::sha256(&bytes),
            diff_id: Digest::sha256(tar),
            bytes,
        }
    }
}

impl Image {
    /// The layers, lowest first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The config as JSON.
    pub fn config(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_canonical(&self.config, &mut bytes);
        bytes
    }

    /// Adds a layer on top, with the label that says what it is.
    pub(super) fn push(&mut self, layer: Layer, value: &str) {
        let label = label_of(&layer.digest);
        object_at(&mut self.config, &["config", "Labels"]).insert(label, Value::from(value));
        array_at(&mut self.config, &["history"]).push(json!({}));
        let rootfs = object_at(&mut self.config, &["rootfs"]);
        rootfs.insert("type".to_owned(), Value::from("layers"));
        array_at(&mut self.config, &["rootfs", "diff_ids"]).push(Value::from(layer.diff_id.as_str()));
        self.layers.push(layer);
    }

    /// The manifest: layers that a label of the config tells about get that as annotation (spec: format 1.4).
    pub fn manifest(&self, format: Format, annotations: &BTreeMap<String, String>) -> ManifestBlob {
        let (manifest_type, config_type, layer_type) = match format {
            Format::Docker => (
                media_type::DOCKER_MANIFEST,
                media_type::DOCKER_CONFIG,
                media_type::DOCKER_LAYER_GZIP,
            ),
            Format::Oci => (
                media_type::OCI_MANIFEST,
                media_type::OCI_CONFIG,
                media_type::OCI_LAYER_GZIP,
            ),
        };
        let config = self.config();
        let layers = self.layers.iter().map(|layer| {
            let mut descriptor = Descriptor::new(layer_type, layer.digest.clone(), layer.bytes.len() as u64);
            if let Some(value) = self.label(&label_of(&layer.digest)) {
                descriptor
                    .annotations
                    .insert(annotation::XPKG.to_owned(), value.to_owned());
            }
            descriptor
        });
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(manifest_type.to_owned()),
            artifact_type: None,
            config: Descriptor::new(config_type, Digest::sha256(&config), config.len() as u64),
            layers: layers.collect(),
            subject: None,
            annotations: annotations.clone(),
        };
        ManifestBlob::of(manifest_type, &manifest)
    }

    /// The platform that the config states; `None` if it states none, as that of a Configuration.
    pub fn platform(&self) -> Option<Platform> {
        let text = |key: &str| {
            self.config
                .get(key)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let owned = |key: &str| text(key).map(str::to_owned);
        (text("architecture").is_some() || text("os").is_some()).then(|| Platform {
            architecture: owned("architecture").unwrap_or_default(),
            os: owned("os").unwrap_or_default(),
            variant: owned("variant"),
            os_version: owned("os.version"),
        })
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.config.get("config")?.get("Labels")?.get(key)?.as_str()
    }
}

impl ManifestBlob {
    fn of(media_type: &'static str, content: &impl serde::Serialize) -> Self {
        // These types have nothing that JSON can't say.
        let bytes = serde_json::to_vec(content).unwrap_or_default();
        Self {
            media_type,
            digest: Digest::sha256(&bytes),
            bytes,
        }
    }

    /// A descriptor that points at it.
    pub fn descriptor(&self, platform: Option<Platform>) -> Descriptor {
        let mut descriptor = Descriptor::new(self.media_type, self.digest.clone(), self.bytes.len() as u64);
        descriptor.platform = platform;
        descriptor
    }
}

/// An index of several images of one package, one per platform. It is OCI whatever its children are, as in
/// the reference.
pub fn index(children: Vec<Descriptor>, annotations: &BTreeMap<String, String>) -> ManifestBlob {
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        artifact_type: None,
        manifests: children,
        annotations: annotations.clone(),
    };
    ManifestBlob::of(media_type::OCI_INDEX, &index)
}

fn label_of(digest: &Digest) -> String {
    format!("{}:{digest}", annotation::XPKG)
}

/// The value at `path`, made an object wherever it is not one.
fn object_at<'v>(value: &'v mut Value, path: &[&str]) -> &'v mut Map<String, Value> {
    let mut at = value;
    for key in path {
        at = as_object(at).entry(*key).or_insert(Value::Null);
    }
    as_object(at)
}

fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// The value at `path`, made an array if it is not one.
fn array_at<'v>(value: &'v mut Value, path: &[&str]) -> &'v mut Vec<Value> {
    let (last, parents) = path.split_last().unwrap_or((&"", &[]));
    let slot = object_at(value, parents).entry(*last).or_insert(Value::Null);
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    match slot {
        Value::Array(items) => items,
        _ => unreachable!("made an array above"),
    }
}

/// Header of a file in a tar: the same for the same path and size, whoever builds, when and where.
///
/// # Errors
/// If the path is longer than a header has room for.
pub(super) fn plain_header(path: &str, size: usize) -> io::Result<tar::Header> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path)?;
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}
