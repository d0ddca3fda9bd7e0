//! Chores of the project: `cargo xtask gen` writes everything that is generated, `cargo xtask doors` checks
//! who uses whom.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod doors;
mod generate;
mod metadata;

/// Chores of the project.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Write everything that is generated: deploy/, docs/limits.md, and the chart's metadata, roles and README.
    Gen {
        /// Write nothing; fail when a file is missing, differs, or is not generated any more.
        #[arg(long)]
        check: bool,
    },
    /// Fail when a crate uses one of ours that it must not.
    Doors,
}

fn main() -> ExitCode {
    match run(&Args::parse().chore) {
        Ok(said) => say(&said, ExitCode::SUCCESS),
        Err(error) => say(&format!("error: {error:#}"), ExitCode::FAILURE),
    }
}

fn run(chore: &Chore) -> anyhow::Result<String> {
    let metadata = metadata::Metadata::read()?;
    match chore {
        Chore::Gen { check: true } => generate::check(&metadata.workspace_root),
        Chore::Gen { check: false } => generate::write(&metadata.workspace_root),
        Chore::Doors => doors::check(&metadata),
    }
}

#[expect(clippy::print_stderr, reason = "the only place where this program speaks")]
fn say(text: &str, code: ExitCode) -> ExitCode {
    eprintln!("{text}");
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_use_what_they_may_and_generated_files_are_up_to_date() {
        for chore in [Chore::Doors, Chore::Gen { check: true }] {
            run(&chore).unwrap();
        }
    }
}
