use proptest::prelude::*;
use serde_json::json;

use super::*;

/// What scalars mean: the behaviour of the YAML library that packages depend on. An upgrade that changes a
/// row fails here.
#[test]
fn conformance_table() {
    for (text, expected) in [
        ("on", json!(true)),
        ("off", json!(false)),
        ("yes", json!(true)),
        ("No", json!(false)),
        ("y", json!(true)),
        ("N", json!(false)),
        ("true", json!(true)),
        ("\"on\"", json!("on")),
        ("0644", json!(420)),
        ("0o644", json!(420)),
        ("0x1F", json!(31)),
        ("0b11", json!(3)),
        ("1_000", json!(1000)),
        ("-7", json!(-7)),
        ("18446744073709551615", json!(u64::MAX)),
        ("1.10", json!(1.1)),
        ("1.0", json!(1)),
        ("100.0", json!(100)),
        ("-0.0", json!(0)),
        ("1e3", json!(1000)),
        ("0.5", json!(0.5)),
        ("~", json!(null)),
        ("null", json!(null)),
        ("\"\"", json!("")),
        ("2001-01-01", json!("2001-01-01")),
        ("1:30", json!("1:30")),
        ("v1.2.3", json!("v1.2.3")),
        ("1.2.3", json!("1.2.3")),
        ("!foo 1", json!(1)),
        ("|\n  a\n  b\n", json!("a\nb\n")),
        (">-\n  a\n  b\n", json!("a b")),
        ("[a, 'b', {c: d}]", json!(["a", "b", {"c": "d"}])),
    ] {
        let value = from_yaml(&format!("key: {text}\n")).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(value, json!({"key": expected}), "{text}");
    }
}

#[test]
fn keys_aliases_and_json() {
    assert_eq!(from_yaml("on: 1").unwrap(), json!({"on": 1}));
    assert_eq!(from_yaml("1: a").unwrap(), json!({"1": "a"}));
    let merged = from_yaml("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n").unwrap();
    assert_eq!(merged, json!({"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}));
    assert_eq!(
        from_yaml("{\"a\": [1, \"b\", null]}").unwrap(),
        json!({"a": [1, "b", null]})
    );
    assert_eq!(
        from_yaml("a: \"x\"\r\nb: 1\r\n").unwrap(),
        json!({"a": "x", "b": 1})
    );
}

#[test]
fn refusals_name_the_line() {
    for (text, line, part) in [
        ("a: 1\nb: 2\na: 3\n", 3, "duplicate"),
        ("a:\n  b: 1\n  b: 1\n", 3, "duplicate"),
        ("a: 1\nb: .nan\n", 2, ""),
        ("a: 7e12345\n", 1, ""),
        ("a: [1\n", 1, ""),
        ("a: 1\n b: 2\n", 2, ""),
        ("a: *nobody\n", 1, ""),
        ("? {a: 1}\n: 2\n", 1, ""),
    ] {
        let error = from_yaml(text).unwrap_err();
        assert_eq!(error.line, line, "{text:?}: {error}");
        assert!(error.message.contains(part), "{text:?}: {error}");
        assert!(!error.message.contains(" at line "), "{text:?}: {error}");
        assert!(error.message.chars().count() <= crate::limits::MAX_QUOTED_CHARS + 1);
    }
}

#[test]
fn bombs_are_stopped() {
    use std::fmt::Write as _;
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(laughs, "a{level}: &a{level} [{items}]").unwrap();
    }
    let nested_flow = "[".repeat(20_000);
    let nested_block: String = (0..2_000)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    let wide: String = (0..300_000).map(|index| format!("k{index}: v\n")).collect();
    for bomb in [laughs, nested_flow, nested_block, wide] {
        assert!(from_yaml(&bomb).is_err());
    }
}

#[test]
fn the_deepest_document_fits_a_small_stack() {
    let block = |levels: usize| {
        (0..levels)
            .map(|depth| format!("{}a:\n", " ".repeat(depth)))
            .collect::<String>()
    };
    let inside = move || {
        from_yaml(&block(MAX_YAML_DEPTH)).unwrap();
        from_yaml(&block(MAX_YAML_DEPTH + 1)).unwrap_err();
        from_yaml(&block(5_000)).unwrap_err();
        from_yaml(&"- ".repeat(5_000)).unwrap_err();
    };
    // A quarter of what threads get by default.
    std::thread::Builder::new()
        .stack_size(512 << 10)
        .spawn(inside)
        .unwrap()
        .join()
        .unwrap();
}

proptest! {
    #[test]
    fn never_panics(text in ".*") {
        let _ = from_yaml(&text);
    }

    #[test]
    fn json_reads_as_itself(keys in proptest::collection::btree_map("[a-z]{1,8}", -1000i64..1000, 0..8)) {
        let value = json!(keys);
        prop_assert_eq!(from_yaml(&value.to_string()).unwrap(), value);
    }
}
