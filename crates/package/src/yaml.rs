//! YAML to JSON values, the way `kubectl` reads it as far as that is sound.
//!
//! The one place that knows the YAML library. Scalars follow YAML 1.1 (`on` is true, `0644` is octal),
//! duplicate keys are errors (the reference lets the last one win), and what can't be JSON (`.nan`) is
//! refused.

use serde_json::{Number, Value};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};

use crate::limits::{MAX_YAML_DEPTH, MAX_YAML_NODES};
use crate::text::shorten;

/// Why a text is not acceptable YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct YamlError {
    /// Line within the text, from 1; 1 where it is not known.
    pub line: u64,
    /// What is wrong.
    pub message: String,
}

/// Reads one YAML document.
///
/// # Errors
/// If it is not valid YAML, has a duplicate key or a number that JSON does not have, or needs more nodes or
/// depth than allowed (aliases count as what they expand to).
pub fn from_yaml(text: &str) -> Result<Value, YamlError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_YAML_DEPTH,
            flow_nesting_limit: MAX_YAML_DEPTH,
            max_nodes: MAX_YAML_NODES,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Merge,
        legacy_octal_numbers: true,
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
    };
    let mut value: Value =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| describe(&error))?;
    whole_numbers(&mut value);
    Ok(value)
}

/// Writes a value as YAML that every YAML reader understands alike: it is read back and compared.
///
/// # Errors
/// If what is written does not read back as `value`.
pub fn to_yaml(value: &Value) -> Result<String, YamlError> {
    let failed = |message: String| YamlError { line: 1, message };
    let text = serde_saphyr::to_string(value).map_err(|error| failed(shorten(&error.to_string())))?;
    let text = if text.ends_with('\n') { text } else { text + "\n" };
    // A line that looks like a separator would end the document for readers that split by line.
    let split = text
        .lines()
        .any(|line| line.starts_with("---") || line.starts_with("..."));
    if split || from_yaml(&text)? != *value {
        return Err(failed(
            "the written YAML does not read back as the same object".to_owned(),
        ));
    }
    Ok(text)
}

fn describe(error: &serde_saphyr::Error) -> YamlError {
    let location = error.location();
    let line = location.map_or(1, |location| location.line().max(1));
    let text = error.without_snippet().to_string();
    // The position is told once, by us: the library counts lines within this document only.
    let place = location.map(|l| format!(" at line {}, column {}", l.line(), l.column()));
    let message = place.as_deref().and_then(|place| text.strip_suffix(place));
    YamlError {
        line,
        message: shorten(message.unwrap_or(&text)),
    }
}

/// Turns floats without a fraction into integers, as Go's JSON does on the way to an API server, which
/// refuses `1.0` where it wants an integer.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Number(number) if number.is_f64() => {
            // Floats are exact integers up to here.
            const EXACT: f64 = 9_007_199_254_740_992.0;
            if let Some(float) = number
                .as_f64()
                .filter(|float| float.fract() == 0.0 && float.abs() <= EXACT)
            {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "whole and in range, checked above"
                )]
                let whole = float as i64;
                *number = Number::from(whole);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
