//! Does what the plan says: work, metadata, status, events.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::pkg::{AppliedReason, Revision, RevisionStatus};
use jiff::Timestamp;
use kit::queue::Next;
use serde_json::json;

use super::plan::{OWNED, Outcome, Plan, Seen, WorkStep};
use super::task;
use crate::conditions::{observed, timed};
use crate::context::{Context, revision_target};
use crate::key::Key;
use crate::note::{Note, Told};
use crate::status;

pub(crate) async fn act(cx: &Arc<Context>, key: &Key, seen: &Seen, plan: Plan) -> Next {
    let uid = seen.revision.metadata.uid.clone().unwrap_or_default();
    match plan.work {
        WorkStep::Keep => {}
        WorkStep::Stop if cx.works.stop(&uid) => cx.carriers.remove_all(key),
        WorkStep::Stop => {}
        WorkStep::Start(aim) => {
            if let Some(package) = &seen.package {
                task::start(cx, key, &seen.revision, package, aim);
            }
        }
    }
    let mut failed = false;
    if let Some((labels, annotations)) = plan.metadata
        && let Err(error) = metadata(cx, key, &uid, labels, annotations).await
    {
        tracing::warn!(%error, "labels and annotations of the package's metadata were not written");
        failed = true;
        if !error.is_transient() {
            let message = format!("cannot update package revision object metadata: {error}");
            let next = "labels and annotations come from the package's metadata: correct the package";
            let note = Note::new(Told::MetadataNotSynced, message).next(next);
            cx.tell_revision(key, &seen.revision, &note);
        }
    }
    if let Some(outcome) = plan.status {
        let now = Timestamp::now();
        let target = revision_target(key);
        let (before, wanted) = statuses(&seen.revision, outcome, now);
        let manager = api::FIELD_MANAGER_REVISION;
        match status::show(cx, manager, &target, &uid, &before, &wanted).await {
            Ok(None) => {}
            Ok(Some(_)) if failed => return Next::Backoff,
            Ok(Some(until)) => return cx.next(plan.next.or_at(until)),
            Err(error) => {
                tracing::warn!(%error, "status was not written");
                return Next::Backoff;
            }
        }
    }
    for note in &plan.notes {
        cx.tell_revision(key, &seen.revision, note);
    }
    match failed {
        true => Next::Backoff,
        false => cx.next(plan.next),
    }
}

/// The part of the status that is ours, as it is and as it should be.
fn statuses(revision: &Revision, outcome: Outcome, now: Timestamp) -> (RevisionStatus, RevisionStatus) {
    let all = revision.status.clone().unwrap_or_default();
    let configured = |reason: &str| reason == AppliedReason::ConfigureRuntime.as_str();
    let before = RevisionStatus {
        observed_generation: all.observed_generation,
        conditions: status::sorted(status::owned(&all.conditions, &OWNED)),
        object_refs: all.object_refs,
        applied_image_config_refs: {
            let mut refs = all.applied_image_config_refs;
            refs.retain(|r| !configured(&r.reason));
            refs
        },
        resolved_image: all.resolved_image,
        capabilities: all.capabilities,
        declared_dependencies: all.declared_dependencies,
        warnings: all.warnings,
        progress: all.progress,
        ..RevisionStatus::default()
    };
    let generation = revision.metadata.generation;
    let wanted = RevisionStatus {
        observed_generation: observed(&outcome.conditions, all.observed_generation, generation),
        conditions: status::sorted(timed(&outcome.conditions, &all.conditions, generation, now)),
        object_refs: outcome.object_refs,
        applied_image_config_refs: outcome.applied_image_config_refs,
        resolved_image: outcome.resolved_image,
        capabilities: outcome.capabilities,
        declared_dependencies: outcome.declared_dependencies,
        warnings: outcome.warnings,
        progress: outcome.progress,
        ..RevisionStatus::default()
    };
    (before, wanted)
}

/// Labels and annotations from the package's metadata, by apply, so that those of others stay.
async fn metadata(
    cx: &Context,
    key: &Key,
    uid: &str,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
) -> Result<(), kit::write::WriteError> {
    let target = revision_target(key);
    let body = json!({
        "apiVersion": target.resource.api_version(),
        "kind": target.resource.kind,
        "metadata": {"name": key.name, "uid": uid, "labels": labels, "annotations": annotations},
    });
    let answer = cx
        .writer
        .apply(api::FIELD_MANAGER_REVISION, &target, body, true)
        .await?;
    cx.freshness.wrote(&answer, kit::clock::steady());
    Ok(())
}
