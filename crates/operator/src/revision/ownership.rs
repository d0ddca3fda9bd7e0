//! Who may write an object, and which owners it has afterwards (design §3.1.4, api.md 4.7). Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use kit::meta::Meta;
pub use kit::meta::Owner;
use serde_json::{Value, json};

/// One owner of established objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// `pkg.crossplane.io/v1`.
    pub api_version: String,
    /// Kind of the package or revision.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID: what an owner is known by.
    pub uid: String,
}

/// Those who have a say about the objects of one revision.
#[derive(Clone, Debug)]
pub struct Parties {
    /// The revision that wants to control.
    pub revision: Party,
    /// Its package, which outlives it.
    pub package: Party,
    /// UIDs of the package's other revisions that exist.
    pub siblings: BTreeSet<String>,
    /// Which revisions of any package exist.
    pub living: Living,
}

/// Tells by UID whether a revision of any package exists. A controller of a revision kind that doesn't is gone, and what
/// it left may be taken over.
#[derive(Clone)]
pub struct Living(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl Living {
    /// Asks `lives`.
    pub fn new(lives: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(lives))
    }
}

impl std::fmt::Debug for Living {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Living")
    }
}

/// Why an object may not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody else controls it.
    Controlled(Owner),
    /// It is being deleted.
    Terminating,
}

/// What may be done with one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It does not exist.
    Absent,
    /// The revision controls it and all owners are right.
    Held,
    /// It may be written; these owners afterwards.
    Take(Vec<Owner>),
    /// Hands off.
    Refused(Refusal),
}

const REVISION_KINDS: [&str; 3] = ["ProviderRevision", "ConfigurationRevision", "FunctionRevision"];

impl Parties {
    /// What the revision may do with the object that `live` describes.
    #[must_use]
    pub fn claim(&self, live: Option<&Meta>) -> Claim {
        let Some(live) = live else { return Claim::Absent };
        if live.is_terminating() {
            return Claim::Refused(Refusal::Terminating);
        }
        if let Some(controller) = live.controller()
            && !self.may_displace(controller)
        {
            return Claim::Refused(Refusal::Controlled(controller.clone()));
        }
        let owners = self.owners(&live.owner_references);
        match owners == live.owner_references {
            true => Claim::Held,
            false => Claim::Take(owners),
        }
    }

    fn may_displace(&self, controller: &Owner) -> bool {
        controller.uid == self.revision.uid
            || self.siblings.contains(&controller.uid)
            || self.is_gone(controller)
    }

    fn is_gone(&self, owner: &Owner) -> bool {
        owner.api_version.starts_with("pkg.crossplane.io/")
            && REVISION_KINDS.contains(&owner.kind.as_str())
            && !(self.living.0)(&owner.uid)
    }

    /// A controller that is gone goes from the list too. Owners that are gone and control nothing are left to the garbage
    /// collector, which drops them anyway: each would be a write.
    fn displaced(&self, owner: &Owner) -> bool {
        owner.controller && self.is_gone(owner)
    }

    /// The owners after a take-over: the revision controls, its package owns without control, siblings stay owners
    /// without control, what is gone is dropped, and those of others stay as they are.
    fn owners(&self, before: &[Owner]) -> Vec<Owner> {
        let mut owners: Vec<Owner> = before
            .iter()
            .filter(|o| !self.displaced(o) && o.uid != self.package.uid && o.uid != self.revision.uid)
            .cloned()
            .map(|mut o| {
                o.controller &= !self.siblings.contains(&o.uid);
                o
            })
            .collect();
        // Where they stood already they stay, so that an object that is right is not rewritten for its order.
        let place = |uid: &str| {
            before
                .iter()
                .filter(|o| !self.displaced(o))
                .position(|o| o.uid == uid)
        };
        let mut ours = [
            (place(&self.revision.uid), owner(&self.revision, true)),
            (place(&self.package.uid), owner(&self.package, false)),
        ];
        ours.sort_by_key(|(place, _)| place.unwrap_or(usize::MAX));
        for (place, owner) in ours {
            let at = place.unwrap_or(owners.len()).min(owners.len());
            owners.insert(at, owner);
        }
        owners
    }

    /// The owners after this revision's package gives up control of an object that the new content doesn't carry: all
    /// stay, nobody of the package controls. `None` if there is nothing to do.
    #[must_use]
    pub fn released(&self, live: &Meta) -> Option<Vec<Owner>> {
        let ours = |uid: &str| uid == self.revision.uid || self.siblings.contains(uid);
        let controller = live.controller().filter(|c| ours(&c.uid))?;
        let mut owners = live.owner_references.clone();
        for o in owners.iter_mut().filter(|o| o.uid == controller.uid) {
            o.controller = false;
        }
        if !owners.iter().any(|o| o.uid == self.package.uid) {
            owners.push(owner(&self.package, false));
        }
        Some(owners)
    }
}

fn owner(party: &Party, controller: bool) -> Owner {
    Owner {
        api_version: party.api_version.clone(),
        kind: party.kind.clone(),
        name: party.name.clone(),
        uid: party.uid.clone(),
        controller,
        block_owner_deletion: true,
    }
}

