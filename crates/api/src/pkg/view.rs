//! How a revision is read: questions with yes/no answers, asked of the object as it is. Whoever reads
//! revisions, the operator and the command line, gets the same answers here, also of revisions that the
//! reference made.

use oci::Digest;

use super::Revision;
use crate::annotation;
use crate::condition::{Condition, ConditionType, Conditions, Reason};

/// A revision seen through these questions. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct View<'a>(pub &'a Revision);

impl<'a> View<'a> {
    /// Its name.
    pub fn name(self) -> &'a str {
        self.0.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its number within the package.
    pub fn number(self) -> i64 {
        self.0.spec.revision
    }

    /// Any other value than `Active`, also the reference's empty string, counts as inactive (behaviour 9.2
    /// C4).
    pub fn is_active(self) -> bool {
        self.0.spec.desired_state == "Active"
    }

    /// Its deletion was asked for.
    pub fn is_deleting(self) -> bool {
        self.0.metadata.deletion_timestamp.is_some()
    }

    /// The value of one of its annotations.
    pub fn annotation(self, key: &str) -> Option<&'a str> {
        self.0.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The digest that the revision stands for. Revisions made by the reference lack it unless their image is
    /// a digest reference.
    pub fn digest(self) -> Option<Digest> {
        match self.annotation(annotation::DIGEST) {
            Some(text) => Digest::parse(text).ok(),
            None => oci::Reference::parse(&self.0.spec.image).ok()?.digest().cloned(),
        }
    }

    /// The condition of that type.
    pub fn condition(self, type_: ConditionType) -> Option<&'a Condition> {
        self.0.status.as_ref()?.conditions.get(type_)
    }

    /// The condition, if it speaks of the revision's present spec; conditions without `observedGeneration`
    /// always do.
    fn current(self, type_: ConditionType) -> Option<&'a Condition> {
        let generation = self.0.metadata.generation;
        self.condition(type_)
            .filter(|c| c.observed_generation.is_none() || c.observed_generation >= generation)
    }

    /// The preflight passed, for the revision as it is now: taking an old revision again changes its number,
    /// and with it its generation.
    pub fn is_preflighted(self) -> bool {
        self.current(ConditionType::Preflighted)
            .is_some_and(|c| c.is_true())
    }

    /// The revision serves: it is active and all its objects are in place. A revision of the reference says
    /// so with
    /// `RevisionHealthy` alone.
    pub fn is_established(self) -> bool {
        match self.current(ConditionType::Established) {
            Some(c) => c.is_true(),
            None => {
                self.condition(ConditionType::Established).is_none()
                    && self.annotation(annotation::DIGEST).is_none()
                    && self
                        .condition(ConditionType::RevisionHealthy)
                        .is_some_and(|c| c.is_true())
            }
        }
    }

    /// All is in place but what needs the revision's own program first, which may start therefore.
    pub fn awaits_program(self) -> bool {
        self.current(ConditionType::Established)
            .is_some_and(|c| c.is_false() && c.has_reason(Reason::AwaitingProgram))
    }

    /// Establishing was refused in a way that waiting can't mend.
    pub fn establish_refusal(self) -> Option<&'a Condition> {
        self.current(ConditionType::Established)
            .filter(|c| c.is_false() && c.has_reason(Reason::Refused))
    }

    /// The revision has served at some time: marked so, or made by the reference and holding objects.
    pub fn has_served(self) -> bool {
        if self.annotation(annotation::SERVED).is_some() {
            return true;
        }
        let holds = self.0.status.as_ref().is_some_and(|s| !s.object_refs.is_empty());
        self.0
            .metadata
            .annotations
            .as_ref()
            .is_none_or(|a| !a.contains_key(annotation::DIGEST))
            && holds
    }
}
