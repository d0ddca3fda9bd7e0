//! `gantry lint`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use package::build::{Format, Glob, Image};
use package::{Content, Discard, Options, Parsed, Warning};
use serde::Serialize;

use crate::build::{Source, read_image};
use crate::output::{Form, Output};
use crate::surroundings::Surroundings;
use crate::version;

/// Check a package: a folder of YAML files, a package file (.xpkg), or a package.yaml.
#[derive(Args, Debug)]
pub(crate) struct Lint {
    /// Folder or file.
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    path: PathBuf,
    /// Folder with examples; by default `examples` in the package's folder.
    #[arg(short = 'e', long, value_name = "DIR")]
    examples_root: Option<PathBuf>,
    /// Files to leave out, as patterns relative to the package's folder. `*` does not match `/`.
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    ignore: Vec<Glob>,
    /// Let warnings count as errors.
    #[arg(long)]
    strict: bool,
    /// Form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

#[derive(Serialize)]
struct Report {
    kind: &'static str,
    name: String,
    objects: usize,
    warnings: Vec<String>,
}

impl Lint {
    pub(crate) fn run(&self, surroundings: &Surroundings, output: &mut Output<'_>) -> anyhow::Result<()> {
        let path = surroundings.path(&self.path);
        let parsed = if path.is_dir() {
            self.folder(surroundings)?
        } else {
            file(&path)?
        };
        let mut warnings: Vec<String> = parsed.warnings.iter().map(Warning::to_string).collect();
        warnings.extend(version::compatibility(&parsed.meta));
        if parsed.omitted_warnings > 0 {
            warnings.push(format!(
                "{} more warnings of the same kinds",
                parsed.omitted_warnings
            ));
        }
        for warning in &warnings {
            output.warn(warning);
        }
        let count = warnings.len();
        let (kind, objects) = (parsed.meta.kind.kind(), parsed.objects.len());
        let report = Report {
            kind,
            name: parsed.meta.name,
            objects,
            warnings,
        };
        output.result(self.output, &report, |report| {
            let Report {
                kind,
                name,
                objects,
                warnings,
            } = report;
            let noun = if *objects == 1 { "object" } else { "objects" };
            let found = match warnings.len() {
                0 => "no warnings".to_owned(),
                1 => "1 warning".to_owned(),
                count => format!("{count} warnings"),
            };
            format!("{kind} {name}, {objects} {noun}: {found}\n")
        })?;
        if self.strict && count > 0 {
            bail!("{count} warnings with --strict; put right what they say");
        }
        Ok(())
    }

    /// Checks a folder by building it.
    fn folder(&self, surroundings: &Surroundings) -> anyhow::Result<Parsed> {
        let source = Source {
            package_root: self.path.clone(),
            examples_root: self
                .examples_root
                .clone()
                .unwrap_or_else(|| self.path.join("examples")),
            ignore: self.ignore.clone(),
        };
        Ok(package::build::build(source.input(surroundings)?)?.parsed)
    }
}

fn file(path: &Path) -> anyhow::Result<Parsed> {
    let shown = || format!("{} can't be read", path.display());
    let options = Options {
        kind: None,
        refuse_disallowed: true,
    };
    let mut parsed = if is_text(path).with_context(shown)? {
        let file = fs::File::open(path).with_context(shown)?;
        package::parse(BufReader::new(file), &mut Discard, &options)?
    } else {
        read_package(&read_image(path)?, &options)?
    };
    let advice = package::lint::advise(&parsed);
    parsed.warnings.extend(advice);
    Ok(parsed)
}

/// Whether a file is a `package.yaml` rather than an archive. A tar has zeros in its first header.
fn is_text(path: &Path) -> std::io::Result<bool> {
    let mut head = Vec::new();
    fs::File::open(path)?.take(512).read_to_end(&mut head)?;
    let gzip = head.starts_with(&[0x1f, 0x8b]);
    Ok(!gzip && !head.contains(&0))
}

/// Reads the package in an image as the operator would.
fn read_package(image: &Image, options: &Options) -> anyhow::Result<Parsed> {
    let manifest = image.manifest(Format::Docker, &BTreeMap::new());
    let manifest = oci::Manifest::parse(&manifest.bytes)?;
    let base = manifest.base_layer();
    let layer = base.and_then(|base| image.layers().iter().find(|layer| layer.digest == base.digest));
    let content = match layer {
        Some(layer) => Content::Annotated {
            layer: layer.bytes.as_slice(),
            diff_id: Some(layer.diff_id.clone()),
        },
        None => Content::Flattened(
            image
                .layers()
                .iter()
                .map(|layer| layer.bytes.as_slice())
                .collect(),
        ),
    };
    Ok(package::read(content, &mut Discard, options)?)
}
