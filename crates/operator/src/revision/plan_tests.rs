//! The revision controller's decisions as tables: the part a revision plays, how its work ended, what it then shows.

use api::condition::{Condition, Conditions};
use api::pkg::{PackageKind, PackageSpec, PackageStatus, RevisionSpec, RevisionStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::status::listed;
use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_000).unwrap()
}

fn revision(name: &str, number: i64, state: &str) -> Revision {
    let spec = RevisionSpec {
        desired_state: state.into(),
        revision: number,
        ..RevisionSpec::default()
    };
    let mut revision = Revision::new(PackageKind::Provider, name, spec);
    revision.metadata.uid = Some(format!("uid-{name}"));
    revision.metadata.generation = Some(2);
    revision
}

fn package(current: &str) -> Package {
    let mut package = Package::new(PackageKind::Provider, "p", PackageSpec::default());
    package.status = Some(PackageStatus {
        current_revision: Some(current.into()),
        ..PackageStatus::default()
    });
    package
}

fn seen(revision: Revision, current: &str, siblings: Vec<Revision>) -> Seen {
    Seen {
        revision: Arc::new(revision),
        package: Some(Arc::new(package(current))),
        siblings: siblings.into_iter().map(Arc::new).collect(),
        work: WorkView::default(),
        controls: false,
        image: None,
    }
}

fn ended(task: Task, ending: Ending, at: Option<Timestamp>) -> Option<(Aim, Ending, Option<Timestamp>)> {
    Some((Aim { task, generation: 2 }, ending, at))
}

fn start(task: Task) -> WorkStep {
    WorkStep::Start(Aim { task, generation: 2 })
}

fn was(mut revision: Revision, conditions: &[(ConditionType, Status, Reason)]) -> Revision {
    let status = revision.status.get_or_insert_with(RevisionStatus::default);
    for (type_, is, reason) in conditions {
        status.conditions.set(
            Condition::new(*type_, *is, *reason).observing(Some(2)),
            Time(now()),
        );
    }
    revision
}

fn established(revision: Revision) -> Revision {
    let healthy = (
        ConditionType::RevisionHealthy,
        Status::True,
        Reason::HealthyPackageRevision,
    );
    was(
        revision,
        &[
            healthy,
            (ConditionType::Established, Status::True, Reason::AllEstablished),
        ],
    )
}

/// `Type=Status/Reason …` of a plan, in order.
fn shown(plan: &Plan) -> String {
    for c in plan.status.iter().flat_map(|s| &s.conditions) {
        let documented = c.reason.help().on.contains(&c.type_);
        assert!(documented, "{} {}", c.type_, c.reason);
    }
    for note in &plan.notes {
        assert!(!note.told.is_warning() || note.remedy.is_some(), "{note:?}");
    }
    let conditions = plan.status.iter().flat_map(|s| &s.conditions);
    let one = |c: &Cond| format!("{}={}/{}", c.type_, c.status, c.reason);
    conditions.map(one).collect::<Vec<_>>().join(" ")
}

fn message(plan: &Plan, type_: ConditionType) -> String {
    let conditions = plan.status.iter().flat_map(|s| &s.conditions);
    conditions
        .into_iter()
        .find(|c| c.type_ == type_)
        .map(|c| c.message.clone())
        .unwrap_or_default()
}

#[test]
fn each_part_has_its_task() {
    let active = || revision("a", 1, "Active");
    let inactive = || revision("a", 1, "Inactive");
    let cases = [
        ("active", seen(active(), "a", vec![]), start(Task::Establish)),
        (
            "active, not wanted",
            seen(active(), "b", vec![]),
            start(Task::Establish),
        ),
        (
            "overtaken",
            seen(active(), "a", vec![revision("b", 2, "Active")]),
            WorkStep::Stop,
        ),
        (
            "active beside an older one",
            seen(active(), "a", vec![revision("b", 0, "Active")]),
            start(Task::Establish),
        ),
        ("candidate", seen(inactive(), "a", vec![]), start(Task::Preflight)),
        (
            "candidate beside an active one",
            seen(inactive(), "a", vec![revision("b", 2, "Active")]),
            start(Task::Preflight),
        ),
        (
            "empty state of the reference",
            seen(revision("a", 1, ""), "a", vec![]),
            start(Task::Preflight),
        ),
        (
            "kept",
            seen(inactive(), "b", vec![revision("b", 2, "Active")]),
            WorkStep::Stop,
        ),
        (
            "leaving",
            Seen {
                controls: true,
                ..seen(inactive(), "a", vec![])
            },
            start(Task::Release),
        ),
        (
            "handed over",
            Seen {
                controls: true,
                ..seen(inactive(), "b", vec![revision("b", 2, "Active")])
            },
            WorkStep::Stop,
        ),
    ];
    for (name, seen, work) in cases {
        assert_eq!(plan(&seen, now()).work, work, "{name}");
    }
}

