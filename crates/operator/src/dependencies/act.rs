//! Writes what is known of a revision's dependencies, under its own field manager.

use api::condition::ConditionType;
use api::pkg::{Revision, RevisionStatus};
use jiff::Timestamp;
use kit::queue::Next;

use super::plan::Outcome;
use crate::conditions::timed;
use crate::context::{Context, revision_target};
use crate::key::Key;
use crate::status;

pub(crate) async fn act(cx: &Context, key: &Key, revision: &Revision, outcome: Outcome) -> Next {
    let all = revision.status.clone().unwrap_or_default();
    let generation = revision.metadata.generation;
    let conditions = timed(
        std::slice::from_ref(&outcome.condition),
        &all.conditions,
        generation,
        Timestamp::now(),
    );
    let before = RevisionStatus {
        conditions: status::owned(&all.conditions, &[ConditionType::DependenciesResolved]),
        dependencies: all.dependencies,
        found_dependencies: all.found_dependencies,
        installed_dependencies: all.installed_dependencies,
        invalid_dependencies: all.invalid_dependencies,
        ..RevisionStatus::default()
    };
    let wanted = RevisionStatus {
        conditions,
        dependencies: outcome.dependencies,
        found_dependencies: outcome.found,
        installed_dependencies: outcome.installed,
        invalid_dependencies: outcome.invalid,
        ..RevisionStatus::default()
    };
    let uid = revision.metadata.uid.clone().unwrap_or_default();
    let manager = api::FIELD_MANAGER_DEPENDENCIES;
    match status::apply(cx, manager, &revision_target(key), &uid, &before, &wanted).await {
        Ok(_) => Next::Await,
        Err(error) => {
            tracing::warn!(%error, "the state of dependencies was not written");
            Next::Backoff
        }
    }
}
