//! Content by digest.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use oci::{Descriptor, Digest, Digester};

use super::{Store, StoreError, remove, sync_parent, touch};

/// Verified content: an open file, so that it stays readable when somebody evicts it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blob {
    file: Arc<File>,
    digest: Digest,
    size: u64,
}

impl Blob {
    /// Its digest.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Reads from the start. Readers don't disturb each other.
    #[must_use]
    pub fn reader(&self) -> BlobReader {
        BlobReader {
            file: Arc::clone(&self.file),
            position: 0,
            size: self.size,
        }
    }

    /// All of it, for small content such as manifests.
    ///
    /// # Errors
    /// If it has more than `limit` bytes, or the file can't be read.
    pub fn read_all(&self, limit: u64) -> io::Result<Vec<u8>> {
        if self.size > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("larger than {limit} bytes"),
            ));
        }
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads a [`Blob`] at its own position.
#[derive(Clone, Debug)]
pub struct BlobReader {
    file: Arc<File>,
    position: u64,
    size: u64,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let read = match buffer.get_mut(..wanted) {
            Some(buffer) if wanted > 0 => self.file.read_at(buffer, self.position)?,
            _ => 0,
        };
        self.position += read as u64;
        Ok(read)
    }
}

/// Takes content that is being fetched: checks its size as it grows and its digest at the end. Dropped before
/// [`commit`](Self::commit), it leaves nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    target: Target,
    digester: Digester,
    expected: Digest,
    size: u64,
    written: u64,
    store: Store,
}

#[derive(Debug)]
enum Target {
    Named(tempfile::NamedTempFile),
    Unnamed(File),
    #[cfg(test)]
    Broken(Box<dyn BrokenDisk>),
}

#[cfg(test)]
pub(super) trait BrokenDisk: Write + std::fmt::Debug + Send + Sync {}

impl BlobWriter {
    /// Appends bytes.
    ///
    /// # Errors
    /// If there are more bytes than the descriptor says, or the disk refuses them.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.written = self.written.saturating_add(bytes.len() as u64);
        if self.written > self.size {
            return Err(StoreError::TooLong {
                digest: self.expected.clone(),
                expected: self.size,
            });
        }
        self.digester.update(bytes);
        let outcome = match &mut self.target {
            Target::Named(file) => file.write_all(bytes),
            Target::Unnamed(file) => file.write_all(bytes),
            #[cfg(test)]
            Target::Broken(disk) => disk.write_all(bytes),
        };
        outcome.map_err(|source| self.failed("write", source))
    }

    /// Bytes taken so far.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Whether the content will be kept in the store.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        matches!(self.target, Target::Named(_))
    }

    /// Verifies size and digest, and makes the content visible in the store (unless it keeps nothing).
    ///
    /// # Errors
    /// If size or digest differ, or the disk fails.
    pub fn commit(self) -> Result<Blob, StoreError> {
        let Self {
            target,
            digester,
            expected,
            size,
            written,
            store,
        } = self;
        if written < size {
            return Err(StoreError::TooShort {
                digest: expected,
                expected: size,
                actual: written,
            });
        }
        let actual = digester.finish();
        if actual != expected {
            return Err(StoreError::Mismatch { expected, actual });
        }
        let path = store.blob_path(&expected);
        let failed = |action, source| StoreError::Io {
            action,
            path: path.clone(),
            source,
        };
        let file = match target {
            Target::Unnamed(file) => file,
            Target::Named(file) => {
                // the kernel's own time of a write is coarser, and could be older than that of a read before
                // it
                touch(file.as_file());
                file.as_file()
                    .sync_all()
                    .map_err(|source| failed("sync", source))?;
                let old = fs::metadata(&path).map_or(0, |meta| meta.len());
                let file = file
                    .persist(&path)
                    .map_err(|error| failed("rename a file to", error.error))?;
                sync_parent(&path);
                store.added(size.saturating_sub(old));
                file
            }
            #[cfg(test)]
            Target::Broken(_) => return Err(failed("sync", io::ErrorKind::StorageFull.into())),
        };
        Ok(Blob {
            file: Arc::new(file),
            digest: expected,
            size,
        })
    }

    fn failed(&self, action: &'static str, source: io::Error) -> StoreError {
        let path = match &self.target {
            Target::Named(file) => file.path().to_owned(),
            _ => self.store.shared.scratch.clone(),
        };
        StoreError::Io { action, path, source }
    }

    #[cfg(test)]
    pub(super) fn break_disk(&mut self, disk: Box<dyn BrokenDisk>) {
        self.target = Target::Broken(disk);
    }
}

