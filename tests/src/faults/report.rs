//! `docs/reliability.md`.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::table::Says;
use super::{Cell, Done, FAULTS, Pace, Phase};
use crate::bench::machine;

/// Characters of a message that are shown: one names the same for each object of a package.
const SAID: usize = 300;

/// Writes the table.
pub(super) fn write(
    path: &Path,
    operator: &Path,
    ended: &[(Cell, Result<Done>)],
    pace: Pace,
    took: Duration,
) -> Result<()> {
    let text = markdown(operator, ended, pace, took)?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Of what a package said, as much as shows what it was.
fn start(text: &str) -> String {
    match text.char_indices().nth(SAID) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn commit() -> String {
    let asked = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output();
    let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.ok()
        .filter(|s| !s.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

fn markdown(operator: &Path, ended: &[(Cell, Result<Done>)], pace: Pace, took: Duration) -> Result<String> {
    let machine = machine::describe(operator)?;
    let mut sizes: Vec<usize> = ended.iter().map(|(cell, _)| cell.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    let lasts = match pace {
        Pace::Short => "5 seconds",
        Pace::Long => "60 seconds",
    };
    let failed = ended.iter().filter(|(_, done)| done.is_err()).count();
    let mut text = format!(
        "# Reliability\n\n\
         Each row is a fault that happens while a package is installed, upgraded, rolled back, or while its old revisions\n\
         are collected (GC). Afterwards the cluster is compared with one where nothing happened: package, revisions, CRDs,\n\
         their owners, labels and conditions must be the same, CRDs and custom resources that were there must still be the\n\
         same objects (by UID), and where there is something to wait for, the package must have said so.\n\n\
         `make faults` writes this page. Each row once, on a small package in the phase that it hurts most, is part of\n\
         `.ci/run`. Replicas that lose their leader are tested there too (`tests/e2e/ha.rs`), and an operator that the\n\
         kernel kills for want of memory in a pod with a limit (`tests/e2e/node/oom.rs`).\n\n\
         - Commit: {}\n- Date: {}\n- Machine: {}\n- Packages of {} CRDs; what lasts lasted {lasts}\n\
         - {} runs in {:.0} minutes, {} ended as they should\n\n",
        commit(),
        Timestamp::now().strftime("%Y-%m-%d"),
        machine.line(),
        sizes.join(", "),
        ended.len(),
        took.as_secs_f64() / 60.0,
        ended.len() - failed,
    );
    text.push_str("Cells are seconds from the start of the phase to its end, the slowest of the sizes; `-`: not tried.\n\n");
    text.push_str("| fault | install | upgrade | rollback | GC | what the package said meanwhile |\n|---|---|---|---|---|---|\n");
    for row in FAULTS {
        let mut line = format!("| {} |", row.what);
        let mut said = None;
        for phase in [Phase::Install, Phase::Upgrade, Phase::Rollback, Phase::Collect] {
            let cells: Vec<_> = ended
                .iter()
                .filter(|(c, _)| c.row.key == row.key && c.phase == phase)
                .collect();
            let slowest = cells
                .iter()
                .filter_map(|(_, d)| d.as_ref().ok())
                .map(|d| d.seconds)
                .fold(0.0, f64::max);
            said = said.or_else(|| cells.iter().find_map(|(_, d)| d.as_ref().ok()?.said.clone()));
            match cells.iter().any(|(_, done)| done.is_err()) {
                _ if cells.is_empty() => line.push_str(" - |"),
                true => line.push_str(" **failed** |"),
                false => write!(line, " {slowest:.0} |")?,
            }
        }
        let said = match (said, row.says) {
            (Some(said), _) => start(&said.replace('\n', " ")).replace('|', "\\|"),
            (None, Says::Nothing(why)) => format!("({why})"),
            (None, Says::Parts(_)) => "-".to_owned(),
        };
        writeln!(text, "{line} {said} |")?;
    }
    text.push_str(
        "\nNotes:\n\n\
         - After a refusal by the cluster (policy, webhook) the runner asks for a check once the cause is gone, as the message\n  \
         says; without it Gantry tries again by itself within five minutes.\n\
         - Out of memory is a SIGKILL, which is what the kernel sends; where it happens is chosen by the number of writes.\n\
         - A node restart is all processes of control plane and operator killed at once and started again.\n\
         - A registry that is dead for an hour is one that is dead for longer than the longest pause between two tries (one\n  \
         minute): further minutes repeat the last one.\n\
         - Where a package is deleted, its CRDs and custom resources go with it, as asked; what is compared is the state after\n  \
         it came back. Where revisions were taken away, their numbers and the history start again.\n",
    );
    Ok(text)
}
