//! Who is trusted and who signs: the authority's part of the plan.
//!
//! A rotation goes `announce → switch → retire`, and what was written tells where it is:
//!
//! | step | authority's secret | bundles | leaves | goes on when |
//! |---|---|---|---|---|
//! | – | `tls.*` = A | A | by A | A is due, not valid yet, or somebody asks |
//! | announced | `tls.*` = A, `next.*` = B | A B | by A | every bundle holds B and was read |
//! | switched | `tls.*` = B, `previous.crt` = A | A B | by A, then by B | every leaf is by B and in use |
//! | retired | `tls.*` = B | B | by B | – |
//!
//! So whoever holds a bundle of one moment accepts a server of the next. Where the authority was lost (deleted, damaged), no
//! announcement is possible while it signs; the new one begins at *switched*, with those that the leaves' own bundles prove
//! to have signed them as `previous`, and leaves that still work wait until every bundle holds the new one.

use std::collections::BTreeMap;

use api::annotation;
use jiff::Timestamp;
use kit::certificate::{Certificate, Leaf, verifies};

use super::facts::{
    AUTHORITIES, Facts, Held, Manager, Unusable, Want, bundle_fingerprint, earlier, later, ordered, signed,
    stamp,
};

/// What becomes of the authority's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityStep {
    /// Nothing.
    Keep,
    /// A new authority signs from now on, since there is none that can.
    Replace {
        /// Why there is none.
        why: Unusable,
        /// Those that signed what is still in use.
        previous: Vec<Certificate>,
    },
    /// A new authority is made, which will sign.
    Announce {
        /// Why.
        why: Rotation,
    },
    /// The announced one signs from now on.
    Switch {
        /// Those that signed before.
        previous: Vec<Certificate>,
    },
    /// Somebody put another authority here: those that signed what is still in use stay trusted for now.
    Remember {
        /// Those.
        previous: Vec<Certificate>,
    },
    /// Those that signed before are not trusted any more.
    Retire,
}

/// Why an authority is followed by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Its time is over soon.
    Due,
    /// It was made by a clock that was ahead.
    NotYet,
    /// Somebody asked, with this value of the annotation.
    Asked(String),
}

/// Who is trusted, and what that allows.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    /// What to do with the authority.
    pub step: AuthorityStep,
    /// Who signs, if anybody can.
    pub current: Option<Certificate>,
    /// Whom to trust, ordered.
    pub bundle: Vec<Certificate>,
    /// Whether leaves of earlier authorities may be replaced: everybody trusts the one that signs.
    pub announced: bool,
    /// Whether a rotation is under way.
    pub rotating: bool,
    /// When something that is waited for may have come.
    pub at: Option<Timestamp>,
    /// The time to judge leaves by: now, or when the authority begins to be valid if that is later; a leaf of such a one is
    /// not mended by another of the same.
    pub judged_at: Timestamp,
    /// Who looks after the authority, if we don't.
    pub manager: Option<Manager>,
}

/// A leaf that is ours to write, with its key.
struct Own<'a> {
    want: &'a Want,
    held: &'a Held,
    leaf: &'a Leaf,
}

impl Own<'_> {
    fn is_by(&self, authorities: &[&Certificate], now: Timestamp) -> bool {
        verifies(&self.leaf.chain, authorities, self.want.usage, now)
    }
}

/// Whether a time that a stamp says is long enough ago; if not, when it will be.
#[derive(Clone, Copy)]
struct Settled {
    done: bool,
    at: Option<Timestamp>,
}

impl Settled {
    const DONE: Self = Self { done: true, at: None };
    const NO: Self = Self {
        done: false,
        at: None,
    };

    fn of(own: &Own<'_>, key: &str, facts: &Facts<'_>) -> Self {
        match stamp(&own.held.meta, key, facts.now) {
            // Such a stamp is written anew.
            Err(()) => Self::NO,
            Ok(None) => Self::DONE,
            Ok(Some(at)) => {
                let end = later(at, signed(facts.rules.settle));
                match end <= facts.now {
                    true => Self::DONE,
                    false => Self {
                        done: false,
                        at: Some(end),
                    },
                }
            }
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            done: self.done && other.done,
            at: self.at.max(other.at),
        }
    }
}

