//! The manager's decisions as tables, and in a model of the world: revisions that behave as the revision controller makes
//! them, digests that move, registries that fail.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::condition::{Condition, ConditionType as Type, Conditions, Reason, Status};
use api::pkg::{Package, PackageKind, PackageSpec, PackageStatus, Revision, RevisionStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use oci::{Digest, Reference};
use proptest::prelude::*;

use super::*;
use crate::conditions::timed;

const KIND: PackageKind = PackageKind::Provider;

fn digest(n: u8) -> Digest {
    Digest::sha256(&[n])
}

/// Owners of a revision that its package owns.
fn owned() -> Vec<OwnerReference> {
    vec![OwnerReference {
        name: "p".to_owned(),
        uid: "package".to_owned(),
        controller: Some(true),
        ..OwnerReference::default()
    }]
}

fn trouble() -> Trouble {
    Trouble {
        reason: Reason::Unreachable,
        message: "registry.invalid: no connection".into(),
        terminal: false,
        not_before: None,
    }
}

/// People find each reason at its condition.
fn documented(conditions: &[Cond]) {
    for c in conditions {
        assert!(c.reason.help().on.contains(&c.type_), "{} {}", c.type_, c.reason);
    }
}

/// What the revision controller makes of a revision's digest.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Content {
    Good,
    RefusedByPreflight,
    RefusedAfterActivation,
    NotFetched,
}

/// A cluster with one package, and a registry with one tag.
struct Model {
    package: Package,
    revisions: BTreeMap<String, Revision>,
    tag: Result<Digest, Trouble>,
    check: Option<Check>,
    contents: BTreeMap<Digest, Content>,
    now: Timestamp,
    runtime: RuntimeMode,
    deleted: Vec<String>,
    notes: Vec<Note>,
}

impl Model {
    fn new(spec: PackageSpec) -> Self {
        let spec = PackageSpec {
            revision_history_limit: spec.revision_history_limit.or(Some(1)),
            ..spec
        };
        let mut package = Package::new(KIND, "p", spec);
        package.metadata.generation = Some(1);
        package.metadata.uid = Some("uid-p".into());
        Self {
            package,
            revisions: BTreeMap::new(),
            tag: Ok(digest(1)),
            check: None,
            contents: BTreeMap::new(),
            now: Timestamp::from_second(1_000).unwrap(),
            runtime: RuntimeMode::None,
            deleted: vec![],
            notes: vec![],
        }
    }

    fn tagged() -> Self {
        Self::new(PackageSpec {
            package: "registry.invalid/a/p:v1".into(),
            ..PackageSpec::default()
        })
    }

    fn seen(&self) -> Seen {
        let image = Reference::parse(&self.package.spec.package).map_err(|error| Trouble {
            reason: Reason::InvalidReference,
            message: error.to_string(),
            terminal: true,
            not_before: None,
        });
        Seen {
            package: Arc::new(self.package.clone()),
            kind: KIND,
            revisions: self.revisions.values().cloned().map(Arc::new).collect(),
            image: image.map(|reference| EffectiveImage {
                reference,
                applied: vec![],
                credentials: String::new(),
            }),
            check: self.check.clone(),
            runtime: self.runtime,
            released: 0,
        }
    }

