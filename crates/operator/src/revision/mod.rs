//! Revisions: their content, and the objects that it puts into the cluster (design §3.1, §3.2).

mod act;
mod body;
pub mod diff;
pub(crate) mod doubt;
pub(crate) mod establish;
pub mod items;
pub(crate) mod job;
mod observe;
pub mod ownership;
pub mod plan;
pub(crate) mod preflight;
pub(crate) mod served;
mod status;
pub mod survey;
pub(crate) mod task;
pub mod work;

use std::sync::Arc;

use kit::queue::Next;

pub use work::{Carriers, Works};

use crate::context::Context;
use crate::freshness;
use crate::key::Key;

pub(crate) use observe::{package_of, siblings};
pub(crate) use task::digest;

/// Looks at one revision and does what is to be done.
pub(crate) async fn reconcile(cx: Arc<Context>, key: Key) -> Next {
    if cx.caches.in_doubt(key.kind) {
        return Next::After(freshness::RECHECK);
    }
    let Some(seen) = observe::observe(&cx, &key) else {
        return Next::Await;
    };
    let now = kit::clock::steady();
    if cx.freshness.is_stale(&seen.revision.metadata, now) {
        return Next::After(freshness::RECHECK);
    }
    let plan = plan::plan(&seen, now);
    act::act(&cx, &key, &seen, plan).await
}
