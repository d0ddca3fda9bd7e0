//! What the store did since it was opened, for whoever shows figures.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Store;

/// The figures of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes of all content, as far as this process knows.
    pub used_bytes: u64,
    /// Bytes beyond which content is evicted.
    pub max_bytes: u64,
    /// Whether content is kept.
    pub writable: bool,
    /// Looks for content by digest.
    pub blobs: Lookups,
    /// Looks for what was derived from content.
    pub derived: Lookups,
    /// Bytes evicted.
    pub evicted_bytes: u64,
    /// Content that could not be kept, though the store was writable when it was opened.
    pub write_failures: u64,
}

/// How often something was looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// It was there, unharmed.
    pub hits: u64,
    /// It was not.
    pub misses: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    blobs: Counted,
    derived: Counted,
    evicted: AtomicU64,
    failures: AtomicU64,
}

#[derive(Debug, Default)]
struct Counted {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Counted {
    fn count<T>(&self, found: Option<T>) -> Option<T> {
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    fn get(&self) -> Lookups {
        Lookups {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

impl Tally {
    pub(super) fn blob<T>(&self, found: Option<T>) -> Option<T> {
        self.blobs.count(found)
    }

    pub(super) fn derived<T>(&self, found: Option<T>) -> Option<T> {
        self.derived.count(found)
    }

    pub(super) fn evicted(&self, bytes: u64) {
        self.evicted.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

impl Store {
    /// What it did since it was opened.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let tally = &self.shared.tally;
        Figures {
            used_bytes: self.used_bytes(),
            max_bytes: self.shared.max_bytes,
            writable: self.shared.writable,
            blobs: tally.blobs.get(),
            derived: tally.derived.get(),
            evicted_bytes: tally.evicted.load(Ordering::Relaxed),
            write_failures: tally.failures.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use oci::{Descriptor, Digest};

    use super::*;
    use crate::store::StoreConfig;

    fn put(store: &Store, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let descriptor = Descriptor::new("text/plain", digest.clone(), bytes.len() as u64);
        let mut writer = store.writer(&descriptor).unwrap();
        writer.write(bytes).unwrap();
        writer.commit().unwrap();
        digest
    }

    #[test]
    fn each_figure_moves() {
        let root = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            max_bytes: 8,
            ..StoreConfig::default()
        };
        let store = Store::open(root.path(), config);
        let hello = put(&store, b"hello");
        assert!(store.blob(&hello).is_some());
        assert!(store.blob(&Digest::sha256(b"other")).is_none());
        assert!(store.derived("f", &hello).is_none());
        let empty = Lookups::default();
        let expected = Figures {
            used_bytes: 5,
            max_bytes: 8,
            writable: true,
            blobs: Lookups { hits: 1, misses: 1 },
            derived: Lookups { misses: 1, ..empty },
            evicted_bytes: 0,
            write_failures: 0,
        };
        assert_eq!(store.figures(), expected);
        put(&store, b"world");
        assert_eq!(store.figures().evicted_bytes, 5, "both don't fit");
        std::fs::remove_dir_all(root.path().join("tmp")).unwrap();
        put(&store, b"!");
        assert_eq!(store.figures().write_failures, 1, "there is nowhere to write to");
        assert!(!Store::none().figures().writable);
    }
}
