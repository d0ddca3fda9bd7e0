use super::*;
use crate::parse::{Options, Parsed, parse};
use crate::sink::Discard;

const META: &str =
    "apiVersion: meta.pkg.crossplane.io/v1\nkind: Provider\nmetadata:\n  name: demo\nspec: {}\n";

fn meta(kind: &str, rest: &str) -> String {
    format!("apiVersion: meta.pkg.crossplane.io/v1\nkind: {kind}\nmetadata:\n  name: demo\n{rest}")
}

fn read(documents: &[String]) -> Result<Parsed, Error> {
    parse(
        documents.join("---\n").as_bytes(),
        &mut Discard,
        &Options::default(),
    )
}

fn refuse(documents: &[String]) -> String {
    read(documents).unwrap_err().to_string()
}

#[test]
fn metadata_versions_convert() {
    for (version, kind) in [
        ("v1", "Provider"),
        ("v1alpha1", "Provider"),
        ("v1", "Configuration"),
        ("v1alpha1", "Configuration"),
        ("v1", "Function"),
        ("v1beta1", "Function"),
    ] {
        let text = meta(kind, "spec: {}\n").replace("/v1\n", &format!("/{version}\n"));
        let parsed = read(&[text]).unwrap();
        assert_eq!(
            (parsed.meta.kind.kind(), parsed.meta.version.as_str()),
            (kind, version)
        );
    }
    for (version, kind) in [
        ("v1beta1", "Provider"),
        ("v1alpha1", "Function"),
        ("v1beta1", "Configuration"),
    ] {
        let error = refuse(&[meta(kind, "spec: {}\n").replace("/v1\n", &format!("/{version}\n"))]);
        assert!(
            error.contains("document 1") && error.contains("not known in packages"),
            "{error}"
        );
    }
}

#[test]
fn metadata_fields() {
    let spec = r#"
spec:
  controller: {image: ignored}
  crossplane: {version: ">=v1.20.0, <3"}
  capabilities: [SafeStart]
  dependsOn:
  - {provider: xpkg.example.org/a/b, version: ">=v1"}
  - {configuration: xpkg.example.org/c/d, provider: p, version: v1}
  - {function: xpkg.example.org/e/f, version: v1}
  - {apiVersion: x.org/v1, kind: Thing, package: xpkg.example.org/g/h, version: v2, provider: ignored}
"#;
    let parsed = read(&[meta("Configuration", spec)]).unwrap();
    assert_eq!(parsed.meta.crossplane.as_deref(), Some(">=v1.20.0, <3"));
    assert!(parsed.meta.has_capability("safe-start") && !parsed.meta.has_capability("composition"));
    let shown: Vec<String> = parsed
        .meta
        .depends_on
        .iter()
        .map(|d| {
            format!(
                "{} {} {} {} {}",
                d.api_version, d.kind, d.package, d.constraints, d.legacy
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "pkg.crossplane.io/v1 Provider xpkg.example.org/a/b >=v1 true",
            "pkg.crossplane.io/v1 Configuration xpkg.example.org/c/d v1 true",
            "pkg.crossplane.io/v1 Function xpkg.example.org/e/f v1 true",
            "x.org/v1 Thing xpkg.example.org/g/h v2 false",
        ]
    );
    for bad in [
        "{version: v1}",
        "{kind: A, package: b, version: v1}",
        "{provider: '', version: v1}",
    ] {
        let error = refuse(&[meta("Provider", &format!("spec:\n  dependsOn: [{bad}]\n"))]);
        assert!(
            error.starts_with("encountered an invalid dependency: "),
            "{error}"
        );
        assert!(error.ends_with("document 1, spec.dependsOn[0]"), "{error}");
    }
}

#[test]
fn wrong_json_types_name_the_field() {
    for (text, path) in [
        ("spec: []\n", "spec must be an object"),
        ("spec: {crossplane: v1}\n", "spec.crossplane must be an object"),
        (
            "spec: {crossplane: {version: 1.20}}\n",
            "spec.crossplane.version must be a string",
        ),
        ("spec: {dependsOn: {}}\n", "spec.dependsOn must be a list"),
        ("spec: {dependsOn: [x]}\n", "spec.dependsOn[0] must be an object"),
        (
            "spec: {dependsOn: [{provider: 3, version: v1}]}\n",
            "spec.dependsOn[0].provider must be a string",
        ),
        (
            "spec: {dependsOn: [{provider: a, version: 1.0}]}\n",
            "spec.dependsOn[0].version must be a string",
        ),
        (
            "spec: {capabilities: safe-start}\n",
            "spec.capabilities must be a list",
        ),
        (
            "spec: {capabilities: [1]}\n",
            "spec.capabilities[0] must be a string",
        ),
    ] {
        let error = refuse(&[meta("Provider", text)]);
        assert!(
            error.starts_with("document 1, line 1, Provider demo: ") && error.contains(path),
            "{text}: {error}"
        );
    }
    let error = refuse(&[
        META.to_owned(),
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: a\n  \
         labels: {x: on}\n"
            .to_owned(),
    ]);
    assert!(
        error.starts_with("document 2, line 7, CustomResourceDefinition a: metadata.labels[\"x\"] must be"),
        "{error}"
    );
}

#[test]
fn constraint_on_the_crossplane_version() {
    let with = |constraint: &str| {
        read(&[meta(
            "Provider",
            &format!("spec: {{crossplane: {{version: '{constraint}'}}}}\n"),
        )])
    };
    let parsed = with(">v0.13.0").unwrap();
    parsed.meta.check_crossplane("v2.4.0").unwrap();
    let error = parsed.meta.check_crossplane("v0.12.0").unwrap_err().to_string();
    assert!(
        error.starts_with("package is not compatible with Crossplane version (v0.12.0)"),
        "{error}"
    );
    assert!(parsed.meta.check_crossplane("").is_err() && parsed.meta.check_crossplane("main").is_err());
    assert!(
        with(">=v2.0.0")
            .unwrap()
            .meta
            .check_crossplane("v2.5.0-rc.0")
            .is_err()
    );
    with(">=v2.0.0-0")
        .unwrap()
        .meta
        .check_crossplane("v2.5.0-rc.0")
        .unwrap();
    read(&[META.to_owned()])
        .unwrap()
        .meta
        .check_crossplane("anything")
        .unwrap();
    for bad in [">a0.13.0", ""] {
        let error = with(bad).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("package version constraints are poorly formatted"),
            "{error}"
        );
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, format!("improper constraint: {bad:?}"));
    }
    assert!(
        read(&[meta("Provider", "spec: {crossplane: {}}\n")]).is_err(),
        "the version is required there"
    );
}

