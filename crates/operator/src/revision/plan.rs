//! What the revision controller does with one revision: pure, total, and without a clock (design §3.1).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use api::condition::{ConditionType, Reason, Status};
use api::pkg::{DeclaredDependency, ImageConfigRef, ObjectRef, Package, Progress, Revision};
use jiff::Timestamp;

use super::status::{before, established, lint_note, listed, notes, preflighted, recalled, was_established};
use crate::conditions::Cond;
use crate::manager::check::Trouble;
use crate::note::{Note, Told};

/// Names of objects in a refusal; the rest is counted (ten name the pattern, a hundred hide it).
pub const NAMED_REFUSALS: usize = 10;
/// Lint warnings kept in a revision's status.
pub const MAX_WARNINGS: usize = 20;

/// Conditions that this controller owns.
pub const OWNED: [ConditionType; 7] = [
    ConditionType::RevisionHealthy,
    ConditionType::Preflighted,
    ConditionType::Established,
    ConditionType::Ready,
    ConditionType::Reconciling,
    ConditionType::Stalled,
    ConditionType::Synced,
];

/// What can be done for a revision, one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// See whether it would work here.
    Preflight,
    /// Put all objects in place and keep them so.
    Establish,
    /// Give up control of the objects, for nobody follows.
    Release,
}

impl Task {
    /// The condition that tells how the task ended.
    pub(super) const fn decisive(self) -> Option<ConditionType> {
        match self {
            Self::Preflight => Some(ConditionType::Preflighted),
            Self::Establish => Some(ConditionType::Established),
            Self::Release => None,
        }
    }
}

/// A task with what it was started for; a change of it makes a running task stale.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Aim {
    /// The task.
    pub task: Task,
    /// `metadata.generation` of the revision.
    pub generation: i64,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// As wished.
    Done,
    /// The content could not be had.
    NoContent(Trouble),
    /// The content is not fit for this kind of package, or for this version. The text is the message of the condition.
    Unfit(String),
    /// Objects can't be had, and waiting doesn't help.
    Refused(Vec<String>),
    /// Objects can't be had yet.
    Waiting(Vec<String>),
    /// All is done but for objects that wait until the revision's own program answers.
    AwaitingProgram(Vec<String>),
}

impl Ending {
    /// One word for it, in logs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Done => "Done",
            Self::NoContent(_) => "NoContent",
            Self::Unfit(_) => "Unfit",
            Self::Refused(_) => "Refused",
            Self::Waiting(_) => "Waiting",
            Self::AwaitingProgram(_) => "AwaitingProgram",
        }
    }
}

/// As conditions tell it.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::NoContent(trouble) => f.write_str(&trouble.message),
            Self::Unfit(message) => f.write_str(message),
            Self::Refused(problems) | Self::Waiting(problems) | Self::AwaitingProgram(problems) => {
                f.write_str(&listed(problems))
            }
        }
    }
}

/// What is known of a package's content without its objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContentFacts {
    /// Labels of the metadata, without reserved keys.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the metadata, without reserved keys.
    pub annotations: BTreeMap<String, String>,
    /// `status.capabilities`.
    pub capabilities: Option<Vec<String>>,
    /// What it depends on.
    pub dependencies: Vec<DeclaredDependency>,
    /// Lint warnings.
    pub warnings: Vec<String>,
    /// Some of its objects have webhooks.
    pub webhooks: bool,
}

/// The work on this revision, as far as this process has done any.
#[derive(Clone, Debug, Default)]
pub struct WorkView {
    /// What runs now.
    pub running: Option<Aim>,
    /// What ended last: aim, ending, and when to try again if it didn't end well.
    pub ended: Option<(Aim, Ending, Option<Timestamp>)>,
    /// The content, once loaded.
    pub content: Option<Arc<ContentFacts>>,
    /// Live objects differ from what the active revision says, or a candidate could not have one that it could before.
    pub differs: bool,
    /// One of the active revision's objects is not there, or is going.
    pub missing: bool,
    /// Objects in place and in all, while establishing.
    pub progress: Option<Progress>,
    /// Objects established, once all are.
    pub object_refs: Option<Vec<ObjectRef>>,
}

/// Everything that the decision depends on.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The revision.
    pub revision: Arc<Revision>,
    /// Its package, if it exists.
    pub package: Option<Arc<Package>>,
    /// The package's other revisions.
    pub siblings: Vec<Arc<Revision>>,
    /// The work on it.
    pub work: WorkView,
    /// It controls live objects.
    pub controls: bool,
    /// The reference after rewriting and the ImageConfigs that had a say, as they are now.
    pub image: Option<(String, Vec<ImageConfigRef>)>,
}

