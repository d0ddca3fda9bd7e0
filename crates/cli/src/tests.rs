mod registry;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::*;

const META: &str =
    "apiVersion: meta.pkg.crossplane.io/v1\nkind: Configuration\nmetadata: {name: demo}\nspec: {}\n";
const XRD: &str = "apiVersion: apiextensions.crossplane.io/v2
kind: CompositeResourceDefinition
metadata: {name: things.example.org}
";
const CRD: &str =
    "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: c}\n";

/// A folder of its own for one test, and variables.
struct Place {
    folder: tempfile::TempDir,
    variables: BTreeMap<String, String>,
}

/// What one run did.
#[derive(Debug)]
struct Ran {
    status: u8,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            variables: BTreeMap::new(),
        };
        for (path, text) in files {
            place.write(path, text);
        }
        place
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, line: &str) -> Ran {
        let variables = self.variables.clone();
        let surroundings =
            Surroundings::new(self.path().to_owned(), move |name| variables.get(name).cloned());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let args: Vec<&str> = ["gantry"].into_iter().chain(line.split_whitespace()).collect();
        let status = run(args, &surroundings, &mut stdout, &mut stderr);
        Ran {
            status,
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    fn succeed(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.status, 0, "{line}: {ran:?}");
        ran
    }

    /// Runs what must be refused with one sentence, and returns that.
    fn refuse(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(
            (ran.status, ran.stdout.as_str()),
            (REFUSED, ""),
            "{line}: {ran:?}"
        );
        let sentences: Vec<&str> = ran
            .stderr
            .lines()
            .filter(|line| !line.starts_with("warning: "))
            .collect();
        let [sentence] = sentences.as_slice() else {
            panic!("{line}: {ran:?}")
        };
        sentence.strip_prefix("gantry: ").unwrap().to_owned()
    }

    fn packages(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".xpkg"))
            .collect();
        names.sort();
        names
    }
}

fn demo() -> Place {
    Place::new(&[
        ("crossplane.yaml", META),
        ("apis/thing.yaml", XRD),
        ("examples/a.yaml", "kind: Thing\n"),
    ])
}

#[test]
fn build_tells_file_and_digest() {
    let place = demo();
    let ran = place.succeed("build");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let [name] = place.packages().try_into().unwrap();
    let hex = lines[1].strip_prefix("sha256:").unwrap();
    assert_eq!(
        name,
        format!("demo-{}.xpkg", &hex[..12]),
        "name and digest are those of the reference's rule"
    );
    assert_eq!(
        lines,
        [
            format!("./{name}").as_str(),
            lines[1],
            "Configuration demo, 1 object"
        ]
    );
    assert_eq!(ran.stderr, "");

    // The same again: same file, same bytes. The package file itself is no input.
    let before = fs::read(place.path().join(&name)).unwrap();
    assert_eq!(place.succeed("build").stdout, ran.stdout);
    assert_eq!(fs::read(place.path().join(&name)).unwrap(), before);
    assert_eq!(place.packages().len(), 1, "nothing else is left behind");

    let json = place.succeed("build -o out.xpkg --output json").stdout;
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["file"], "out.xpkg");
    assert_eq!(report["digest"], lines[1]);
    assert_eq!(
        (report["kind"].as_str(), report["objects"].as_u64()),
        (Some("Configuration"), Some(1))
    );
    assert_eq!(fs::read(place.path().join("out.xpkg")).unwrap(), before);

    let oci = place.succeed("build -o out.xpkg --oci").stdout;
    assert_ne!(
        oci.lines().nth(1),
        Some(lines[1]),
        "media types are part of the digest"
    );
}

#[test]
fn build_takes_folders_and_patterns() {
    let place = Place::new(&[
        ("pkg/crossplane.yaml", META),
        ("pkg/apis/thing.yaml", XRD),
        ("pkg/broken.yaml", "x: ["),
        ("pkg/samples/broken.yaml", "y: ["),
        ("pkg/.hidden/x.txt", "x: ["),
    ]);
    place.write("pkg/samples/broken.yaml", "kind: Example\n");
    let sentence = place.refuse("build -f pkg -e pkg/samples");
    assert!(
        sentence.starts_with("failed to parse package: broken.yaml: document 1, line 1: "),
        "{sentence}"
    );
    let ran = place.succeed("build -f pkg -e pkg/samples --ignore broken.yaml,no/match.yaml -o p.xpkg");
    assert!(ran.stdout.ends_with("Configuration demo, 1 object\n"));
    // Without the examples' folder named, what is in it belongs to the package.
    let sentence = place.refuse("build -f pkg --ignore broken.yaml -o p.xpkg");
    assert!(
        sentence.contains("is document 1 of samples/broken.yaml"),
        "{sentence}"
    );
}

