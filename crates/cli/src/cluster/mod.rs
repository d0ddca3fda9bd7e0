//! The cluster as commands use it: connecting, reading packages and what is around them, writing.

mod doomed;
mod managers;

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use api::pkg::{Package, PackageKind, Revision, RevisionKind};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use kit::client::ClientArgs;
use kit::fence::Fence;
use kit::metrics::Writes;
use kit::read::{self, ReadError, Selection};
use kit::resource::{Resource, Target};
use kit::write::Writer;
use kube::Client;
use serde::Deserialize;
use serde_json::Value;

pub(crate) use doomed::Doomed;
pub(crate) use managers::owner_of_reference;

use crate::explain::{Event, Facts, Operator};
use crate::limits::{MAX_EVENTS, REVISIONS_PER_PAGE};

/// Field manager and user agent of the command line.
pub(crate) const FIELD_MANAGER: &str = "gantry-cli";

/// The CRD that carries the claim of the operator that manages this cluster.
const CLAIM_ON: &str = "providers.pkg.crossplane.io";

/// Clocks of this machine and of the operator's may differ by this much before a Lease counts as left behind.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

/// Duration of a Lease that states none, as Gantry's and the reference's have by default.
const LEASE_DURATION: SignedDuration = SignedDuration::from_secs(15);

pub(crate) const CRDS: Resource = Resource::new(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
);
const EVENTS: Resource = Resource::new("", "v1", "events", "Event");
const LEASES: Resource = Resource::new("coordination.k8s.io", "v1", "leases", "Lease");
const SECRETS: Resource = Resource::new("", "v1", "secrets", "Secret");

/// Which cluster, as kubectl has it.
#[derive(Args, Debug)]
pub(crate) struct Connection {
    /// Kubeconfig file, instead of KUBECONFIG and ~/.kube/config.
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use instead of its current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Namespace of the operator; by default the one that the operator's claim on the cluster names.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(&self) -> anyhow::Result<Cluster> {
        // Fails only if it is installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let args = ClientArgs {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            ..ClientArgs::default()
        };
        let client = kit::client::connect(&args, FIELD_MANAGER).await?;
        Ok(Cluster {
            writer: Writer::new(client, Fence::open(), Writes::default()),
            namespace: self.namespace.clone(),
        })
    }
}

/// A cluster that answers.
pub(crate) struct Cluster {
    writer: Writer,
    namespace: Option<String>,
}

/// Who manages packages here.
#[derive(Clone, Debug)]
pub(crate) struct Management {
    pub(crate) namespace: String,
    pub(crate) operator: Operator,
    pub(crate) reference: Option<String>,
}

/// The target of a package.
pub(crate) fn package_target(kind: PackageKind, name: &str) -> Target {
    Target::cluster(Resource::of::<Package>(&kind), name)
}

/// The target of a revision.
pub(crate) fn revision_target(kind: PackageKind, name: &str) -> Target {
    Target::cluster(Resource::of::<Revision>(&RevisionKind(kind)), name)
}

/// A list or object of our kinds can't be read because the cluster doesn't know them.
fn no_definitions(kind: &str) -> anyhow::Error {
    anyhow!(
        "this cluster does not know the kind {kind} of {}; is Gantry installed? Its operator brings the \
         definitions when it starts to lead",
        api::GROUP
    )
}

impl Cluster {
    /// For reads.
    pub(crate) fn client(&self) -> &Client {
        self.writer.client()
    }

    /// For writes; with `dry_run` the API server checks and stores nothing.
    pub(crate) fn writer(&self, dry_run: bool) -> Writer {
        if dry_run {
            self.writer.dry_run()
        } else {
            self.writer.clone()
        }
    }

    /// The package, if it exists.
    pub(crate) async fn find(&self, kind: PackageKind, name: &str) -> anyhow::Result<Option<Package>> {
        match read::value(self.client(), &package_target(kind, name)).await {
            Ok(found) => found
                .map(serde_json::from_value)
                .transpose()
                .with_context(|| format!("{kind} {name} can't be read")),
            Err(ReadError::NotServed { .. }) => Err(no_definitions(kind.kind())),
            Err(error) => Err(error.into()),
        }
    }

    /// The package, or a sentence that says that there is none.
    pub(crate) async fn package(&self, kind: PackageKind, name: &str) -> anyhow::Result<Package> {
        let found = self.find(kind, name).await?;
        found.with_context(|| format!("there is no {kind} {name:?}; gantry list shows what there is"))
    }

    /// All packages of a kind, by name.
    pub(crate) async fn packages(&self, kind: PackageKind) -> anyhow::Result<Vec<Package>> {
        let resource = Resource::of::<Package>(&kind);
        let found: Option<Vec<Package>> = read::list(self.client(), &resource, &Selection::default()).await?;
        let mut found = found.ok_or_else(|| no_definitions(kind.kind()))?;
        found.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        Ok(found)
    }

    /// Revisions of one package, or of all packages of the kind; lowest number first.
    pub(crate) async fn revisions(
        &self,
        kind: PackageKind,
        package: Option<&str>,
    ) -> anyhow::Result<Vec<Revision>> {
        let resource = Resource::of::<Revision>(&RevisionKind(kind));
        let label = package.map(|name| format!("{}={name}", api::label::PACKAGE));
        let selection = Selection {
            labels: label.as_deref(),
            page: Some(REVISIONS_PER_PAGE),
            ..Selection::default()
        };
        let found: Option<Vec<Revision>> = read::list(self.client(), &resource, &selection).await?;
        let mut found = found.ok_or_else(|| no_definitions(kind.revision_kind()))?;
        found.sort_by_key(|revision| revision.spec.revision);
        Ok(found)
    }

