//! The store under everything that may happen to it.

use std::fs;
use std::io::{self, Read, Write};
use std::time::Duration;

use oci::{Descriptor, Reference};

use super::blob::BrokenDisk;
use super::*;

fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor::new(
        "application/octet-stream",
        Digest::sha256(bytes),
        bytes.len() as u64,
    )
}

fn put(store: &Store, bytes: &[u8]) -> Digest {
    let mut writer = store.writer(&descriptor(bytes)).unwrap();
    writer.write(bytes).unwrap();
    writer.commit().unwrap().digest().clone()
}

fn read(blob: &Blob) -> Vec<u8> {
    blob.read_all(1 << 20).unwrap()
}

fn files(path: &Path) -> usize {
    entries(path)
        .map(|entry| {
            if entry.path().is_dir() {
                files(&entry.path())
            } else {
                1
            }
        })
        .sum()
}

/// A root that nobody can write, root included: it lies below a plain file.
fn impossible(folder: &Path) -> PathBuf {
    let file = folder.join("file");
    fs::write(&file, "").unwrap();
    file.join("store")
}

fn age(path: &Path, by: Duration) {
    fs::File::open(path)
        .unwrap()
        .set_modified(SystemTime::now() - by)
        .unwrap();
}

#[test]
fn keeps_and_finds_content() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path(), StoreConfig::default());
    assert!(store.is_writable() && store.problem().is_none());
    let digest = put(&store, b"hello");
    assert_eq!(read(&store.blob(&digest).unwrap()), b"hello");
    assert_eq!(store.used_bytes(), 5);
    assert!(store.blob(&Digest::sha256(b"other")).is_none());
    let again = Store::open(root.path(), StoreConfig::default());
    assert_eq!(read(&again.blob(&digest).unwrap()), b"hello");
    assert_eq!(again.used_bytes(), 5);
    assert_eq!(files(&root.path().join("tmp")), 0);
}

#[test]
fn refuses_wrong_content_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path(), StoreConfig::default());
    let wanted = descriptor(b"hello");
    let attempt = |bytes: &[u8]| {
        let mut writer = store.writer(&wanted).unwrap();
        writer.write(bytes).and_then(|()| writer.commit().map(drop))
    };
    assert!(matches!(attempt(b"hullo"), Err(StoreError::Mismatch { .. })));
    assert!(matches!(attempt(b"hell"), Err(StoreError::TooShort { .. })));
    assert!(matches!(attempt(b"hello!"), Err(StoreError::TooLong { .. })));
    assert!(store.blob(&wanted.digest).is_none());
    assert_eq!(
        files(&root.path().join("tmp")) + files(&root.path().join("blobs")),
        0
    );
}

#[test]
fn a_tampered_blob_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path(), StoreConfig::default());
    for tampered in [&b"hellO"[..], b"hell", b"hello!", b""] {
        let digest = put(&store, b"hello");
        let path = store.blob_path(&digest);
        fs::write(&path, tampered).unwrap();
        assert!(store.blob(&digest).is_none(), "{tampered:?}");
        assert!(!path.exists());
    }
}

#[test]
fn an_unwritable_root_keeps_nothing_and_still_works() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        scratch: Some(folder.path().to_owned()),
        ..StoreConfig::default()
    };
    for store in [Store::open(&impossible(folder.path()), config), Store::none()] {
        assert!(!store.is_writable());
        assert!(store.problem().is_some());
        let mut writer = store.writer(&descriptor(b"hello")).unwrap();
        assert!(!writer.is_kept());
        writer.write(b"hello").unwrap();
        let blob = writer.commit().unwrap();
        assert_eq!(read(&blob), b"hello");
        assert!(store.blob(blob.digest()).is_none());
        let reference = Reference::parse("r.example.org/a:v1").unwrap();
        store.set_tag(&reference, blob.digest());
        assert_eq!(store.tag(&reference), None);
        let fill = |folder: &Path| fs::write(folder.join("a"), "x").map_err(io_error);
        let derived = store
            .put_derived("objects.v1", blob.digest(), fill, |_| false)
            .unwrap();
        assert_eq!(io::read_to_string(derived.open("a").unwrap()).unwrap(), "x");
        let path = derived.path().to_owned();
        drop(derived);
        assert!(!path.exists(), "a folder that is not kept outlives its use");
        assert_eq!(store.evict(), Evicted::default());
    }
    assert_eq!(files(folder.path()), 1, "only the file in the way is left");
}

#[test]
fn without_any_disk_the_error_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = impossible(folder.path());
    let config = StoreConfig {
        scratch: Some(nowhere.clone()),
        ..StoreConfig::default()
    };
    let store = Store::open(&nowhere, config);
    let message = chain(&store.writer(&descriptor(b"x")).unwrap_err());
    assert!(message.contains(&nowhere.display().to_string()), "{message}");
}

