//! What is known of a revision: caches and this process's own work, nothing else.

use std::sync::Arc;

use api::pkg::{Package, PackageKind, Revision};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kit::meta::Meta;

use super::diff::Item;
use super::job::is_newer;
use super::ownership::{Living, Parties, Party};
use super::plan::Seen;
use super::survey;
use super::work::{Difference, Trusted};
use crate::context::{Context, uid_key};
use crate::images;
use crate::key::Key;
use crate::runtime;

/// `None` if the revision doesn't exist (any more).
pub(crate) fn observe(cx: &Context, key: &Key) -> Option<Seen> {
    let Some(revision) = cx.caches.revision(key) else {
        cx.forget_gone();
        return None;
    };
    let package = package_of(cx, key.kind, &revision);
    let uid = revision.metadata.uid.clone().unwrap_or_default();
    let siblings = package
        .as_ref()
        .map(|p| siblings(cx, key.kind, &revision, p))
        .unwrap_or_default();
    let controls = cx
        .caches
        .objects
        .iter()
        .any(|live| live.any(&uid, |meta| meta.controller().is_some_and(|c| c.uid == uid)));
    let difference = match &package {
        Some(package) => difference(cx, key.kind, &revision, package, &siblings),
        None => Difference::default(),
    };
    let spec = &revision.spec;
    let image = images::effective(cx, &spec.image, spec.package_pull_secrets.as_deref()).ok();
    let image = image.map(|image| (image.reference.to_string(), image.applied));
    let work = cx.works.view(&uid, difference);
    Some(Seen {
        revision,
        package,
        siblings,
        work,
        controls,
        image,
    })
}

/// The package that controls a revision or, where nothing does, the one that its label names.
pub(crate) fn package_of(cx: &Context, kind: PackageKind, revision: &Revision) -> Option<Arc<Package>> {
    let owner = revision
        .metadata
        .owner_references
        .iter()
        .flatten()
        .find(|o| o.controller == Some(true));
    let name = owner.map(|o| o.name.as_str()).or(revision.package_name());
    let package = name.and_then(|name| cx.caches.package(&Key::new(kind, name)));
    package.filter(|p| owner.is_none_or(|o| Some(&o.uid) == p.metadata.uid.as_ref()))
}

/// Who has a say about the objects of a revision, as the caches know it now.
pub(crate) fn parties(
    cx: &Context,
    kind: PackageKind,
    revision: &Revision,
    package: &Package,
    siblings: &[Arc<Revision>],
) -> Parties {
    let party = |kind: &str, meta: &ObjectMeta| Party {
        api_version: api::API_VERSION.to_owned(),
        kind: kind.to_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
    };
    let revisions: Vec<_> = cx.caches.revisions.iter().map(|(_, live)| live.clone()).collect();
    Parties {
        revision: party(kind.revision_kind(), &revision.metadata),
        package: party(kind.kind(), &package.metadata),
        siblings: siblings.iter().filter_map(|s| s.metadata.uid.clone()).collect(),
        living: Living::new(move |uid| {
            revisions
                .iter()
                .any(|live| !live.lookup(&uid_key(uid)).is_empty())
        }),
    }
}

/// The package's other revisions.
pub(crate) fn siblings(
    cx: &Context,
    kind: PackageKind,
    revision: &Revision,
    package: &Package,
) -> Vec<Arc<Revision>> {
    let name = package.metadata.name.as_deref().unwrap_or_default();
    let mut all = cx
        .caches
        .revisions_of(kind, name, package.metadata.uid.as_deref().unwrap_or_default());
    all.retain(|r| r.metadata.uid != revision.metadata.uid);
    all
}

/// How live objects are, as far as the revision's content is loaded and nothing runs.
fn difference(
    cx: &Context,
    kind: PackageKind,
    revision: &Arc<Revision>,
    package: &Package,
    siblings: &[Arc<Revision>],
) -> Difference {
    let uid = revision.metadata.uid.as_deref().unwrap_or_default();
    let loaded = cx.works.with(uid, |work| match work.is_running() {
        true => None,
        false => work
            .loaded
            .clone()
            .map(|(_, items)| (items, work.written.clone(), work.trusted.clone())),
    });
    let Some((items, written, trusted)) = loaded else {
        return Difference::default();
    };
    let parties = parties(cx, kind, revision, package, siblings);
    let records = survey::records(
        siblings.iter().chain([revision]).map(AsRef::as_ref),
        written.as_deref(),
    );
    let survey = survey::survey(
        &items,
        |item| cx.caches.object(item.kind, &item.name),
        &records,
        &parties,
    );
    if revision.spec.desired_state != "Active" {
        // To a candidate it matters whether it could still have everything.
        let refused = !survey.refused.is_empty() || !survey.terminating.is_empty();
        return Difference {
            differs: refused,
            missing: false,
        };
    }
    let others_trusted = trusted.is_some_and(|trusted| rewired(cx, revision, package, &trusted));
    Difference {
        differs: !survey.is_empty() || others_trusted || leaves_something(cx, &items, siblings),
        missing: !survey.create.is_empty() || !survey.terminating.is_empty(),
    }
}

/// Whom callers of webhooks are to call, or to trust, is another since that was read.
fn rewired(cx: &Context, revision: &Revision, package: &Package, trusted: &Trusted) -> bool {
    let named = revision
        .status
        .as_ref()
        .and_then(|s| s.tls_server_secret_name.as_deref());
    let written = |live: Arc<Meta>| {
        live.resource_version != trusted.version && is_newer(&live.resource_version, &trusted.version)
    };
    named.is_some_and(|named| named != trusted.secret)
        || cx.caches.secrets.get(&trusted.secret).is_some_and(written)
        || runtime::service(cx, revision, package.metadata.name.as_deref().unwrap_or_default())
            != trusted.service
}

/// An inactive sibling controls an object that the active revision doesn't carry.
fn leaves_something(cx: &Context, items: &[Item], siblings: &[Arc<Revision>]) -> bool {
    let inactive = siblings.iter().filter(|s| s.spec.desired_state != "Active");
    let uids: Vec<&str> = inactive.filter_map(|s| s.metadata.uid.as_deref()).collect();
    let carried = |kind: usize, name: &str| items.iter().any(|item| item.kind == kind && item.name == name);
    cx.caches.objects.iter().enumerate().any(|(kind, live)| {
        uids.iter().any(|uid| {
            live.any(uid, |meta| {
                meta.controller().is_some_and(|c| c.uid == *uid) && !carried(kind, &meta.name)
            })
        })
    })
}
