use std::collections::BTreeMap;
use std::io::Cursor;

use oci::media_type;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::layer::{Content, find};
use crate::sink::JsonLines;
use crate::sink::read_object;

const META: &str = r#"# the package
apiVersion: meta.pkg.crossplane.io/v1
kind: Provider
metadata:
  name: demo
spec:
  crossplane:
    version: ">=v1.20.0"
"#;
const CRD: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: things.example.org
  creationTimestamp: null
spec:
  group: example.org
status: {}
";
const HOOK: &str = "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: w}
";

fn file(path: &str, text: &str) -> File {
    File {
        path: path.to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

fn input(files: &[(&str, &str)]) -> Input {
    Input {
        files: files.iter().map(|(path, text)| file(path, text)).collect(),
        ..Input::default()
    }
}

fn content_of(layer: &Layer, wanted: &str) -> Vec<u8> {
    let inflated = flate2::read::GzDecoder::new(layer.bytes.as_slice());
    let mut archive = tar::Archive::new(inflated);
    let entries: Vec<(String, Vec<u8>)> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(
                (
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    header.mtime().unwrap()
                ),
                (0, 0, 0)
            );
            assert_eq!(
                (header.mode().unwrap(), header.entry_type().is_file()),
                (0o644, true)
            );
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            (path, content)
        })
        .collect();
    assert_eq!(entries.len(), 1, "a layer holds exactly one file");
    assert_eq!(entries[0].0, wanted);
    entries.into_iter().next().unwrap().1
}

