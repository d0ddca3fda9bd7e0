//! The chart's values: what `values.yaml` says of each in the comment above it, and their types in
//! `values.schema.json`.

use anyhow::{Context as _, ensure};
use serde_json::Value as Json;

const VALUES: &str = include_str!("../../../../../charts/gantry/values.yaml");
const SCHEMA: &str = include_str!("../../../../../charts/gantry/values.schema.json");

/// One value.
#[derive(Debug)]
pub(super) struct Value {
    /// Keys with dots between.
    pub(super) path: String,
    /// Its comment, in one line.
    pub(super) comment: String,
    /// As the schema has it.
    pub(super) kind: String,
    /// As JSON.
    pub(super) default: String,
}

/// All values in the order of the file.
///
/// # Errors
/// If a value has no comment, or is not in the schema, or the other way round.
pub(super) fn all() -> anyhow::Result<Vec<Value>> {
    let defaults: Json = serde_saphyr::from_str(VALUES).context("read values.yaml")?;
    let schema: Json = serde_json::from_str(SCHEMA).context("read values.schema.json")?;
    let mut all: Vec<Value> = Vec::new();
    for (path, comment) in keys(VALUES) {
        let covered = all.iter().any(|v| path.starts_with(&format!("{}.", v.path)));
        if comment.is_empty() {
            let map = at(&defaults, &path).is_some_and(Json::is_object);
            ensure!(
                covered || map,
                "values.yaml says nothing about {path}: put a comment above it"
            );
            continue;
        }
        let default = at(&defaults, &path).with_context(|| format!("values.yaml has no {path}"))?;
        let found = property(&schema, &path);
        let found = found.with_context(|| format!("values.schema.json has no {path}"))?;
        all.push(Value {
            comment,
            kind: kind(found),
            default: format!("`{default}`"),
            path,
        });
    }
    for path in leaves(&schema, "") {
        let known = |v: &Value| path == v.path || path.starts_with(&format!("{}.", v.path));
        ensure!(
            path == "global" || all.iter().any(known),
            "values.schema.json has {path}, values.yaml doesn't"
        );
    }
    Ok(all)
}

/// Paths of all keys, each with the comment directly above it.
fn keys(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut comment = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if let Some(said) = trimmed.strip_prefix('#') {
            comment.push(said.trim().to_owned());
            continue;
        }
        let said = std::mem::take(&mut comment).join(" ");
        let Some((key, _)) = trimmed.split_once(':') else {
            continue;
        };
        if key.starts_with('-') {
            continue;
        }
        above.retain(|(depth, _)| *depth < indent);
        above.push((indent, key.to_owned()));
        let path: Vec<&str> = above.iter().map(|(_, key)| key.as_str()).collect();
        found.push((path.join("."), said));
    }
    found
}

fn at<'a>(value: &'a Json, path: &str) -> Option<&'a Json> {
    path.split('.').try_fold(value, |value, key| value.get(key))
}

fn property<'a>(schema: &'a Json, path: &str) -> Option<&'a Json> {
    path.split('.').try_fold(schema, |schema, key| {
        schema.get("properties").and_then(|all| all.get(key))
    })
}

/// Paths of properties that have none themselves.
fn leaves(schema: &Json, path: &str) -> Vec<String> {
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
        return vec![path.to_owned()];
    };
    let below = |key: &String| match path {
        "" => key.clone(),
        path => format!("{path}.{key}"),
    };
    properties
        .iter()
        .flat_map(|(key, schema)| leaves(schema, &below(key)))
        .collect()
}

/// The type of a value in one or a few words.
fn kind(schema: &Json) -> String {
    let words = |all: &[Json]| {
        let all = all
            .iter()
            .map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned));
        all.collect::<Vec<_>>().join(" or ")
    };
    if let Some(all) = schema.get("anyOf").and_then(Json::as_array) {
        let all: Vec<String> = all.iter().map(kind).collect();
        return all.join(" or ");
    }
    if let Some(values) = schema.get("enum").and_then(Json::as_array) {
        let values = values.iter().map(|value| match value.as_str() {
            Some("") => "empty".to_owned(),
            _ => format!("`{}`", value.as_str().unwrap_or_default()),
        });
        return values.collect::<Vec<_>>().join(", ");
    }
    match schema.get("type") {
        Some(Json::Array(all)) => words(all),
        Some(one) => words(std::slice::from_ref(one)),
        None => "any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_comments_above_them() {
        let text = "# About the file.\n\n# One\n# more.\na: 1\nb:\n  # Two.\n  c:\n    d: 1\n    list:\n      - x: 1\ne: {}\n";
        let found = keys(text);
        let expected = [
            ("a", "One more."),
            ("b", ""),
            ("b.c", "Two."),
            ("b.c.d", ""),
            ("b.c.list", ""),
            ("e", ""),
        ];
        let expected = expected.map(|(path, comment)| (path.to_owned(), comment.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn every_value_is_described() {
        let all = all().unwrap();
        assert!(all.len() > 60, "{}", all.len());
        assert!(
            all.iter().all(|value| value.comment.ends_with(['.', ')'])),
            "{all:#?}"
        );
    }
}
