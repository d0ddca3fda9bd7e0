//! Programs that run to their end: kubectl, helm.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What a command answered.
#[derive(Clone, Debug)]
pub struct Output {
    /// Whether its exit status was 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a program to its end, with `input` as its standard input.
pub(crate) async fn run(mut command: Command, name: &str, input: Option<&str>) -> Result<Output> {
    let mut child = command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let pipe = child.stdin.take();
    let feed = async {
        if let (Some(mut pipe), Some(text)) = (pipe, input) {
            // An early end shows in its exit status.
            pipe.write_all(text.as_bytes()).await.ok();
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.with_context(|| format!("cannot run {name}"))?;
    Ok(Output {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Standard output of a program that ended well.
///
/// # Errors
/// When its exit status was not 0; the message has its standard error.
pub(crate) fn succeeded(name: &str, args: &[&str], output: Output) -> Result<String> {
    if !output.success {
        bail!(
            "{name} {}: {}{}",
            args.join(" "),
            output.stderr.trim(),
            output.stdout.trim()
        );
    }
    Ok(output.stdout)
}
