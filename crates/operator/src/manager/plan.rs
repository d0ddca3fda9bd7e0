//! What the manager does with one package: pure, total, and without a clock (design §3.1).

use std::collections::BTreeMap;
use std::sync::Arc;

use api::names;
use api::pkg::{ActivationPolicy, ImageConfigRef, Package, PackageKind, Revision, RevisionSpec, View};
use jiff::Timestamp;
use oci::{Digest, Reference};

use super::check::{Check, PullPolicy, Question, Trouble};
use super::choose::{choose_active, surplus};
use super::resolve::{Known, question, resolve};
use super::status::{self, Wanted};
use crate::conditions::Cond;
use crate::note::{Note, Told};
use crate::runtime_mode::RuntimeMode;

/// The reference to fetch after ImageConfigs were applied.
#[derive(Clone, Debug)]
pub struct EffectiveImage {
    /// What is asked of a registry.
    pub reference: Reference,
    /// ImageConfigs that had a say.
    pub applied: Vec<ImageConfigRef>,
    /// Identity of the credentials used; see [`Question::credentials`].
    pub credentials: String,
}

/// Everything that the decision depends on.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The package.
    pub package: Arc<Package>,
    /// Its kind.
    pub kind: PackageKind,
    /// Its revisions, in any order.
    pub revisions: Vec<Arc<Revision>>,
    /// The effective image, or why there is none.
    pub image: Result<EffectiveImage, Trouble>,
    /// The last answer about this package's tag.
    pub check: Option<Check>,
    /// How controllers of this kind run.
    pub runtime: RuntimeMode,
    /// Objects that revisions of this package released and that the package still owns.
    pub released: i64,
}

impl Seen {
    /// The package's revision of this name, if it has one.
    pub(super) fn revision(&self, name: &str) -> Option<&Arc<Revision>> {
        self.revisions
            .iter()
            .find(|r| r.metadata.name.as_deref() == Some(name))
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make a revision.
    Create {
        /// Its name.
        name: String,
        /// The digest that it stands for.
        digest: Digest,
        /// Its spec.
        spec: Box<RevisionSpec>,
    },
    /// Bring a revision to this spec; `annotations` are set beside it.
    Update {
        /// Its name.
        name: String,
        /// The spec.
        spec: Box<RevisionSpec>,
        /// Annotations to set.
        annotations: BTreeMap<&'static str, String>,
        /// Take the reference's finalizer off.
        unfinalize: bool,
        /// Make the package its owner: it has none, since a package of this name was deleted and left it behind.
        adopt: bool,
    },
    /// Delete a revision.
    Delete {
        /// Its name.
        name: String,
    },
}

/// When to look again without being called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Not before something changes.
    Await,
    /// At this time.
    At(Timestamp),
}

impl Next {
    /// At `time` at the latest.
    pub(crate) fn or_at(self, time: Timestamp) -> Self {
        match self {
            Self::At(at) => Self::At(at.min(time)),
            Self::Await => Self::At(time),
        }
    }
}

/// The package's status as it should be, but for times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Conditions, complete.
    pub conditions: Vec<Cond>,
    /// `status.currentRevision`.
    pub current_revision: Option<String>,
    /// `status.currentIdentifier`.
    pub current_identifier: Option<String>,
    /// `status.resolvedPackage`.
    pub resolved_package: Option<String>,
    /// `status.resolvedDigest`.
    pub resolved_digest: Option<String>,
    /// `status.appliedImageConfigRefs`.
    pub applied_image_config_refs: Vec<ImageConfigRef>,
    /// `status.servingRevision`.
    pub serving_revision: Option<String>,
    /// `status.lastCheckRequest`.
    pub last_check_request: Option<String>,
    /// `status.releasedObjects`.
    pub released_objects: Option<i64>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Writes, in order.
    pub steps: Vec<Step>,
    /// The status; `None` leaves it alone.
    pub status: Option<Outcome>,
    /// Events.
    pub notes: Vec<Note>,
    /// A question to put to the registry or the store meanwhile; the answer brings the package back.
    pub ask: Option<Question>,
    /// When to look again.
    pub next: Next,
}

impl Plan {
    fn nothing() -> Self {
        Self {
            steps: vec![],
            status: None,
            notes: vec![],
            ask: None,
            next: Next::Await,
        }
    }
}

