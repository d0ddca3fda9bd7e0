//! A wall clock of one process that can be set, forward and back, while the process runs.
//!
//! Time namespaces don't do: they shift the monotonic clocks, and only before a process starts. So a few lines of C are
//! preloaded into the process; the machine's clock and all other processes are left alone.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::operator::OperatorOptions;

/// What is preloaded.
const SOURCE: &str = include_str!("clock.c");

/// The wall clock of the processes that were started with it.
pub struct WallClock {
    folder: TempDir,
}

impl WallClock {
    /// A clock that shows the machine's time.
    pub fn new() -> Result<Self> {
        let folder = crate::folder("clock")?;
        let (source, library) = (folder.path().join("clock.c"), folder.path().join("clock.so"));
        std::fs::write(&source, SOURCE)?;
        let built = Command::new("gcc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .output()
            .context("cannot run gcc (Debian package gcc), which builds the clock of one process")?;
        let said = String::from_utf8_lossy(&built.stderr);
        ensure!(built.status.success(), "gcc cannot build a clock: {said}");
        let clock = Self { folder };
        clock.shift(0)?;
        Ok(clock)
    }

    /// An operator with this clock.
    pub fn worn_by(&self, options: OperatorOptions) -> OperatorOptions {
        let path = |name: &str| self.folder.path().join(name).to_string_lossy().into_owned();
        options
            .env("LD_PRELOAD", &path("clock.so"))
            .env("GANTRY_TEST_CLOCK", &path("shift"))
    }

    /// Sets it so many seconds before (or, negative, behind) the machine's, at once.
    pub fn shift(&self, seconds: i64) -> Result<()> {
        let path = self.folder.path().join("shift");
        // Written in place: running processes have this file mapped.
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        Ok(file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }
}
