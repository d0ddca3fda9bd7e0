//! Blobs: streamed, bounded by their descriptor, taken up again where they broke off, verified.

use std::future::Future;

use bytes::{Bytes, BytesMut};
use oci::{Descriptor, Digester, Reference};
use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::{At, Error, tidy};
use crate::exchange::{Answer, Request};
use crate::keychain::Keychain;
use crate::limits::MAX_RESUMES;
use crate::metrics::Operation;
use crate::retry;
use crate::session::Session;
use crate::store::{Blob, BlobWriter, StoreError, chain};

/// How many bytes go to the disk at once: few switches of thread, little memory.
const WRITE_BYTES: usize = 256 << 10;

impl Client {
    /// Writes the content of a descriptor to `sink`. At most as many bytes as the descriptor says are
    /// written, and the digest is checked at the end: **what was written may be used only after success**.
    ///
    /// # Errors
    /// Any of the kinds of [`Error`]; failing to write is [`Error::Storage`].
    pub async fn blob(
        &self,
        repository: &Reference,
        descriptor: &Descriptor,
        keychain: &Keychain,
        deadline: Deadline,
        sink: &mut (impl AsyncWrite + Unpin + Send),
    ) -> Result<(), Error> {
        let at = At::new(repository);
        let work = async {
            let session = self.session(repository, keychain, deadline, "pull")?;
            let digester = Digester::new(descriptor.digest.algorithm());
            let mut sink = Hashing {
                at: &at,
                digester,
                sink,
            };
            stream(&session, descriptor, &mut sink).await?;
            let actual = sink.digester.finish();
            if actual == descriptor.digest {
                return sink.sink.flush().await.map_err(|error| storage(&at, &error));
            }
            let expected = descriptor.digest.clone();
            Err(Error::DigestMismatch {
                at: at.clone(),
                what: "the layer",
                expected,
                actual,
            })
        };
        deadline.bound(&at, "downloading a layer", work).await
    }

    /// Writes the content of a descriptor to a writer of the content store, and commits it.
    ///
    /// # Errors
    /// Any of the kinds of [`Error`]; then the writer has left nothing behind.
    pub async fn blob_into(
        &self,
        repository: &Reference,
        descriptor: &Descriptor,
        keychain: &Keychain,
        deadline: Deadline,
        writer: BlobWriter,
    ) -> Result<Blob, Error> {
        let at = At::new(repository);
        let work = async {
            let session = self.session(repository, keychain, deadline, "pull")?;
            let mut sink = Storing {
                at: &at,
                writer: Some(writer),
                pending: BytesMut::new(),
            };
            stream(&session, descriptor, &mut sink).await?;
            sink.commit().await
        };
        deadline.bound(&at, "downloading a layer", work).await
    }
}

/// Takes the bytes of a blob in order.
trait Sink: Send {
    fn take(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), Error>> + Send;
}

struct Hashing<'a, W> {
    at: &'a At,
    digester: Digester,
    sink: &'a mut W,
}

impl<W: AsyncWrite + Unpin + Send> Sink for Hashing<'_, W> {
    async fn take(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.digester.update(&bytes);
        self.sink
            .write_all(&bytes)
            .await
            .map_err(|error| storage(self.at, &error))
    }
}

/// Hands bytes to a writer of the store, which blocks, on a thread that may.
struct Storing<'a> {
    at: &'a At,
    writer: Option<BlobWriter>,
    pending: BytesMut,
}

impl Sink for Storing<'_> {
    async fn take(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.pending.extend_from_slice(&bytes);
        if self.pending.len() < WRITE_BYTES {
            Ok(())
        } else {
            self.flush().await
        }
    }
}

impl Storing<'_> {
    async fn flush(&mut self) -> Result<(), Error> {
        let bytes = self.pending.split().freeze();
        let mut writer = self
            .writer
            .take()
            .ok_or_else(|| storage(self.at, &"the writer is gone"))?;
        let (writer, outcome) = blocking(self.at, move || {
            let outcome = writer.write(&bytes);
            (writer, outcome)
        })
        .await?;
        self.writer = Some(writer);
        outcome.map_err(|error| store_error(self.at, error))
    }

    async fn commit(mut self) -> Result<Blob, Error> {
        self.flush().await?;
        let writer = self
            .writer
            .take()
            .ok_or_else(|| storage(self.at, &"the writer is gone"))?;
        blocking(self.at, move || writer.commit())
            .await?
            .map_err(|error| store_error(self.at, error))
    }
}

/// Runs something that blocks on the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    at: &At,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| storage(at, &error))
}

pub(crate) fn storage(at: &At, detail: &impl ToString) -> Error {
    Error::Storage {
        at: at.clone(),
        detail: tidy(&detail.to_string()),
    }
}

