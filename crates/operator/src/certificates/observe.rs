//! What the secrets hold. The cache has their metadata only: contents are read once for each state of a secret, and what was
//! made of them is remembered, without private keys.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use kit::certificate::{self, Authority, Certificate};
use kit::meta::Meta;
use kit::read::{self, OBJECT_BYTES, ReadError};
use kit::resource::{Resource, Target};
use kube::Client;
use serde::Deserialize;

use super::facts::{AuthorityHeld, Held, Unusable, Want};
use crate::freshness::AWAIT_OWN_WRITE;

/// Secrets read at a time.
pub const READS: usize = 8;

/// Keys of the authority's secret beside those of any certificate.
pub(crate) const NEXT_CERTIFICATE: &str = "next.crt";
pub(crate) const NEXT_KEY: &str = "next.key";
pub(crate) const PREVIOUS: &str = "previous.crt";

const SECRETS: Resource = Resource::new("", "v1", "secrets", "Secret");

pub(crate) fn target(namespace: &str, name: &str) -> Target {
    Target::namespaced(SECRETS, namespace, name)
}

/// Values of a secret.
pub(crate) type Data = BTreeMap<String, Vec<u8>>;

/// One secret with its values. Not kept: there are private keys in it.
pub(crate) struct Secret {
    pub meta: Meta,
    pub data: Data,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    metadata: Meta,
    data: Option<BTreeMap<String, Option<ByteString>>>,
}

/// Reads one secret; `None` if it does not exist.
pub(crate) async fn get(client: &Client, namespace: &str, name: &str) -> Result<Option<Secret>, ReadError> {
    let target = target(namespace, name);
    let Some(body) = read::raw(client, &target, OBJECT_BYTES).await? else {
        return Ok(None);
    };
    // The decoder's words quote what it read.
    let raw: Raw = serde_json::from_slice(&body).map_err(|_| ReadError::Unavailable {
        what: target.to_string(),
        why: "its answer cannot be read".to_owned(),
        retry_after: None,
    })?;
    let values = raw.data.unwrap_or_default();
    Ok(Some(Secret {
        meta: raw.metadata,
        data: values
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?.0)))
            .collect(),
    }))
}

/// What the authority's secret holds.
pub(crate) fn authority(secret: &Secret) -> AuthorityHeld {
    let value = |key: &str| secret.data.get(key).map(Vec::as_slice).unwrap_or_default();
    let current = match (value(certificate::CERTIFICATE), value(certificate::KEY)) {
        ([], []) => Err(Unusable::Empty),
        ([], _) => Err(Unusable::Half(certificate::CERTIFICATE)),
        (_, []) => Err(Unusable::Half(certificate::KEY)),
        (certificate, key) => Authority::read(certificate, key)
            .map(|authority| authority.certificate().clone())
            .map_err(Unusable::Damaged),
    };
    let next = Authority::read(value(NEXT_CERTIFICATE), value(NEXT_KEY)).ok();
    let previous = certificate::certificates(value(PREVIOUS), PREVIOUS).unwrap_or_default();
    AuthorityHeld {
        meta: Some(secret.meta.clone()),
        current,
        next: next.map(|next| next.certificate().clone()),
        previous: previous.into_iter().filter(Certificate::signs).collect(),
    }
}

/// What a state of a secret was found to be.
#[derive(Clone, Debug)]
struct Known<T> {
    meta: Meta,
    what: T,
    /// When we wrote it, by the steady clock: the cache may not have it yet.
    written: Option<Timestamp>,
}

/// What is remembered of secrets, by name.
#[derive(Debug)]
pub(crate) struct Memory<T>(HashMap<String, Known<T>>);

/// What is known without asking.
enum Answer<T> {
    Absent,
    Known(Box<Meta>, T),
    Ask,
}

impl<T: Clone> Memory<T> {
    pub(crate) fn new() -> Self {
        Self(HashMap::new())
    }

    /// Takes what a read or a write of ours left.
    pub(crate) fn learn(&mut self, name: &str, meta: Meta, what: T, written: Option<Timestamp>) {
        self.0.insert(name.to_owned(), Known { meta, what, written });
    }

    pub(crate) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(crate) fn retain(&mut self, wanted: &BTreeSet<&str>) {
        self.0.retain(|name, _| wanted.contains(name.as_str()));
    }

    fn ask(&mut self, name: &str, cached: Option<&Meta>, steady: Timestamp) -> Answer<T> {
        let Some(known) = self.0.get_mut(name) else {
            return cached.map_or(Answer::Absent, |_| Answer::Ask);
        };
        let ahead = known
            .written
            .is_some_and(|at| steady.duration_since(at) < AWAIT_OWN_WRITE);
        match cached {
            Some(meta)
                if meta.uid == known.meta.uid && meta.resource_version == known.meta.resource_version =>
            {
                known.written = None;
                Answer::Known(Box::new(meta.clone()), known.what.clone())
            }
            Some(meta) if ahead && older(meta, &known.meta) => {
                Answer::Known(Box::new(known.meta.clone()), known.what.clone())
            }
            None if ahead => Answer::Known(Box::new(known.meta.clone()), known.what.clone()),
            Some(_) => Answer::Ask,
            None => {
                self.0.remove(name);
                Answer::Absent
            }
        }
    }
}

