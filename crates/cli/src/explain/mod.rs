//! Says in sentences how a package is: what is wrong, since when, why, and what to do. Pure: facts in,
//! findings out.

mod advice;
mod facts;
mod wanted;

use api::condition::{Condition, ConditionType, Reason, Status};
use api::pkg::View;
use jiff::Timestamp;
use serde::Serialize;

pub(crate) use facts::{Event, Facts, Operator, called, is_ready, is_stale, serving, short, version};

/// How a package is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum State {
    /// What is wanted works.
    Ready,
    /// What is wanted works, and something newer waits for a person.
    UpdateAvailable,
    /// Gantry is at work.
    Working,
    /// A person has to decide.
    Waiting,
    /// Something is in the way.
    NotReady,
    /// Left alone on request.
    Paused,
    /// Being deleted.
    Deleting,
}

impl State {
    /// As people read it.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::UpdateAvailable => "ready, update available",
            Self::Working => "working",
            Self::Waiting => "waiting for you",
            Self::NotReady => "not ready",
            Self::Paused => "paused",
            Self::Deleting => "being deleted",
        }
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Weight {
    /// Worth knowing.
    Note,
    /// It goes on by itself.
    Working,
    /// A person has to decide.
    Waiting,
    /// Something is wrong.
    Wrong,
}

/// One thing to know about a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How much it matters.
    pub(crate) weight: Weight,
    /// What is so, in a sentence.
    pub(crate) what: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

impl Finding {
    fn new(weight: Weight, what: impl Into<String>) -> Self {
        Self {
            weight,
            what: what.into(),
            since: None,
            why: None,
            next: None,
        }
    }

    fn since(mut self, condition: Option<&Condition>) -> Self {
        // Objects without the field read as the beginning of time.
        self.since = condition
            .map(|c| c.last_transition_time.0)
            .filter(|at| *at > Timestamp::UNIX_EPOCH);
        self
    }

    fn at(mut self, since: Option<Timestamp>) -> Self {
        self.since = since;
        self
    }

    fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into()).filter(|why| !why.is_empty());
        self
    }

    fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

/// How a package is, with all that there is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Explanation {
    pub(crate) state: State,
    pub(crate) ready: bool,
    /// What matters most comes first.
    pub(crate) findings: Vec<Finding>,
}

impl Explanation {
    /// Whether there is nothing that anybody has to look at.
    pub(crate) fn is_fine(&self) -> bool {
        self.findings.iter().all(|f| f.weight == Weight::Note)
    }

    /// Since when it is as the weightiest finding says.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.findings.first()?.since
    }
}

/// Explains.
pub(crate) fn explain(facts: &Facts) -> Explanation {
    let mut findings = vec![];
    let ready = facts.is_ready();
    let deleting = facts.package.metadata.deletion_timestamp.is_some();
    let paused = api::annotation::is_paused(&facts.package.metadata);
    findings.extend(management(facts));
    findings.extend(deletion(facts));
    findings.extend(pause(facts, paused));
    if !deleting {
        findings.extend(unseen(facts));
        findings.extend(wanted::wanted(facts, ready));
        findings.extend(registry(facts));
        findings.extend(dependencies(facts));
        findings.extend(notes(facts));
    }
    // Stable: among equals the order above stays.
    findings.sort_by_key(|f| std::cmp::Reverse(f.weight));
    let heaviest = findings.first().map_or(Weight::Note, |f| f.weight);
    let state = match (deleting, paused, ready) {
        (true, ..) => State::Deleting,
        (_, true, _) => State::Paused,
        (_, _, true) if is_reason(facts, Reason::UpdateAvailable) => State::UpdateAvailable,
        (_, _, true) => State::Ready,
        _ => match heaviest {
            Weight::Note | Weight::Working => State::Working,
            Weight::Waiting => State::Waiting,
            Weight::Wrong => State::NotReady,
        },
    };
    Explanation {
        state,
        ready,
        findings,
    }
}

fn is_reason(facts: &Facts, reason: Reason) -> bool {
    facts
        .condition(ConditionType::Ready)
        .is_some_and(|c| c.has_reason(reason))
}

