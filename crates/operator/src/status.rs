//! Writing status: by server-side apply, only when it differs (design §3, rule 6).

use api::condition::{Condition, ConditionType};
use api::pkg::{PackageStatus, RevisionStatus};
use jiff::Timestamp;
use kit::resource::Target;
use kit::write::WriteError;
use serde::Serialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::pace;

/// A status in which work in progress is told apart from what was found out.
pub(crate) trait Progressing: Clone + PartialEq {
    /// Its conditions.
    fn conditions(&self) -> &[Condition];

    /// This status with what `other` tells of work in progress: conditions, their generation, how far it is.
    fn progressed_to(&self, other: &Self) -> Self;
}

impl Progressing for PackageStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn progressed_to(&self, other: &Self) -> Self {
        Self {
            observed_generation: other.observed_generation,
            conditions: other.conditions.clone(),
            ..self.clone()
        }
    }
}

impl Progressing for RevisionStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn progressed_to(&self, other: &Self) -> Self {
        Self {
            observed_generation: other.observed_generation,
            conditions: other.conditions.clone(),
            progress: other.progress,
            ..self.clone()
        }
    }
}

/// Applies the status as [`apply`] does, unless it only tells of work in progress and that is not to be shown yet: then it
/// answers until when, and nothing is written.
///
/// # Errors
/// If it could not be written.
pub(crate) async fn show<S>(
    cx: &Context,
    manager: &str,
    target: &Target,
    uid: &str,
    before: &S,
    wanted: &S,
) -> Result<Option<Timestamp>, WriteError>
where
    S: Progressing + Serialize,
{
    let passing = before != wanted
        && before.progressed_to(wanted) == *wanted
        && pace::passes(before.conditions(), wanted.conditions());
    let held = cx.pace.hold(uid, passing, kit::clock::steady());
    if held.is_none() {
        apply(cx, manager, target, uid, before, wanted).await?;
    }
    Ok(held)
}

/// Applies the status if the object's present one differs from it.
///
/// # Errors
/// If it could not be written.
pub(crate) async fn apply<S>(
    cx: &Context,
    manager: &str,
    target: &Target,
    uid: &str,
    before: &S,
    wanted: &S,
) -> Result<bool, WriteError>
where
    S: Serialize + PartialEq,
{
    if before == wanted {
        return Ok(false);
    }
    let status = serde_json::to_value(wanted).unwrap_or_else(|_| json!({}));
    let answer = cx
        .writer
        .apply_status(manager, target, body(target, uid, &status))
        .await?;
    cx.freshness.wrote(&answer, kit::clock::steady());
    Ok(true)
}

/// The body of a server-side apply of status. The UID makes it fail where the object was replaced by another.
pub(crate) fn body(target: &Target, uid: &str, status: &Value) -> Value {
    json!({
        "apiVersion": target.resource.api_version(),
        "kind": target.resource.kind,
        "metadata": {"name": target.name, "uid": uid},
        "status": status,
    })
}

/// The conditions of those types, in their order: what one controller owns of a status that several write.
pub(crate) fn owned(conditions: &[Condition], types: &[ConditionType]) -> Vec<Condition> {
    conditions
        .iter()
        .filter(|c| types.iter().any(|t| t.as_str() == c.type_))
        .cloned()
        .collect()
}

/// Conditions without regard to order: the API server keeps a list-map's order as it was first written.
pub(crate) fn sorted(mut conditions: Vec<Condition>) -> Vec<Condition> {
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    conditions
}
