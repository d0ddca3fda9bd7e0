//! Why a package can't be read.

use std::io;

use api::pkg::PackageKind;

use crate::layer::{LayerError, SourceFailed};
use crate::limits::{MAX_DOCUMENT_BYTES, MAX_DOCUMENTS, MAX_PACKAGE_BYTES};
use crate::warning::Warning;
use crate::yaml::YamlError;

/// Why a package is refused. Documents count from 1, empty ones left out; lines are those of `package.yaml`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image's layers don't hold a readable `package.yaml`.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The stream could not be read.
    #[error("package.yaml can't be read")]
    Io(#[source] io::Error),
    /// The sink did not take an object.
    #[error("the parsed package can't be kept")]
    Sink(#[source] io::Error),
    /// `package.yaml` is longer than [`MAX_PACKAGE_BYTES`].
    #[error(
        "package too large: package.yaml has more than {} MiB; split the package",
        MAX_PACKAGE_BYTES >> 20
    )]
    TooLarge,
    /// There are more than [`MAX_DOCUMENTS`] documents.
    #[error("package.yaml has more than {MAX_DOCUMENTS} documents; split the package")]
    TooManyDocuments,
    /// A document is longer than [`MAX_DOCUMENT_BYTES`].
    #[error(
        "document {document}, line {line}: it has more than {} MiB; no API server takes such an object",
        MAX_DOCUMENT_BYTES >> 20
    )]
    DocumentTooLarge {
        /// Number of the document.
        document: u32,
        /// Line that it begins in.
        line: u64,
    },
    /// A document is not UTF-8.
    #[error("document {document}, line {line}: the text is not UTF-8; save the file as UTF-8")]
    NotUtf8 {
        /// Number of the document.
        document: u32,
        /// Line of the first bad byte.
        line: u64,
    },
    /// A line starts with three dashes and goes on with something else than a comment.
    #[error(
        "document {document}, line {line}: invalid Yaml document separator: {text}; a line may only start \
         with three dashes if it is a separator, indent it otherwise"
    )]
    Separator {
        /// Number of the document that the line ends.
        document: u32,
        /// The line.
        line: u64,
        /// What follows the dashes.
        text: String,
    },
    /// A document is not valid YAML, or has a duplicate key, or is a bomb.
    #[error("document {document}, line {line}: {message}")]
    Yaml {
        /// Number of the document.
        document: u32,
        /// The line.
        line: u64,
        /// What the YAML reader says.
        message: String,
    },
    /// A document is a list, a text or a number.
    #[error("document {document}, line {line}: the document is {found}, not an object")]
    NotAnObject {
        /// Number of the document.
        document: u32,
        /// Line that it begins in.
        line: u64,
        /// What it is instead.
        found: &'static str,
    },
    /// `apiVersion` or `kind` is missing.
    #[error("document {document}, line {line}: the object {object} has no {field}; add it")]
    MissingType {
        /// Number of the document.
        document: u32,
        /// Line that it begins in.
        line: u64,
        /// What is known of the object.
        object: String,
        /// The missing field.
        field: &'static str,
    },
    /// The object's type is not part of the package format.
    #[error(
        "document {document}, line {line}: {object} of {api_version} is not known in packages; remove it, or \
         check its apiVersion and kind"
    )]
    UnknownKind {
        /// Number of the document.
        document: u32,
        /// Line that it begins in.
        line: u64,
        /// The object's `apiVersion`.
        api_version: String,
        /// Its kind and name.
        object: String,
    },
    /// A field has the wrong JSON type or an impossible value.
    #[error("document {document}, line {line}, {object}: {path} {problem}")]
    Field {
        /// Number of the document.
        document: u32,
        /// Line that it begins in.
        line: u64,
        /// Kind and name.
        object: String,
        /// The field.
        path: String,
        /// What is wrong and what it must be.
        problem: String,
    },
    /// Two objects of the same group, kind and name.
    #[error("documents {first} and {second} are both {object} ({group}); remove one")]
    Duplicate {
        /// The earlier document.
        first: u32,
        /// The later document.
        second: u32,
        /// Kind and name.
        object: String,
        /// API group.
        group: String,
    },
    /// No metadata object, or several. The first words are the reference's.
    #[error("not exactly one package meta type: {}", found_metas(.documents))]
    NotOneMeta {
        /// The documents that are one.
        documents: Vec<u32>,
    },
    /// The metadata is of another package kind than asked for. The first words are the reference's.
    #[error("package meta type is not {wanted}: document {document} is a {found}; install it as a {found}")]
    WrongKind {
        /// The kind asked for.
        wanted: PackageKind,
        /// The kind it is.
        found: PackageKind,
        /// Document of the metadata.
        document: u32,
    },
    /// `spec.crossplane.version` can't be read. The first words are the reference's.
    #[error("package version constraints are poorly formatted: document {document}, spec.crossplane.version")]
    Constraint {
        /// Document of the metadata.
        document: u32,
        /// What is wrong with it.
        source: solve::ConstraintError,
    },
    /// An entry of `dependsOn` names nothing. The first words are the reference's.
    #[error(
        "encountered an invalid dependency: package dependencies must specify either a valid type, or an \
         explicit apiVersion, kind, and package: document {document}, spec.dependsOn[{index}]"
    )]
    Dependency {
        /// Document of the metadata.
        document: u32,
        /// Index of the entry, from 0.
        index: usize,
    },
    /// Objects that this type of package may not have, where that is to be refused.
    #[error("{} not allowed in a {kind}: {}", count_objects(.objects.len()), name_objects(.objects))]
    NotAllowed {
        /// The package kind.
        kind: PackageKind,
        /// The findings.
        objects: Vec<Warning>,
    },
}

