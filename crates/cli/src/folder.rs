//! Reading the files of a folder.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use package::build::File;

use crate::limits::{MAX_FILE_BYTES, MAX_FOLDER_DEPTH, MAX_FOLDER_FILES};

/// Why a folder or file can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("{path} can't be read")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{0} is not a folder; name the folder of the package")]
    NotAFolder(PathBuf),
    #[error("{0} has more than {MAX_FOLDER_FILES} files; name the folder of the package")]
    TooMany(PathBuf),
    #[error("{0} has folders nested deeper than {MAX_FOLDER_DEPTH}; name the folder of the package")]
    TooDeep(PathBuf),
    #[error("{path} has more than {most} bytes; split it")]
    TooLarge { path: PathBuf, most: u64 },
    #[error("the name of {0} is not UTF-8; rename it")]
    Name(PathBuf),
}

/// All YAML files below `root`, but for those below `except`. Links to files are followed, links to folders
/// not.
pub(crate) fn yaml_files(root: &Path, except: Option<&Path>) -> Result<Vec<File>, FolderError> {
    if !root.is_dir() {
        // Says "no such file" where that is what is wrong.
        fs::metadata(root).map_err(|source| FolderError::Read {
            path: root.to_owned(),
            source,
        })?;
        return Err(FolderError::NotAFolder(root.to_owned()));
    }
    let except = except.and_then(|path| path.canonicalize().ok());
    let mut files = Vec::new();
    let mut folders = vec![(root.to_owned(), String::new(), 0)];
    let mut seen = 0;
    while let Some((folder, prefix, depth)) = folders.pop() {
        if depth > MAX_FOLDER_DEPTH {
            return Err(FolderError::TooDeep(root.to_owned()));
        }
        let failed = |source| FolderError::Read {
            path: folder.clone(),
            source,
        };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            seen += 1;
            if seen > MAX_FOLDER_FILES {
                return Err(FolderError::TooMany(root.to_owned()));
            }
            let kind = entry.file_type().map_err(|source| FolderError::Read {
                path: path.clone(),
                source,
            })?;
            if kind.is_dir() {
                let skipped = except.is_some() && path.canonicalize().ok() == except;
                if !skipped {
                    folders.push((path.clone(), format!("{prefix}{}/", name(&path)?), depth + 1));
                }
            } else if has_yaml_name(&path) && path.is_file() {
                files.push(File {
                    path: format!("{prefix}{}", name(&path)?),
                    bytes: read(&path, MAX_FILE_BYTES)?,
                });
            }
        }
    }
    Ok(files)
}

/// Reads a file of at most `most` bytes.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, FolderError> {
    let failed = |source| FolderError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    fs::File::open(path)
        .map_err(failed)?
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(FolderError::TooLarge {
            path: path.to_owned(),
            most,
        });
    }
    Ok(bytes)
}

fn has_yaml_name(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn name(path: &Path) -> Result<&str, FolderError> {
    path.file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| FolderError::Name(path.to_owned()))
}
