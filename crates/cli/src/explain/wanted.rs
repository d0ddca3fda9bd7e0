//! How it stands with what `spec.package` asks for.

use api::condition::{Condition, ConditionType, Reason, Status};
use api::pkg::{PackageKind, View};

use super::facts::{Facts, called};
use super::{Finding, Weight, advice, said, subject};

/// How it stands with what `spec.package` asks for.
pub(super) fn wanted(facts: &Facts, ready: bool) -> Vec<Finding> {
    let Some(condition) = facts.condition(ConditionType::Ready) else {
        return if ready {
            vec![]
        } else {
            inherited(facts).into_iter().collect()
        };
    };
    let reason = Reason::parse(&condition.reason);
    if condition.is_true() {
        return offered(facts, condition, reason).into_iter().collect();
    }
    let serving = facts.serving();
    let goes_on = |rest: &str| match serving {
        Some(serving) => format!("{rest}; {} goes on serving.", called(serving)),
        None => format!("{rest}; nothing of it serves."),
    };
    let asked = &facts.package.spec.package;
    let wanted = facts.wanted().map_or_else(|| asked.clone(), called);
    let message = said(Some(condition));
    // How long the wanted one is in this state: what does not come and go with each try.
    let stalled = facts.condition(ConditionType::Stalled).filter(|c| c.is_true());
    let since = stalled.or(Some(condition));
    let by_itself = if stalled.is_some() {
        ""
    } else {
        "; Gantry tries again by itself"
    };
    let found = match reason {
        Some(Reason::UnpackingPackage) => {
            let asked_for = facts.condition(ConditionType::UpToDate);
            // The registry answered for the tag: then the content is at fault, and the revision knows why.
            let content = || {
                let revision = facts.wanted()?;
                let checks = [ConditionType::Established, ConditionType::Preflighted];
                let conditions = checks.into_iter().filter_map(|type_| revision.condition(type_));
                conditions
                    .into_iter()
                    .find(|c| c.has_reason(Reason::FetchFailed) || c.has_reason(Reason::FetchRefused))
            };
            let why = asked_for
                .filter(|c| c.status() == Status::Unknown)
                .or_else(content);
            let advice = why
                .and_then(|c| advice::by_reason(&c.reason))
                .or_else(|| advice::by_words(message))
                .unwrap_or("put right what the message names");
            Finding::new(
                Weight::Wrong,
                goes_on(&format!("The package {asked} can't be had")),
            )
            .why(message)
            .next(format!("{advice}{by_itself}"))
        }
        Some(Reason::Refused) => {
            let advice = advice::by_words(message).unwrap_or("put right what the message names");
            let back = match serving {
                Some(_) => format!("; to give it up: gantry rollback {}", subject(facts)),
                None => String::new(),
            };
            Finding::new(
                Weight::Wrong,
                goes_on(&format!("What is wanted, {wanted}, is refused")),
            )
            .why(message)
            .next(format!("{advice}{back}"))
        }
        Some(Reason::AwaitingActivation) => {
            let name = facts.wanted().map(View::name);
            Finding::new(
                Weight::Waiting,
                format!("It is checked and would work; {wanted} waits for somebody to activate it."),
            )
            .why("spec.revisionActivationPolicy is Manual")
            .next(activate(facts.kind, name))
        }
        Some(Reason::Checking | Reason::Establishing | Reason::Waiting) if waits(message) => {
            let advice = advice::by_words(message).unwrap_or("nothing, or put right what the message names");
            Finding::new(
                Weight::Working,
                goes_on(&format!("What is wanted, {wanted}, waits")),
            )
            .why(message)
            .next(format!("{advice}; it goes on by itself"))
        }
        Some(Reason::Establishing) => Finding::new(
            Weight::Working,
            format!("The objects of {wanted} are being put in place."),
        )
        .why(message)
        .next("wait: it goes on by itself"),
        Some(Reason::Checking) => Finding::new(
            Weight::Working,
            goes_on(&format!("What is wanted, {wanted}, is being fetched and checked")),
        )
        .why(message)
        .next("wait: it goes on by itself"),
        _ => return unhealthy(facts, Some(condition)).into_iter().collect(),
    };
    let mut all = vec![found.since(since)];
    // What serves may be ill besides.
    if let (Some(serving), Some(wanted)) = (serving, facts.wanted())
        && serving.name() != wanted.name()
    {
        all.extend(unhealthy(facts, facts.condition(ConditionType::Healthy)));
    }
    all
}

