//! Packages that must be refused, each for one reason.

use std::io::Write;

use anyhow::Result;
use serde_json::json;
use tar::EntryType;

use crate::fixture::PackageFixture;
use crate::image::{Blob, Entry, Image, gzip, tar};

/// How much a bomb inflates to: over the limit of 200 MiB for a package's stream.
const BOMB: usize = 220 << 20;

/// An image and why it must be refused.
#[derive(Clone, Debug)]
pub struct Malformed {
    /// A short name, valid as a repository's: `two-metas`.
    pub name: &'static str,
    /// What is wrong with it.
    pub wrong: &'static str,
    /// The image.
    pub image: Image,
}

/// One package per way to be malformed that needs no help of the registry. All are Providers but for what is
/// wrong. Making them takes a second or two (the bombs).
pub fn all() -> Result<Vec<Malformed>> {
    let good = PackageFixture::provider("malformed").crd("malformed.example.org", "Thing");
    let yaml = good.yaml()?;
    let raw = |name, wrong, blobs| {
        anyhow::Ok(Malformed {
            name,
            wrong,
            image: Image::docker(blobs)?,
        })
    };
    let entries =
        |name, wrong, entries: &[Entry]| raw(name, wrong, vec![Blob::layer(entries)?.annotated("base")]);
    let text = |name, wrong, yaml: &str| raw(name, wrong, vec![Blob::package(yaml)?]);
    let built = |name, wrong, fixture: PackageFixture| text(name, wrong, &fixture.yaml()?);
    let again = PackageFixture::provider("another").meta();
    let package = Entry::file("package.yaml", &yaml);

    Ok(vec![
        raw("no-layers", "an image without layers", Vec::new())?,
        entries(
            "no-package-yaml",
            "the layer has another file",
            &[Entry::file("other.yaml", &yaml)],
        )?,
        entries(
            "empty-package-yaml",
            "package.yaml is empty",
            &[Entry::file("package.yaml", "")],
        )?,
        entries(
            "two-package-yamls",
            "the same path twice",
            &[package.clone(), package],
        )?,
        entries(
            "traversal",
            "a path that leads out",
            &[Entry::file("../package.yaml", &yaml)],
        )?,
        entries(
            "absolute-path",
            "an absolute path",
            &[Entry::file("/package.yaml", &yaml)],
        )?,
        entries(
            "symlink",
            "package.yaml is a symbolic link",
            &[
                Entry::file("real.yaml", &yaml),
                Entry::link(EntryType::Symlink, "package.yaml", "real.yaml"),
            ],
        )?,
        entries(
            "hard-link",
            "package.yaml is a hard link",
            &[
                Entry::file("real.yaml", &yaml),
                Entry::link(EntryType::Link, "package.yaml", "real.yaml"),
            ],
        )?,
        entries(
            "device",
            "package.yaml is a device",
            &[Entry::special(EntryType::Char, "package.yaml")],
        )?,
        entries(
            "directory",
            "package.yaml is a directory",
            &[Entry::special(EntryType::Directory, "package.yaml")],
        )?,
        text(
            "no-meta",
            "no metadata object",
            yaml.split_once("---\napiVersion: apiext").map_or("", |s| s.1),
        )?,
        built("two-metas", "two metadata objects", good.clone().object(again))?,
        built("wrong-kind", "metadata of a Configuration", {
            PackageFixture::configuration("malformed").xrd("malformed.example.org", "Thing")
        })?,
        built(
            "wrong-api-version",
            "metadata of an unknown version",
            good.clone().meta_version("v9"),
        )?,
        built(
            "unknown-object",
            "an object of a kind that no package may hold",
            {
                let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" } });
                good.clone().object(map)
            },
        )?,
        built(
            "duplicate-object",
            "the same CRD twice",
            good.clone().crd("malformed.example.org", "Thing"),
        )?,
        built(
            "bad-yaml",
            "document 3 does not parse",
            good.clone().document("a: [1, 2\nb: }{\n"),
        )?,
        built("duplicate-key", "a YAML key twice", {
            good.clone()
                .document("apiVersion: a/v1\nkind: A\nkind: B\nmetadata: {name: x}\n")
        })?,
        built(
            "scalar",
            "a document that is no object",
            good.clone().document("just words\n"),
        )?,
        built(
            "alias-bomb",
            "aliases of aliases",
            good.clone().document(&alias_bomb()),
        )?,
        built(
            "deep",
            "nested too deeply",
            good.clone().document(&format!("a: {}\n", "[".repeat(20_000))),
        )?,
        built(
            "bad-constraint",
            "an unparsable crossplane.version",
            good.crossplane("latest, please"),
        )?,
        raw(
            "not-utf8",
            "bytes that are not UTF-8",
            vec![
                Blob::layer(&[Entry::file(
                    "package.yaml",
                    [yaml.as_bytes(), b"a: \"\xff\xfe\"\n"].concat(),
                )])?
                .annotated("base"),
            ],
        )?,
        raw("not-a-tar", "the layer is no archive", {
            vec![
                Blob::new(
                    "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    gzip(b"not a tar")?,
                )
                .annotated("base"),
            ]
        })?,
        raw("cut-off", "the compressed stream ends early", {
            let whole = Blob::package(&yaml)?;
            let half = whole.bytes.slice(..whole.bytes.len() / 2);
            vec![Blob::new(&whole.media_type, half).annotated("base")]
        })?,
        raw(
            "gzip-bomb",
            "inflates to more than a package may be",
            vec![bomb(Packing::Gzip)?],
        )?,
        raw(
            "zstd-bomb",
            "inflates to more than a package may be",
            vec![bomb(Packing::Zstd)?],
        )?,
    ])
}

/// The malformed package of this name.
pub fn named(name: &str) -> Result<Malformed> {
    let found = all()?.into_iter().find(|m| m.name == name);
    found.ok_or_else(|| anyhow::anyhow!("no malformed package is called {name}"))
}

enum Packing {
    Gzip,
    Zstd,
}

fn bomb(packing: Packing) -> Result<Blob> {
    let archive = tar(&[Entry::file("package.yaml", vec![b'\n'; BOMB])])?;
    let packed = match packing {
        Packing::Gzip => gzip(&archive)?,
        Packing::Zstd => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1)?;
            encoder.write_all(&archive)?;
            encoder.finish()?
        }
    };
    Ok(Blob::new("application/vnd.docker.image.rootfs.diff.tar.gzip", packed).annotated("base"))
}

/// 10^9 strings in 300 bytes.
fn alias_bomb() -> String {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    text
}
