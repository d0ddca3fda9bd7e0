//! Does what the plan says: questions, writes on revisions, status, events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::condition::{ConditionType, Reason, Status};
use api::pkg::{Package, PackageStatus, Revision, RevisionSpec};
use jiff::{SignedDuration, Timestamp};
use kit::queue::Next;
use kit::write::{Preconditions, Propagation, WriteError};
use oci::Digest;
use serde_json::{Value, json};
use tracing::Instrument;

use super::check::{Check, PullPolicy, Question, Trouble};
use super::plan::{Outcome, Plan, Seen, Step};
use crate::conditions::{Cond, observed, timed};
use crate::context::{Context, package_target, revision_target};
use crate::images;
use crate::key::Key;
use crate::note::{Note, Told};
use crate::status;

/// One question may take this long, retries included: a check is a HEAD, perhaps a token before it.
pub(crate) const QUESTION_TIMEOUT: Duration = Duration::from_secs(45);

/// Conditions of a package that are ours.
const OWNED: [ConditionType; 7] = [
    ConditionType::Installed,
    ConditionType::Healthy,
    ConditionType::Ready,
    ConditionType::Reconciling,
    ConditionType::Stalled,
    ConditionType::UpToDate,
    ConditionType::Synced,
];

pub(crate) async fn act(cx: &Arc<Context>, key: &Key, seen: &Seen, plan: Plan) -> Next {
    let uid = seen.package.metadata.uid.clone().unwrap_or_default();
    if let Some(question) = plan.ask {
        ask(cx, key, &seen.package, question);
    }
    let mut trouble = None;
    let mut failed = false;
    for step in &plan.steps {
        let Err(error) = take(cx, key, seen, step).await else {
            continue;
        };
        failed = true;
        match (&error, step) {
            (WriteError::AlreadyExists { .. }, Step::Create { name, .. })
                if is_taken(cx, key, seen, name) =>
            {
                trouble = Some(format!(
                    "revision {name} is taken by a revision of another package with the same content; \
                     rename one of the packages"
                ));
            }
            // Somebody was faster; the caches will say what is true now.
            (
                WriteError::Conflict { .. } | WriteError::NotFound { .. } | WriteError::AlreadyExists { .. },
                _,
            ) => {
                tracing::debug!(%error, "a revision changed meanwhile");
                return Next::Backoff;
            }
            // What is surplus holds up nothing.
            (_, Step::Delete { name }) => {
                tracing::warn!(%error, revision = %name, "a revision was not removed from history");
                let message = format!("cannot garbage collect old package revision: {error}");
                let next = "it is tried again; if that goes on, delete that revision by hand";
                let note = Note::new(Told::NotCollected, message).next(next);
                cx.tell_package(key, &seen.package, &note);
            }
            (_, Step::Create { name, .. } | Step::Update { name, .. }) => {
                tracing::warn!(%error, revision = %name, "a revision was not written");
                if !error.is_transient() {
                    trouble = Some(format!("cannot apply package revision: {error}"));
                }
                break;
            }
        }
    }
    if let Some(outcome) = plan.status {
        let now = Timestamp::now();
        let outcome = match trouble {
            Some(trouble) => stalled(outcome, &trouble),
            None => outcome,
        };
        let (before, wanted) = statuses(&seen.package, outcome, now);
        let target = package_target(key);
        let manager = api::FIELD_MANAGER_MANAGER;
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
        cx.tell_package(key, &seen.package, note);
    }
    match failed {
        true => Next::Backoff,
        false => cx.next(plan.next),
    }
}

/// The name belongs to a revision that is not this package's.
fn is_taken(cx: &Context, key: &Key, seen: &Seen, name: &str) -> bool {
    seen.revision(name).is_none() && cx.caches.revision(&Key::new(key.kind, name)).is_some()
}

/// The status when what was decided could not be written.
fn stalled(mut outcome: Outcome, trouble: &str) -> Outcome {
    let replaced = [
        ConditionType::Ready,
        ConditionType::Reconciling,
        ConditionType::Stalled,
    ];
    outcome.conditions.retain(|c| !replaced.contains(&c.type_));
    for (type_, is) in [
        (ConditionType::Ready, Status::False),
        (ConditionType::Stalled, Status::True),
    ] {
        outcome
            .conditions
            .push(Cond::new(type_, is, Reason::ObjectRefused).message(trouble));
    }
    outcome
}