#[test]
fn paused_or_going_stops_everything() {
    let mut paused = established(revision("a", 1, "Active"));
    paused.metadata.annotations = Some([(api::annotation::PAUSED.to_owned(), "true".to_owned())].into());
    let plan_ = plan(&seen(paused, "a", vec![]), now());
    assert_eq!(plan_.work, WorkStep::Stop);
    assert!(
        shown(&plan_).contains("Established=True/AllEstablished"),
        "{}",
        shown(&plan_)
    );
    assert!(
        shown(&plan_).ends_with("Synced=False/ReconcilePaused"),
        "{}",
        shown(&plan_)
    );
    let mut going = revision("a", 1, "Active");
    going.metadata.deletion_timestamp = Some(Time(now()));
    assert_eq!(
        plan(&seen(going, "a", vec![]), now()),
        Plan::still(WorkStep::Stop)
    );
    let orphan = Seen {
        package: None,
        ..seen(revision("a", 1, "Active"), "a", vec![])
    };
    assert_eq!(
        plan(&orphan, now()),
        Plan::still(WorkStep::Stop),
        "its package is gone: nothing is put back"
    );
}

#[test]
fn work_starts_once_and_again_when_something_changed() {
    let mut s = seen(revision("a", 1, "Active"), "a", vec![]);
    s.work.running = Some(Aim {
        task: Task::Establish,
        generation: 2,
    });
    assert_eq!(plan(&s, now()).work, WorkStep::Keep);
    s.work.running = Some(Aim {
        task: Task::Establish,
        generation: 1,
    });
    assert_eq!(plan(&s, now()).work, start(Task::Establish), "the spec changed");
    s.work.running = None;
    s.work.ended = ended(Task::Establish, Ending::Done, None);
    assert_eq!(plan(&s, now()).work, WorkStep::Keep);
    s.work.differs = true;
    assert_eq!(
        plan(&s, now()).work,
        start(Task::Establish),
        "somebody changed an object"
    );
    let later = now() + jiff::SignedDuration::from_secs(5);
    s.work.ended = ended(Task::Establish, Ending::Done, Some(later));
    assert_eq!(
        (plan(&s, now()).work, plan(&s, now()).next),
        (WorkStep::Keep, Next::At(later)),
        "a fight slows down"
    );
    s.work.differs = false;
    s.work.ended = ended(Task::Establish, Ending::Refused(vec!["x".into()]), Some(later));
    assert_eq!(
        (plan(&s, now()).work, plan(&s, now()).next),
        (WorkStep::Keep, Next::At(later))
    );
    assert_eq!(plan(&s, later).work, start(Task::Establish));
    s.work.ended = ended(Task::Preflight, Ending::Done, None);
    assert_eq!(
        plan(&s, now()).work,
        start(Task::Establish),
        "that was another task"
    );
}

