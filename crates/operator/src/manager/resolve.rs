//! Which digest a package stands for: what is remembered, what was answered, what to ask. Pure.

use api::condition::{ConditionType, Conditions, Reason, Status};
use api::pkg::{Package, PullPolicy, View};
use jiff::Timestamp;
use oci::Digest;

use super::check::{Question, Trouble};
use super::plan::Seen;

/// What is known of the digest.
pub(super) enum Known {
    /// It, and the trouble that kept it from being asked for again.
    Digest(Digest, Option<Trouble>),
    Nothing(Trouble),
    /// It is being asked for.
    Pending,
}

/// The question that this package puts, as far as it has to put one.
#[must_use]
pub(crate) fn question(seen: &Seen) -> Option<Question> {
    let image = seen.image.as_ref().ok()?;
    Some(Question {
        package: seen.package.spec.package.clone(),
        effective: image.reference.to_string(),
        policy: seen.package.spec.pull_policy(),
        requested: requested(&seen.package).map(str::to_owned),
        credentials: image.credentials.clone(),
    })
}

fn requested(package: &Package) -> Option<&str> {
    let annotations = package.metadata.annotations.as_ref()?;
    annotations
        .get(api::annotation::CHECK_REQUESTED_AT)
        .map(String::as_str)
}

/// What is known, and what to ask. Asking never takes back what is known: while a poll or a retry is under way, all goes
/// on as it was after the last answer.
pub(super) fn resolve(seen: &Seen, now: Timestamp) -> (Known, Option<Question>) {
    let image = match &seen.image {
        Ok(image) => image,
        Err(trouble) => return (fall_back(seen, trouble.clone()), None),
    };
    if let Some(digest) = image.reference.digest() {
        return (Known::Digest(digest.clone(), None), None);
    }
    let Some(question) = question(seen) else {
        return (Known::Nothing(no_image()), None);
    };
    let handled = seen
        .package
        .status
        .as_ref()
        .and_then(|s| s.last_check_request.as_deref());
    let asked_for = question.requested.is_some() && question.requested.as_deref() != handled;
    let remembered = remembered(seen, &question.effective);
    if question.policy != PullPolicy::Always
        && !asked_for
        && let Some(digest) = &remembered
    {
        return (Known::Digest(digest.clone(), None), None);
    }
    let pending = || match (recalled(seen), &remembered) {
        (Some(trouble), _) => fall_back(seen, trouble),
        (None, Some(digest)) => Known::Digest(digest.clone(), None),
        (None, None) => Known::Pending,
    };
    match seen.check.as_ref().filter(|c| c.question == question) {
        None => (pending(), Some(question)),
        Some(check) => {
            let known = match &check.outcome {
                Ok(digest) => Known::Digest(digest.clone(), None),
                Err(trouble) => fall_back(seen, trouble.clone()),
            };
            // A digest holds until the tag is polled again; other policies keep it.
            let due = now >= check.next && (check.outcome.is_err() || question.policy == PullPolicy::Always);
            (known, due.then_some(question))
        }
    }
}

/// The digest that this very reference resolved to earlier (design §7, `IfNotPresent`).
fn remembered(seen: &Seen, effective: &str) -> Option<Digest> {
    let status = seen.package.status.as_ref()?;
    let same = status.current_identifier.as_deref() == Some(seen.package.spec.package.as_str())
        && status.resolved_package.as_deref() == Some(effective);
    if !same {
        return None;
    }
    // The digest that was written down beside them is the answer; the current revision speaks for it only where that field
    // is missing, as after another version's CRDs.
    if let Some(digest) = status.resolved_digest.as_deref() {
        return Digest::parse(digest).ok();
    }
    let current = status.current_revision.as_deref();
    let revisions = seen.revisions.iter().map(|r| View(r));
    let revision = revisions
        .filter(|r| !r.is_deleting())
        .find(|r| Some(r.name()) == current);
    revision.and_then(View::digest)
}

/// Without an answer, what is known goes on: the current revision of the same reference, else a kept revision that was
/// made for it (a rollback works while the registry is down).
fn fall_back(seen: &Seen, trouble: Trouble) -> Known {
    let package = &seen.package.spec.package;
    let status = seen.package.status.as_ref();
    let current = status
        .filter(|s| s.current_identifier.as_deref() == Some(package.as_str()))
        .and_then(|s| s.current_revision.as_deref());
    let mut known: Vec<View<'_>> = seen
        .revisions
        .iter()
        .map(|r| View(r))
        .filter(|r| !r.is_deleting() && (Some(r.name()) == current || r.0.spec.image == *package))
        .collect();
    known.sort_by_key(|r| (Some(r.name()) == current, r.number()));
    match known.iter().rev().find_map(|r| r.digest()) {
        Some(digest) => Known::Digest(digest, Some(trouble)),
        None => Known::Nothing(trouble),
    }
}

/// The trouble that the status tells of, for this very spec: what an earlier process was answered stands until this one
/// has an answer of its own, so that a restart takes nothing back and writes nothing.
fn recalled(seen: &Seen) -> Option<Trouble> {
    let conditions = &seen.package.status.as_ref()?.conditions;
    let stale = conditions.get(ConditionType::UpToDate)?;
    let speaks = stale.status() == Status::Unknown
        && stale.observed_generation.is_some()
        && stale.observed_generation == seen.package.metadata.generation;
    speaks.then_some(Trouble {
        reason: Reason::parse(&stale.reason)?,
        message: stale.message.clone().unwrap_or_default(),
        terminal: conditions
            .get(ConditionType::Stalled)
            .is_some_and(|c| c.is_true()),
        not_before: None,
    })
}

fn no_image() -> Trouble {
    Trouble {
        reason: Reason::InvalidReference,
        message: "the package reference could not be read".to_owned(),
        terminal: true,
        not_before: None,
    }
}
