//! What is written where.

use std::io::Write;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;

/// Form of the results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// Standard output and standard error.
pub(crate) struct Output<'a> {
    stdout: &'a mut dyn Write,
    stderr: &'a mut dyn Write,
}

impl<'a> Output<'a> {
    pub(crate) fn new(stdout: &'a mut dyn Write, stderr: &'a mut dyn Write) -> Self {
        Self { stdout, stderr }
    }

    /// Writes a result, in text by `text`.
    pub(crate) fn result<T: Serialize>(
        &mut self,
        form: Form,
        result: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let written = match form {
            Form::Text => text(result),
            Form::Json => serde_json::to_string_pretty(result)? + "\n",
        };
        self.stdout
            .write_all(written.as_bytes())
            .context("the result can't be written")
    }

    /// Writes a warning as one line.
    pub(crate) fn warn(&mut self, warning: &str) {
        // A warning that can't be written must not stop the work.
        let _ = writeln!(self.stderr, "warning: {warning}");
    }

    /// Writes why nothing was done, with all causes, as one line.
    pub(crate) fn refuse(&mut self, error: &anyhow::Error) {
        let mut text = String::new();
        for cause in error.chain().map(ToString::to_string) {
            // Some errors pass on the text of their source.
            if !text.is_empty() && !text.ends_with(&cause) {
                text.push_str(": ");
            }
            if !text.ends_with(&cause) {
                text.push_str(&cause);
            }
        }
        let _ = writeln!(self.stderr, "gantry: {}", text.replace('\n', " "));
    }
}
