//! `gantry completion`.

use clap::Args;
use clap_complete::Shell;

use crate::output::Output;

/// Print a script that completes commands and flags in your shell: source <(gantry completion bash).
#[derive(Args, Debug)]
pub(crate) struct Completion {
    /// Shell to write it for.
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(&self, output: &mut Output<'_>) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::command(), "gantry", &mut script);
        output.raw(&script)
    }
}
