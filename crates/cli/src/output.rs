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

/// Form of what commands show of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// Lines for people.
    #[default]
    Text,
    /// The same with more columns.
    Wide,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
    /// resource/name, one a line.
    Name,
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

    /// Writes what a command shows of a cluster: in text by `text`, which is told whether it may be wide; by
    /// name as `names` has it.
    pub(crate) fn show<T: Serialize>(
        &mut self,
        shape: Shape,
        shown: &T,
        names: impl FnOnce(&T) -> Vec<String>,
        text: impl FnOnce(&T, bool) -> String,
    ) -> anyhow::Result<()> {
        let written = match shape {
            Shape::Text => text(shown, false),
            Shape::Wide => text(shown, true),
            Shape::Json => serde_json::to_string_pretty(shown)? + "\n",
            Shape::Yaml => serde_saphyr::to_string(shown).context("the result is no YAML")?,
            Shape::Name => names(shown).into_iter().map(|name| name + "\n").collect(),
        };
        self.stdout
            .write_all(written.as_bytes())
            .context("the result can't be written")
    }

    /// Writes a result as it is.
    pub(crate) fn raw(&mut self, result: &[u8]) -> anyhow::Result<()> {
        self.stdout
            .write_all(result)
            .context("the result can't be written")
    }

    /// Writes to standard error as it is. What can't be told there must not stop the work.
    pub(crate) fn aside(&mut self, text: &str) {
        let _ = self.stderr.write_all(text.as_bytes());
        let _ = self.stderr.flush();
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
