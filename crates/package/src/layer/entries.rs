//! Walking a tar without trusting it.
//!
//! The tar is walked raw and long names are read here, with a bound: the library would read them into memory
//! whatever their size.

use std::io::{self, BufRead, BufReader, Read};

use oci::Digest;
use tar::EntryType;

use super::inflate::Inflated;
use super::{LayerError, PACKAGE_FILE};
use crate::error::Error;
use crate::limits::{MAX_LAYER_BYTES, MAX_TAR_ENTRIES, MAX_TAR_HEADER_BYTES};
use crate::text::shorten;

/// One entry of a tar: what its headers say.
pub(crate) struct Item {
    /// Path as written.
    path: String,
    /// Components of the path without `.`; `None` if one is `..`.
    components: Option<Vec<String>>,
    /// What the entry is; `None` for a regular file.
    odd: Option<&'static str>,
    size: u64,
    /// What a link points to, as written.
    target: Option<String>,
}

impl Item {
    /// Path in the image, without a slash in front.
    pub(crate) fn clean(&self) -> Result<String, LayerError> {
        let components = self
            .components
            .as_ref()
            .ok_or_else(|| LayerError::Path(shorten(&self.path)))?;
        Ok(components.join("/"))
    }

    pub(crate) fn shown(&self) -> String {
        shorten(&self.path)
    }

