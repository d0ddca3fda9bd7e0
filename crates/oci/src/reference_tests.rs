//! Tables and properties of references.

use proptest::prelude::*;

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(text: &str) -> Reference {
    Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn takes_references_apart() {
    // text, registry, repository, tag, has a digest, source
    let pinned = format!("r.example.org/a/b@sha256:{HEX}");
    let both = format!("r.example.org/a/b:v1@sha256:{HEX}");
    let table = [
        (
            "r.example.org/a/b:v1",
            "r.example.org",
            "a/b",
            Some("v1"),
            false,
            "r.example.org/a/b",
        ),
        (
            "r.example.org:5000/a:v1",
            "r.example.org:5000",
            "a",
            Some("v1"),
            false,
            "r.example.org:5000/a",
        ),
        ("localhost/a", "localhost", "a", None, false, "localhost/a"),
        (
            "localhost:5000/a:V_1-2.x",
            "localhost:5000",
            "a",
            Some("V_1-2.x"),
            false,
            "localhost:5000/a",
        ),
        (
            "registry:5000/a__b/c---d:1",
            "registry:5000",
            "a__b/c---d",
            Some("1"),
            false,
            "registry:5000/a__b/c---d",
        ),
        (
            "127.0.0.1:5000/a:v1",
            "127.0.0.1:5000",
            "a",
            Some("v1"),
            false,
            "127.0.0.1:5000/a",
        ),
        (
            "[::1]:5000/a:v1",
            "[::1]:5000",
            "a",
            Some("v1"),
            false,
            "[::1]:5000/a",
        ),
        (
            "r.example.org/my-latest",
            "r.example.org",
            "my-latest",
            None,
            false,
            "r.example.org/my-latest",
        ),
        (&pinned, "r.example.org", "a/b", None, true, "r.example.org/a/b"),
        (
            &both,
            "r.example.org",
            "a/b",
            Some("v1"),
            true,
            "r.example.org/a/b",
        ),
    ];
    for (text, registry, repository, tag, has_digest, source) in table {
        let reference = parse(text);
        assert_eq!(reference.as_str(), text);
        assert_eq!(reference.registry(), registry, "{text}");
        assert_eq!(reference.repository(), repository, "{text}");
        assert_eq!(reference.tag(), tag, "{text}");
        assert_eq!(reference.digest().is_some(), has_digest, "{text}");
        assert_eq!(reference.source(), source, "{text}");
    }
}

#[test]
fn refuses_bad_references() {
    let long_path = format!("r.example.org/{}:v1", "a".repeat(256));
    let long_tag = format!("r.example.org/a:{}", "t".repeat(129));
    let upper_digest = format!("r.example.org/a@sha256:{}", HEX.to_uppercase());
    for text in [
        "",
        "/",
        "a",
        "a/b:v1",
        "ubuntu:22.04",
        "r.example.org",
        "r.example.org/",
        "r.example.org/:v1",
        "r.example.org//a:v1",
        "r.example.org/a/:v1",
        "r.example.org/../a:v1",
        "r.example.org/./a:v1",
        "r.example.org/A:v1",
        "r.example.org/a b:v1",
        "r.example.org/a:",
        "r.example.org/a:..",
        "r.example.org/a:-x",
        "r.example.org/a:v 1",
        "r.example.org/a:v1:v2",
        "r.example.org/a:v1/b",
        "r.example.org/a@",
        "r.example.org/a@sha256:00",
        "r.example.org/a@v1",
        "https://r.example.org/a:v1",
        "user@r.example.org/a:v1",
        "r..example.org/a:v1",
        "r.example.org:/a:v1",
        "r.example.org:0/a:v1",
        "r.example.org:99999/a:v1",
        "r.example.org:+1/a:v1",
        "[::1/a:v1",
        "[zz]:5000/a:v1",
        "r.example.org\n/a:v1",
        "r.exämple.org/a:v1",
        &long_path,
        &long_tag,
        &upper_digest,
    ] {
        let error = Reference::parse(text).expect_err(text);
        assert!(error.to_string().len() < 700, "{error}");
    }
}

#[test]
fn docker_hub_has_other_names_on_the_wire() {
    let short = parse("docker.io/nginx:1");
    assert_eq!(
        (short.api_host().as_str(), short.api_repository().as_str()),
        ("index.docker.io", "library/nginx")
    );
    assert_eq!(short.source(), "docker.io/nginx");
    assert_eq!(parse("docker.io/a/b:1").api_repository(), "a/b");
    assert_eq!(parse("R.Example.Org/a:1").api_host(), "r.example.org");
}

#[test]
fn identifier_prefers_the_digest() {
    assert_eq!(parse("r.example.org/a").identifier(), DEFAULT_TAG);
    assert_eq!(parse("r.example.org/a:v1").identifier(), "v1");
    assert_eq!(
        parse(&format!("r.example.org/a:v1@sha256:{HEX}")).identifier(),
        format!("sha256:{HEX}")
    );
    let pinned = parse("r.example.org/a:v1").with_digest(&Digest::sha256(b""));
    assert_eq!(pinned, parse(&format!("r.example.org/a@sha256:{HEX}")));
    assert_eq!(pinned.with_tag("v2").unwrap().as_str(), "r.example.org/a:v2");
    assert!(pinned.with_tag("../x").is_err());
}

#[test]
fn package_rule_is_the_validation_rule() {
    let digest = format!("sha256:{HEX}");
    let accepted = [
        "r.example.org/a:v1".to_owned(),
        "r.example.org/a/b/c:v1".to_owned(),
        "r.example.org:5000/a:v1".to_owned(),
        format!("r.example.org/a@{digest}"),
        format!("r.example.org/a:v1@{digest}"),
        "r.example.org/A:v1".to_owned(),
        "r.example.org/a@sha256x".to_owned(),
        "r.example.org/a:x/y".to_owned(),
        "u@r.example.org/a:v1".to_owned(),
    ];
    for text in accepted {
        assert!(Reference::package_rule(&text), "{text} refused");
    }
    let refused = [
        String::new(),
        "localhost:5000/x:v1".to_owned(),
        "registry:5000/x:v1".to_owned(),
        "r.example.org/a".to_owned(),
        "r.example.org:v1".to_owned(),
        "r.example.org/:v1".to_owned(),
        "r.example.org//a:v1".to_owned(),
        ".example.org/a:v1".to_owned(),
        "r..org/a:v1".to_owned(),
        "r.example.org/a:".to_owned(),
        "r.example.org/a@sha256".to_owned(),
        "r.example.org/a:v1@".to_owned(),
        "r.example.org/a:v1@sha512:00".to_owned(),
        "r.example.org/a:v1:v2".to_owned(),
        format!("r.example.org/a@sha512:{HEX}"),
        "r.example.org/a@sha256:\n".to_owned(),
    ];
    for text in refused {
        assert!(!Reference::package_rule(&text), "{text:?} accepted");
    }
}

proptest! {
    #[test]
    fn never_panics(text in ".{0,300}") {
        let _ = Reference::parse(&text);
        let _ = Reference::package_rule(&text);
    }

    #[test]
    fn never_panics_near_the_grammar(text in "[a-z.:/@\\[\\]0-9-]{0,40}(:|@sha256:)?[a-f0-9]{0,64}") {
        if let Ok(reference) = Reference::parse(&text) {
            prop_assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn round_trips(
        host in "[a-z][a-z0-9-]{0,9}\\.[a-z]{2,5}(:[1-9][0-9]{0,3})?",
        path in "[a-z0-9]{1,8}(/[a-z0-9_.-]{0,5}[a-z0-9]){0,3}",
        tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
        pinned in any::<bool>(),
    ) {
        let mut text = format!("{host}/{path}");
        if let Some(tag) = &tag { text = format!("{text}:{tag}"); }
        if pinned { text = format!("{text}@sha256:{HEX}"); }
        let reference = Reference::parse(&text).unwrap();
        prop_assert_eq!(reference.as_str(), text.as_str());
        prop_assert_eq!(reference.tag(), tag.as_deref());
        prop_assert_eq!(reference.source(), format!("{host}/{path}"));
        let json = serde_json::to_string(&reference).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Reference>(&json).unwrap(), &reference);
        // what parses with a tag or a sha256 digest and a dotted host is what the API server accepts
        prop_assert_eq!(Reference::package_rule(&text), tag.is_some() || pinned);
    }
}