    /// One reconcile; whether it did anything.
    fn step(&mut self) -> bool {
        let plan = plan(&self.seen(), self.now);
        let mut busy = !plan.steps.is_empty();
        for step in plan.steps {
            self.take(step);
        }
        if let Some(outcome) = plan.status {
            documented(&outcome.conditions);
            let before = self.package.status.clone().unwrap_or_default();
            let after = PackageStatus {
                observed_generation: self.package.metadata.generation,
                conditions: timed(
                    &outcome.conditions,
                    &before.conditions,
                    self.package.metadata.generation,
                    self.now,
                ),
                current_revision: outcome.current_revision,
                current_identifier: outcome.current_identifier,
                applied_image_config_refs: outcome.applied_image_config_refs,
                resolved_package: outcome.resolved_package,
                resolved_digest: outcome.resolved_digest,
                last_check_request: outcome.last_check_request,
                serving_revision: outcome.serving_revision,
                released_objects: outcome.released_objects,
            };
            busy |= after != before;
            self.package.status = Some(after);
        }
        for note in &plan.notes {
            assert!(!note.told.is_warning() || note.remedy.is_some(), "{note:?}");
        }
        self.notes.extend(plan.notes);
        if let Some(question) = plan.ask {
            busy = true;
            let interval = SignedDuration::from_secs(60);
            let answer = self.tag.clone();
            self.check = Some(Check::answered(
                question,
                answer,
                self.check.as_ref(),
                self.now,
                interval,
                0.0,
            ));
        }
        busy
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Create { name, digest, spec } => {
                assert!(!self.revisions.contains_key(&name), "{name} exists");
                assert_eq!(spec.desired_state, "Inactive", "a new revision is a candidate");
                let mut revision = Revision::new(KIND, name.clone(), *spec);
                revision.metadata.generation = Some(1);
                revision.metadata.annotations =
                    Some([(api::annotation::DIGEST.to_owned(), digest.to_string())].into());
                revision.metadata.owner_references = Some(owned());
                self.revisions.insert(name, revision);
            }
            Step::Update {
                name,
                spec,
                annotations,
                unfinalize,
                adopt,
            } => {
                let revision = self.revisions.get_mut(&name).unwrap();
                if revision.spec != *spec {
                    revision.metadata.generation = revision.metadata.generation.map(|g| g + 1);
                }
                revision.spec = *spec;
                let all = revision.metadata.annotations.get_or_insert_default();
                all.extend(
                    annotations
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value)),
                );
                if unfinalize {
                    revision.metadata.finalizers = None;
                }
                if adopt {
                    assert!(revision.metadata.owner_references.is_none(), "{name} is owned");
                    revision.metadata.owner_references = Some(owned());
                }
            }
            Step::Delete { name } => {
                let gone = self.revisions.remove(&name).unwrap();
                assert_ne!(
                    gone.spec.desired_state, "Active",
                    "an active revision was deleted"
                );
                self.deleted.push(name);
            }
        }
    }

    /// The revision controller's part.
    fn revisions_work(&mut self) -> bool {
        let wanted = self
            .package
            .status
            .as_ref()
            .and_then(|s| s.current_revision.clone());
        let newest = self
            .active()
            .into_iter()
            .max_by_key(|name| self.revisions[name].spec.revision);
        let mut busy = false;
        for (name, revision) in &mut self.revisions {
            let before = revision.status.clone();
            let digest = View(revision).digest().unwrap_or_else(|| digest(0));
            let content = self.contents.get(&digest).copied().unwrap_or(Content::Good);
            let generation = revision.metadata.generation;
            let status = revision.status.get_or_insert_with(RevisionStatus::default);
            let time = Time(self.now);
            let mut set = |type_, is, reason| {
                status.conditions.set(
                    Condition::new(type_, is, reason).observing(generation),
                    time.clone(),
                );
            };
            if Some(name) == newest.as_ref() {
                match content {
                    Content::Good | Content::RefusedByPreflight => {
                        set(Type::Established, Status::True, Reason::AllEstablished);
                        set(Type::Preflighted, Status::True, Reason::ChecksPassed);
                        set(
                            Type::RevisionHealthy,
                            Status::True,
                            Reason::HealthyPackageRevision,
                        );
                    }
                    Content::RefusedAfterActivation | Content::NotFetched => {
                        set(Type::Established, Status::False, Reason::Refused);
                        set(Type::Preflighted, Status::False, Reason::Refused);
                        set(
                            Type::RevisionHealthy,
                            Status::False,
                            Reason::UnhealthyPackageRevision,
                        );
                    }
                }
            } else if revision.spec.desired_state != "Active" {
                if status.conditions.get(Type::Established).is_some() {
                    status.conditions.set(
                        Condition::new(Type::Established, Status::False, Reason::Inactive)
                            .observing(generation),
                        time.clone(),
                    );
                }
                if wanted.as_ref() == Some(name) {
                    let refused_before = status
                        .conditions
                        .get(Type::Preflighted)
                        .is_some_and(|c| c.has_reason(Reason::Refused));
                    let (is, reason) = match content {
                        Content::Good => (Status::True, Reason::ChecksPassed),
                        // A preflight sees such refusals the second time, since the task goes on from what it learnt.
                        Content::RefusedAfterActivation if !refused_before => {
                            (Status::True, Reason::ChecksPassed)
                        }
                        Content::NotFetched => (Status::False, Reason::FetchFailed),
                        _ => (Status::False, Reason::Refused),
                    };
                    let new = Condition::new(Type::Preflighted, is, reason).observing(generation);
                    status.conditions.set(new, time);
                } else {
                    status.conditions.unset(Type::Preflighted);
                }
            }
            busy |= before != revision.status;
        }
        busy
    }

    /// Until nothing changes.
    fn settle(&mut self) {
        for _ in 0..60 {
            let busy = self.step() | self.revisions_work();
            let active = self.active();
            assert!(
                active.len() <= 1,
                "two active revisions after a whole step: {active:?}"
            );
            if !busy {
                return;
            }
        }
        panic!("never settles: {:#?}", self.package.status);
    }

    fn active(&self) -> Vec<String> {
        let active = self
            .revisions
            .iter()
            .filter(|(_, r)| r.spec.desired_state == "Active");
        active.map(|(name, _)| name.clone()).collect()
    }

    fn active_digest(&self) -> Option<Digest> {
        self.active()
            .first()
            .and_then(|name| View(&self.revisions[name]).digest())
    }

    /// The part of the package's status that people look at: `Installed Healthy Ready (reason) Stalled? Reconciling?`.
    fn shown(&self) -> String {
        let conditions = &self.package.status.as_ref().unwrap().conditions;
        let is = |type_| conditions.status_of(type_).as_str();
        let ready = conditions.get(Type::Ready).unwrap();
        let more: Vec<&str> = [Type::Stalled, Type::Reconciling]
            .into_iter()
            .filter(|t| conditions.is_true(*t))
            .map(Type::as_str)
            .collect();
        format!(
            "{} {} {} {} {}",
            is(Type::Installed),
            is(Type::Healthy),
            is(Type::Ready),
            ready.reason,
            more.join(" ")
        )
        .trim()
        .to_owned()
    }

    fn condition(&self, type_: Type) -> Condition {
        self.package
            .status
            .as_ref()
            .unwrap()
            .conditions
            .get(type_)
            .cloned()
            .unwrap()
    }

    fn set(&mut self, change: impl FnOnce(&mut PackageSpec)) {
        change(&mut self.package.spec);
        self.package.metadata.generation = self.package.metadata.generation.map(|g| g + 1);
    }

    fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }
}

