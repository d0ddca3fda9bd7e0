use proptest::prelude::*;

use super::*;

/// Constraint, versions that satisfy it, versions that don't.
const TABLE: &[(&str, &str, &str)] = &[
    // exact
    ("1.2.3", "1.2.3 v1.2.3 1.2.3+build", "1.2.4 1.2.2 1.2.3-rc.1"),
    ("=1.2.3", "1.2.3", "1.2.4"),
    ("v1.2.3+meta", "1.2.3 1.2.3+other", "1.2.4"),
    ("= 1.2.3", "1.2.3", "1.2.4"),
    // wildcards and missing parts
    ("1.2", "1.2.0 1.2.9", "1.3.0 1.1.9 1.2.1-rc.1"),
    ("=1.2", "1.2.0 1.2.9", "1.3.0"),
    ("1.2.x", "1.2.0 1.2.9", "1.3.0 2.2.0"),
    ("1", "1.0.0 1.9.9", "2.0.0 0.9.9"),
    ("1.x", "1.0.0 1.9.9", "2.0.0"),
    ("1.x.3", "1.0.0 1.9.9", "2.0.0"),
    ("=1.X.*", "1.0.0 1.9.9", "2.0.0"),
    ("0", "0.0.0 0.9.9", "1.0.0"),
    ("0.0", "0.0.0 0.0.9", "0.1.0"),
    ("*", "0.0.0 1.2.3 99.0.0", "1.0.0-rc.1"),
    ("x", "0.0.0 1.2.3", "1.0.0-rc.1"),
    // tilde
    ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0"),
    ("~1.2", "1.2.0 1.2.9", "1.1.9 1.3.0"),
    ("~1", "1.0.0 1.9.9", "0.9.9 2.0.0"),
    ("~>1.2.3", "1.2.3 1.2.9", "1.3.0"),
    ("~> 1.2", "1.2.0", "1.3.0"),
    ("~0.0.0", "0.0.0 0.5.0 7.0.0", ""),
    ("~*", "0.0.0 7.0.0", ""),
    ("~0.0", "0.0.7", "0.1.0"),
    // caret
    ("^1.2.3", "1.2.3 1.9.0", "1.2.2 2.0.0"),
    ("^1.2", "1.2.0 1.9.0", "1.1.9 2.0.0"),
    ("^1", "1.0.0 1.9.0", "2.0.0 0.9.0"),
    ("^0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0 1.0.0"),
    ("^0.2", "0.2.0 0.2.9", "0.3.0"),
    ("^0.0.3", "0.0.3", "0.0.2 0.0.4 0.1.0 1.0.0"),
    ("^0.0", "0.0.0 0.0.9", "0.1.0 1.0.0"),
    ("^0", "0.0.0 0.9.9", "1.0.0"),
    ("^*", "0.0.0", "0.0.1 1.0.0"),
    // greater, less
    (">1", "2.0.0", "1.0.0 1.9.9"),
    (">1.2", "1.3.0 2.0.0", "1.2.0 1.2.9"),
    (">1.2.3", "1.2.4 2.0.0", "1.2.3"),
    (">=1.2", "1.2.0 3.0.0", "1.1.9"),
    ("=>1.2.3", "1.2.3", "1.2.2"),
    ("<1.2", "1.1.9 0.1.0", "1.2.0"),
    ("<1", "0.9.9", "1.0.0"),
    ("<=1", "1.9.9 0.1.0", "2.0.0"),
    ("<=1.2", "1.2.9 1.1.0 0.9.0", "1.3.0 2.0.0"),
    ("<=0.2", "0.2.9 0.1.0", "0.3.0 1.0.0"),
    ("=<1.2.3", "1.2.3", "1.2.4"),
    ("<=*", "0.0.9", "0.1.0 1.0.0"),
    (">*", "0.0.1 1.0.0", "0.0.0"),
    (">=*", "0.0.0 9.0.0", ""),
    // not
    ("!=1.2.3", "1.2.4 1.2.2", "1.2.3 1.2.3+b"),
    ("!=1.2.x", "1.3.0 2.2.0", "1.2.0 1.2.9"),
    ("!=1.x", "2.0.0 0.1.0", "1.0.0 1.9.0"),
    // and, or, hyphen
    (">=1.0.0, <2.0.0", "1.0.0 1.9.9", "2.0.0 0.9.9"),
    (">=1.0.0 <2.0.0", "1.0.0 1.9.9", "2.0.0 0.9.9"),
    (">=1.0.0,<2.0.0", "1.5.0", "2.0.0"),
    (" >= 1.0.0 ,  < 2.0.0 ", "1.5.0", "2.0.0"),
    (">=1, !=1.5.0, <2", "1.4.0 1.6.0", "1.5.0 2.0.0"),
    ("^1 || ^3", "1.2.0 3.9.0", "2.0.0 4.0.0"),
    ("<1||>2.0.0 <3", "0.9.0 2.1.0", "1.0.0 2.0.0 3.0.0"),
    ("1.2 - 1.4.5", "1.2.0 1.4.5", "1.1.9 1.4.6"),
    ("1 - 2", "1.0.0 2.9.9", "0.9.9 3.0.0"),
    ("1 - 2 || 5", "1.0.0 5.1.0", "3.0.0"),
    ("1 - 3, !=2.0.0", "1.0.0 3.1.0", "2.0.0"),
    // pre-releases
    (">=v2.0.0", "v2.0.0 v2.4.0", "v2.5.0-rc.0 2.0.0-rc.1"),
    (">=v2.0.0-0", "v2.5.0-rc.0 2.0.0-rc.1 2.4.0", "1.9.9"),
    (">=1.2.3-0", "1.3.0-beta", "1.2.2"),
    (
        ">1.0.0-alpha, <2",
        "1.0.0-beta 1.5.0-rc.1 1.5.0",
        "1.0.0-alpha 2.0.0",
    ),
    (">1, <3-0", "2.0.0-rc.1", "1.5.0"),
    (">=1 || >=3.0.0-0", "1.0.0 3.1.0-rc.1 2.0.0", "0.1.0 2.0.0-rc.1"),
    ("!=1.2.3", "", "1.3.0-rc.1"),
    ("!=1.2.3-rc.1", "1.2.3-rc.2 1.2.3", "1.2.3-rc.1"),
    ("~1.2.3-beta.2", "1.2.3-beta.4 1.2.9 1.2.3", "1.2.3-beta.1 1.3.0"),
    ("^1.2.3-beta.2", "1.2.3-beta.4 1.9.0-rc.1", "1.2.3-beta.1 2.0.0"),
    ("1.x-0", "1.0.0-alpha 1.5.0", "2.0.0"),
];

