//! Runtimes: the programs of Providers and Functions, as Deployments (design §3).

mod act;
pub(crate) mod certify;
pub mod compare;
pub mod deployment;
pub mod facts;
pub mod health;
mod memory;
pub mod objects;
pub(crate) mod observe;
pub mod plan;
pub mod templates;

use std::sync::Arc;

use api::label;
use api::managed_resource::ManagedResourceDefinition;
use api::pkg::{PackageKind, Revision};
use api::runtime_config::DeploymentRuntimeConfig;
use kit::live::Live;
use kit::queue::Next;
use kit::resource::Resource;
use kit::watch::{Watch, Watches};
use kube::core::{ApiResource, DynamicObject};

pub use memory::Runtimes;

use crate::context::Context;
use crate::freshness;
use crate::key::Key;
use crate::runtime_mode::RuntimeMode;

/// Caches of what runtimes consist of, in the operator's namespace.
pub(crate) struct RuntimeCaches {
    /// Runtime configs.
    pub configs: Live<DeploymentRuntimeConfig>,
    /// Deployments; indexed by owners' UIDs and by the package whose pods they select.
    pub deployments: Live<DynamicObject>,
    /// Services; indexed by owners' UIDs.
    pub services: Live<DynamicObject>,
    /// Service accounts; indexed by owners' UIDs.
    pub accounts: Live<DynamicObject>,
    /// Definitions that providers with capability `safe-start` wait for; indexed by owners' UIDs.
    pub definitions: Live<ManagedResourceDefinition>,
}

/// Index key of Deployments by the package whose pods they select.
pub(crate) fn by_selector(kind: PackageKind, package: &str) -> String {
    format!("{kind}:{package}")
}

fn owners(object: &DynamicObject) -> Vec<String> {
    let owners = object.metadata.owner_references.iter().flatten();
    owners.map(|owner| owner.uid.clone()).collect()
}

fn selected(object: &DynamicObject) -> Vec<String> {
    let labels = object.data.pointer("/spec/selector/matchLabels");
    let of = |kind, label: &str| {
        let name = labels.and_then(|labels| labels.get(label)?.as_str())?;
        Some(by_selector(kind, name))
    };
    let provider = of(PackageKind::Provider, label::PROVIDER);
    let function = of(PackageKind::Function, label::FUNCTION);
    owners(object)
        .into_iter()
        .chain(provider)
        .chain(function)
        .collect()
}

impl RuntimeCaches {
    /// Whether what is known of a kind may never have happened, see [`Live::in_doubt`].
    fn in_doubt(&self) -> bool {
        let objects = [&self.deployments, &self.services, &self.accounts];
        self.configs.in_doubt() || self.definitions.in_doubt() || objects.into_iter().any(Live::in_doubt)
    }

    /// Starts them.
    pub(crate) fn start(watches: &Watches, namespace: &str) -> Self {
        let within = || Watch::all().within(namespace);
        let of = |resource: &Resource, index: fn(&DynamicObject) -> Vec<String>| {
            watches.objects::<DynamicObject>(ApiResource::from(resource), within(), index)
        };
        Self {
            configs: watches.objects::<DeploymentRuntimeConfig>((), Watch::optional(), |_| vec![]),
            deployments: of(&objects::DEPLOYMENTS, selected),
            services: of(&objects::SERVICES, owners),
            accounts: of(&objects::ACCOUNTS, owners),
            definitions: watches.objects::<ManagedResourceDefinition>((), Watch::optional(), |definition| {
                let owners = definition.metadata.owner_references.iter().flatten();
                owners.map(|owner| owner.uid.clone()).collect()
            }),
        }
    }
}

/// What the Service of a package's program is called: like the package, unless a runtime config says otherwise.
pub(crate) fn service(cx: &Context, revision: &Revision, package: &str) -> String {
    let config = cx
        .caches
        .runtime
        .as_ref()
        .map(|caches| observe::config(cx, caches, revision));
    match config {
        Some(Ok(config)) => {
            let name = revision.metadata.name.as_deref().unwrap_or_default();
            templates::Names::of(&config.templates, package, name).service
        }
        _ => package.to_owned(),
    }
}

/// Whether the program of a revision runs: its Deployment is rolled out, if only to the zero replicas that somebody asked for.
pub(crate) fn runs(cx: &Context, revision: &str) -> bool {
    let Some(caches) = &cx.caches.runtime else {
        return false;
    };
    let deployments = caches.deployments.lookup_objects(revision);
    deployments.iter().any(|live| {
        let goes = live.metadata.deletion_timestamp.is_some();
        !goes && health::is_rolled_out(live.metadata.generation.unwrap_or_default(), &live.data)
    })
}

/// Looks at the runtime of one revision and does what is to be done.
pub(crate) async fn reconcile(cx: Arc<Context>, key: Key) -> Next {
    let Some(caches) = &cx.caches.runtime else {
        return Next::Await;
    };
    if cx.caches.in_doubt(key.kind) || caches.in_doubt() {
        return Next::After(freshness::RECHECK);
    }
    let Some(seen) = observe::observe(&cx, caches, &key) else {
        return Next::Await;
    };
    if cx.options.runtime.of(key.kind) != RuntimeMode::Deployment {
        return Next::Await;
    }
    let now = kit::clock::steady();
    let named = [&seen.named.deployment, &seen.named.service, &seen.named.account];
    let metas = named
        .into_iter()
        .flatten()
        .filter_map(|live| serde_json::from_value(live.get("metadata")?.clone()).ok());
    let stale = metas
        .into_iter()
        .any(|meta| cx.runtime_freshness.is_stale(&meta, now));
    if stale || cx.freshness.is_stale(&seen.revision.metadata, now) {
        return Next::After(freshness::RECHECK);
    }
    let plan = plan::plan(&seen, now);
    act::act(&cx, &key, &seen, plan).await
}
