//! The pages of docs/ hang together: all of them are in the book, links lead somewhere, and commands exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use testkit::tools::workspace;
use testkit::{PackageFixture, Registry, Tools};

use crate::OPERATOR;

/// All pages: those of docs/ and those at the top.
fn pages() -> Result<BTreeMap<PathBuf, String>> {
    let mut pages = BTreeMap::new();
    for folder in [workspace(), workspace().join("docs")] {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = std::fs::read_to_string(&path)?;
                pages.insert(path, text);
            }
        }
    }
    Ok(pages)
}

/// Pieces of code: lines between fences, and what stands between backticks, also over the end of a line.
fn code(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut fenced, mut prose) = (vec![], String::new());
    let mut inside = false;
    for line in text.lines() {
        match (line.trim_start().starts_with("```"), inside) {
            (true, _) => inside = !inside,
            (false, true) => fenced.push(line.trim().to_owned()),
            (false, false) => {
                // Nothing spans paragraphs: one backtick too many spoils only its own.
                prose.push_str(if line.trim().is_empty() { "\n" } else { " " });
                prose.push_str(line.trim());
            }
        }
    }
    let spans = prose
        .lines()
        .flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
    (fenced, spans.map(str::to_owned).collect())
}

/// Targets of links in the text outside of fences.
fn links(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut found = vec![];
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        }
        if !inside {
            found.extend(line.split("](").skip(1).filter_map(|rest| rest.split(')').next()));
        }
    }
    found
}

/// Anchors of a page, as GitHub and mdBook make them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_page_is_in_the_book_once() -> Result<()> {
    let docs = workspace().join("docs");
    let summary = std::fs::read_to_string(docs.join("SUMMARY.md"))?;
    let mut listed = links(&summary);
    let all = pages()?;
    let mut there: Vec<&str> = all
        .keys()
        .filter(|path| path.parent() == Some(&docs))
        .filter_map(|path| path.file_name()?.to_str())
        .filter(|name| *name != "SUMMARY.md")
        .collect();
    listed.sort_unstable();
    there.sort_unstable();
    assert_eq!(listed, there, "docs/SUMMARY.md lists what docs/ has");
    Ok(())
}

