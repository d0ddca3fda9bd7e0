//! What has to be done so that one live object is what the package says (design §3.2). Pure.

use std::collections::BTreeMap;

use kit::meta::{Meta, Owner};

use super::ownership::{Claim, Parties, Refusal};

/// An object as it should be, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Place of the kind in [`crate::kinds::ALL`].
    pub kind: usize,
    /// Version of the object.
    pub version: String,
    /// Name in the cluster.
    pub name: String,
    /// Hash of the complete desired content, without owners.
    pub hash: String,
    /// Labels that it must have.
    pub labels: BTreeMap<String, String>,
    /// Annotations that it must have, beside the hash.
    pub annotations: BTreeMap<String, String>,
    /// Place of the body in the package's index.
    pub entry: usize,
}

/// What the object was when it was last written by this package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The object's UID.
    pub uid: String,
    /// The generation that the write gave it.
    pub generation: i64,
}

/// What to do with one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Todo {
    /// It is as it should be.
    Nothing,
    /// It doesn't exist.
    Create,
    /// Only its owners change.
    Own(Vec<Owner>),
    /// Content and owners are written.
    Replace(Vec<Owner>),
    /// It can't be had.
    Refused(Refusal),
}

/// Compares. `written` is what this package's revisions recorded of the object; without a record the content is
/// written once more, which the API server turns into nothing where it is equal.
#[must_use]
pub fn todo(item: &Item, live: Option<&Meta>, written: Option<&Written>, parties: &Parties) -> Todo {
    let owners = match parties.claim(live) {
        Claim::Absent => return Todo::Create,
        Claim::Refused(refusal) => return Todo::Refused(refusal),
        Claim::Held => None,
        Claim::Take(owners) => Some(owners),
    };
    let Some(live) = live else { return Todo::Create };
    match (is_same(item, live, written), owners) {
        (true, None) => Todo::Nothing,
        (true, Some(owners)) => Todo::Own(owners),
        (false, owners) => Todo::Replace(owners.unwrap_or_else(|| live.owner_references.clone())),
    }
}

fn is_same(item: &Item, live: &Meta, written: Option<&Written>) -> bool {
    let has = |have: &BTreeMap<String, String>, want: &BTreeMap<String, String>| {
        want.iter().all(|(key, value)| have.get(key) == Some(value))
    };
    live.annotations.get(api::annotation::CONTENT) == Some(&item.hash)
        && written.is_some_and(|w| w.uid == live.uid && w.generation == live.generation)
        && has(&live.labels, &item.labels)
        && has(&live.annotations, &item.annotations)
}

#[cfg(test)]
mod tests {
    use super::super::ownership::{Living, Party};
    use super::*;

    fn party(name: &str) -> Party {
        Party {
            api_version: "pkg.crossplane.io/v1".into(),
            kind: "ProviderRevision".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
        }
    }

    fn parties() -> Parties {
        Parties {
            revision: party("new"),
            package: party("p"),
            siblings: ["uid-old".to_owned()].into(),
            living: Living::new(|uid| ["uid-new", "uid-old"].contains(&uid)),
        }
    }

    fn item() -> Item {
        Item {
            kind: 0,
            version: "v1".into(),
            name: "x".into(),
            hash: "1-abc".into(),
            labels: [("team".to_owned(), "a".to_owned())].into(),
            annotations: BTreeMap::new(),
            entry: 0,
        }
    }

    /// An object as this revision wrote it.
    fn right() -> Meta {
        let Claim::Take(owners) = parties().claim(Some(&Meta::default())) else {
            panic!("free object")
        };
        Meta {
            name: "x".into(),
            uid: "u".into(),
            generation: 3,
            labels: [
                ("team".to_owned(), "a".to_owned()),
                ("foreign".to_owned(), "l".to_owned()),
            ]
            .into(),
            annotations: [(api::annotation::CONTENT.to_owned(), "1-abc".to_owned())].into(),
            owner_references: owners,
            ..Meta::default()
        }
    }

    fn written() -> Written {
        Written {
            uid: "u".into(),
            generation: 3,
        }
    }

    fn with(change: impl FnOnce(&mut Meta)) -> Meta {
        let mut meta = right();
        change(&mut meta);
        meta
    }

    #[test]
    fn each_difference_has_its_write() {
        let replace = Todo::Replace(right().owner_references);
        let check = |live: &Meta, expected: &Todo, why: &str| {
            assert_eq!(
                todo(&item(), Some(live), Some(&written()), &parties()),
                *expected,
                "{why}"
            );
        };
        check(&right(), &Todo::Nothing, "equal");
        check(&with(|m| m.generation = 4), &replace, "edited by somebody");
        check(
            &with(|m| m.uid = "v".into()),
            &replace,
            "deleted and made again by somebody",
        );
        check(&with(|m| m.labels.clear()), &replace, "common label lost");
        check(&with(|m| m.annotations.clear()), &replace, "hash lost");
        check(
            &with(|m| _ = m.labels.insert("more".into(), "x".into())),
            &Todo::Nothing,
            "a label of others",
        );
        check(
            &with(|m| m.owner_references.clear()),
            &Todo::Own(right().owner_references),
            "owners lost",
        );
        assert_eq!(
            todo(&item(), Some(&right()), None, &parties()),
            replace,
            "no record of the write"
        );
        assert_eq!(
            todo(&item(), None, Some(&written()), &parties()),
            Todo::Create,
            "gone"
        );
    }
}
