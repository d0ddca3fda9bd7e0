//! Packages and revisions by state, read from the caches at scrape. Only the leader shows them, so that sums over
//! replicas are right.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use api::condition::{ConditionType, Conditions, Reason, Status};
use api::pkg::{Package, PackageKind, PullPolicy, Revision};
use jiff::Timestamp;
use kit::metrics::Metrics;
use oci::Reference;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::context::Context;

/// Packages with figures of their own, those in trouble first: names come from users, and each one is a time series. The
/// rest is in the figures by kind and state.
pub const MAX_NAMED_PACKAGES: usize = 1_000;

/// How a package is, in one word. The order is that in which packages are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PackageState {
    /// Somebody has to act.
    Stalled,
    /// What is wanted is in place, and not healthy.
    Unhealthy,
    /// On its way, or tried again.
    Reconciling,
    /// Not looked at yet.
    New,
    /// A person has to activate a revision.
    AwaitingActivation,
    /// Paused by annotation.
    Paused,
    /// Being deleted.
    Deleting,
    /// What is wanted serves.
    Ready,
}

impl PackageState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Stalled,
        Self::Unhealthy,
        Self::Reconciling,
        Self::New,
        Self::AwaitingActivation,
        Self::Paused,
        Self::Deleting,
        Self::Ready,
    ];

    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stalled => "Stalled",
            Self::Unhealthy => "Unhealthy",
            Self::Reconciling => "Reconciling",
            Self::New => "New",
            Self::AwaitingActivation => "AwaitingActivation",
            Self::Paused => "Paused",
            Self::Deleting => "Deleting",
            Self::Ready => "Ready",
        }
    }

    fn of(package: &Package) -> Self {
        let conditions = package.status.as_ref().map(|s| &s.conditions);
        let is = |type_| conditions.is_some_and(|c| c.is_true(type_));
        let ready = conditions.and_then(|c| c.get(ConditionType::Ready));
        match ready {
            _ if package.metadata.deletion_timestamp.is_some() => Self::Deleting,
            _ if api::annotation::is_paused(&package.metadata) => Self::Paused,
            _ if is(ConditionType::Stalled) => Self::Stalled,
            Some(ready) if ready.is_true() => Self::Ready,
            _ if is(ConditionType::Reconciling) => Self::Reconciling,
            Some(ready) if ready.has_reason(Reason::AwaitingActivation) => Self::AwaitingActivation,
            Some(_) => Self::Unhealthy,
            None => Self::New,
        }
    }
}

/// How a revision is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RevisionState {
    /// Active, and all its objects are in place.
    Established,
    /// Active, and on its way, or tried again.
    Establishing,
    /// Being checked before it may become active, or checked.
    Candidate,
    /// It, or an object of it, is refused.
    Stalled,
    /// Kept to go back to.
    Inactive,
    /// Paused by annotation.
    Paused,
    /// Being deleted.
    Deleting,
}

impl RevisionState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Established,
        Self::Establishing,
        Self::Candidate,
        Self::Stalled,
        Self::Inactive,
        Self::Paused,
        Self::Deleting,
    ];

    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Established => "Established",
            Self::Establishing => "Establishing",
            Self::Candidate => "Candidate",
            Self::Stalled => "Stalled",
            Self::Inactive => "Inactive",
            Self::Paused => "Paused",
            Self::Deleting => "Deleting",
        }
    }

    fn of(revision: &Revision) -> Self {
        let conditions = revision.status.as_ref().map(|s| &s.conditions);
        let is = |type_| conditions.is_some_and(|c| c.is_true(type_));
        let has = |type_| conditions.is_some_and(|c| c.get(type_).is_some());
        let active = revision.spec.desired_state == "Active";
        match active {
            _ if revision.metadata.deletion_timestamp.is_some() => Self::Deleting,
            _ if api::annotation::is_paused(&revision.metadata) => Self::Paused,
            _ if is(ConditionType::Stalled) => Self::Stalled,
            true if is(ConditionType::Established) => Self::Established,
            // Made by the reference, which says it so.
            true if !has(ConditionType::Established) && is(ConditionType::RevisionHealthy) => {
                Self::Established
            }
            true => Self::Establishing,
            false if has(ConditionType::Preflighted) => Self::Candidate,
            false => Self::Inactive,
        }
    }
}

/// When the registry answered last for a package that it is asked about: polled, or waiting for an answer. Nothing for
/// others, and before the first answer to this process.
fn last_check(package: &Package, succeeded: Option<Timestamp>) -> Option<Timestamp> {
    let polled = package.spec.pull_policy() == PullPolicy::Always
        && Reference::parse(&package.spec.package).is_ok_and(|reference| reference.digest().is_none());
    let conditions = package.status.as_ref().map(|s| &s.conditions);
    let unknown = conditions
        .and_then(|c| c.get(ConditionType::UpToDate))
        .filter(|c| c.status() == Status::Unknown);
    match (polled, unknown) {
        (false, None) => None,
        // An earlier process knew; it said since when there is no answer.
        (_, Some(unknown)) => succeeded.or(Some(unknown.last_transition_time.0)),
        (true, None) => succeeded,
    }
}

