//! Making room: what was used least recently goes first, what is pinned stays.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use oci::limits::MAX_INDEX_DEPTH;
use oci::{Digest, Document};

use super::derived::{SUMS, digest_of};
use super::{Store, entries, lock, remove};
use crate::limits::MAX_MANIFEST_BYTES;

/// What an eviction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Files and folders removed.
    pub items: usize,
    /// Bytes removed.
    pub bytes: u64,
}

struct Item {
    used: SystemTime,
    path: PathBuf,
    bytes: u64,
    digest: Digest,
}

impl Store {
    /// Removes the least recently used content until the store is within its size. Pinned digests stay, and
    /// with them the manifests and layers that they lead to and what was derived from them. Called by itself
    /// when content is added.
    pub fn evict(&self) -> Evicted {
        let mut evicted = Evicted::default();
        if !self.shared.writable {
            return evicted;
        }
        let mut items = self.items();
        let mut used: u64 = items.iter().map(|item| item.bytes).sum();
        if used > self.shared.max_bytes {
            let pinned = self.pinned();
            items.retain(|item| !pinned.contains(&item.digest));
            items.sort_by(|a, b| a.used.cmp(&b.used).then_with(|| a.path.cmp(&b.path)));
            for item in items {
                if used <= self.shared.max_bytes {
                    break;
                }
                remove(&item.path);
                used = used.saturating_sub(item.bytes);
                evicted.items += 1;
                evicted.bytes += item.bytes;
            }
            tracing::debug!(
                items = evicted.items,
                bytes = evicted.bytes,
                "content store made room"
            );
        }
        self.shared.used.store(used, Ordering::Relaxed);
        self.shared.tally.evicted(evicted.bytes);
        evicted
    }

    /// Bytes of all content on disk.
    pub(super) fn measure(&self) -> u64 {
        self.items().iter().map(|item| item.bytes).sum()
    }

    fn items(&self) -> Vec<Item> {
        let mut items = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            for entry in entries(&self.path(&["blobs", algorithm])) {
                let name = entry.file_name();
                let digest = Digest::parse(&format!("{algorithm}:{}", name.to_string_lossy()));
                if let (Ok(digest), Ok(meta)) = (digest, entry.metadata()) {
                    let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    items.push(Item {
                        used,
                        path: entry.path(),
                        bytes: meta.len(),
                        digest,
                    });
                }
            }
        }
        for folder in entries(&self.path(&["derived"])).flat_map(|format| entries(&format.path())) {
            let path = folder.path();
            if let Some(digest) = digest_of(&folder.file_name().to_string_lossy()) {
                let used = fs::metadata(path.join(SUMS)).and_then(|meta| meta.modified());
                let bytes = folder_bytes(&path);
                items.push(Item {
                    used: used.unwrap_or(SystemTime::UNIX_EPOCH),
                    path,
                    bytes,
                    digest,
                });
            }
        }
        items
    }

    /// The pinned digests and all that they lead to within the store.
    fn pinned(&self) -> BTreeSet<Digest> {
        let mut pinned = lock(&self.shared.pins).clone();
        let mut front: Vec<Digest> = pinned.iter().cloned().collect();
        // one step per level of indexes, and one from a manifest to its layers
        for _ in 0..=MAX_INDEX_DEPTH {
            let children: Vec<Digest> = front.iter().flat_map(|digest| self.children(digest)).collect();
            front = children
                .into_iter()
                .filter(|child| pinned.insert(child.clone()))
                .collect();
        }
        pinned
    }

    /// What a manifest or index in the store points at; nothing if it is something else.
    fn children(&self, digest: &Digest) -> Vec<Digest> {
        let path = self.blob_path(digest);
        if !fs::metadata(&path).is_ok_and(|meta| meta.len() <= MAX_MANIFEST_BYTES) {
            return Vec::new();
        }
        match fs::read(&path)
            .ok()
            .and_then(|bytes| Document::parse("", &bytes).ok())
        {
            Some(Document::Manifest(manifest)) => manifest
                .layers
                .into_iter()
                .chain([manifest.config])
                .map(|child| child.digest)
                .collect(),
            Some(Document::Index(index)) => index.manifests.into_iter().map(|child| child.digest).collect(),
            None => Vec::new(),
        }
    }
}

/// Bytes of the plain files in a folder.
pub(super) fn folder_bytes(folder: &Path) -> u64 {
    entries(folder)
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.len())
        .sum()
}
