//! The content store: what was fetched and verified once isn't fetched again.
//!
//! ```text
//! <root>/version                     format of the store
//! <root>/blobs/<algorithm>/<hex>     manifests and layers, by digest
//! <root>/refs/<hash>                 tag → digest, for pull policy Never
//! <root>/derived/<format>/<digest>/  what was computed from content, with checksums
//! <root>/tmp/                        files being written
//! ```
//!
//! Everything is written to a temporary file, synced and renamed, and checked again when it is read, so that
//! several processes can share a store and losing or damaging any file costs time only. A store that can't be
//! written works without keeping anything: content then lives in unnamed temporary files as long as it is
//! used.
//!
//! All methods block on the disk; async callers use `spawn_blocking`.

mod blob;
mod derived;
mod evict;
mod figures;
mod refs;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use oci::Digest;

use crate::limits::{DEFAULT_STORE_BYTES, STALE_TEMP_AGE};

pub use blob::{Blob, BlobReader, BlobWriter};
pub use derived::Derived;
pub use evict::Evicted;
pub use figures::{Figures, Lookups};

/// Format of the files below the root. A store of another format is left alone.
const VERSION: &str = "1\n";

/// How a store is kept.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Size in bytes beyond which the least recently used content goes.
    pub max_bytes: u64,
    /// Where content lives when the store can't be written; the system's temporary directory if none is
    /// given.
    pub scratch: Option<PathBuf>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            max_bytes: DEFAULT_STORE_BYTES,
            scratch: None,
        }
    }
}

/// Why content can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// More bytes than the descriptor says.
    #[error("content {digest} is longer than its {expected} bytes")]
    TooLong {
        /// The content.
        digest: Digest,
        /// Bytes that its descriptor says.
        expected: u64,
    },
    /// Fewer bytes than the descriptor says.
    #[error("content {digest} ends after {actual} of {expected} bytes")]
    TooShort {
        /// The content.
        digest: Digest,
        /// Bytes that its descriptor says.
        expected: u64,
        /// Bytes written.
        actual: u64,
    },
    /// The bytes have another digest.
    #[error("content has digest {actual} and not {expected}")]
    Mismatch {
        /// The digest wanted.
        expected: Digest,
        /// The digest of what was written.
        actual: Digest,
    },
    /// A name that can't be a file's.
    #[error("{0:?} is not a name for derived content: use a-z, 0-9, '-' and '.'")]
    Name(String),
}

/// The content store. Cheap to clone; clones share pins and single flight.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Nothing if the store can't be written: then nothing is kept, but what is there is read.
    writable: bool,
    readable: bool,
    problem: Option<String>,
    root: PathBuf,
    scratch: PathBuf,
    max_bytes: u64,
    used: AtomicU64,
    tally: figures::Tally,
    pins: Mutex<BTreeSet<Digest>>,
    flights: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

impl Store {
    /// Opens the store at `root`, and makes it if it isn't there. Never fails: a root that can't be written
    /// gives a store that keeps nothing, [`problem`](Self::problem) says why. Files left over by a crash are
    /// removed.
    #[must_use]
    pub fn open(root: &Path, config: StoreConfig) -> Self {
        let scratch = config.scratch.unwrap_or_else(std::env::temp_dir);
        let (writable, readable, problem) = match prepare(root) {
            Ok(()) => (true, true, None),
            Err(problem) => {
                let text = &problem.text;
                tracing::warn!(root = %root.display(), problem = %text, "content store keeps nothing");
                (false, problem.readable, Some(problem.text))
            }
        };
        let shared = Shared {
            writable,
            readable,
            problem,
            root: root.to_owned(),
            scratch,
            max_bytes: config.max_bytes,
            used: AtomicU64::new(0),
            tally: figures::Tally::default(),
            pins: Mutex::default(),
            flights: Mutex::default(),
        };
        let store = Self {
            shared: Arc::new(shared),
        };
        if writable {
            store.sweep(SystemTime::now());
            store.shared.used.store(store.measure(), Ordering::Relaxed);
        }
        store
    }

    /// A store that keeps nothing.
    #[must_use]
    pub fn none() -> Self {
        let shared = Shared {
            writable: false,
            readable: false,
            problem: Some("no content store is configured".to_owned()),
            root: PathBuf::new(),
            scratch: std::env::temp_dir(),
            max_bytes: 0,
            used: AtomicU64::new(0),
            tally: figures::Tally::default(),
            pins: Mutex::default(),
            flights: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Whether content is kept.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.shared.writable
    }

    /// Why nothing is kept, if so.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.shared.problem.as_deref()
    }

