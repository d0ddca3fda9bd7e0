//! What the docs list is what there is.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result};
use operator::note::Told;

use crate::OPERATOR;

/// Flags that are other names of flags in the table, and those that every program has.
const OTHER_NAMES: &[&str] = &["--cache-dir", "--max-reconcile-rate", "--version", "--help"];

/// The text between two headings.
fn section(heading: &str) -> Result<String> {
    let path = testkit::tools::workspace().join("docs/operations.md");
    let text = std::fs::read_to_string(&path)?;
    let (_, rest) = text
        .split_once(&format!("\n## {heading}\n"))
        .with_context(|| format!("{} has no section {heading}", path.display()))?;
    Ok(rest.split("\n## ").next().unwrap_or_default().to_owned())
}

/// Words of a text that begin with `prefix`.
fn words<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c)))
        .filter(|word| word.starts_with(prefix) && word.len() > prefix.len())
        .collect()
}

#[test]
fn the_flags_are_those_of_the_operator() -> Result<()> {
    let help = Command::new(OPERATOR).arg("--help").output()?.stdout;
    let help = String::from_utf8(help)?;
    let flags = section("Flags")?;
    let table = flags.find('|').and_then(|start| flags.get(start..));
    let documented = words(table.context("there is no table of flags")?, "--")
        .into_iter()
        .filter(|flag| !flag.starts_with("---"))
        .collect::<BTreeSet<_>>();
    let real: BTreeSet<&str> = words(&help, "--")
        .into_iter()
        .filter(|flag| !OTHER_NAMES.contains(flag))
        .collect();
    assert_eq!(documented, real);
    Ok(())
}

#[test]
fn the_events_are_those_of_the_operator() -> Result<()> {
    let path = testkit::tools::workspace().join("docs/observability.md");
    let text = std::fs::read_to_string(&path)?;
    let section = text.split("\n## ").find(|s| s.starts_with("Events\n"));
    let rows = section.context("there is a section of events")?.lines();
    let rows = rows.filter_map(|row| row.strip_prefix("| `"));
    let documented: BTreeSet<String> = rows
        .filter_map(|row| Some(row.rsplit(" | ").nth(1)?.to_owned()).zip(row.split_once(" | ")))
        .map(|(action, (reason, rest))| {
            let type_ = rest.split(' ').next().unwrap_or_default();
            format!("{reason} {type_} {action}").replace('`', "")
        })
        .collect();
    let real: BTreeSet<String> = Told::ALL
        .iter()
        .map(|told| {
            let type_ = if told.is_warning() { "Warning" } else { "Normal" };
            format!("{} {type_} {}", told.reason(), told.action())
        })
        .collect();
    assert_eq!(documented, real);
    Ok(())
}
