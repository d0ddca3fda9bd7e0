//! How a command ends, and the exit status for it.

use std::fmt;

/// Success.
pub(crate) const DONE: u8 = 0;
/// What was asked for is refused or failed.
pub(crate) const REFUSED: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;
/// A package is not ready: waiting ended without it, or `status` shows one that isn't.
pub(crate) const NOT_READY: u8 = 3;
/// Interrupted, as shells have it for SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// An end that is no plain refusal. Travels as an error; [`status`] finds it there.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) status: u8,
    /// What to say; nothing where all is said already.
    sentence: String,
}

impl Ending {
    /// The command line is wrong in a way that only the command sees.
    pub(crate) fn usage(sentence: impl Into<String>) -> anyhow::Error {
        Self::error(USAGE, sentence)
    }

    /// A package is not ready.
    pub(crate) fn not_ready(sentence: impl Into<String>) -> anyhow::Error {
        Self::error(NOT_READY, sentence)
    }

    /// Somebody pressed Ctrl-C.
    pub(crate) fn interrupted(sentence: impl Into<String>) -> anyhow::Error {
        Self::error(INTERRUPTED, sentence)
    }

    fn error(status: u8, sentence: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self {
            status,
            sentence: sentence.into(),
        })
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Ending {}

/// The exit status for an error, and whether there is something to say.
pub(crate) fn status(error: &anyhow::Error) -> (u8, bool) {
    if let Some(ending) = error.downcast_ref::<Ending>() {
        return (ending.status, !ending.sentence.is_empty());
    }
    // Whoever reads the output had enough of it: what was to be done is done.
    let broken = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe);
    if broken { (DONE, false) } else { (REFUSED, true) }
}
