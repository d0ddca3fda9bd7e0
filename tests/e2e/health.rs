//! What GitOps tools make of packages in every state: by kstatus (Flux, kpt) and by Argo CD's checks.

use std::sync::Arc;

use anyhow::{Context, Result};
use api::annotation;
use api::condition::{Condition, ConditionType as Type, Reason, Status};
use api::pkg::{Package, PackageKind, PackageSpec, PackageStatus, Revision, RevisionSpec, RevisionStatus};
use jiff::{SignedDuration, Timestamp};
use oci::{Digest, Reference};
use operator::manager::check::{Check, Trouble};
use operator::manager::plan::{EffectiveImage, Seen, plan};
use operator::runtime_mode::RuntimeMode;
use serde_json::{Value, json};
use testkit::TestRegistry;
use testkit::health::{Argo, Kstatus, argo, kstatus};

use crate::scene::{SOON, Scene};
use crate::{plane, world};

const KIND: PackageKind = PackageKind::Configuration;

/// A package in some state, as the manager sees it.
struct Case {
    package: Package,
    revisions: Vec<Revision>,
    answer: Result<Digest, Trouble>,
}

fn digest(n: u8) -> Digest {
    Digest::sha256(&[n])
}

fn trouble(terminal: bool) -> Trouble {
    Trouble {
        reason: if terminal {
            Reason::NotFound
        } else {
            Reason::Unreachable
        },
        message: "registry.invalid".into(),
        terminal,
        not_before: None,
    }
}

fn condition(type_: Type, status: Status, reason: Reason) -> Condition {
    Condition::new(type_, status, reason).observing(Some(1))
}

fn revision(n: u8, state: &str, conditions: Vec<Condition>) -> Revision {
    let spec = RevisionSpec {
        desired_state: state.into(),
        revision: n.into(),
        image: "registry.invalid/a/p:v1".into(),
        ..RevisionSpec::default()
    };
    let mut revision = Revision::new(KIND, format!("p-{n}"), spec);
    revision.metadata.generation = Some(1);
    let annotations = [(annotation::DIGEST.to_owned(), digest(n).to_string())];
    revision.metadata.annotations = Some(annotations.into());
    revision.status = Some(RevisionStatus {
        conditions,
        ..RevisionStatus::default()
    });
    revision
}

fn checking(n: u8) -> Revision {
    let said = condition(Type::Preflighted, Status::Unknown, Reason::Checking);
    revision(n, "Inactive", vec![said])
}

fn checked(n: u8) -> Revision {
    let said = condition(Type::Preflighted, Status::True, Reason::ChecksPassed);
    let healthy = condition(
        Type::RevisionHealthy,
        Status::True,
        Reason::HealthyPackageRevision,
    );
    revision(n, "Inactive", vec![said, healthy])
}

fn refused(n: u8) -> Revision {
    let said = condition(Type::Preflighted, Status::False, Reason::Refused);
    revision(n, "Inactive", vec![said])
}

fn establishing(n: u8) -> Revision {
    let said = condition(Type::Established, Status::False, Reason::Establishing);
    revision(n, "Active", vec![said])
}

fn in_place(n: u8, state: &str, health: Status) -> Revision {
    let established = match state {
        "Active" => condition(Type::Established, Status::True, Reason::AllEstablished),
        _ => condition(Type::Established, Status::False, Reason::Inactive),
    };
    let healthy = condition(Type::RevisionHealthy, health, Reason::HealthyPackageRevision);
    let mut revision = revision(n, state, vec![established, healthy]);
    let annotations = revision.metadata.annotations.get_or_insert_default();
    annotations.insert(annotation::SERVED.to_owned(), "true".to_owned());
    revision
}

fn serving(n: u8) -> Revision {
    in_place(n, "Active", Status::True)
}

impl Case {
    /// The tag stands for content `n`.
    fn new(n: u8, revisions: Vec<Revision>) -> Self {
        let spec = PackageSpec {
            package: "registry.invalid/a/p:v1".into(),
            package_pull_policy: Some("Always".into()),
            ..PackageSpec::default()
        };
        let mut package = Package::new(KIND, "p", spec);
        package.metadata.generation = Some(1);
        package.metadata.uid = Some("u".into());
        Self {
            package,
            revisions,
            answer: Ok(digest(n)),
        }
    }

    fn failing(mut self, terminal: bool) -> Self {
        self.answer = Err(trouble(terminal));
        self
    }

    fn manual(mut self) -> Self {
        self.package.spec.revision_activation_policy = Some("Manual".into());
        self
    }

    fn paused(mut self) -> Self {
        let paused = [(annotation::PAUSED.to_owned(), "true".to_owned())];
        self.package.metadata.annotations = Some(paused.into());
        self
    }

