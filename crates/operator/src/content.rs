//! Parsed packages by digest: fetched, verified, parsed once, and kept on disk as JSON lines with a short index, so that
//! memory does not grow with packages (design §5).

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use api::condition::Reason;
use api::pkg::PullPolicy;
use kit::work::CpuGate;
use oci::{Digest, Reference};
use package::{Fields, JsonLines, ObjectEntry, Options, Parsed};
use registry::{Deadline, Derived, Keychain, Registry};

use crate::images;
use crate::manager::check::Trouble;

/// Fetching the content of one package may take this long; a slow registry makes progress over several tries, since what
/// is complete stays in the store.
pub(crate) const FETCH_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Name of the derived form's format in the store, with the format's version.
fn format() -> String {
    format!("objects-v{}", package::parse::FORMAT)
}

const INDEX: &str = "index.json";
const OBJECTS: &str = "objects.jsonl";

/// The parsed content of one digest.
pub struct Content {
    /// What the package is and carries, without the objects' bodies.
    pub parsed: Parsed,
    files: Derived,
}

impl Content {
    /// Opens the file with the objects' bodies.
    ///
    /// # Errors
    /// If it is gone: the store lost it, and it has to be loaded again.
    pub fn open(&self) -> std::io::Result<Bodies> {
        Ok(Bodies {
            file: self.files.open(OBJECTS)?,
        })
    }
}

/// The bodies of a package's objects.
pub struct Bodies {
    file: File,
}

impl Bodies {
    /// Reads one object and checks its hash.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn read(&mut self, entry: &ObjectEntry) -> Result<Fields, package::ReadError> {
        package::read_fields(&mut self.file, entry)
    }
}

/// Where the content comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The reference to fetch by: its registry and repository count, its tag doesn't.
    pub reference: Reference,
    /// The digest.
    pub digest: Digest,
    /// With whose credentials.
    pub keychain: Keychain,
    /// Whether the registry may be asked.
    pub policy: PullPolicy,
}

/// All contents that somebody holds.
pub(crate) struct Contents {
    held: Mutex<HashMap<Digest, Weak<Content>>>,
    gate: CpuGate,
}

impl Default for Contents {
    fn default() -> Self {
        // One package at a time is parsed: a second one would only slow the first down on a small machine, and a third
        // would take the memory of three.
        Self {
            held: Mutex::default(),
            gate: CpuGate::new(1),
        }
    }
}

impl Contents {
    /// The content of a digest, if somebody holds it or the store has it.
    pub(crate) async fn stored(&self, registry: &Registry, digest: &Digest) -> Option<Arc<Content>> {
        if let Some(content) = self.held(digest) {
            return Some(content);
        }
        let (store, wanted) = (registry.store().clone(), digest.clone());
        let content = self
            .gate
            .run(move || read(store.derived(&format(), &wanted)?))
            .await?;
        Some(self.hold(digest, content))
    }

    /// Fetches and parses the content of a digest.
    ///
    /// # Errors
    /// Why it can't be had or read.
    pub(crate) async fn fetch(&self, registry: &Registry, origin: Origin) -> Result<Arc<Content>, Trouble> {
        let digest = origin.digest.clone();
        let content = self.parse(registry, origin).await?;
        Ok(self.hold(&digest, content))
    }