#[test]
fn golden_layout() {
    let mut input = input(&[
        ("crds/b.yaml", CRD),
        ("crossplane.yaml", META),
        ("hooks.yml", HOOK),
        ("README.md", "x"),
    ]);
    input.examples = Some(vec![
        file("one.yaml", "a: 1 # kept\n---\nb: 2"),
        file("note.txt", ""),
    ]);
    let built = build(input).unwrap();
    assert!(built.parsed.warnings.is_empty());
    let [package, examples] = built.image.layers() else {
        panic!()
    };
    insta::assert_snapshot!(
        "package.yaml",
        String::from_utf8(content_of(package, "package.yaml")).unwrap()
    );
    assert_eq!(
        content_of(examples, ".up/examples.yaml"),
        b"---\na: 1 # kept\n---\nb: 2\n"
    );

    let readable = |bytes: &[u8]| {
        let text = serde_json::to_string_pretty(&serde_json::from_slice::<Value>(bytes).unwrap()).unwrap();
        text.replace(package.digest.as_str(), "sha256:<package>")
            .replace(examples.digest.as_str(), "sha256:<examples>")
            .replace(package.diff_id.as_str(), "sha256:<package tar>")
            .replace(examples.diff_id.as_str(), "sha256:<examples tar>")
            .replace(
                oci::Digest::sha256(&built.image.config()).as_str(),
                "sha256:<config>",
            )
            .replace(
                &format!("\"size\": {}", package.bytes.len()),
                "\"size\": \"<package>\"",
            )
            .replace(
                &format!("\"size\": {}", examples.bytes.len()),
                "\"size\": \"<examples>\"",
            )
            .replace(
                &format!("\"size\": {}", built.image.config().len()),
                "\"size\": \"<config>\"",
            )
    };
    insta::assert_snapshot!("config", readable(&built.image.config()));
    let docker = built.image.manifest(Format::Docker, &BTreeMap::new());
    assert_eq!(docker.media_type, media_type::DOCKER_MANIFEST);
    insta::assert_snapshot!("manifest", readable(&docker.bytes));
    let oci = built
        .image
        .manifest(Format::Oci, &BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    insta::assert_snapshot!("manifest_oci", readable(&oci.bytes));
    assert_eq!(built.image.platform(), None);
}

#[test]
fn what_is_built_reads_back() {
    let built = build(input(&[("a.yaml", META), ("b.yaml", CRD), ("c.yaml", HOOK)])).unwrap();
    let manifest = built.image.manifest(Format::Docker, &BTreeMap::new());
    let manifest = oci::Manifest::parse(&manifest.bytes).unwrap();
    let base = manifest.base_layer().unwrap();
    let layer = built
        .image
        .layers()
        .iter()
        .find(|layer| layer.digest == base.digest)
        .unwrap();
    let mut sink = JsonLines::new(Vec::new());
    let content = Content::Annotated {
        layer: layer.bytes.as_slice(),
        diff_id: Some(layer.diff_id.clone()),
    };
    let parsed = crate::layer::read(content, &mut sink, &Options::default()).unwrap();
    assert_eq!(parsed.objects, built.parsed.objects);
    let lines = sink.finish().unwrap();
    let crd = read_object(&mut Cursor::new(lines), &parsed.objects[0]).unwrap();
    assert_eq!(crd["spec"], json!({"group": "example.org"}));
    let config = oci::Config::parse(&built.image.config()).unwrap();
    assert_eq!(
        config
            .labels()
            .get(&format!("io.crossplane.xpkg:{}", base.digest))
            .map(String::as_str),
        Some("base")
    );
}

#[test]
fn the_same_input_gives_the_same_digest() {
    let digest = |input: Input| {
        build(input)
            .unwrap()
            .image
            .manifest(Format::Docker, &BTreeMap::new())
            .digest
    };
    let one = digest(input(&[
        ("a.yaml", META),
        ("b/x.yaml", CRD),
        ("b-c/y.yaml", HOOK),
    ]));
    assert_eq!(
        one,
        digest(input(&[
            ("b-c/y.yaml", HOOK),
            ("b/x.yaml", CRD),
            ("a.yaml", META)
        ]))
    );
    let comments = format!("# a comment\n{META}\n---\n# another\n");
    assert_eq!(
        one,
        digest(input(&[
            ("a.yaml", &comments),
            ("b/x.yaml", CRD),
            ("b-c/y.yaml", HOOK)
        ]))
    );
    assert_ne!(one, digest(input(&[("a.yaml", META), ("b/x.yaml", CRD)])));
}

#[test]
fn files_are_taken_in_the_order_of_a_walk() {
    let paths = [
        "b/x.yaml",
        "b-c/y.yaml",
        "a.yaml",
        "b/a/z.yml",
        "B.yaml",
        "no.txt",
        "empty.yaml",
        "ignored.yaml",
    ];
    let files = paths
        .map(|path| file(path, if path == "empty.yaml" { "" } else { "a: 1" }))
        .to_vec();
    let selected = source::select(files, &[Glob::parse("ignored.*").unwrap()]);
    let selected: Vec<&str> = selected.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        selected,
        ["B.yaml", "a.yaml", "b/a/z.yml", "b/x.yaml", "b-c/y.yaml"]
    );
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[test]
fn refusals_name_the_file() {
    let composition = "apiVersion: apiextensions.crossplane.io/v1\nkind: Composition\nmetadata: {name: c}\n";
    let two = format!("{CRD}---\n{composition}");
    let nameless = META.replace("  name: demo\n", "");
    for (files, expected) in [
        (
            vec![("a.yaml", "x: [\n")],
            vec!["failed to parse package: a.yaml: document 1, line 1: "],
        ),
        (
            vec![("a.yaml", "x: 1\n---y\n")],
            vec!["failed to parse package: a.yaml: document 1, line 2: invalid Yaml"],
        ),
        (
            vec![],
            vec!["failed to parse package: not exactly one package meta type: there is none"],
        ),
        (
            vec![("a.yaml", META), ("b.yaml", META)],
            vec![
                "document 1 is document 1 of a.yaml, document 2 is document 1 of b.yaml",
                "not exactly one package meta type",
            ],
        ),
        (
            vec![("a.yaml", META), ("b.yaml", CRD), ("c.yaml", CRD)],
            vec![
                "document 3 is document 1 of c.yaml",
                "are both CustomResourceDefinition things.example.org",
            ],
        ),
        (
            vec![("b.yaml", &two), ("z.yaml", META)],
            vec![
                "failed to lint package (document 3 is document 2 of b.yaml)",
                "not allowed in a Provider: document 3 (Composition c)",
            ],
        ),
        (
            vec![("a.yaml", META), ("b.yaml", "kind: X\n")],
            vec!["(document 2 is document 1 of b.yaml)", "has no apiVersion"],
        ),
        (
            vec![("a.yaml", &nameless)],
            vec!["the Provider has no metadata.name"],
        ),
    ] {
        let error = chain(&build(input(&files)).unwrap_err());
        assert!(
            expected.iter().all(|part| error.contains(part)),
            "{files:?}: {error}"
        );
    }
    let mut bad = input(&[("a.yaml", META)]);
    bad.examples = Some(vec![file("x.yaml", "a: 1\n---\n- b\n")]);
    let error = chain(&build(bad).unwrap_err());
    assert!(
        error.starts_with("failed to parse examples: x.yaml: document 2, line 3: "),
        "{error}"
    );
}

#[test]
fn examples_may_be_absent_or_empty() {
    let layers = |examples| {
        let built = build(Input {
            examples,
            ..input(&[("a.yaml", META)])
        })
        .unwrap();
        built.image.layers().len()
    };
    assert_eq!(layers(None), 1);
    assert_eq!(
        layers(Some(Vec::new())),
        2,
        "an empty folder gives a layer with an empty file"
    );
}

/// A runtime image as `docker save` writes it: layers not compressed, linked from a second place.
fn runtime(tamper: impl Fn(&mut Value)) -> Vec<u8> {
    let tar = {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        builder
            .append_data(&mut header, "bin/provider", &b"elf"[..])
            .unwrap();
        builder.into_inner().unwrap()
    };
    let mut config = json!({
        "architecture": "arm64", "os": "linux", "variant": "v8", "created": "2026-01-01T00:00:00Z",
        "config": {"Entrypoint": ["/bin/provider"], "Labels": {"own": "label"}},
        "rootfs": {"type": "layers", "diff_ids": [oci::Digest::sha256(&tar).as_str()]},
        "history": [{"created_by": "x"}],
    });
    tamper(&mut config);
    let list = json!([{"Config": "c.json", "RepoTags": ["demo:v1"], "Layers": ["b/layer.tar"]}]);
    let mut builder = tar::Builder::new(Vec::new());
    let mut append = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, path, bytes).unwrap();
    };
    append("a/layer.tar", &tar);
    append("c.json", config.to_string().as_bytes());
    append("manifest.json", list.to_string().as_bytes());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder
        .append_link(&mut link, "b/layer.tar", "../a/layer.tar")
        .unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_runtime_image_is_the_base() {
    let archive = read_archive(Cursor::new(runtime(|_| {}))).unwrap();
    assert_eq!(archive.tags, ["demo:v1"]);
    let built = build(Input {
        runtime: Some(archive.image),
        ..input(&[("a.yaml", META)])
    })
    .unwrap();
    assert_eq!(built.image.layers().len(), 2);
    let config: Value = serde_json::from_slice(&built.image.config()).unwrap();
    assert_eq!(config["config"]["Entrypoint"], json!(["/bin/provider"]));
    assert_eq!(config["config"]["Labels"]["own"], "label");
    assert_eq!(config["history"].as_array().unwrap().len(), 2);
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
    let platform = built.image.platform().unwrap();
    assert_eq!(platform.to_string(), "linux/arm64/v8");
    let manifest = built.image.manifest(Format::Docker, &BTreeMap::new());
    let manifest = oci::Manifest::parse(&manifest.bytes).unwrap();
    assert!(!manifest.layers[0].is_base_layer() && manifest.layers[1].is_base_layer());

    // Also without annotations the package is found, in the whole file system.
    let layers = built
        .image
        .layers()
        .iter()
        .map(|layer| layer.bytes.as_slice())
        .collect();
    find(Content::Flattened(layers), |_| Ok(())).unwrap();

    let archive = read_archive(Cursor::new(runtime(|_| {}))).unwrap();
    let configuration = META.replace("Provider", "Configuration");
    let error = build(Input {
        runtime: Some(archive.image),
        ..input(&[("a.yaml", &configuration)])
    })
    .unwrap_err();
    assert!(matches!(error, BuildError::NoRuntime));
}

