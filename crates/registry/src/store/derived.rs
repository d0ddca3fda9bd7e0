//! What was computed from content: a folder of files with their checksums.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::{Algorithm, Digest};

use super::{Store, StoreError, blob, entries, remove, sync_parent, touch};

/// Name of the file that lists the digests of the others.
pub(super) const SUMS: &str = "SUMS";

/// A folder of derived files, checked when it was opened.
#[derive(Clone, Debug)]
pub struct Derived {
    path: PathBuf,
    /// Keeps a folder that isn't in the store until nobody uses it.
    _scratch: Option<Arc<tempfile::TempDir>>,
}

impl Derived {
    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens one of its files.
    ///
    /// # Errors
    /// If it isn't there. The folder may have been evicted in between: compute it again.
    pub fn open(&self, name: &str) -> io::Result<File> {
        File::open(self.path.join(name))
    }
}

impl Store {
    /// What was derived from `digest` in `format`, if the store has it unharmed. All files are hashed now; a
    /// folder that doesn't match its checksums is removed, with a warning, and counts as absent.
    #[must_use]
    pub fn derived(&self, format: &str, digest: &Digest) -> Option<Derived> {
        self.shared.tally.derived(self.unharmed_derived(format, digest))
    }

    fn unharmed_derived(&self, format: &str, digest: &Digest) -> Option<Derived> {
        if !self.shared.readable || !valid_name(format) {
            return None;
        }
        let path = self.derived_path(format, digest);
        let recorded = File::open(path.join(SUMS)).ok()?;
        touch(&recorded);
        let text = fs::read_to_string(path.join(SUMS)).unwrap_or_default();
        match sums(&path) {
            Ok(actual) if render(&actual) == text => Some(Derived { path, _scratch: None }),
            _ => {
                tracing::warn!(format, %digest, "derived content was changed: removed, made again");
                remove(&path);
                None
            }
        }
    }

    /// Keeps what `fill` writes into an empty folder as derived from `digest` in `format`. Only plain files
    /// count. In a store that keeps nothing, the folder lives as long as the answer; so it does when `fill` fails and
    /// `by_disk` says that the disk did it: a full one must not stop anybody.
    ///
    /// # Errors
    /// Whatever `fill` returns, or that the disk failed.
    pub fn put_derived<E: From<StoreError>>(
        &self,
        format: &str,
        digest: &Digest,
        mut fill: impl FnMut(&Path) -> Result<(), E>,
        by_disk: impl Fn(&E) -> bool,
    ) -> Result<Derived, E> {
        if !valid_name(format) {
            return Err(StoreError::Name(format.to_owned()).into());
        }
        let kept = if self.shared.writable {
            let made = tempfile::tempdir_in(self.path(&["tmp"]));
            if made.is_err() {
                self.shared.tally.failed();
            }
            made.ok()
        } else {
            None
        };
        let Some(folder) = kept else {
            return self.put_aside(fill);
        };
        match fill(folder.path()) {
            Err(error) if by_disk(&error) => {
                tracing::warn!(%digest, "the store's disk has no room for derived content, or fails: it is not kept");
                drop(folder);
                return self.put_aside(fill);
            }
            filled => filled?,
        }
        let target = self.derived_path(format, digest);
        match self.keep(&folder, &target) {
            Ok(bytes) => {
                // renamed away: nothing is left to remove
                let _ = folder.keep();
                self.added(bytes);
                Ok(Derived {
                    path: target,
                    _scratch: None,
                })
            }
            Err(error) => {
                tracing::warn!(error = %super::chain(&error), "derived content is not kept in the store");
                self.shared.tally.failed();
                Ok(Derived {
                    path: folder.path().to_owned(),
                    _scratch: Some(Arc::new(folder)),
                })
            }
        }
    }

    /// Fills a folder outside the store, which lives as long as the answer.
    fn put_aside<E: From<StoreError>>(
        &self,
        mut fill: impl FnMut(&Path) -> Result<(), E>,
    ) -> Result<Derived, E> {
        let path = self.shared.scratch.clone();
        let folder = tempfile::tempdir_in(&path).map_err(|source| StoreError::Io {
            action: "make a folder in",
            path,
            source,
        })?;
        fill(folder.path())?;
        Ok(Derived {
            path: folder.path().to_owned(),
            _scratch: Some(Arc::new(folder)),
        })
    }

    /// Seals the folder with checksums and moves it to its place.
    fn keep(&self, folder: &tempfile::TempDir, target: &Path) -> Result<u64, StoreError> {
        let failed = |action, source| StoreError::Io {
            action,
            path: target.to_owned(),
            source,
        };
        let sums = sums(folder.path()).map_err(|source| failed("check the files for", source))?;
        let sealed = folder.path().join(SUMS);
        fs::write(&sealed, render(&sums)).map_err(|source| failed("write the checksums of", source))?;
        for name in sums.keys().map(String::as_str).chain([SUMS]) {
            let sync = |file: File| {
                touch(&file);
                file.sync_all()
            };
            File::open(folder.path().join(name))
                .and_then(sync)
                .map_err(|source| failed("sync the files of", source))?;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|source| failed("make the folder of", source))?;
        }
        if fs::rename(folder.path(), target).is_err() {
            // somebody else was faster, or what is there is damaged: a folder can't be replaced in one step
            remove(target);
            fs::rename(folder.path(), target).map_err(|source| failed("rename a folder to", source))?;
        }
        sync_parent(target);
        Ok(super::evict::folder_bytes(target))
    }

    pub(super) fn derived_path(&self, format: &str, digest: &Digest) -> PathBuf {
        self.path(&[
            "derived",
            format,
            &format!("{}-{}", digest.algorithm(), digest.hex()),
        ])
    }
}

/// The digests of the plain files in a folder, by name.
fn sums(folder: &Path) -> io::Result<BTreeMap<String, Digest>> {
    let like = Digest::of(Algorithm::Sha256, b"");
    let mut sums = BTreeMap::new();
    for entry in entries(folder) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != SUMS {
            if !entry.file_type()?.is_file() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{name} is not a plain file"),
                ));
            }
            let (digest, _) = blob::hash(&File::open(entry.path())?, &like)?;
            sums.insert(name, digest);
        }
    }
    Ok(sums)
}

fn render(sums: &BTreeMap<String, Digest>) -> String {
    sums.iter()
        .map(|(name, digest)| format!("{digest} {name}\n"))
        .collect()
}

/// The digest that the name of a derived folder holds.
pub(super) fn digest_of(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.split_once('-')?;
    Digest::parse(&format!("{algorithm}:{hex}")).ok()
}

fn valid_name(name: &str) -> bool {
    let byte_ok =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    !name.is_empty() && name.len() <= 64 && !name.starts_with('.') && name.bytes().all(byte_ok)
}