/// The operator's word for what has to happen elsewhere first.
fn waits(message: &str) -> bool {
    message.starts_with("waiting: ")
}

fn activate(kind: PackageKind, name: Option<&str>) -> String {
    format!(
        "kubectl patch {} {} --type merge -p '{{\"spec\":{{\"desiredState\":\"Active\"}}}}'",
        kind.revision_kind().to_lowercase(),
        name.unwrap_or("NAME")
    )
}

/// A newer revision that a person may activate.
fn offered(facts: &Facts, condition: &Condition, reason: Option<Reason>) -> Option<Finding> {
    if reason != Some(Reason::UpdateAvailable) {
        return None;
    }
    let wanted = facts.wanted();
    let what = format!(
        "{} is checked and waits for somebody to activate it.",
        wanted.map_or_else(
            || "What spec.package asks for".to_owned(),
            |w| capital(&called(w))
        )
    );
    // Ready stays True all the time; when the offer came, the revision's check says.
    let since = wanted.and_then(|w| w.condition(ConditionType::Preflighted));
    Some(
        Finding::new(Weight::Waiting, what)
            .since(since.or(Some(condition)))
            .why("spec.revisionActivationPolicy is Manual")
            .next(activate(facts.kind, wanted.map(View::name))),
    )
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

/// What serves is not well.
fn unhealthy(facts: &Facts, condition: Option<&Condition>) -> Option<Finding> {
    let condition = condition.filter(|c| !c.is_true())?;
    let serving = facts.serving().or_else(|| facts.wanted());
    let runtime = serving.and_then(|r| r.condition(ConditionType::RuntimeHealthy));
    let who = serving.map_or_else(|| "What is installed".to_owned(), |r| capital(&called(r)));
    let ill = runtime.filter(|c| !c.is_true());
    let next = match (ill, serving) {
        (Some(_), Some(serving)) => format!(
            "look at its pods: kubectl get pods -A -l {}={}",
            api::label::REVISION,
            serving.name()
        ),
        _ => advice::by_words(said(Some(condition)))
            .unwrap_or("put right what the message names; Gantry notices by itself")
            .to_owned(),
    };
    let what = match ill {
        Some(_) => format!("{who} is in place, but its program does not run well."),
        None => format!("{who} is not healthy."),
    };
    let why = match said(Some(condition)) {
        "" => format!(
            "condition {} is {}: {}",
            condition.type_, condition.status, condition.reason
        ),
        message => message.to_owned(),
    };
    Some(
        Finding::new(Weight::Wrong, what)
            .since(Some(condition))
            .why(why)
            .next(next),
    )
}

/// A package that only the reference has looked at: it has no `Ready`.
fn inherited(facts: &Facts) -> Option<Finding> {
    let installed = facts.condition(ConditionType::Installed);
    let healthy = facts.condition(ConditionType::Healthy);
    if installed.is_none() && healthy.is_none() {
        return None;
    }
    let Some(installed) = installed.filter(|c| !c.is_true()) else {
        return unhealthy(facts, healthy).or_else(|| {
            let what = "What spec.package asks for was not looked at yet.";
            Some(
                Finding::new(Weight::Working, what)
                    .next("wait a moment; if it stays so, see the operator's log"),
            )
        });
    };
    let manual = facts.package.spec.activation() == api::pkg::ActivationPolicy::Manual;
    if installed.has_reason(Reason::InactivePackageRevision) && manual {
        let name = facts.wanted().map(View::name);
        return Some(
            Finding::new(Weight::Waiting, "No revision of it is active.")
                .since(Some(installed))
                .why("spec.revisionActivationPolicy is Manual")
                .next(activate(facts.kind, name)),
        );
    }
    let message = said(Some(installed));
    let advice = advice::by_words(message).unwrap_or("put right what the message names; it is tried again");
    Some(
        Finding::new(Weight::Wrong, "Nothing of it is installed.")
            .since(Some(installed))
            .why(if message.is_empty() {
                installed.reason.as_str()
            } else {
                message
            })
            .next(advice),
    )
}
