//! Reaching a registry: flags, client, credentials.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use oci::Reference;
use registry::{Client, ClientConfig, Keychain, Proxies};

use crate::docker;
use crate::folder;
use crate::limits::MAX_CONFIG_BYTES;
use crate::output::Output;
use crate::surroundings::Surroundings;

/// How registries are reached. Credentials come from the docker or podman configuration; proxies from
/// HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
#[derive(Args, Debug)]
pub(crate) struct Remote {
    /// Registry (host or host:port) to speak to without TLS. Loopback addresses always are.
    #[arg(long, value_name = "HOST")]
    plain_http: Vec<String>,
    /// File with PEM certificates to trust beside the system's.
    #[arg(long, value_name = "PATH")]
    ca_bundle: Option<PathBuf>,
}

impl Remote {
    pub(crate) fn client(&self, surroundings: &Surroundings) -> anyhow::Result<Client> {
        // Fails only if it is installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca_bundle = self
            .ca_bundle
            .as_ref()
            .map(|path| folder::read(&surroundings.path(path), MAX_CONFIG_BYTES))
            .transpose()?;
        let config = ClientConfig {
            ca_bundle,
            plain_http_hosts: self.plain_http.iter().cloned().collect(),
            proxies: Proxies::from_env(|name| surroundings.variable(name))?,
            ..ClientConfig::default()
        };
        Ok(Client::new(config)?)
    }

    /// The user's credentials for a reference.
    pub(crate) async fn keychain(
        &self,
        reference: &Reference,
        surroundings: &Surroundings,
        output: &mut Output<'_>,
    ) -> Keychain {
        let (keychain, problems) = docker::keychain(reference, surroundings).await;
        for problem in problems {
            output.warn(&problem);
        }
        keychain
    }
}

/// A runtime for the few requests of one command.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the process can't start what it needs for network access")
}
