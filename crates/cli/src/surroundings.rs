//! What the process is surrounded by, so that tests can bring their own.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use crate::limits::MAX_ANSWER_BYTES;

type Variable = dyn Fn(&str) -> Option<String>;
type Ask = dyn Fn() -> Option<String>;

/// Environment variables, the working folder, and whether a person sits at a terminal.
pub struct Surroundings {
    variable: Box<Variable>,
    folder: PathBuf,
    terminal: Terminal,
    ask: Option<Box<Ask>>,
}

/// Which streams are a terminal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terminal {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let person = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        Self {
            variable: Box::new(|name| std::env::var(name).ok()),
            folder: PathBuf::new(),
            terminal: Terminal {
                stdout: std::io::stdout().is_terminal(),
                stderr: std::io::stderr().is_terminal(),
            },
            ask: person.then(|| Box::new(answer) as Box<Ask>),
        }
    }

    /// Surroundings made up: paths are relative to `folder`, nothing is a terminal and nobody answers.
    pub fn new(folder: PathBuf, variable: impl Fn(&str) -> Option<String> + 'static) -> Self {
        Self {
            variable: Box::new(variable),
            folder,
            terminal: Terminal::default(),
            ask: None,
        }
    }

    /// With these streams being a terminal.
    #[must_use]
    pub fn on(mut self, terminal: Terminal) -> Self {
        self.terminal = terminal;
        self
    }

    /// With somebody who answers questions so.
    #[must_use]
    pub fn answering(mut self, answer: impl Fn() -> Option<String> + 'static) -> Self {
        self.ask = Some(Box::new(answer));
        self
    }

    /// The value of an environment variable; empty counts as not set.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// Where a path from the command line leads.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// Which streams are a terminal.
    pub(crate) fn terminal(&self) -> Terminal {
        self.terminal
    }

    /// Whether colour may be used: on a terminal that has it, unless NO_COLOR is set.
    pub(crate) fn colour(&self) -> bool {
        let dumb = self.variable("TERM").is_none_or(|term| term == "dumb");
        self.terminal.stdout && !dumb && self.variable("NO_COLOR").is_none()
    }

    /// Whether somebody can be asked.
    pub(crate) fn is_attended(&self) -> bool {
        self.ask.is_some()
    }

    /// A person's answer; `None` if there is nobody, or they left.
    pub(crate) fn answer(&self) -> Option<String> {
        self.ask.as_ref().and_then(|ask| ask())
    }
}

/// One line from standard input.
fn answer() -> Option<String> {
    use std::io::{BufRead as _, Read as _};
    let mut line = String::new();
    let read = std::io::stdin()
        .lock()
        .take(MAX_ANSWER_BYTES)
        .read_line(&mut line);
    read.ok().filter(|bytes| *bytes > 0).map(|_| line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_needs_a_terminal_that_has_it_and_nobody_against_it() {
        for (stdout, term, no_color, expected) in [
            (true, "xterm", "", true),
            (true, "xterm", "1", false),
            (true, "dumb", "", false),
            (true, "", "", false),
            (false, "xterm", "", false),
        ] {
            let surroundings = Surroundings::new(PathBuf::new(), move |name| {
                Some(if name == "TERM" { term } else { no_color }.to_owned())
            });
            let surroundings = surroundings.on(Terminal { stdout, stderr: true });
            assert_eq!(surroundings.colour(), expected, "{stdout} {term:?} {no_color:?}");
        }
    }
}
