//! The files that a package is built from.

use super::{BuildError, Glob};
use crate::error::Error;
use crate::stream::{Document, Documents};
use crate::yaml::from_yaml;

/// One file below a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Path relative to the folder, with `/` between names on every platform.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The files that count, in the order of a lexical walk: YAML by name, not empty, not ignored.
pub(super) fn select(files: Vec<File>, ignore: &[Glob]) -> Vec<File> {
    let is_yaml = |path: &str| path.ends_with(".yaml") || path.ends_with(".yml");
    let mut files: Vec<File> = files
        .into_iter()
        .filter(|file| is_yaml(&file.path) && !file.bytes.is_empty())
        .filter(|file| !ignore.iter().any(|glob| glob.matches(&file.path)))
        .collect();
    // By components: a walk visits `a/x` before `a-b/x`, although `-` sorts before `/`.
    files.sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
    files
}

/// The documents of one file.
pub(super) fn documents(bytes: &[u8]) -> Result<Vec<Document>, Error> {
    let mut documents = Documents::new(bytes);
    let mut all = Vec::new();
    while let Some(document) = documents.next()? {
        all.push(document);
    }
    Ok(all)
}

/// All documents of example files in one text, as written. Each must be a YAML object; more is not asked.
pub(super) fn concatenate(files: Vec<File>) -> Result<String, BuildError> {
    let mut text = String::new();
    for file in files {
        let failed = |source| BuildError::Examples {
            path: file.path.clone(),
            source,
        };
        for Document {
            number,
            line,
            text: document,
        } in documents(&file.bytes).map_err(failed)?
        {
            let value = from_yaml(&document).map_err(|error| failed(Error::yaml(number, line, &error)))?;
            if !value.is_object() {
                let found = "no mapping";
                return Err(failed(Error::NotAnObject {
                    document: number,
                    line,
                    found,
                }));
            }
            text.push_str("---\n");
            text.push_str(document.trim_start_matches('\u{feff}').trim_end());
            text.push('\n');
        }
    }
    Ok(text)
}