#[test]
fn endings_of_a_first_establishing() {
    let transient = Trouble {
        reason: Reason::Unreachable,
        message: "r.invalid: down".into(),
        terminal: false,
        not_before: None,
    };
    let refused = Ending::Refused(vec![
        "CustomResourceDefinition x is already controlled by A b (UID c)".into(),
    ]);
    let cases = [
        (
            Ending::Done,
            "RevisionHealthy=True/HealthyPackageRevision Preflighted=True/ChecksPassed Established=True/AllEstablished Ready=True/HealthyPackageRevision",
        ),
        (
            refused,
            "RevisionHealthy=False/UnhealthyPackageRevision Preflighted=False/Refused Established=False/Refused Ready=False/Refused Stalled=True/Refused",
        ),
        (
            Ending::NoContent(transient.clone()),
            "RevisionHealthy=False/UnhealthyPackageRevision Preflighted=False/FetchFailed Established=False/FetchFailed Ready=False/FetchFailed Reconciling=True/FetchFailed",
        ),
        (
            Ending::NoContent(Trouble {
                terminal: true,
                ..transient
            }),
            "RevisionHealthy=False/UnhealthyPackageRevision Preflighted=False/FetchRefused Established=False/FetchRefused Ready=False/FetchRefused Stalled=True/FetchRefused",
        ),
        (
            Ending::Unfit("package meta type is not Provider".into()),
            "RevisionHealthy=False/UnhealthyPackageRevision Preflighted=False/Refused Established=False/Refused Ready=False/Refused Stalled=True/Refused",
        ),
        (
            Ending::Waiting(vec!["x is being deleted".into()]),
            "RevisionHealthy=False/UnhealthyPackageRevision Established=False/Waiting Ready=False/Waiting Reconciling=True/Waiting",
        ),
    ];
    let later = Some(now() + jiff::SignedDuration::from_secs(5));
    for (ending, conditions) in cases {
        let mut s = seen(revision("a", 1, "Active"), "a", vec![]);
        s.work.ended = ended(
            Task::Establish,
            ending.clone(),
            later.filter(|_| ending != Ending::Done),
        );
        let plan = plan(&s, now());
        assert_eq!(shown(&plan), conditions, "{ending:?}");
        assert_eq!(plan.notes.len(), 1, "told once: {ending:?} {:?}", plan.notes);
    }
}

#[test]
fn what_serves_goes_on_serving_while_its_content_cannot_be_had() {
    let trouble = Trouble {
        reason: Reason::Unreachable,
        message: "down".into(),
        terminal: false,
        not_before: None,
    };
    for ending in [None, Some(Ending::NoContent(trouble))] {
        let mut s = seen(established(revision("a", 1, "Active")), "a", vec![]);
        s.work.ended = ending.and_then(|ending| ended(Task::Establish, ending, Some(now())));
        let plan = plan(&s, now());
        assert!(
            shown(&plan).starts_with("RevisionHealthy=True"),
            "{}",
            shown(&plan)
        );
        assert!(shown(&plan).contains("Established=True"), "{}", shown(&plan));
        assert!(plan.notes.is_empty());
    }
    let mut s = seen(established(revision("a", 1, "Active")), "a", vec![]);
    s.work.ended = ended(Task::Establish, Ending::Refused(vec!["x".into()]), Some(now()));
    assert!(
        shown(&plan(&s, now())).contains("Established=False/Refused"),
        "what was taken from it shows"
    );
}

#[test]
fn progress_is_shown_while_establishing_for_the_first_time() {
    let mut s = seen(revision("a", 1, "Active"), "a", vec![]);
    s.work.running = Some(Aim {
        task: Task::Establish,
        generation: 2,
    });
    s.work.progress = Some(Progress {
        established: 412,
        total: 1_000,
    });
    let first = plan(&s, now());
    assert_eq!(
        message(&first, ConditionType::Established),
        "Established 412 of 1,000"
    );
    assert_eq!(
        first.status.unwrap().progress,
        Some(Progress {
            established: 412,
            total: 1_000
        })
    );
    let mut repair = seen(established(revision("a", 1, "Active")), "a", vec![]);
    repair.work = s.work;
    let repair = plan(&repair, now());
    assert!(
        shown(&repair).contains("Established=True"),
        "a repair doesn't make it red"
    );
    assert_eq!(repair.status.unwrap().progress, None);
}

#[test]
fn a_candidate_shows_what_the_preflight_found() {
    let mut s = seen(
        revision("b", 2, "Inactive"),
        "b",
        vec![established(revision("a", 1, "Active"))],
    );
    assert_eq!(shown(&plan(&s, now())), "Preflighted=Unknown/Checking");
    s.work.ended = ended(Task::Preflight, Ending::Done, None);
    let passed = plan(&s, now());
    assert_eq!(
        shown(&passed),
        "RevisionHealthy=True/HealthyPackageRevision Preflighted=True/ChecksPassed"
    );
    s.work.ended = ended(
        Task::Preflight,
        Ending::Refused(vec!["x".into(), "y".into()]),
        Some(now()),
    );
    let refused = plan(&s, now());
    assert_eq!(
        message(&refused, ConditionType::RevisionHealthy),
        "cannot establish control of object: 2 objects: x; y"
    );
    assert!(
        shown(&refused).ends_with("Stalled=True/Refused"),
        "{}",
        shown(&refused)
    );
}