fn statuses(package: &Package, outcome: Outcome, now: Timestamp) -> (PackageStatus, PackageStatus) {
    let mut before = package.status.clone().unwrap_or_default();
    let generation = package.metadata.generation;
    let wanted = PackageStatus {
        observed_generation: observed(&outcome.conditions, before.observed_generation, generation),
        conditions: status::sorted(timed(&outcome.conditions, &before.conditions, generation, now)),
        current_revision: outcome.current_revision,
        current_identifier: outcome.current_identifier,
        applied_image_config_refs: outcome.applied_image_config_refs,
        resolved_package: outcome.resolved_package,
        resolved_digest: outcome.resolved_digest,
        last_check_request: outcome.last_check_request,
        serving_revision: outcome.serving_revision,
        released_objects: outcome.released_objects,
    };
    // Conditions of others stay, and are no difference.
    before.conditions = status::sorted(status::owned(&before.conditions, &OWNED));
    (before, wanted)
}

async fn take(cx: &Context, key: &Key, seen: &Seen, step: &Step) -> Result<(), WriteError> {
    let manager = api::FIELD_MANAGER_MANAGER;
    match step {
        Step::Create { name, digest, spec } => {
            let target = revision_target(&Key::new(key.kind, name.clone()));
            let body = new_revision(key, &seen.package, name, digest, spec);
            cx.writer.create(manager, &target, body).await?;
            tracing::info!(revision = %name, %digest, "revision created");
        }
        Step::Update {
            name,
            spec,
            annotations,
            unfinalize,
            adopt,
        } => {
            let Some(revision) = seen.revision(name) else {
                return Ok(());
            };
            let target = revision_target(&Key::new(key.kind, name.clone()));
            let mut body = patch(revision, spec, annotations, *unfinalize);
            if *adopt {
                body["metadata"]["ownerReferences"] = owned_by(key, &seen.package);
            }
            let answer = cx.writer.merge_patch(manager, &target, body).await?;
            cx.freshness.wrote(&answer, kit::clock::steady());
            if revision.spec.desired_state != spec.desired_state {
                tracing::info!(revision = %name, state = %spec.desired_state, "revision changed state");
            }
        }
        Step::Delete { name } => {
            let Some(revision) = seen.revision(name) else {
                return Ok(());
            };
            let target = revision_target(&Key::new(key.kind, name.clone()));
            let exactly = Preconditions {
                uid: revision.metadata.uid.clone(),
                resource_version: revision.metadata.resource_version.clone(),
            };
            cx.writer
                .delete(&target, &exactly, Propagation::Background)
                .await?;
            tracing::info!(revision = %name, "revision removed from history");
        }
    }
    Ok(())
}

/// The owner references of the package's revisions.
fn owned_by(key: &Key, package: &Package) -> Value {
    json!([{
        "apiVersion": api::API_VERSION,
        "kind": key.kind.kind(),
        "name": key.name,
        "uid": package.metadata.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    }])
}

fn new_revision(key: &Key, package: &Package, name: &str, digest: &Digest, spec: &RevisionSpec) -> Value {
    let mut annotations = json!({api::annotation::DIGEST: digest.to_string()});
    if let Some(runtime) = &spec.runtime_config_ref {
        let text = format!("{}|{}|{}", runtime.api_version, runtime.kind, runtime.name);
        annotations[api::annotation::RUNTIME_CONFIG] = json!(text);
    }
    json!({
        "apiVersion": api::API_VERSION,
        "kind": key.kind.revision_kind(),
        "metadata": {
            "name": name,
            "labels": {api::label::PACKAGE: key.name},
            "annotations": annotations,
            "ownerReferences": owned_by(key, package),
        },
        "spec": spec,
    })
}

