//! The plan in a cluster of secrets that exists on paper.

mod rotation;
mod settle;
mod states;
mod time;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use api::annotation;
use jiff::{SignedDuration, Timestamp};
use kit::certificate::{self, Authority, Certificate, Contents, Request, Usage, bundle, verifies};
use kit::meta::{Meta, Owner};

use super::change::{self, Change};
use super::facts::bundle_fingerprint;
use super::observe::{self, Data, Secret};
use super::*;

fn start() -> Timestamp {
    "2026-11-28T00:00:00Z".parse().unwrap()
}

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

/// Making authorities takes a while, so tests share them: the same call with the same number gets the same one.
fn authority(number: usize, made: Timestamp, validity: Duration) -> &'static Authority {
    type Key = (usize, Timestamp, Duration);
    static ALL: OnceLock<Mutex<BTreeMap<Key, &'static Authority>>> = OnceLock::new();
    let mut all = ALL.get_or_init(Mutex::default).lock().unwrap();
    all.entry((number, made, validity))
        .or_insert_with(|| Box::leak(Box::new(Authority::new("Gantry", made, validity).unwrap())))
}

fn ca(number: usize) -> &'static Authority {
    authority(number, start(), certificate::AUTHORITY_VALIDITY)
}

fn owner(uid: &str) -> Owner {
    Owner {
        api_version: "pkg.crossplane.io/v1".into(),
        kind: "ProviderRevision".into(),
        name: format!("revision-{uid}"),
        uid: uid.into(),
        controller: true,
        block_owner_deletion: true,
    }
}

fn want(name: &str, usage: Usage) -> Want {
    Want {
        secret: name.into(),
        usage,
        names: vec![name.into(), format!("{name}.ns")],
        owners: vec![owner("r1")],
        siblings: BTreeSet::new(),
        common: false,
        serving: None,
        callers: None,
        untouched: false,
    }
}

/// What a secret was: until when, its chain, and whom it trusts.
type Past = (Timestamp, Vec<Certificate>, Vec<Certificate>);

/// Secrets in a cluster that nobody else writes, and all that was ever in them.
#[derive(Clone)]
struct World {
    now: Timestamp,
    /// What time it is for everybody else.
    truth: SignedDuration,
    /// Nobody calls anybody: something was broken before.
    silent: bool,
    rules: Rules,
    version: u64,
    made: usize,
    secrets: BTreeMap<String, (Meta, Data)>,
    wants: Vec<Want>,
    writes: Vec<(Timestamp, String)>,
    /// What was read, since reading takes long in a test's build.
    read: RefCell<BTreeMap<String, (Data, Contents)>>,
    past: BTreeMap<String, Vec<Past>>,
}

impl World {
    fn new(wants: Vec<Want>) -> Self {
        Self {
            now: start(),
            truth: SignedDuration::ZERO,
            silent: false,
            rules: Rules::default(),
            version: 0,
            made: 100,
            secrets: BTreeMap::new(),
            wants,
            writes: vec![],
            read: RefCell::default(),
            past: BTreeMap::new(),
        }
    }

    fn pairs(count: usize) -> Self {
        let wants = (0..count).flat_map(|n| {
            [
                want(&format!("p{n}-tls-server"), Usage::Server),
                want(&format!("p{n}-tls-client"), Usage::Client),
            ]
        });
        Self::new(wants.collect())
    }

    fn put(&mut self, name: &str, data: Data, annotations: &[(&str, &str)]) {
        self.version += 1;
        let meta = Meta {
            name: name.into(),
            uid: format!("uid-{name}"),
            resource_version: self.version.to_string(),
            annotations: annotations
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect(),
            owner_references: vec![owner("r1")],
            ..Meta::default()
        };
        self.secrets.insert(name.into(), (meta, data));
    }

    fn put_authority(&mut self, authority: &Authority) {
        self.put(
            AUTHORITY_SECRET,
            pair(authority.certificate(), &authority.key_pem(), None),
            &[],
        );
    }

