use std::io::{Cursor, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tar::{EntryType, Header};

use super::*;
use crate::limits::{MAX_IMAGE_BYTES, MAX_LAYER_BYTES};
use crate::sink::Discard;

const PACKAGE: &str =
    "apiVersion: meta.pkg.crossplane.io/v1\nkind: Provider\nmetadata:\n  name: demo\nspec: {}\n";

fn entry(header: &mut Header, path: &str, kind: EntryType, size: u64) {
    // Written into the header directly: the library refuses the paths that these tests are about.
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
}

/// A tar of entries with these types and paths; all regular files have this content.
fn tar_of(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, path, content) in entries {
        let mut header = Header::new_gnu();
        entry(&mut header, path, *kind, content.len() as u64);
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn file<'a>(path: &'a str, content: &'a str) -> (EntryType, &'a str, &'a str) {
    (EntryType::Regular, path, content)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

fn annotated(layer: impl Into<Vec<u8>>) -> Result<String, Error> {
    let content = Content::Annotated {
        layer: Cursor::new(layer.into()),
        diff_id: None,
    };
    read(content, &mut Discard, &Options::default()).map(|parsed| parsed.meta.name)
}

/// What a package file contains, the layers given lowest first.
fn flattened(layers: &[Vec<u8>]) -> Result<String, Error> {
    let layers = layers.iter().map(|layer| Cursor::new(layer.clone())).collect();
    find(Content::Flattened(layers), |file| {
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(Error::reading)?;
        Ok(text)
    })
}

fn refused(result: Result<String, Error>) -> LayerError {
    match result.unwrap_err() {
        Error::Layer(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn compression_is_recognised_by_content() {
    let plain = tar_of(&[file("package.yaml", PACKAGE)]);
    let half = plain.len() / 2;
    let members = [gzip(&plain[..half]), gzip(&plain[half..])].concat();
    let frames = [zstd(&plain[..half]), zstd(&plain[half..])].concat();
    for layer in [gzip(&plain), zstd(&plain), plain, members, frames] {
        assert_eq!(annotated(layer.clone()).unwrap(), "demo");
        assert_eq!(flattened(&[layer]).unwrap(), PACKAGE);
    }
}

#[test]
fn the_file_is_found_at_any_depth() {
    for path in [
        "package.yaml",
        "./package.yaml",
        "a/b/package.yaml",
        ".//a/./package.yaml",
    ] {
        let others = [
            file("other.yaml", "x"),
            (EntryType::Directory, "a/", ""),
            file(path, PACKAGE),
            file("package.yaml.bak", ""),
        ];
        assert_eq!(annotated(gzip(&tar_of(&others))).unwrap(), "demo", "{path}");
    }
    for entries in [
        vec![],
        vec![file("xpackage.yaml", PACKAGE)],
        vec![file("package.yaml/x", PACKAGE)],
    ] {
        let error = refused(annotated(tar_of(&entries)));
        assert!(matches!(error, LayerError::NotFound), "{error}");
    }
    assert!(
        matches!(refused(annotated([])), LayerError::NotFound),
        "an empty layer"
    );
}

#[test]
fn long_names_are_read() {
    let folder = "long/".repeat(40);
    let path = format!("{folder}package.yaml");
    let mut gnu = tar::Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(PACKAGE.len() as u64);
    gnu.append_data(&mut header, &path, PACKAGE.as_bytes()).unwrap();
    assert_eq!(annotated(gnu.into_inner().unwrap()).unwrap(), "demo");

    let mut pax = tar::Builder::new(Vec::new());
    pax.append_pax_extensions([("path", path.as_bytes()), ("mtime", b"1")])
        .unwrap();
    let mut header = Header::new_ustar();
    entry(&mut header, "short", EntryType::Regular, PACKAGE.len() as u64);
    pax.append(&header, PACKAGE.as_bytes()).unwrap();
    assert_eq!(annotated(pax.into_inner().unwrap()).unwrap(), "demo");
}

#[test]
fn the_wanted_entry_must_be_a_regular_file() {
    for (kind, named) in [
        (EntryType::Symlink, "a symbolic link"),
        (EntryType::Link, "a hard link"),
        (EntryType::Directory, "a folder"),
        (EntryType::Char, "a device"),
        (EntryType::Block, "a device"),
        (EntryType::Fifo, "a named pipe"),
        (EntryType::GNUSparse, "a sparse file"),
        (EntryType::new(b'Z'), "of an unknown type"),
    ] {
        let layer = tar_of(&[(kind, "a/package.yaml", "")]);
        for error in [refused(annotated(layer.clone())), refused(flattened(&[layer]))] {
            match error {
                LayerError::NotAFile { path, what } => {
                    assert_eq!((path.as_str(), what), ("a/package.yaml", named));
                }
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn paths_that_leave_the_root_are_refused() {
    for path in [
        "../package.yaml",
        "a/../../package.yaml",
        "a/..",
        "..",
        "x/../package.yaml",
    ] {
        let layer = tar_of(&[file(path, PACKAGE)]);
        for error in [refused(annotated(layer.clone())), refused(flattened(&[layer]))] {
            assert!(
                matches!(&error, LayerError::Path(named) if named == path),
                "{error}"
            );
        }
    }
    let layer = tar_of(&[file("/package.yaml", PACKAGE)]);
    assert!(matches!(refused(annotated(layer.clone())), LayerError::Path(path) if path == "/package.yaml"));
    // Runtime images do have absolute names.
    assert_eq!(flattened(&[layer]).unwrap(), PACKAGE);
}

#[test]
fn a_second_package_file_is_refused() {
    for (first, second) in [
        ("package.yaml", "package.yaml"),
        ("package.yaml", "a/package.yaml"),
        ("package.yaml", "./package.yaml"),
    ] {
        let layer = tar_of(&[file(first, PACKAGE), file("x", ""), file(second, PACKAGE)]);
        match refused(annotated(layer)) {
            error @ LayerError::Duplicate { .. } => {
                let places = match first == second {
                    true => String::new(),
                    false => format!(": {first} and {second}"),
                };
                let said = format!("package.yaml is there twice in the layer{places}");
                assert_eq!(error.to_string(), said);
            }
            other => panic!("{other}"),
        }
    }
    let twice = tar_of(&[file("package.yaml", PACKAGE), file("./package.yaml", PACKAGE)]);
    assert!(matches!(
        refused(flattened(&[twice])),
        LayerError::Duplicate { .. }
    ));
}

#[test]
fn damage_is_refused_even_behind_the_file() {
    let plain = tar_of(&[file("package.yaml", PACKAGE)]);
    let (gz, zst) = (gzip(&plain), zstd(&plain));
    let mut checksum = gz.clone();
    let at = checksum.len() - 6;
    checksum[at] ^= 1;
    let mut header = plain.clone();
    header[3] ^= 1;
    for (name, layer) in [
        ("truncated gzip", gz[..gz.len() - 9].to_vec()),
        ("truncated trailer", gz[..gz.len() - 3].to_vec()),
        ("truncated zstd", zst[..zst.len() - 3].to_vec()),
        ("trailing garbage", [gz, b"garbage".to_vec()].concat()),
        (
            "trailing garbage behind zstd",
            [zst, b"garbage".to_vec()].concat(),
        ),
        ("wrong checksum", checksum),
        ("wrong header checksum", header),
        ("truncated tar", plain[..512 + 20].to_vec()),
        ("no tar", b"kind: x\n".repeat(200)),
    ] {
        for error in [refused(annotated(layer.clone())), refused(flattened(&[layer]))] {
            assert!(matches!(error, LayerError::Damaged(_)), "{name}: {error:?}");
        }
    }
}

#[test]
fn a_failing_disk_is_not_damage() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::PermissionDenied.into())
        }
    }
    let layer = gzip(&tar_of(&[file("package.yaml", PACKAGE)]));
    let broken = Cursor::new(layer[..40].to_vec()).chain(Failing);
    let content = Content::Annotated {
        layer: broken,
        diff_id: None,
    };
    match read(content, &mut Discard, &Options::default()).unwrap_err() {
        Error::Io(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_inflated_content_can_be_checked() {
    let plain = tar_of(&[file("package.yaml", PACKAGE)]);
    let with = |diff_id: &[u8]| {
        let (layer, diff_id) = (Cursor::new(gzip(&plain)), Some(oci::Digest::sha256(diff_id)));
        read(
            Content::Annotated { layer, diff_id },
            &mut Discard,
            &Options::default(),
        )
    };
    with(&plain).unwrap();
    assert!(matches!(
        with(b"other").unwrap_err(),
        Error::Layer(LayerError::DiffId { .. })
    ));
}

/// Compressed zeros: `mebibytes` of them, a thousandth of that in size.
fn zeros(mebibytes: usize, out: &mut dyn std::io::Write) {
    let block = vec![0; 1 << 20];
    for _ in 0..mebibytes {
        out.write_all(&block).unwrap();
    }
}

fn huge_header(path: &str, size: u64) -> Vec<u8> {
    let mut header = Header::new_gnu();
    entry(&mut header, path, EntryType::Regular, size);
    header.as_bytes().to_vec()
}

#[test]
fn bombs_are_stopped_early() {
    for path in ["package.yaml", "other"] {
        let mut gz = GzEncoder::new(Vec::new(), Compression::best());
        gz.write_all(&huge_header(path, 1 << 30)).unwrap();
        zeros(100, &mut gz);
        let mut zst = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        zst.write_all(&huge_header(path, 1 << 30)).unwrap();
        zeros(100, &mut zst);
        for layer in [gz.finish().unwrap(), zst.finish().unwrap()] {
            assert!(layer.len() < 1 << 20);
            match annotated(layer.clone()).unwrap_err() {
                Error::Layer(LayerError::Ratio(_)) => assert_eq!(path, "other"),
                // Zeros are a line without end, which stops the parse before.
                Error::DocumentTooLarge { .. } => assert_eq!(path, "package.yaml"),
                other => panic!("{path} {other:?}"),
            }
            assert!(flattened(&[layer]).is_err());
        }
    }
}

/// Endless entries of a tar, made while they are read.
struct Endless {
    block: Vec<u8>,
    at: usize,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.block[self.at..];
        let most = rest.len().min(buffer.len());
        buffer[..most].copy_from_slice(&rest[..most]);
        self.at = (self.at + most) % self.block.len();
        Ok(most)
    }
}

#[test]
fn endless_layers_end() {
    let endless = |block: Vec<u8>| Endless { block, at: 0 };
    let refuse = |content| match read(content, &mut Discard, &Options::default()).unwrap_err() {
        Error::Layer(error) => error,
        other => panic!("{other}"),
    };
    let empty_files = huge_header("x", 0);
    for content in [
        Content::Annotated {
            layer: endless(empty_files.clone()),
            diff_id: None,
        },
        Content::Flattened(vec![endless(empty_files)]),
    ] {
        assert!(matches!(refuse(content), LayerError::TooManyEntries));
    }
    let large_file = [huge_header("x", 1 << 20), vec![b'x'; 1 << 20]].concat();
    let content = Content::Annotated {
        layer: endless(large_file.clone()),
        diff_id: None,
    };
    assert!(matches!(refuse(content), LayerError::TooLarge(MAX_LAYER_BYTES)));
    let content = Content::Flattened(vec![endless(large_file)]);
    assert!(matches!(refuse(content), LayerError::TooLarge(MAX_IMAGE_BYTES)));

    let many: Vec<Cursor<Vec<u8>>> = (0..=MAX_LAYERS).map(|_| Cursor::new(Vec::new())).collect();
    let error = read(Content::Flattened(many), &mut Discard, &Options::default()).unwrap_err();
    assert!(matches!(error, Error::Layer(LayerError::TooManyLayers(257))));
}

#[test]
fn extended_headers_are_bounded_and_must_agree() {
    let mut name = Header::new_gnu();
    entry(&mut name, "././@LongLink", EntryType::GNULongName, 1 << 30);
    let layer = Endless {
        block: name.as_bytes().to_vec(),
        at: 0,
    };
    let content = Content::Annotated { layer, diff_id: None };
    let error = read(content, &mut Discard, &Options::default()).unwrap_err();
    assert!(matches!(error, Error::Layer(LayerError::Header)), "{error}");

    let mut pax = tar::Builder::new(Vec::new());
    pax.append_pax_extensions([("size", b"3".as_slice())]).unwrap();
    let mut header = Header::new_ustar();
    entry(
        &mut header,
        "package.yaml",
        EntryType::Regular,
        PACKAGE.len() as u64,
    );
    pax.append(&header, PACKAGE.as_bytes()).unwrap();
    let error = refused(annotated(pax.into_inner().unwrap()));
    assert!(
        matches!(&error, LayerError::Size(path) if path == "package.yaml"),
        "{error}"
    );
}

#[test]
fn the_flattened_file_system_is_what_a_container_would_see() {
    let layer = |entries: &[(EntryType, &str, &str)]| gzip(&tar_of(entries));
    let folder = |path| (EntryType::Directory, path, "");
    let lower = layer(&[
        folder("etc/"),
        file("etc/passwd", "root"),
        file("package.yaml", "lower"),
    ]);
    let deep = layer(&[file("a/b/package.yaml", "deep")]);
    let link = (EntryType::Symlink, "bin/sh", "");
    let device = (EntryType::Char, "dev/null", "");
    let not_found = "package.yaml not found in package";
    for (what, layers, expected) in [
        ("one layer", vec![lower.clone()], Ok("lower")),
        (
            "upper overrides",
            vec![lower.clone(), layer(&[file("./package.yaml", "upper")])],
            Ok("upper"),
        ),
        (
            "links and devices are normal",
            vec![lower.clone(), layer(&[link, device])],
            Ok("lower"),
        ),
        (
            "binary on top",
            vec![lower.clone(), layer(&[file("/usr/local/bin/provider", "elf")])],
            Ok("lower"),
        ),
        (
            "removed",
            vec![lower.clone(), layer(&[file(".wh.package.yaml", "")])],
            Err(not_found),
        ),
        (
            "removed, then put back",
            vec![
                lower.clone(),
                layer(&[file(".wh.package.yaml", "")]),
                lower.clone(),
            ],
            Ok("lower"),
        ),
        (
            "a whiteout does not hide its own layer",
            vec![layer(&[
                file(".wh.package.yaml", ""),
                file("package.yaml", "own"),
            ])],
            Ok("own"),
        ),
        (
            "opaque root",
            vec![lower.clone(), layer(&[file(".wh..wh..opq", "")])],
            Err(not_found),
        ),
        (
            "opaque folder elsewhere",
            vec![lower, layer(&[file("etc/.wh..wh..opq", "")])],
            Ok("lower"),
        ),
        (
            "opaque folder",
            vec![deep.clone(), layer(&[file("a/.wh..wh..opq", "")])],
            Err(not_found),
        ),
        (
            "parent removed",
            vec![deep.clone(), layer(&[file(".wh.a", "")])],
            Err(not_found),
        ),
        (
            "parent became a file",
            vec![deep.clone(), layer(&[file("a", "x")])],
            Err(not_found),
        ),
        (
            "parent is still a folder",
            vec![deep.clone(), layer(&[folder("a/"), folder("a/b")])],
            Ok("deep"),
        ),
        (
            "similar name removed",
            vec![
                deep,
                layer(&[file("a/b/.wh.package.yaml2", ""), file(".wh.a2", "")]),
            ],
            Ok("deep"),
        ),
        ("nothing", vec![], Err(not_found)),
    ] {
        let found = flattened(&layers).map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{what}");
    }
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2000), magic in 0usize..3) {
        let magic: &[u8] = [&[0x1f, 0x8b, 8, 0][..], &[0x28, 0xb5, 0x2f, 0xfd][..], b""][magic];
        let layer = [magic, &bytes].concat();
        let _ = annotated(layer.clone());
        let _ = flattened(&[layer]);
    }

    #[test]
    fn mutilated_layers_never_panic(at in 0usize..3000, byte in any::<u8>(), packed in any::<bool>()) {
        let mut layer = tar_of(&[file("a", "b"), file("package.yaml", PACKAGE)]);
        if packed {
            layer = gzip(&layer);
        }
        let at = at % layer.len();
        layer[at] = byte;
        let _ = annotated(layer.clone());
        let _ = flattened(&[layer]);
    }
}