/// A conditional merge patch with only what differs. A merge patch keeps keys that it doesn't name, so what goes is named
/// with null.
fn patch(
    revision: &Revision,
    spec: &RevisionSpec,
    annotations: &BTreeMap<&'static str, String>,
    unfinalize: bool,
) -> Value {
    let mut metadata = json!({
        "uid": revision.metadata.uid,
        "resourceVersion": revision.metadata.resource_version,
    });
    if !annotations.is_empty() {
        metadata["annotations"] = json!(annotations);
    }
    if unfinalize {
        let finalizers = revision.metadata.finalizers.iter().flatten();
        let kept: Vec<&String> = finalizers
            .filter(|f| *f != api::REFERENCE_REVISION_FINALIZER)
            .collect();
        metadata["finalizers"] = json!(kept);
    }
    let as_map = |spec: &RevisionSpec| serde_json::to_value(spec).unwrap_or_default();
    let mut patch = json!({"metadata": metadata});
    let changed = difference(&as_map(&revision.spec), &as_map(spec));
    if changed.as_object().is_some_and(|c| !c.is_empty()) {
        patch["spec"] = changed;
    }
    patch
}

/// RFC 7386: what has to be merged into `before` to get `after`.
fn difference(before: &Value, after: &Value) -> Value {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else {
        return after.clone();
    };
    let mut changed = serde_json::Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(same) if same == value => {}
            Some(other) => {
                changed.insert(key.clone(), difference(other, value));
            }
            None => {
                changed.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        changed.insert(key.clone(), Value::Null);
    }
    Value::Object(changed)
}

/// Puts the question beside the reconcile loop, so that a slow registry holds up nobody else.
fn ask(cx: &Arc<Context>, key: &Key, package: &Arc<Package>, question: Question) {
    let uid = package.metadata.uid.clone().unwrap_or_default();
    if !cx.checks.begin(&uid, &question) {
        return;
    }
    let (cx, key, package) = (cx.clone(), key.clone(), package.clone());
    let span = tracing::info_span!("check", package = %key, reference = %question.effective);
    let tasks = cx.tasks.clone();
    let task = async move {
        let stopping = cx.tasks.stopping().clone();
        let answer = stopping
            .run_until_cancelled(answer(&cx, &package, &question))
            .await;
        let Some(outcome) = answer else { return };
        match &outcome {
            Ok(digest) => tracing::debug!(%digest, "resolved"),
            Err(trouble) => tracing::warn!(reason = %trouble.reason, error = %trouble, "not resolved"),
        }
        let interval =
            SignedDuration::try_from(cx.options.poll_interval).unwrap_or(super::check::POLL_INTERVAL);
        let before = cx.checks.last(&uid);
        let check = Check::answered(
            question,
            outcome,
            before.as_ref(),
            kit::clock::steady(),
            interval,
            jitter(&uid),
        );
        cx.checks.end(&uid, check);
        cx.packages.add(key);
    };
    tasks.spawn_job("check", task.instrument(span));
}

async fn answer(cx: &Context, package: &Package, question: &Question) -> Result<Digest, Trouble> {
    let spec = &package.spec;
    let image = images::effective(cx, &spec.package, spec.package_pull_secrets.as_deref())?;
    if question.policy == PullPolicy::Never {
        return cx
            .registry
            .resolve_stored(&image.reference)
            .await
            .map_err(|error| images::not_stored(&error, kit::clock::steady()));
    }
    let keychain = images::keychain(cx, &spec.package, spec.package_pull_secrets.as_deref()).await?;
    let resolved = cx
        .registry
        .resolve(
            &image.reference,
            &keychain,
            registry::Deadline::after(QUESTION_TIMEOUT),
        )
        .await;
    resolved.map_err(|error| images::trouble(&error, kit::clock::steady()))
}

/// A steady number in 0..1 per package: polls of many packages are spread, and each keeps its rhythm.
fn jitter(uid: &str) -> f64 {
    let hash = Digest::sha256(uid.as_bytes());
    let head = u32::from_str_radix(hash.hex().get(..8).unwrap_or("0"), 16).unwrap_or(0);
    f64::from(head) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_only_what_differs() {
        let before = json!({"a": 1, "gone": {"x": 1}, "map": {"stays": 1, "goes": 2}});
        let after = json!({"a": 1, "map": {"stays": 1, "comes": 3}, "new": true});
        let changed = json!({"gone": null, "map": {"goes": null, "comes": 3}, "new": true});
        assert_eq!(difference(&before, &after), changed);
        assert_eq!(difference(&after, &after), json!({}));
    }
}
