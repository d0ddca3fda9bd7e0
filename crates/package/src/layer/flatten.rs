//! Finding the package file in the file system that all layers make together.
//!
//! Layers are walked from the highest down, so the first visible file is the one a container would see. Links
//! and devices of a runtime image are normal here; only the package file itself must be a regular file.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};

use super::LayerError;
use super::entries::{Item, walk};
use super::inflate::Inflated;
use crate::error::Error;
use crate::limits::{MAX_IMAGE_BYTES, MAX_LAYERS, MAX_TAR_ENTRIES};

/// Entry that hides one name of lower layers: this and the name.
const WHITEOUT: &str = ".wh.";
/// Entry that hides all that lower layers have in its folder.
const OPAQUE: &str = ".wh..wh..opq";

pub(super) fn flattened<R: Read, T>(
    layers: Vec<R>,
    use_file: impl FnOnce(&mut dyn BufRead) -> Result<T, Error>,
) -> Result<T, Error> {
    if layers.len() > MAX_LAYERS {
        return Err(LayerError::TooManyLayers(layers.len()).into());
    }
    let mut use_file = Some(use_file);
    let mut found: Option<(String, T)> = None;
    let mut hidden = Hidden::default();
    let mut entries_left = MAX_TAR_ENTRIES;
    let mut bytes_left = MAX_IMAGE_BYTES;
    for layer in layers.into_iter().rev() {
        let inflated = Inflated::new(BufReader::new(layer), bytes_left, None).map_err(Error::reading)?;
        let mut own = Hidden::default();
        let used = walk(inflated, &mut entries_left, |item, content| {
            let path = item.clean()?;
            if let Some((first, _)) = &found {
                // The package file is known: only a second entry of the same path is still of interest.
                return if *first == path {
                    Err(LayerError::Duplicate {
                        first: first.clone(),
                        second: item.shown(),
                    }
                    .into())
                } else {
                    Ok(())
                };
            }
            own.add(item, &path);
            if item.is_package()
                && !hidden.hides(&path)
                && let Some(use_file) = use_file.take()
            {
                found = Some((path, item.open(content, use_file)?));
            }
            Ok(())
        })?;
        if found.is_some() {
            break;
        }
        bytes_left = bytes_left.saturating_sub(used);
        hidden.join(own);
    }
    found
        .map(|(_, result)| result)
        .ok_or_else(|| LayerError::NotFound.into())
}

/// What the layers walked so far hide of lower ones.
#[derive(Default)]
struct Hidden {
    /// Paths that are hidden with all that is below them: removed, or no folder.
    subtrees: HashSet<String>,
    /// Folders whose content is hidden.
    opaque: HashSet<String>,
}

impl Hidden {
    fn add(&mut self, item: &Item, path: &str) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name == OPAQUE {
            self.opaque.insert(folder.to_owned());
        } else if let Some(name) = name.strip_prefix(WHITEOUT) {
            let slash = if folder.is_empty() { "" } else { "/" };
            self.subtrees.insert(format!("{folder}{slash}{name}"));
        } else if !item.is_folder() {
            self.subtrees.insert(path.to_owned());
        }
    }

    fn join(&mut self, other: Self) {
        self.subtrees.extend(other.subtrees);
        self.opaque.extend(other.opaque);
    }

    fn hides(&self, path: &str) -> bool {
        if self.subtrees.contains(path) || self.opaque.contains("") {
            return true;
        }
        let parents = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        parents
            .into_iter()
            .any(|parent| self.subtrees.contains(parent) || self.opaque.contains(parent))
    }
}
