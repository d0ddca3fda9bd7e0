//! Conditions: their types, the closed set of reasons, and how one is set.
//!
//! The reference's types and reasons are in the spec (API reference, chapter 3); the others are ours, as the
//! design says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

/// A closed set of strings: an enum whose variants are spelled in the API as in the code.
macro_rules! closed {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All values.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The value in the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// Reads the API's value; `None` when somebody else's.
            pub fn parse(value: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == value)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

closed! {
    /// `status` of a condition.
    Status {
        /// It holds.
        True,
        /// It does not hold.
        False,
        /// Nobody knows; also what a missing condition reads as.
        Unknown,
    }
}

closed! {
    /// `type` of a condition that Gantry writes or reads.
    ConditionType {
        /// Package: a revision of it serves.
        Installed,
        /// Package: the serving revision, and its runtime, are well.
        Healthy,
        /// Package and revision: `False` while paused. Never `True` on packages.
        Synced,
        /// Revision: its objects are established.
        RevisionHealthy,
        /// Revision of a kind with runtime: the runtime is available.
        RuntimeHealthy,
        /// Revision of a kind with runtime: the runtime is not scaled to zero.
        RuntimeActive,
        /// Revision (ours): what it would change was checked, and may be changed.
        Preflighted,
        /// Revision (ours): what it needs is installed, in a version that fits.
        DependenciesResolved,
        /// Package (ours): the last check of the registry succeeded.
        UpToDate,
        /// Package and revision (ours, kstatus): what is wanted now is what works.
        Ready,
        /// Package and revision (ours, kstatus): work goes on.
        Reconciling,
        /// Package and revision (ours, kstatus): retrying can't help; a person has to act.
        Stalled,
        /// Lock: the reference's resolver found everything.
        Resolved,
    }
}

closed! {
    /// `reason` of a condition that Gantry writes. Closed, so that metrics may use it as a label.
    Reason {
        // the reference's
        /// Installed: fetching or parsing failed, nothing is installed.
        UnpackingPackage,
        /// Installed: a revision is active.
        ActivePackageRevision,
        /// Installed: no revision is active.
        InactivePackageRevision,
        /// Healthy, RevisionHealthy, RuntimeHealthy: well.
        HealthyPackageRevision,
        /// Healthy, RevisionHealthy, RuntimeHealthy: not well.
        UnhealthyPackageRevision,
        /// Healthy, RevisionHealthy, RuntimeHealthy: not known. Only read, from older versions.
        UnknownPackageRevisionHealth,
        /// RuntimeActive: the runtime runs.
        ActiveRuntime,
        /// RuntimeActive: scaled to zero. Ready (ours): a person has to activate the revision.
        AwaitingActivation,
        /// Synced: paused by annotation.
        ReconcilePaused,
        /// Resolved: everything was found.
        DependencyResolutionSucceeded,
        /// Resolved: something was not found.
        DependencyResolutionFailed,

        // ours: states
        /// Ready: what is wanted serves and is healthy.
        Serving,
        /// Ready: what serves is healthy and a newer revision waits for a person.
        UpdateAvailable,
        /// Ready, Reconciling: the reference is being resolved.
        Resolving,
        /// Ready, Reconciling: content is being fetched and read.
        Fetching,
        /// Ready, Reconciling: what the revision would change is being checked.
        Checking,
        /// Ready, Reconciling: objects are being created or taken over.
        Establishing,
        /// Ready, Reconciling: the API server has yet to establish CRDs.
        AwaitingEstablished,
        /// Ready, Reconciling: something else has to happen first; the message names it.
        Waiting,
        /// Reconciling: tried again after a failure, with back-off.
        Retrying,
        /// Reconciling: nothing to do. Stalled: nothing is in the way.
        Done,
        /// Ready: the revision is not the active one.
        Inactive,
        /// Preflighted: every check passed.
        ChecksPassed,
        /// DependenciesResolved: all of them are there.
        AllDependenciesFound,
        /// DependenciesResolved: the package needs nothing, or was told not to look.
        NothingToResolve,
        /// UpToDate: the registry was asked.
        Checked,
        /// UpToDate: pull policy Never, or a digest: there is nothing to ask.
        NotChecked,

        // ours: the registry
        /// The reference can't be parsed.
        InvalidReference,
        /// The registry knows no such tag, digest or repository.
        NotFound,
        /// The registry wants other credentials.
        Unauthorized,
        /// A pull secret is missing or can't be read.
        InvalidPullSecret,
        /// The host's name can't be resolved.
        HostUnknown,
        /// No connection to the host.
        Unreachable,
        /// The host's certificate was not accepted.
        TlsFailed,
        /// The host did not answer in time.
        TimedOut,
        /// The registry asks to slow down.
        RateLimited,
        /// The registry failed, or its answer makes no sense.
        RegistryFailed,
        /// The content has another digest or size than promised.
        ContentMismatch,
        /// The content is larger than a limit.
        LimitExceeded,
        /// Pull policy Never, and the store does not have it.
        NotInStore,
        /// An image config is not usable.
        InvalidImageConfig,
        /// Signatures could not be verified.
        VerificationFailed,

        // ours: the package
        /// The image holds no package, or one that can't be read.
        InvalidPackage,
        /// The package demands another Crossplane version.
        IncompatibleVersion,
        /// A lint finding, under strict lint.
        LintFailed,
        /// Something that is needed is not installed.
        MissingDependencies,
        /// Something that is needed is installed in a version that doesn't fit.
        IncompatibleDependencies,

        // ours: the cluster
        /// An object belongs to somebody else.
        OwnedByOther,
        /// An object is being deleted.
        Terminating,
        /// The API server refuses an object.
        ObjectRefused,
        /// The cluster does not serve a kind.
        KindNotServed,
        /// Several kinds of refusal at once; the message lists them.
        Refused,
        /// The package needs a runtime that this operator doesn't provide.
        RuntimeRequired,
        /// The operator lacks rights.
        Forbidden,
        /// The API server failed, or does not answer.
        ApiServerFailed,
        /// An unexpected error; the message tells it.
        InternalError,
    }
}

/// One condition of an object's status.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which condition, see [`ConditionType`]; there is one per type.
    #[serde(rename = "type", default)]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    #[serde(default)]
    pub status: String,
    /// Why, in one word, see [`Reason`].
    #[serde(default)]
    pub reason: String,
    /// Why, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When `status` flipped last.
    #[serde(default = "epoch")]
    pub last_transition_time: Time,
    /// `metadata.generation` that it speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// Stands for "not set yet".
fn epoch() -> Time {
    Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)
}

