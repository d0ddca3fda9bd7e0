//! Rows of the spec: behaviour 8.C (bestMatch) and 8.A3, API reference 1.9.

use serde_json::json;

use super::*;

/// A config with these prefixes and these sections.
fn config(name: &str, prefixes: &[&str], sections: Value) -> ImageConfig {
    let mut spec = sections;
    spec["matchImages"] = prefixes
        .iter()
        .map(|prefix| json!({ "prefix": prefix }))
        .collect();
    serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap()
}

fn secret(name: &str) -> Value {
    json!({ "registry": { "authentication": { "pullSecretRef": { "name": name } } } })
}

fn rewrite(prefix: &str) -> Value {
    json!({ "rewriteImage": { "prefix": prefix } })
}

fn best<'a>(configs: &'a ImageConfigs, purpose: Purpose, reference: &str) -> &'a str {
    configs.best(purpose, reference).map_or("-", ImageConfig::name)
}

const REFERENCE: &str = "registry.example.org/acme/provider-x:v1.0.0";

#[test]
fn the_longest_prefix_wins() {
    let one = ImageConfigs::from_iter([config("one", &["registry.example.org/"], secret("s"))]);
    assert_eq!(best(&one, Purpose::PullSecret, REFERENCE), "one");
    assert_eq!(
        best(&one, Purpose::PullSecret, "other.example.org/acme/x:v1"),
        "-"
    );

    let prefixes = ["other.example.org/", "registry.example.org/acme/"];
    let several_prefixes = ImageConfigs::from_iter([config("one", &prefixes, secret("s"))]);
    assert_eq!(best(&several_prefixes, Purpose::PullSecret, REFERENCE), "one");

    let one_fits = ImageConfigs::from_iter([
        config("a", &["other.example.org/", "third.example.org/"], secret("a")),
        config("b", &["registry.example.org/"], secret("b")),
    ]);
    assert_eq!(best(&one_fits, Purpose::PullSecret, REFERENCE), "b");

    let both_fit = ImageConfigs::from_iter([
        config("short", &["registry.example.org/"], secret("a")),
        config("long", &["r", "registry.example.org/acme/"], secret("b")),
    ]);
    assert_eq!(best(&both_fit, Purpose::PullSecret, REFERENCE), "long");
}

#[test]
fn each_purpose_is_looked_up_on_its_own() {
    let configs = ImageConfigs::from_iter([
        config(
            "rewrite",
            &["registry.example.org/acme/"],
            rewrite("mirror.example.org/"),
        ),
        config("secret", &["registry."], secret("s")),
        config(
            "runtime",
            &["registry.example"],
            json!({ "runtime": { "configRef": { "name": "big" } } }),
        ),
        config(
            "verify",
            &["reg"],
            json!({ "verification": { "provider": "Cosign" } }),
        ),
        config("empty", &["registry.example.org/acme/provider-x"], secret("")),
    ]);
    assert_eq!(best(&configs, Purpose::Rewrite, REFERENCE), "rewrite");
    assert_eq!(best(&configs, Purpose::PullSecret, REFERENCE), "secret");
    assert_eq!(best(&configs, Purpose::Runtime, REFERENCE), "runtime");
    assert_eq!(best(&configs, Purpose::Verification, REFERENCE), "verify");
    let runtime = configs
        .best(Purpose::Runtime, REFERENCE)
        .and_then(|found| found.spec.runtime.clone())
        .unwrap();
    let reference = runtime.config_ref.unwrap();
    assert_eq!(
        (reference.kind.as_str(), reference.name.as_str()),
        ("DeploymentRuntimeConfig", "big")
    );
}

#[test]
fn prefixes_are_plain_text() {
    let configs = ImageConfigs::from_iter([config("foo", &["reg.example.org/foo"], secret("s"))]);
    assert_eq!(
        best(&configs, Purpose::PullSecret, "reg.example.org/foobar:v1"),
        "foo"
    );
    let configs = ImageConfigs::from_iter([config("foo", &["reg.example.org/foo/"], secret("s"))]);
    assert_eq!(
        best(&configs, Purpose::PullSecret, "reg.example.org/foobar:v1"),
        "-"
    );
    let empty = ImageConfigs::from_iter([config("empty", &[""], secret("s"))]);
    assert_eq!(best(&empty, Purpose::PullSecret, REFERENCE), "-");
    assert_eq!(
        best(&ImageConfigs::from_iter([]), Purpose::PullSecret, REFERENCE),
        "-"
    );
}

#[test]
fn ties_go_to_the_first_name() {
    let b = config("b", &["registry."], secret("b"));
    let a = config("a", &["registry."], secret("a"));
    for configs in [[a.clone(), b.clone()], [b, a]] {
        assert_eq!(
            best(&ImageConfigs::from_iter(configs), Purpose::PullSecret, REFERENCE),
            "a"
        );
    }
}

#[test]
fn rewriting_comes_first_and_happens_once() {
    let configs = ImageConfigs::from_iter([
        config(
            "rewrite",
            &["registry.", "registry.example.org/"],
            rewrite("mirror.example.org/proxy/"),
        ),
        config("again", &["mirror.example.org/"], rewrite("third.example.org/")),
        config("old", &["registry.example.org/"], secret("old")),
        config("mirror", &["mirror.example.org/proxy"], secret("mirror")),
        config(
            "verify",
            &["mirror."],
            json!({ "verification": { "provider": "Cosign" } }),
        ),
    ]);
    let applied = configs.apply(REFERENCE).unwrap();
    let expected = Applied {
        resolved: "mirror.example.org/proxy/acme/provider-x:v1.0.0".to_owned(),
        pull_secret: Some("mirror".to_owned()),
        verification: Some("verify".to_owned()),
        refs: vec![
            ImageConfigRef::new("rewrite", AppliedReason::RewriteImage),
            ImageConfigRef::new("mirror", AppliedReason::SetImagePullSecret),
        ],
    };
    assert_eq!(applied, expected);

    let nothing = configs.apply("fourth.example.org/x:v1").unwrap();
    assert_eq!(
        nothing,
        Applied {
            resolved: "fourth.example.org/x:v1".to_owned(),
            ..Applied::default()
        }
    );
}

#[test]
fn rewriting_to_nothing_is_refused() {
    let configs = ImageConfigs::from_iter([config("broken", &["registry."], rewrite(""))]);
    let error = configs.apply(REFERENCE).unwrap_err().to_string();
    assert_eq!(
        error,
        "image config broken: rewrite prefix is missing; set spec.rewriteImage.prefix"
    );
}

#[test]
fn what_a_config_serves_and_concerns() {
    let no_section = config("x", &["registry."], json!({}));
    let no_authentication = config("x", &["registry."], json!({ "registry": {} }));
    let empty_name = config("x", &["registry."], secret(""));
    for config in [&no_section, &no_authentication, &empty_name] {
        assert!(!config.serves(Purpose::PullSecret) && !config.concerns(REFERENCE));
    }
    let with_secret = config("x", &["registry."], secret("s"));
    assert!(with_secret.serves(Purpose::PullSecret) && with_secret.concerns(REFERENCE));
    assert!(!with_secret.serves(Purpose::Rewrite) && !with_secret.concerns("other.example.org/x:v1"));
    assert!(config("x", &["registry."], rewrite("m/")).serves(Purpose::Rewrite));
}
