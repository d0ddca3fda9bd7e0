//! `gantry push`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use oci::{Digest, Reference};
use package::build::{Format, Image, ManifestBlob, index};
use registry::{Client, Deadline, Keychain};
use serde::Serialize;

use crate::build::read_image;
use crate::limits::PUSH_DEADLINE;
use crate::output::{Form, Output};
use crate::remote::{Remote, runtime};
use crate::surroundings::Surroundings;

/// Push package files to a registry. Several files become one index, with one image per platform.
#[derive(Args, Debug)]
pub(crate) struct Push {
    /// Where to: registry, repository and tag, all written out.
    #[arg(value_name = "REGISTRY/REPOSITORY:TAG")]
    reference: String,
    /// Package files; by default the only .xpkg file in the working folder.
    #[arg(short = 'f', long, value_name = "FILE", value_delimiter = ',')]
    package_files: Vec<PathBuf>,
    /// Annotation of the manifests and the index, as key=value.
    #[arg(short = 'a', long = "oci-annotation", value_name = "KEY=VALUE")]
    annotations: Vec<String>,
    /// Write OCI media types instead of those of Docker schema 2.
    #[arg(long)]
    oci: bool,
    #[command(flatten)]
    remote: Remote,
    /// Form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

#[derive(Serialize)]
struct Report {
    reference: String,
    digest: String,
    images: Vec<String>,
}

impl Push {
    pub(crate) fn run(&self, surroundings: &Surroundings, output: &mut Output<'_>) -> anyhow::Result<()> {
        let reference = self.destination()?;
        let annotations = self.annotations()?;
        let files = match self.package_files.as_slice() {
            [] => vec![find(&surroundings.path(Path::new(".")))?],
            files => files.iter().map(|file| surroundings.path(file)).collect(),
        };
        let images = files
            .iter()
            .map(|file| read_image(file))
            .collect::<anyhow::Result<Vec<Image>>>()?;
        let client = self.remote.client(surroundings)?;
        let format = if self.oci { Format::Oci } else { Format::Docker };
        let (digest, images) = runtime()?.block_on(async {
            let keychain = self.remote.keychain(&reference, surroundings, output).await;
            let upload = Upload {
                client: &client,
                keychain,
                reference: &reference,
                deadline: Deadline::after(PUSH_DEADLINE),
            };
            upload.all(images, format, &annotations).await
        })?;
        let images = images.iter().map(ToString::to_string).collect();
        let report = Report {
            reference: reference.to_string(),
            digest: digest.to_string(),
            images,
        };
        output.result(self.output, &report, |report| {
            format!("{}\n{}\n", report.reference, report.digest)
        })
    }

    fn destination(&self) -> anyhow::Result<Reference> {
        let reference = Reference::parse(&self.reference)
            .with_context(|| format!("{:?} is not a place to push to", self.reference))?;
        if reference.tag().is_none() || reference.digest().is_some() {
            bail!(
                "{:?} must end with a tag, and have no digest: write registry/repository:tag",
                self.reference
            );
        }
        Ok(reference)
    }

    fn annotations(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let split = |entry: &String| match entry.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => bail!("annotation {entry:?} is not valid: write key=value"),
        };
        self.annotations.iter().map(split).collect()
    }
}

/// The only package file in a folder. The first words are the reference's.
fn find(folder: &Path) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{} can't be read", folder.display()))?;
    let mut found: Option<PathBuf> = None;
    for entry in entries {
        let path = entry
            .with_context(|| format!("{} can't be read", folder.display()))?
            .path();
        if path.extension().is_some_and(|extension| extension == "xpkg") && found.replace(path).is_some() {
            bail!("directory contains multiple compiled crossplane packages: name one with -f");
        }
    }
    found.context("directory does not contain a compiled crossplane package: build one, or name it with -f")
}

struct Upload<'a> {
    client: &'a Client,
    keychain: Keychain,
    reference: &'a Reference,
    deadline: Deadline,
}

impl Upload<'_> {
    /// Uploads all images; one goes to the tag, several to their digests and an index to the tag.
    async fn all(
        &self,
        images: Vec<Image>,
        format: Format,
        annotations: &BTreeMap<String, String>,
    ) -> Result<(Digest, Vec<Digest>), registry::Error> {
        let alone = images.len() == 1;
        let mut children = Vec::new();
        for image in images {
            let (manifest, platform) = (image.manifest(format, annotations), image.platform());
            self.blobs(&image).await?;
            let to = if alone {
                self.reference.clone()
            } else {
                self.reference.with_digest(&manifest.digest)
            };
            self.manifest(&to, &manifest).await?;
            children.push(manifest.descriptor(platform));
        }
        let digests: Vec<Digest> = children.iter().map(|child| child.digest.clone()).collect();
        if let ([digest], true) = (digests.as_slice(), alone) {
            return Ok((digest.clone(), digests));
        }
        let index = index(children, annotations);
        self.manifest(self.reference, &index).await?;
        Ok((index.digest, digests))
    }

    /// Uploads what the manifest will point at.
    async fn blobs(&self, image: &Image) -> Result<(), registry::Error> {
        let config = image.config();
        let config = (Digest::sha256(&config), Bytes::from(config));
        let layers = image
            .layers()
            .iter()
            .map(|layer| (layer.digest.clone(), Bytes::copy_from_slice(&layer.bytes)));
        for (digest, bytes) in layers.chain([config]) {
            self.client
                .push_blob(self.reference, &digest, bytes, &self.keychain, self.deadline)
                .await?;
        }
        Ok(())
    }

    async fn manifest(&self, to: &Reference, manifest: &ManifestBlob) -> Result<(), registry::Error> {
        let bytes = Bytes::from(manifest.bytes.clone());
        self.client
            .push_manifest(to, manifest.media_type, bytes, &self.keychain, self.deadline)
            .await?;
        Ok(())
    }
}