impl Condition {
    /// A condition without message; [`Conditions::set`] fills in the time.
    pub fn new(type_: ConditionType, status: Status, reason: Reason) -> Self {
        Self {
            type_: type_.as_str().to_owned(),
            status: status.as_str().to_owned(),
            reason: reason.as_str().to_owned(),
            message: None,
            last_transition_time: epoch(),
            observed_generation: None,
        }
    }

    /// With that message; an empty one is none.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into()).filter(|text| !text.is_empty());
        self
    }

    /// Speaking of that generation of the object.
    #[must_use]
    pub fn observing(mut self, generation: Option<i64>) -> Self {
        self.observed_generation = generation;
        self
    }

    /// Its status; strings that are none read as `Unknown`.
    pub fn status(&self) -> Status {
        Status::parse(&self.status).unwrap_or(Status::Unknown)
    }

    /// Whether its status is `True`.
    pub fn is_true(&self) -> bool {
        self.status() == Status::True
    }

    /// Whether its status is `False`.
    pub fn is_false(&self) -> bool {
        self.status() == Status::False
    }

    /// Whether it has that reason.
    pub fn has_reason(&self, reason: Reason) -> bool {
        self.reason == reason.as_str()
    }
}

/// A list of conditions with one per type.
pub trait Conditions {
    /// The condition of that type.
    fn get(&self, type_: ConditionType) -> Option<&Condition>;

    /// Status of the condition of that type; `Unknown` when there is none.
    fn status_of(&self, type_: ConditionType) -> Status {
        self.get(type_).map_or(Status::Unknown, Condition::status)
    }

    /// Whether the condition of that type is there and `True`.
    fn is_true(&self, type_: ConditionType) -> bool {
        self.status_of(type_) == Status::True
    }

    /// Puts `new` in place of the condition of its type and returns whether anything changed.
    /// `lastTransitionTime` becomes
    /// `now` if the status differs from before (or there was none), else it stays; whatever `new` carries is
    /// ignored. (The reference moves it on every change of reason or message too; deviation on purpose.)
    fn set(&mut self, new: Condition, now: Time) -> bool;

    /// Takes the condition of that type away and returns whether there was one.
    fn unset(&mut self, type_: ConditionType) -> bool;
}

impl Conditions for Vec<Condition> {
    fn get(&self, type_: ConditionType) -> Option<&Condition> {
        self.iter().find(|condition| condition.type_ == type_.as_str())
    }

    fn set(&mut self, mut new: Condition, now: Time) -> bool {
        let Some(old) = self.iter_mut().find(|condition| condition.type_ == new.type_) else {
            new.last_transition_time = now;
            self.push(new);
            return true;
        };
        new.last_transition_time = if old.status == new.status {
            old.last_transition_time.clone()
        } else {
            now
        };
        let changed = *old != new;
        *old = new;
        changed
    }

    fn unset(&mut self, type_: ConditionType) -> bool {
        let before = self.len();
        self.retain(|condition| condition.type_ != type_.as_str());
        self.len() != before
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn time_moves_only_when_the_status_flips() {
        let mut all = Vec::new();
        let unhealthy = Condition::new(
            ConditionType::Healthy,
            Status::False,
            Reason::UnhealthyPackageRevision,
        );
        assert!(all.set(unhealthy.clone().with_message("a"), at(10)));
        assert!(
            !all.set(unhealthy.clone().with_message("a"), at(20)),
            "nothing changed"
        );
        assert!(
            all.set(unhealthy.clone().with_message("b"), at(30)),
            "message changed"
        );
        assert_eq!(
            all.get(ConditionType::Healthy).unwrap().last_transition_time,
            at(10)
        );
        assert!(
            all.set(unhealthy.observing(Some(2)), at(40)),
            "generation changed"
        );
        assert_eq!(
            all.get(ConditionType::Healthy).unwrap().last_transition_time,
            at(10)
        );
        let healthy = Condition::new(
            ConditionType::Healthy,
            Status::True,
            Reason::HealthyPackageRevision,
        );
        assert!(all.set(healthy, at(50)));
        assert_eq!(
            all.get(ConditionType::Healthy).unwrap().last_transition_time,
            at(50)
        );
        assert_eq!(all.len(), 1);
        assert_eq!(all.status_of(ConditionType::Installed), Status::Unknown);
        assert!(all.unset(ConditionType::Healthy) && !all.unset(ConditionType::Healthy));
    }

    #[test]
    fn a_poor_condition_decodes() {
        let poor: Condition = serde_json::from_str(r#"{"type":"Healthy"}"#).unwrap();
        assert_eq!(poor.status(), Status::Unknown);
        assert_eq!(poor.last_transition_time, at(0));
    }

    #[test]
    fn values_are_distinct_and_parse() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
        assert_eq!(ConditionType::parse("Verified"), None);
    }
}
