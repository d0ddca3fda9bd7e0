use proptest::prelude::*;

use super::*;

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

#[test]
fn reads_leniently_and_keeps_the_spelling() {
    for (text, normal) in [
        ("1", "1.0.0"),
        ("v1", "1.0.0"),
        ("1.2", "1.2.0"),
        ("v1.2.3", "1.2.3"),
        ("01.02.003", "1.2.3"),
        ("1-alpha", "1.0.0-alpha"),
        ("1.2-beta.5", "1.2.0-beta.5"),
        ("v1.2.3-rc.1+build.01", "1.2.3-rc.1+build.01"),
        ("1.2.3--", "1.2.3--"),
        ("1.2.3-x.7.z.92", "1.2.3-x.7.z.92"),
        ("18446744073709551615", "18446744073709551615.0.0"),
    ] {
        let parsed = version(text);
        assert_eq!(parsed.semver().to_string(), normal, "{text}");
        assert_eq!(parsed.to_string(), text);
        assert_eq!(parsed.as_str(), text);
    }
}

#[test]
fn refuses_what_is_no_version() {
    let shape = |text: &str| VersionError::Shape(text.to_owned());
    for text in [
        "",
        "v",
        "V1",
        "latest",
        "main",
        "1.",
        "1.2.",
        "1.2.3.4",
        "1.2.3-",
        "1.2.3+",
        "1.2.3-a..b",
        " 1",
        "1 ",
        "1.x",
        "=1",
        "1.2.3-ä",
        "1.2.3-a.",
        "sha256:00",
    ] {
        assert_eq!(Version::parse(text).unwrap_err(), shape(text), "{text:?}");
    }
    let number = "18446744073709551616.0.0";
    assert_eq!(
        Version::parse(number).unwrap_err(),
        VersionError::Number(number.to_owned())
    );
    assert_eq!(
        Version::parse("1.0.0-01").unwrap_err(),
        VersionError::LeadingZero("1.0.0-01".to_owned())
    );
    let long = format!("1.0.0-{}", "a".repeat(MAX_VERSION_BYTES));
    assert_eq!(
        Version::parse(&long).unwrap_err(),
        VersionError::TooLong(long.len())
    );
}

#[test]
fn orders_by_precedence_without_build_metadata() {
    let ascending = [
        "0.9",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "v1.0.1",
        "1.10",
        "2",
    ];
    for pair in ascending.windows(2) {
        assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
    }
    assert_eq!(version("1.0.0+a"), version("v1+b"));
}

#[test]
fn tags_become_a_sorted_list() {
    let spelled =
        |tags: &[&str]| -> Vec<String> { sorted_versions(tags).iter().map(ToString::to_string).collect() };
    assert_eq!(
        spelled(&["v2.0.0", "latest", "v1.0.0", "main", "v1.1.0"]),
        ["v1.0.0", "v1.1.0", "v2.0.0"]
    );
    assert_eq!(
        spelled(&["v1.1.0", "v1.1.0-beta", "v1.0.0", "v1.1.0-alpha"]),
        ["v1.0.0", "v1.1.0-alpha", "v1.1.0-beta", "v1.1.0"]
    );
    assert_eq!(spelled(&["latest", "main"]), Vec::<String>::new());
    assert_eq!(spelled(&[]), Vec::<String>::new());
}

proptest! {
    #[test]
    fn never_panics(text in ".*") {
        let _ = Version::parse(&text);
    }

    #[test]
    fn whatever_is_accepted_is_read_again_the_same(
        text in "v?[0-9]{1,3}(\\.[0-9]{1,3}){0,3}(-[a-z0-9.-]{0,6})?(\\+[a-z0-9.]{0,4})?",
    ) {
        if let Ok(parsed) = Version::parse(&text) {
            let again = Version::parse(&parsed.semver().to_string()).unwrap();
            prop_assert_eq!(&again, &parsed);
            prop_assert_eq!(parsed.to_string(), text);
        }
    }
}
