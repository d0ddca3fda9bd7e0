//! Splitting `package.yaml` into documents, line by line, as Kubernetes' YAML reader does.

use std::io::{BufRead, Read};

use crate::error::Error;
use crate::limits::{MAX_DOCUMENT_BYTES, MAX_DOCUMENTS, MAX_PACKAGE_BYTES};
use crate::text::shorten;

/// One document of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// From 1; empty documents don't count.
    pub(crate) number: u32,
    /// Line of the stream that `text` begins in, from 1.
    pub(crate) line: u64,
    /// The YAML, without separators and without anything behind a `...` line.
    pub(crate) text: String,
}

/// The documents of a stream. After an error there are no more.
pub(crate) struct Documents<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Bytes read so far.
    bytes: u64,
    /// Lines read so far.
    lines: u64,
    /// Documents returned so far.
    count: u32,
    done: bool,
}

impl<R: BufRead> Documents<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            bytes: 0,
            lines: 0,
            count: 0,
            done: false,
        }
    }

    /// The next document that is not empty.
    pub(crate) fn next(&mut self) -> Result<Option<Document>, Error> {
        while !self.done {
            let document = self.read_one();
            self.done |= document.is_err();
            if let Some(document) = document? {
                return Ok(Some(document));
            }
        }
        Ok(None)
    }

    /// Reads up to the next separator or the end; `None` for an empty document.
    fn read_one(&mut self) -> Result<Option<Document>, Error> {
        self.buffer.clear();
        let first_line = self.lines + 1;
        let mut content = false;
        let mut ended = false;
        loop {
            let start = self.buffer.len();
            if !self.read_line(first_line)? {
                self.done = true;
                break;
            }
            let mut line = self.buffer.get(start..).unwrap_or_default();
            if self.lines == 1 {
                line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
            }
            if let Some(rest) = line.strip_prefix(b"---") {
                let rest = rest.trim_ascii();
                if !rest.is_empty() && !rest.starts_with(b"#") {
                    let text = shorten(&String::from_utf8_lossy(rest));
                    return Err(Error::Separator {
                        document: self.count + 1,
                        line: self.lines,
                        text,
                    });
                }
                self.buffer.truncate(start);
                break;
            }
            if is_document_end(line) {
                // What follows is another document for YAML, and not read by the reference. A marker in front
                // of all content, as between concatenated files, ends nothing.
                ended |= content;
                blank(&mut self.buffer, start);
            } else if ended {
                blank(&mut self.buffer, start);
            } else {
                content |= !is_empty(line);
            }
        }
        if !content {
            return Ok(None);
        }
        if self.count == MAX_DOCUMENTS {
            return Err(Error::TooManyDocuments);
        }
        self.count += 1;
        let (number, line) = (self.count, first_line);
        let bytes = std::mem::take(&mut self.buffer);
        let capacity = bytes.len();
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = error
                .as_bytes()
                .get(..error.utf8_error().valid_up_to())
                .unwrap_or_default();
            Error::NotUtf8 {
                document: number,
                line: line + newlines(good),
            }
        })?;
        // The next document is probably about as long.
        self.buffer.reserve(capacity);
        Ok(Some(Document { number, line, text }))
    }

    /// Appends one line with its end to the buffer; false at the end of the stream.
    fn read_line(&mut self, first_line: u64) -> Result<bool, Error> {
        let room = MAX_DOCUMENT_BYTES.saturating_sub(self.buffer.len());
        let left = MAX_PACKAGE_BYTES.saturating_sub(self.bytes);
        // One byte more than allowed, to see whether there is more.
        let most = (room as u64).min(left) + 1;
        let read = self
            .reader
            .by_ref()
            .take(most)
            .read_until(b'\n', &mut self.buffer)
            .map_err(Error::reading)?;
        if read as u64 > left {
            return Err(Error::TooLarge);
        }
        if read > room {
            return Err(Error::DocumentTooLarge {
                document: self.count + 1,
                line: first_line,
            });
        }
        self.bytes += read as u64;
        self.lines += u64::from(read > 0);
        Ok(read > 0)
    }
}

/// Replaces the line that begins at `start` by an empty one, so that line numbers stay right.
fn blank(buffer: &mut Vec<u8>, start: usize) {
    buffer.truncate(start);
    buffer.push(b'\n');
}

/// Whether a line says nothing: blank, a comment, or an indented marker.
fn is_empty(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.is_empty() || line.starts_with(b"#") || line == b"---" || line == b"..."
}

/// Whether a line is the YAML document end marker, with nothing but a comment behind it.
fn is_document_end(line: &[u8]) -> bool {
    line.strip_prefix(b"...").is_some_and(|rest| {
        let trimmed = rest.trim_ascii_start();
        trimmed.is_empty() || (trimmed.len() < rest.len() && trimmed.starts_with(b"#"))
    })
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
