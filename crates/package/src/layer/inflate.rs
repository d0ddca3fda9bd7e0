//! Inflating a layer within bounds. The compression is recognised by its first bytes: what the manifest says
//! about it is not reliable.

use std::cell::Cell;
use std::io::{self, BufRead, Cursor, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use oci::{Digest, Digester};

use super::LayerError;
use crate::limits::{MAX_RATIO, MAX_ZSTD_WINDOW_LOG, RATIO_FREE_BYTES};

pub(crate) const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// A failure of what brings the layer (a disk), as opposed to a fault of the layer.
#[derive(Debug, thiserror::Error)]
#[error("the layer's source can't be read")]
pub(crate) struct SourceFailed(#[source] pub(crate) io::Error);

/// The inflated bytes of a layer. Errors are [`LayerError`] or [`SourceFailed`], inside of [`io::Error`].
pub(crate) struct Inflated<'a> {
    decoder: Box<dyn Read + 'a>,
    consumed: Rc<Cell<u64>>,
    produced: u64,
    most: u64,
    hash: Option<(Digester, Digest)>,
}

impl<'a> Inflated<'a> {
    /// Inflates `reader` to at most `most` bytes.
    pub(crate) fn new(
        reader: impl BufRead + 'a,
        most: u64,
        diff_id: Option<Digest>,
    ) -> Result<Self, io::Error> {
        let consumed = Rc::new(Cell::new(0));
        let mut reader = Counted {
            inner: reader,
            count: Rc::clone(&consumed),
        };
        let mut magic = Vec::new();
        reader.by_ref().take(ZSTD.len() as u64).read_to_end(&mut magic)?;
        let is = |wanted: &[u8]| magic.starts_with(wanted);
        let (gzip, zstd) = (is(GZIP), is(ZSTD));
        let whole = Cursor::new(magic).chain(reader);
        let decoder: Box<dyn Read + 'a> = if gzip {
            Box::new(MultiGzDecoder::new(whole))
        } else if zstd {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        } else {
            Box::new(whole)
        };
        let hash = diff_id.map(|wanted| (Digester::new(wanted.algorithm()), wanted));
        Ok(Self {
            decoder,
            consumed,
            produced: 0,
            most,
            hash,
        })
    }

    /// Reads what is left, so that the end of the compressed data is checked too, and compares the digest.
    pub(crate) fn finish(mut self) -> Result<u64, io::Error> {
        io::copy(&mut self, &mut io::sink())?;
        if let Some((digester, wanted)) = self.hash {
            let found = digester.finish();
            if found != wanted {
                return Err(io::Error::other(LayerError::DiffId { wanted, found }));
            }
        }
        Ok(self.produced)
    }
}

impl Read for Inflated<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer).map_err(|error| {
            let ours = error.get_ref().is_some_and(|inner| inner.is::<SourceFailed>());
            if ours || error.kind() == io::ErrorKind::Interrupted {
                error
            } else {
                io::Error::other(LayerError::Damaged(error))
            }
        })?;
        self.produced += read as u64;
        if self.produced > self.most {
            return Err(io::Error::other(LayerError::TooLarge(self.most)));
        }
        let ratio = self.produced / self.consumed.get().max(1);
        if self.produced > RATIO_FREE_BYTES && ratio > MAX_RATIO {
            return Err(io::Error::other(LayerError::Ratio(MAX_RATIO)));
        }
        if let (Some((digester, _)), Some(bytes)) = (&mut self.hash, buffer.get(..read)) {
            digester.update(bytes);
        }
        Ok(read)
    }
}

/// Counts what is taken out of a reader, and marks its errors.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

fn mark(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::Interrupted {
        error
    } else {
        io::Error::other(SourceFailed(error))
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).map_err(mark)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf().map_err(mark)
    }

    fn consume(&mut self, amount: usize) {
        self.count.set(self.count.get() + amount as u64);
        self.inner.consume(amount);
    }
}
