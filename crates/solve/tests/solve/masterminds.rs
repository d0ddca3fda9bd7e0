//! Versions and constraints against Masterminds/semver, the library that the reference reads them with.
//!
//! `masterminds.jsonl` is what the library says: the versions of all cases, then each constraint with one
//! letter for each version (`y` satisfies, `n` does not, `-` is no version), or `null` for what is no
//! constraint. After a change of its constraints or of the library, `GANTRY_WRITE_TABLE=1` has the answers
//! written anew.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gantry_solve::{Constraint, Version};

/// How many random constraints are compared.
const RANDOM: usize = 20_000;
/// Versions that each of them is compared with.
const VERSIONS: usize = 8;

type Question = (String, Vec<String>);
/// One letter for each version; `None` for what is no constraint.
type Answer = Option<String>;

fn table() -> (Vec<String>, Vec<(String, Answer)>) {
    let mut lines = include_str!("masterminds.jsonl").lines();
    let versions = serde_json::from_str(lines.next().unwrap()).unwrap();
    (
        versions,
        lines.map(|line| serde_json::from_str(line).unwrap()).collect(),
    )
}

fn ours((constraint, versions): &Question) -> Answer {
    let constraint = Constraint::parse(constraint).ok()?;
    let letter = |text: &String| match Version::parse(text) {
        Err(_) => '-',
        Ok(version) if constraint.matches(&version) => 'y',
        Ok(_) => 'n',
    };
    Some(versions.iter().map(letter).collect())
}

/// The folder of the tools that tests run.
fn tools() -> PathBuf {
    if let Some(given) = std::env::var_os("GANTRY_TOOLS").filter(|v| !v.is_empty()) {
        return PathBuf::from(given);
    }
    // The working folder of a test is its package.
    let script = Path::new("../../tests/tools/build.sh");
    let output = Command::new(script).arg("--where").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "no tools to compare with: {wrong}");
    PathBuf::from(text)
}

/// What the library says.
fn theirs(questions: &[Question]) -> Vec<Answer> {
    let program = tools().join("masterminds");
    let mut child = Command::new(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} can't be run ({error}): run `make tools`", program.display()));
    let text: String = questions
        .iter()
        .map(|(constraint, versions)| {
            serde_json::json!({ "constraint": constraint, "versions": versions }).to_string() + "\n"
        })
        .collect();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let answers: Vec<Answer> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let answer: serde_json::Value = serde_json::from_str(line).unwrap();
            let ok = answer["ok"].as_bool().unwrap();
            ok.then(|| answer["answers"].as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(answers.len(), questions.len());
    answers
}

#[test]
fn the_table_holds() {
    let (versions, rows) = table();
    assert!(rows.len() >= 400, "{} constraints", rows.len());
    for (constraint, answer) in rows {
        assert_eq!(
            ours(&(constraint.clone(), versions.clone())),
            answer,
            "{constraint:?}"
        );
    }
}

#[test]
fn the_table_is_what_the_library_says() {
    let (versions, rows) = table();
    let questions: Vec<Question> = rows
        .iter()
        .map(|(text, _)| (text.clone(), versions.clone()))
        .collect();
    let answers = theirs(&questions);
    if std::env::var_os("GANTRY_WRITE_TABLE").is_some() {
        let lines = rows
            .iter()
            .zip(&answers)
            .map(|((text, _), answer)| serde_json::to_string(&(text, answer)));
        let lines: Vec<String> = std::iter::once(serde_json::to_string(&versions))
            .chain(lines)
            .flatten()
            .collect();
        let path = Path::new("tests/solve/masterminds.jsonl");
        std::fs::write(path, lines.join("\n") + "\n").unwrap();
        return;
    }
    for ((text, written), answer) in rows.iter().zip(answers) {
        assert_eq!(*written, answer, "{text:?}");
    }
}

/// Makes constraints as people write them, nearly so, and not at all; and versions near to them.
struct Writer(fastrand::Rng);

impl Writer {
    fn one(&mut self, of: &[&'static str]) -> &'static str {
        self.0.choice(of).unwrap()
    }

    /// Nothing, more often than not.
    fn some(&mut self, of: &[&'static str]) -> &'static str {
        if self.0.u8(0..3) == 0 { self.one(of) } else { "" }
    }

    fn word(&mut self) -> String {
        const NUMBERS: &[&str] = &[
            "0",
            "0",
            "1",
            "1",
            "2",
            "2",
            "3",
            "10",
            "x",
            "*",
            "X",
            "00",
            "18446744073709551616",
        ];
        let mut word = self.some(&["v"]).to_owned() + self.one(NUMBERS);
        for _ in 0..self.0.usize(0..3) {
            word = word + "." + self.one(NUMBERS);
        }
        word += self.some(&[
            "-0",
            "-alpha",
            "-rc.1",
            "-beta.2",
            "-beta.11",
            "-01",
            "--",
            "-a--b",
            "-99999999999999999999",
        ]);
        word + self.some(&["+b", "+b.1", ""])
    }

    fn term(&mut self) -> String {
        if self.0.u8(0..6) == 0 {
            let dash = self.one(&[" - ", "  - ", " -  ", "\t- ", " -"]);
            return self.word() + dash + &self.word();
        }
        let op = self.one(&[
            "", "", "=", "!=", ">", "<", ">=", "=>", "<=", "=<", "~", "~>", "^",
        ]);
        op.to_owned() + self.some(&[" "]) + &self.word()
    }

    fn constraint(&mut self) -> String {
        if self.0.u8(0..8) == 0 {
            let signs: Vec<char> = "v0123459xX*.,|<>=~^! +-a\tä".chars().collect();
            return (0..self.0.usize(0..16))
                .map(|_| *self.0.choice(&signs).unwrap())
                .collect();
        }
        let mut text = self.some(&[" "]).to_owned() + &self.term();
        for _ in 0..self.0.usize(0..4) {
            let join = self.one(&[",", ", ", " ", "  ", " , ", "||", " || ", " |", "\t"]);
            text = text + join + &self.term();
        }
        text + self.some(&[" "])
    }

    fn version(&mut self) -> String {
        const NUMBERS: &[&str] = &["0", "1", "2", "3", "10", "02"];
        let mut version = self.some(&["v"]).to_owned() + self.one(NUMBERS);
        for _ in 0..self.one(&["0", "1", "2", "2", "2", "2", "3"]).parse().unwrap() {
            version = version + "." + self.one(NUMBERS);
        }
        version += self.some(&[
            "-0",
            "-alpha",
            "-rc.1",
            "-rc.2",
            "-beta.2",
            "-beta.11",
            "--",
            "-99999999999999999999",
        ]);
        version + self.some(&["+b", ""])
    }
}

#[test]
fn random_constraints_mean_the_same_to_the_library() {
    let mut writer = Writer(fastrand::Rng::new());
    let questions: Vec<Question> = (0..RANDOM)
        .map(|_| {
            (
                writer.constraint(),
                (0..VERSIONS).map(|_| writer.version()).collect(),
            )
        })
        .collect();
    let answers = theirs(&questions);
    for (question, answer) in questions.iter().zip(&answers) {
        assert_eq!(ours(question), *answer, "{question:?}");
    }
    // The questions are of all sorts.
    let of = |letter: char| answers.iter().flatten().filter(|a| a.contains(letter)).count();
    let (proper, yes, no) = (answers.iter().flatten().count(), of('y'), of('n'));
    assert!(
        proper > RANDOM / 4 && proper < RANDOM && yes > RANDOM / 20 && no > RANDOM / 20,
        "{proper} {yes} {no}"
    );
}
