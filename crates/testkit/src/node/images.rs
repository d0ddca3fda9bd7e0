//! Images for containers: nothing can be pulled from outside.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::requirements::program;
use crate::image::{Blob, Image, OCI_LAYER, gzip};

/// Names under which busybox is found in its image.
const APPLETS: &[&str] = &[
    "awk", "cat", "echo", "env", "false", "grep", "httpd", "id", "kill", "ls", "nc", "nslookup", "printf",
    "seq", "sh", "sleep", "test", "touch", "true",
];
/// The uid of the image's user, for pods that must not run as root.
const NOBODY: &str = "65534:65534";

/// A container image of one layer, the files of `root` (owners and modes are kept); `config` as in an OCI image's
/// `config`: `Entrypoint`, `User`, `Env`.
pub fn from_folder(root: &Path, config: Value) -> Result<Image> {
    let mut archive = Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive
        .append_dir_all(".", root)
        .with_context(|| format!("cannot read {}", root.display()))?;
    Image::container(Blob::new(OCI_LAYER, gzip(&archive.into_inner()?)?), config)
}

/// Busybox, started by its own name: what a container runs follows as `args`. User is nobody.
pub(super) fn busybox() -> Result<Image> {
    let config = json!({ "Entrypoint": ["/bin/busybox"], "User": NOBODY, "Env": ["PATH=/bin"] });
    Image::container(busybox_layer()?, config)
}

/// What holds a pod's namespaces: it sleeps.
pub(super) fn pause() -> Result<Image> {
    let config = json!({ "Entrypoint": ["/bin/busybox", "sleep", "2147483647"], "User": NOBODY });
    Image::container(busybox_layer()?, config)
}

fn busybox_layer() -> Result<Blob> {
    let busybox = std::fs::read(program("busybox")?)?;
    let mut archive = Builder::new(Vec::new());
    for (folder, mode) in [
        ("bin/", 0o755),
        ("etc/", 0o755),
        ("tmp/", 0o1777),
        ("www/", 0o755),
    ] {
        add(&mut archive, EntryType::Directory, folder, mode, &[])?;
    }
    add(&mut archive, EntryType::Regular, "bin/busybox", 0o755, &busybox)?;
    let users = b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
    add(&mut archive, EntryType::Regular, "etc/passwd", 0o644, users)?;
    add(
        &mut archive,
        EntryType::Regular,
        "www/index.html",
        0o644,
        b"ready\n",
    )?;
    for applet in APPLETS {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    Ok(Blob::new(OCI_LAYER, gzip(&archive.into_inner()?)?))
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header
}

fn add(archive: &mut Builder<Vec<u8>>, kind: EntryType, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = header(kind, mode, content.len());
    Ok(archive.append_data(&mut header, path, content)?)
}