/// Decides. Total: trouble becomes conditions of the plan.
#[must_use]
pub fn plan(seen: &Seen, now: Timestamp) -> Plan {
    if seen.package.metadata.deletion_timestamp.is_some() {
        return Plan::nothing();
    }
    if api::annotation::is_paused(&seen.package.metadata) {
        let notes = status::notes_of_pause(seen);
        return Plan {
            status: Some(status::paused(seen)),
            notes,
            ..Plan::nothing()
        };
    }
    let (known, ask) = resolve(seen, now);
    let (digest, trouble) = match known {
        Known::Digest(digest, stale) => (Some(digest), stale),
        Known::Nothing(trouble) => (None, Some(trouble)),
        Known::Pending => (None, None),
    };
    let plan = act_on(seen, digest, trouble);
    // The answer brings the package back.
    let next = if ask.is_some() { Next::Await } else { plan.next };
    Plan { ask, next, ..plan }
}

/// The revision that stands for `digest` and the package's runtime config, if there is one.
fn find<'a>(seen: &'a Seen, digest: &Digest) -> Option<View<'a>> {
    let name = seen.package.metadata.name.as_deref().unwrap_or_default();
    let generation = seen.package.metadata.generation.unwrap_or(1);
    let runtime = seen.package.spec.runtime_config(seen.kind);
    let names = [
        names::revision_name(name, digest.hex(), runtime.as_ref()),
        names::reference_revision_name(name, digest.hex(), generation),
        names::legacy_revision_name(name, digest.hex()),
    ];
    let mut found: Vec<View<'_>> = seen
        .revisions
        .iter()
        .map(|r| View(r))
        .filter(|r| {
            let same_digest = r.digest().is_some_and(|d| d == *digest);
            let same_runtime = !seen.kind.has_runtime() || r.0.spec.runtime_config_ref == runtime;
            let unmarked = r.annotation(api::annotation::DIGEST).is_none();
            (same_digest && same_runtime)
                || r.name() == names[0]
                || (unmarked && names.iter().any(|n| n == r.name()))
        })
        .collect();
    found.sort_by_key(|r| (!r.is_deleting(), r.number()));
    found.pop()
}

/// The spec that the wanted revision should have, but for its number and desired state.
fn wanted_spec(seen: &Seen) -> RevisionSpec {
    let package = &seen.package;
    let mut spec = RevisionSpec {
        desired_state: "Inactive".to_owned(),
        image: package.spec.package.clone(),
        package_pull_secrets: package.spec.package_pull_secrets.clone(),
        package_pull_policy: package.spec.package_pull_policy.clone(),
        ignore_crossplane_constraints: package.spec.ignore_crossplane_constraints,
        skip_dependency_resolution: package.spec.skip_dependency_resolution,
        common_labels: package.spec.common_labels.clone(),
        common_annotations: package.spec.common_annotations.clone(),
        runtime_config_ref: seen.package.spec.runtime_config(seen.kind),
        ..RevisionSpec::default()
    };
    if seen.runtime == RuntimeMode::Deployment && seen.kind.has_runtime() {
        let name = package.metadata.name.as_deref().unwrap_or_default();
        spec.tls_server_secret_name = Some(names::tls_server_secret(name));
        if seen.kind == PackageKind::Provider {
            spec.tls_client_secret_name = Some(names::tls_client_secret(name));
        }
    }
    spec
}

