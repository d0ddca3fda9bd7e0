//! Who may use whom: the table of rooms and doors, checked against what cargo says.

use anyhow::bail;

use crate::metadata::Metadata;

/// A crate of ours and what it may use of ours.
struct Room {
    name: &'static str,
    /// In any way.
    uses: &'static [&'static str],
    /// In its tests only.
    tests_use: &'static [&'static str],
}

const TESTKIT: &[&str] = &["testkit"];

/// The table of the design, chapter 2. Packages are called `gantry-<name>`, but for `xtask`.
const ROOMS: &[Room] = &[
    Room {
        name: "oci",
        uses: &[],
        tests_use: &[],
    },
    Room {
        name: "solve",
        uses: &["oci"],
        tests_use: &[],
    },
    Room {
        name: "api",
        uses: &["oci"],
        tests_use: &[],
    },
    Room {
        name: "package",
        uses: &["api", "oci", "solve"],
        tests_use: &[],
    },
    Room {
        name: "registry",
        uses: &["oci"],
        tests_use: TESTKIT,
    },
    Room {
        name: "kit",
        uses: &[],
        tests_use: TESTKIT,
    },
    Room {
        name: "operator",
        uses: &["api", "kit", "oci", "package", "registry", "solve"],
        tests_use: TESTKIT,
    },
    Room {
        name: "cli",
        uses: &["api", "kit", "oci", "package", "registry", "solve"],
        tests_use: TESTKIT,
    },
    Room {
        name: "testkit",
        uses: &["api", "oci", "package", "registry"],
        tests_use: &[],
    },
    Room {
        name: "xtask",
        uses: &[
            "api", "cli", "kit", "oci", "operator", "package", "registry", "solve",
        ],
        tests_use: &[],
    },
    Room {
        name: "tests",
        uses: &[
            "api", "cli", "kit", "oci", "operator", "package", "registry", "solve", "testkit",
        ],
        tests_use: &[],
    },
];

/// What an example may use, whatever it is called.
const EXAMPLES_USE: &[&str] = &["api"];
/// Packages of `examples/` have names that start so.
const EXAMPLE: &str = "example-";

/// Says that all doors are in the table, or fails naming those that aren't.
pub(crate) fn check(metadata: &Metadata) -> anyhow::Result<String> {
    let wrong = wrong_doors(metadata);
    if wrong.is_empty() {
        return Ok(format!(
            "doors: {} crates, all as the table says",
            metadata.packages.len()
        ));
    }
    bail!("doors that the table doesn't have:\n  {}", wrong.join("\n  "));
}

fn wrong_doors(metadata: &Metadata) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let name = room_name(&package.name);
        let room = ROOMS.iter().find(|room| room.name == name);
        let (uses, tests_use) = match room {
            Some(room) => (room.uses, room.tests_use),
            None if name.starts_with(EXAMPLE) => (EXAMPLES_USE, &[] as &[&str]),
            None => {
                wrong.push(format!("{name}: a crate that the table doesn't have"));
                continue;
            }
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.path.is_some())
        {
            let used = room_name(&dependency.name);
            let in_tests = dependency.kind.as_deref() == Some("dev");
            if !(uses.contains(&used) || in_tests && tests_use.contains(&used)) {
                let how = if in_tests { " (in tests)" } else { "" };
                wrong.push(format!("{name} uses {used}{how}"));
            }
        }
    }
    wrong
}

/// `gantry-api` is the room `api`.
fn room_name(package: &str) -> &str {
    package.strip_prefix("gantry-").unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Dependency, Package};

    /// A package's name, and names and kinds of what it uses.
    type Row<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)]);

    fn workspace(rows: &[Row<'_>]) -> Metadata {
        let dependency = |(name, kind): &(&str, Option<&str>)| Dependency {
            name: (*name).to_owned(),
            kind: kind.map(str::to_owned),
            path: name.starts_with("gantry-").then(|| name.into()),
        };
        let package = |(name, uses): &Row<'_>| Package {
            name: (*name).to_owned(),
            dependencies: uses.iter().map(dependency).collect(),
        };
        Metadata {
            packages: rows.iter().map(package).collect(),
            workspace_root: "/".into(),
        }
    }

    #[test]
    fn doors_of_the_table_pass() {
        let fine = workspace(&[
            (
                "gantry-solve",
                &[("gantry-oci", None), ("serde", None), ("proptest", Some("dev"))],
            ),
            (
                "gantry-registry",
                &[("gantry-oci", None), ("gantry-testkit", Some("dev"))],
            ),
            (
                "gantry-tests",
                &[("gantry-testkit", None), ("gantry-operator", None)],
            ),
            ("gantry-example-watch", &[("gantry-api", None)]),
        ]);
        assert_eq!(wrong_doors(&fine), Vec::<String>::new());
    }

    #[test]
    fn wrong_doors_are_named() {
        let wrong = workspace(&[
            ("gantry-cli", &[("gantry-operator", None)]),
            ("gantry-registry", &[("gantry-testkit", None)]),
            ("gantry-oci", &[("gantry-testkit", Some("dev"))]),
            ("gantry-kit", &[("gantry-oci", Some("build"))]),
            ("gantry-example-watch", &[("gantry-package", None)]),
            ("gantry-helpers", &[]),
        ]);
        let said = check(&wrong).unwrap_err().to_string();
        let lines: Vec<&str> = said.lines().skip(1).map(str::trim).collect();
        let expected = [
            "cli uses operator",
            "registry uses testkit",
            "oci uses testkit (in tests)",
            "kit uses oci",
            "example-watch uses package",
            "helpers: a crate that the table doesn't have",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn this_workspace_has_no_wrong_door() {
        assert_eq!(wrong_doors(&Metadata::read().unwrap()), Vec::<String>::new());
    }
}
