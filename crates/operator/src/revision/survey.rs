//! What has to be done for all objects of a revision at once. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::pkg::{ObjectRef, Revision};
use kit::meta::{Meta, Owner};

use super::diff::{self, Item, Todo, Written};
use super::ownership::{Parties, Refusal};
use crate::kinds;

/// Objects by what has to be done with them; numbers are places in the list of items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// They don't exist.
    pub create: Vec<usize>,
    /// Only their owners change.
    pub own: Vec<(usize, Vec<Owner>)>,
    /// Content and owners are written.
    pub replace: Vec<(usize, Vec<Owner>)>,
    /// They belong to somebody else; one sentence each.
    pub refused: Vec<String>,
    /// They are being deleted; one sentence each.
    pub terminating: Vec<String>,
}

impl Survey {
    /// Nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `CustomResourceDefinition x.example.org`.
#[must_use]
pub fn named(item: &Item) -> String {
    let kind = kinds::ALL
        .get(item.kind)
        .map_or("object", |k| k.resource.kind.as_ref());
    format!("{kind} {}", item.name)
}

/// Compares all objects with what is live.
pub fn survey(
    items: &[Item],
    live: impl Fn(&Item) -> Option<Arc<Meta>>,
    written: &BTreeMap<(usize, String), Written>,
    parties: &Parties,
) -> Survey {
    let mut survey = Survey::default();
    for (place, item) in items.iter().enumerate() {
        let meta = live(item);
        let record = written.get(&(item.kind, item.name.clone()));
        match diff::todo(item, meta.as_deref(), record, parties) {
            Todo::Nothing => {}
            Todo::Create => survey.create.push(place),
            Todo::Own(owners) => survey.own.push((place, owners)),
            Todo::Replace(owners) => survey.replace.push((place, owners)),
            Todo::Refused(Refusal::Terminating) => survey.terminating.push(format!(
                "{} is being deleted; it is taken up again when it is gone",
                named(item)
            )),
            Todo::Refused(Refusal::Controlled(by)) => survey.refused.push(format!(
                "{} is already controlled by {} {} (UID {})",
                named(item),
                by.kind,
                by.name,
                by.uid
            )),
        }
    }
    survey
}

/// What revisions recorded of their writes: later revisions count more, `latest` most of all.
pub fn records<'a>(
    revisions: impl IntoIterator<Item = &'a Revision>,
    latest: Option<&BTreeMap<(usize, String), Written>>,
) -> BTreeMap<(usize, String), Written> {
    let mut sorted: Vec<&Revision> = revisions.into_iter().collect();
    sorted.sort_by_key(|r| r.spec.revision);
    let refs = sorted
        .into_iter()
        .filter_map(|r| r.status.as_ref())
        .flat_map(|s| &s.object_refs);
    let mut records: BTreeMap<_, _> = refs.filter_map(record).collect();
    records.extend(
        latest
            .into_iter()
            .flatten()
            .map(|(key, written)| (key.clone(), written.clone())),
    );
    records
}

/// References without kind, UID or generation, which the reference may leave behind (behaviour 9.2 C37), say nothing.
fn record(reference: &ObjectRef) -> Option<((usize, String), Written)> {
    let (group, _) = reference.api_version.split_once('/')?;
    let kind = kinds::find(group, &reference.kind)?;
    let written = Written {
        uid: reference.uid.clone()?,
        generation: reference.generation?,
    };
    Some(((kind, reference.name.clone()), written))
}

/// References to the objects that were written, in the reference's order: descending by `group/version, Kind=kind/name`.
#[must_use]
pub fn references(items: &[Item], written: &BTreeMap<(usize, String), Written>) -> Vec<ObjectRef> {
    let mut refs: Vec<(String, ObjectRef)> = items
        .iter()
        .filter_map(|item| {
            let resource = kinds::in_version(item.kind, &item.version)?;
            let record = written.get(&(item.kind, item.name.clone()))?;
            let reference = ObjectRef {
                api_version: resource.api_version(),
                kind: resource.kind.to_string(),
                name: item.name.clone(),
                uid: Some(record.uid.clone()),
                generation: Some(record.generation),
            };
            Some((
                format!("{}, Kind={}/{}", reference.api_version, reference.kind, item.name),
                reference,
            ))
        })
        .collect();
    refs.sort_by(|(a, _), (b, _)| b.cmp(a));
    refs.into_iter().map(|(_, reference)| reference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str) -> Item {
        Item {
            kind: kinds::CRD,
            version: "v1".into(),
            name: name.into(),
            hash: "1-h".into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            entry: 0,
        }
    }

    fn record() -> Written {
        Written {
            uid: "u".into(),
            generation: 2,
        }
    }

    #[test]
    fn references_come_back_as_records_and_bad_ones_are_skipped() {
        let written: BTreeMap<_, _> = [(
            (kinds::CRD, "b.x".to_owned()),
            Written {
                uid: "u".into(),
                generation: 2,
            },
        )]
        .into();
        let both: BTreeMap<_, _> = ["a.x", "b.x"]
            .map(|n| ((kinds::CRD, n.to_owned()), record()))
            .into();
        let refs = references(&[item("a.x"), item("b.x"), item("unwritten.x")], &both);
        let names: Vec<_> = refs.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["b.x", "a.x"], "descending, only what was written");
        let refs = references(&[item("a.x"), item("b.x")], &written);
        let revision = Revision {
            status: Some(api::pkg::RevisionStatus {
                object_refs: refs.into_iter().chain([ObjectRef::default()]).collect(),
                ..Default::default()
            }),
            ..Revision::default()
        };
        assert_eq!(records([&revision], None), written);
        let newer: BTreeMap<_, _> = [(
            (kinds::CRD, "b.x".to_owned()),
            Written {
                uid: "u".into(),
                generation: 3,
            },
        )]
        .into();
        assert_eq!(records([&revision], Some(&newer)), newer);
    }
}
