//! Waiting for a package, with a line that says how far it is.

use std::time::Duration;

use api::condition::{ConditionType, Conditions, Reason};
use api::pkg::{Package, PackageKind};
use clap::Args;
use jiff::Timestamp;
use kit::read::ReadError;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::ending::Ending;
use crate::explain::{self, Weight};
use crate::limits::{LOOK_INTERVAL, PROGRESS_PACE};
use crate::output::Output;
use crate::status;
use crate::surroundings::Surroundings;

/// Longest line of progress, in characters: it is written over itself, and so must not be broken.
const LINE: usize = 79;

/// Whether to wait, and how long.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct WaitArgs {
    /// Wait until it is done, 5 minutes unless another duration is given (--wait=90s).
    #[arg(
        short,
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "5m",
        value_parser = kit::span::parse
    )]
    pub(crate) wait: Option<Duration>,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// What `spec.package` asks for works.
    Ready,
    /// This revision serves, and all is well.
    Serving(String),
}

/// One look at a package.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// It is as wished.
    Done,
    /// It won't be without somebody who does something.
    Over,
    /// It goes on.
    Going(String),
}

/// Judges one look. Pure.
fn judge(package: &Package, goal: &Goal) -> Look {
    let status = package.status.clone().unwrap_or_default();
    let serves = match goal {
        Goal::Ready => true,
        Goal::Serving(name) => status.serving_revision.as_ref() == Some(name),
    };
    if explain::is_ready(package) && serves {
        return Look::Done;
    }
    let paused = api::annotation::is_paused(&package.metadata);
    if paused || package.metadata.deletion_timestamp.is_some() {
        return Look::Over;
    }
    let ready = status.conditions.get(ConditionType::Ready);
    if ready.is_none() || explain::is_stale(package) {
        return Look::Going("waiting for an operator to look at it".to_owned());
    }
    let awaits = ready.is_some_and(|c| c.has_reason(Reason::AwaitingActivation)) && *goal == Goal::Ready;
    if awaits || status.conditions.is_true(ConditionType::Stalled) {
        return Look::Over;
    }
    if let (Goal::Serving(name), true) = (goal, explain::is_ready(package)) {
        return Look::Going(format!("waiting until revision {name} serves"));
    }
    let message = ready.and_then(|c| c.message.as_deref()).unwrap_or_default();
    Look::Going(match message {
        "" => ready.map(|c| c.reason.clone()).unwrap_or_default(),
        message => message.to_owned(),
    })
}

/// The line that says how far it is: written over itself on a terminal, now and then a line elsewhere.
pub(crate) struct Progress<'a, 'b> {
    output: &'a mut Output<'b>,
    terminal: bool,
    last: Option<(Instant, String)>,
}

impl<'a, 'b> Progress<'a, 'b> {
    pub(crate) fn new(surroundings: &Surroundings, output: &'a mut Output<'b>) -> Self {
        Self {
            output,
            terminal: surroundings.terminal().stderr,
            last: None,
        }
    }

    /// Says it, unless it was said just now.
    pub(crate) fn say(&mut self, text: &str) {
        let now = Instant::now();
        if self.terminal {
            let line: String = text.chars().take(LINE).collect();
            self.output.aside(&format!("\r\x1b[2K{line}"));
        } else {
            let told = self
                .last
                .as_ref()
                .is_some_and(|(at, last)| last == text || now.duration_since(*at) < PROGRESS_PACE);
            if told {
                return;
            }
            self.output.aside(&format!("{text}\n"));
        }
        self.last = Some((now, text.to_owned()));
    }

    /// Takes the line away.
    pub(crate) fn end(&mut self) {
        if self.terminal && self.last.is_some() {
            self.output.aside("\r\x1b[2K");
        }
    }
}

