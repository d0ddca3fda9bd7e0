//! What the demonstration says.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const RESET: &str = "\x1b[0m";

/// Standard output, with colours where a person looks, and the time of each step.
pub(super) struct Terminal {
    colours: bool,
    steps: Vec<(String, Duration)>,
    begun: Instant,
    title: String,
    done: bool,
}

impl Terminal {
    pub(super) fn new() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self {
            colours: !plain && std::io::stdout().is_terminal(),
            steps: Vec::new(),
            begun: Instant::now(),
            title: String::new(),
            done: false,
        }
    }

    /// Begins a step.
    pub(super) fn step(&mut self, title: &str) {
        title.clone_into(&mut self.title);
        self.begun = Instant::now();
        let number = self.steps.len() + 1;
        self.write(&format!("\n{}", self.styled(BOLD, &format!("{number}. {title}"))));
    }

    /// A command that is run.
    pub(super) fn command(&self, command: &str) {
        self.write(&self.styled(DIM, &format!("   $ {command}")));
    }

    /// What a command said.
    pub(super) fn output(&self, text: &str) {
        for line in text.trim_end().lines() {
            self.write(format!("     {line}").trim_end());
        }
    }

    /// What just happened.
    pub(super) fn note(&self, text: &str) {
        self.write(&format!("   {text}"));
    }

    /// Ends a step: it held.
    pub(super) fn holds(&mut self, shown: &str) {
        let took = self.begun.elapsed();
        self.write(&format!(
            "   {} {shown} [{:.1} s]",
            self.styled(GREEN, "ok"),
            took.as_secs_f64()
        ));
        self.steps.push((std::mem::take(&mut self.title), took));
    }

    /// Says which step did not hold, and why.
    pub(super) fn failed(&self, error: &anyhow::Error) {
        let what = match self.title.as_str() {
            "" => "the end".to_owned(),
            title => format!("step {} ({title})", self.steps.len() + 1),
        };
        self.write(&format!(
            "   {} {what} does not hold:\n{error:#}\n",
            self.styled(RED, "FAILED")
        ));
        self.write("GANTRY_KEEP=1 keeps the logs of a run in the temporary folder.");
    }

    /// Whether all steps have been shown.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// A line as it is.
    pub(super) fn plain(&self, text: &str) {
        self.write(text);
    }

    /// All steps and their times.
    pub(super) fn table(&mut self) {
        self.done = true;
        let all: Duration = self.steps.iter().map(|(_, took)| *took).sum();
        self.write(&format!("\n{}", self.styled(BOLD, "All of it held:")));
        for (title, took) in &self.steps {
            self.write(&format!("   {:>6.1} s  {title}", took.as_secs_f64()));
        }
        self.write(&format!("   {:>6.1} s  in all", all.as_secs_f64()));
    }

    fn styled(&self, style: &str, text: &str) -> String {
        match self.colours {
            true => format!("{style}{text}{RESET}"),
            false => text.to_owned(),
        }
    }

    fn write(&self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        // Nobody is left to tell if this fails.
        _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    }
}
