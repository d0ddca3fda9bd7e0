//! What is known of a package: caches and remembered answers, nothing else.

use super::plan::Seen;
use crate::context::Context;
use crate::images;
use crate::key::Key;

/// `None` if the package doesn't exist (any more).
pub(crate) fn observe(cx: &Context, key: &Key) -> Option<Seen> {
    let Some(package) = cx.caches.package(key) else {
        cx.forget_gone();
        return None;
    };
    let uid = package.metadata.uid.clone().unwrap_or_default();
    let revisions = cx.caches.revisions_of(key.kind, &key.name, &uid);
    let image = images::effective(
        cx,
        &package.spec.package,
        package.spec.package_pull_secrets.as_deref(),
    );
    let controls = |uid: &str| revisions.iter().any(|r| r.metadata.uid.as_deref() == Some(uid));
    let released = cx
        .caches
        .objects
        .iter()
        .flat_map(|live| live.lookup_objects(&uid))
        .filter(|meta| meta.controller().is_none_or(|c| !controls(&c.uid)))
        .count();
    Some(Seen {
        kind: key.kind,
        image,
        check: cx.checks.last(&uid),
        runtime: cx.options.runtime.of(key.kind),
        released: i64::try_from(released).unwrap_or(i64::MAX),
        revisions,
        package,
    })
}