#[test]
fn package_files_read_back() {
    let mut input = input(&[("a.yaml", META), ("b.yaml", CRD)]);
    input.examples = Some(Vec::new());
    let image = build(input).unwrap().image;
    let bytes = write_archive(&image, Vec::new()).unwrap();
    let mut names = Vec::new();
    for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
        names.push(entry.unwrap().path().unwrap().to_str().unwrap().to_owned());
    }
    let layer = |index: usize| format!("{}.tar.gz", image.layers()[index].digest.hex());
    let config = oci::Digest::sha256(&image.config()).to_string();
    assert_eq!(names, [config, layer(0), layer(1), "manifest.json".to_owned()]);
    let archive = read_archive(Cursor::new(&bytes)).unwrap();
    assert_eq!(archive.image, image);
    assert!(archive.tags.is_empty());
    assert_eq!(bytes, write_archive(&archive.image, Vec::new()).unwrap());
}

#[test]
fn archives_are_compared_with_their_config() {
    let wrong = runtime(|config| config["rootfs"]["diff_ids"][0] = json!("sha256:0"));
    assert!(matches!(
        read_archive(Cursor::new(wrong)).unwrap_err(),
        ArchiveError::DiffId { .. }
    ));
    let odd = runtime(|config| config["config"] = json!("text"));
    assert!(read_archive(Cursor::new(odd)).is_err());
}

#[test]
fn an_index_points_at_images_with_their_platform() {
    let image = read_archive(Cursor::new(runtime(|_| {}))).unwrap().image;
    let child = image
        .manifest(Format::Docker, &BTreeMap::new())
        .descriptor(image.platform());
    let index = index(vec![child.clone()], &BTreeMap::new());
    assert_eq!(index.media_type, media_type::OCI_INDEX);
    let parsed = oci::Index::parse(&index.bytes).unwrap();
    assert_eq!(parsed.manifests, [child]);
    assert_eq!(index.digest, oci::Digest::sha256(&index.bytes));
}

proptest! {
    #[test]
    fn any_text_survives_being_written(
        text in "\\PC{0,40}|[-:#~ynYN0-9ox.eE_ \t\n'\"{}\\[\\]>|&*!%@`]{0,12}",
    ) {
        let value = json!({"kind": text, "list": [text, {"x": text}], text: 1});
        let yaml = to_yaml(&value).unwrap();
        prop_assert_eq!(from_yaml(&yaml).unwrap(), value);
    }

    #[test]
    fn archives_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
        let _ = read_archive(Cursor::new(bytes));
    }

    #[test]
    fn mutilated_archives_never_panic(at in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = runtime(|_| {});
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = read_archive(Cursor::new(bytes));
    }
}
