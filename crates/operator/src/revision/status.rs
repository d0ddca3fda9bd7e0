//! The conditions of a revision, and the events that tell of their changes. Pure.

use api::condition::{ConditionType, Conditions, Reason, Status};

use super::plan::{Ending, NAMED_REFUSALS, Outcome, Seen, Task};
use crate::conditions::Cond;
use crate::note::{Note, Told};

pub(super) fn before(seen: &Seen, type_: ConditionType) -> Option<Cond> {
    let conditions = &seen.revision.status.as_ref()?.conditions;
    conditions
        .iter()
        .find(|c| c.type_ == type_.as_str())
        .and_then(Cond::read)
}

pub(super) fn was_established(seen: &Seen) -> bool {
    match before(seen, ConditionType::Established) {
        Some(established) => established.status == Status::True,
        // A revision that the reference established says so by its health and what it holds.
        None => {
            before(seen, ConditionType::RevisionHealthy).is_some_and(|c| c.status == Status::True)
                && seen
                    .revision
                    .status
                    .as_ref()
                    .is_some_and(|s| !s.object_refs.is_empty())
        }
    }
}

/// `a; b; and 12 more`, with a count first when there are several.
#[must_use]
pub(super) fn listed(problems: &[String]) -> String {
    let named = problems
        .iter()
        .take(NAMED_REFUSALS)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    match problems.len() {
        0 | 1 => named,
        n if n <= NAMED_REFUSALS => format!("{n} objects: {named}"),
        n => format!("{n} objects: {named}; and {} more", n - NAMED_REFUSALS),
    }
}