    /// Everything that an explanation of the package needs. What may not be read is said in the explanation.
    pub(crate) async fn facts(&self, kind: PackageKind, package: Package) -> anyhow::Result<Facts> {
        let name = package.metadata.name.clone().unwrap_or_default();
        let management = self.management().await;
        let revisions = self.revisions(kind, Some(&name)).await;
        Ok(Facts {
            kind,
            package,
            revisions: revisions.map_err(|error| format!("{error:#}")),
            operator: management.operator,
            reference: management.reference,
        })
    }

    /// The latest events about the object with this UID, oldest first; none where they may not be read.
    pub(crate) async fn events(&self, uid: &str) -> Vec<Event> {
        let selector = format!("involvedObject.uid={uid}");
        let selection = Selection {
            // Events about cluster-scoped objects are kept there.
            namespace: Some("default"),
            fields: Some(&selector),
            ..Selection::default()
        };
        let found: Result<Option<Vec<RawEvent>>, _> = read::list(self.client(), &EVENTS, &selection).await;
        let mut found: Vec<Event> = found
            .ok()
            .flatten()
            .unwrap_or_default()
            .into_iter()
            .map(RawEvent::read)
            .collect();
        found.sort_by_key(|event| event.last);
        found.split_off(found.len().saturating_sub(MAX_EVENTS))
    }

    /// Who leads, by the Lease that the claim on the cluster names.
    pub(crate) async fn management(&self) -> Management {
        let now = Timestamp::now();
        let claim = read::meta(self.client(), &Target::cluster(CRDS, CLAIM_ON)).await;
        let claim = claim
            .ok()
            .flatten()
            .and_then(|meta| meta.annotations.get(api::annotation::OPERATOR).cloned());
        let claimed = claim.as_deref().and_then(|claim| claim.split_once('/'));
        let (namespace, name) = match (&self.namespace, claimed) {
            (Some(namespace), _) => (namespace.as_str(), api::OPERATOR),
            (None, Some(claimed)) => claimed,
            (None, None) => (api::DEFAULT_NAMESPACE, api::OPERATOR),
        };
        let lease = format!("{namespace}/{name}");
        let operator = match self.lease(namespace, name).await {
            Err(error) => Operator::Unknown {
                why: error.to_string(),
            },
            Ok(None) => Operator::Never { lease },
            Ok(Some(found)) => match found.is_alive(now) {
                Some(holder) => Operator::Leads {
                    lease,
                    holder: holder.to_owned(),
                },
                None => Operator::Gone {
                    lease,
                    since: found.renewed(),
                },
            },
        };
        let reference = self.lease(api::REFERENCE_NAMESPACE, api::REFERENCE_LEASE).await;
        let reference = reference
            .ok()
            .flatten()
            .filter(|lease| lease.is_alive(now).is_some());
        Management {
            namespace: namespace.to_owned(),
            operator,
            reference: reference.map(|_| format!("{}/{}", api::REFERENCE_NAMESPACE, api::REFERENCE_LEASE)),
        }
    }

    async fn lease(&self, namespace: &str, name: &str) -> Result<Option<Lease>, ReadError> {
        let target = Target::namespaced(LEASES, namespace, name);
        let found: Option<Value> = read::value(self.client(), &target).await?;
        // What can't be decoded is no Lease that anybody keeps.
        Ok(found.map(|value| serde_json::from_value(value).unwrap_or_default()))
    }

    /// Whether a Secret exists in the operator's namespace; `None` where that may not be asked.
    pub(crate) async fn has_secret(&self, namespace: &str, name: &str) -> Option<bool> {
        let target = Target::namespaced(SECRETS, namespace, name);
        let found = read::meta(self.client(), &target).await.ok()?;
        Some(found.is_some())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Lease {
    spec: LeaseSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LeaseSpec {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<i64>,
    renew_time: Option<Timestamp>,
}

impl Lease {
    fn renewed(&self) -> Option<Timestamp> {
        self.spec.renew_time
    }

    /// Its holder, if the Lease was renewed lately.
    fn is_alive(&self, now: Timestamp) -> Option<&str> {
        let duration = self
            .spec
            .lease_duration_seconds
            .map_or(LEASE_DURATION, SignedDuration::from_secs);
        let age = now.duration_since(self.spec.renew_time?);
        let holder = self
            .spec
            .holder_identity
            .as_deref()
            .filter(|holder| !holder.is_empty())?;
        (age <= duration.saturating_add(CLOCK_TOLERANCE)).then_some(holder)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawEvent {
    #[serde(rename = "type")]
    type_: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    event_time: Option<Timestamp>,
    last_timestamp: Option<Timestamp>,
    first_timestamp: Option<Timestamp>,
}

impl RawEvent {
    fn read(self) -> Event {
        Event {
            warning: self.type_.as_deref() == Some("Warning"),
            reason: self.reason.unwrap_or_default(),
            message: self.message.unwrap_or_default(),
            last: self.last_timestamp.or(self.event_time).or(self.first_timestamp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_alive_while_it_is_renewed() {
        let lease: Lease = serde_json::from_value(serde_json::json!({ "spec": {
            "holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-11-24T12:00:00.000000Z",
        }}))
        .unwrap();
        let at = |seconds| lease.renewed().unwrap() + SignedDuration::from_secs(seconds);
        for (seconds, alive) in [(-90, true), (0, true), (75, true), (76, false)] {
            assert_eq!(lease.is_alive(at(seconds)), alive.then_some("a"), "{seconds}");
        }
        for blank in [
            r#"{}"#,
            r#"{"spec":{"renewTime":"2026-11-24T12:00:00Z","holderIdentity":""}}"#,
        ] {
            let blank: Lease = serde_json::from_str(blank).unwrap();
            assert_eq!(blank.is_alive(at(0)), None, "freed, or never taken");
        }
    }
}
