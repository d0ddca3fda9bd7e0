use proptest::prelude::*;

use super::*;
use crate::sink::{Discard, JsonLines, ReadError, read_object};

const META: &str =
    "apiVersion: meta.pkg.crossplane.io/v1\nkind: Provider\nmetadata:\n  name: demo\nspec: {}\n";

fn crd(name: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: {name}\n\
         spec: {{}}\n"
    )
}

fn object(api_version: &str, kind: &str, name: &str) -> String {
    format!("apiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: {name}\nspec: {{}}\n")
}

fn meta(kind: &str, rest: &str) -> String {
    format!("apiVersion: meta.pkg.crossplane.io/v1\nkind: {kind}\nmetadata:\n  name: demo\n{rest}")
}

fn stream(documents: &[String]) -> String {
    documents.join("---\n")
}

fn read(documents: &[String]) -> Result<Parsed, Error> {
    parse(stream(documents).as_bytes(), &mut Discard, &Options::default())
}

fn refuse(documents: &[String]) -> String {
    let error = read(documents).unwrap_err();
    assert!(error.to_string().chars().count() < 600, "{error}");
    error.to_string()
}

#[test]
fn objects_come_back_as_they_went_in() {
    let documents = [
        crd("b.example.org") + "status: {x: 1}\n",
        META.to_owned(),
        crd("a.example.org"),
    ];
    let mut sink = JsonLines::new(Vec::new());
    let parsed = parse(stream(&documents).as_bytes(), &mut sink, &Options::default()).unwrap();
    let bytes = sink.finish().unwrap();
    assert_eq!(parsed.meta.document, 2);
    assert_eq!(parsed.meta.kind, PackageKind::Provider);
    assert_eq!(parsed.meta.name, "demo");
    let names: Vec<&str> = parsed.objects.iter().map(|object| object.name.as_str()).collect();
    assert_eq!(names, ["b.example.org", "a.example.org"]);
    for entry in &parsed.objects {
        let value = read_object(&mut std::io::Cursor::new(&bytes), entry).unwrap();
        assert_eq!(value["metadata"]["name"], entry.name.as_str());
        assert!(value.get("status").is_none());
        assert!(entry.is_crd() && !entry.needs_webhook());
        assert_eq!(entry.api_version(), "apiextensions.k8s.io/v1");
    }
    // The derived form survives the disk, and damage to it is noticed.
    let stored = serde_json::to_string(&parsed).unwrap();
    assert_eq!(serde_json::from_str::<Parsed>(&stored).unwrap(), parsed);
    let mut damaged = bytes.clone();
    damaged[20] ^= 1;
    let entry = &parsed.objects[0];
    let error = read_object(&mut std::io::Cursor::new(damaged), entry).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
    let error = read_object(&mut std::io::Cursor::new(&bytes[..10]), entry).unwrap_err();
    assert!(matches!(error, ReadError::Io { .. }), "{error}");
    let absurd = ObjectEntry {
        len: u64::MAX,
        ..entry.clone()
    };
    assert!(read_object(&mut std::io::Cursor::new(&bytes), &absurd).is_err());
}

#[test]
fn the_hash_ignores_layout_but_not_content() {
    let hash = |text: &str| {
        read(&[META.to_owned(), text.to_owned()]).unwrap().objects[0]
            .content_hash
            .clone()
    };
    let one = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a}\n\
               spec: {x: 1, y: on}\n";
    let two = "# comment\nspec:\n  'y': true\n  x: 1.0\nmetadata:\n  name: \"a\"\n  creationTimestamp: null\n\
               kind: CustomResourceDefinition\n\
               apiVersion: apiextensions.k8s.io/v1\nstatus: {}\n";
    assert_eq!(hash(one), hash(two));
    assert_ne!(hash(one), hash(&one.replace("x: 1", "x: 2")));
}

#[test]
fn exactly_one_metadata_object() {
    let none = refuse(&[crd("a")]);
    assert!(
        none.starts_with("not exactly one package meta type: there is none"),
        "{none}"
    );
    let two = refuse(&[META.to_owned(), crd("a"), META.to_owned()]);
    assert!(
        two.starts_with("not exactly one package meta type: documents 1, 3"),
        "{two}"
    );
    assert!(
        read(&[String::new()])
            .unwrap_err()
            .to_string()
            .starts_with("not exactly one package meta type")
    );
    assert!(
        read(&[META.to_owned()]).unwrap().objects.is_empty(),
        "no objects is fine"
    );
}

#[test]
fn the_kind_asked_for_must_match() {
    for (wanted, found) in [
        (PackageKind::Provider, "Configuration"),
        (PackageKind::Function, "Provider"),
    ] {
        let options = Options {
            kind: Some(wanted),
            ..Options::default()
        };
        let error = parse(meta(found, "").as_bytes(), &mut Discard, &options)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("package meta type is not {wanted}")),
            "{error}"
        );
        assert!(error.contains(found), "{error}");
    }
}

#[test]
fn what_is_not_allowed_is_left_out_with_a_warning() {
    let documents = [
        crd("a.example.org"),
        object("apiextensions.crossplane.io/v1", "Composition", "c"),
        object(
            "apiextensions.k8s.io/v1beta1",
            "CustomResourceDefinition",
            "old.example.org",
        ),
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinitionList\nitems: []\n".to_owned(),
        META.to_owned(),
    ];
    let parsed = read(&documents).unwrap();
    assert_eq!(parsed.objects.len(), 1);
    let shown: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
    assert!(
        shown[0].starts_with("document 2, Composition c: not applied, since a Provider may only contain"),
        "{}",
        shown[0]
    );
    assert!(
        shown[1].starts_with(
            "document 3, CustomResourceDefinition old.example.org: not applied, since no supported"
        ),
        "{}",
        shown[1]
    );
    assert!(
        shown[2].starts_with("document 4, CustomResourceDefinitionList: not applied"),
        "{}",
        shown[2]
    );
    let options = Options {
        refuse_disallowed: true,
        ..Options::default()
    };
    let error = parse(stream(&documents).as_bytes(), &mut Discard, &options)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("3 objects are not allowed in a Provider: document 2 (Composition c), document 3"),
        "{error}"
    );
}