#[test]
fn table() {
    for (constraint, good, bad) in TABLE {
        let parsed = Constraint::parse(constraint).unwrap_or_else(|error| panic!("{constraint}: {error}"));
        assert_eq!(parsed.to_string(), *constraint);
        for (versions, wanted) in [(good, true), (bad, false)] {
            for text in versions.split_whitespace() {
                let version = Version::parse(text).unwrap();
                assert_eq!(parsed.matches(&version), wanted, "{constraint:?} against {text}");
            }
        }
    }
}

#[test]
fn refuses_what_is_no_constraint() {
    for (text, named) in [
        ("", ""),
        (" ", " "),
        ("||", ""),
        ("1 ||", ""),
        ("|| 1", ""),
        (">a0.13.0", ">a0.13.0"),
        ("latest", "latest"),
        ("==1", "==1"),
        (">=", ">="),
        (">>1", ">>1"),
        ("1,", "1,"),
        (",1", ",1"),
        ("1,,2", "1,,2"),
        (">1<2", ">1<2"),
        ("1.2.3.4", "1.2.3.4"),
        ("1|2", "1|2"),
        ("1x", "1x"),
        ("xx", "xx"),
        ("V1", "V1"),
        ("1 -", "1 -"),
        ("1 - 2 - 3", ">= 1, <= 2 - 3"),
        (">1 - 2", ">>= 1, <= 2 "),
        ("1 -2", "1 -2"),
        ("1.0.0-01", "1.0.0-01"),
        ("1.0.0-", "1.0.0-"),
        ("1 || 99999999999999999999", " 99999999999999999999"),
        ("1\u{a0}2", "1\u{a0}2"),
    ] {
        let error = Constraint::parse(text).unwrap_err();
        assert_eq!(error, ConstraintError::Improper(named.to_owned()), "{text:?}");
    }
    assert_eq!(
        Constraint::parse("").unwrap_err().to_string(),
        "improper constraint: \"\""
    );
    let long = "1 ".repeat(MAX_CONSTRAINT_BYTES);
    assert_eq!(
        Constraint::parse(&long).unwrap_err(),
        ConstraintError::TooLong(long.len())
    );
}

#[test]
fn says_where_reading_stopped() {
    for (text, rest) in [
        (">=1.0.0, <a2", "a2"),
        ("1 || >x1 || 2", "x1 || 2"),
        ("1 - 2 || ==1", "=1"),
        ("latest", "latest"),
        (">=1 and <2", "and <2"),
        ("1,", ""),
        ("", ""),
    ] {
        assert_eq!(Constraint::fault(text), Some(text.len() - rest.len()), "{text:?}");
    }
    assert_eq!(Constraint::fault("^1 || 1 - 2"), None);
    let many = vec!["1"; MAX_CONSTRAINT_GROUPS + 1].join("||");
    assert_eq!(
        Constraint::parse(&many).unwrap_err(),
        ConstraintError::TooManyGroups(33)
    );
    assert_eq!(Constraint::fault(&many), None);
}

proptest! {
    #[test]
    fn never_panics(text in ".*", version in "[0-9]{1,2}(\\.[0-9]{1,2}){0,2}") {
        if let Ok(constraint) = Constraint::parse(&text) {
            constraint.matches(&Version::parse(&version).unwrap());
        }
    }

    #[test]
    fn near_misses_never_panic(
        text in "[v0-9xX*.,|<>=~^! -]{0,24}",
        version in "[0-9](\\.[0-9]){0,2}(-rc)?",
    ) {
        if let Ok(constraint) = Constraint::parse(&text) {
            constraint.matches(&Version::parse(&version).unwrap());
        }
    }

    #[test]
    fn bounds_agree_with_the_order(a in "[0-9]\\.[0-9]\\.[0-9]", b in "[0-9]\\.[0-9]\\.[0-9]") {
        let (low, high) = (Version::parse(&a).unwrap(), Version::parse(&b).unwrap());
        let holds = |text: String| Constraint::parse(&text).unwrap().matches(&high);
        prop_assert_eq!(holds(format!(">{a}")), high > low);
        prop_assert_eq!(holds(format!(">={a}")), high >= low);
        prop_assert_eq!(holds(format!("<{a}")), high < low);
        prop_assert_eq!(holds(format!("<={a}")), high <= low);
        prop_assert_eq!(holds(a.clone()), high == low);
        prop_assert_eq!(holds(format!("!={a}")), high != low);
    }
}