#[test]
fn capabilities_match_as_in_the_reference() {
    // Scenarios 8.D2: the list, what is asked for, the answer.
    let unicode = "safe\u{2192}start";
    let rows: &[(&[&str], &str, bool)] = &[
        (&["composition"], "composition", true),
        (&["Composition"], "composition", true),
        (&["composition"], "Composition", true),
        (&["other", "safe-start"], "safe-start", true),
        (&["safestart"], "safe-start", true),
        (&["safe_start"], "safe-start", true),
        (&["Safe-Start"], "SAFE_START", true),
        (&["v1-composition"], "v1composition", true),
        (&[unicode], "safestart", true),
        (&["---"], "___", true),
        (&["other"], "safe-start", false),
        (&[], "safe-start", false),
        (&[""], "", true),
        (&["other"], "", false),
    ];
    for (list, wanted, expected) in rows {
        let quoted: Vec<String> = list.iter().map(|capability| format!("'{capability}'")).collect();
        let text = format!("spec: {{capabilities: [{}]}}\n", quoted.join(", "));
        let meta = read(&[meta("Provider", &text)]).unwrap().meta;
        assert_eq!(meta.has_capability(wanted), *expected, "{list:?} {wanted}");
    }
}

#[test]
fn capabilities() {
    let with = |kind: &str, text: &str| read(&[meta(kind, &format!("spec: {{{text}}}\n"))]).unwrap().meta;
    for (capability, wanted, same) in [
        ("safe-start", "safe-start", true),
        ("SafeStart", "safe-start", true),
        ("safe_start", "safe-start", true),
        ("SAFE START", "safe-start", true),
        ("safestart2", "safe-start", false),
        ("start", "safe-start", false),
    ] {
        let meta = with("Provider", &format!("capabilities: ['{capability}']"));
        assert_eq!(meta.has_capability(wanted), same, "{capability}");
    }
    assert!(
        with("Function", "").has_capability("composition"),
        "assumed when nothing is said"
    );
    assert!(!with("Function", "").has_capability("operation"));
    assert!(!with("Function", "capabilities: []").has_capability("composition"));
    assert!(!with("Provider", "").has_capability("composition"));
    assert_eq!(with("Function", "capabilities: null").capabilities, None);
    assert_eq!(
        with("Function", "capabilities: []").capabilities,
        Some(Vec::new())
    );
}

#[test]
fn reserved_labels_and_annotations_are_dropped() {
    let text = "\
apiVersion: meta.pkg.crossplane.io/v1
kind: Provider
metadata:
  name: demo
  labels:
    pkg.crossplane.io/provider-family: family
    pkg.crossplane.io/package: evil
    app.kubernetes.io/instance: x
    team: a
    bad key: x
    bad: 'a value'
  annotations:
    meta.crossplane.io/license: Apache-2.0
    crossplane.io/paused: 'true'
    gantry.dev/served: x
    empty:
";
    let parsed = read(&[text.to_owned()]).unwrap();
    let labels: Vec<&str> = parsed.meta.labels.keys().map(String::as_str).collect();
    assert_eq!(labels, ["pkg.crossplane.io/provider-family", "team"]);
    let annotations: Vec<&str> = parsed.meta.annotations.keys().map(String::as_str).collect();
    assert_eq!(annotations, ["empty", "meta.crossplane.io/license"]);
    let count = |kind| {
        parsed
            .warnings
            .iter()
            .filter(|warning| warning.kind == kind)
            .count()
    };
    assert_eq!(
        (count(WarningKind::ReservedKey), count(WarningKind::InvalidKey)),
        (4, 2)
    );
    let shown = parsed.warnings[0].to_string();
    assert_eq!(
        shown,
        "document 1, Provider demo: label \"app.kubernetes.io/instance\" is reserved and dropped"
    );
}
