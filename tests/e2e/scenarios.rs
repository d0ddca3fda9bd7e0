//! The list of scenarios names tests that exist.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use testkit::tools::workspace;

/// Sections that the list must have.
const SECTIONS: [&str; 13] = [
    "8.A1", "8.A2", "8.A3", "8.A4", "8.A5", "8.A7", "8.A11", "8.A12", "8.A13", "8.C", "8.D1", "8.D2", "8.D5",
];

#[test]
fn the_list_of_scenarios_names_tests_that_exist() -> Result<()> {
    let list = std::fs::read_to_string(workspace().join("tests/scenarios.md"))?;
    for section in SECTIONS {
        assert!(list.contains(&format!("\n## {section} ")), "{section} is missing");
    }
    let named: BTreeSet<(&str, &str)> = list
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split_once(".rs::"))
        .collect();
    assert!(named.len() > 80, "{} tests are named", named.len());
    for (file, test) in named {
        let path = workspace().join(format!("{file}.rs"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("{file}.rs is named"))?;
        let start = text.find(&format!("fn {test}("));
        let start = start.with_context(|| format!("{file}.rs has no test {test}"))?;
        let before = text.get(..start).unwrap_or_default();
        let near = before.get(before.len().saturating_sub(300)..).unwrap_or(before);
        assert!(
            near.contains("#[test") || near.contains("::test"),
            "{test} of {file}.rs is no test"
        );
    }
    // Each row says something.
    for row in list.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let said = cells.last().copied().unwrap_or_default();
        let known = [
            ".rs::",
            "different because",
            "not applicable because",
            "later",
            "test",
            "---",
        ];
        assert!(
            known.iter().any(|word| said.contains(word)),
            "nothing is said of: {row}"
        );
    }
    Ok(())
}
