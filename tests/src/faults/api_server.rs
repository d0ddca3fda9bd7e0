//! The API server and the way to it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use testkit::world::USER;
use testkit::{Fault as Wire, Match, Rule, synthetic};

use super::case::Moment;
use super::{Fault, Stage};
use crate::policy::forbid;
use crate::state::Subject;

/// One request of so many meets the fault.
const ONE_IN: u64 = 5;
/// So many writes meet it where there are not five.
const FEW: u64 = 2;
/// Half a second.
const BEAT: Duration = Duration::from_millis(500);

/// Bad answers to one request in five, until the phase is over or stands still.
pub(super) async fn answers(stage: &Stage, subject: &Subject, at: Moment, fault: Fault) -> Result<()> {
    let unlucky = |meant: Match| meant.and(|seen| seen.sequence.is_multiple_of(ONE_IN));
    let (meant, wire) = match fault {
        Fault::Throttled => (Match::any(), vec![Wire::retry_after(429, "1")]),
        Fault::Broken => (Match::any(), vec![Wire::status(500)]),
        Fault::Unavailable => (Match::any(), vec![Wire::status(503)]),
        Fault::TimesOut => (
            Match::mutating(),
            vec![Wire::Latency(2 * BEAT), Wire::status(504)],
        ),
        Fault::AnswersLost => (Match::mutating(), vec![Wire::LoseAnswer]),
        Fault::Resets => (Match::any(), vec![Wire::Reset]),
        Fault::Slow => (Match::any(), vec![Wire::Latency(4 * BEAT)]),
        _ => (Match::mutating(), vec![Wire::status(409)]),
    };
    // The removal of old revisions is a write or two: the first ones meet it.
    let few = at.phase == super::Phase::Collect;
    let mut hits = None;
    for wire in wire {
        let rule = match few {
            true => Rule::new(meant.clone().and(|seen| seen.is_mutating()), wire).times(FEW),
            false => Rule::new(unlucky(meant.clone()), wire),
        };
        hits = Some(stage.api.faults().add(rule));
    }
    // Watches too: all that are open now end, and some of the next ones fail to start.
    stage.api.cut();
    at.begin(stage, subject).await?;
    let served = stage.serves(subject).await;
    stage.api.faults().clear();
    served?;
    let hits = hits.map_or(0, |hits| hits.count());
    ensure!(hits > 0, "no request met it");
    Ok(())
}

pub(super) async fn watches_cut(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    at.begin(stage, subject).await?;
    for _ in 0..at.times() {
        stage.api.cut();
        tokio::time::sleep(BEAT).await;
    }
    Ok(())
}

/// Servers say it in both ways: as the answer, and as an event of a stream that has started.
pub(super) async fn watches_expire(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired", "code": 410,
        "message": "too old resource version: 1 (2)",
    });
    let answer = |status: u16, body: String| Wire::Answer {
        status,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body,
    };
    let event = json!({ "type": "ERROR", "object": status });
    let odd = |n: u64| Match::any().and(move |seen| seen.is_watch() && seen.sequence % 2 == n);
    let hits = [
        stage
            .api
            .faults()
            .add(Rule::new(odd(0), answer(410, status.to_string()))),
        stage
            .api
            .faults()
            .add(Rule::new(odd(1), answer(200, format!("{event}\n")))),
    ];
    stage.api.cut();
    at.begin(stage, subject).await?;
    at.last().await;
    stage.api.faults().clear();
    ensure!(hits.iter().all(|h| h.count() > 0), "no watch met it");
    Ok(())
}

pub(super) async fn network_swallows(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    at.middle(stage, subject).await?;
    stage.api.freeze();
    at.last().await;
    stage.api.thaw();
    stage.api.cut();
    Ok(())
}

pub(super) async fn etcd_stops(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    at.middle(stage, subject).await?;
    stage.world.plane().stop_etcd()?;
    at.last().await;
    stage.world.plane().cont_etcd()?;
    answers_again(stage).await
}

pub(super) async fn killed(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    at.middle(stage, subject).await?;
    stage.world.plane().kill_api_server()?;
    at.last().await;
    stage.world.plane().restart_api_server().await
}

/// Waits until the API server answers the runner.
pub(super) async fn answers_again(stage: &Stage) -> Result<()> {
    let look = async || Ok(stage.world.list("Provider", "").await.ok().map(drop));
    testkit::eventually("the API server answers again", super::stage::SOON, look).await
}

pub(super) async fn policy_refuses(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    let name = format!("no-{}", subject.name);
    let policy = forbid(&stage.world, &name, &subject.group, false).await?;
    at.begin(stage, subject).await?;
    at.last().await;
    policy.lift().await?;
    ask_again(stage, subject).await
}

pub(super) async fn webhook_down(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    let name = format!("down.{}", subject.group);
    let condition = format!(
        "object.metadata.name.endsWith('.{}') && request.userInfo.username == '{USER}'",
        subject.group
    );
    let hook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": name },
        "webhooks": [{
            "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
            "timeoutSeconds": 1,
            // Nobody listens there.
            "clientConfig": { "url": "https://127.0.0.1:1/" },
            "rules": [{
                "apiGroups": ["apiextensions.k8s.io"], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["customresourcedefinitions"],
            }],
            "matchConditions": [{ "name": "only-these", "expression": condition }],
        }],
    });
    stage.world.plane().apply_yaml(&hook.to_string()).await?;
    let kubeconfig = stage.world.operator_kubeconfig().to_string_lossy().into_owned();
    let probe = synthetic::crd(&subject.group, "Probe", 2_000, None).to_string();
    let tried = [
        "--kubeconfig",
        &kubeconfig,
        "create",
        "--dry-run=server",
        "-f",
        "-",
    ];
    let look = async || {
        let said = stage
            .world
            .plane()
            .try_kubectl(&tried, Some(&probe))
            .await?
            .stderr;
        Ok(said.contains("failed calling webhook").then_some(()))
    };
    testkit::eventually("the webhook is asked", Duration::from_secs(30), look).await?;
    at.begin(stage, subject).await?;
    at.last().await;
    // An answer of this kind is asked for again a few times before it is told.
    told(stage, subject, "failed calling webhook").await?;
    let gone = stage
        .world
        .plane()
        .kubectl(&["delete", "validatingwebhookconfiguration", &name])
        .await;
    gone.context("the webhook goes")?;
    ask_again(stage, subject).await
}

/// Waits until the package says something.
async fn told(stage: &Stage, subject: &Subject, what: &str) -> Result<()> {
    let look = async || {
        let package = stage.world.get("Provider", &subject.name).await?;
        let said = package.is_some_and(|package| package["status"]["conditions"].to_string().contains(what));
        Ok(said.then_some(()))
    };
    testkit::eventually(&format!("the package says {what:?}"), super::stage::SOON, look).await
}

/// What was refused is tried again after minutes, or when somebody asks for a check.
async fn ask_again(stage: &Stage, subject: &Subject) -> Result<()> {
    let asked = json!({ "metadata": { "annotations": { "gantry.dev/check-requested-at": "now" } } });
    stage.patch(subject, asked).await
}