    /// Looks at it until the registry has answered, as the manager does.
    fn looked_at(mut self) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        let mut check = None;
        for _ in 0..3 {
            let seen = Seen {
                package: Arc::new(self.package.clone()),
                kind: KIND,
                revisions: self.revisions.iter().cloned().map(Arc::new).collect(),
                image: Reference::parse(&self.package.spec.package)
                    .map(|reference| EffectiveImage {
                        reference,
                        applied: vec![],
                        credentials: String::new(),
                    })
                    .map_err(|_| trouble(true)),
                check: check.clone(),
                runtime: RuntimeMode::None,
                released: 0,
            };
            let plan = plan(&seen, now);
            if let Some(question) = plan.ask {
                let minute = SignedDuration::from_secs(60);
                check = Some(Check::answered(
                    question,
                    self.answer.clone(),
                    None,
                    now,
                    minute,
                    0.0,
                ));
            }
            let Some(outcome) = plan.status else { continue };
            let generation = self.package.metadata.generation;
            let before = self.package.status.as_ref().and_then(|s| s.observed_generation);
            let paused = annotation::is_paused(&self.package.metadata);
            let conditions = outcome
                .conditions
                .iter()
                .map(|c| Condition::new(c.type_, c.status, c.reason).observing(c.generation.or(generation)));
            self.package.status = Some(PackageStatus {
                conditions: conditions.collect(),
                observed_generation: if paused { before.or(generation) } else { generation },
                current_revision: outcome.current_revision,
                current_identifier: outcome.current_identifier,
                serving_revision: outcome.serving_revision,
                ..PackageStatus::default()
            });
        }
        self
    }

    /// The API server's default of a status.
    fn fresh(mut self) -> Self {
        self.package.status = Some(PackageStatus {
            observed_generation: Some(-1),
            ..PackageStatus::default()
        });
        self
    }

    fn object(&self) -> Value {
        let status = self.package.status.clone().unwrap_or_default();
        let mut status = serde_json::to_value(status).unwrap();
        let fields = status.as_object_mut().unwrap();
        fields.retain(|_, value| *value != json!([]));
        let generation = self.package.metadata.generation;
        json!({"metadata": {"generation": generation}, "status": fields})
    }
}

