//! What the process is surrounded by, so that tests can bring their own.

use std::path::{Path, PathBuf};

type Variable = dyn Fn(&str) -> Option<String>;

/// Environment variables and the working folder.
pub struct Surroundings {
    variable: Box<Variable>,
    folder: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self {
            variable: Box::new(|name| std::env::var(name).ok()),
            folder: PathBuf::new(),
        }
    }

    /// Surroundings made up: paths are relative to `folder`.
    pub fn new(folder: PathBuf, variable: impl Fn(&str) -> Option<String> + 'static) -> Self {
        Self {
            variable: Box::new(variable),
            folder,
        }
    }

    /// The value of an environment variable; empty counts as not set.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// Where a path from the command line leads.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}
