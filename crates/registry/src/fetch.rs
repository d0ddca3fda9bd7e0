//! From a reference to verified content: client and content store together.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use oci::limits::MAX_INDEX_DEPTH;
use oci::{Choice, Descriptor, Digest, Document, Index, Manifest, Reference, choose_child, platform};

use crate::client::{Client, manifest_error};
use crate::deadline::Deadline;
use crate::download::{blocking, storage, store_error};
use crate::error::{At, Error};
use crate::keychain::Keychain;
use crate::limits::{
    MAX_BASE_LAYER_BYTES, MAX_COMPARED_CHILDREN, MAX_IMAGE_BYTES, MAX_LAYER_BYTES, MAX_LAYERS,
    MAX_MANIFEST_BYTES, PARALLEL_LAYERS,
};
use crate::store::{Blob, Store};

/// Resolves references and fetches content, from the store where it has it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    client: Client,
    store: Store,
}

/// The verified content of an image, as far as a package needs it.
#[derive(Clone, Debug)]
pub struct Content {
    /// The digest asked for: of the image, or of the index it was chosen from.
    pub digest: Digest,
    /// Digest of the image that was chosen; the same as `digest` if that is no index.
    pub child: Digest,
    /// The image's manifest.
    pub manifest: Manifest,
    /// Its layers, lowest first: only the one annotated as base if there is one, else all.
    pub layers: Vec<FetchedLayer>,
}

impl Content {
    /// Whether the content is one layer that is marked as the package's; otherwise the layers have to be
    /// flattened.
    #[must_use]
    pub fn has_base(&self) -> bool {
        self.layers.iter().any(|layer| layer.annotated_base)
    }
}

/// A layer with its verified bytes.
#[derive(Clone, Debug)]
pub struct FetchedLayer {
    /// What the manifest says about it.
    pub descriptor: Descriptor,
    /// Whether it is annotated as the package's content.
    pub annotated_base: bool,
    /// The bytes, compressed as they came.
    pub blob: Blob,
}

/// What may be asked beside the store.
#[derive(Clone, Copy)]
struct Access<'a> {
    keychain: &'a Keychain,
    deadline: Deadline,
}

impl Registry {
    /// Joins a client and a store.
    #[must_use]
    pub const fn new(client: Client, store: Store) -> Self {
        Self { client, store }
    }

    /// The client.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The digest that a reference has now. One with a digest has that one, and nobody is asked; one with a
    /// tag is asked for by `HEAD`, and the store remembers the answer.
    ///
    /// # Errors
    /// Any of the kinds of [`Error`].
    pub async fn resolve(
        &self,
        reference: &Reference,
        keychain: &Keychain,
        deadline: Deadline,
    ) -> Result<Digest, Error> {
        if let Some(digest) = reference.digest() {
            return Ok(digest.clone());
        }
        let digest = self.client.head(reference, keychain, deadline).await?.digest;
        let (store, tagged, answer) = (self.store.clone(), reference.clone(), digest.clone());
        blocking(&At::new(reference), move || store.set_tag(&tagged, &answer)).await?;
        Ok(digest)
    }

    /// The digest that a reference had when it was resolved last, by the store alone: for pull policy Never.
    ///
    /// # Errors
    /// [`Error::StoreMiss`] if it never was.
    pub async fn resolve_stored(&self, reference: &Reference) -> Result<Digest, Error> {
        let at = At::new(reference);
        let (store, tagged) = (self.store.clone(), reference.clone());
        blocking(&at, move || store.tag(&tagged))
            .await?
            .ok_or(Error::StoreMiss { at })
    }

    /// The content of `digest` in the reference's repository. What the store has isn't asked for again, so
    /// that the second fetch of a digest needs no network at all.
    ///
    /// # Errors
    /// Any of the kinds of [`Error`].
    pub async fn fetch(
        &self,
        reference: &Reference,
        digest: &Digest,
        keychain: &Keychain,
        deadline: Deadline,
    ) -> Result<Content, Error> {
        let at = At::new(reference);
        let access = Some(Access { keychain, deadline });
        deadline
            .bound(
                &at,
                "fetching the package",
                self.content(reference, digest, access),
            )
            .await
    }

