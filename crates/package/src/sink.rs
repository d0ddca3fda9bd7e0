//! Where parsed objects go, and how they come back.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::limits::MAX_DOCUMENT_BYTES;
use crate::object::{ObjectEntry, ObjectHeader, content_hash};

/// Takes the objects of a package while it is parsed.
///
/// It gets every object whose type is known, in the order of the documents. Which of them the package
/// establishes is known only at the end (the metadata may come last): those are in
/// [`crate::Parsed::objects`], with offsets that count one line per object. If parsing fails, what the sink
/// got must be thrown away.
pub trait Sink {
    /// Takes one object as canonical JSON without a line end.
    ///
    /// # Errors
    /// Stop the parse; the caller sees them as [`crate::Error::Sink`].
    fn object(&mut self, header: &ObjectHeader, canonical_json: &[u8]) -> io::Result<()>;
}

/// Writes one JSON object per line: the form that [`read_object`] reads.
#[derive(Debug)]
pub struct JsonLines<W> {
    writer: W,
}

impl<W: Write> JsonLines<W> {
    /// Writes to `writer`, which should be buffered and at its beginning.
    pub fn new(writer: W) -> Self {
        Self { writer }
    }

    /// Flushes and returns the writer.
    ///
    /// # Errors
    /// If flushing fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.writer.flush()?;
        Ok(self.writer)
    }
}

impl<W: Write> Sink for JsonLines<W> {
    fn object(&mut self, _: &ObjectHeader, canonical_json: &[u8]) -> io::Result<()> {
        self.writer.write_all(canonical_json)?;
        self.writer.write_all(b"\n")
    }
}

/// Forgets the objects: for callers that only want to know whether a package is valid.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Sink for Discard {
    fn object(&mut self, _: &ObjectHeader, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// Why an object can't be read back from JSON lines.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file can't be read, or ends early.
    #[error("{kind} {name} can't be read from the parsed package")]
    Io {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// What the file system says.
        source: io::Error,
    },
    /// The bytes are not those that were written.
    #[error("the parsed package is damaged at {kind} {name}; it must be parsed again")]
    Damaged {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
}

/// Reads the object of `entry` from JSON lines and checks its hash.
///
/// # Errors
/// If the file can't be read or its content is not what was written.
pub fn read_object<R: Read + Seek>(file: &mut R, entry: &ObjectEntry) -> Result<Value, ReadError> {
    decode(entry, &read_bytes(file, entry)?)
}

/// As [`read_object`], with the values of its top-level fields as text: an object as a tree takes five times its size,
/// and who only passes it on needs none.
///
/// # Errors
/// As [`read_object`].
pub fn read_fields<R: Read + Seek>(file: &mut R, entry: &ObjectEntry) -> Result<Fields, ReadError> {
    decode(entry, &read_bytes(file, entry)?)
}

/// Top-level fields of an object, their values as JSON text.
pub type Fields = BTreeMap<String, Box<RawValue>>;

fn damaged(entry: &ObjectEntry) -> ReadError {
    ReadError::Damaged {
        kind: entry.kind.clone(),
        name: entry.name.clone(),
    }
}

fn decode<T: DeserializeOwned>(entry: &ObjectEntry, bytes: &[u8]) -> Result<T, ReadError> {
    serde_json::from_slice(bytes).map_err(|_| damaged(entry))
}

fn read_bytes<R: Read + Seek>(file: &mut R, entry: &ObjectEntry) -> Result<Vec<u8>, ReadError> {
    let failed = |source| ReadError::Io {
        kind: entry.kind.clone(),
        name: entry.name.clone(),
        source,
    };
    // Canonical JSON can be longer than the YAML it came from (escapes, expanded aliases), but not without
    // bound.
    let len = usize::try_from(entry.len).map_err(|_| damaged(entry))?;
    if len > MAX_DOCUMENT_BYTES.saturating_mul(8) {
        return Err(damaged(entry));
    }
    file.seek(SeekFrom::Start(entry.offset)).map_err(failed)?;
    let mut bytes = vec![0; len];
    file.read_exact(&mut bytes).map_err(failed)?;
    if content_hash(&bytes) != entry.content_hash {
        return Err(damaged(entry));
    }
    Ok(bytes)
}
