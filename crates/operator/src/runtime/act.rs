//! Does what the plan says: certificates, objects, a look at pods, status, events.

use std::sync::Arc;

use api::pkg::{AppliedReason, Revision, RevisionStatus};
use jiff::Timestamp;
use kit::queue::Next;
use kit::read::{self, Selection};
use kit::resource::Resource;
use kit::write::{Preconditions, Propagation, WriteError};
use serde_json::{Value, json};

use super::facts::Seen;
use super::health;
use super::plan::{OWNED, Outcome, Plan, Step};
use crate::conditions::timed;
use crate::context::{Context, revision_target};
use crate::key::Key;
use crate::{manager, status};

const PODS: Resource = Resource::new("", "v1", "pods", "Pod");
/// Pods that are looked at: what is wrong with the first few is wrong with all.
const MAX_PODS: usize = 20;

pub(crate) async fn act(cx: &Arc<Context>, key: &Key, seen: &Seen, plan: Plan) -> Next {
    let uid = seen.revision.metadata.uid.clone().unwrap_or_default();
    let mut soon = false;
    let at = plan.next;
    for step in plan.steps {
        let name = step.key();
        match write(cx, &uid, step).await {
            Ok(()) => cx.runtimes.succeeded(&uid, &name),
            Err(WriteError::Fenced(_)) => return Next::Backoff,
            Err(error) => {
                tracing::warn!(%error, "a part of the runtime was not written");
                // After a conflict the cache will show what it is now.
                if !matches!(error, WriteError::Conflict { .. } | WriteError::NotFound { .. }) {
                    cx.runtimes
                        .failed(&uid, name, error.to_string(), kit::clock::steady());
                    soon = true;
                }
                break;
            }
        }
    }
    if let Some((of, version, labels)) = plan.look {
        let trouble = look(cx, &labels).await;
        let now = kit::clock::steady();
        cx.runtimes.looked(&uid, (of, version), trouble, now);
        soon = true;
    }
    if let Some(outcome) = plan.status {
        let target = revision_target(key);
        let (before, wanted) = statuses(&seen.revision, outcome, Timestamp::now());
        let manager = api::FIELD_MANAGER_RUNTIME;
        if let Err(error) = status::apply(cx, manager, &target, &uid, &before, &wanted).await {
            tracing::warn!(%error, "the state of the runtime was not written");
            return Next::Backoff;
        }
    }
    for note in &plan.notes {
        cx.tell_revision(key, &seen.revision, note);
    }
    match (soon, at) {
        (true, _) => cx.next(manager::plan::Next::At(kit::clock::steady())),
        (false, Some(at)) => cx.next(manager::plan::Next::At(at)),
        (false, None) => cx.next(manager::plan::Next::Await),
    }
}

async fn write(cx: &Context, revision: &str, step: Step) -> Result<(), WriteError> {
    let manager = api::FIELD_MANAGER_RUNTIME;
    match step {
        Step::Apply(wanted) => {
            let answer = cx
                .writer
                .apply(manager, &wanted.target, &wanted.body, true)
                .await?;
            tracing::info!(object = %wanted.target, "applied");
            cx.runtime_freshness.wrote(&answer, kit::clock::steady());
            cx.runtimes
                .answered(revision, wanted.target.to_string(), wanted.hash, &answer);
        }
        Step::TakeOver {
            target,
            uid,
            version,
            owners,
        } => {
            let body =
                json!({"metadata": {"uid": uid, "resourceVersion": version, "ownerReferences": owners}});
            let answer = cx.writer.merge_patch(manager, &target, body).await?;
            tracing::info!(object = %target, "taken over");
            cx.runtime_freshness.wrote(&answer, kit::clock::steady());
        }
        Step::Delete { target, uid } => {
            cx.writer
                .delete(&target, &Preconditions::same(uid), Propagation::Foreground)
                .await?;
            tracing::info!(object = %target, "deleted, after its pods");
        }
    }
    Ok(())
}

/// What is wrong with the pods that have these labels. Trouble with asking is none of theirs.
async fn look(cx: &Context, labels: &str) -> Option<String> {
    let selection = Selection {
        namespace: Some(&cx.options.namespace),
        labels: Some(labels),
        page: Some(MAX_PODS),
        ..Selection::default()
    };
    match read::list::<Value>(&cx.client, &PODS, &selection).await {
        Ok(pods) => {
            let pods = pods.unwrap_or_default();
            health::trouble(pods.get(..MAX_PODS).unwrap_or(&pods))
        }
        Err(error) => {
            tracing::warn!(%error, "the pods of a runtime could not be looked at");
            None
        }
    }
}

/// The part of the status that is ours, as it is and as it should be.
fn statuses(revision: &Revision, outcome: Outcome, now: Timestamp) -> (RevisionStatus, RevisionStatus) {
    let all = revision.status.clone().unwrap_or_default();
    let chosen = |reason: &str| reason == AppliedReason::ConfigureRuntime.as_str();
    let wanted = RevisionStatus {
        conditions: status::sorted(timed(
            &outcome.conditions,
            &all.conditions,
            revision.metadata.generation,
            now,
        )),
        applied_image_config_refs: outcome.chosen_by.into_iter().collect(),
        tls_server_secret_name: outcome.server_secret,
        tls_client_secret_name: outcome.client_secret,
        endpoint: outcome.endpoint,
        ..RevisionStatus::default()
    };
    let before = RevisionStatus {
        conditions: status::sorted(status::owned(&all.conditions, &OWNED)),
        applied_image_config_refs: {
            let mut refs = all.applied_image_config_refs;
            refs.retain(|r| chosen(&r.reason));
            refs
        },
        tls_server_secret_name: all.tls_server_secret_name,
        tls_client_secret_name: all.tls_client_secret_name,
        endpoint: all.endpoint,
        ..RevisionStatus::default()
    };
    (before, wanted)
}
