//! The package's status: the table of design §3.1.5.

use api::condition::{Condition, ConditionType, Reason, Status};
use api::pkg::View;

use super::check::{PullPolicy, Trouble};
use super::plan::{Outcome, Seen};
use crate::conditions::Cond;
use crate::note::{Note, Told};
use crate::runtime_mode::RuntimeMode;

/// The reference's text, which tools match.
const PAUSED: &str = "Reconciliation (including deletion) is paused via the pause annotation";

/// What the package should be at.
pub(crate) struct Wanted<'a> {
    /// The wanted revision as it was listed; `None` when it is only being created, or unknown.
    pub view: Option<View<'a>>,
    /// The digest is known.
    pub digest: bool,
    /// Why the registry, the store or an ImageConfig gave no fresh answer.
    pub trouble: Option<Trouble>,
    /// Somebody activates revisions by hand.
    pub manual: bool,
}

/// How far the wanted revision is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage<'a> {
    /// Nobody knows which one it is.
    Unresolved(&'a Trouble),
    /// Being fetched, parsed, checked.
    Checking(&'a str),
    /// Its content can't be had.
    NotFetched { message: &'a str, terminal: bool },
    /// Refused: it would not work here, or did not.
    Refused(&'a str),
    /// Checked; a person decides.
    Awaiting,
    /// Active; its objects are being put in place.
    Establishing(&'a str),
    /// In place.
    Serving,
}

fn text(condition: Option<&Condition>) -> &str {
    condition.and_then(|c| c.message.as_deref()).unwrap_or_default()
}

pub(crate) fn stage<'a>(wanted: &'a Wanted<'_>) -> Stage<'a> {
    let Some(view) = wanted.view else {
        return match (&wanted.trouble, wanted.digest) {
            (Some(trouble), false) => Stage::Unresolved(trouble),
            (_, true) => Stage::Checking("the revision is being created"),
            (None, false) => Stage::Checking("asking for the digest of the package"),
        };
    };
    let preflighted = view.condition(ConditionType::Preflighted);
    let established = view.condition(ConditionType::Established);
    let fetch = |c: &'a Condition| match Reason::parse(&c.reason) {
        Some(Reason::FetchFailed) => Some(Stage::NotFetched {
            message: text(Some(c)),
            terminal: false,
        }),
        Some(Reason::FetchRefused) => Some(Stage::NotFetched {
            message: text(Some(c)),
            terminal: true,
        }),
        _ => None,
    };
    if view.is_active() {
        if view.is_established() {
            return Stage::Serving;
        }
        let Some(established) = established else {
            return Stage::Establishing("objects are being put in place");
        };
        if let Some(stage) = fetch(established) {
            return stage;
        }
        return match established.has_reason(Reason::Refused) {
            true => Stage::Refused(text(Some(established))),
            // Why its program doesn't run says more.
            false if view.awaits_program() => Stage::Establishing(text(
                view.condition(ConditionType::RuntimeHealthy)
                    .filter(|c| c.is_false())
                    .or(Some(established)),
            )),
            false => Stage::Establishing(text(Some(established))),
        };
    }
    match preflighted {
        None => Stage::Checking("the content is being fetched and checked"),
        Some(c) if c.is_true() && wanted.manual => Stage::Awaiting,
        Some(c) if c.is_true() => Stage::Checking("checked; it becomes active next"),
        Some(c) if c.has_reason(Reason::Waiting) => Stage::Checking(text(Some(c))),
        Some(c) if c.status() == Status::Unknown => Stage::Checking(text(Some(c))),
        Some(c) => fetch(c).unwrap_or_else(|| Stage::Refused(text(Some(c)))),
    }
}

/// The revision whose health the package shows: the active one once it has its objects, until then the one before.
fn serving<'a>(seen: &'a Seen, active: Option<&str>) -> Option<View<'a>> {
    let all = || {
        seen.revisions
            .iter()
            .map(|r| View(r))
            .filter(|r| !r.is_deleting())
    };
    let recorded = seen
        .package
        .status
        .as_ref()
        .and_then(|s| s.serving_revision.as_deref());
    let now = active
        .and_then(|name| all().find(|r| r.name() == name))
        .or_else(|| all().filter(|r| r.is_active()).max_by_key(|r| r.number()));
    if let Some(now) = now
        && (now.is_established() || recorded == Some(now.name()))
    {
        return Some(now);
    }
    let now = now.map(View::name);
    all()
        .filter(|r| Some(r.name()) != now && r.has_served())
        .max_by_key(|r| (Some(r.name()) == recorded, r.number()))
        .filter(|_| now.is_some())
}

/// Health by the reference's rules and words (api.md 3.5).
pub(crate) fn health(view: View<'_>, consult_runtime: bool) -> Cond {
    let say = |what: &str, c: Option<&Condition>| {
        let status = c.map_or(Status::Unknown, Condition::status);
        match c.and_then(|c| c.message.as_deref()) {
            Some(message) => format!("Package {what} health is \"{status}\" with message: {message}"),
            None => format!("Package {what} health is \"{status}\""),
        }
    };
    let unhealthy = Cond::new(
        ConditionType::Healthy,
        Status::False,
        Reason::UnhealthyPackageRevision,
    );
    let revision = view.condition(ConditionType::RevisionHealthy);
    if revision.is_none_or(|c| !c.is_true()) {
        return unhealthy.message(say("revision", revision));
    }
    let active = view
        .condition(ConditionType::RuntimeActive)
        .filter(|c| c.has_reason(Reason::AwaitingActivation));
    if consult_runtime {
        let runtime = view.condition(ConditionType::RuntimeHealthy);
        if runtime.is_none_or(|c| !c.is_true()) {
            let mut message = say("runtime", runtime);
            if active.is_some() {
                message.push_str("; runtime is scaled to zero awaiting activation");
            }
            return unhealthy.message(message);
        }
        if let Some(active) = active {
            return Cond::new(ConditionType::Healthy, Status::True, Reason::AwaitingActivation)
                .message(text(Some(active)));
        }
    }
    Cond::new(
        ConditionType::Healthy,
        Status::True,
        Reason::HealthyPackageRevision,
    )
}

/// The status of a paused package: as it was, plus `Synced`.
pub(crate) fn paused(seen: &Seen) -> Outcome {
    let status = seen.package.status.clone().unwrap_or_default();
    let mut conditions: Vec<Cond> = status
        .conditions
        .iter()
        .filter_map(Cond::carried)
        .filter(|c| c.type_ != ConditionType::Synced)
        .collect();
    conditions.push(Cond::new(ConditionType::Synced, Status::False, Reason::ReconcilePaused).message(PAUSED));
    Outcome {
        conditions,
        current_revision: status.current_revision,
        current_identifier: status.current_identifier,
        resolved_package: status.resolved_package,
        resolved_digest: status.resolved_digest,
        applied_image_config_refs: status.applied_image_config_refs,
        serving_revision: status.serving_revision,
        last_check_request: status.last_check_request,
        released_objects: status.released_objects,
    }
}

pub(crate) fn notes_of_pause(seen: &Seen) -> Vec<Note> {
    let was = seen
        .package
        .status
        .iter()
        .flat_map(|s| &s.conditions)
        .any(|c| c.has_reason(Reason::ReconcilePaused));
    match was {
        true => vec![],
        false => vec![Note::new(Told::Paused, PAUSED).next(Reason::ReconcilePaused.help().remedy)],
    }
}

/// The whole status.
pub(crate) fn outcome(seen: &Seen, wanted: &Wanted<'_>, active: Option<&str>) -> Outcome {
    let before = seen.package.status.clone().unwrap_or_default();
    let stage = stage(wanted);
    let consult_runtime = seen.kind.has_runtime() && seen.runtime != RuntimeMode::None;
    let serving = serving(seen, active);
    let any_active = active.is_some() || seen.revisions.iter().any(|r| View(r).is_active());
    let stale = wanted.trouble.as_ref();
    let unpack = |message: &str| format!("cannot unpack package: {message}");

    let installed = match (&stage, any_active || serving.is_some()) {
        (_, true) => Cond::new(
            ConditionType::Installed,
            Status::True,
            Reason::ActivePackageRevision,
        ),
        (Stage::Unresolved(Trouble { message, .. }), _) => {
            Cond::new(ConditionType::Installed, Status::False, Reason::UnpackingPackage)
                .message(unpack(message))
        }
        (Stage::NotFetched { message, .. }, _) => {
            Cond::new(ConditionType::Installed, Status::False, Reason::UnpackingPackage)
                .message(unpack(message))
        }
        _ => Cond::new(
            ConditionType::Installed,
            Status::False,
            Reason::InactivePackageRevision,
        )
        .message("Package is inactive"),
    };
    let unhealthy = |message: String| {
        Cond::new(
            ConditionType::Healthy,
            Status::False,
            Reason::UnhealthyPackageRevision,
        )
        .message(message)
    };
    let healthy = match (&serving, &stage) {
        (Some(serving), _) => health(*serving, consult_runtime),
        (None, Stage::Unresolved(Trouble { message, .. })) => unhealthy(unpack(message)),
        (None, Stage::NotFetched { message, .. }) => unhealthy(unpack(message)),
        (None, Stage::Refused(message)) => unhealthy((*message).to_owned()),
        (None, Stage::Awaiting) => Cond::new(
            ConditionType::Healthy,
            Status::True,
            Reason::HealthyPackageRevision,
        ),
        (None, Stage::Checking(message) | Stage::Establishing(message)) => {
            unhealthy(match message.is_empty() {
                true => "Package revision health is \"Unknown\"".to_owned(),
                false => format!("Package revision health is \"Unknown\" with message: {message}"),
            })
        }
        (None, Stage::Serving) => wanted.view.map_or_else(
            || unhealthy("Package revision health is \"Unknown\"".to_owned()),
            |view| health(view, consult_runtime),
        ),
    };

    // The person's own revision serves under Manual, while what spec.package asks for waits.
    let waits = wanted.manual && matches!(stage, Stage::Awaiting);
    let as_healthy = |reason: Reason| {
        Cond::new(ConditionType::Ready, healthy.status, reason).message(match healthy.status {
            Status::True => String::new(),
            _ => healthy.message.clone(),
        })
    };
    let (ready, progress) = match &stage {
        Stage::Serving => (as_healthy(healthy.reason), None),
        Stage::Awaiting => {
            let name = wanted.view.map(View::name).unwrap_or_default();
            let waiting =
                format!("revision {name} is checked and waits: set its spec.desiredState to Active");
            let ready = match serving.is_some() && waits {
                true if healthy.status == Status::True => {
                    as_healthy(Reason::UpdateAvailable).message(waiting)
                }
                true => as_healthy(Reason::UpdateAvailable),
                false => Cond::new(ConditionType::Ready, Status::False, Reason::AwaitingActivation)
                    .message(waiting),
            };
            (ready, None)
        }
        Stage::Unresolved(trouble) => (
            Cond::new(ConditionType::Ready, Status::False, Reason::UnpackingPackage)
                .message(unpack(&trouble.message)),
            Some((trouble.terminal, unpack(&trouble.message))),
        ),
        Stage::NotFetched { message, terminal } => (
            Cond::new(ConditionType::Ready, Status::False, Reason::UnpackingPackage).message(unpack(message)),
            Some((*terminal, unpack(message))),
        ),
        Stage::Checking(message) => (
            Cond::new(ConditionType::Ready, Status::False, Reason::Checking).message(*message),
            Some((false, (*message).to_owned())),
        ),
        Stage::Establishing(message) => (
            Cond::new(ConditionType::Ready, Status::False, Reason::Establishing).message(*message),
            Some((false, (*message).to_owned())),
        ),
        Stage::Refused(message) => (
            Cond::new(ConditionType::Ready, Status::False, Reason::Refused).message(*message),
            Some((true, (*message).to_owned())),
        ),
    };

    let mut conditions = vec![installed, healthy, ready];
    if let Some((terminal, message)) = progress {
        let (type_, reason) = match terminal {
            true => (ConditionType::Stalled, Reason::Refused),
            false => (ConditionType::Reconciling, Reason::Retrying),
        };
        conditions.push(Cond::new(type_, Status::True, reason).message(message));
    }
    conditions.extend(up_to_date(seen, wanted));

    // The name is published as soon as the revision exists (design §3.1.1); while nothing is known the old one stays.
    let resolved = wanted.trouble.is_none() && wanted.digest;
    let image = seen.image.as_ref().ok();
    // A kept revision stands in for a reference that could not be asked for: nothing is remembered as its answer, so that
    // it is asked for as soon as that is possible, and no other reference takes this revision's digest for its own.
    let fallen_back = wanted.view.is_some()
        && !resolved
        && before.current_identifier.as_deref() != Some(seen.package.spec.package.as_str());
    Outcome {
        conditions,
        current_revision: wanted
            .view
            .map(|v| v.name().to_owned())
            .or(before.current_revision),
        current_identifier: match wanted.view {
            Some(_) => Some(seen.package.spec.package.clone()),
            None => before.current_identifier.clone(),
        },
        resolved_package: match image {
            Some(image) if resolved && wanted.view.is_some() => Some(image.reference.to_string()),
            _ => before.resolved_package.filter(|_| !fallen_back),
        },
        resolved_digest: match resolved && wanted.view.is_some() {
            true => wanted.view.and_then(View::digest).map(|d| d.to_string()),
            false => before.resolved_digest.filter(|_| !fallen_back),
        },
        applied_image_config_refs: match image {
            Some(image) => image.applied.clone(),
            None => before.applied_image_config_refs,
        },
        serving_revision: serving.map(|s| s.name().to_owned()),
        // Answered once the answer is recorded: until the revision exists, the old digest is what is remembered.
        last_check_request: match &seen.check {
            Some(check)
                if (wanted.view.is_some() || stale.is_some())
                    && super::resolve::question(seen).as_ref() == Some(&check.question) =>
            {
                check.question.requested.clone().or(before.last_check_request)
            }
            _ => before.last_check_request,
        },
        released_objects: (seen.released > 0).then_some(seen.released),
    }
}

/// Whether the last question was answered; nothing while the first one is being asked.
fn up_to_date(seen: &Seen, wanted: &Wanted<'_>) -> Option<Cond> {
    let pinned = seen
        .image
        .as_ref()
        .is_ok_and(|image| image.reference.digest().is_some());
    let asks = !pinned && seen.package.spec.pull_policy() != PullPolicy::Never;
    let up_to_date = |status, reason| Cond::new(ConditionType::UpToDate, status, reason);
    match &wanted.trouble {
        Some(trouble) => Some(up_to_date(Status::Unknown, trouble.reason).message(trouble.message.clone())),
        None if !wanted.digest => None,
        None if asks => Some(up_to_date(Status::True, Reason::Checked)),
        None => Some(up_to_date(Status::True, Reason::NotChecked)),
    }
}

/// Trouble in the words in which it was told first: a text that changes with every try would be a write with every try.
/// Another spec is another question.
pub(crate) fn steady(seen: &Seen, trouble: Trouble) -> Trouble {
    let conditions = seen.package.status.iter().flat_map(|s| &s.conditions);
    let told = conditions.into_iter().find(|c| {
        c.type_ == ConditionType::UpToDate.as_str()
            && c.status() == Status::Unknown
            && c.has_reason(trouble.reason)
            && c.observed_generation == seen.package.metadata.generation
    });
    match told.and_then(|c| c.message.clone()) {
        Some(message) => Trouble { message, ..trouble },
        None => trouble,
    }
}

/// Events, at the moment something becomes different.
pub(crate) fn notes(seen: &Seen, outcome: &Outcome) -> Vec<Note> {
    let before: &[Condition] = seen.package.status.as_ref().map_or(&[], |s| &s.conditions);
    let was = |type_: ConditionType| before.iter().find(|c| c.type_ == type_.as_str());
    let is = |type_: ConditionType| outcome.conditions.iter().find(|c| c.type_ == type_);
    let changed = |type_: ConditionType| match (was(type_), is(type_)) {
        (Some(old), Some(new)) => old.status() != new.status || !old.has_reason(new.reason),
        (None, Some(_)) => true,
        _ => false,
    };
    let mut notes = vec![];
    if is(ConditionType::Healthy).is_some_and(|c| c.status == Status::True)
        && was(ConditionType::Healthy).is_none_or(|c| !c.is_true())
    {
        notes.push(Note::new(
            Told::Installed,
            "Successfully installed package revision",
        ));
    }
    if let Some(stale) = is(ConditionType::UpToDate)
        .filter(|c| c.status == Status::Unknown && changed(ConditionType::UpToDate))
    {
        notes.push(Note::new(Told::NotUnpacked, &stale.message).next(stale.reason.help().remedy));
    }
    if let Some(ready) =
        is(ConditionType::Ready).filter(|c| c.status == Status::False && changed(ConditionType::Ready))
    {
        let told = match ready.reason {
            Reason::Refused => Some((Told::NotInstalled, Reason::Refused)),
            // Trouble with the registry was told just above; what is left is the revision's content.
            Reason::UnpackingPackage if notes.iter().any(|n| n.told == Told::NotUnpacked) => None,
            Reason::UnpackingPackage => {
                let terminal = is(ConditionType::Stalled).is_some();
                let reason = if terminal {
                    Reason::FetchRefused
                } else {
                    Reason::FetchFailed
                };
                Some((Told::NotUnpacked, reason))
            }
            _ => None,
        };
        notes.extend(told.map(|(told, why)| Note::new(told, &ready.message).next(why.help().remedy)));
    }
    notes
}
