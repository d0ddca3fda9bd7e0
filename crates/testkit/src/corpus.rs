//! Real CRDs, given from outside: `GANTRY_CORPUS` names a folder with YAML files or an archive of one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::image::sha256;

/// How deep folders are searched.
const DEPTH: usize = 6;

/// A folder of CRDs, one per file.
#[derive(Clone, Debug)]
pub struct Corpus {
    files: Vec<PathBuf>,
}

impl Corpus {
    /// The corpus that `GANTRY_CORPUS` names; `None` when it names none.
    ///
    /// # Errors
    /// When it names something that is not there, or that holds no YAML.
    pub fn from_env() -> Result<Option<Self>> {
        match std::env::var_os("GANTRY_CORPUS").filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(path) => Self::open(Path::new(&path)).map(Some),
        }
    }

    /// The corpus at `path`: a folder, or an archive that `tar` can unpack. It is unpacked once, into the
    /// cache.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = if path.is_dir() {
            path.to_path_buf()
        } else {
            unpacked(path)?
        };
        let mut files = Vec::new();
        collect(&folder, DEPTH, &mut files)?;
        files.sort_by(|a, b| a.file_name().cmp(&b.file_name()).then_with(|| a.cmp(b)));
        if files.is_empty() {
            bail!("the corpus {} holds no .yaml files", path.display());
        }
        Ok(Self { files })
    }

    /// All files, sorted by name.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The text of the first `n` files.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn first(&self, n: usize) -> Result<Vec<String>> {
        let Some(files) = self.files.get(..n) else {
            bail!("the corpus holds {} files, {n} were asked for", self.files.len());
        };
        files
            .iter()
            .map(|f| std::fs::read_to_string(f).with_context(|| format!("cannot read {}", f.display())))
            .collect()
    }
}

fn unpacked(archive: &Path) -> Result<PathBuf> {
    let meta = std::fs::metadata(archive).with_context(|| format!("no corpus at {}", archive.display()))?;
    let key = format!("{} {} {:?}", archive.display(), meta.len(), meta.modified()?);
    let key: String = sha256(key.as_bytes()).chars().skip(7).take(16).collect();
    let cache = cache()?.join("corpus");
    let folder = cache.join(key);
    if folder.is_dir() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    // Complete or not there: unpacked beside, then renamed.
    let beside = tempfile::Builder::new().prefix("unpacking-").tempdir_in(&cache)?;
    let output = Command::new("tar")
        .arg("-xf")
        .arg(archive)
        .arg("-C")
        .arg(beside.path())
        .output()?;
    if !output.status.success() {
        bail!(
            "cannot unpack {}: {}",
            archive.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    match std::fs::rename(beside.path(), &folder) {
        Err(error) if !folder.is_dir() => {
            Err(error).with_context(|| format!("cannot make {}", folder.display()))
        }
        _ => Ok(folder),
    }
}

fn cache() -> Result<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    set("GANTRY_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|c| c.join("gantry")))
        .or_else(|| set("HOME").map(|h| h.join(".cache/gantry")))
        .context("neither GANTRY_CACHE, XDG_CACHE_HOME nor HOME is set")
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, files)?;
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            files.push(path);
        }
    }
    Ok(())
}