    pub(crate) fn is_absolute(&self) -> bool {
        self.path.starts_with('/')
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Path in the tar that a link leads to, if it stays inside.
    pub(crate) fn link(&self) -> Option<String> {
        let target = self.target.as_ref()?;
        let mut at: Vec<&str> = Vec::new();
        // Symbolic links start in their own folder, hard links at the root.
        if self.odd == Some(SYMBOLIC) && !target.starts_with('/') {
            let own = self.components.as_ref()?;
            at.extend(own.iter().take(own.len().saturating_sub(1)).map(String::as_str));
        }
        for part in target.split('/').filter(|part| !part.is_empty() && *part != ".") {
            if part == ".." {
                at.pop()?;
            } else {
                at.push(part);
            }
        }
        Some(at.join("/"))
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.odd == Some(FOLDER)
    }

    pub(crate) fn is_package(&self) -> bool {
        self.components
            .as_ref()
            .and_then(|all| all.last())
            .is_some_and(|name| name == PACKAGE_FILE)
    }

    /// Hands the entry's content to `use_file`, if it is a regular file.
    pub(crate) fn open<T>(
        &self,
        content: &mut dyn Read,
        use_file: impl FnOnce(&mut dyn BufRead) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(what) = self.odd {
            return Err(LayerError::NotAFile {
                path: self.shown(),
                what,
            }
            .into());
        }
        use_file(&mut BufReader::with_capacity(
            64 << 10,
            Exact {
                content,
                left: self.size,
            },
        ))
    }
}

const FOLDER: &str = "a folder";
const SYMBOLIC: &str = "a symbolic link";

/// Finds the package file in the layer annotated as the package.
pub(crate) fn annotated<T>(
    layer: impl BufRead,
    diff_id: Option<Digest>,
    use_file: impl FnOnce(&mut dyn BufRead) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut use_file = Some(use_file);
    let mut found: Option<(String, T)> = None;
    let mut entries_left = MAX_TAR_ENTRIES;
    let inflated = Inflated::new(layer, MAX_LAYER_BYTES, diff_id).map_err(Error::reading)?;
    walk(inflated, &mut entries_left, |item, content| {
        if item.is_absolute() {
            return Err(LayerError::Path(item.shown()).into());
        }
        item.clean()?;
        if !item.is_package() {
            return Ok(());
        }
        match (&found, use_file.take()) {
            (None, Some(use_file)) => {
                found = Some((item.shown(), item.open(content, use_file)?));
                Ok(())
            }
            (first, _) => {
                let first = first.as_ref().map(|(path, _)| path.clone()).unwrap_or_default();
                Err(LayerError::Duplicate {
                    first,
                    second: item.shown(),
                }
                .into())
            }
        }
    })?;
    found
        .map(|(_, result)| result)
        .ok_or_else(|| LayerError::NotFound.into())
}

/// Visits all entries of a tar and reads it to its end. Returns how many bytes it inflated to.
pub(crate) fn walk(
    inflated: Inflated<'_>,
    entries_left: &mut usize,
    mut visit: impl FnMut(&Item, &mut dyn Read) -> Result<(), Error>,
) -> Result<u64, Error> {
    let mut archive = tar::Archive::new(inflated);
    let mut extended = Extended::default();
    for entry in archive.entries().map_err(reading)?.raw(true) {
        let mut entry = entry.map_err(reading)?;
        *entries_left = entries_left.checked_sub(1).ok_or(LayerError::TooManyEntries)?;
        if extended.take(&mut entry)? {
            continue;
        }
        let item = std::mem::take(&mut extended).item(&entry)?;
        visit(&item, &mut entry)?;
    }
    archive.into_inner().finish().map_err(Error::reading)
}

/// Errors of the tar library: those that come from below pass, its own are damage.
fn reading(error: io::Error) -> Error {
    if error
        .get_ref()
        .is_some_and(|inner| inner.is::<LayerError>() || inner.is::<super::inflate::SourceFailed>())
    {
        Error::reading(error)
    } else {
        LayerError::Damaged(error).into()
    }
}

/// What extension entries say about the entry behind them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl Extended {
    /// Reads `entry` if it is an extension of the next one.
    fn take(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<bool, Error> {
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => self.path = Some(name(entry)?),
            EntryType::GNULongLink => self.target = Some(name(entry)?),
            EntryType::XHeader => {
                let records = body(entry)?;
                for record in tar::PaxExtensions::new(&records) {
                    let record = record.map_err(|_| LayerError::Header)?;
                    let value = record.value_bytes();
                    match record.key_bytes() {
                        b"path" => self.path = Some(value.to_vec()),
                        b"linkpath" => self.target = Some(value.to_vec()),
                        b"size" => {
                            let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                            self.size = Some(size.ok_or(LayerError::Header)?);
                        }
                        key if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                        _ => {}
                    }
                }
            }
            // Global records say nothing that is used here.
            EntryType::XGlobalHeader => {
                body(entry)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn item(self, entry: &tar::Entry<'_, impl Read>) -> Result<Item, Error> {
        let header = entry.header();
        let path = self.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let path = String::from_utf8_lossy(&path).into_owned();
        let size = header.entry_size().map_err(reading)?;
        if self.size.is_some_and(|stated| stated != size) {
            return Err(LayerError::Size(shorten(&path)).into());
        }
        let odd = match header.entry_type() {
            _ if self.sparse => Some("a sparse file"),
            EntryType::Regular | EntryType::Continuous if path.ends_with('/') => Some(FOLDER),
            EntryType::Regular | EntryType::Continuous => None,
            EntryType::Link => Some("a hard link"),
            EntryType::Symlink => Some(SYMBOLIC),
            EntryType::Char | EntryType::Block => Some("a device"),
            EntryType::Directory => Some(FOLDER),
            EntryType::Fifo => Some("a named pipe"),
            EntryType::GNUSparse => Some("a sparse file"),
            _ => Some("of an unknown type"),
        };
        let components = components(&path);
        let is_link = matches!(header.entry_type(), EntryType::Link | EntryType::Symlink);
        let target = self
            .target
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        let target = target
            .filter(|_| is_link)
            .map(|target| String::from_utf8_lossy(&target).into_owned());
        Ok(Item {
            path,
            components,
            odd,
            size,
            target,
        })
    }
}

fn components(path: &str) -> Option<Vec<String>> {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts
        .map(|part| (part != "..").then(|| part.to_owned()))
        .collect()
}

/// The content of an entry that is a long name, up to the zero that ends it.
fn name(entry: &mut tar::Entry<'_, impl Read>) -> Result<Vec<u8>, Error> {
    let mut name = body(entry)?;
    if let Some(end) = name.iter().position(|byte| *byte == 0) {
        name.truncate(end);
    }
    Ok(name)
}

/// The whole content of an extension entry.
fn body(entry: &mut tar::Entry<'_, impl Read>) -> Result<Vec<u8>, Error> {
    let size = entry.header().entry_size().map_err(reading)?;
    if size > MAX_TAR_HEADER_BYTES {
        return Err(LayerError::Header.into());
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(reading)?;
    Ok(bytes)
}

/// The content of an entry, which must be as long as its header says.
struct Exact<'a> {
    content: &'a mut dyn Read,
    left: u64,
}

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            let end = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(io::Error::other(LayerError::Damaged(end)));
        }
        Ok(read)
    }
}