    fn facts<T>(&self, then: impl FnOnce(&Facts<'_>) -> T) -> T {
        let authority = self.secrets.get(AUTHORITY_SECRET).map(|(meta, data)| {
            observe::authority(&Secret {
                meta: meta.clone(),
                data: data.clone(),
            })
        });
        let held = self.wants.iter().filter_map(|want| {
            let (meta, data) = self.secrets.get(&want.secret)?;
            let held = Held {
                meta: meta.clone(),
                contents: self.read(&want.secret, data),
            };
            Some((want.secret.clone(), held))
        });
        then(&Facts {
            now: self.now,
            rules: &self.rules,
            authority: &authority.unwrap_or_else(AuthorityHeld::absent),
            frozen: false,
            waiting: &BTreeSet::new(),
            wants: &self.wants,
            held: &held.collect(),
        })
    }

    fn read(&self, name: &str, data: &Data) -> Contents {
        let mut read = self.read.borrow_mut();
        match read.get(name) {
            Some((known, contents)) if known == data => contents.clone(),
            _ => {
                let contents = certificate::read(data);
                read.insert(name.to_owned(), (data.clone(), contents.clone()));
                contents
            }
        }
    }

    fn plan(&self) -> Plan {
        self.facts(plan)
    }

    fn write(&mut self, name: &str, change: Change) {
        self.writes.push((self.now, name.to_owned()));
        self.version += 1;
        let (meta, data) = self.secrets.entry(name.to_owned()).or_default();
        meta.uid = format!("uid-{name}");
        meta.resource_version = self.version.to_string();
        if let Some(owners) = change.owners {
            meta.owner_references = owners;
        }
        let annotations = change.annotations.into_iter();
        meta.annotations
            .extend(annotations.map(|(k, v)| (k.to_owned(), v)));
        for (key, value) in change.values {
            match value {
                Some(value) => data.insert(key.to_owned(), value),
                None => data.remove(key),
            };
        }
    }

    /// One pass, as the keeper does it; what it did to the authority.
    fn pass(&mut self) -> (Vec<AuthorityStep>, Plan) {
        let mut steps = vec![];
        loop {
            let plan = self.plan();
            if plan.authority != AuthorityStep::Keep {
                assert!(steps.len() < 4, "endless: {steps:?}");
                assert!(plan.order.is_empty(), "leaves wait for the authority");
                let number = self.made;
                self.made += 1;
                let made = change::needs_authority(&plan.authority)
                    .then(|| authority(number, self.now, self.rules.authority_validity));
                let data = self.secrets.get(AUTHORITY_SECRET).map(|(_, d)| d.clone());
                let data = data.unwrap_or_default();
                let (change, after) = self
                    .facts(|facts| change::authority(&plan.authority, facts.authority, &data, made))
                    .unwrap();
                self.write(AUTHORITY_SECRET, change);
                // What is said of the secret is what is in it.
                let read = self.facts(|facts| AuthorityHeld {
                    meta: after.meta.clone(),
                    ..facts.authority.clone()
                });
                assert_eq!(read, after);
                steps.push(plan.authority);
                continue;
            }
            assert!(plan.order.len() <= self.rules.writes);
            let signer = self.secrets.get(AUTHORITY_SECRET).and_then(|(_, data)| {
                let value = |key: &str| data.get(key).map(Vec::as_slice).unwrap_or_default();
                Authority::read(value("tls.crt"), value("tls.key")).ok()
            });
            for index in &plan.order {
                let (want, step) = (self.wants[*index].clone(), plan.leaves[*index].step.clone());
                let (change, says) = self.facts(|facts| {
                    let held = facts.held.get(&want.secret);
                    let change = change::leaf(
                        &step,
                        &want,
                        held,
                        &plan.bundle,
                        signer.as_ref(),
                        facts.rules,
                        facts.now,
                    );
                    let change = change.unwrap().unwrap();
                    let says = change::contents(&change, held);
                    (change, says)
                });
                self.archive(&want.secret);
                self.write(&want.secret, change);
                assert_eq!(certificate::read(&self.secrets[&want.secret].1), says);
            }
            self.traffic();
            let plan = self.plan();
            return (steps, plan);
        }
    }

    fn true_time(&self) -> Timestamp {
        self.now + self.truth
    }

    fn archive(&mut self, name: &str) {
        if let Some((_, data)) = self.secrets.get(name)
            && let Contents::Whole(leaf) = self.read(name, data)
        {
            let until = self.true_time();
            let past = self.past.entry(name.to_owned()).or_default();
            past.push((until, leaf.chain, leaf.authorities));
        }
    }

    /// All states of a secret that somebody may have loaded now.
    fn loaded(&self, name: &str) -> Vec<(Vec<Certificate>, Vec<Certificate>)> {
        let since = self.true_time() - SignedDuration::try_from(self.rules.settle).unwrap();
        let past = self.past.get(name).into_iter().flatten();
        let mut all: Vec<_> = past
            .filter(|(until, ..)| *until > since)
            .map(|(_, chain, trusted)| (chain.clone(), trusted.clone()))
            .collect();
        if let Some((_, data)) = self.secrets.get(name)
            && let Contents::Whole(leaf) = self.read(name, data)
        {
            all.push((leaf.chain, leaf.authorities));
        }
        all
    }

    /// Everybody calls everybody, whatever of the last minutes each has loaded.
    fn traffic(&self) {
        if self.silent {
            return;
        }
        let now = self.true_time();
        let mut known = BTreeMap::new();
        let all: Vec<(&Want, Vec<_>)> = self.wants.iter().map(|w| (w, self.loaded(&w.secret))).collect();
        for (one, states) in &all {
            for (chain, _) in states {
                for (other, peers) in all.iter().filter(|(w, _)| w.usage != one.usage) {
                    for (_, trusted) in peers {
                        let key = (chain[0].fingerprint(), bundle_fingerprint(trusted));
                        let accepted = *known.entry(key).or_insert_with(|| {
                            let trusted: Vec<&Certificate> = trusted.iter().collect();
                            chain[0].is_valid(now) && verifies(chain, &trusted, one.usage, now)
                        });
                        assert!(
                            accepted,
                            "at {now} {} does not accept {}: {chain:?} by {trusted:?}",
                            other.secret, one.secret
                        );
                    }
                }
            }
        }
    }

    /// Passes until the end, whenever the plan says so; all steps of the authority.
    fn run(&mut self, until: Timestamp) -> Vec<AuthorityStep> {
        let mut steps = vec![];
        loop {
            let (more, plan) = self.pass();
            steps.extend(more);
            let at = match plan.order.is_empty() && plan.authority == AuthorityStep::Keep {
                true => plan.at,
                false => Some(self.now + SignedDuration::try_from(self.rules.pause).unwrap()),
            };
            match at {
                Some(at) if at <= until => {
                    assert!(at > self.now, "a busy loop");
                    self.now = at;
                }
                _ => break,
            }
        }
        self.now = until;
        steps
    }

    fn settled(&mut self) {
        self.run(self.now + SignedDuration::from_mins(30));
        self.writes.clear();
    }

    fn leaf(&self, name: &str) -> certificate::Leaf {
        match certificate::read(&self.secrets[name].1) {
            Contents::Whole(leaf) => leaf,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn all_by(&self, authority: &Certificate) -> bool {
        self.wants.iter().all(|w| {
            let leaf = self.leaf(&w.secret);
            verifies(&leaf.chain, &[authority], w.usage, self.now) && leaf.authorities == [authority.clone()]
        })
    }

    fn current(&self) -> Certificate {
        self.facts(|facts| facts.authority.current.clone().unwrap())
    }
}

fn pair(certificate: &Certificate, key: &str, trusted: Option<&[&Authority]>) -> Data {
    let mut data = Data::from([
        ("tls.crt".into(), certificate.pem().into_bytes()),
        ("tls.key".into(), key.as_bytes().to_vec()),
    ]);
    if let Some(trusted) = trusted {
        let trusted: Vec<Certificate> = trusted.iter().map(|a| a.certificate().clone()).collect();
        data.insert("ca.crt".into(), bundle(&trusted));
    }
    data
}

fn leaf_of(by: &Authority, want: &Want, at: Timestamp, validity: Duration) -> Data {
    let made = by.issue(
        &Request {
            names: &want.names,
            usage: want.usage,
            organisation: "x",
            validity,
        },
        at,
    );
    let made = made.unwrap();
    pair(&made.certificate, &made.key_pem, Some(&[by]))
}

fn names_of(steps: &[AuthorityStep]) -> Vec<&'static str> {
    steps
        .iter()
        .map(|step| match step {
            AuthorityStep::Keep => "keep",
            AuthorityStep::Replace { .. } => "replace",
            AuthorityStep::Announce { .. } => "announce",
            AuthorityStep::Switch { .. } => "switch",
            AuthorityStep::Remember { .. } => "remember",
            AuthorityStep::Retire => "retire",
        })
        .collect()
}