fn older(one: &Meta, other: &Meta) -> bool {
    let version = |meta: &Meta| meta.resource_version.parse::<u64>().ok();
    matches!((version(one), version(other)), (Some(one), Some(other)) if one < other)
}

/// Finds metadata by name. A type of its own, since a future that holds an unnamed closure can't be sent elsewhere.
pub(crate) type Cached<'a> = dyn Fn(&str) -> Option<std::sync::Arc<Meta>> + Send + Sync + 'a;

/// Everything, from memory where it is the same as before.
pub(crate) struct Observer<'a> {
    pub client: &'a Client,
    pub namespace: &'a str,
    /// Metadata of a secret by name, from the cache.
    pub cached: &'a Cached<'a>,
    pub steady: Timestamp,
}

impl Observer<'_> {
    pub(crate) async fn authority(
        &self,
        name: &str,
        memory: &mut Memory<AuthorityHeld>,
    ) -> Result<AuthorityHeld, ReadError> {
        let cached = (self.cached)(name);
        Ok(match memory.ask(name, cached.as_deref(), self.steady) {
            Answer::Absent => AuthorityHeld::absent(),
            Answer::Known(meta, held) => AuthorityHeld {
                meta: Some(*meta),
                ..held
            },
            Answer::Ask => match get(self.client, self.namespace, name).await? {
                None => AuthorityHeld::absent(),
                Some(secret) => {
                    let held = authority(&secret);
                    memory.learn(name, secret.meta, held.clone(), None);
                    held
                }
            },
        })
    }

    pub(crate) async fn leaves(
        &self,
        wants: &[Want],
        memory: &mut Memory<certificate::Contents>,
    ) -> Result<BTreeMap<String, Held>, ReadError> {
        let names: BTreeSet<&str> = wants.iter().map(|want| want.secret.as_str()).collect();
        let mut held = BTreeMap::new();
        let mut unknown = vec![];
        for name in names {
            match memory.ask(name, (self.cached)(name).as_deref(), self.steady) {
                Answer::Absent => {}
                Answer::Known(meta, contents) => {
                    held.insert(
                        name.to_owned(),
                        Held {
                            meta: *meta,
                            contents,
                        },
                    );
                }
                Answer::Ask => unknown.push(name.to_owned()),
            }
        }
        // Of their own, so that the future may be sent elsewhere.
        let (client, namespace) = (self.client.clone(), self.namespace.to_owned());
        let reads = unknown.into_iter().map(move |name: String| {
            let (client, namespace) = (client.clone(), namespace.clone());
            async move {
                let secret = get(&client, &namespace, &name).await?;
                Ok::<_, ReadError>((name, secret))
            }
        });
        let read: Vec<_> = futures::stream::iter(reads)
            .buffer_unordered(READS)
            .try_collect()
            .await?;
        for (name, secret) in read {
            if let Some(secret) = secret {
                let contents = certificate::read(&secret.data);
                memory.learn(&name, secret.meta.clone(), contents.clone(), None);
                let meta = secret.meta;
                held.insert(name, Held { meta, contents });
            }
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(version: &str) -> Meta {
        Meta {
            uid: "u".into(),
            resource_version: version.into(),
            ..Meta::default()
        }
    }

    fn shown(answer: Answer<u8>) -> String {
        match answer {
            Answer::Absent => "absent".into(),
            Answer::Ask => "ask".into(),
            Answer::Known(meta, what) => format!("{what}@{}", meta.resource_version),
        }
    }

    #[test]
    fn a_state_is_read_once_and_our_own_writes_are_not_read_at_all() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let mut memory = Memory::new();
        let ask = |memory: &mut Memory<u8>, cached: Option<&str>, second| {
            shown(memory.ask("a", cached.map(meta).as_ref(), at(second)))
        };
        assert_eq!(ask(&mut memory, None, 0), "absent");
        assert_eq!(ask(&mut memory, Some("7"), 0), "ask");
        memory.learn("a", meta("7"), 1, None);
        assert_eq!(ask(&mut memory, Some("7"), 100), "1@7");
        assert_eq!(ask(&mut memory, Some("8"), 100), "ask", "somebody changed it");
        memory.learn("a", meta("10"), 2, Some(at(100)));
        assert_eq!(ask(&mut memory, Some("9"), 101), "2@10", "the cache is late");
        assert_eq!(ask(&mut memory, Some("11"), 101), "ask", "and somebody after us");
        assert_eq!(
            ask(&mut memory, Some("9"), 106),
            "ask",
            "a cache that late is believed"
        );
        memory.learn("a", meta("12"), 3, Some(at(200)));
        assert_eq!(ask(&mut memory, None, 201), "3@12", "just created");
        assert_eq!(ask(&mut memory, Some("12"), 202), "3@12");
        assert_eq!(ask(&mut memory, None, 203), "absent", "seen, then deleted");
        assert_eq!(ask(&mut memory, Some("12"), 203), "ask");
    }
}
