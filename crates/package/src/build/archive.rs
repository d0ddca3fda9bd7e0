//! Package files (`.xpkg`) and runtime images: tars as `docker save` writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read, Seek, Write};

use oci::{Config, Digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::image::{Image, Layer, plain_header};
use crate::error::Error;
use crate::layer::{LayerError, inflate, inflated_digest, walk_plain};
use crate::limits::{MAX_ARCHIVE_ENTRY_BYTES, MAX_ARCHIVE_JSON_BYTES, MAX_ARCHIVE_LINKS, MAX_LAYERS};
use crate::text::shorten;

const MANIFEST: &str = "manifest.json";

/// An image read from a file.
#[derive(Debug)]
pub struct Archive {
    /// The image.
    pub image: Image,
    /// Names that the file gives it; none in a package file.
    pub tags: Vec<String>,
}

/// Why a file is not a usable image.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The tar is damaged or hostile, or can't be read.
    #[error("the file can't be read as a tar; build or save it again")]
    Tar(#[source] Error),
    /// There is no list of images in it.
    #[error("the file has no manifest.json; it must be written by `gantry build` or `docker save`")]
    NoManifest,
    /// One of its JSON documents is not what it should be.
    #[error("{name} in the file is not valid")]
    Json {
        /// Name of the entry.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// There are several images in it, or none.
    #[error("the file has {0} images; it must have exactly one")]
    NotOneImage(usize),
    /// An entry is missing.
    #[error("{0} is missing in the file")]
    Missing(String),
    /// An entry is too large.
    #[error("{name} in the file has more than {most} bytes")]
    TooLarge {
        /// Name of the entry.
        name: String,
        /// The bound.
        most: u64,
    },
    /// Links lead in a circle.
    #[error("{0} in the file is a link that leads nowhere")]
    Links(String),
    /// Config and list disagree about the layers.
    #[error("the config names {config} layers, manifest.json {manifest}")]
    LayerCount {
        /// Layers in the config.
        config: usize,
        /// Layers in the list.
        manifest: usize,
    },
    /// A layer is not what the config says.
    #[error("layer {name} in the file is {found}, not {wanted} as its config says")]
    DiffId {
        /// Name of the entry.
        name: String,
        /// Digest in the config.
        wanted: String,
        /// Digest of the content.
        found: Digest,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Writes an image as a package file (spec: format 1.8): config, layers, list.
///
/// # Errors
/// If writing fails.
pub fn write_archive<W: Write>(image: &Image, writer: W) -> io::Result<W> {
    let mut builder = tar::Builder::new(writer);
    let config = image.config();
    let name = Digest::sha256(&config).to_string();
    append(&mut builder, &name, &config)?;
    let mut written = BTreeSet::new();
    let layer_name = |layer: &Layer| format!("{}.tar.gz", layer.digest.hex());
    for layer in image.layers() {
        if written.insert(layer.digest.clone()) {
            append(&mut builder, &layer_name(layer), &layer.bytes)?;
        }
    }
    let layers = Some(image.layers().iter().map(layer_name).collect());
    let listed = Listed {
        config: name,
        repo_tags: None,
        layers,
    };
    append(&mut builder, MANIFEST, &serde_json::to_vec(&[listed])?)?;
    builder.into_inner()
}

fn append<W: Write>(builder: &mut tar::Builder<W>, path: &str, content: &[u8]) -> io::Result<()> {
    builder.append(&plain_header(path, content.len())?, content)
}

/// Reads a package file, or a single image that `docker save` wrote. Layers that are not compressed are
/// compressed; all are compared with what the config says.
///
/// # Errors
/// If the file is damaged, too large, or has not exactly one image.
pub fn read_archive<R: Read + Seek>(mut file: R) -> Result<Archive, ArchiveError> {
    let first = Pass::over(&mut file, |name| name == MANIFEST)?;
    let list = first.content(MANIFEST).ok_or(ArchiveError::NoManifest)?;
    let listed: Vec<Listed> = json(MANIFEST, list)?;
    let [image] =
        <[Listed; 1]>::try_from(listed).map_err(|listed| ArchiveError::NotOneImage(listed.len()))?;
    let layers = image.layers.unwrap_or_default();
    if layers.len() > MAX_LAYERS {
        return Err(ArchiveError::Tar(LayerError::TooManyLayers(layers.len()).into()));
    }
    let config_name = first.follow(&image.config)?;
    let layer_names: Vec<String> = layers
        .iter()
        .map(|name| first.follow(name))
        .collect::<Result<_, _>>()?;
    let wanted: BTreeSet<&str> = layer_names
        .iter()
        .chain([&config_name])
        .map(String::as_str)
        .collect();
    file.rewind()
        .map_err(|error| ArchiveError::Tar(Error::Io(error)))?;
    let second = Pass::over(&mut file, |name| wanted.contains(name))?;
    let content = |name: &str| {
        second
            .content(name)
            .ok_or_else(|| ArchiveError::Missing(shorten(name)))
    };

    let config_bytes = content(&config_name)?;
    let config: Value = json(&config_name, config_bytes)?;
    let diff_ids: Config = json(&config_name, config_bytes)?;
    let diff_ids = diff_ids.rootfs.diff_ids;
    if diff_ids.len() != layer_names.len() {
        return Err(ArchiveError::LayerCount {
            config: diff_ids.len(),
            manifest: layer_names.len(),
        });
    }
    let layers = layer_names
        .iter()
        .zip(diff_ids)
        .map(|(name, diff_id)| layer(name, content(name)?, &diff_id))
        .collect::<Result<_, _>>()?;
    let tags = image.repo_tags.unwrap_or_default();
    Ok(Archive {
        image: Image { config, layers },
        tags,
    })
}

fn json<T: for<'de> Deserialize<'de>>(name: &str, bytes: &[u8]) -> Result<T, ArchiveError> {
    serde_json::from_slice(bytes).map_err(|source| ArchiveError::Json {
        name: shorten(name),
        source,
    })
}

fn layer(name: &str, bytes: &[u8], wanted: &str) -> Result<Layer, ArchiveError> {
    let layer = if bytes.starts_with(inflate::GZIP) {
        let diff_id = inflated_digest(bytes).map_err(ArchiveError::Tar)?;
        Layer {
            digest: Digest::sha256(bytes),
            diff_id,
            bytes: bytes.to_vec(),
        }
    } else {
        let mut tar = Vec::new();
        let mut inflated = inflate::Inflated::new(bytes, MAX_ARCHIVE_ENTRY_BYTES, None)
            .map_err(|error| ArchiveError::Tar(Error::reading(error)))?;
        inflated
            .read_to_end(&mut tar)
            .map_err(|error| ArchiveError::Tar(Error::reading(error)))?;
        Layer::of_tar(&tar)
    };
    if layer.diff_id.as_str() == wanted {
        Ok(layer)
    } else {
        let (name, wanted) = (shorten(name), shorten(wanted));
        Err(ArchiveError::DiffId {
            name,
            wanted,
            found: layer.diff_id,
        })
    }
}

/// What one walk over the file found.
struct Pass {
    contents: BTreeMap<String, Vec<u8>>,
    links: BTreeMap<String, String>,
}

impl Pass {
    /// Reads the entries whose name is `wanted`, and all links.
    fn over<R: Read>(file: &mut R, wanted: impl Fn(&str) -> bool) -> Result<Self, ArchiveError> {
        let mut pass = Self {
            contents: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        let mut too_large = None;
        let walked = walk_plain(BufReader::new(file), |item, content| {
            let name = item.clean()?;
            if let Some(target) = item.link() {
                pass.links.insert(name, target);
            } else if wanted(&name) {
                let most = if name == MANIFEST {
                    MAX_ARCHIVE_JSON_BYTES
                } else {
                    MAX_ARCHIVE_ENTRY_BYTES
                };
                if item.size() > most {
                    too_large = Some(ArchiveError::TooLarge {
                        name: shorten(&name),
                        most,
                    });
                    return Err(LayerError::TooLarge(most).into());
                }
                let mut bytes = Vec::new();
                item.open(content, |file| {
                    file.read_to_end(&mut bytes).map_err(Error::reading)
                })?;
                pass.contents.insert(name, bytes);
            }
            Ok(())
        });
        match (walked, too_large) {
            (Ok(()), _) => Ok(pass),
            (Err(_), Some(error)) => Err(error),
            (Err(error), None) => Err(ArchiveError::Tar(error)),
        }
    }

    fn content(&self, name: &str) -> Option<&[u8]> {
        self.contents.get(name).map(Vec::as_slice)
    }

    /// The entry that `name` is or leads to.
    fn follow(&self, name: &str) -> Result<String, ArchiveError> {
        let mut at = name.trim_start_matches("./").to_owned();
        for _ in 0..MAX_ARCHIVE_LINKS {
            match self.links.get(&at) {
                Some(target) => at.clone_from(target),
                None => return Ok(at),
            }
        }
        Err(ArchiveError::Links(shorten(name)))
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
