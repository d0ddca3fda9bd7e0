//! Dependencies, as far as they are looked at in this version: which are declared, which of them are there. Nothing waits
//! for them, and nothing is created for them.

mod act;
pub mod plan;

use std::sync::Arc;

use kit::queue::Next;

use crate::context::Context;
use crate::key::Key;

/// Looks at the dependencies of one revision.
pub(crate) async fn reconcile(cx: Arc<Context>, key: Key) -> Next {
    let Some(revision) = cx.caches.revision(&key) else {
        return Next::Await;
    };
    let packages = cx.caches.packages.iter().flat_map(|(kind, live)| {
        live.all()
            .into_iter()
            .filter_map(move |package| plan::Installed::of(kind, &package))
    });
    let packages: Vec<plan::Installed> = packages.collect();
    match plan::plan(&revision, &packages) {
        Some(outcome) => act::act(&cx, &key, &revision, outcome).await,
        None => Next::Await,
    }
}