    fn hold(&self, digest: &Digest, content: Content) -> Arc<Content> {
        let content = Arc::new(content);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, content| content.strong_count() > 0);
        held.insert(digest.clone(), Arc::downgrade(&content));
        content
    }

    /// How many parsed packages are in memory.
    pub(crate) fn in_memory(&self) -> usize {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.values().filter(|content| content.strong_count() > 0).count()
    }

    /// The content that somebody holds turned out to be lost: the next one who wants it reads it anew.
    pub(crate) fn forget(&self, digest: &Digest) {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(digest);
    }

    fn held(&self, digest: &Digest) -> Option<Arc<Content>> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)?
            .upgrade()
    }

    async fn parse(&self, registry: &Registry, origin: Origin) -> Result<Content, Trouble> {
        let Origin {
            reference,
            digest,
            keychain,
            policy,
        } = origin;
        let fetched = match policy {
            PullPolicy::Never => registry
                .fetch_stored(&reference, &digest)
                .await
                .map_err(|error| images::not_stored(&error, kit::clock::steady()))?,
            PullPolicy::Always | PullPolicy::IfNotPresent => registry
                .fetch(&reference, &digest, &keychain, Deadline::after(FETCH_TIMEOUT))
                .await
                .map_err(|error| images::trouble(&error, kit::clock::steady()))?,
        };
        let store = registry.store().clone();
        let shown = reference.to_string();
        self.gate
            .run(move || {
                guarded(&shown, || {
                    let fill = |folder: &std::path::Path| -> Result<(), Unusable> {
                        let objects = File::create(folder.join(OBJECTS))?;
                        let mut sink = JsonLines::new(BufWriter::with_capacity(1 << 16, objects));
                        let parsed = package::read(layers(&fetched), &mut sink, &Options::default())?;
                        sink.finish()?;
                        let mut index = BufWriter::new(File::create(folder.join(INDEX))?);
                        serde_json::to_writer(&mut index, &parsed).map_err(std::io::Error::from)?;
                        index.flush()?;
                        Ok(())
                    };
                    let filled = store.put_derived(&format(), &digest, fill, Unusable::by_disk);
                    let files = filled.map_err(|unusable| unusable.trouble(&shown))?;
                    read(files).ok_or_else(|| Trouble {
                        reason: Reason::FetchFailed,
                        message: format!(
                            "the parsed content of {shown} could not be read back from the store"
                        ),
                        terminal: false,
                        not_before: None,
                    })
                })
            })
            .await
    }
}

/// Reading a package must not panic; should it, that package is refused, and no other one feels it.
fn guarded<T>(reference: &str, read: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(Trouble {
            reason: Reason::FetchRefused,
            message: format!(
                "cannot parse package {reference}: the reader failed on it; please report this package"
            ),
            terminal: true,
            not_before: None,
        })
    })
}

/// The layers as the format's reader takes them.
fn layers(content: &registry::Content) -> package::Content<registry::BlobReader> {
    match content.layers.iter().find(|layer| layer.annotated_base) {
        Some(layer) => package::Content::Annotated {
            layer: layer.blob.reader(),
            diff_id: None,
        },
        None => package::Content::Flattened(content.layers.iter().map(|layer| layer.blob.reader()).collect()),
    }
}

fn read(files: Derived) -> Option<Content> {
    let mut index = Vec::new();
    BufReader::new(files.open(INDEX).ok()?)
        .read_to_end(&mut index)
        .ok()?;
    let parsed: Parsed = serde_json::from_slice(&index).ok()?;
    (parsed.format == package::parse::FORMAT).then_some(Content { parsed, files })
}

/// Why the derived form was not made.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Package(#[from] package::Error),
    #[error(transparent)]
    Disk(#[from] std::io::Error),
    #[error(transparent)]
    Store(#[from] registry::StoreError),
}

impl Unusable {
    /// Whether the disk is at fault, not the package.
    fn by_disk(&self) -> bool {
        match self {
            Self::Package(package::Error::Sink(_)) | Self::Disk(_) | Self::Store(_) => true,
            Self::Package(_) => false,
        }
    }

    fn trouble(self, reference: &str) -> Trouble {
        let (terminal, reason) = if self.by_disk() {
            (false, Reason::FetchFailed)
        } else {
            (true, Reason::InvalidPackage)
        };
        let mut message = format!("cannot parse package {reference}");
        let mut cause: Option<&dyn std::error::Error> = Some(&self);
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        Trouble {
            reason,
            message,
            terminal,
            not_before: None,
        }
    }
}
