//! Tags that were resolved, for pull policy Never.

use std::fs;
use std::path::PathBuf;

use oci::{Digest, Reference};

use super::{Store, entries, remove, write_atomically};
use crate::limits::MAX_REFS;

impl Store {
    /// The digest that a reference with a tag last had. A reference with a digest has that one.
    #[must_use]
    pub fn tag(&self, reference: &Reference) -> Option<Digest> {
        if let Some(digest) = reference.digest() {
            return Some(digest.clone());
        }
        if !self.shared.readable {
            return None;
        }
        let text = fs::read_to_string(self.ref_path(reference)).ok()?;
        let mut lines = text.lines();
        // the file's name is a hash of the reference; the first line proves which one
        let (name, digest) = (lines.next()?, lines.next()?);
        (name == canonical(reference)).then(|| Digest::parse(digest).ok())?
    }

    /// Remembers the digest of a reference with a tag. What can't be written is forgotten.
    pub fn set_tag(&self, reference: &Reference, digest: &Digest) {
        if !self.shared.writable
            || reference.digest().is_some()
            || self.tag(reference).as_ref() == Some(digest)
        {
            return;
        }
        let text = format!("{}\n{digest}\n", canonical(reference));
        if let Err(error) = write_atomically(&self.shared.root, &self.ref_path(reference), text.as_bytes()) {
            tracing::debug!(%error, "cannot remember a tag in the content store");
        }
        self.trim_refs();
    }

    fn ref_path(&self, reference: &Reference) -> PathBuf {
        self.path(&["refs", Digest::sha256(canonical(reference).as_bytes()).hex()])
    }

    /// Removes the oldest tags beyond [`MAX_REFS`], a tenth at a time.
    fn trim_refs(&self) {
        let folder = self.path(&["refs"]);
        if entries(&folder).count() <= MAX_REFS {
            return;
        }
        let mut aged: Vec<_> = entries(&folder)
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        aged.sort();
        for (_, path) in aged.iter().take(MAX_REFS / 10) {
            remove(path);
        }
    }
}

/// One spelling per tag: as on the wire.
fn canonical(reference: &Reference) -> String {
    format!(
        "{}/{}:{}",
        reference.api_host(),
        reference.api_repository(),
        reference.identifier()
    )
}
