//! Packages: what digest they stand for, which revisions they have, which one is active, and how they are
//! (design §3.1).

mod act;
pub mod check;
mod choose;
mod observe;
pub mod plan;
mod resolve;
mod status;

use std::sync::Arc;

use kit::queue::Next;

#[cfg(test)]
pub(crate) use act::QUESTION_TIMEOUT;
pub use check::Checks;

use crate::context::Context;
use crate::freshness;
use crate::key::Key;

/// Looks at one package and does what is to be done.
pub(crate) async fn reconcile(cx: Arc<Context>, key: Key) -> Next {
    if cx.caches.in_doubt(key.kind) {
        return Next::After(freshness::RECHECK);
    }
    let Some(seen) = observe::observe(&cx, &key) else {
        return Next::Await;
    };
    let now = kit::clock::steady();
    let stale = |meta| cx.freshness.is_stale(meta, now);
    if stale(&seen.package.metadata) || seen.revisions.iter().any(|r| stale(&r.metadata)) {
        return Next::After(freshness::RECHECK);
    }
    let plan = plan::plan(&seen, now);
    act::act(&cx, &key, &seen, plan).await
}
