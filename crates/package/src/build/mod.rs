//! Building packages. Deterministic: the same files give the same bytes, hence the same digest.

mod archive;
mod glob;
mod image;
mod source;

use api::pkg::PackageKind;
use serde_json::Value;

use crate::error::Error;
use crate::lint;
use crate::object;
use crate::parse::{Options, Parsed, parse};
use crate::sink::Discard;
use crate::yaml::{YamlError, from_yaml, to_yaml};

pub use archive::{Archive, ArchiveError, read_archive, write_archive};
pub use glob::{Glob, GlobError};
pub use image::{Format, Image, Layer, ManifestBlob, index};
pub use source::File;

/// Folder and name of the examples in their layer.
pub const EXAMPLES_FILE: &str = ".up/examples.yaml";

/// Value of the layer annotation of examples: historic, kept so that old packages stay valid.
pub const EXAMPLES_LAYER: &str = "upbound";

/// What a package is built from. The order of files does not matter.
#[derive(Debug, Default)]
pub struct Input {
    /// All files below the package's folder, but for the examples.
    pub files: Vec<File>,
    /// Files to leave out.
    pub ignore: Vec<Glob>,
    /// All files below the folder of examples; `None` if there is no such folder.
    pub examples: Option<Vec<File>>,
    /// The image that the package is added to, for Providers and Functions.
    pub runtime: Option<Image>,
}

/// A built package.
#[derive(Debug)]
pub struct Built {
    /// The image: runtime, package, examples.
    pub image: Image,
    /// The package as it will be read, with warnings.
    pub parsed: Parsed,
}

/// Where a document of the built package comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the document in the package.
    pub document: u32,
    /// The file, relative to the package's folder.
    pub path: String,
    /// Number of the document in that file.
    pub inner: u32,
}

/// Why a package can't be built. The first words are the reference's.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file can't be read as documents.
    #[error("failed to parse package: {path}")]
    File {
        /// The file, relative to the package's folder.
        path: String,
        /// What is wrong; document and line are those of the file.
        source: Error,
    },
    /// All files together are no package.
    #[error("failed to parse package{}", name_places(.places))]
    Package {
        /// The documents that the source names.
        places: Vec<Place>,
        /// What is wrong.
        source: Error,
    },
    /// Objects that may not be in this type of package.
    #[error("failed to lint package{}", name_places(.places))]
    Lint {
        /// The documents that the source names.
        places: Vec<Place>,
        /// The findings.
        source: Error,
    },
    /// The metadata has no name, which names the package file.
    #[error("failed to lint package: the {0} has no metadata.name; add it")]
    NoName(PackageKind),
    /// An example is not a YAML object.
    #[error("failed to parse examples: {path}")]
    Examples {
        /// The file, relative to the folder of examples.
        path: String,
        /// What is wrong.
        source: Error,
    },
    /// A runtime image is given for a package that runs nothing.
    #[error("a Configuration runs nothing, so no runtime image can be embedded; leave it out")]
    NoRuntime,
    /// An object can't be written as YAML that reads back the same.
    #[error("failed to write {path} as YAML; please report this")]
    Emit {
        /// The file.
        path: String,
        /// What the writer or reader says.
        source: YamlError,
    },
}

/// Builds a package.
///
/// # Errors
/// If a file is not valid, if there is not exactly one metadata object, or if an object is not allowed in
/// this type of package.
pub fn build(input: Input) -> Result<Built, BuildError> {
    let Input {
        files,
        ignore,
        examples,
        runtime,
    } = input;
    let assembled = assemble(source::select(files, &ignore))?;
    let options = Options {
        kind: None,
        refuse_disallowed: true,
    };
    let mut parsed = parse(assembled.text.as_bytes(), &mut Discard, &options)
        .map_err(|source| assembled.refuse(source))?;
    if parsed.meta.name.is_empty() {
        return Err(BuildError::NoName(parsed.meta.kind));
    }
    if runtime.is_some() && !parsed.meta.kind.has_runtime() {
        return Err(BuildError::NoRuntime);
    }
    parsed.warnings.extend(lint::advise(&parsed));
    let examples = examples
        .map(|files| source::concatenate(source::select(files, &[])))
        .transpose()?;
    let mut image = runtime.unwrap_or_default();
    image.push(
        Layer::of_file(crate::layer::PACKAGE_FILE, assembled.text.as_bytes()),
        oci::annotation::XPKG_BASE,
    );
    if let Some(examples) = examples {
        image.push(Layer::of_file(EXAMPLES_FILE, examples.as_bytes()), EXAMPLES_LAYER);
    }
    Ok(Built { image, parsed })
}

/// The text of `package.yaml`, and where each of its documents comes from.
struct Assembled {
    text: String,
    /// File and number of the document there.
    places: Vec<(String, u32)>,
}

impl Assembled {
    fn refuse(&self, source: Error) -> BuildError {
        let documents = source.documents().into_iter();
        let places = documents
            .filter_map(|document| {
                let (path, inner) = self.places.get(usize::try_from(document).ok()?.checked_sub(1)?)?;
                Some(Place {
                    document,
                    path: path.clone(),
                    inner: *inner,
                })
            })
            .collect();
        if matches!(source, Error::NotAllowed { .. }) {
            BuildError::Lint { places, source }
        } else {
            BuildError::Package { places, source }
        }
    }
}

/// Puts the documents of all files into the order and form of a package: metadata first, then the objects,
/// each followed by a separator. Some readers depend on that order and on the last separator (spec: format
/// 1.2).
fn assemble(files: Vec<File>) -> Result<Assembled, BuildError> {
    let mut metas = Vec::new();
    let mut objects = Vec::new();
    for file in files {
        let failed = |source| BuildError::File {
            path: file.path.clone(),
            source,
        };
        for document in source::documents(&file.bytes).map_err(failed)? {
            let yaml = |error: &YamlError| failed(Error::yaml(document.number, document.line, error));
            let mut value = from_yaml(&document.text).map_err(|error| yaml(&error))?;
            let place = (file.path.clone(), document.number);
            if is_meta(&value) {
                metas.push((place, value));
            } else {
                object::strip(&mut value);
                objects.push((place, value));
            }
        }
    }
    let mut text = String::from("---\n");
    let mut places = Vec::new();
    for ((path, number), value) in metas.into_iter().chain(objects) {
        let emitted = to_yaml(&value).map_err(|source| BuildError::Emit {
            path: path.clone(),
            source,
        })?;
        text.push_str(&emitted);
        text.push_str("---\n");
        places.push((path, number));
    }
    Ok(Assembled { text, places })
}

fn is_meta(value: &Value) -> bool {
    let api_version = value
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    api_version
        .split_once('/')
        .is_some_and(|(group, _)| group == crate::known::META_GROUP)
}

fn name_places(places: &[Place]) -> String {
    const NAMED: usize = 10;
    let named: Vec<String> = places
        .iter()
        .take(NAMED)
        .map(
            |Place {
                 document,
                 path,
                 inner,
             }| format!("document {document} is document {inner} of {path}"),
        )
        .collect();
    if named.is_empty() {
        String::new()
    } else {
        format!(" ({})", named.join(", "))
    }
}

#[cfg(test)]
mod tests;