#[test]
fn a_function_establishes_nothing() {
    let parsed = read(&[
        meta("Function", ""),
        crd("input.example.org"),
        object("apiextensions.crossplane.io/v1", "Composition", "c"),
    ])
    .unwrap();
    assert!(parsed.objects.is_empty());
    assert_eq!(
        parsed.warnings.len(),
        1,
        "CRDs of a function are schema only: no warning for them"
    );
}

#[test]
fn duplicates_name_both_documents() {
    let error = refuse(&[META.to_owned(), crd("a"), crd("b"), crd("a")]);
    assert_eq!(
        error,
        "documents 2 and 4 are both CustomResourceDefinition a (apiextensions.k8s.io); remove one"
    );
    let xrd = |version| {
        object(
            &format!("apiextensions.crossplane.io/{version}"),
            "CompositeResourceDefinition",
            "x",
        )
    };
    let error = refuse(&[meta("Configuration", ""), xrd("v1"), xrd("v2")]);
    assert!(
        error.contains("documents 2 and 3"),
        "the version does not tell objects apart: {error}"
    );
}

#[test]
fn unknown_or_nameless_documents_fail_the_whole_package() {
    for (text, parts) in [
        ("a: 1\n", ["document 2, line 7", "has no apiVersion"]),
        ("apiVersion: v1\n", ["document 2, line 7", "has no kind"]),
        (
            "kind: X\nmetadata: {name: why}\n",
            ["\"X why\"", "has no apiVersion"],
        ),
        (
            "apiVersion: 1\nkind: X\n",
            ["document 2", "apiVersion must be a string"],
        ),
        ("- a\n", ["document 2", "the document is a list, not an object"]),
        ("text\n", ["document 2", "a text"]),
        ("12\n", ["document 2", "a scalar"]),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: z}\n",
            ["document 2", "ConfigMap z of v1 is not known in packages"],
        ),
        (
            "apiVersion: pkg.crossplane.io/v1\nkind: Provider\nmetadata: {name: z}\n",
            ["document 2", "not known in packages"],
        ),
        (
            "apiVersion: apiextensions.crossplane.io/v1beta1\nkind: EnvironmentConfig\nmetadata: {name: z}\n",
            ["document 2", "not known"],
        ),
        (
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n",
            ["metadata.name is missing", "document 2"],
        ),
        (
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
             metadata: {generateName: x}\n",
            ["metadata.name is missing", "document 2"],
        ),
        (
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: 'A b'}\n",
            ["is no valid name", "document 2"],
        ),
        (
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: []\n",
            ["metadata must be an object", "document 2"],
        ),
        ("a: 1\nb: [\n", ["document 2, line 8", "bracket"]),
        ("a: 1\na: 2\n", ["document 2, line 8", "duplicate"]),
    ] {
        let error = refuse(&[META.to_owned(), text.to_owned()]);
        assert!(parts.iter().all(|part| error.contains(part)), "{text:?}: {error}");
    }
    let long = format!("apiVersion: v1\nkind: {}\n", "K".repeat(100_000));
    assert!(
        refuse(&[META.to_owned(), long]).len() < 500,
        "messages don't repeat a package's text at length"
    );
}

#[test]
fn json_documents_are_yaml() {
    let text = r#"{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "a"}}"#;
    assert_eq!(
        read(&[META.to_owned(), format!("{text}\n")])
            .unwrap()
            .objects
            .len(),
        1
    );
}

#[test]
fn what_needs_a_webhook_server_is_known() {
    let converting = crd("a").replace("spec: {}", "spec: {conversion: {strategy: Webhook}}");
    let plain = crd("b").replace("spec: {}", "spec: {conversion: {strategy: None}}");
    let hook = object(
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        "w",
    );
    let parsed = read(&[META.to_owned(), converting, plain, hook]).unwrap();
    let names: Vec<&str> = parsed
        .webhook_objects()
        .map(|object| object.name.as_str())
        .collect();
    assert_eq!(names, ["a", "w"]);
}

#[test]
fn warnings_are_bounded() {
    let mut documents = vec![META.to_owned()];
    documents.extend(
        (0..MAX_WARNINGS + 7)
            .map(|i| object("apiextensions.crossplane.io/v1", "Composition", &format!("c{i}"))),
    );
    let parsed = read(&documents).unwrap();
    assert_eq!(
        (parsed.warnings.len(), parsed.omitted_warnings),
        (MAX_WARNINGS, 7)
    );
}

#[test]
fn a_full_disk_stops_the_parse() {
    struct Full;
    impl Sink for Full {
        fn object(&mut self, _: &ObjectHeader, _: &[u8]) -> std::io::Result<()> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
    }
    let text = stream(&[META.to_owned(), crd("a")]);
    let error = parse(text.as_bytes(), &mut Full, &Options::default()).unwrap_err();
    assert!(matches!(error, Error::Sink(_)));
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(bytes.as_slice(), &mut Discard, &Options::default());
    }

    #[test]
    fn mutilated_packages_never_panic(at in 0usize..400, byte in any::<u8>()) {
        let composition = object("apiextensions.crossplane.io/v1", "Composition", "c");
        let mut bytes = stream(&[META.to_owned(), crd("a"), composition]).into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = parse(bytes.as_slice(), &mut Discard, &Options::default());
    }
}