impl Trust {
    pub(crate) fn of(facts: &Facts<'_>) -> Self {
        let now = facts.now;
        let authority = facts.authority;
        let own = own(facts);
        let manager = authority.meta.as_ref().and_then(Manager::of);
        let gone = authority.meta.as_ref().is_some_and(|meta| meta.is_terminating());
        let writable = manager.is_none() && !facts.frozen && !gone;
        let current = match &authority.current {
            Ok(current) if current.not_after() < now => Err(Unusable::Expired(current.not_after())),
            other => other.clone(),
        };
        let next = authority.next.clone().filter(|next| next.is_valid(now));
        // One that is not valid yet may be so for others, whose clocks are right.
        let stored = authority.previous.iter().filter(|p| p.not_after() >= now);
        let stored: Vec<Certificate> = match (&manager, &current) {
            (Some(_), Ok(current)) => remembered(&own, current, now),
            _ => stored.cloned().collect(),
        };
        let known: Vec<&Certificate> = current.iter().chain(&next).chain(&stored).collect();
        let recovered = recovered(&own, &known, now);
        let learnt = !recovered.is_empty();
        let previous = bounded(recovered.into_iter().chain(stored.iter().cloned()).collect());

        let mut trust = Self {
            step: AuthorityStep::Keep,
            bundle: vec![],
            announced: false,
            rotating: next.is_some() || !previous.is_empty(),
            at: None,
            judged_at: now,
            current: current.as_ref().ok().cloned(),
            manager,
        };
        let current = match current {
            Ok(current) => current,
            Err(why) => {
                trust.bundle = ordered(next.iter().chain(&previous).cloned().collect());
                trust.step = match (writable, next) {
                    (false, _) => AuthorityStep::Keep,
                    (true, Some(_)) => AuthorityStep::Switch { previous },
                    (true, None) => AuthorityStep::Replace { why, previous },
                };
                return trust;
            }
        };
        let judged_at = now.max(current.not_before());
        trust.judged_at = judged_at;
        let used = own.iter().all(|own| {
            let by_it = own.is_by(&[&current], judged_at);
            by_it && own.want.serving.is_none_or(|serving| own.serves(serving))
        });
        let issued = own
            .iter()
            .map(|own| Settled::of(own, annotation::CERTIFICATE_ISSUED_AT, facts))
            .fold(Settled::DONE, Settled::and);
        let over = used && issued.done && !previous.is_empty();
        let old: &[Certificate] = match over {
            true => &[],
            false => &previous,
        };
        trust.bundle = ordered(
            std::iter::once(&current)
                .chain(&next)
                .chain(old)
                .cloned()
                .collect(),
        );
        let told = Told::of(&own, facts, &trust.bundle);
        trust.announced = told.about(&current).done;
        trust.at = match &next {
            Some(next) => told.about(next).at,
            None if !trust.announced => told.about(&current).at,
            None => issued.at.filter(|_| !previous.is_empty() && used),
        };
        if !writable {
            return trust;
        }
        let due = due(&current, facts);
        trust.step = if learnt {
            AuthorityStep::Remember { previous }
        } else if let Some(next) = &next {
            match told.about(next).done {
                true => AuthorityStep::Switch {
                    previous: bounded(std::iter::once(current).chain(previous).collect()),
                },
                false => AuthorityStep::Keep,
            }
        } else if over {
            AuthorityStep::Retire
        } else if previous.is_empty()
            && let Some(why) = rotation(&current, facts, due)
        {
            AuthorityStep::Announce { why }
        } else {
            AuthorityStep::Keep
        };
        if due > now {
            trust.at = Some(trust.at.map_or(due, |at| at.min(due)));
        }
        trust
    }
}

impl Own<'_> {
    fn serves(&self, serving: kit::certificate::Fingerprint) -> bool {
        self.leaf
            .certificate()
            .is_some_and(|leaf| leaf.fingerprint() == serving)
    }
}