#[test]
fn a_restart_takes_nothing_back() {
    let refused = || Ending::Refused(vec!["x".into()]);
    for (task, state, ending) in [
        (Task::Preflight, "Inactive", refused()),
        (Task::Preflight, "Inactive", Ending::Waiting(vec!["y".into()])),
        (Task::Preflight, "Inactive", Ending::Done),
        (Task::Establish, "Active", refused()),
        (Task::Establish, "Active", Ending::Unfit("z".into())),
    ] {
        let mut before = seen(revision("a", 1, state), "a", vec![]);
        before.work.ended = ended(task, ending, Some(now()));
        let told = plan(&before, now()).status.unwrap().conditions;
        let mut after = revision("a", 1, state);
        after.status = Some(RevisionStatus {
            conditions: crate::conditions::timed(&told, &[], Some(2), now()),
            ..RevisionStatus::default()
        });
        let restarted = plan(&seen(after.clone(), "a", vec![]), now());
        assert_eq!(restarted.status.unwrap().conditions, told);
        assert_eq!(restarted.notes, []);
        assert_eq!(restarted.work, start(task), "it looks again");
        // Of another spec the old conditions say nothing.
        after.metadata.generation = Some(3);
        let changed = plan(&seen(after, "a", vec![]), now());
        assert_ne!(changed.status.unwrap().conditions, told);
    }
}

#[test]
fn a_kept_revision_shows_its_old_health_and_nothing_in_progress() {
    let kept = was(
        established(revision("a", 1, "Inactive")),
        &[
            (ConditionType::Preflighted, Status::True, Reason::ChecksPassed),
            (ConditionType::Stalled, Status::True, Reason::Refused),
        ],
    );
    let plan = plan(&seen(kept, "b", vec![revision("b", 2, "Active")]), now());
    assert_eq!(
        shown(&plan),
        "RevisionHealthy=True/HealthyPackageRevision Established=False/Inactive"
    );
}

#[test]
fn content_becomes_metadata_and_status() {
    let mut s = seen(revision("a", 1, "Active"), "a", vec![]);
    let facts = ContentFacts {
        labels: [("family".to_owned(), "f".to_owned())].into(),
        capabilities: Some(vec!["safe-start".into()]),
        warnings: (0..30).map(|n| format!("document {n}: odd")).collect(),
        ..ContentFacts::default()
    };
    s.image = Some(("mirror.invalid/a/p:v1".into(), vec![]));
    s.work.content = Some(Arc::new(facts.clone()));
    let first = plan(&s, now());
    assert_eq!(
        first.metadata,
        Some((facts.labels.clone(), facts.annotations.clone()))
    );
    let status = first.status.unwrap();
    assert_eq!(status.capabilities, facts.capabilities);
    assert_eq!(status.resolved_image.as_deref(), Some("mirror.invalid/a/p:v1"));
    assert_eq!(status.warnings.len(), MAX_WARNINGS);
    assert!(first.notes.iter().any(|n| n.told == Told::Linted));
    let mut labelled = revision("a", 1, "Active");
    labelled.metadata.labels = Some(
        [
            ("family".to_owned(), "f".to_owned()),
            ("theirs".to_owned(), "x".to_owned()),
        ]
        .into(),
    );
    labelled.status = Some(RevisionStatus {
        warnings: status.warnings,
        ..RevisionStatus::default()
    });
    let again = plan(
        &Seen {
            revision: Arc::new(labelled),
            ..s
        },
        now(),
    );
    assert_eq!(again.metadata, None, "labels of others are no difference");
    assert!(again.notes.iter().all(|n| n.told != Told::Linted), "told once");
}

#[test]
fn refusals_are_listed_ten_by_name_then_counted() {
    let all: Vec<String> = (1..=13).map(|n| format!("o{n}")).collect();
    assert_eq!(listed(&all[..1]), "o1");
    assert_eq!(listed(&all[..2]), "2 objects: o1; o2");
    assert!(
        listed(&all).starts_with("13 objects: o1; o2;"),
        "{}",
        listed(&all)
    );
    assert!(listed(&all).ends_with("o10; and 3 more"), "{}", listed(&all));
}
