//! `gantry build`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use package::Warning;
use package::build::{Built, Format, Glob, Input};
use serde::Serialize;

use crate::folder;
use crate::output::{Form, Output};
use crate::surroundings::Surroundings;
use crate::version;

/// Build a package file (.xpkg) from a folder of YAML files. The same files always give the same digest.
#[derive(Args, Debug)]
pub(crate) struct Build {
    #[command(flatten)]
    source: Source,
    /// File to write; by default <name>-<digest>.xpkg in the package's folder.
    #[arg(short = 'o', long, value_name = "PATH")]
    package_file: Option<PathBuf>,
    /// Image that the package is added to, as written by `docker save`. For Providers and Functions.
    #[arg(long, value_name = "PATH")]
    embed_runtime_image_tarball: Option<PathBuf>,
    /// Tell the digest of the image with OCI media types, as `gantry push --oci` gives it.
    #[arg(long)]
    oci: bool,
    /// Refuse to build when there are warnings.
    #[arg(long)]
    strict: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    output: Form,
}

/// Where a package's files are.
#[derive(Args, Debug)]
pub(crate) struct Source {
    /// Folder with the package's metadata and objects.
    #[arg(short = 'f', long, value_name = "DIR", default_value = ".")]
    pub(crate) package_root: PathBuf,
    /// Folder with examples, which are added as a layer of their own.
    #[arg(short = 'e', long, value_name = "DIR", default_value = "./examples")]
    pub(crate) examples_root: PathBuf,
    /// Files to leave out, as patterns relative to the package's folder. `*` does not match `/`.
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    pub(crate) ignore: Vec<Glob>,
}

impl Source {
    /// Reads all files.
    pub(crate) fn input(&self, surroundings: &Surroundings) -> anyhow::Result<Input> {
        let examples = surroundings.path(&self.examples_root);
        let files = folder::yaml_files(&surroundings.path(&self.package_root), Some(&examples))?;
        // Absent examples are fine, unreadable ones are not.
        let examples = if examples.exists() {
            Some(folder::yaml_files(&examples, None)?)
        } else {
            None
        };
        Ok(Input {
            files,
            ignore: self.ignore.clone(),
            examples,
            runtime: None,
        })
    }
}

#[derive(Serialize)]
struct Report {
    file: PathBuf,
    digest: String,
    kind: &'static str,
    name: String,
    objects: usize,
    warnings: Vec<String>,
}

impl Build {
    pub(crate) fn run(&self, surroundings: &Surroundings, output: &mut Output<'_>) -> anyhow::Result<()> {
        let mut input = self.source.input(surroundings)?;
        if let Some(path) = &self.embed_runtime_image_tarball {
            input.runtime = Some(read_image(&surroundings.path(path))?);
        }
        let built = package::build::build(input)?;
        let warnings = warnings(&built);
        for warning in &warnings {
            output.warn(warning);
        }
        if self.strict && !warnings.is_empty() {
            bail!(
                "{} warnings with --strict: nothing is written; put right what they say",
                warnings.len()
            );
        }
        let format = if self.oci { Format::Oci } else { Format::Docker };
        let digest = built.image.manifest(format, &BTreeMap::new()).digest;
        let file = self.package_file.clone().unwrap_or_else(|| {
            let name = api::names::friendly_id(&built.parsed.meta.name, digest.hex());
            self.source.package_root.join(format!("{name}.xpkg"))
        });
        write(&surroundings.path(&file), &built)
            .with_context(|| format!("{} can't be written", file.display()))?;
        let report = Report {
            file,
            digest: digest.to_string(),
            kind: built.parsed.meta.kind.kind(),
            name: built.parsed.meta.name,
            objects: built.parsed.objects.len(),
            warnings,
        };
        output.result(self.output, &report, |report| {
            let Report {
                kind, name, objects, ..
            } = report;
            let noun = if *objects == 1 { "object" } else { "objects" };
            format!(
                "{}\n{}\n{kind} {name}, {objects} {noun}\n",
                report.file.display(),
                report.digest
            )
        })
    }
}

/// Reads an image from a file, as `docker save` or `gantry build` writes it.
pub(crate) fn read_image(path: &Path) -> anyhow::Result<package::build::Image> {
    let shown = || format!("{} can't be used", path.display());
    let file = fs::File::open(path).with_context(shown)?;
    Ok(package::build::read_archive(file).with_context(shown)?.image)
}

/// What an author should know of a package that can be built.
pub(crate) fn warnings(built: &Built) -> Vec<String> {
    let mut warnings: Vec<String> = built.parsed.warnings.iter().map(Warning::to_string).collect();
    warnings.extend(version::compatibility(&built.parsed.meta));
    warnings
}

/// Writes the whole file or nothing.
fn write(path: &Path, built: &Built) -> anyhow::Result<()> {
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder)?;
    let mut writer = package::build::write_archive(&built.image, std::io::BufWriter::new(file))?;
    writer.flush()?;
    let file = writer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    // Temporary files are for their owner alone; a package file is as readable as any other new file.
    set_mode(file.as_file())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(unix)]
fn set_mode(file: &fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_mode(_: &fs::File) -> std::io::Result<()> {
    Ok(())
}
