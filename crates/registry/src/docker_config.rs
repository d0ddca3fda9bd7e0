//! Where docker and podman keep credentials on a user's machine.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::PathBuf;

use crate::keychain::{Keychain, KeychainProblem};
use crate::limits::MAX_SECRET_BYTES;

impl Keychain {
    /// The credentials of the first docker or podman configuration that exists; none if there is none.
    /// Environment variables are read through `variable`. Blocks on the disk. Helper programs that the file
    /// names are not run.
    #[must_use]
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> (Self, Vec<KeychainProblem>) {
        for path in places(variable) {
            let place = path.display().to_string();
            let mut data = Vec::new();
            let read = File::open(&path)
                .and_then(|file| file.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut data));
            match read {
                Ok(_) => return Self::from_docker_config(&place, &data),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => {
                    let detail = error.to_string();
                    return (
                        Self::anonymous(),
                        vec![KeychainProblem::Unreadable { place, detail }],
                    );
                }
            }
        }
        (Self::anonymous(), Vec::new())
    }
}

/// The files that are looked for, in order (format-and-cli.md 3.2; an explicit `DOCKER_CONFIG` comes first,
/// as docker itself does it).
fn places(variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let folder = |name: &str| variable(name).filter(|text| !text.is_empty()).map(PathBuf::from);
    let home = folder("HOME");
    let below_home = |rest: &str| home.as_ref().map(|home| home.join(rest));
    let containers = |base: Option<PathBuf>| base.map(|base| base.join("containers/auth.json"));
    [
        folder("DOCKER_CONFIG").map(|base| base.join("config.json")),
        below_home(".docker/config.json"),
        folder("REGISTRY_AUTH_FILE"),
        containers(folder("XDG_RUNTIME_DIR")),
        containers(folder("XDG_CONFIG_HOME").or_else(|| below_home(".config"))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use oci::Reference;

    use super::*;

    #[test]
    fn the_first_file_that_exists_counts() {
        let root = tempfile::tempdir().unwrap();
        let at = |rest: &str| root.path().join(rest);
        let variable = |name: &str| {
            let rest = match name {
                "HOME" => "home",
                "DOCKER_CONFIG" => "docker",
                "XDG_RUNTIME_DIR" => "run",
                _ => return None,
            };
            Some(root.path().join(rest).display().to_string())
        };
        let reference = Reference::parse("r.example.org/a:v1").unwrap();
        let found = || {
            let (keychain, problems) = Keychain::from_environment(variable);
            assert!(problems.is_empty(), "{problems:?}");
            keychain
                .candidates(&reference)
                .first()
                .map(|sourced| sourced.source.clone())
        };
        assert_eq!(found(), None);
        let auths = r#"{"auths":{"r.example.org":{"username":"u","password":"p"}}}"#;
        for rest in [
            "home/.config/containers/auth.json",
            "run/containers/auth.json",
            "home/.docker/config.json",
            "docker/config.json",
        ] {
            fs::create_dir_all(at(rest).parent().unwrap()).unwrap();
            fs::write(at(rest), auths).unwrap();
            assert_eq!(found(), Some(at(rest).display().to_string()));
        }
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("config.json")).unwrap();
        let variable = |name: &str| (name == "DOCKER_CONFIG").then(|| root.path().display().to_string());
        let (keychain, problems) = Keychain::from_environment(variable);
        assert!(
            keychain.is_empty() && matches!(problems[..], [KeychainProblem::Unreadable { .. }]),
            "{problems:?}"
        );
    }
}