#[test]
fn a_store_of_another_version_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("version"), "999\n").unwrap();
    let store = Store::open(root.path(), StoreConfig::default());
    assert!(!store.is_writable() && store.problem().unwrap().contains("another version"));
    assert_eq!(files(root.path()), 1);
}

#[test]
fn a_store_that_became_read_only_is_still_read() {
    let root = tempfile::tempdir().unwrap();
    let digest = put(&Store::open(root.path(), StoreConfig::default()), b"hello");
    // what a read-only disk does to a start, without needing one: the folder for temporary files can't be
    // made
    fs::remove_dir(root.path().join("tmp")).unwrap();
    fs::write(root.path().join("tmp"), "").unwrap();
    let store = Store::open(root.path(), StoreConfig::default());
    assert!(!store.is_writable());
    assert_eq!(read(&store.blob(&digest).unwrap()), b"hello");
}

#[test]
fn a_disk_that_breaks_while_running_degrades() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path(), StoreConfig::default());
    fs::remove_dir(root.path().join("tmp")).unwrap();
    let writer = store.writer(&descriptor(b"hello")).unwrap();
    assert!(!writer.is_kept());
}

#[derive(Debug)]
struct FullDisk;

impl BrokenDisk for FullDisk {}

impl Write for FullDisk {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error_that_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path(), StoreConfig::default());
    let mut writer = store.writer(&descriptor(b"hello")).unwrap();
    writer.break_disk(Box::new(FullDisk));
    let error = writer.write(b"hello").unwrap_err();
    assert!(
        matches!(&error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull),
        "{error}"
    );
    drop(writer);
    assert_eq!(files(&root.path().join("tmp")), 0);
}

#[test]
fn a_crash_before_the_rename_is_cleaned_up_by_age() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path(), StoreConfig::default());
    let tmp = root.path().join("tmp");
    // what a killed process leaves: a file, and a folder of derived content
    fs::write(tmp.join("old"), "half").unwrap();
    fs::create_dir(tmp.join("oldfolder")).unwrap();
    fs::write(tmp.join("oldfolder/a"), "half").unwrap();
    fs::write(tmp.join("young"), "half").unwrap();
    age(&tmp.join("old"), STALE_TEMP_AGE * 2);
    age(&tmp.join("oldfolder"), STALE_TEMP_AGE * 2);
    assert!(
        store.blob(&Digest::sha256(b"half")).is_none(),
        "half a file is never visible"
    );
    drop(Store::open(root.path(), StoreConfig::default()));
    let left: Vec<_> = entries(&tmp).map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["young"], "another process may still write to a young file");
}

#[test]
fn two_writers_of_one_digest_both_succeed() {
    let root = tempfile::tempdir().unwrap();
    // two stores on one root stand for two processes
    let (one, two) = (
        Store::open(root.path(), StoreConfig::default()),
        Store::open(root.path(), StoreConfig::default()),
    );
    let mut first = one.writer(&descriptor(b"hello")).unwrap();
    let mut second = two.writer(&descriptor(b"hello")).unwrap();
    first.write(b"hel").unwrap();
    second.write(b"hello").unwrap();
    let second = second.commit().unwrap();
    first.write(b"lo").unwrap();
    let first = first.commit().unwrap();
    assert_eq!(
        (read(&first), read(&second)),
        (b"hello".to_vec(), b"hello".to_vec())
    );
    assert_eq!(files(&root.path().join("blobs")), 1);
}

#[test]
fn eviction_takes_the_oldest_and_honours_pins() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(
        root.path(),
        StoreConfig {
            max_bytes: 500,
            scratch: None,
        },
    );
    let layer = put(&store, &[1; 100]);
    let config = Digest::sha256(b"{}");
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"digest":"{config}","size":2}},
            "layers":[{{"digest":"{layer}","size":100}}]}}"#,
    );
    let manifest = put(&store, manifest.as_bytes());
    let fill = |folder: &Path| fs::write(folder.join("a"), [0; 10]).map_err(io_error);
    store
        .put_derived("objects.v1", &manifest, fill, |_| false)
        .unwrap();
    store.pin([manifest.clone()].into());
    let old = put(&store, &[2; 40]);
    for (hours, digest) in [(9, &layer), (8, &manifest), (7, &old)] {
        age(&store.blob_path(digest), Duration::from_secs(hours * 3600));
    }
    let new = put(&store, &[3; 300]);
    assert!(
        store.has_blob(&layer) && store.has_blob(&manifest),
        "pinned content was evicted"
    );
    assert!(store.derived("objects.v1", &manifest).is_some());
    assert!(!store.has_blob(&old), "the oldest content stays");
    assert!(
        store.used_bytes() <= 500 || !store.has_blob(&new),
        "{}",
        store.used_bytes()
    );

    store.pin(BTreeSet::new());
    put(&store, &[4; 490]);
    assert!(!store.has_blob(&layer) && !store.has_blob(&manifest));
    assert!(store.derived("objects.v1", &manifest).is_none());
    assert!(store.used_bytes() <= 500);
}

