//! The command line tool `gantry`: building, checking and pushing packages; installing, explaining, rolling
//! back and deleting them in a cluster.
//!
//! Results go to standard output, in text or JSON; warnings, progress and refusals to standard error, a
//! refusal as one sentence with what to do next. [`STATUSES`] lists the exit statuses.

mod build;
mod change;
mod clock;
mod cluster;
mod completion;
mod digest;
mod docker;
mod ending;
mod explain;
mod folder;
mod history;
mod install;
pub mod limits;
mod lint;
mod list;
mod output;
mod push;
mod remote;
mod rollback;
mod status;
mod subject;
mod surroundings;
mod table;
mod uninstall;
mod update;
mod version;
mod wait;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub use limits::LIMITS;
pub use surroundings::{Surroundings, Terminal};

use ending::{DONE, INTERRUPTED, NOT_READY, REFUSED, USAGE};
use output::Output;

/// Exit statuses and their meaning, for the documentation.
pub const STATUSES: &[(u8, &str)] = &[
    (DONE, "Done."),
    (
        REFUSED,
        "Refused or failed; one sentence on standard error says why and what to do.",
    ),
    (USAGE, "The command line is wrong."),
    (
        NOT_READY,
        "A package is not ready: `gantry status` shows one that isn't, or `--wait` ended without it, \
         because time is \
         over or because waiting can't help.",
    ),
    (
        INTERRUPTED,
        "Interrupted by Ctrl-C while waiting. Nothing is taken back.",
    ),
];

/// What kubectl calls its plugin of this name.
const PLUGIN: &str = "kubectl-gantry";

/// Build and push packages for Gantry and Crossplane; install, explain and roll them back in a cluster.
#[derive(Debug, Parser)]
#[command(name = "gantry", version = version::text(), max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Status),
    List(list::List),
    Install(Box<install::Install>),
    Update(update::Update),
    History(history::History),
    Rollback(rollback::Rollback),
    Uninstall(uninstall::Uninstall),
    Build(build::Build),
    Lint(lint::Lint),
    Push(push::Push),
    Digest(digest::Digest),
    #[command(visible_alias = "completions")]
    Completion(completion::Completion),
    Version(version::Version),
}

/// The command line as data, for completion and documentation.
pub fn command() -> clap::Command {
    Arguments::command()
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
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let parsed = named(args.first())
        .try_get_matches_from(args)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error, stdout, stderr),
    };
    let mut output = Output::new(stdout, stderr);
    let result = match arguments.command {
        Command::Status(status) => status.run(surroundings, &mut output),
        Command::List(list) => list.run(&mut output),
        Command::Install(install) => install.run(surroundings, &mut output),
        Command::Update(update) => update.run(surroundings, &mut output),
        Command::History(history) => history.run(&mut output),
        Command::Rollback(rollback) => rollback.run(surroundings, &mut output),
        Command::Uninstall(uninstall) => uninstall.run(surroundings, &mut output),
        Command::Build(build) => build.run(surroundings, &mut output),
        Command::Lint(lint) => lint.run(surroundings, &mut output),
        Command::Push(push) => push.run(surroundings, &mut output),
        Command::Digest(digest) => digest.run(surroundings, &mut output),
        Command::Completion(completion) => completion.run(&mut output),
        Command::Version(version) => version.run(&mut output),
    };
    let Err(error) = result else { return DONE };
    let (status, has_words) = ending::status(&error);
    if has_words {
        output.refuse(&error);
    }
    status
}

/// The command line under the name that the user typed.
fn named(program: Option<&OsString>) -> clap::Command {
    let file = program.and_then(|program| Path::new(program).file_stem());
    match file == Some(OsStr::new(PLUGIN)) {
        true => command().bin_name("kubectl gantry"),
        false => command().bin_name("gantry"),
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
