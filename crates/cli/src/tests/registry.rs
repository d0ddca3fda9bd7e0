//! Commands that talk to a registry.

use testkit::TestRegistry;

use super::*;

#[test]
fn push_and_digest() {
    let registry = testkit::run(TestRegistry::start()).unwrap();
    let place = demo();
    let built = place.succeed("build").stdout;
    let built = built.lines().nth(1).unwrap();
    let reference = format!("{}/team/demo:v1", registry.host());
    let ran = place.succeed(&format!("push {reference} -a org.example/a=b=c"));
    let (shown, digest) = ran.stdout.trim_end().split_once('\n').unwrap();
    assert_eq!(shown, reference);
    assert_ne!(digest, built, "an annotation changes the digest");
    assert_eq!(
        place.succeed(&format!("push {reference}")).stdout,
        format!("{reference}\n{built}\n")
    );
    assert_eq!(
        place.succeed(&format!("digest {reference}")).stdout,
        format!("{built}\n")
    );
    let json: Value =
        serde_json::from_str(&place.succeed(&format!("digest {reference} -o json")).stdout).unwrap();
    assert_eq!(json["mediaType"], oci::media_type::DOCKER_MANIFEST);
    assert_eq!(json["digest"], built);

    let oci = place.succeed("build --oci -o p2.xpkg").stdout;
    fs::remove_file(place.path().join("p2.xpkg")).unwrap();
    let json = place
        .succeed(&format!("push {reference} --oci --output json"))
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["digest"].as_str(), oci.lines().nth(1));
    assert_eq!(json["images"], serde_json::json!([json["digest"]]));
}

#[test]
fn several_files_become_an_index() {
    let registry = testkit::run(TestRegistry::start()).unwrap();
    let place = demo();
    place.succeed("build -o one.xpkg");
    place.write("apis/thing.yaml", &XRD.replace("things", "others"));
    place.succeed("build -o two.xpkg");
    let reference = format!("{}/team/demo:v1", registry.host());
    let ran = place.succeed(&format!("push {reference} -f one.xpkg,two.xpkg -o json"));
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["images"].as_array().unwrap().len(), 2);
    let json = place.succeed(&format!("digest {reference} -o json")).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["mediaType"], oci::media_type::OCI_INDEX);
    assert_eq!(json["digest"], report["digest"]);
    for image in report["images"].as_array().unwrap() {
        let child = format!("{}/team/demo@{}", registry.host(), image.as_str().unwrap());
        assert_eq!(
            place.succeed(&format!("digest {child}")).stdout.trim_end(),
            image.as_str().unwrap()
        );
    }
    let sentence = place.refuse(&format!("push {reference}"));
    assert!(
        sentence.starts_with("directory contains multiple compiled crossplane packages"),
        "{sentence}"
    );
}

#[test]
fn push_refuses_with_one_sentence() {
    let place = demo();
    let registry = testkit::run(TestRegistry::start()).unwrap();
    let host = registry.host();
    let at = |line: &str| line.replace("HOST", &host);
    for (line, expected) in [
        (
            at("push HOST/team/demo:v1"),
            "directory does not contain a compiled crossplane package",
        ),
        (
            at("push HOST/team/demo -f x"),
            "must end with a tag, and have no digest",
        ),
        (
            at(&format!("push HOST/team/demo:v1@sha256:{} -f x", "0".repeat(64))),
            "must end with a tag, and have no digest",
        ),
        (
            "push demo:v1 -f x".to_owned(),
            "\"demo:v1\" is not a place to push to: ",
        ),
        (
            at("push HOST/team/demo:v1 -f none.xpkg"),
            "none.xpkg can't be used: No such file",
        ),
        (
            at("push HOST/team/demo:v1 -f crossplane.yaml"),
            "crossplane.yaml can't be used: the file can't be read as a tar",
        ),
        (
            at("push HOST/team/demo:v1 -f x -a =b"),
            "annotation \"=b\" is not valid: write key=value",
        ),
        (
            at("push HOST/team/demo:v1 -f x -a b"),
            "annotation \"b\" is not valid: write key=value",
        ),
        (at("digest HOST/team/demo:none"), "team/demo:none"),
        (
            "digest nonsense".to_owned(),
            "\"nonsense\" is not a reference of an image: ",
        ),
        (
            at("digest HOST/team/demo:v1 --ca-bundle crossplane.yaml"),
            "the CA bundle holds no certificate",
        ),
    ] {
        let sentence = place.refuse(&line);
        assert!(sentence.contains(expected), "{line}: {sentence}");
    }
}

#[test]
fn credentials_come_from_docker_and_podman_and_helpers() {
    use std::os::unix::fs::PermissionsExt as _;

    let registry = testkit::run(TestRegistry::start()).unwrap();
    registry.set_auth(testkit::Auth::Basic("robot".to_owned(), "s3cret".to_owned()));
    let mut place = demo();
    place.succeed("build -o p.xpkg");
    let host = registry.host();
    let push = format!("push {host}/team/demo:v1 -f p.xpkg");
    let sentence = place.refuse(&push);
    assert!(sentence.contains(&host), "{sentence}");

    // robot:s3cret
    let auths = format!("{{\"auths\": {{\"{host}\": {{\"auth\": \"cm9ib3Q6czNjcmV0\"}}}}}}");
    place.write("docker/config.json", &auths);
    place.write("run/containers/auth.json", &auths);
    for (name, value) in [
        ("DOCKER_CONFIG", "docker"),
        ("XDG_RUNTIME_DIR", "run"),
        ("REGISTRY_AUTH_FILE", "docker/config.json"),
    ] {
        place.variables = BTreeMap::from([(
            name.to_owned(),
            place.path().join(value).to_str().unwrap().to_owned(),
        )]);
        place.succeed(&push);
    }

    let program = place.path().join("docker-credential-gantry-test");
    fs::write(
        &program,
        "#!/bin/sh\nread host\necho '{\"Username\": \"robot\", \"Secret\": \"s3cret\"}'\n",
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let docker = place.path().join("helped");
    place.variables = BTreeMap::from([("DOCKER_CONFIG".to_owned(), docker.to_str().unwrap().to_owned())]);
    for (store, expected) in [
        ("../x", "is not the name of a credential helper"),
        ("gantry-absent", "docker-credential-gantry-absent can't be run: "),
    ] {
        place.write("helped/config.json", &format!("{{\"credsStore\": \"{store}\"}}"));
        let ran = place.run(&push);
        assert_eq!(ran.status, REFUSED);
        let warning = ran
            .stderr
            .lines()
            .find(|line| line.starts_with("warning: "))
            .unwrap();
        assert!(warning.contains(expected), "{warning}");
        assert!(!ran.stderr.contains("s3cret"));
    }

    let path = place.path().to_str().unwrap().to_owned();
    place.variables.insert("PATH".to_owned(), path);
    for config in [
        "{\"credsStore\": \"gantry-test\"}".to_owned(),
        format!("{{\"credHelpers\": {{\"{host}\": \"gantry-test\"}}}}"),
    ] {
        place.write("helped/config.json", &config);
        assert_eq!(place.succeed(&push).stderr, "");
    }
    fs::write(&program, "#!/bin/sh\necho 'credentials not found'\nexit 1\n").unwrap();
    assert_eq!(
        place.run(&push).stderr.lines().count(),
        1,
        "a helper that has nothing is no problem of its own"
    );
}
