//! The programs that tests run: built by `make tools`, found here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The folder with etcd, kube-apiserver, kube-controller-manager, kubectl, helm, promtool, registry and crane; and, where a
/// node is asked for, with what it needs.
#[derive(Clone, Debug)]
pub struct Tools {
    folder: PathBuf,
}

/// Names of all programs that the folder must hold.
pub const PROGRAMS: &[&str] = &[
    "crane",
    "etcd",
    "helm",
    "kube-apiserver",
    "kube-controller-manager",
    "kubectl",
    "promtool",
    "registry",
];

impl Tools {
    /// The folder that `GANTRY_TOOLS` names, else the one that `tests/tools/build.sh --where` prints.
    ///
    /// # Errors
    /// When a program is missing; the message says how to build it.
    pub fn find() -> Result<Self> {
        let folder = match std::env::var_os("GANTRY_TOOLS").filter(|v| !v.is_empty()) {
            Some(given) => PathBuf::from(given),
            None => built()?,
        };
        for program in PROGRAMS {
            if !folder.join(program).exists() {
                bail!(
                    "{program} is not in {}: run `make tools` (once, about 10 minutes)",
                    folder.display()
                );
            }
        }
        Ok(Self { folder })
    }

    /// The path of one program, such as `kubectl`.
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Builds the tools; by it the root of a clone is known.
const SCRIPT: &str = "tests/tools/build.sh";

/// The root of the clone: the one that the working folder is in, as `cargo test` and the Makefile set it. The one that it was
/// compiled in may be another, since clones with one target folder share what they build.
pub fn workspace() -> PathBuf {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built_in = built_in.ancestors().nth(2).unwrap_or(built_in);
    let working = std::env::current_dir().unwrap_or_default();
    let root = working.ancestors().find(|folder| folder.join(SCRIPT).is_file());
    root.unwrap_or(built_in).to_path_buf()
}

fn built() -> Result<PathBuf> {
    let script = workspace().join(SCRIPT);
    let output = Command::new(&script)
        .arg("--where")
        .output()
        .with_context(|| format!("cannot run {}", script.display()))?;
    if !output.status.success() {
        bail!(
            "the test tools are not there: run `make tools` (once, about 10 minutes). {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}
