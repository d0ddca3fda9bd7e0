//! Package folders to build from: the examples, and copies of them that differ.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use testkit::{Corpus, synthetic};

/// Kinds of the made-up large package.
const KINDS: usize = 300;
/// Size of one of its CRDs as YAML, bytes: about the average of those of real providers.
const KIND_BYTES: usize = 40_000;
/// Real CRDs that are taken at most: as many as the largest providers have.
const MOST: usize = 1_000;

/// An example's folder.
pub(super) fn example(name: &str) -> PathBuf {
    testkit::tools::workspace().join("examples").join(name)
}

/// A copy of an example at `to`, with the files of further folders over it.
pub(super) fn copy(to: &Path, from: &[&str]) -> Result<()> {
    for name in from {
        copy_folder(&example(name), to).with_context(|| format!("cannot copy example {name}"))?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Puts one text in the place of another in a file.
///
/// # Errors
/// When the file does not hold it: the example was changed, and this step with it.
pub(super) fn replace(file: &Path, old: &str, new: &str) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(text.contains(old), "{} does not hold {old:?}", file.display());
    fs::write(file, text.replace(old, new)).with_context(|| format!("cannot write {}", file.display()))
}

/// What the large package carries.
pub(super) struct Large {
    /// How many CRDs.
    pub(super) crds: usize,
    /// For people: where they come from.
    pub(super) origin: &'static str,
    /// Size of all, as YAML, bytes.
    pub(super) bytes: usize,
}

/// The large package at `to`: CRDs that `GANTRY_CORPUS` names, else made-up ones.
pub(super) fn large(to: &Path) -> Result<Large> {
    copy(to, &["provider-large"])?;
    let folder = to.join("crds");
    fs::create_dir_all(&folder)?;
    let (texts, origin) = match Corpus::from_env()? {
        Some(corpus) => (
            corpus.first(corpus.files().len().min(MOST))?,
            "real ones of GANTRY_CORPUS",
        ),
        None => (made_up()?, "made up; GANTRY_CORPUS names real ones"),
    };
    for (number, text) in texts.iter().enumerate() {
        fs::write(folder.join(format!("{number:04}.yaml")), text)?;
    }
    Ok(Large {
        crds: texts.len(),
        origin,
        bytes: texts.iter().map(String::len).sum(),
    })
}

fn made_up() -> Result<Vec<String>> {
    (0..KINDS)
        .map(|number| {
            let kind = format!("Thing{number:03}");
            let crd = synthetic::crd("large.example.org", &kind, KIND_BYTES, None);
            // JSON is YAML.
            Ok(serde_json::to_string_pretty(&crd)?)
        })
        .collect()
}
