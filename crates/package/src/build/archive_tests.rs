use std::io::Cursor;

use super::*;

fn archive_of(entries: &[(&str, &str)]) -> Result<Archive, ArchiveError> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        if let Some(target) = content.strip_prefix("-> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, path, target).unwrap();
        } else {
            header.set_size(content.len() as u64);
            builder
                .append_data(&mut header, path, content.as_bytes())
                .unwrap();
        }
    }
    read_archive(Cursor::new(builder.into_inner().unwrap()))
}

#[test]
fn bad_archives_are_refused() {
    let one = r#"[{"Config":"c","Layers":["l"]}]"#;
    let config = r#"{"rootfs":{"diff_ids":["sha256:x"]}}"#;
    for (entries, expected) in [
        (vec![("other", "x")], "the file has no manifest.json"),
        (
            vec![("manifest.json", "{")],
            "manifest.json in the file is not valid",
        ),
        (vec![("manifest.json", "[]")], "the file has 0 images"),
        (
            vec![("manifest.json", one), ("l", "x")],
            "c is missing in the file",
        ),
        (
            vec![("manifest.json", one), ("c", config)],
            "l is missing in the file",
        ),
        (
            vec![("manifest.json", one), ("c", "{}"), ("l", "x")],
            "the config names 0 layers, manifest.json 1",
        ),
        (
            vec![("manifest.json", one), ("c", config), ("l", "x")],
            "layer l in the file is sha256:",
        ),
        (
            vec![("manifest.json", one), ("c", "-> d"), ("d", "-> c")],
            "c in the file is a link that leads nowhere",
        ),
        (
            vec![
                ("manifest.json", one),
                ("c", config),
                ("l", "-> ../../etc/passwd"),
            ],
            "the file can't be read as a tar",
        ),
    ] {
        let error = archive_of(&entries).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{entries:?}: {error}");
    }
    let two = r#"[{"Config":"c","Layers":["l"]},{"Config":"c","Layers":["l"]}]"#;
    let error = archive_of(&[("manifest.json", two)]).unwrap_err();
    assert!(matches!(error, ArchiveError::NotOneImage(2)), "{error}");
}
