//! Whether a live object has all that would be applied: a server-side apply that changes nothing is a write all the same.
//!
//! What the API server adds (defaults, fields of others) doesn't count. What it writes in another way does not count
//! either: amounts (`1000m` is kept as `1`) and empty values, which it leaves out.

use serde_json::{Map, Value};

/// Lists that are merged by a key of their entries, so that others may have entries of their own in them.
const KEYED: &[(&str, &[&str])] = &[
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("env", &["name"]),
    ("volumes", &["name"]),
    ("imagePullSecrets", &["name"]),
    ("secrets", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("volumeDevices", &["devicePath"]),
    ("ports", &["containerPort", "port", "protocol"]),
    ("ownerReferences", &["uid"]),
    ("hostAliases", &["ip"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
];

/// Fields whose values, or whose fields' values, are amounts.
const AMOUNTS: &[&str] = &["limits", "requests", "sizeLimit", "divisor"];

/// Whether `have` has all that `want` says.
#[must_use]
pub fn covers(have: &Value, want: &Value) -> bool {
    covered(have, want, "", false)
}

fn covered(have: &Value, want: &Value, field: &str, amount: bool) -> bool {
    match (have, want) {
        (Value::Object(have), Value::Object(want)) => object(have, want, field, amount),
        (Value::Array(have), Value::Array(want)) => match KEYED.iter().find(|(name, _)| *name == field) {
            Some((_, keys)) => want.iter().all(|want| {
                let same = |have: &&Value| keys.iter().all(|key| key_of(have, key) == key_of(want, key));
                have.iter()
                    .find(same)
                    .is_some_and(|have| covered(have, want, "", false))
            }),
            None => {
                have.len() == want.len()
                    && have
                        .iter()
                        .zip(want)
                        .all(|(have, want)| covered(have, want, "", false))
            }
        },
        (have, want) if amount => number(have).is_some_and(|have| number(want) == Some(have)),
        (have, want) => have == want,
    }
}

fn object(have: &Map<String, Value>, want: &Map<String, Value>, field: &str, amount: bool) -> bool {
    want.iter().all(|(key, want)| {
        let amount = amount || AMOUNTS.contains(&key.as_str()) || AMOUNTS.contains(&field);
        match have.get(key) {
            Some(have) => covered(have, want, key, amount),
            None => is_empty(want),
        }
    })
}

/// What the API server leaves out where it is written.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
    }
}

/// A key's value; a port without a protocol is TCP.
fn key_of<'a>(entry: &'a Value, key: &str) -> Option<std::borrow::Cow<'a, Value>> {
    use std::borrow::Cow;
    match entry.get(key) {
        Some(value) => Some(Cow::Borrowed(value)),
        None if key == "protocol" => Some(Cow::Owned(Value::String("TCP".to_owned()))),
        None => None,
    }
}

/// An amount, in thousandths of a millionth; `None` for what is none. Kubernetes' suffixes, of which exponents are left
/// out: who writes `1e3` is compared as text.
fn number(value: &Value) -> Option<i128> {
    const UNITS: &[(&str, i128)] = &[
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("Ei", 1 << 60),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("E", 1_000_000_000_000_000_000),
    ];
    const ONE: i128 = 1_000_000_000;
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let smaller = [("n", 1), ("u", 1_000), ("m", 1_000_000)];
    let unit = smaller
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (digits, factor) = match unit {
        Some(found) => found,
        None => UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor.checked_mul(ONE)?)))
            .unwrap_or((&text, ONE)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') || fraction.len() > 9 {
        return None;
    }
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    digits.checked_mul(factor).map(|all| all / scale)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_and_the_server_add_is_no_difference() {
        let want = json!({
            "metadata": {"labels": {"a": "1"}, "ownerReferences": [{"uid": "u", "controller": true}]},
            "spec": {
                "paused": false,
                "template": {"spec": {
                    "containers": [{"name": "package-runtime", "args": ["-d"], "env": [{"name": "A", "value": ""}],
                        "ports": [{"name": "metrics", "containerPort": 8080}],
                        "resources": {"limits": {"cpu": "1000m", "memory": "0.5Gi"}, "requests": {"cpu": 1}}}],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                    "nodeSelector": {},
                }},
            },
        });
        let have = json!({
            "metadata": {"labels": {"a": "1", "b": "2"}, "uid": "x",
                "ownerReferences": [{"uid": "v"}, {"uid": "u", "controller": true}]},
            "spec": {
                "replicas": 1,
                "template": {"spec": {
                    "containers": [
                        {"name": "sidecar"},
                        {"name": "package-runtime", "args": ["-d"], "env": [{"name": "B"}, {"name": "A"}],
                            "ports": [{"name": "metrics", "containerPort": 8080, "protocol": "TCP"}],
                            "resources": {"limits": {"cpu": "1", "memory": "512Mi"}, "requests": {"cpu": "1"}}},
                    ],
                    "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "token"}],
                    "restartPolicy": "Always",
                }},
            },
        });
        assert!(covers(&have, &want));
        for (path, value) in [
            ("/spec/template/spec/containers/1/args/0", json!("-v")),
            ("/spec/template/spec/containers/1/args", json!(["-d", "-v"])),
            (
                "/spec/template/spec/containers/1/resources/limits/cpu",
                json!("2"),
            ),
            ("/spec/template/spec/containers/1/env/1", json!({"name": "C"})),
            ("/spec/template/spec/containers/1/ports/0/containerPort", json!(1)),
            ("/spec/template/spec/volumes/0", json!({"name": "x"})),
            ("/metadata/labels/a", json!("2")),
            ("/metadata/ownerReferences/1/controller", json!(false)),
        ] {
            let mut edited = have.clone();
            *edited.pointer_mut(path).unwrap() = value;
            assert!(!covers(&edited, &want), "{path}");
        }
        let text = json!({"args": "1000m"});
        assert!(
            !covers(&json!({"args": "1"}), &text),
            "amounts only where there are some"
        );
    }

    #[test]
    fn amounts_are_compared_by_what_they_are() {
        for (a, b) in [
            ("1000m", "1"),
            ("1.5", "1500m"),
            ("1Gi", "1024Mi"),
            ("0.5Gi", "512Mi"),
            ("1000u", "1m"),
            ("1E", "1000P"),
        ] {
            assert_eq!(number(&json!(a)), number(&json!(b)), "{a} {b}");
            assert!(number(&json!(a)).is_some(), "{a}");
        }
        for odd in [
            "",
            "m",
            "1e3",
            "-1",
            "1.2.3",
            "one",
            "99999999999999999999999999999999999999E",
        ] {
            assert_eq!(number(&json!(odd)), None, "{odd}");
        }
    }
}