    /// As [`fetch`](Self::fetch), from the store alone: for pull policy Never.
    ///
    /// # Errors
    /// [`Error::StoreMiss`] if any part isn't there, and what is wrong with the content otherwise.
    pub async fn fetch_stored(&self, reference: &Reference, digest: &Digest) -> Result<Content, Error> {
        self.content(reference, digest, None).await
    }

    async fn content(
        &self,
        reference: &Reference,
        digest: &Digest,
        access: Option<Access<'_>>,
    ) -> Result<Content, Error> {
        let at = At::new(reference);
        let (child, manifest) = self.image(reference, digest, access).await?;
        let wanted = layers(&at, &manifest)?;
        let fetches = wanted.into_iter().map(|(annotated_base, descriptor)| async move {
            let blob = self.layer(reference, &descriptor, access).await?;
            Ok::<_, Error>(FetchedLayer {
                descriptor,
                annotated_base,
                blob,
            })
        });
        let layers = futures::stream::iter(fetches)
            .buffered(PARALLEL_LAYERS)
            .try_collect()
            .await?;
        Ok(Content {
            digest: digest.clone(),
            child,
            manifest,
            layers,
        })
    }

    /// The image behind a digest: itself, or the child of the index that is chosen.
    async fn image(
        &self,
        reference: &Reference,
        digest: &Digest,
        access: Option<Access<'_>>,
    ) -> Result<(Digest, Manifest), Error> {
        let at = At::new(reference);
        let mut next = Descriptor::new("", digest.clone(), 0);
        for _ in 0..=MAX_INDEX_DEPTH {
            match self.document(reference, &next, access).await? {
                Document::Manifest(manifest) => return Ok((next.digest, *manifest)),
                Document::Index(index) => next = self.choose(reference, &index, access).await?,
            }
        }
        let (what, size) = ("the nesting of indexes".to_owned(), "deeper".to_owned());
        Err(Error::TooLarge {
            at,
            what,
            size,
            limit: format!("{MAX_INDEX_DEPTH} levels"),
        })
    }

    async fn choose(
        &self,
        reference: &Reference,
        index: &Index,
        access: Option<Access<'_>>,
    ) -> Result<Descriptor, Error> {
        let at = At::new(reference);
        let choice = match choose_child(index) {
            Choice::Compare(children) if children.len() > MAX_COMPARED_CHILDREN => {
                platform::settle(&children, &[])
            }
            Choice::Compare(children) => {
                let mut bases = Vec::new();
                for child in &children {
                    bases.push(match self.document(reference, child, access).await? {
                        Document::Manifest(manifest) => manifest.base_layer().cloned(),
                        Document::Index(_) => None,
                    });
                }
                platform::settle(&children, &bases)
            }
            other => other,
        };
        match choice {
            Choice::Child(child) => Ok(*child),
            Choice::None { platforms } => Err(Error::NoPlatform {
                at,
                platforms: platforms.join(", "),
            }),
            Choice::Compare(_) => Err(Error::NoPlatform {
                at,
                platforms: "several".to_owned(),
            }),
        }
    }

    /// A manifest or index by digest. The parent's descriptor, if there is one, bounds its type and size.
    async fn document(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        access: Option<Access<'_>>,
    ) -> Result<Document, Error> {
        let at = At::new(reference);
        let digest = &descriptor.digest;
        if descriptor.size > MAX_MANIFEST_BYTES {
            let (what, size) = (format!("manifest {digest}"), format!("{} bytes", descriptor.size));
            return Err(Error::TooLarge {
                at,
                what,
                size,
                limit: format!("{MAX_MANIFEST_BYTES} bytes"),
            });
        }
        let _flight = self.store.fetch_once(digest).await;
        let bytes = match self.stored(&at, digest).await? {
            Some(blob) => {
                let read = blocking(&at, move || blob.read_all(MAX_MANIFEST_BYTES)).await?;
                Bytes::from(read.map_err(|error| storage(&at, &error))?)
            }
            None => {
                let Some(access) = access else {
                    return Err(Error::StoreMiss { at });
                };
                let pinned = reference.with_digest(digest);
                let answer = self
                    .client
                    .manifest(&pinned, access.keychain, access.deadline)
                    .await;
                let raw = answer.map_err(|error| error.for_reference(reference))?;
                self.keep(&at, &raw.media_type, digest, raw.bytes.clone()).await;
                raw.bytes
            }
        };
        if descriptor.size != 0 && bytes.len() as u64 != descriptor.size {
            return Err(Error::SizeMismatch {
                at,
                what: "the manifest",
                digest: digest.to_string(),
                expected: descriptor.size,
                actual: bytes.len().to_string(),
            });
        }
        Document::parse(&descriptor.media_type, &bytes).map_err(|error| manifest_error(&at, &error))
    }

