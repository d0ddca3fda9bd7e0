//! Credentials from the docker and podman configuration.

use std::path::PathBuf;
use std::process::Stdio;

use oci::Reference;
use registry::{Credential, Keychain};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::folder;
use crate::limits::{HELPER_DEADLINE, MAX_CONFIG_BYTES, MAX_HELPER_BYTES};
use crate::surroundings::Surroundings;

/// The parts of a configuration that name helper programs.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Helpers {
    creds_store: Option<String>,
    cred_helpers: std::collections::BTreeMap<String, String>,
}

/// What a helper program answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// The user's credentials for `reference`, and what could not be used. The files are tried in this order, as
/// podman and docker do: `REGISTRY_AUTH_FILE`, podman's, docker's.
pub(crate) async fn keychain(reference: &Reference, surroundings: &Surroundings) -> (Keychain, Vec<String>) {
    let mut keychain = Keychain::anonymous();
    let mut problems = Vec::new();
    for path in files(surroundings) {
        let Ok(data) = folder::read(&path, MAX_CONFIG_BYTES) else {
            continue;
        };
        let place = path.display().to_string();
        let (found, refused) = Keychain::from_docker_config(&place, &data);
        problems.extend(refused.iter().map(ToString::to_string));
        keychain = keychain.or(&found);
        let helpers: Helpers = serde_json::from_slice(&data).unwrap_or_default();
        match helper(reference, &helpers, surroundings.variable("PATH")).await {
            Ok(None) => {}
            Ok(Some((name, credential))) => {
                keychain = keychain.or(&Keychain::single(reference.registry(), credential, &name));
            }
            Err(problem) => problems.push(format!("{place}: {problem}")),
        }
    }
    (keychain, problems)
}

fn files(surroundings: &Surroundings) -> Vec<PathBuf> {
    let variable = |name: &str| surroundings.variable(name).map(PathBuf::from);
    let podman = variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers").join("auth.json"));
    let docker = variable("DOCKER_CONFIG").or_else(|| variable("HOME").map(|home| home.join(".docker")));
    let docker = docker.map(|folder| folder.join("config.json"));
    [variable("REGISTRY_AUTH_FILE"), podman, docker]
        .into_iter()
        .flatten()
        .collect()
}

/// Asks the helper program that the configuration names for this registry.
async fn helper(
    reference: &Reference,
    helpers: &Helpers,
    path: Option<String>,
) -> Result<Option<(String, Credential)>, String> {
    let host = reference.registry();
    let Some(name) = helpers.cred_helpers.get(host).or(helpers.creds_store.as_ref()) else {
        return Ok(None);
    };
    // It becomes part of a program's name: nothing that could lead to another folder.
    if name.is_empty()
        || !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    {
        return Err(format!("{name:?} is not the name of a credential helper"));
    }
    let program = format!("docker-credential-{name}");
    // Docker Hub is known to helpers under its historic address.
    let server = match host {
        "docker.io" | "index.docker.io" => "https://index.docker.io/v1/",
        other => other,
    };
    let answer = tokio::time::timeout(HELPER_DEADLINE, ask(&program, server, path))
        .await
        .map_err(|_| format!("{program} did not answer within {} s", HELPER_DEADLINE.as_secs()))?;
    // A helper that has nothing says so by its exit status; that is no problem.
    let Some(answer) = answer.map_err(|error| format!("{program} can't be run: {error}"))? else {
        return Ok(None);
    };
    let Answer { username, secret } =
        serde_json::from_slice(&answer).map_err(|_| format!("the answer of {program} is not valid"))?;
    let credential = if username == "<token>" {
        Credential::IdentityToken {
            username,
            token: secret,
        }
    } else {
        Credential::Basic {
            username,
            password: secret,
        }
    };
    Ok(Some((program, credential)))
}

async fn ask(program: &str, server: &str, path: Option<String>) -> std::io::Result<Option<Vec<u8>>> {
    let mut child = Command::new(program)
        .envs(path.map(|path| ("PATH", path)))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper may answer, or refuse, without reading the question.
        match stdin.write_all(server.as_bytes()).await {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_HELPER_BYTES).read_to_end(&mut answer).await?;
    }
    Ok(child.wait().await?.success().then_some(answer))
}
