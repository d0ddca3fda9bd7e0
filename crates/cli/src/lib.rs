//! The command line tool `gantry`: building, checking and pushing packages.
//!
//! Results go to standard output, in text or JSON; warnings and refusals to standard error, a refusal as one
//! sentence with what to do next. The exit status is 0 for success, 1 for a refusal, 2 for a wrong command
//! line.

mod build;
mod digest;
mod docker;
mod folder;
pub mod limits;
mod lint;
mod output;
mod push;
mod remote;
mod surroundings;
mod version;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

pub use limits::LIMITS;
pub use surroundings::Surroundings;

use output::Output;

/// Exit status for a refusal.
const REFUSED: u8 = 1;
/// Exit status for a wrong command line.
const USAGE: u8 = 2;

/// Build, check and push packages for Gantry and Crossplane.
#[derive(Debug, Parser)]
#[command(name = "gantry", version = version::text(), max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(build::Build),
    Digest(digest::Digest),
    Lint(lint::Lint),
    Push(push::Push),
    Version(version::Version),
}

/// Runs the tool as this process.
pub fn main() -> ExitCode {
    let surroundings = Surroundings::of_process();
    let (mut stdout, mut stderr) = (std::io::stdout().lock(), std::io::stderr().lock());
    ExitCode::from(run(std::env::args_os(), &surroundings, &mut stdout, &mut stderr))
}

/// Runs the tool with these arguments, the first being its own name, and returns the exit status.
pub fn run(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    surroundings: &Surroundings,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> u8 {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error, stdout, stderr),
    };
    let mut output = Output::new(stdout, stderr);
    let result = match arguments.command {
        Command::Build(build) => build.run(surroundings, &mut output),
        Command::Digest(digest) => digest.run(surroundings, &mut output),
        Command::Lint(lint) => lint.run(surroundings, &mut output),
        Command::Push(push) => push.run(surroundings, &mut output),
        Command::Version(version) => version.run(&mut output),
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            output.refuse(&error);
            REFUSED
        }
    }
}

/// Help goes out as it is; of a wrong command line only the sentence that says what is wrong.
fn usage(error: &clap::Error, stdout: &mut dyn Write, stderr: &mut dyn Write) -> u8 {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nobody is left to tell if this fails.
            let _ = stdout.write_all(text.as_bytes());
            0
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = stderr.write_all(text.as_bytes());
            USAGE
        }
        _ => {
            let sentence = text.split("\n\n").next().unwrap_or_default();
            let sentence: Vec<&str> = sentence.split_whitespace().collect();
            let sentence = sentence.join(" ");
            let sentence = sentence.strip_prefix("error: ").unwrap_or(&sentence);
            let _ = writeln!(stderr, "gantry: {sentence}; see gantry --help");
            USAGE
        }
    }
}

#[cfg(test)]
mod tests;