    /// Bytes of all content, as far as this process knows.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.shared.used.load(Ordering::Relaxed)
    }

    /// Keeps exactly these digests, and what they lead to, from being evicted; replaces the earlier set.
    pub fn pin(&self, digests: BTreeSet<Digest>) {
        *lock(&self.shared.pins) = digests;
    }

    /// One holder at a time per digest, within this process: whoever waited looks into the store before
    /// fetching.
    pub async fn fetch_once(&self, digest: &Digest) -> Flight {
        let cell = {
            let mut flights = lock(&self.shared.flights);
            flights.retain(|_, cell| cell.strong_count() > 0);
            match flights.get(digest).and_then(Weak::upgrade) {
                Some(cell) => cell,
                None => {
                    let cell = Arc::new(tokio::sync::Mutex::new(()));
                    flights.insert(digest.clone(), Arc::downgrade(&cell));
                    cell
                }
            }
        };
        Flight {
            _guard: cell.lock_owned().await,
        }
    }

    fn path(&self, parts: &[&str]) -> PathBuf {
        parts
            .iter()
            .fold(self.shared.root.clone(), |path, part| path.join(part))
    }

    fn added(&self, bytes: u64) {
        let used = self
            .shared
            .used
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes);
        if used > self.shared.max_bytes {
            self.evict();
        }
    }

    /// Removes temporary files older than [`STALE_TEMP_AGE`].
    fn sweep(&self, now: SystemTime) {
        for entry in entries(&self.path(&["tmp"])) {
            let age = entry
                .metadata()
                .and_then(|meta| meta.modified())
                .map(|time| now.duration_since(time));
            if matches!(age, Ok(Ok(age)) if age > STALE_TEMP_AGE) {
                remove(&entry.path());
            }
        }
    }
}

/// Permission to fetch a digest; others wait until it is dropped.
#[derive(Debug)]
pub struct Flight {
    _guard: tokio::sync::OwnedMutexGuard<()>,
}

struct Problem {
    text: String,
    readable: bool,
}

/// Makes the folders and proves that files can be made and renamed there.
fn prepare(root: &Path) -> Result<(), Problem> {
    let version = root.join("version");
    match fs::read_to_string(&version) {
        Ok(found) if found != VERSION => {
            return Err(Problem {
                text: format!(
                    "{} was made by another version of Gantry: use another folder",
                    root.display()
                ),
                readable: false,
            });
        }
        _ => {}
    }
    let attempt = || -> Result<(), StoreError> {
        for folder in ["tmp", "blobs/sha256", "blobs/sha512", "refs", "derived"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(|source| StoreError::Io {
                action: "make",
                path,
                source,
            })?;
        }
        write_atomically(root, &version, VERSION.as_bytes())
    };
    attempt().map_err(|error| Problem {
        text: chain(&error),
        readable: true,
    })
}

/// Writes a small file so that it is there as a whole or not at all.
fn write_atomically(root: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let tmp = root.join("tmp");
    let failed = |action, source| StoreError::Io {
        action,
        path: path.to_owned(),
        source,
    };
    let mut file =
        tempfile::NamedTempFile::new_in(&tmp).map_err(|source| failed("make a file for", source))?;
    io::Write::write_all(&mut file, bytes).map_err(|source| failed("write", source))?;
    file.as_file()
        .sync_all()
        .map_err(|source| failed("sync", source))?;
    file.persist(path)
        .map_err(|error| failed("rename a file to", error.error))?;
    sync_parent(path);
    Ok(())
}

/// Makes a rename durable. Failing costs only what a crash would cost.
fn sync_parent(path: &Path) {
    if let Some(folder) = path.parent().and_then(|parent| fs::File::open(parent).ok()) {
        let _ = folder.sync_all();
    }
}

/// The entries of a folder; none if it can't be read.
fn entries(folder: &Path) -> impl Iterator<Item = fs::DirEntry> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

/// Removes a file or folder. Somebody else may have been faster, or the disk is read-only: both cost nothing.
fn remove(path: &Path) {
    let outcome = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    if let Err(error) = outcome
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(path = %path.display(), %error, "cannot remove a file of the content store");
    }
}

/// Marks a file as used now, for eviction. On a read-only disk nothing is evicted, so failing doesn't matter.
fn touch(file: &fs::File) {
    let _ = file.set_modified(SystemTime::now());
}

/// An error with its sources, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
