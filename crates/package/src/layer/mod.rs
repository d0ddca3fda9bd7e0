//! Finding `package.yaml` in the layers of an image.

mod entries;
mod flatten;
pub(crate) mod inflate;

pub(crate) use inflate::SourceFailed;

use std::io::{BufRead, BufReader, Read};

use crate::error::Error;
use crate::limits::{MAX_IMAGE_BYTES, MAX_LAYERS, MAX_TAR_ENTRIES, MAX_TAR_HEADER_BYTES};
use crate::parse::{Options, Parsed, parse};
use crate::sink::Sink;

/// Name of the file that a package is, wherever in the layer it lies.
pub const PACKAGE_FILE: &str = "package.yaml";

/// The layers to look in, as they come from the registry: compressed or not, their blobs verified.
#[derive(Debug)]
pub enum Content<R> {
    /// The first layer that is annotated as the package.
    Annotated {
        /// The layer.
        layer: R,
        /// What the inflated layer must hash to, where that is to be checked.
        diff_id: Option<oci::Digest>,
    },
    /// All layers of an image without such an annotation, in the order of the manifest: lowest first.
    Flattened(Vec<R>),
}

/// Why the layers don't give a `package.yaml`.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// There is none. The wording is the reference's.
    #[error("package.yaml not found in package")]
    NotFound,
    /// The compressed data or the tar is damaged.
    #[error("the layer can't be read; push the package again")]
    Damaged(#[source] std::io::Error),
    /// The data inflates to more than allowed.
    #[error("the layer inflates to more than {} MiB", .0 >> 20)]
    TooLarge(u64),
    /// The data inflates to far more than it is: a bomb.
    #[error("the layer inflates to more than {0} times its size")]
    Ratio(u64),
    /// The tars have too many entries.
    #[error("the image has more than {MAX_TAR_ENTRIES} files")]
    TooManyEntries,
    /// The image has too many layers.
    #[error("the image has {0} layers, more than {MAX_LAYERS}")]
    TooManyLayers(usize),
    /// The extended header of an entry is too long, or not readable.
    #[error("an extended header in the layer is damaged or longer than {} KiB", MAX_TAR_HEADER_BYTES >> 10)]
    Header,
    /// A header and its extension disagree about the size of an entry, which smuggles entries past some
    /// readers.
    #[error("the sizes that the layer states for {0} disagree")]
    Size(String),
    /// An entry has an absolute path or one that leaves the root.
    #[error("path {0} in the layer is absolute or leaves its root")]
    Path(String),
    /// The package file is there more than once.
    #[error("package.yaml is there twice in the layer{}", two_names(.first, .second))]
    Duplicate {
        /// Path of the first.
        first: String,
        /// Path of the second.
        second: String,
    },
    /// The package file is a link, a folder or a device.
    #[error("{path} in the layer is {what}, not a regular file")]
    NotAFile {
        /// Path of the entry.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// The inflated layer is not what the image config says.
    #[error("the inflated layer is {found}, not {wanted} as the image config says")]
    DiffId {
        /// Digest that was expected.
        wanted: oci::Digest,
        /// Digest of the content.
        found: oci::Digest,
    },
}

/// Finds `package.yaml` and parses it while inflating.
///
/// # Errors
/// If there is no such file or the layers are damaged, hostile or too large ([`Error::Layer`]), and all
/// errors of [`parse`]. What the sink got is then void.
pub fn read<R: Read>(content: Content<R>, sink: &mut dyn Sink, options: &Options) -> Result<Parsed, Error> {
    find(content, |file| parse(file, sink, options))
}

/// Visits the entries of a tar that is not a layer, compressed or not.
pub(crate) fn walk_plain(
    reader: impl BufRead,
    visit: impl FnMut(&entries::Item, &mut dyn Read) -> Result<(), Error>,
) -> Result<(), Error> {
    let inflated = inflate::Inflated::new(reader, MAX_IMAGE_BYTES, None).map_err(Error::reading)?;
    let mut entries_left = MAX_TAR_ENTRIES;
    entries::walk(inflated, &mut entries_left, visit).map(|_| ())
}

/// The SHA-256 digest of what `bytes` inflates to.
pub(crate) fn inflated_digest(bytes: &[u8]) -> Result<oci::Digest, Error> {
    let mut inflated = inflate::Inflated::new(bytes, MAX_IMAGE_BYTES, None).map_err(Error::reading)?;
    let mut digester = oci::Digester::new(oci::Algorithm::Sha256);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = inflated.read(&mut buffer).map_err(Error::reading)?;
        match buffer.get(..read) {
            Some([]) | None => return Ok(digester.finish()),
            Some(bytes) => digester.update(bytes),
        }
    }
}

/// Finds `package.yaml` and hands it to `use_file`, which must read it to its end.
///
/// # Errors
/// If there is no such file or the layers are damaged, hostile or too large; else what `use_file` says. An
/// error may come after `use_file` succeeded (a second such file, a wrong end): what it did is then void.
pub fn find<R: Read, T>(
    content: Content<R>,
    use_file: impl FnOnce(&mut dyn BufRead) -> Result<T, Error>,
) -> Result<T, Error> {
    match content {
        Content::Annotated { layer, diff_id } => entries::annotated(BufReader::new(layer), diff_id, use_file),
        Content::Flattened(layers) => flatten::flattened(layers, use_file),
    }
}

/// Where the two are, where they have different names.
fn two_names(first: &str, second: &str) -> String {
    match first == second {
        true => String::new(),
        false => format!(": {first} and {second}"),
    }
}

#[cfg(test)]
mod tests;
