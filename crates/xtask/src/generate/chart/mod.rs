//! `charts/gantry`: its metadata, its roles, its README.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use super::{MARK, YAML_HEADER};

mod reference;
mod roles;
mod values;

/// Oldest Kubernetes that is served.
const KUBERNETES: &str = "1.33";

/// What the README says before its tables.
const INTRODUCTION: &str = include_str!("introduction.md");

/// The files of the chart that are generated; the others are written by hand.
pub(super) fn files() -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let chart = PathBuf::from("charts/gantry");
    Ok(BTreeMap::from([
        (chart.join("Chart.yaml"), metadata()),
        (chart.join("README.md"), readme()?),
        (chart.join("templates/rbac.yaml"), roles::file()),
    ]))
}

/// Workspace, chart and image share one version.
fn metadata() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{YAML_HEADER}apiVersion: v2\nname: gantry\ndescription: A package manager for Kubernetes control planes\n\
         type: application\nversion: {version}\nappVersion: {version}\nkubeVersion: \">={KUBERNETES}.0-0\"\n\
         home: {home}\nsources:\n  - {home}\nkeywords:\n  - crossplane\n  - packages\n  - oci\n\
         annotations:\n  licenses: {licence}\n",
        home = env!("CARGO_PKG_REPOSITORY"),
        licence = env!("CARGO_PKG_LICENSE"),
    )
}

fn readme() -> anyhow::Result<String> {
    let mut file = format!("<!-- {MARK} -->\n{INTRODUCTION}");
    // writing to a String can't fail
    let _ = write!(
        file,
        "\n## Values\n\n| value | type | default | |\n|---|---|---|---|\n"
    );
    for value in values::all()? {
        let _ = writeln!(
            file,
            "| `{}` | {} | {} | {} |",
            value.path,
            cell(&value.kind),
            cell(&value.default),
            cell(&value.comment)
        );
    }
    file.push_str(reference::INTRODUCTION);
    file.push_str("\n| Crossplane's chart | here | |\n|---|---|---|\n");
    for row in reference::TABLE {
        let (relation, note) = match row.relation {
            reference::Relation::Same(note) => ("same", note),
            reference::Relation::Different(note) => ("different", note),
            reference::Relation::NotApplicable(note) => ("not applicable", note),
        };
        let _ = writeln!(file, "| {} | {relation} | {} |", row.theirs, cell(note));
    }
    Ok(file)
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_metadata_is_yaml_with_the_version_of_the_workspace() {
        let metadata: Value = serde_saphyr::from_str(&metadata()).unwrap();
        assert_eq!(metadata["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(metadata["version"], metadata["appVersion"]);
        assert_eq!(metadata["apiVersion"], "v2");
    }

    #[test]
    fn the_readme_names_every_value_and_every_value_of_the_reference() {
        let readme = readme().unwrap();
        for value in values::all().unwrap() {
            assert!(
                readme.contains(&format!("| `{}` |", value.path)),
                "{}",
                value.path
            );
        }
        for row in reference::TABLE {
            assert!(readme.contains(row.theirs), "{}", row.theirs);
        }
    }
}