/// Owner references as they are written: `controller` is explicit, as the reference writes it (api.md 4.7).
#[must_use]
pub fn to_json(owners: &[Owner]) -> Value {
    let one = |o: &Owner| {
        let mut value = json!({"apiVersion": o.api_version, "kind": o.kind, "name": o.name, "uid": o.uid});
        if o.controller || o.api_version.starts_with("pkg.crossplane.io/") {
            value["controller"] = json!(o.controller);
        }
        if o.block_owner_deletion {
            value["blockOwnerDeletion"] = json!(true);
        }
        value
    };
    Value::Array(owners.iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(kind: &str, name: &str) -> Party {
        Party {
            api_version: "pkg.crossplane.io/v1".into(),
            kind: kind.into(),
            name: name.into(),
            uid: format!("uid-{name}"),
        }
    }

    fn parties() -> Parties {
        let set = |names: &[&str]| names.iter().map(|n| format!("uid-{n}")).collect();
        Parties {
            revision: party("ProviderRevision", "new"),
            package: party("Provider", "p"),
            siblings: set(&["old"]),
            living: Living::new(|uid| ["uid-new", "uid-old", "uid-foreign"].contains(&uid)),
        }
    }

    fn own(name: &str, kind: &str, controller: bool) -> Owner {
        super::owner(&party(kind, name), controller)
    }

    fn live(owners: Vec<Owner>) -> Meta {
        Meta {
            name: "x".into(),
            uid: "u".into(),
            owner_references: owners,
            ..Meta::default()
        }
    }

    fn rev(name: &str, controller: bool) -> Owner {
        own(name, "ProviderRevision", controller)
    }

    fn pkg() -> Owner {
        own("p", "Provider", false)
    }

    #[test]
    fn claims() {
        let foreign = rev("foreign", true);
        let deployment = Owner {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            ..rev("d", true)
        };
        let plain = Owner {
            controller: false,
            ..deployment.clone()
        };
        let cases = [
            ("held", vec![rev("new", true), pkg()], Claim::Held),
            ("held, other order", vec![pkg(), rev("new", true)], Claim::Held),
            (
                "held beside others",
                vec![rev("old", false), rev("new", true), pkg(), plain.clone()],
                Claim::Held,
            ),
            ("nobody's", vec![], Claim::Take(vec![rev("new", true), pkg()])),
            (
                "somebody owns without control",
                vec![plain.clone()],
                Claim::Take(vec![plain, rev("new", true), pkg()]),
            ),
            (
                "sibling's",
                vec![rev("old", true), pkg()],
                Claim::Take(vec![rev("old", false), pkg(), rev("new", true)]),
            ),
            (
                "controller gone",
                vec![
                    rev("deleted", true),
                    own("p-gone", "ProviderRevision", false),
                    pkg(),
                ],
                Claim::Take(vec![
                    own("p-gone", "ProviderRevision", false),
                    pkg(),
                    rev("new", true),
                ]),
            ),
            (
                "an owner that is gone",
                vec![rev("deleted", false), rev("new", true), pkg()],
                Claim::Held,
            ),
            (
                "foreign revision's",
                vec![foreign.clone()],
                Claim::Refused(Refusal::Controlled(foreign)),
            ),
            (
                "other controller's",
                vec![deployment.clone()],
                Claim::Refused(Refusal::Controlled(deployment)),
            ),
            (
                "not controlled any more",
                vec![rev("new", false), pkg()],
                Claim::Take(vec![rev("new", true), pkg()]),
            ),
        ];
        for (name, owners, expected) in cases {
            assert_eq!(parties().claim(Some(&live(owners))), expected, "{name}");
        }
        assert_eq!(parties().claim(None), Claim::Absent);
        let terminating = Meta {
            deletion_timestamp: Some(jiff::Timestamp::UNIX_EPOCH),
            ..live(vec![])
        };
        assert_eq!(
            parties().claim(Some(&terminating)),
            Claim::Refused(Refusal::Terminating)
        );
    }

    #[test]
    fn taking_is_a_fixed_point_with_one_controller() {
        let starts = [
            vec![],
            vec![rev("old", true), pkg()],
            vec![rev("deleted", true)],
            vec![pkg(), rev("old", true)],
        ];
        for owners in starts {
            let Claim::Take(after) = parties().claim(Some(&live(owners))) else {
                panic!("expected a take-over")
            };
            assert_eq!(after.iter().filter(|o| o.controller).count(), 1);
            assert_eq!(parties().claim(Some(&live(after))), Claim::Held);
        }
    }

    #[test]
    fn release_keeps_all_owners() {
        let released = parties().released(&live(vec![rev("old", true)])).unwrap();
        assert_eq!(released, vec![rev("old", false), pkg()]);
        assert_eq!(parties().released(&live(released)), None);
        assert_eq!(parties().released(&live(vec![rev("foreign", true)])), None);
    }

    #[test]
    fn written_owners_say_who_controls() {
        let json = to_json(&[rev("new", true), pkg()]);
        assert_eq!(json[0]["controller"], true);
        assert_eq!(json[1]["controller"], false);
        assert_eq!(json[1]["blockOwnerDeletion"], true);
    }
}
