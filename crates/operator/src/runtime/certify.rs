//! Has certificates made for all runtimes together: who is trusted depends on all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::pkg::{Package, PackageKind, Revision, View};
use jiff::Timestamp;
use kit::certificate::{Fingerprint, Usage};
use kit::meta::Owner;
use kube::core::DynamicObject;

use super::facts::Certificates;
use super::health::is_rolled_out;
use super::templates::Names;
use super::{RuntimeCaches, objects, observe};
use crate::certificates::{AUTHORITY_SECRET, Ensured, Keeper, Loadable, Want};
use crate::context::Context;
use crate::key::Key;
use crate::revision;
use crate::runtime_mode::RuntimeMode;

/// Changes are collected for this long: an installation of many packages asks for certificates one after another.
const PAUSE: Duration = Duration::from_millis(200);
/// After a pass in which nothing could be read or written.
const RETRY: Duration = Duration::from_secs(5);

/// Whose a want is.
struct Of {
    key: Key,
    uid: String,
}

/// Keeps certificates for as long as it is polled.
pub(crate) async fn keep(cx: Arc<Context>, keeper: Keeper) {
    let Some(caches) = &cx.caches.runtime else {
        return;
    };
    loop {
        let (of, wants): (Vec<Of>, Vec<Want>) = wants(&cx, caches).into_iter().unzip();
        // Nobody asks for a certificate: then there is no authority either.
        let wait = match wants.is_empty() {
            true => None,
            false => Some(match keeper.ensure(&wants, Timestamp::now()).await {
                Ok(ensured) => {
                    tell(&cx, &of, &wants, &ensured);
                    ensured.look_again
                }
                Err(error) => {
                    tracing::warn!(%error, "certificates could not be looked after");
                    RETRY
                }
            }),
        };
        let changed = cx.certificates_wanted.notified();
        match wait {
            None => changed.await,
            Some(wait) => drop(tokio::time::timeout(wait, changed).await),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The certificates of all active revisions that Gantry runs.
fn wants(cx: &Context, caches: &RuntimeCaches) -> Vec<(Of, Want)> {
    let mut all = BTreeMap::new();
    for (kind, live) in cx.caches.revisions.iter() {
        if cx.options.runtime.of(kind) != RuntimeMode::Deployment {
            continue;
        }
        for revision in live.all() {
            let Some(package) = revision::package_of(cx, kind, &revision) else {
                continue;
            };
            let made = package.metadata.creation_timestamp.as_ref().map(|at| at.0);
            let uid = package.metadata.uid.clone();
            for (of, want) in of_revision(cx, caches, kind, &revision, &package) {
                // Of two active revisions of one package the newer counts. Of two packages that want one secret the older
                // has it, and the other is told.
                let number = revision.spec.revision;
                let key = (want.secret.clone(), made, uid.clone());
                let other: Option<&(i64, Of, Want)> = all.get(&key);
                if other.is_none_or(|(older, ..)| *older < number) {
                    all.insert(key, (number, of, want));
                }
            }
        }
    }
    all.into_values().map(|(_, of, want)| (of, want)).collect()
}

fn of_revision(
    cx: &Context,
    caches: &RuntimeCaches,
    kind: PackageKind,
    revision: &Arc<Revision>,
    package: &Arc<Package>,
) -> Vec<(Of, Want)> {
    let view = View(revision);
    if !view.is_active() || view.is_deleting() {
        return vec![];
    }
    let config = observe::config(cx, caches, revision);
    // Where it is not known what the Service is called, the certificate that there is stays as it is.
    let untouched = api::annotation::is_paused(&revision.metadata) || config.is_err();
    let templates = config.map(|config| config.templates).unwrap_or_default();
    let uid = revision.metadata.uid.clone().unwrap_or_default();
    let siblings = revision::siblings(cx, kind, revision, package);
    let revisions = siblings.iter().chain([revision]);
    let related: BTreeSet<String> = revisions.filter_map(|r| r.metadata.uid.clone()).collect();
    // The package's, as it is one for all its revisions.
    let owner = Owner {
        api_version: api::API_VERSION.to_owned(),
        kind: kind.kind().to_owned(),
        name: package.metadata.name.clone().unwrap_or_default(),
        uid: package.metadata.uid.clone().unwrap_or_default(),
        controller: true,
        block_owner_deletion: true,
    };
    // The reference names clients by revision; the certificate is the package's, and need not change with each of them.
    let owner_name = owner.name.clone();
    let names = Names::of(&templates, &owner.name, view.name());
    let (service, namespace) = (&names.service, &cx.options.namespace);
    let hosts = vec![
        service.clone(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
    ];
    let want = |secret: &Option<String>, usage: Usage, names: Vec<String>| {
        let of = Of {
            key: Key::new(kind, view.name()),
            uid: uid.clone(),
        };
        let want = Want {
            secret: secret.clone().filter(|name| !name.is_empty())?,
            usage,
            names,
            owners: vec![owner.clone()],
            siblings: related.clone(),
            common: kind == PackageKind::Function,
            serving: None,
            callers: None,
            untouched,
        };
        Some((of, want))
    };
    let server = want(&revision.spec.tls_server_secret_name, Usage::Server, hosts);
    let server = server.map(|(of, want)| {
        let (serving, callers) = match kind {
            PackageKind::Function => loaded(caches, &names.deployment, &uid),
            _ => (None, told(cx, &uid)),
        };
        let want = Want {
            serving,
            callers,
            ..want
        };
        (of, want)
    });
    let client = want(
        &revision.spec.tls_client_secret_name,
        Usage::Client,
        vec![owner_name],
    );
    server.into_iter().chain(client).collect()
}

/// Something that no certificate and no bundle is.
fn unknown() -> Fingerprint {
    Fingerprint::of(b"")
}

/// What a function's pods have loaded when they started: certificate and bundle. Nothing where none run.
fn loaded(
    caches: &RuntimeCaches,
    deployment: &str,
    revision: &str,
) -> (Option<Fingerprint>, Option<Fingerprint>) {
    let live = caches.deployments.get(deployment);
    let owners = |object: &Arc<DynamicObject>| {
        let mut owners = object.metadata.owner_references.iter().flatten();
        owners.any(|owner| owner.uid == revision)
    };
    let Some(live) = live.filter(owners) else {
        return (None, None);
    };
    let loaded = objects::loaded(&live.data).and_then(Loadable::parse);
    let loaded = loaded.filter(|_| is_rolled_out(live.metadata.generation.unwrap_or_default(), &live.data));
    match loaded {
        Some(loaded) => (Some(loaded.certificate), Some(loaded.bundle)),
        None => (Some(unknown()), Some(unknown())),
    }
}

/// Whom the callers of a provider's webhooks were told to trust. Nothing where it has none.
fn told(cx: &Context, revision: &str) -> Option<Fingerprint> {
    cx.works
        .with(revision, |work| match (&work.trusted, work.has_webhooks()) {
            (Some(trusted), _) => Some(trusted.bundle),
            (None, Some(false)) => None,
            (None, _) => Some(unknown()),
        })
}

/// Passes on what is true now to those who asked.
fn tell(cx: &Context, of: &[Of], wants: &[Want], ensured: &Ensured) {
    let mut all: BTreeMap<&str, (&Key, Certificates)> = BTreeMap::new();
    for ((of, want), leaf) in of.iter().zip(wants).zip(&ensured.leaves) {
        let (_, state) = all
            .entry(&of.uid)
            .or_insert_with(|| (&of.key, Certificates::default()));
        match want.usage {
            Usage::Server => state.server = leaf.ready,
            Usage::Client => state.client = leaf.ready,
        }
        if want.usage == Usage::Server && leaf.ready {
            state.loaded = leaf.loadable;
        }
        let trouble = leaf.trouble.as_ref().map(ToString::to_string);
        let authority = ensured.authority_trouble.as_ref().filter(|_| !leaf.ready);
        let trouble = trouble.or_else(|| {
            Some(format!(
                "Secret {AUTHORITY_SECRET} was not written: {}",
                authority?
            ))
        });
        if let Some(trouble) = trouble {
            state.trouble = Some(match state.trouble.take() {
                Some(before) => format!("{before}; {trouble}"),
                None => trouble,
            });
        }
    }
    for (uid, (key, state)) in all {
        if cx.runtimes.certified(uid, state) {
            cx.running.add(key.clone());
        }
    }
}
