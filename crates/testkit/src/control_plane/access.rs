//! Identities at the API server: kubeconfigs, service accounts and their tokens.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::{ControlPlane, INSIDE, write};
use crate::pki::Identity;

/// How long a service account's token is valid: longer than any test or benchmark.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// The text of a kubeconfig for `user` (a kubeconfig's `user` object).
pub(crate) fn kubeconfig(url: &str, authority: &str, user: &Value) -> Result<String> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": {
            "server": url,
            "certificate-authority-data": STANDARD.encode(authority),
        }}],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "current-context": "test",
    });
    // JSON is YAML.
    Ok(serde_json::to_string_pretty(&config)?)
}

/// A kubeconfig's `user` object with a client certificate.
pub(super) fn certificate_user(identity: &Identity) -> Value {
    json!({
        "client-certificate-data": STANDARD.encode(&identity.certificate),
        "client-key-data": STANDARD.encode(&identity.key),
    })
}

/// A client as the kubeconfig file at `path` says.
pub(super) async fn client(path: &Path) -> Result<kube::Client> {
    let config = Kubeconfig::read_from(path)?;
    let mut config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    // What a test sees is what happened: no hidden second try.
    config.default_retry = false;
    Ok(kube::Client::try_from(config)?)
}

impl ControlPlane {
    /// Path of a kubeconfig with all rights.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("admin.kubeconfig")
    }

    /// A kubeconfig for a component inside a node: user `name`, member of `group`.
    pub(crate) fn component_kubeconfig(
        &self,
        file: &str,
        name: &str,
        group: Option<&str>,
    ) -> Result<PathBuf> {
        let user = certificate_user(&self.authority().client(name, group)?);
        let text = kubeconfig(
            &format!("https://{INSIDE}"),
            self.authority().certificate(),
            &user,
        )?;
        let path = self.folder().join(format!("{file}.kubeconfig"));
        write(&path, &text)?;
        Ok(path)
    }

    /// Makes a namespace, if it is not there.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        created(
            Api::all(self.client())
                .create(&PostParams::default(), &namespace)
                .await,
        )
        .with_context(|| format!("cannot make namespace {name}"))
    }

    /// A token of the service account `name`, which is made if it is not there.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        created(accounts.create(&PostParams::default(), &account).await)
            .with_context(|| format!("cannot make service account {namespace}/{name}"))?;
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await?;
        Ok(answer.status.context("a token request without an answer")?.token)
    }

    /// Path of a kubeconfig with the rights of the service account `name`, which is made if it is not there.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self.service_account_token(namespace, name).await?;
        let text = kubeconfig(
            &self.url(),
            self.authority().certificate(),
            &json!({ "token": token }),
        )?;
        let path = self.folder().join(format!("sa-{namespace}-{name}.kubeconfig"));
        write(&path, &text)?;
        Ok(path)
    }
}

/// Takes "it is there already" for success.
fn created<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error),
    }
}
