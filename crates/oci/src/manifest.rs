//! Image manifests and indexes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::descriptor::{Descriptor, null_as_default};
use crate::digest::shorten;
use crate::media_type;

/// An image manifest, OCI or Docker schema 2. Fields that are unknown here are ignored when read, so the
/// exact bytes must be kept where a digest matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Type, as the document itself says; OCI manifests may leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Type of the artifact, if this is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The layers, lowest first. `null` is read as none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub layers: Vec<Descriptor>,
    /// What this manifest refers to (signatures, attestations).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// An index (OCI) or manifest list (Docker).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Type, as the document itself says; OCI indexes may leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Type of the artifact, if this is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The children, in order. `null` is read as none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// Annotations.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// What a registry answers for a reference: one image, or several to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Box<Manifest>),
    /// Several images.
    Index(Index),
}

impl Document {
    /// Reads a manifest or index. `declared` is the type that the registry's answer or a parent's descriptor
    /// gave; it may be empty or a general JSON type, and then the document says what it is.
    ///
    /// A document that says it is something else than `declared` is refused: one digest must not mean two
    /// things to two readers (format-and-cli.md 7.1, P4).
    ///
    /// # Errors
    /// If the types disagree or aren't supported, or the bytes aren't JSON of the right shape.
    pub fn parse(declared: &str, bytes: &[u8]) -> Result<Self, ManifestError> {
        let probe: Probe = serde_json::from_slice(bytes).map_err(|source| ManifestError::Json {
            what: "manifest",
            source,
        })?;
        let declared = media_type::essence(declared);
        if media_type::is_schema1(declared) || probe.schema_version == Some(1) {
            return Err(ManifestError::Schema1);
        }
        let embedded = probe
            .media_type
            .as_deref()
            .map(media_type::essence)
            .unwrap_or_default();
        if is_known(declared) && !embedded.is_empty() && !embedded.eq_ignore_ascii_case(declared) {
            return Err(ManifestError::TypeMismatch {
                declared: shorten(declared),
                embedded: shorten(embedded),
            });
        }
        if probe.manifests.is_some() && probe.layers.is_some() {
            return Err(ManifestError::Ambiguous);
        }
        let media_type = if is_known(declared) { declared } else { embedded };
        let index = if media_type::is_index(media_type) {
            true
        } else if media_type::is_manifest(media_type) {
            false
        } else if media_type.is_empty() && probe.manifests.is_some() {
            true
        } else if media_type.is_empty() && probe.config.is_some() {
            false
        } else {
            let unknown = if media_type.is_empty() {
                declared
            } else {
                media_type
            };
            return Err(ManifestError::Unsupported(shorten(unknown)));
        };
        if index {
            Index::parse(bytes).map(Self::Index)
        } else {
            Manifest::parse(bytes).map(|manifest| Self::Manifest(Box::new(manifest)))
        }
    }
}

/// Whether a declared type says which kind of document follows.
fn is_known(declared: &str) -> bool {
    !matches!(
        declared,
        "" | "application/json" | "application/octet-stream" | "text/plain"
    )
}

/// As much of a document as tells its kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    #[serde(default)]
    schema_version: Option<u32>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Reads an image manifest.
    ///
    /// # Errors
    /// If the bytes aren't JSON of the right shape.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        serde_json::from_slice(bytes).map_err(|source| ManifestError::Json {
            what: "image manifest",
            source,
        })
    }

    /// The first layer that is annotated as holding a package's content.
    #[must_use]
    pub fn base_layer(&self) -> Option<&Descriptor> {
        self.layers.iter().find(|layer| layer.is_base_layer())
    }
}

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    /// If the bytes aren't JSON of the right shape.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        serde_json::from_slice(bytes).map_err(|source| ManifestError::Json {
            what: "image index",
            source,
        })
    }
}

/// Why bytes are no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not of the right shape.
    #[error("the {what} is not valid JSON of the expected shape")]
    Json {
        /// What was expected.
        what: &'static str,
        /// Where it went wrong.
        source: serde_json::Error,
    },
    /// Docker schema 1.
    #[error(
        "the manifest is Docker schema 1, which cannot be verified: push the image again with a current tool"
    )]
    Schema1,
    /// The answer's type and the document's own type differ.
    #[error("the registry says the manifest is {declared:?}, the manifest says it is {embedded:?}: refused")]
    TypeMismatch {
        /// What the registry or the parent said, shortened.
        declared: String,
        /// What the document says, shortened.
        embedded: String,
    },
    /// The document has the fields of both kinds.
    #[error("the manifest has both layers and child manifests: refused, since it could be read in two ways")]
    Ambiguous,
    /// Neither a manifest nor an index.
    #[error("media type {0:?} is neither an image manifest nor an index of OCI or Docker schema 2")]
    Unsupported(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn image(media_type: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,{media_type}"config":{{"digest":"sha256:{HEX}","size":2,
                "mediaType":"x","future":1}},"layers":null,"annotations":null}}"#
        )
    }

    #[test]
    fn reads_both_families_and_tolerates_null_layers() {
        for declared in [
            media_type::OCI_MANIFEST,
            media_type::DOCKER_MANIFEST,
            "",
            "application/json; charset=utf-8",
        ] {
            let parsed = Document::parse(declared, image("").as_bytes()).unwrap();
            let Document::Manifest(manifest) = parsed else {
                panic!("{declared}")
            };
            assert!(manifest.layers.is_empty() && manifest.base_layer().is_none());
        }
        for declared in [media_type::OCI_INDEX, media_type::DOCKER_LIST, ""] {
            let parsed = Document::parse(declared, br#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
            assert!(matches!(parsed, Document::Index(_)), "{declared}");
        }
    }

    #[test]
    fn guards_against_type_confusion() {
        let embedded = image(&format!(r#""mediaType":"{}","#, media_type::OCI_MANIFEST));
        let refused = [
            Document::parse(media_type::OCI_INDEX, embedded.as_bytes()).unwrap_err(),
            Document::parse("text/html", image("").as_bytes()).unwrap_err(),
            Document::parse(
                media_type::OCI_MANIFEST,
                br#"{"schemaVersion":2,"layers":[],"manifests":[]}"#,
            )
            .unwrap_err(),
            Document::parse(media_type::DOCKER_SCHEMA1_SIGNED, b"{}").unwrap_err(),
            Document::parse("", br#"{"schemaVersion":1}"#).unwrap_err(),
            Document::parse("", b"{}").unwrap_err(),
            Document::parse("", b"<html>").unwrap_err(),
        ];
        assert!(matches!(refused[0], ManifestError::TypeMismatch { .. }));
        assert!(matches!(refused[1], ManifestError::Unsupported(_)));
        assert!(matches!(refused[2], ManifestError::Ambiguous));
        assert!(matches!(refused[3], ManifestError::Schema1));
        assert!(matches!(refused[4], ManifestError::Schema1));
        assert!(matches!(refused[5], ManifestError::Unsupported(_)));
        assert!(matches!(refused[6], ManifestError::Json { .. }));
    }

    #[test]
    fn negative_and_absurd_sizes_are_refused() {
        for size in ["-1", "1e30", "18446744073709551616", "\"2\"", "null"] {
            let text = format!(r#"{{"schemaVersion":2,"config":{{"digest":"sha256:{HEX}","size":{size}}}}}"#);
            assert!(
                Document::parse(media_type::OCI_MANIFEST, text.as_bytes()).is_err(),
                "{size}"
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(declared in ".{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Document::parse(&declared, &bytes);
        }
    }
}