/// A condition's message.
fn said(condition: Option<&Condition>) -> &str {
    condition.and_then(|c| c.message.as_deref()).unwrap_or_default()
}

/// `provider nimbus`, as commands take it.
fn subject(facts: &Facts) -> String {
    format!("{} {}", facts.kind.kind().to_lowercase(), facts.name())
}

/// Who looks after packages in this cluster, where that is nobody or not us.
fn management(facts: &Facts) -> Option<Finding> {
    let start =
        "start the operator, or see why it does not lead: its pods, their log, and /readyz on port 8081";
    let (what, since, why) = match (&facts.operator, &facts.reference) {
        (Operator::Leads { .. }, _) => return None,
        (Operator::Unknown { why }, _) => {
            let what = "It is not known whether an operator leads.";
            return Some(
                Finding::new(Weight::Note, what)
                    .why(why)
                    .next("ask for the right to read Leases"),
            );
        }
        (_, Some(lease)) => {
            let what = "Crossplane's package manager is at work in this cluster, and Gantry is not.";
            let why = format!("Lease {lease} is kept alive, and nobody leads for Gantry");
            return Some(Finding::new(Weight::Note, what).why(why).next(
                "if Gantry shall manage packages, stop the other package manager and start the operator",
            ));
        }
        (Operator::Gone { lease, since }, None) => (
            "No operator leads, so nothing is installed, followed or repaired.",
            *since,
            format!("nobody keeps Lease {lease}"),
        ),
        (Operator::Never { lease }, None) => (
            "No operator leads, so nothing is installed, followed or repaired.",
            None,
            format!("there is no Lease {lease}"),
        ),
    };
    Some(Finding::new(Weight::Wrong, what).at(since).why(why).next(start))
}

fn deletion(facts: &Facts) -> Option<Finding> {
    let meta = &facts.package.metadata;
    let since = meta.deletion_timestamp.as_ref()?.0;
    let finalizers = meta.finalizers.as_deref().unwrap_or_default().join(", ");
    let found = Finding::new(Weight::Working, "It is being deleted.").at(Some(since));
    Some(match finalizers.as_str() {
        "" => found,
        "foregroundDeletion" => found
            .why("it waits for the objects that it owns (finalizer foregroundDeletion)")
            .next("see which of its CRDs still have custom resources, and which finalizers those have"),
        _ => found
            .why(format!("it is held by {finalizers}"))
            .next("whoever set that finalizer has to remove it; Gantry sets none"),
    })
}

fn pause(facts: &Facts, paused: bool) -> Vec<Finding> {
    let kind = facts.kind;
    let mut found = vec![];
    if paused {
        let since = facts
            .condition(ConditionType::Synced)
            .filter(|c| c.has_reason(Reason::ReconcilePaused));
        found.push(
            Finding::new(
                Weight::Waiting,
                "It is paused: Gantry changes nothing about it, whatever its spec says.",
            )
            .since(since)
            .why(format!("annotation {}: \"true\"", api::annotation::PAUSED))
            .next(format!(
                "kubectl annotate {} {}-",
                subject(facts),
                api::annotation::PAUSED
            )),
        );
    }
    for revision in facts.revisions.iter().flatten() {
        let view = View(revision);
        let relevant = view.is_active() || facts.wanted().is_some_and(|w| w.name() == view.name());
        if relevant && api::annotation::is_paused(&revision.metadata) {
            let what = format!(
                "Its {} is paused: nothing about its objects is changed.",
                called(view)
            );
            found.push(
                Finding::new(Weight::Waiting, what)
                    .since(view.condition(ConditionType::Synced))
                    .why(format!(
                        "annotation {}: \"true\" on {}",
                        api::annotation::PAUSED,
                        view.name()
                    ))
                    .next(format!(
                        "kubectl annotate {} {} {}-",
                        kind.revision_kind().to_lowercase(),
                        view.name(),
                        api::annotation::PAUSED
                    )),
            );
        }
    }
    found
}

