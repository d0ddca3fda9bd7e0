//! Conditions: their types, the closed set of reasons, and how one is set.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

#[macro_use]
mod closed;
mod help;
mod reason;
mod status;
mod type_;

pub use help::Help;
pub use reason::*;
pub use status::*;
pub use type_::*;

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
        for type_ in ConditionType::ALL {
            assert_eq!(ConditionType::parse(type_.as_str()), Some(*type_));
        }
        assert_eq!(Reason::UnpackingPackage.to_string(), "UnpackingPackage");
        assert_eq!(ConditionType::parse("Verified"), None);
    }
}