/// Looks until `look` has an answer, the time is over (`None`), or somebody presses Ctrl-C.
pub(crate) async fn look_until<T>(
    limit: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<T>> {
    let looking = async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    tokio::select! {
        found = tokio::time::timeout(limit, looking) => found.ok().transpose(),
        _ = tokio::signal::ctrl_c() => Err(Ending::interrupted(
            "interrupted; nothing is taken back, and Gantry goes on by itself: gantry status shows how far \
             it is",
        )),
    }
}

/// Waits until the package is as wished.
///
/// # Errors
/// If it is not: all that there is to say about it was written to standard error before.
pub(crate) async fn until_ready(
    cluster: &Cluster,
    (kind, name): (PackageKind, &str),
    goal: &Goal,
    limit: Duration,
    surroundings: &Surroundings,
    output: &mut Output<'_>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut progress = Progress::new(surroundings, output);
    let found = look_until(limit, async || {
        let package = match cluster.find(kind, name).await {
            Ok(Some(package)) => package,
            Ok(None) => return Err(Ending::not_ready(format!("{kind} {name} was deleted meanwhile"))),
            // An API server that is away for a moment comes back.
            Err(error)
                if error
                    .downcast_ref::<ReadError>()
                    .is_some_and(ReadError::is_transient) =>
            {
                progress.say(&format!("{kind} {name}: {error}"));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        match judge(&package, goal) {
            Look::Done => Ok(Some(true)),
            Look::Over => Ok(Some(false)),
            Look::Going(how) => {
                let elapsed = begun.elapsed().as_secs();
                let elapsed = if progress.terminal {
                    format!(" ({elapsed} s)")
                } else {
                    String::new()
                };
                progress.say(&format!("{kind} {name}: {how}{elapsed}"));
                Ok(None)
            }
        }
    })
    .await;
    progress.end();
    let late = match found? {
        Some(true) => return Ok(()),
        Some(false) => String::new(),
        None => format!(" within {} s", limit.as_secs()),
    };
    let package = cluster.package(kind, name).await?;
    let facts = cluster.facts(kind, package).await?;
    let mut explanation = explain::explain(&facts);
    explanation
        .findings
        .retain(|finding| finding.weight != Weight::Note);
    output.aside(&status::sentences(&explanation, Timestamp::now(), false));
    Err(Ending::not_ready(format!(
        "{kind} {name} did not become ready{late}"
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn package(generation: i64, conditions: Value) -> Package {
        serde_json::from_value(json!({
            "metadata": { "name": "nimbus", "generation": generation },
            "spec": { "package": "r.example.org/a/b:v2" },
            "status": {
                "observedGeneration": 2, "currentIdentifier": "r.example.org/a/b:v2",
                "servingRevision": "nimbus-1", "conditions": conditions,
            },
        }))
        .unwrap()
    }

    fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({ "type": type_, "status": status, "reason": reason, "message": message })
    }

    #[test]
    fn progress_is_one_line_on_a_terminal_and_few_elsewhere() {
        let long = "x".repeat(100);
        for (stderr, expected) in [
            (
                true,
                format!("\r\x1b[2Ka\r\x1b[2Kb\r\x1b[2K{}\r\x1b[2K", &long[..LINE]),
            ),
            (false, "a\n".to_owned()),
        ] {
            let surroundings =
                Surroundings::new("/".into(), |_| None).on(crate::Terminal { stdout: true, stderr });
            let (mut out, mut err) = (vec![], vec![]);
            let mut output = Output::new(&mut out, &mut err);
            let mut progress = Progress::new(&surroundings, &mut output);
            for text in ["a", "b", &long] {
                progress.say(text);
            }
            progress.end();
            assert_eq!(String::from_utf8(err).unwrap(), expected);
            assert!(out.is_empty(), "results only");
        }
    }

    #[test]
    fn waiting_ends_when_it_works_or_when_waiting_cannot_help() {
        let ready = condition("Ready", "True", "HealthyPackageRevision", "");
        let establishing = condition("Ready", "False", "Establishing", "Established 412 of 1,000");
        let refused = condition("Ready", "False", "Refused", "no");
        let stalled = condition("Stalled", "True", "Refused", "no");
        let reconciling = condition("Reconciling", "True", "Retrying", "no");
        let awaiting = condition("Ready", "False", "AwaitingActivation", "waits");
        let unseen = || Look::Going("waiting for an operator to look at it".into());
        for (generation, conditions, goal, expected) in [
            (2, json!([ready]), Goal::Ready, Look::Done),
            (3, json!([ready]), Goal::Ready, unseen()),
            (3, json!([refused, stalled]), Goal::Ready, unseen()),
            (2, json!([]), Goal::Ready, unseen()),
            (
                2,
                json!([establishing]),
                Goal::Ready,
                Look::Going("Established 412 of 1,000".into()),
            ),
            (
                2,
                json!([refused, reconciling]),
                Goal::Ready,
                Look::Going("no".into()),
            ),
            (2, json!([refused, stalled]), Goal::Ready, Look::Over),
            (2, json!([awaiting]), Goal::Ready, Look::Over),
            (
                2,
                json!([awaiting]),
                Goal::Serving("nimbus-2".into()),
                Look::Going("waits".into()),
            ),
            (2, json!([ready]), Goal::Serving("nimbus-1".into()), Look::Done),
            (
                2,
                json!([ready]),
                Goal::Serving("nimbus-2".into()),
                Look::Going("waiting until revision nimbus-2 serves".into()),
            ),
        ] {
            let package = package(generation, conditions);
            assert_eq!(judge(&package, &goal), expected, "{package:?} {goal:?}");
        }
        let mut paused = package(3, json!([refused]));
        let pause = [("crossplane.io/paused".to_owned(), "true".to_owned())];
        paused.metadata.annotations = Some(pause.into());
        assert_eq!(judge(&paused, &Goal::Ready), Look::Over);
        // The reference writes no Ready and no observedGeneration.
        let mut theirs = package(
            2,
            json!([
                condition("Installed", "True", "ActivePackageRevision", ""),
                condition("Healthy", "True", "x", "")
            ]),
        );
        theirs.status.as_mut().unwrap().observed_generation = None;
        assert_eq!(judge(&theirs, &Goal::Ready), Look::Done);
        theirs.spec.package = "r.example.org/a/b:v3".into();
        assert_eq!(
            judge(&theirs, &Goal::Ready),
            unseen(),
            "what is healthy is the one before"
        );
    }
}