/// What to do with the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkStep {
    /// Leave it as it is.
    Keep,
    /// Stop what runs.
    Stop,
    /// Stop what runs, if it is something else, and start this.
    Start(Aim),
}

/// The fields of the revision's status that this controller owns, without times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Conditions, complete.
    pub conditions: Vec<Cond>,
    /// `status.objectRefs`.
    pub object_refs: Vec<ObjectRef>,
    /// `status.resolvedImage`.
    pub resolved_image: Option<String>,
    /// `status.appliedImageConfigRefs`, but for `ConfigureRuntime`.
    pub applied_image_config_refs: Vec<ImageConfigRef>,
    /// `status.capabilities`.
    pub capabilities: Option<Vec<String>>,
    /// `status.declaredDependencies`.
    pub declared_dependencies: Vec<DeclaredDependency>,
    /// `status.warnings`.
    pub warnings: Vec<String>,
    /// `status.progress`.
    pub progress: Option<Progress>,
}

pub use crate::manager::plan::Next;

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The work.
    pub work: WorkStep,
    /// Labels and annotations that the revision gets from its package's metadata, if any is missing.
    pub metadata: Option<(BTreeMap<String, String>, BTreeMap<String, String>)>,
    /// The status; `None` leaves it alone.
    pub status: Option<Outcome>,
    /// Events.
    pub notes: Vec<Note>,
    /// When to look again.
    pub next: Next,
}

impl Plan {
    fn still(work: WorkStep) -> Self {
        Self {
            work,
            metadata: None,
            status: None,
            notes: vec![],
            next: Next::Await,
        }
    }
}

/// The part that a revision plays now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Paused,
    Going,
    Active,
    /// Active, but a newer one is active too: for the moment between two writes.
    Overtaken,
    /// Inactive, and the one that is wanted.
    Candidate,
    /// Inactive, and some sibling is active or nothing is left to release.
    Resting,
    /// Inactive, and nobody takes over what it controls.
    Leaving,
}

fn part(seen: &Seen) -> Part {
    let revision = &seen.revision;
    if revision.metadata.deletion_timestamp.is_some()
        || seen
            .package
            .as_ref()
            .is_none_or(|p| p.metadata.deletion_timestamp.is_some())
    {
        return Part::Going;
    }
    if api::annotation::is_paused(&revision.metadata) {
        return Part::Paused;
    }
    let active = |r: &Revision| r.spec.desired_state == "Active" && r.metadata.deletion_timestamp.is_none();
    if active(revision) {
        let newer = |s: &Arc<Revision>| active(s) && s.spec.revision > revision.spec.revision;
        return if seen.siblings.iter().any(newer) {
            Part::Overtaken
        } else {
            Part::Active
        };
    }
    let wanted = seen
        .package
        .as_ref()
        .and_then(|p| p.status.as_ref()?.current_revision.as_deref());
    match (
        wanted == revision.metadata.name.as_deref(),
        seen.siblings.iter().any(|s| active(s)),
    ) {
        (_, false) if seen.controls => Part::Leaving,
        (true, _) => Part::Candidate,
        _ => Part::Resting,
    }
}

/// Decides. Total: trouble becomes conditions of the plan.
#[must_use]
pub fn plan(seen: &Seen, now: Timestamp) -> Plan {
    match part(seen) {
        Part::Going => Plan::still(WorkStep::Stop),
        Part::Overtaken => Plan::still(WorkStep::Stop),
        Part::Paused => paused(seen),
        Part::Active => working(seen, Task::Establish, now),
        Part::Candidate => working(seen, Task::Preflight, now),
        Part::Leaving => {
            let (work, next) = work_step(seen, Task::Release, seen.controls, now);
            Plan {
                work,
                metadata: None,
                status: Some(resting(seen)),
                notes: vec![],
                next,
            }
        }
        Part::Resting => Plan {
            status: Some(resting(seen)),
            ..Plan::still(WorkStep::Stop)
        },
    }
}

/// The status as it is, without the conditions that speak of work in progress.
fn kept(seen: &Seen) -> Outcome {
    let status = seen.revision.status.clone().unwrap_or_default();
    let content = seen.work.content.as_deref();
    let mut outcome = Outcome {
        conditions: vec![],
        object_refs: seen.work.object_refs.clone().unwrap_or(status.object_refs),
        resolved_image: status.resolved_image,
        applied_image_config_refs: status
            .applied_image_config_refs
            .into_iter()
            .filter(|r| r.reason != api::pkg::AppliedReason::ConfigureRuntime.as_str())
            .collect(),
        capabilities: status.capabilities,
        declared_dependencies: status.declared_dependencies,
        warnings: status.warnings,
        progress: None,
    };
    if let Some(content) = content {
        if let Some((image, applied)) = &seen.image {
            outcome.resolved_image = Some(image.clone());
            outcome.applied_image_config_refs = applied.clone();
        }
        outcome.capabilities = content.capabilities.clone();
        outcome.declared_dependencies = content.dependencies.clone();
        outcome.warnings = content.warnings.iter().take(MAX_WARNINGS).cloned().collect();
    }
    outcome
}