impl Store {
    /// The content with this digest, if the store has it unharmed. It is hashed now; what doesn't match is
    /// removed, with a warning, and counts as absent.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> Option<Blob> {
        self.shared.tally.blob(self.unharmed(digest))
    }

    fn unharmed(&self, digest: &Digest) -> Option<Blob> {
        if !self.shared.readable {
            return None;
        }
        let path = self.blob_path(digest);
        let file = File::open(&path).ok()?;
        match hash(&file, digest) {
            Ok((actual, size)) if actual == *digest => {
                touch(&file);
                Some(Blob {
                    file: Arc::new(file),
                    digest: digest.clone(),
                    size,
                })
            }
            Ok((actual, _)) => {
                tracing::warn!(%digest, %actual, "content in the store was changed: removed, fetched again");
                remove(&path);
                None
            }
            Err(error) => {
                tracing::warn!(%digest, %error, "content in the store cannot be read: fetched again");
                None
            }
        }
    }

    /// Whether the store has a file for this digest, without checking it.
    #[must_use]
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.shared.readable && self.blob_path(digest).is_file()
    }

    /// A writer for the content that a descriptor announces. In a store that keeps nothing, it writes to an
    /// unnamed file.
    ///
    /// # Errors
    /// If neither the store nor the temporary directory takes a file.
    pub fn writer(&self, descriptor: &Descriptor) -> Result<BlobWriter, StoreError> {
        if !self.shared.writable {
            return self.unnamed(descriptor);
        }
        match tempfile::NamedTempFile::new_in(self.path(&["tmp"])) {
            Ok(file) => Ok(self.start(Target::Named(file), descriptor)),
            Err(error) => {
                tracing::warn!(%error, "content store cannot be written: content is not kept");
                self.shared.tally.failed();
                self.unnamed(descriptor)
            }
        }
    }

    /// A writer to an unnamed file in the temporary directory: for content that the store could not take.
    ///
    /// # Errors
    /// If the temporary directory takes no file.
    pub fn scratch_writer(&self, descriptor: &Descriptor) -> Result<BlobWriter, StoreError> {
        if self.shared.writable {
            self.shared.tally.failed();
        }
        self.unnamed(descriptor)
    }

    fn unnamed(&self, descriptor: &Descriptor) -> Result<BlobWriter, StoreError> {
        let path: PathBuf = self.shared.scratch.clone();
        match tempfile::tempfile_in(&path) {
            Ok(file) => Ok(self.start(Target::Unnamed(file), descriptor)),
            Err(source) => Err(StoreError::Io {
                action: "make a file in",
                path,
                source,
            }),
        }
    }

    fn start(&self, target: Target, descriptor: &Descriptor) -> BlobWriter {
        BlobWriter {
            target,
            digester: Digester::new(descriptor.digest.algorithm()),
            expected: descriptor.digest.clone(),
            size: descriptor.size,
            written: 0,
            store: self.clone(),
        }
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path(&["blobs", digest.algorithm().as_str(), digest.hex()])
    }
}

/// Digest and size of a whole file, which is read by position.
pub(super) fn hash(file: &File, like: &Digest) -> io::Result<(Digest, u64)> {
    let mut digester = Digester::new(like.algorithm());
    let mut buffer = vec![0; 256 << 10];
    let mut position = 0;
    loop {
        let read = file.read_at(&mut buffer, position)?;
        match buffer.get(..read) {
            Some(bytes) if read > 0 => digester.update(bytes),
            _ => return Ok((digester.finish(), position)),
        }
        position += read as u64;
    }
}