    /// Puts a manifest into the store. That it can't be kept costs only the next fetch.
    async fn keep(&self, at: &At, media_type: &str, digest: &Digest, bytes: Bytes) {
        let store = self.store.clone();
        if !store.is_writable() {
            return;
        }
        let descriptor = Descriptor::new(media_type, digest.clone(), bytes.len() as u64);
        let kept = blocking(at, move || {
            let mut writer = store.writer(&descriptor)?;
            writer.write(&bytes)?;
            writer.commit()
        });
        match kept
            .await
            .and_then(|outcome| outcome.map_err(|error| store_error(at, error)))
        {
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the manifest is not kept in the content store"),
        }
    }

    async fn stored(&self, at: &At, digest: &Digest) -> Result<Option<Blob>, Error> {
        let (store, digest) = (self.store.clone(), digest.clone());
        blocking(at, move || store.blob(&digest)).await
    }

    async fn layer(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        access: Option<Access<'_>>,
    ) -> Result<Blob, Error> {
        let at = At::new(reference);
        let _flight = self.store.fetch_once(&descriptor.digest).await;
        if let Some(blob) = self.stored(&at, &descriptor.digest).await? {
            if blob.size() == descriptor.size {
                return Ok(blob);
            }
            return Err(Error::SizeMismatch {
                at,
                what: "the layer",
                digest: descriptor.digest.to_string(),
                expected: descriptor.size,
                actual: blob.size().to_string(),
            });
        }
        let Some(access) = access else {
            return Err(Error::StoreMiss { at });
        };
        let download = async |kept: bool| {
            let (store, wanted) = (self.store.clone(), descriptor.clone());
            let start = move || {
                if kept {
                    store.writer(&wanted)
                } else {
                    store.scratch_writer(&wanted)
                }
            };
            let writer = blocking(&at, start)
                .await?
                .map_err(|error| store_error(&at, error))?;
            self.client
                .blob_into(reference, descriptor, access.keychain, access.deadline, writer)
                .await
        };
        match download(true).await {
            Err(error @ Error::Storage { .. }) if self.store.is_writable() => {
                // the disk of the store is full or broken: that must not fail an install
                tracing::warn!(%error, "the layer is not kept in the content store");
                download(false).await
            }
            other => other,
        }
    }
}

/// The layers to fetch, within the limits: the one annotated as base, else all.
fn layers(at: &At, manifest: &Manifest) -> Result<Vec<(bool, Descriptor)>, Error> {
    let too_large = |what: String, size: String, limit: String| {
        Err(Error::TooLarge {
            at: at.clone(),
            what,
            size,
            limit,
        })
    };
    if let Some(base) = manifest.base_layer() {
        if base.size > MAX_BASE_LAYER_BYTES {
            let (what, size) = (format!("layer {}", base.digest), format!("{} bytes", base.size));
            return too_large(what, size, format!("{MAX_BASE_LAYER_BYTES} bytes"));
        }
        return Ok(vec![(true, base.clone())]);
    }
    if manifest.layers.len() > MAX_LAYERS {
        let size = manifest.layers.len().to_string();
        return too_large("the number of layers".to_owned(), size, MAX_LAYERS.to_string());
    }
    let mut total: u64 = 0;
    for layer in &manifest.layers {
        if layer.size > MAX_LAYER_BYTES {
            let (what, size) = (format!("layer {}", layer.digest), format!("{} bytes", layer.size));
            return too_large(what, size, format!("{MAX_LAYER_BYTES} bytes"));
        }
        total = total.saturating_add(layer.size);
    }
    if total > MAX_IMAGE_BYTES {
        let what = "the image, all layers together,".to_owned();
        return too_large(what, format!("{total} bytes"), format!("{MAX_IMAGE_BYTES} bytes"));
    }
    Ok(manifest
        .layers
        .iter()
        .map(|layer| (false, layer.clone()))
        .collect())
}