fn paused(seen: &Seen) -> Plan {
    let was = before(seen, ConditionType::Synced).is_some_and(|c| c.reason == Reason::ReconcilePaused);
    let message = "Reconciliation (including deletion) is paused via the pause annotation";
    let mut status = kept(seen);
    // They speak of what was, not of what is asked for meanwhile.
    let conditions = seen.revision.status.iter().flat_map(|s| &s.conditions);
    let own = conditions
        .filter_map(Cond::carried)
        .filter(|c| OWNED.contains(&c.type_));
    status
        .conditions
        .extend(own.filter(|c| c.type_ != ConditionType::Synced));
    status.progress = seen.revision.status.as_ref().and_then(|s| s.progress);
    status
        .conditions
        .push(Cond::new(ConditionType::Synced, Status::False, Reason::ReconcilePaused).message(message));
    let note = Note::new(Told::Paused, message).next(Reason::ReconcilePaused.help().remedy);
    Plan {
        status: Some(status),
        notes: if was { vec![] } else { vec![note] },
        ..Plan::still(WorkStep::Stop)
    }
}

/// An inactive revision shows the health that it had; what speaks of being checked or established goes.
fn resting(seen: &Seen) -> Outcome {
    let mut status = kept(seen);
    status
        .conditions
        .extend(before(seen, ConditionType::RevisionHealthy));
    if before(seen, ConditionType::Established).is_some() {
        status.conditions.push(Cond::new(
            ConditionType::Established,
            Status::False,
            Reason::Inactive,
        ));
    }
    status
}

/// Whether the task has to be started, goes on, or rests until a time.
fn work_step(seen: &Seen, task: Task, needed: bool, now: Timestamp) -> (WorkStep, Next) {
    let aim = Aim {
        task,
        generation: seen.revision.metadata.generation.unwrap_or(0),
    };
    if let Some(running) = &seen.work.running {
        return match *running == aim {
            true => (WorkStep::Keep, Next::Await),
            false => (WorkStep::Start(aim), Next::Await),
        };
    }
    match &seen.work.ended {
        Some((ended, Ending::Done, _)) if *ended == aim && !needed => (WorkStep::Keep, Next::Await),
        // After a failure, or between repairs where somebody fights.
        Some((ended, _, Some(at))) if *ended == aim && now < *at => (WorkStep::Keep, Next::At(*at)),
        Some((ended, ending, None)) if *ended == aim && *ending != Ending::Done => {
            (WorkStep::Keep, Next::Await)
        }
        _ => (WorkStep::Start(aim), Next::Await),
    }
}

fn working(seen: &Seen, task: Task, now: Timestamp) -> Plan {
    let (work, next) = work_step(seen, task, seen.work.differs, now);
    let aim = Aim {
        task,
        generation: seen.revision.metadata.generation.unwrap_or(0),
    };
    // What ended last still tells the truth while it is tried again.
    let ending = seen
        .work
        .ended
        .as_ref()
        .filter(|(ended, ..)| *ended == aim)
        .map(|(_, ending, _)| ending);
    let mut status = kept(seen);
    let idle = matches!(work, WorkStep::Keep) && seen.work.running.is_none();
    status.conditions = match (recalled(seen, task).filter(|_| ending.is_none()), task) {
        (Some(conditions), _) => conditions,
        (None, Task::Establish) => established(seen, ending, idle),
        (None, Task::Preflight | Task::Release) => preflighted(seen, ending),
    };
    if task == Task::Establish && !idle && !was_established(seen) {
        status.progress = seen.work.progress;
    }
    let mut notes = notes(seen, &status);
    notes.extend(lint_note(seen, &status));
    Plan {
        work,
        metadata: metadata(seen),
        status: Some(status),
        notes,
        next,
    }
}

/// The package's labels and annotations, if the revision lacks any.
fn metadata(seen: &Seen) -> Option<(BTreeMap<String, String>, BTreeMap<String, String>)> {
    let content = seen.work.content.as_deref()?;
    let lacks = |have: &Option<BTreeMap<String, String>>, want: &BTreeMap<String, String>| {
        want.iter()
            .any(|(key, value)| have.as_ref().and_then(|h| h.get(key)) != Some(value))
    };
    let meta = &seen.revision.metadata;
    (lacks(&meta.labels, &content.labels) || lacks(&meta.annotations, &content.annotations))
        .then(|| (content.labels.clone(), content.annotations.clone()))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