pub(crate) fn store_error(at: &At, error: StoreError) -> Error {
    let at = at.clone();
    match error {
        StoreError::Mismatch { expected, actual } => Error::DigestMismatch {
            at,
            what: "the layer",
            expected,
            actual,
        },
        other => Error::Storage {
            at,
            detail: tidy(&chain(&other)),
        },
    }
}

/// Downloads a blob into a sink: exactly as many bytes as the descriptor says. The digest is the sink's to
/// check.
async fn stream(session: &Session<'_>, descriptor: &Descriptor, sink: &mut impl Sink) -> Result<(), Error> {
    let mut download = Download {
        session,
        descriptor,
        received: 0,
        ranges: true,
        ended_early: false,
    };
    let mut breaks = 0;
    loop {
        let before = download.received;
        let Some(detail) = download.attempt(sink).await? else {
            return Ok(());
        };
        breaks += 1;
        let (received, size) = (download.received, descriptor.size);
        let wait = if received > before {
            Default::default()
        } else {
            retry::backoff(&policy(session), breaks)
        };
        if breaks > MAX_RESUMES || wait >= session.deadline.remaining() {
            let (at, digest) = (session.at.clone(), descriptor.digest.to_string());
            return Err(Error::Interrupted {
                at,
                digest,
                received,
                size,
                times: breaks,
                detail,
            });
        }
        tracing::debug!(digest = %descriptor.digest, received, size, %detail, "download taken up again");
        session
            .inner
            .config
            .metrics
            .retry(&session.reference.api_host(), Operation::GetBlob);
        tokio::time::sleep(wait).await;
    }
}

fn policy(session: &Session<'_>) -> crate::config::RetryPolicy {
    session.inner.config.retry
}

struct Download<'a> {
    session: &'a Session<'a>,
    descriptor: &'a Descriptor,
    received: u64,
    /// Whether the registry is asked for the rest only. Off once it showed that it can't.
    ranges: bool,
    /// Whether a body ended too early, as if that were all.
    ended_early: bool,
}

impl Download<'_> {
    /// One request. `None` if the blob is complete, else in a few words how it broke off.
    async fn attempt(&mut self, sink: &mut impl Sink) -> Result<Option<String>, Error> {
        let size = self.descriptor.size;
        let url = self.session.url(&format!("blobs/{}", self.descriptor.digest))?;
        let mut request = Request::new(Operation::GetBlob, Method::GET, url);
        let partial = self.ranges && self.received > 0 && self.received < size;
        if partial && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", self.received)) {
            request.headers.insert(RANGE, range);
        }
        let mut answer = self
            .session
            .send(&request, &format!("layer {}", self.descriptor.digest))
            .await?;
        let mut skip = match answer.status() {
            206 if partial && self.continues(&answer) => 0,
            206 | 416 => {
                self.ranges = false;
                return Ok(Some(format!(
                    "status {} does not fit the range asked for",
                    answer.status()
                )));
            }
            _ => {
                let announced = answer.response.content_length();
                if let Some(announced) = announced.filter(|announced| *announced != size) {
                    return Err(self.wrong_size(announced.to_string()));
                }
                // the whole blob again: what is here already is passed over, the digest proves that it fits
                self.received
            }
        };
        loop {
            let chunk = match answer.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                // all bytes are here; that the connection didn't end well doesn't matter
                Err(_) if self.received == size && skip == 0 => return Ok(None),
                Err(detail) => return Ok(Some(detail)),
            };
            let passed = skip.min(chunk.len() as u64);
            skip -= passed;
            let fresh = chunk.slice(usize::try_from(passed).unwrap_or(chunk.len())..);
            if fresh.len() as u64 > size - self.received {
                return Err(self.wrong_size(format!("more than {size}")));
            }
            self.received += fresh.len() as u64;
            if !fresh.is_empty() {
                sink.take(fresh).await?;
            }
        }
        if self.received == size {
            return Ok(None);
        }
        if self.ended_early {
            return Err(self.wrong_size(self.received.to_string()));
        }
        self.ended_early = true;
        Ok(Some("the body ended early".to_owned()))
    }

    /// Whether a partial answer starts where the last one ended, and is part of a blob of the right size.
    fn continues(&self, answer: &Answer) -> bool {
        let Some(range) = answer
            .header(CONTENT_RANGE.as_str())
            .and_then(|text| text.strip_prefix("bytes "))
        else {
            return false;
        };
        let Some((span, total)) = range.split_once('/') else {
            return false;
        };
        let start = span
            .split_once('-')
            .and_then(|(start, _)| start.trim().parse::<u64>().ok());
        start == Some(self.received) && (total == "*" || total.parse() == Ok(self.descriptor.size))
    }

    fn wrong_size(&self, actual: String) -> Error {
        Error::SizeMismatch {
            at: self.session.at.clone(),
            what: "the layer",
            digest: self.descriptor.digest.to_string(),
            expected: self.descriptor.size,
            actual,
        }
    }
}