/// State, kstatus, Argo CD.
fn table() -> Vec<(&'static str, Value, Kstatus, Argo)> {
    use Argo::{Degraded, Healthy, Progressing, Unknown};
    use Kstatus::{Current, Failed, InProgress, Terminating};
    let old = || in_place(1, "Inactive", Status::True);
    let mut changed = Case::new(1, vec![serving(1)]).looked_at();
    changed.package.metadata.generation = Some(2);
    let mut going = Case::new(1, vec![serving(1)]).looked_at().object();
    going["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
    let is = |state, case: Case, kstatus, argo| (state, case.looked_at().object(), kstatus, argo);
    vec![
        (
            "not looked at yet",
            Case::new(1, vec![]).fresh().object(),
            InProgress,
            Progressing,
        ),
        (
            "nothing installed; the image can't be had, and is tried again",
            Case::new(1, vec![]).failing(false).looked_at().object(),
            InProgress,
            Degraded,
        ),
        (
            "nothing installed; the image can't be had, and trying again can't help",
            Case::new(1, vec![]).failing(true).looked_at().object(),
            Failed,
            Degraded,
        ),
        is(
            "first revision is checked",
            Case::new(1, vec![checking(1)]),
            InProgress,
            Degraded,
        ),
        is(
            "first revision puts objects in place",
            Case::new(1, vec![establishing(1)]),
            InProgress,
            Degraded,
        ),
        is(
            "first revision refused",
            Case::new(1, vec![refused(1)]),
            Failed,
            Degraded,
        ),
        is(
            "serves, nothing newer wanted",
            Case::new(1, vec![serving(1)]),
            Current,
            Healthy,
        ),
        is(
            "serves, and is not healthy",
            Case::new(1, vec![in_place(1, "Active", Status::False)]),
            InProgress,
            Degraded,
        ),
        is(
            "serves; a newer one is checked",
            Case::new(2, vec![serving(1), checking(2)]),
            InProgress,
            Healthy,
        ),
        is(
            "serves; a newer one is put in place",
            Case::new(2, vec![old(), establishing(2)]),
            InProgress,
            Healthy,
        ),
        is(
            "serves; a newer one is refused",
            Case::new(2, vec![serving(1), refused(2)]),
            Failed,
            Healthy,
        ),
        is(
            "serves; a newer one waits for a person (Manual)",
            Case::new(2, vec![serving(1), checked(2)]).manual(),
            Current,
            Healthy,
        ),
        is(
            "nothing serves; waits for a person (Manual)",
            Case::new(1, vec![checked(1)]).manual(),
            InProgress,
            Degraded,
        ),
        is(
            "serves; the registry does not answer",
            Case::new(1, vec![serving(1)]).looked_at().failing(false),
            Current,
            Healthy,
        ),
        is(
            "paused while it serves",
            Case::new(1, vec![serving(1)]).looked_at().paused(),
            Current,
            Healthy,
        ),
        is(
            "paused before it was looked at",
            Case::new(1, vec![]).fresh().paused(),
            InProgress,
            Unknown,
        ),
        (
            "changed, and not looked at yet",
            changed.object(),
            InProgress,
            Healthy,
        ),
        ("being deleted", going, Terminating, Progressing),
        ("gone", Value::Null, Kstatus::NotFound, Argo::Missing),
    ]
}

#[test]
fn every_state_has_its_answer_and_its_row_in_the_docs() -> Result<()> {
    let path = testkit::tools::workspace().join("docs/observability.md");
    let docs = std::fs::read_to_string(path)?;
    let section = docs
        .split("\n## ")
        .find(|s| s.starts_with("What GitOps tools see\n"));
    let rows = section
        .context("a section of GitOps tools")?
        .lines()
        .filter(|l| l.starts_with("| "));
    let documented: Vec<&str> = rows.skip(1).collect();
    let mut rows = vec![];
    for (state, object, expected, health) in table() {
        let object = Some(&object).filter(|o| !o.is_null());
        assert_eq!(kstatus(object), expected, "{state}: {object:#?}");
        assert_eq!(argo(object), health, "{state}: {object:#?}");
        rows.push(format!("| {state} | `{expected}` | `{health}` |"));
    }
    assert_eq!(documented, rows, "the table should be:\n{}", rows.join("\n"));
    Ok(())
}

async fn seen(scene: &Scene) -> Result<(Kstatus, Argo)> {
    let object = scene.world.get(scene.kind, &scene.name).await?;
    Ok((kstatus(object.as_ref()), argo(object.as_ref())))
}

#[test]
fn real_packages_are_judged_so() -> Result<()> {
    testkit::run(async {
        let world = world().await?;
        let good = Scene::new(world, "Provider", "judged-good");
        good.install("v1", &good.with_crds("v1", 1)).await?;
        assert_eq!(seen(&good).await?, (Kstatus::Current, Argo::Healthy));
        let wait = format!("provider/{}", good.name);
        let ready = ["wait", wait.as_str(), "--for=condition=Ready", "--timeout=1s"];
        world.plane().kubectl(&ready).await?;
        good.ask_for("v2", &good.with_crds("v2", 1).crossplane(">=v99.0.0"))
            .await?;
        good.refused().await?;
        assert_eq!(seen(&good).await?, (Kstatus::Failed, Argo::Healthy), "v1 serves");
        good.delete().await?;
        assert_eq!(seen(&good).await?, (Kstatus::NotFound, Argo::Missing));

        let bad = Scene::new(world, "Configuration", "judged-bad");
        let reference = bad.push("v1", &bad.fixture("v1").crossplane(">=v99.0.0")).await?;
        bad.create(&reference, json!({})).await?;
        bad.refused().await?;
        // The event says what was being done, and what to do next.
        bad.event(&bad.name, ". Next: ").await?;
        let field = format!("regarding.name={}", bad.name);
        let args = [
            "get",
            "events.events.k8s.io",
            "-A",
            "--field-selector",
            &field,
            "-o",
            "json",
        ];
        let events: Value = serde_json::from_str(&world.plane().kubectl(&args).await?)?;
        assert_eq!(events["items"][0]["action"], "ActivateRevision", "{events:#}");
        assert_eq!(seen(&bad).await?, (Kstatus::Failed, Argo::Degraded));

        let gone = TestRegistry::start().await?;
        gone.stop();
        let away = Scene::new(world, "Function", "judged-away");
        away.create(&gone.reference(&away.name, "v1"), json!({})).await?;
        world
            .wait_condition("Function", &away.name, "UpToDate", "Unknown", SOON)
            .await?;
        assert_eq!(seen(&away).await?, (Kstatus::InProgress, Argo::Degraded));
        for scene in [bad, away] {
            scene.delete().await?;
        }
        Ok(())
    })
}

#[test]
fn a_fresh_object_is_not_taken_for_a_finished_one() -> Result<()> {
    testkit::run(async {
        let plane = plane().await?;
        let package = json!({
            "apiVersion": "pkg.crossplane.io/v1", "kind": "Provider", "metadata": {"name": "judged-fresh"},
            "spec": {"package": "registry.invalid/a/fresh:v1"},
        });
        plane.apply_yaml(&package.to_string()).await?;
        let args = ["get", "provider", "judged-fresh", "-o", "json"];
        let object: Value = serde_json::from_str(&plane.kubectl(&args).await?)?;
        assert_eq!(kstatus(Some(&object)), Kstatus::InProgress, "{object:#}");
        assert_eq!(argo(Some(&object)), Argo::Progressing);
        plane.kubectl(&["delete", "provider", "judged-fresh"]).await?;
        Ok(())
    })
}