fn act_on(seen: &Seen, digest: Option<Digest>, trouble: Option<Trouble>) -> Plan {
    let manual = seen.package.spec.activation() == ActivationPolicy::Manual;
    let wanted = digest.as_ref().and_then(|d| find(seen, d));
    let highest = seen.revisions.iter().map(|r| r.spec.revision).max().unwrap_or(0);
    let mut steps = vec![];
    let mut notes = vec![];

    if let (Some(digest), None) = (&digest, wanted) {
        let name = names::revision_name(
            seen.package.metadata.name.as_deref().unwrap_or_default(),
            digest.hex(),
            seen.package.spec.runtime_config(seen.kind).as_ref(),
        );
        let spec = RevisionSpec {
            revision: highest.saturating_add(1),
            ..wanted_spec(seen)
        };
        steps.push(Step::Create {
            name,
            digest: digest.clone(),
            spec: Box::new(spec),
        });
    }

    let choice = choose_active(seen, wanted, manual);
    if let Some((from, to)) = &choice.returned {
        let message = format!("revision {from} was refused after activation; {to} serves again");
        let next =
            "see the conditions of the refused revision; remove what they name, or set spec.package back";
        notes.push(Note::new(Told::ReturnedTo, message).next(next));
    }

    // The new active one first, then the others become inactive, then what is only bookkeeping.
    let mut updates: Vec<(u8, Step)> = vec![];
    let mut next_number = highest;
    for revision in seen
        .revisions
        .iter()
        .map(|r| View(r))
        .filter(|r| !r.is_deleting())
    {
        let is_wanted = wanted.is_some_and(|w| w.name() == revision.name());
        let activate = choice.active == Some(revision.name());
        let base = if is_wanted {
            wanted_spec(seen)
        } else {
            revision.0.spec.clone()
        };
        let needs_number =
            activate && (choice.renumber || !revision.is_active()) && revision.number() < highest;
        let reused = is_wanted && revision.number() < highest && !manual;
        let number = if needs_number || reused {
            next_number = next_number.saturating_add(1);
            next_number
        } else {
            revision.number()
        };
        let desired_state = match choice.active {
            Some(name) if name == revision.name() => "Active",
            Some(_) => "Inactive",
            None if manual => revision.0.spec.desired_state.as_str(),
            None if revision.is_active() => "Active",
            None => "Inactive",
        };
        let tls = |ours: Option<String>, theirs: &Option<String>| ours.or_else(|| theirs.clone());
        let spec = RevisionSpec {
            desired_state: desired_state.to_owned(),
            revision: number,
            tls_server_secret_name: tls(
                base.tls_server_secret_name.clone(),
                &revision.0.spec.tls_server_secret_name,
            ),
            tls_client_secret_name: tls(
                base.tls_client_secret_name.clone(),
                &revision.0.spec.tls_client_secret_name,
            ),
            ..base
        };
        let mut annotations = BTreeMap::new();
        if is_wanted && revision.annotation(api::annotation::DIGEST).is_none() {
            annotations.extend(digest.as_ref().map(|d| (api::annotation::DIGEST, d.to_string())));
        }
        if revision.is_active()
            && revision.is_established()
            && revision.annotation(api::annotation::SERVED).is_none()
        {
            annotations.insert(api::annotation::SERVED, "true".to_owned());
        }
        let finalizers = revision.0.metadata.finalizers.as_deref().unwrap_or_default();
        let unfinalize = finalizers.iter().any(|f| f == api::REFERENCE_REVISION_FINALIZER);
        let adopt = revision
            .0
            .metadata
            .owner_references
            .as_ref()
            .is_none_or(Vec::is_empty);
        if spec != revision.0.spec || !annotations.is_empty() || unfinalize || adopt {
            let rank = match (activate, desired_state == "Inactive" && revision.is_active()) {
                (true, _) => 0,
                (_, true) => 1,
                _ => 2,
            };
            let name = revision.name().to_owned();
            updates.push((
                rank,
                Step::Update {
                    name,
                    spec: Box::new(spec),
                    annotations,
                    unfinalize,
                    adopt,
                },
            ));
        }
    }
    updates.sort_by_key(|(rank, _)| *rank);
    steps.extend(updates.into_iter().map(|(_, step)| step));
    steps.extend(unfinalize_deleting(seen));
    steps.extend(
        surplus(seen, wanted, &choice)
            .into_iter()
            .map(|name| Step::Delete { name }),
    );

    let wanted = Wanted {
        view: wanted,
        digest: digest.is_some(),
        trouble: trouble.map(|trouble| status::steady(seen, trouble)),
        manual,
    };
    let outcome = status::outcome(seen, &wanted, choice.active);
    notes.extend(status::notes(seen, &outcome));
    let next = next_look(seen, &wanted);
    Plan {
        steps,
        status: Some(outcome),
        notes,
        ask: None,
        next,
    }
}

fn next_look(seen: &Seen, wanted: &Wanted<'_>) -> Next {
    let polled = seen.package.spec.pull_policy() == PullPolicy::Always;
    let pinned = seen.image.as_ref().is_ok_and(|i| i.reference.digest().is_some());
    let question = question(seen);
    match seen
        .check
        .as_ref()
        .filter(|c| Some(&c.question) == question.as_ref())
    {
        Some(check) if !pinned && (polled || wanted.trouble.is_some()) => Next::At(check.next),
        _ => Next::Await,
    }
}

/// A revision that is going but held by the reference's finalizer would hang: nobody else removes it here.
fn unfinalize_deleting(seen: &Seen) -> Vec<Step> {
    let held = |r: &View<'_>| {
        r.is_deleting()
            && r.0
                .metadata
                .finalizers
                .as_deref()
                .unwrap_or_default()
                .iter()
                .any(|f| f == api::REFERENCE_REVISION_FINALIZER)
    };
    seen.revisions
        .iter()
        .map(|r| View(r))
        .filter(held)
        .map(|r| Step::Update {
            name: r.name().to_owned(),
            spec: Box::new(r.0.spec.clone()),
            annotations: BTreeMap::new(),
            unfinalize: true,
            adopt: false,
        })
        .collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