/// Rows of design §3.1.5.
#[test]
fn a_package_goes_from_nothing_to_serving() {
    let mut m = Model::tagged();
    m.step();
    assert_eq!(m.shown(), "False False False Checking Reconciling");
    m.settle();
    assert_eq!(m.shown(), "True True True HealthyPackageRevision");
    let status = m.package.status.clone().unwrap();
    assert_eq!(
        status.current_identifier.as_deref(),
        Some("registry.invalid/a/p:v1")
    );
    assert_eq!(status.current_revision, m.active().first().cloned());
    assert_eq!(
        m.revisions.values().map(|r| r.spec.revision).collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(
        m.notes.iter().map(|n| n.told.reason()).collect::<Vec<_>>(),
        ["InstallPackageRevision"]
    );
}

#[test]
fn nothing_installed_and_the_registry_fails() {
    let mut m = Model::tagged();
    m.tag = Err(trouble());
    m.settle();
    assert_eq!(m.shown(), "False False False UnpackingPackage Reconciling");
    assert_eq!(m.condition(Type::Installed).reason, "UnpackingPackage");
    let message = m.condition(Type::Healthy).message.unwrap();
    assert_eq!(message, "cannot unpack package: registry.invalid: no connection");
    m.tag = Err(Trouble {
        terminal: true,
        ..trouble()
    });
    m.pass(600);
    m.settle();
    assert_eq!(m.shown(), "False False False UnpackingPackage Stalled");
    m.tag = Ok(digest(1));
    m.pass(600);
    m.settle();
    assert_eq!(m.shown(), "True True True HealthyPackageRevision");
}

#[test]
fn a_first_revision_is_refused() {
    for (content, installed) in [
        (Content::RefusedByPreflight, "False"),
        (Content::NotFetched, "False"),
    ] {
        let mut m = Model::tagged();
        m.contents.insert(digest(1), content);
        m.settle();
        assert!(
            m.shown().starts_with(&format!("{installed} False False")),
            "{content:?}: {}",
            m.shown()
        );
        assert!(m.active().is_empty());
        // The registry answered for the tag, so that UpToDate has no reason to point to.
        let wanted = match content {
            Content::NotFetched => Reason::FetchFailed,
            _ => Reason::Refused,
        };
        let told: Vec<_> = m.notes.iter().filter_map(|note| note.remedy).collect();
        assert_eq!(told, [wanted.help().remedy], "{content:?}");
    }
}

#[test]
fn a_new_version_is_refused_and_the_old_one_serves_on() {
    for content in [Content::RefusedByPreflight, Content::RefusedAfterActivation] {
        let mut m = Model::tagged();
        m.settle();
        let old = m.active();
        m.contents.insert(digest(2), content);
        m.tag = Ok(digest(2));
        m.set(|spec| spec.package = "registry.invalid/a/p:v2".into());
        m.settle();
        assert_eq!(m.shown(), "True True False Refused Stalled", "{content:?}");
        assert_eq!(m.active(), old, "{content:?}");
        assert_eq!(m.revisions.len(), 2, "the candidate stays to be looked at");
    }
}

#[test]
fn the_package_shows_the_serving_revision_until_the_new_one_is_in_place() {
    let mut m = Model::tagged();
    m.settle();
    m.set(|spec| spec.package = "registry.invalid/a/p:v2".into());
    m.tag = Ok(digest(2));
    let mut seen = vec![];
    while m.active_digest() != Some(digest(2)) {
        m.step();
        m.revisions_work();
        seen.push(m.shown());
    }
    assert!(seen.iter().all(|s| s.starts_with("True True False")), "{seen:?}");
    m.settle();
    assert_eq!(m.shown(), "True True True HealthyPackageRevision");
}

#[test]
fn a_registry_outage_leaves_what_serves_alone() {
    let mut m = Model::tagged();
    m.set(|spec| spec.package_pull_policy = Some("Always".into()));
    m.settle();
    m.tag = Err(trouble());
    m.pass(120);
    m.settle();
    assert_eq!(m.shown(), "True True True HealthyPackageRevision");
    let stale = m.condition(Type::UpToDate);
    assert_eq!(
        (stale.status.as_str(), stale.reason.as_str()),
        ("Unknown", "Unreachable")
    );
    // Another text of the same trouble is no news.
    m.tag = Err(Trouble {
        message: "registry.invalid: reset".into(),
        ..trouble()
    });
    m.pass(120);
    m.settle();
    assert_eq!(m.condition(Type::UpToDate).message, stale.message);
    assert_eq!(
        m.condition(Type::UpToDate).last_transition_time,
        stale.last_transition_time
    );
    m.tag = Ok(digest(1));
    m.pass(120);
    m.settle();
    assert_eq!(m.condition(Type::UpToDate).status, "True");
}

#[test]
fn a_restart_takes_nothing_back() {
    let restarted = |m: &Model| {
        let mut again = plan(
            &Seen {
                check: None,
                ..m.seen()
            },
            m.now,
        );
        assert!(again.ask.take().is_some(), "it asks again");
        assert_eq!((again.steps, again.notes), (vec![], vec![]));
        again.status
    };
    for terminal in [false, true] {
        let mut m = Model::tagged();
        m.tag = Err(Trouble {
            terminal,
            ..trouble()
        });
        m.settle();
        assert_eq!(restarted(&m), plan(&m.seen(), m.now).status, "nothing installed");
    }
    let mut m = Model::tagged();
    m.set(|spec| spec.package_pull_policy = Some("Always".into()));
    m.settle();
    m.tag = Err(trouble());
    m.pass(120);
    m.settle();
    assert_eq!(
        restarted(&m),
        plan(&m.seen(), m.now).status,
        "serving, registry down"
    );
    // Of another spec the old trouble says nothing.
    m.set(|spec| spec.package = "registry.invalid/a/p:v2".into());
    m.tag = Err(Trouble {
        message: "registry.invalid: another text".into(),
        ..trouble()
    });
    let shown = restarted(&m).unwrap();
    let stale = shown.conditions.iter().find(|c| c.type_ == Type::UpToDate);
    assert!(stale.is_none(), "not asked yet");
    m.settle();
    let message = m.condition(Type::UpToDate).message;
    assert_eq!(message.as_deref(), Some("registry.invalid: another text"));
}

#[test]
fn a_rollback_needs_no_registry() {
    let mut m = Model::tagged();
    m.settle();
    let first = m.active();
    m.set(|spec| spec.package = "registry.invalid/a/p:v2".into());
    m.tag = Ok(digest(2));
    m.settle();
    assert_ne!(m.active(), first);
    m.tag = Err(trouble());
    m.set(|spec| spec.package = "registry.invalid/a/p:v1".into());
    m.settle();
    assert_eq!(m.active(), first, "the kept revision is used again");
    assert_eq!(
        m.revisions[&first[0]].spec.revision, 3,
        "it has the highest number"
    );
    assert_eq!(m.revisions.len(), 2);
    assert!(m.shown().starts_with("True True True"), "{}", m.shown());
    assert_eq!(m.condition(Type::UpToDate).status, "Unknown");
}

#[test]
fn forward_again_after_a_rollback_without_a_registry() {
    for registry_is_back in [false, true] {
        for restart in [false, true] {
            let mut m = Model::tagged();
            m.settle();
            m.set(|spec| spec.package = "registry.invalid/a/p:v2".into());
            m.tag = Ok(digest(2));
            m.settle();
            m.tag = Err(trouble());
            m.set(|spec| spec.package = "registry.invalid/a/p:v1".into());
            m.settle();
            assert_eq!(m.active_digest(), Some(digest(1)));
            if restart {
                m.check = None;
                m.settle();
                assert_eq!(m.active_digest(), Some(digest(1)));
            }
            m.tag = if registry_is_back {
                Ok(digest(2))
            } else {
                Err(trouble())
            };
            m.set(|spec| spec.package = "registry.invalid/a/p:v2".into());
            m.settle();
            assert_eq!(
                m.active_digest(),
                Some(digest(2)),
                "back {registry_is_back}, restart {restart}"
            );
            let images: Vec<_> = m.revisions.values().map(|r| r.spec.image.clone()).collect();
            assert_eq!(
                images.iter().filter(|i| i.ends_with(":v2")).count(),
                1,
                "{images:?}"
            );
        }
    }
}

#[test]
fn if_not_present_stays_with_its_digest() {
    let mut m = Model::tagged();
    m.settle();
    m.tag = Ok(digest(2));
    m.pass(7200);
    m.set(|spec| spec.common_labels = Some([("a".to_owned(), "b".to_owned())].into()));
    m.check = None; // a restart
    m.settle();
    assert_eq!(m.active_digest(), Some(digest(1)));
    assert_eq!(m.revisions.len(), 1, "other fields of the spec make no revision");
    let requested = [(api::annotation::CHECK_REQUESTED_AT.to_owned(), "now".to_owned())].into();
    m.package.metadata.annotations = Some(requested);
    m.settle();
    assert_eq!(m.active_digest(), Some(digest(2)), "a check was asked for");
    m.tag = Ok(digest(3));
    m.check = None;
    m.pass(7200);
    m.settle();
    assert_eq!(m.active_digest(), Some(digest(2)), "one request is one check");
}

#[test]
fn always_follows_the_tag() {
    let mut m = Model::tagged();
    m.set(|spec| spec.package_pull_policy = Some("Always".into()));
    m.settle();
    m.tag = Ok(digest(2));
    m.pass(30);
    m.settle();
    assert_eq!(m.active_digest(), Some(digest(1)), "not asked yet");
    m.pass(31);
    m.settle();
    assert_eq!(m.active_digest(), Some(digest(2)));
}

#[test]
fn manual_waits_for_a_person_and_does_what_the_person_says() {
    let mut m = Model::tagged();
    m.set(|spec| spec.revision_activation_policy = Some("Manual".into()));
    m.settle();
    assert_eq!(m.shown(), "False True False AwaitingActivation");
    let activate = |m: &mut Model, digest: &Digest| {
        let (_, r) = m
            .revisions
            .iter_mut()
            .find(|(_, r)| View(r).digest().as_ref() == Some(digest))
            .unwrap();
        r.spec.desired_state = "Active".into();
        r.metadata.generation = r.metadata.generation.map(|g| g + 1);
    };
    activate(&mut m, &digest(1));
    m.settle();
    assert_eq!(m.shown(), "True True True HealthyPackageRevision");
    m.set(|spec| spec.package = "registry.invalid/a/p:v2".into());
    m.tag = Ok(digest(2));
    m.settle();
    assert_eq!(m.shown(), "True True True UpdateAvailable");
    assert_eq!(m.active_digest(), Some(digest(1)));
    activate(&mut m, &digest(2));
    m.settle();
    assert_eq!(m.active_digest(), Some(digest(2)));
    activate(&mut m, &digest(1));
    m.settle();
    assert_eq!(
        m.active_digest(),
        Some(digest(1)),
        "an older one is a decision too"
    );
    let numbers = |d: &Digest| {
        m.revisions
            .values()
            .find(|r| View(r).digest().as_ref() == Some(d))
            .unwrap()
            .spec
            .revision
    };
    assert!(numbers(&digest(1)) > numbers(&digest(2)));
}

#[test]
fn history_keeps_what_has_served_and_drops_what_never_did() {
    for (limit, kept) in [(1, 2), (2, 3), (0, 6), (-1, 6)] {
        let mut m = Model::tagged();
        m.set(|spec| spec.revision_history_limit = Some(limit));
        for n in 1..=6 {
            m.tag = Ok(digest(n));
            m.set(|spec| spec.package = format!("registry.invalid/a/p:v{n}"));
            m.settle();
        }
        assert_eq!(m.revisions.len(), kept, "limit {limit}");
        assert_eq!(m.active_digest(), Some(digest(6)));
    }
    let mut m = Model::tagged();
    m.settle();
    for n in 2..=4 {
        m.contents.insert(digest(n), Content::RefusedByPreflight);
        m.tag = Ok(digest(n));
        m.set(|spec| spec.package = format!("registry.invalid/a/p:v{n}"));
        m.settle();
    }
    assert_eq!(m.revisions.len(), 2, "the serving one and the wanted one");
    assert_eq!(m.deleted.len(), 2);
}

#[test]
fn paused_changes_nothing_but_says_so() {
    let mut m = Model::tagged();
    m.settle();
    m.package.metadata.annotations = Some([(api::annotation::PAUSED.to_owned(), "true".to_owned())].into());
    m.set(|spec| spec.package = "registry.invalid/a/p:v2".into());
    m.tag = Ok(digest(2));
    m.settle();
    assert_eq!(m.active_digest(), Some(digest(1)));
    assert_eq!(m.condition(Type::Synced).reason, "ReconcilePaused");
    assert_eq!(m.condition(Type::Healthy).status, "True");
    m.package.metadata.annotations = None;
    m.settle();
    assert_eq!(m.active_digest(), Some(digest(2)));
    assert!(m.package.status.unwrap().conditions.get(Type::Synced).is_none());
}

#[test]
fn a_package_that_is_going_is_left_alone() {
    let mut m = Model::tagged();
    m.package.metadata.deletion_timestamp = Some(Time(m.now));
    assert!(!m.step());
}

#[test]
fn a_deleted_revision_is_made_again_without_asking() {
    let mut m = Model::tagged();
    m.settle();
    let name = m.active();
    m.revisions.clear();
    m.tag = Err(trouble());
    m.check = None;
    m.settle();
    assert_eq!(m.active(), name);
    assert!(m.shown().starts_with("True True True"), "{}", m.shown());
}

/// A cluster that the reference ran: its revision is taken over under its own name.
#[test]
fn revisions_that_an_earlier_package_left_behind_get_an_owner() {
    let mut m = Model::tagged();
    m.settle();
    for revision in m.revisions.values_mut() {
        revision.metadata.owner_references = None;
    }
    m.settle();
    let owners: Vec<_> = m
        .revisions
        .values()
        .map(|r| r.metadata.owner_references.clone())
        .collect();
    assert_eq!(owners, [Some(owned())]);
}

#[test]
fn a_revision_of_the_reference_is_reused() {
    let mut m = Model::tagged();
    let name = names::reference_revision_name("p", digest(1).hex(), 1);
    let mut theirs = Revision::new(KIND, name.clone(), wanted_spec(&m.seen()));
    theirs.spec.desired_state = "Active".into();
    theirs.spec.revision = 7;
    theirs.metadata.finalizers = Some(vec![api::REFERENCE_REVISION_FINALIZER.to_owned()]);
    m.revisions.insert(name.clone(), theirs);
    m.settle();
    assert_eq!(m.active(), [name.as_str()]);
    let taken = &m.revisions[&name];
    assert_eq!(taken.metadata.finalizers, None);
    assert_eq!(View(taken).digest(), Some(digest(1)), "the digest is recorded");
    assert_eq!((m.revisions.len(), taken.spec.revision), (1, 7));
}

#[test]
fn health_is_rolled_up_in_the_words_of_the_reference() {
    // Scenarios 8.D1: (RevisionHealthy, RuntimeHealthy, awaiting activation) -> Healthy, message.
    let revision = |m: &str| format!("Package revision health is {m}");
    let runtime = |m: &str| format!("Package runtime health is {m}");
    let no = Some(("False", "not ready"));
    let yes = Some(("True", ""));
    let cases = [
        (yes, yes, false, "True", "HealthyPackageRevision", String::new()),
        (
            yes,
            yes,
            true,
            "True",
            "AwaitingActivation",
            "scaled to zero".to_owned(),
        ),
        (
            no,
            yes,
            false,
            "False",
            "UnhealthyPackageRevision",
            revision("\"False\" with message: not ready"),
        ),
        (
            yes,
            no,
            false,
            "False",
            "UnhealthyPackageRevision",
            runtime("\"False\" with message: not ready"),
        ),
        (
            yes,
            no,
            true,
            "False",
            "UnhealthyPackageRevision",
            runtime("\"False\" with message: not ready; runtime is scaled to zero awaiting activation"),
        ),
        (
            no,
            no,
            false,
            "False",
            "UnhealthyPackageRevision",
            revision("\"False\" with message: not ready"),
        ),
        (
            Some(("Unknown", "")),
            yes,
            false,
            "False",
            "UnhealthyPackageRevision",
            revision("\"Unknown\""),
        ),
        (
            yes,
            Some(("Unknown", "")),
            false,
            "False",
            "UnhealthyPackageRevision",
            runtime("\"Unknown\""),
        ),
        (
            None,
            None,
            false,
            "False",
            "UnhealthyPackageRevision",
            revision("\"Unknown\""),
        ),
    ];
    for (revision, runtime, awaiting, healthy, reason, message) in cases {
        let mut object = Revision::new(KIND, "r", Default::default());
        let status = object.status.get_or_insert_default();
        let mut set = |type_: Type, is: Option<(&str, &str)>| {
            if let Some((is, text)) = is {
                let is = Status::parse(is).unwrap();
                let new = Condition::new(type_, is, Reason::HealthyPackageRevision).with_message(text);
                status.conditions.set(new, Time(Timestamp::UNIX_EPOCH));
            }
        };
        set(Type::RevisionHealthy, revision);
        set(Type::RuntimeHealthy, runtime);
        if awaiting {
            let new = Condition::new(Type::RuntimeActive, Status::False, Reason::AwaitingActivation);
            status
                .conditions
                .set(new.with_message("scaled to zero"), Time(Timestamp::UNIX_EPOCH));
        }
        let health = status::health(View(&object), true);
        assert_eq!(
            (health.status.as_str(), health.reason.as_str()),
            (healthy, reason),
            "{message}"
        );
        assert_eq!(health.message, message);
    }
    let mut configuration = Revision::new(PackageKind::Configuration, "r", Default::default());
    let status = configuration.status.get_or_insert_default();
    let healthy = Condition::new(
        Type::RevisionHealthy,
        Status::True,
        Reason::HealthyPackageRevision,
    );
    status.conditions.set(healthy, Time(Timestamp::UNIX_EPOCH));
    assert_eq!(
        status::health(View(&configuration), false).status,
        Status::True,
        "no runtime is consulted"
    );
}

#[derive(Clone, Debug)]
enum Event {
    Tag(u8),
    RegistryDown,
    Package(u8),
    Policy(bool),
    Always(bool),
    Limit(i64),
    Content(u8, u8),
    Activate(prop::sample::Index),
    Restart,
    Time(i64),
    Steps(u8),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (1..5u8).prop_map(Event::Tag),
        Just(Event::RegistryDown),
        (1..4u8).prop_map(Event::Package),
        any::<bool>().prop_map(Event::Policy),
        any::<bool>().prop_map(Event::Always),
        (-1..4i64).prop_map(Event::Limit),
        ((1..5u8), (0..4u8)).prop_map(|(d, c)| Event::Content(d, c)),
        any::<prop::sample::Index>().prop_map(Event::Activate),
        Just(Event::Restart),
        (1..200i64).prop_map(Event::Time),
        (1..6u8).prop_map(Event::Steps),
    ];
    prop::collection::vec(event, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens in whatever order: it settles, at most one revision is active, one that served is never left for
    /// nothing, and what settled changes no more.
    #[test]
    fn any_history_settles(events in events()) {
        let mut m = Model::tagged();
        let mut served = false;
        for event in events {
            match event {
                Event::Tag(n) => m.tag = Ok(digest(n)),
                Event::RegistryDown => m.tag = Err(trouble()),
                Event::Package(n) => m.set(|spec| spec.package = format!("registry.invalid/a/p:v{n}")),
                Event::Policy(manual) => m.set(|spec| {
                    spec.revision_activation_policy = Some(if manual { "Manual" } else { "Automatic" }.into());
                }),
                Event::Always(always) => m.set(|spec| {
                    spec.package_pull_policy = Some(if always { "Always" } else { "IfNotPresent" }.into());
                }),
                Event::Limit(limit) => m.set(|spec| spec.revision_history_limit = Some(limit)),
                Event::Content(d, c) => {
                    let content = [Content::Good, Content::RefusedByPreflight, Content::RefusedAfterActivation, Content::NotFetched];
                    // What serves goes on serving: only what is not active may turn out bad.
                    if m.active_digest() != Some(digest(d)) {
                        m.contents.insert(digest(d), content[usize::from(c)]);
                    }
                }
                Event::Activate(which) if !m.revisions.is_empty() => {
                    let name = m.revisions.keys().nth(which.index(m.revisions.len())).cloned().unwrap();
                    let revision = m.revisions.get_mut(&name).unwrap();
                    revision.spec.desired_state = "Active".into();
                    revision.metadata.generation = revision.metadata.generation.map(|g| g + 1);
                }
                Event::Activate(_) => {}
                Event::Restart => m.check = None,
                Event::Time(seconds) => m.pass(seconds),
                Event::Steps(n) => {
                    for _ in 0..n {
                        m.step();
                        m.revisions_work();
                    }
                }
            }
            served |= m.revisions.values().any(|r| View(r).has_served());
        }
        for _ in 0..60 {
            let busy = m.step() | m.revisions_work();
            if !busy {
                break;
            }
        }
        prop_assert!(m.active().len() <= 1, "{:?}", m.active());
        prop_assert!(!m.step(), "a second look changes something: {:?}", m.package.status);
        let healthy = m.revisions.values().any(|r| r.spec.desired_state == "Active" && View(r).is_established());
        prop_assert!(!served || healthy || !m.active().is_empty(), "what served is gone");
    }
}