#[test]
fn links_lead_somewhere() -> Result<()> {
    let pages = pages()?;
    let mut wrong = vec![];
    for (path, text) in &pages {
        let folder = path.parent().unwrap_or(Path::new(""));
        for link in links(text).into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                folder.join(file)
            };
            let Ok(target) = target.canonicalize() else {
                wrong.push(format!("{}: {link}", path.display()));
                continue;
            };
            let text = std::fs::read_to_string(&target).unwrap_or_default();
            if !anchor.is_empty() && !anchors(&text).contains(anchor) {
                wrong.push(format!("{}: {link} (no such heading)", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere: {wrong:#?}");
    Ok(())
}

/// The words after the program, if this is a command line of it.
fn after<'a>(line: &'a str, program: &str) -> Option<Vec<&'a str>> {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let line = line.strip_prefix("source <(").unwrap_or(line);
    let line = line.strip_prefix("target/release/").unwrap_or(line);
    let rest = line.strip_prefix(program)?.strip_prefix(' ')?;
    // Comments begin after some spaces, other commands after a pipe.
    let rest = rest.split("   ").next().unwrap_or(rest);
    let rest = rest.split(" | ").next().unwrap_or(rest);
    Some(
        rest.split_whitespace()
            .map(|word| word.trim_end_matches([')', ';', ',']))
            .collect(),
    )
}

/// What is wrong with the words after `gantry`.
fn wrong_command(words: &[&str]) -> Option<String> {
    let root = ::cli::command();
    let name = words
        .first()
        .filter(|name| !name.starts_with('-') && **name != "…")?;
    let Some(command) = root.find_subcommand(name) else {
        return Some(format!("there is no command {name}"));
    };
    let known = |flag: &str| {
        let flag = flag.split('=').next().unwrap_or(flag);
        flag == "--help"
            || command.get_arguments().any(|arg| {
                let longs = arg.get_long_and_visible_aliases().unwrap_or_default();
                let shorts = arg.get_short_and_visible_aliases().unwrap_or_default();
                flag.strip_prefix("--").is_some_and(|name| longs.contains(&name))
                    || shorts.iter().any(|short| flag == format!("-{short}"))
            })
    };
    let flag = words
        .iter()
        .find(|word| word.starts_with('-') && word.len() > 1 && !known(word))?;
    Some(format!("gantry {name} has no flag {flag}"))
}

#[test]
fn commands_and_flags_in_the_pages_exist() -> Result<()> {
    let help = Command::new(OPERATOR).arg("--help").output()?.stdout;
    let help = String::from_utf8(help)?;
    let mut wrong = vec![];
    let mut seen = 0;
    for (path, text) in pages()? {
        let (fenced, spans) = code(&text);
        for line in fenced.into_iter().chain(spans) {
            let ours = after(&line, "gantry").or_else(|| after(&line, "kubectl gantry"));
            let found = ours.and_then(|words| {
                seen += 1;
                wrong_command(&words)
            });
            let operator = after(&line, "gantry-operator").and_then(|words| {
                seen += 1;
                let flags = words.into_iter().filter(|word| word.starts_with("--"));
                let mut unknown = flags.filter(|flag| !help.contains(flag.split('=').next().unwrap_or(flag)));
                unknown
                    .next()
                    .map(|flag| format!("gantry-operator has no flag {flag}"))
            });
            wrong.extend(
                found
                    .or(operator)
                    .map(|what| format!("{}: {line}: {what}", path.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 40, "only {seen} commands were found: the search is broken");
    Ok(())
}

#[test]
fn the_search_finds_what_is_wrong() {
    let text = "see `gantry lsit` and `gantry status --wide`\n\
                ```console\n$ gantry list -o json | jq\n```\n[x](y.md#z)\n";
    let (fenced, spans) = code(text);
    let said: Vec<Option<String>> = spans
        .into_iter()
        .chain(fenced)
        .map(|line| wrong_command(&after(&line, "gantry").unwrap()))
        .collect();
    let words = |text: &str| Some(text.to_owned());
    assert_eq!(
        said,
        [
            words("there is no command lsit"),
            words("gantry status has no flag --wide"),
            None
        ]
    );
    assert_eq!(links(text), ["y.md#z"]);
    assert!(anchors("## A `b` C's\n").contains("a-b-cs"));
}

#[test]
fn images_cross_the_gap_as_the_page_says() -> Result<()> {
    testkit::run(async {
        let page = std::fs::read_to_string(workspace().join("docs/air-gap.md"))?;
        let (fenced, _) = code(&page);
        let (here, there) = (Registry::distribution().await?, Registry::distribution().await?);
        let image = PackageFixture::new("Provider", "nimbus").build()?;
        here.push("team/provider-nimbus", "v1.0.0", &image).await?;
        let crane = Tools::find()?.path("crane");
        let folder = testkit::folder("gap")?;
        let mut done = 0;
        for line in fenced.into_iter().filter(|line| line.starts_with("crane ")) {
            let line = line
                .replace("registry.example.org", &here.host())
                .replace("mirror.internal.example", &there.host());
            let words: Vec<&str> = line.split(' ').skip(1).collect();
            let output = Command::new(&crane)
                .args(&words)
                .current_dir(folder.path())
                .output()?;
            anyhow::ensure!(output.status.success(), "{line}: {output:?}");
            if words.first() == Some(&"digest") {
                assert_eq!(String::from_utf8(output.stdout)?.trim(), image.digest(), "{line}");
            }
            done += 1;
        }
        anyhow::ensure!(done == 4, "{done} commands of crane are on the page");
        let pushed = format!("{}/team/provider-nimbus:v1.0.0", there.host());
        let digest = Command::new(&crane).args(["digest", &pushed]).output()?.stdout;
        let digest = String::from_utf8(digest).context("crane's answer is text")?;
        assert_eq!(digest.trim(), image.digest(), "after the way over a medium");
        Ok(())
    })
}