/// What is shown.
#[derive(Debug, Default, PartialEq)]
struct Shown {
    packages: BTreeMap<(PackageKind, PackageState), u64>,
    revisions: BTreeMap<(PackageKind, RevisionState), u64>,
    /// State, kind, name.
    named: Vec<(PackageState, PackageKind, String)>,
    /// Time of the last check, kind, name.
    checked: Vec<(Timestamp, PackageKind, String)>,
}

impl Shown {
    fn package(&mut self, kind: PackageKind, package: &Package, succeeded: Option<Timestamp>) {
        let state = PackageState::of(package);
        *self.packages.entry((kind, state)).or_default() += 1;
        let name = package.metadata.name.clone().unwrap_or_default();
        if let Some(at) = last_check(package, succeeded).filter(|_| state != PackageState::Deleting) {
            self.checked.push((at, kind, name.clone()));
        }
        self.named.push((state, kind, name));
    }

    fn revision(&mut self, kind: PackageKind, revision: &Revision) {
        *self
            .revisions
            .entry((kind, RevisionState::of(revision)))
            .or_default() += 1;
    }

    /// Those in trouble, and those that were checked longest ago, stay.
    fn bounded(mut self) -> Self {
        self.named.sort();
        self.named.truncate(MAX_NAMED_PACKAGES);
        self.checked.sort();
        self.checked.truncate(MAX_NAMED_PACKAGES);
        self
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauge = MetricType::Gauge;
        let mut metric = encoder.encode_descriptor("packages", "Packages by state", None, gauge)?;
        for kind in PackageKind::ALL {
            for state in PackageState::ALL {
                let count = self.packages.get(&(kind, state)).copied().unwrap_or(0);
                let labels = [("kind", kind.kind()), ("state", state.as_str())];
                ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "Revisions by state";
        let mut metric = encoder.encode_descriptor("package_revisions", help, None, gauge)?;
        for kind in PackageKind::ALL {
            for state in RevisionState::ALL {
                let count = self.revisions.get(&(kind, state)).copied().unwrap_or(0);
                let labels = [("kind", kind.revision_kind()), ("state", state.as_str())];
                ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "1 for the state that a package is in; of many packages those in trouble";
        let mut metric = encoder.encode_descriptor("package_state", help, None, gauge)?;
        for (state, kind, name) in &self.named {
            let labels = [
                ("kind", kind.kind()),
                ("name", name.as_str()),
                ("state", state.as_str()),
            ];
            ConstGauge::new(1_u64).encode(metric.encode_family(&labels)?)?;
        }
        let help = "When the registry answered last for a package that it is asked about, seconds since 1970";
        let name = "package_last_check_timestamp_seconds";
        let mut metric = encoder.encode_descriptor(name, help, None, gauge)?;
        for (at, kind, name) in &self.checked {
            let labels = [("kind", kind.kind()), ("name", name.as_str())];
            ConstGauge::new(at.as_duration().as_secs_f64()).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Reads the caches at scrape.
pub(crate) struct PackageFigures {
    cx: Arc<Context>,
}

impl PackageFigures {
    pub(crate) fn register(metrics: &Metrics, cx: Arc<Context>) {
        metrics.register(|registry| registry.register_collector(Box::new(Self { cx })));
    }
}

impl fmt::Debug for PackageFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PackageFigures")
    }
}

impl Collector for PackageFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if !self.cx.writer.fence().is_leader() {
            return Ok(());
        }
        let mut shown = Shown::default();
        for (kind, live) in self.cx.caches.packages.iter() {
            for package in live.all() {
                let uid = package.metadata.uid.as_deref().unwrap_or_default();
                let succeeded = self.cx.checks.last(uid).and_then(|check| check.succeeded);
                shown.package(kind, &package, succeeded);
            }
        }
        for (kind, live) in self.cx.caches.revisions.iter() {
            for revision in live.all() {
                shown.revision(kind, &revision);
            }
        }
        shown.bounded().encode(&mut encoder)
    }
}

#[cfg(test)]
mod tests {
    use api::condition::Condition;
    use api::pkg::{PackageSpec, PackageStatus, RevisionSpec, RevisionStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    const KIND: PackageKind = PackageKind::Provider;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn conditions(said: &[(ConditionType, Status, Reason)]) -> Vec<Condition> {
        let one = |(type_, status, reason): &(_, _, _)| Condition::new(*type_, *status, *reason);
        said.iter().map(one).collect()
    }

    fn package(said: &[(ConditionType, Status, Reason)]) -> Package {
        let mut package = Package::new(KIND, "p", PackageSpec::default());
        package.status = Some(PackageStatus {
            conditions: conditions(said),
            ..PackageStatus::default()
        });
        package
    }

    fn revision(state: &str, said: &[(ConditionType, Status, Reason)]) -> Revision {
        let spec = RevisionSpec {
            desired_state: state.into(),
            ..RevisionSpec::default()
        };
        let mut revision = Revision::new(KIND, "r", spec);
        revision.status = Some(RevisionStatus {
            conditions: conditions(said),
            ..RevisionStatus::default()
        });
        revision
    }

    #[test]
    fn each_state_of_a_package_has_its_word() {
        use ConditionType::{Ready, Reconciling, Stalled};
        use Status::{False, True};
        let healthy = (Ready, True, Reason::HealthyPackageRevision);
        let unready = (Ready, False, Reason::Refused);
        for (said, state) in [
            (vec![], PackageState::New),
            (vec![healthy], PackageState::Ready),
            (vec![unready], PackageState::Unhealthy),
            (
                vec![unready, (Stalled, True, Reason::Refused)],
                PackageState::Stalled,
            ),
            (
                vec![unready, (Reconciling, True, Reason::Retrying)],
                PackageState::Reconciling,
            ),
            (
                vec![(Ready, False, Reason::AwaitingActivation)],
                PackageState::AwaitingActivation,
            ),
        ] {
            assert_eq!(PackageState::of(&package(&said)), state, "{said:?}");
        }
        let mut paused = package(&[healthy]);
        paused.metadata.annotations = Some([(api::annotation::PAUSED.to_owned(), "true".to_owned())].into());
        assert_eq!(PackageState::of(&paused), PackageState::Paused);
        paused.metadata.deletion_timestamp = Some(Time(at(1)));
        assert_eq!(PackageState::of(&paused), PackageState::Deleting);
    }

    #[test]
    fn each_state_of_a_revision_has_its_word() {
        use ConditionType::{Established, Preflighted, RevisionHealthy, Stalled};
        use Status::{False, True, Unknown};
        let refused = (Stalled, True, Reason::Refused);
        for (desired, said, state) in [
            (
                "Active",
                vec![(Established, True, Reason::AllEstablished)],
                RevisionState::Established,
            ),
            (
                "Active",
                vec![(RevisionHealthy, True, Reason::HealthyPackageRevision)],
                RevisionState::Established,
            ),
            (
                "Active",
                vec![(Established, False, Reason::Establishing)],
                RevisionState::Establishing,
            ),
            ("Active", vec![], RevisionState::Establishing),
            (
                "Inactive",
                vec![(Preflighted, Unknown, Reason::Checking)],
                RevisionState::Candidate,
            ),
            (
                "Inactive",
                vec![(Preflighted, False, Reason::Refused), refused],
                RevisionState::Stalled,
            ),
            (
                "Inactive",
                vec![(Established, False, Reason::Inactive)],
                RevisionState::Inactive,
            ),
            ("", vec![], RevisionState::Inactive),
        ] {
            assert_eq!(
                RevisionState::of(&revision(desired, &said)),
                state,
                "{desired} {said:?}"
            );
        }
    }

    #[test]
    fn only_those_that_are_asked_about_have_an_age() {
        let mut polled = package(&[]);
        polled.spec.package = "r.invalid/a/b:v1".into();
        assert_eq!(last_check(&polled, Some(at(5))), None, "asked once");
        polled.spec.package_pull_policy = Some("Always".into());
        assert_eq!(last_check(&polled, Some(at(5))), Some(at(5)));
        assert_eq!(last_check(&polled, None), None, "not yet");
        let mut waiting = package(&[(ConditionType::UpToDate, Status::Unknown, Reason::Unreachable)]);
        waiting.status.as_mut().unwrap().conditions[0].last_transition_time = Time(at(3));
        assert_eq!(
            last_check(&waiting, None),
            Some(at(3)),
            "as the status remembers it"
        );
        assert_eq!(last_check(&waiting, Some(at(2))), Some(at(2)));
        let digest = "0".repeat(64);
        polled.spec.package = format!("r.invalid/a/b@sha256:{digest}");
        assert_eq!(last_check(&polled, Some(at(5))), None, "there is nothing to ask");
    }

    #[test]
    fn names_are_bounded_and_trouble_comes_first() {
        let mut shown = Shown::default();
        let healthy = [(ConditionType::Ready, Status::True, Reason::HealthyPackageRevision)];
        for n in 0..MAX_NAMED_PACKAGES + 5 {
            let mut one = package(&healthy);
            one.metadata.name = Some(format!("a{n:05}"));
            one.spec.package = "r.invalid/a/b:v1".into();
            one.spec.package_pull_policy = Some("Always".into());
            shown.package(KIND, &one, Some(at(1_000 - n as i64)));
        }
        let mut stalled = package(&[(ConditionType::Stalled, Status::True, Reason::Refused)]);
        stalled.metadata.name = Some("z".into());
        shown.package(KIND, &stalled, None);
        let shown = shown.bounded();
        assert_eq!(shown.named.len(), MAX_NAMED_PACKAGES);
        assert_eq!(shown.named[0], (PackageState::Stalled, KIND, "z".to_owned()));
        assert_eq!(shown.checked.len(), MAX_NAMED_PACKAGES);
        assert_eq!(shown.checked[0].2, format!("a{:05}", MAX_NAMED_PACKAGES + 4));
        let ready = shown.packages[&(KIND, PackageState::Ready)];
        assert_eq!(ready, MAX_NAMED_PACKAGES as u64 + 5, "all are counted");
    }
}