#[test]
fn reading_makes_content_young() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(
        root.path(),
        StoreConfig {
            max_bytes: 250,
            scratch: None,
        },
    );
    let (first, second) = (put(&store, &[1; 100]), put(&store, &[2; 100]));
    age(&store.blob_path(&first), Duration::from_secs(7200));
    age(&store.blob_path(&second), Duration::from_secs(3600));
    let open = store.blob(&first).unwrap();
    put(&store, &[3; 100]);
    assert!(store.has_blob(&first) && !store.has_blob(&second));
    remove(&store.blob_path(&first));
    let mut bytes = Vec::new();
    open.reader().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, [1; 100], "an open blob outlives its eviction");
}

#[test]
fn derived_content_is_checked() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path(), StoreConfig::default());
    let digest = Digest::sha256(b"x");
    let fill = |text: &'static str| move |folder: &Path| fs::write(folder.join("a"), text).map_err(io_error);
    assert!(store.derived("objects.v1", &digest).is_none());
    for harm in ["changed", "added", "removed"] {
        let path = store
            .put_derived("objects.v1", &digest, fill("one"), |_| false)
            .unwrap()
            .path()
            .to_owned();
        assert!(store.derived("objects.v1", &digest).is_some());
        match harm {
            "changed" => fs::write(path.join("a"), "two").unwrap(),
            "added" => fs::write(path.join("b"), "").unwrap(),
            _ => fs::remove_file(path.join("a")).unwrap(),
        }
        assert!(store.derived("objects.v1", &digest).is_none(), "{harm}");
        assert!(!path.exists());
    }
    // a second writer replaces the first; a failing one leaves nothing
    store
        .put_derived("objects.v1", &digest, fill("one"), |_| false)
        .unwrap();
    let second = store
        .put_derived("objects.v1", &digest, fill("two"), |_| false)
        .unwrap();
    assert_eq!(io::read_to_string(second.open("a").unwrap()).unwrap(), "two");
    let fail = |_: &Path| Err(io_error(io::ErrorKind::Other.into()));
    assert!(store.put_derived("objects.v1", &digest, fail, |_| false).is_err());
    // a disk that fails is no reason to fail: it is made outside the store
    let mut tried = vec![];
    let full = |folder: &Path| {
        tried.push(folder.to_owned());
        if tried.len() == 1 {
            return Err(io_error(io::ErrorKind::StorageFull.into()));
        }
        fill("three")(folder)
    };
    let third = store.put_derived("objects.v1", &digest, full, |_| true).unwrap();
    assert_eq!(io::read_to_string(third.open("a").unwrap()).unwrap(), "three");
    assert!(
        tried[0].starts_with(root.path()) && !tried[1].starts_with(root.path()),
        "{tried:?}"
    );
    assert!(matches!(
        store.put_derived("../x", &digest, fill("one"), |_| false),
        Err(StoreError::Name(_))
    ));
    assert!(store.derived("../derived/objects.v1", &digest).is_none());
    assert_eq!(files(&root.path().join("tmp")), 0);
}

#[test]
fn tags_are_remembered_by_their_meaning() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path(), StoreConfig::default());
    let parse = |text: &str| Reference::parse(text).unwrap();
    let digest = Digest::sha256(b"x");
    store.set_tag(&parse("docker.io/a:v1"), &digest);
    assert_eq!(store.tag(&parse("docker.io/library/a:v1")), Some(digest.clone()));
    assert_eq!(store.tag(&parse("docker.io/a:v2")), None);
    let moved = Digest::sha256(b"y");
    store.set_tag(&parse("docker.io/a:v1"), &moved);
    assert_eq!(store.tag(&parse("docker.io/a:v1")), Some(moved));
    assert_eq!(
        store.tag(&parse("docker.io/a:v9").with_digest(&digest)),
        Some(digest.clone())
    );
    for entry in entries(&root.path().join("refs")) {
        fs::write(entry.path(), format!("other\n{digest}\n")).unwrap();
    }
    assert_eq!(
        store.tag(&parse("docker.io/a:v1")),
        None,
        "a damaged file is not believed"
    );
}

#[tokio::test]
async fn one_fetch_at_a_time_per_digest() {
    let store = Store::none();
    let digest = Digest::sha256(b"x");
    let first = store.fetch_once(&digest).await;
    let wait = tokio::time::timeout(Duration::from_millis(50), store.fetch_once(&digest)).await;
    assert!(wait.is_err(), "a second holder got in");
    store.fetch_once(&Digest::sha256(b"y")).await;
    drop(first);
    drop(store.fetch_once(&digest).await);
    store.fetch_once(&Digest::sha256(b"z")).await;
    assert!(
        lock(&store.shared.flights).len() <= 1,
        "finished flights are forgotten"
    );
}

fn io_error(source: io::Error) -> StoreError {
    StoreError::Io {
        action: "fill",
        path: PathBuf::new(),
        source,
    }
}
