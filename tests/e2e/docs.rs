//! What docs/operations.md lists is what there is.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result};

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
fn the_metrics_are_those_of_the_operator() -> Result<()> {
    testkit::run(async {
        let shown = crate::world().await?.operator()?.metrics().await?;
        // A metric has no line before its first sample.
        let once_needed = ["gantry_watch_errors", "gantry_registry_", "gantry_reconcile"];
        let table = section("Metrics")?;
        let documented = words(&table, "gantry_");
        let real: BTreeSet<&str> = shown
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let family = |name: &str| {
            let name = name.strip_suffix("_total").unwrap_or(name);
            name.strip_suffix("_info").unwrap_or(name).to_owned()
        };
        for name in &documented {
            let family = family(name);
            let known = real.contains(family.as_str()) || once_needed.iter().any(|n| family.starts_with(n));
            assert!(known, "{name} is documented, the operator shows {real:?}");
        }
        let documented: BTreeSet<String> = documented.into_iter().map(family).collect();
        for name in real {
            assert!(documented.contains(name), "{name} is not in docs/operations.md");
        }
        Ok(())
    })
}