/// `1,000`.
fn grouped(n: i64) -> String {
    let digits = n.to_string();
    let first = digits.len() % 3;
    let (head, tail) = digits.split_at(first);
    let groups = tail.as_bytes().chunks(3).map(String::from_utf8_lossy);
    Some(head.into())
        .filter(|h: &std::borrow::Cow<'_, str>| !h.is_empty())
        .into_iter()
        .chain(groups)
        .collect::<Vec<_>>()
        .join(",")
}

fn unhealthy(message: String) -> Cond {
    Cond::new(
        ConditionType::RevisionHealthy,
        Status::False,
        Reason::UnhealthyPackageRevision,
    )
    .message(message)
}

fn healthy() -> Cond {
    Cond::new(
        ConditionType::RevisionHealthy,
        Status::True,
        Reason::HealthyPackageRevision,
    )
}

/// (reason of Established or Preflighted, its message, message of RevisionHealthy, retrying can't help)
fn said(ending: &Ending) -> (Reason, String, String, bool) {
    match ending {
        Ending::Done => (Reason::AllEstablished, String::new(), String::new(), false),
        Ending::NoContent(trouble) => {
            let reason = if trouble.terminal {
                Reason::FetchRefused
            } else {
                Reason::FetchFailed
            };
            (
                reason,
                trouble.message.clone(),
                format!("cannot get package: {trouble}"),
                trouble.terminal,
            )
        }
        Ending::Unfit(message) => (Reason::Refused, message.clone(), message.clone(), true),
        Ending::Refused(problems) => {
            let message = format!("cannot establish control of object: {}", listed(problems));
            (Reason::Refused, message.clone(), message, true)
        }
        Ending::Waiting(problems) => {
            let message = format!("waiting: {}", listed(problems));
            (Reason::Waiting, message.clone(), message, false)
        }
        Ending::AwaitingProgram(problems) => {
            let message = format!("waiting for the revision's program: {}", listed(problems));
            (Reason::AwaitingProgram, message.clone(), message, false)
        }
    }
}

pub(super) fn established(seen: &Seen, ending: Option<&Ending>, idle: bool) -> Vec<Cond> {
    let preflighted = before(seen, ConditionType::Preflighted);
    let ready = |status: Status, reason: Reason, message: String| {
        Cond::new(ConditionType::Ready, status, reason).message(message)
    };
    match ending {
        Some(Ending::Done) if idle || was_established(seen) => vec![
            healthy(),
            Cond::new(ConditionType::Preflighted, Status::True, Reason::ChecksPassed),
            Cond::new(ConditionType::Established, Status::True, Reason::AllEstablished),
            ready(Status::True, Reason::HealthyPackageRevision, String::new()),
        ],
        // What serves goes on serving while its content can't be had (design rule 2), or is looked through again after a
        // restart.
        None | Some(Ending::NoContent(_) | Ending::Done) if was_established(seen) => vec![
            before(seen, ConditionType::RevisionHealthy).unwrap_or_else(healthy),
            preflighted
                .unwrap_or_else(|| Cond::new(ConditionType::Preflighted, Status::True, Reason::ChecksPassed)),
            Cond::new(ConditionType::Established, Status::True, Reason::AllEstablished),
            ready(Status::True, Reason::HealthyPackageRevision, String::new()),
        ],
        // A repair that has to wait makes nothing red while all objects are there.
        Some(ending @ (Ending::Waiting(_) | Ending::AwaitingProgram(_)))
            if was_established(seen) && !seen.work.missing =>
        {
            let (reason, message, ..) = said(ending);
            vec![
                before(seen, ConditionType::RevisionHealthy).unwrap_or_else(healthy),
                preflighted.unwrap_or_else(|| {
                    Cond::new(ConditionType::Preflighted, Status::True, Reason::ChecksPassed)
                }),
                Cond::new(ConditionType::Established, Status::True, Reason::AllEstablished),
                ready(Status::True, Reason::HealthyPackageRevision, String::new()),
                Cond::new(ConditionType::Reconciling, Status::True, reason).message(message),
            ]
        }
        None | Some(Ending::Done) => {
            let message = match seen.work.progress {
                Some(p) => format!("Established {} of {}", grouped(p.established), grouped(p.total)),
                None => "fetching the content".to_owned(),
            };
            let mut conditions = vec![unhealthy(message.clone())];
            conditions.extend(preflighted);
            conditions.push(
                Cond::new(ConditionType::Established, Status::False, Reason::Establishing)
                    .message(message.clone()),
            );
            conditions.push(ready(Status::False, Reason::Establishing, message.clone()));
            conditions.push(
                Cond::new(ConditionType::Reconciling, Status::True, Reason::Establishing).message(message),
            );
            conditions
        }
        Some(ending) => {
            let (reason, message, health, terminal) = said(ending);
            let mut conditions = vec![unhealthy(health)];
            // A refusal after activation takes the preflight's word back, so that this revision is not activated again
            // before it was checked again.
            match reason {
                Reason::Waiting | Reason::AwaitingProgram => conditions.extend(preflighted),
                _ => conditions.push(
                    Cond::new(ConditionType::Preflighted, Status::False, reason).message(message.clone()),
                ),
            }
            conditions
                .push(Cond::new(ConditionType::Established, Status::False, reason).message(message.clone()));
            conditions.push(ready(Status::False, reason, message.clone()));
            conditions.push(held_up(terminal, reason, message));
            conditions
        }
    }
}

/// Whether it goes on by itself (`Reconciling`) or somebody has to act (`Stalled`).
fn held_up(terminal: bool, reason: Reason, message: String) -> Cond {
    let type_ = match terminal {
        true => ConditionType::Stalled,
        false => ConditionType::Reconciling,
    };
    Cond::new(type_, Status::True, reason).message(message)
}

pub(super) fn preflighted(seen: &Seen, ending: Option<&Ending>) -> Vec<Cond> {
    match ending {
        None => {
            let message = "fetching and checking the content";
            // A revision that served keeps showing the health it had until it was checked again.
            let mut conditions: Vec<Cond> =
                before(seen, ConditionType::RevisionHealthy).into_iter().collect();
            conditions.push(
                Cond::new(ConditionType::Preflighted, Status::Unknown, Reason::Checking).message(message),
            );
            conditions.extend(inactive(seen));
            conditions
        }
        Some(Ending::Done) => {
            let mut conditions = vec![
                healthy(),
                Cond::new(ConditionType::Preflighted, Status::True, Reason::ChecksPassed),
            ];
            conditions.extend(inactive(seen));
            conditions
        }
        Some(ending) => {
            let (reason, message, health, terminal) = said(ending);
            let mut conditions = vec![
                unhealthy(health),
                Cond::new(ConditionType::Preflighted, Status::False, reason).message(message.clone()),
            ];
            conditions.extend(inactive(seen));
            conditions.push(held_up(terminal, reason, message));
            conditions
        }
    }
}

/// What an earlier process found out about this very spec: it stands until this one has an ending of its own, so that a
/// restart takes nothing back and writes nothing.
pub(super) fn recalled(seen: &Seen, task: Task) -> Option<Vec<Cond>> {
    let decisive = task.decisive()?;
    let conditions = &seen.revision.status.as_ref()?.conditions;
    let generation = conditions.get(decisive)?.observed_generation;
    if generation.is_none() || generation != seen.revision.metadata.generation {
        return None;
    }
    let found_out = match before(seen, decisive)?.reason {
        Reason::Refused
        | Reason::FetchRefused
        | Reason::FetchFailed
        | Reason::Waiting
        | Reason::AwaitingProgram => true,
        // What is established is looked through again, and shows what it showed: see `established`.
        Reason::ChecksPassed => task == Task::Preflight,
        _ => false,
    };
    let all = [
        ConditionType::RevisionHealthy,
        ConditionType::Preflighted,
        ConditionType::Established,
        ConditionType::Ready,
        ConditionType::Reconciling,
        ConditionType::Stalled,
    ];
    found_out.then(|| all.into_iter().filter_map(|type_| before(seen, type_)).collect())
}

fn inactive(seen: &Seen) -> Option<Cond> {
    before(seen, ConditionType::Established)
        .map(|_| Cond::new(ConditionType::Established, Status::False, Reason::Inactive))
}

pub(super) fn lint_note(seen: &Seen, status: &Outcome) -> Option<Note> {
    let known = seen
        .revision
        .status
        .as_ref()
        .map(|s| s.warnings.as_slice())
        .unwrap_or_default();
    (!status.warnings.is_empty() && status.warnings != known).then(|| {
        let message = format!("linting package contents failed: {}", status.warnings.join("; "));
        Note::new(Told::Linted, message)
            .next("tell the package's author; unless lint is strict it is installed all the same")
    })
}

/// Events, at the moment something becomes different.
pub(super) fn notes(seen: &Seen, status: &Outcome) -> Vec<Note> {
    let is = |type_: ConditionType| status.conditions.iter().find(|c| c.type_ == type_);
    let mut notes = vec![];
    // Healthy without a check of ours: made and told by the reference.
    let inherited = before(seen, ConditionType::RevisionHealthy).is_some_and(|c| c.status == Status::True)
        && before(seen, ConditionType::Preflighted).is_none();
    let established = is(ConditionType::Established).is_some_and(|c| c.status == Status::True);
    if established && !was_established(seen) && !inherited {
        notes.push(Note::new(
            Told::Synced,
            "Successfully reconciled package revision",
        ));
    }
    for type_ in [ConditionType::Stalled, ConditionType::Reconciling] {
        let Some(now) = is(type_) else { continue };
        let same = before(seen, type_).is_some_and(|c| c.reason == now.reason && c.message == now.message);
        let told = match now.reason {
            Reason::FetchFailed | Reason::FetchRefused => Told::NotParsed,
            Reason::Refused | Reason::Waiting => Told::NotSynced,
            _ => continue,
        };
        if !same {
            notes.push(Note::new(told, &now.message).next(now.reason.help().remedy));
        }
    }
    notes
}