/// Leaves that are ours to write.
fn own<'a>(facts: &Facts<'a>) -> Vec<Own<'a>> {
    let mut by_name: BTreeMap<&str, Own<'a>> = BTreeMap::new();
    for want in facts.wants {
        let Some(held) = facts.held.get(&want.secret) else {
            continue;
        };
        if let Some(leaf) = held.leaf()
            && Manager::of(&held.meta).is_none()
            && super::leaf::stranger(&held.meta, want).is_none()
        {
            let own = Own { want, held, leaf };
            by_name.entry(want.secret.as_str()).or_insert(own);
        }
    }
    by_name.into_values().collect()
}

/// Where no leaf that is in use is by a known authority, the authority was lost or replaced: those that signed, as the
/// leaves' own bundles prove.
///
/// Where some are, a leaf by another is somebody's mistake: whom it trusts is not made everybody's authority.
fn recovered(own: &[Own<'_>], known: &[&Certificate], now: Timestamp) -> Vec<Certificate> {
    let alive = own
        .iter()
        .filter(|own| own.leaf.certificate().is_some_and(|leaf| leaf.is_valid(now)));
    let mut votes: BTreeMap<_, (usize, &Certificate)> = BTreeMap::new();
    for own in alive {
        if own.is_by(known, now) {
            return vec![];
        }
        let proven = own
            .leaf
            .authorities
            .iter()
            .find(|authority| authority.signs() && own.is_by(&[authority], now));
        if let Some(authority) = proven {
            votes.entry(authority.fingerprint()).or_insert((0, authority)).0 += 1;
        }
    }
    let mut votes: Vec<_> = votes.into_values().collect();
    votes.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let most = votes.into_iter().take(AUTHORITIES / 2);
    most.map(|(_, authority)| authority.clone()).collect()
}

/// Where somebody else looks after the authority, nothing can be kept beside it: what bundles of ours hold beside it is what
/// it followed.
fn remembered(own: &[Own<'_>], current: &Certificate, now: Timestamp) -> Vec<Certificate> {
    let ours = own.iter().filter(|own| own.leaf.trusts(current));
    let others = ours.flat_map(|own| &own.leaf.authorities);
    let valid = others.filter(|a| *a != current && a.signs() && a.is_valid(now));
    ordered(valid.cloned().collect())
}

/// The last that signed, without doubles.
fn bounded(all: Vec<Certificate>) -> Vec<Certificate> {
    let mut kept: Vec<Certificate> = vec![];
    for one in all {
        if kept.len() < AUTHORITIES / 2 && !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
}

/// Who was told whom to trust.
struct Told<'a> {
    own: &'a [Own<'a>],
    callers: bool,
    read: Settled,
}

impl<'a> Told<'a> {
    fn of(own: &'a [Own<'a>], facts: &Facts<'_>, wanted: &[Certificate]) -> Self {
        let wanted = bundle_fingerprint(wanted);
        let callers = |own: &Own<'_>| own.want.callers.is_none_or(|known| known == wanted);
        Self {
            own,
            callers: own.iter().all(callers),
            read: own
                .iter()
                .map(|own| Settled::of(own, annotation::CERTIFICATE_BUNDLED_AT, facts))
                .fold(Settled::DONE, Settled::and),
        }
    }

    /// Whether everybody was told to trust this authority, and has read it.
    fn about(&self, authority: &Certificate) -> Settled {
        match self.callers && self.own.iter().all(|own| own.leaf.trusts(authority)) {
            true => self.read,
            false => Settled::NO,
        }
    }
}

/// When an authority is to be followed by another.
fn due(current: &Certificate, facts: &Facts<'_>) -> Timestamp {
    let whole = current.not_after().duration_since(current.not_before());
    let third = signed(facts.rules.authority_validity).min(whole) / 3;
    earlier(current.not_after(), third)
}

fn rotation(current: &Certificate, facts: &Facts<'_>, due: Timestamp) -> Option<Rotation> {
    if current.not_before() > facts.now {
        return Some(Rotation::NotYet);
    }
    if due <= facts.now {
        return Some(Rotation::Due);
    }
    let annotations = &facts.authority.meta.as_ref()?.annotations;
    let asked = annotations.get(annotation::ROTATE_REQUESTED_AT)?;
    let done = annotations.get(annotation::ROTATED_FOR);
    (done != Some(asked)).then(|| Rotation::Asked(asked.clone()))
}
