//! `gantry install`.

use anyhow::anyhow;
use api::pkg::PackageKind;
use clap::Args;
use kit::write::WriteError;
use serde_json::{Value, json};

use crate::change::{Done, Way, reference};
use crate::cluster::{Cluster, Connection, FIELD_MANAGER, package_target};
use crate::ending::Ending;
use crate::output::Output;
use crate::remote::runtime;
use crate::subject::{Kind, the_name};
use crate::surroundings::Surroundings;
use crate::wait::{Goal, WaitArgs, until_ready};

/// Install a package: gantry install provider registry.example.org/team/provider-nimbus:v1.0.0.
#[derive(Args, Debug)]
pub(crate) struct Install {
    /// provider, configuration or function.
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Package with registry, repository, and tag or digest.
    #[arg(value_name = "REF")]
    reference: String,
    /// Name of the object; by default made of the repository, as Crossplane's tool does it.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Secret with credentials for the registry, in the operator's namespace.
    #[arg(
        long,
        visible_alias = "package-pull-secrets",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pull_secret: Vec<String>,
    /// DeploymentRuntimeConfig for the package's program. For Providers and Functions.
    #[arg(long, value_name = "NAME")]
    runtime_config: Option<String>,
    /// Activate no revision by itself: a person does it.
    #[arg(short, long, visible_alias = "manual-activation")]
    manual: bool,
    /// Inactive revisions to keep, 0 for all; 1 unless it is given.
    #[arg(short = 'r', long, visible_alias = "revision-history-limit", value_name = "N")]
    history_limit: Option<u32>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    connection: Connection,
}

impl Install {
    pub(crate) fn run(&self, surroundings: &Surroundings, output: &mut Output<'_>) -> anyhow::Result<()> {
        let kind = self.kind.kind;
        let wanted = reference(&self.reference)?;
        let name = the_name(&self.kind, self.name.as_deref())?
            .unwrap_or_else(|| api::names::to_dns_label(wanted.repository()));
        if self.runtime_config.is_some() && !kind.has_runtime() {
            return Err(Ending::usage(format!(
                "a {kind} runs nothing: leave --runtime-config out"
            )));
        }
        let body = self.body(kind, &name);
        runtime()?.block_on(async {
            let cluster = self.connection.open().await?;
            let writer = cluster.writer(self.way.dry_run);
            match writer
                .create(FIELD_MANAGER, &package_target(kind, &name), body)
                .await
            {
                Ok(_) => {}
                Err(WriteError::AlreadyExists { .. }) => {
                    return Err(anyhow!(
                        "{kind} {name} exists already; gantry update {} {name} {} makes it ask for this \
                         package",
                        kind.kind().to_lowercase(),
                        self.reference
                    ));
                }
                Err(WriteError::NotServed { .. }) => {
                    // The read says better what is missing.
                    cluster.find(kind, &name).await?;
                    return Err(anyhow!(
                        "this cluster does not take a {kind} of {}",
                        api::API_VERSION
                    ));
                }
                Err(error) => return Err(error.into()),
            }
            let done = Done {
                kind: kind.kind(),
                name: name.clone(),
                action: "created",
                package: Some(self.reference.clone()),
                revision: None,
                dry_run: self.way.dry_run,
            };
            done.tell(self.way.output, output)?;
            self.look_for_secrets(&cluster, output).await;
            match self.wait.wait {
                Some(limit) if !self.way.dry_run => {
                    until_ready(&cluster, (kind, &name), &Goal::Ready, limit, surroundings, output).await
                }
                _ => Ok(()),
            }
        })
    }

    fn body(&self, kind: PackageKind, name: &str) -> Value {
        let mut spec = json!({ "package": self.reference });
        if !self.pull_secret.is_empty() {
            let secrets = self.pull_secret.iter().map(|name| json!({ "name": name }));
            spec["packagePullSecrets"] = secrets.collect();
        }
        if let Some(config) = &self.runtime_config {
            spec["runtimeConfigRef"] = json!({ "name": config });
        }
        if self.manual {
            spec["revisionActivationPolicy"] = json!("Manual");
        }
        // Only if it is given: the reference's tool sends 0 otherwise, which keeps all.
        if let Some(limit) = self.history_limit {
            spec["revisionHistoryLimit"] = json!(limit);
        }
        json!({
            "apiVersion": api::API_VERSION, "kind": kind.kind(),
            "metadata": { "name": name }, "spec": spec,
        })
    }

    async fn look_for_secrets(&self, cluster: &Cluster, output: &mut Output<'_>) {
        if self.pull_secret.is_empty() {
            return;
        }
        let namespace = cluster.management().await.namespace;
        for secret in &self.pull_secret {
            if cluster.has_secret(&namespace, secret).await == Some(false) {
                output.warn(&format!(
                    "there is no Secret {secret} in namespace {namespace}, where Gantry looks for pull \
                     secrets: make it"
                ));
            }
        }
    }
}
