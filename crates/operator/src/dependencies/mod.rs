//! Dependencies, as far as they are looked at in this version: which are declared, which of them are there. Nothing waits
//! for them, and nothing is created for them.

mod act;
pub mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;

use kit::queue::Next;

use crate::context::{Context, by_source};
use crate::freshness;
use crate::key::Key;

/// Looks at the dependencies of one revision.
pub(crate) async fn reconcile(cx: Arc<Context>, key: Key) -> Next {
    let Some(revision) = cx.caches.revision(&key) else {
        return Next::Await;
    };
    if cx.freshness.is_stale(&revision.metadata, kit::clock::steady()) {
        return Next::After(freshness::RECHECK);
    }
    let declared = revision
        .status
        .iter()
        .flat_map(|status| &status.declared_dependencies);
    let sources: BTreeSet<String> = declared
        .map(|dependency| by_source(&dependency.package))
        .collect();
    let packages: Vec<plan::Installed> = cx
        .caches
        .packages
        .iter()
        .flat_map(|(kind, live)| {
            let named = sources.iter().flat_map(|source| live.lookup_objects(source));
            named
                .filter_map(|package| plan::Installed::of(kind, &package))
                .collect::<Vec<_>>()
        })
        .collect();
    match plan::plan(&revision, &packages) {
        Some(outcome) => act::act(&cx, &key, &revision, outcome).await,
        None => Next::Await,
    }
}