impl Error {
    /// The documents that the error is about, as far as it is about documents.
    pub fn documents(&self) -> Vec<u32> {
        match self {
            Self::DocumentTooLarge { document, .. }
            | Self::NotUtf8 { document, .. }
            | Self::Separator { document, .. }
            | Self::Yaml { document, .. }
            | Self::NotAnObject { document, .. }
            | Self::MissingType { document, .. }
            | Self::UnknownKind { document, .. }
            | Self::Field { document, .. }
            | Self::WrongKind { document, .. }
            | Self::Constraint { document, .. }
            | Self::Dependency { document, .. } => vec![*document],
            Self::Duplicate { first, second, .. } => vec![*first, *second],
            Self::NotOneMeta { documents } => documents.clone(),
            Self::NotAllowed { objects, .. } => objects.iter().map(|warning| warning.document).collect(),
            Self::Layer(_) | Self::Io(_) | Self::Sink(_) | Self::TooLarge | Self::TooManyDocuments => {
                Vec::new()
            }
        }
    }

    /// The error behind a failed read: a [`LayerError`] that had to pass through [`io::Error`] comes out
    /// again.
    pub(crate) fn reading(error: io::Error) -> Self {
        match error.downcast::<LayerError>() {
            Ok(layer) => Self::Layer(layer),
            Err(error) => Self::Io(
                error
                    .downcast::<SourceFailed>()
                    .map_or_else(|error| error, |failed| failed.0),
            ),
        }
    }

    pub(crate) fn yaml(document: u32, first_line: u64, error: &YamlError) -> Self {
        let line = first_line.saturating_add(error.line.saturating_sub(1));
        Self::Yaml {
            document,
            line,
            message: error.message.clone(),
        }
    }
}

fn found_metas(documents: &[u32]) -> String {
    match documents {
        [] => {
            "there is none; add a Provider, Configuration or Function of meta.pkg.crossplane.io/v1".to_owned()
        }
        _ => {
            let numbers: Vec<String> = documents.iter().take(10).map(ToString::to_string).collect();
            format!("documents {} are; keep one", numbers.join(", "))
        }
    }
}

fn count_objects(count: usize) -> String {
    if count == 1 {
        "1 object is".to_owned()
    } else {
        format!("{count} objects are")
    }
}

/// The first ten objects by document and name, then a count.
fn name_objects(objects: &[Warning]) -> String {
    const NAMED: usize = 10;
    let mut names: Vec<String> = objects
        .iter()
        .take(NAMED)
        .map(|warning| format!("document {} ({})", warning.document, warning.object))
        .collect();
    if objects.len() > NAMED {
        names.push(format!("{} more", objects.len() - NAMED));
    }
    names.join(", ")
}