#[test]
fn build_refuses_with_one_sentence() {
    for (files, line, expected) in [
        (
            vec![],
            "build -f nowhere",
            "can't be read: No such file or directory",
        ),
        (vec![("file", "x")], "build -f file", "is not a folder"),
        (
            vec![],
            "build",
            "failed to parse package: not exactly one package meta type: there is none",
        ),
        (
            vec![("a.yaml", META), ("b.yaml", CRD)],
            "build",
            "failed to lint package (document 2 is document 1 of b.yaml)",
        ),
        (
            vec![("a.yaml", META), ("b.yaml", CRD)],
            "build",
            "1 object is not allowed in a Configuration",
        ),
        (
            vec![("a.yaml", META)],
            "build -o no/such/folder/x.xpkg",
            "no/such/folder/x.xpkg can't be written: ",
        ),
        (
            vec![("a.yaml", META)],
            "build --embed-runtime-image-tarball none.tar",
            "none.tar can't be used: No such file",
        ),
        (
            vec![("a.yaml", META)],
            "build --embed-runtime-image-tarball a.yaml",
            "a.yaml can't be used: the file can't be read as a tar",
        ),
    ] {
        let place = Place::new(&files);
        let sentence = place.refuse(line);
        assert!(sentence.contains(expected), "{line}: {sentence}");
        assert!(place.packages().is_empty(), "{line}");
    }
}

#[test]
fn warnings_are_errors_only_with_strict() {
    let dependency = META.replace(
        "spec: {}",
        "spec: {crossplane: {version: '>=v99'}, dependsOn: [{provider: x, version: v1}]}",
    );
    let place = Place::new(&[("a.yaml", &dependency)]);
    let sentence = place.refuse("build --strict");
    assert_eq!(
        sentence,
        "2 warnings with --strict: nothing is written; put right what they say"
    );
    assert!(place.packages().is_empty());
    let ran = place.succeed("build");
    let warnings: Vec<&str> = ran.stderr.lines().collect();
    assert!(
        warnings[0].starts_with("warning: document 1, Configuration demo: spec.dependsOn[0]: package \"x\""),
        "{ran:?}"
    );
    let both = "package is not compatible with Crossplane version (v2.4.0): it needs >=v99; Gantry v";
    assert!(
        warnings[1].contains(both) && warnings[1].contains("counts as v2.4.0"),
        "{ran:?}"
    );
}

#[test]
fn lint_reads_folders_packages_and_streams() {
    let place = demo();
    place.succeed("build -o p.xpkg");
    place.write("stream/package.yaml", &format!("{META}---\n{XRD}"));
    for line in [
        "lint",
        "lint .",
        "lint p.xpkg",
        "lint stream/package.yaml",
        "lint --strict p.xpkg",
    ] {
        let ran = place.succeed(if line.contains("stream") || line.contains("p.xpkg") {
            line
        } else {
            // The stream is one more package in this folder.
            fs::remove_dir_all(place.path().join("stream")).ok();
            line
        });
        assert_eq!(
            ran.stdout, "Configuration demo, 1 object: no warnings\n",
            "{line}"
        );
        place.write("stream/package.yaml", &format!("{META}---\n{XRD}"));
    }
    let json: Value = serde_json::from_str(&place.succeed("lint p.xpkg -o json").stdout).unwrap();
    assert_eq!(json["warnings"], serde_json::json!([]));

    place.write(
        "labelled.yaml",
        &META.replace("name: demo", "name: demo, labels: {gantry.dev/x: why}"),
    );
    let ran = place.succeed("lint labelled.yaml");
    assert!(
        ran.stderr
            .contains("warning: document 1, Configuration demo: label \"gantry.dev/x\" is reserved"),
        "{ran:?}"
    );
    assert!(ran.stdout.ends_with(": 1 warning\n"));
    assert_eq!(place.run("lint --strict labelled.yaml").status, REFUSED);

    place.write("bad.yaml", &format!("{META}---\n{CRD}"));
    let sentence = place.refuse("lint bad.yaml");
    assert_eq!(
        sentence,
        "1 object is not allowed in a Configuration: document 2 (CustomResourceDefinition c)"
    );
    assert!(place.refuse("lint none").contains("can't be read: No such file"));
    place.write("empty.yaml", "");
    assert!(
        place
            .refuse("lint empty.yaml")
            .starts_with("not exactly one package meta type")
    );
}

#[test]
fn version_names_both() {
    let ran = Place::new(&[]).succeed("version");
    assert_eq!(
        ran.stdout,
        concat!(
            "gantry v",
            env!("CARGO_PKG_VERSION"),
            " (counts as Crossplane v2.4.0)\n"
        )
    );
    assert_eq!(Place::new(&[]).succeed("--version").stdout, ran.stdout);
    let json: Value = serde_json::from_str(&Place::new(&[]).succeed("version -o json").stdout).unwrap();
    assert_eq!(json["crossplane"], "v2.4.0");
}

#[test]
fn a_wrong_command_line_is_one_sentence() {
    let place = Place::new(&[]);
    for (line, expected) in [
        ("biuld", "gantry: unrecognized subcommand 'biuld'"),
        (
            "build --nonsense",
            "gantry: unexpected argument '--nonsense' found",
        ),
        (
            "build --ignore [",
            "gantry: invalid value '[' for '--ignore <GLOB>': pattern \"[\" is not valid",
        ),
        (
            "push",
            "gantry: the following required arguments were not provided: <REGISTRY/REPOSITORY:TAG>",
        ),
        (
            "lint -o yaml",
            "gantry: invalid value 'yaml' for '--output <OUTPUT>'",
        ),
    ] {
        let ran = place.run(line);
        assert_eq!((ran.status, ran.stdout.as_str()), (USAGE, ""), "{line}");
        assert!(
            ran.stderr.starts_with(expected) && ran.stderr.lines().count() == 1,
            "{line}: {}",
            ran.stderr
        );
    }
    let help = place.succeed("--help").stdout;
    for command in ["build", "digest", "lint", "push", "version"] {
        assert!(help.contains(command));
    }
}