/// The latest change was not looked at yet.
fn unseen(facts: &Facts) -> Option<Finding> {
    let created = facts.package.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let wait = "wait a moment; if it stays so, see the operator's log";
    let blank = facts.status().is_none_or(|s| s.conditions.is_empty());
    if blank {
        let what = "Nobody has looked at it yet.";
        return Some(
            Finding::new(Weight::Working, what)
                .at(created)
                .why("it has no status")
                .next(wait),
        );
    }
    let paused = api::annotation::is_paused(&facts.package.metadata);
    if !facts.is_stale() || paused {
        return None;
    }
    let (seen, now) = (
        facts
            .status()
            .and_then(|s| s.observed_generation)
            .unwrap_or_default(),
        facts.package.metadata.generation.unwrap_or_default(),
    );
    let what = "The latest change was not looked at yet; what follows speaks of the one before.";
    let why = format!("its status speaks of generation {seen}, the present one is {now}");
    Some(Finding::new(Weight::Working, what).why(why).next(wait))
}

/// The registry could not be asked while something serves: what is installed stays, but is perhaps not the
/// newest.
fn registry(facts: &Facts) -> Option<Finding> {
    let stale = facts
        .condition(ConditionType::UpToDate)
        .filter(|c| c.status() == Status::Unknown)?;
    // Told already, as the reason why nothing can be had.
    if is_reason(facts, Reason::UnpackingPackage) {
        return None;
    }
    let advice = advice::by_reason(&stale.reason).unwrap_or("put right what the message names");
    Some(
        Finding::new(
            Weight::Wrong,
            "The registry could not be asked whether there is something newer; what is installed stays.",
        )
        .since(Some(stale))
        .why(said(Some(stale)))
        .next(format!("{advice}; Gantry asks again by itself")),
    )
}

fn dependencies(facts: &Facts) -> Option<Finding> {
    let revision = facts.serving().or_else(|| facts.wanted())?;
    let condition = revision
        .condition(ConditionType::DependenciesResolved)
        .filter(|c| c.is_false())?;
    let status = revision.0.status.as_ref()?;
    let missing = status
        .dependencies
        .iter()
        .find(|d| d.state != "Found" && d.state != "Satisfied");
    let next = missing.and_then(|m| {
        let declared = status
            .declared_dependencies
            .iter()
            .find(|d| d.package == m.package)?;
        let kind = declared.kind.to_lowercase();
        Some(match &m.found {
            None => format!(
                "gantry install {kind} {}:VERSION, with a version in {}",
                m.package, m.constraints
            ),
            Some(found) => format!(
                "gantry update {kind} {}:VERSION, with a version in {} instead of {found}",
                m.package, m.constraints
            ),
        })
    });
    Some(
        Finding::new(Weight::Wrong, "It needs packages that are not there.")
            .since(Some(condition))
            .why(said(Some(condition)))
            .next(next.unwrap_or_else(|| "install what is missing".to_owned())),
    )
}

/// What is worth knowing and nobody has to act on.
fn notes(facts: &Facts) -> Vec<Finding> {
    let mut found = vec![];
    if let Err(why) = &facts.revisions {
        found.push(
            Finding::new(Weight::Note, "Its revisions are not known.")
                .why(why)
                .next("ask for the right to list revisions"),
        );
    }
    if let Some(released) = facts.status().and_then(|s| s.released_objects).filter(|n| *n > 0) {
        found.push(
            Finding::new(
                Weight::Note,
                format!(
                    "{released} objects of former revisions are still there that no revision carries now."
                ),
            )
            .why("an upgrade deletes nothing, since custom resources would go with it")
            .next("delete them by hand when nobody needs them; the package is still their owner"),
        );
    }
    let warnings = facts
        .serving()
        .and_then(|r| r.0.status.as_ref())
        .map(|s| s.warnings.as_slice())
        .unwrap_or_default();
    if let Some(first) = warnings.first() {
        let more = match warnings.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        found.push(
            Finding::new(Weight::Note, "Its content has lint warnings.")
                .why(format!("{first}{more}"))
                .next("tell its author; gantry lint shows all of them"),
        );
    }
    found
}

#[cfg(test)]
mod tests;
