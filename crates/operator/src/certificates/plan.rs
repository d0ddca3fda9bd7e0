//! What to write, and when to look again. Pure and total; the time is an input.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kit::certificate::Certificate;

use super::facts::{Facts, later, signed};
use super::leaf::{self, LeafPlan, LeafStep, Trouble};
use super::trust::{AuthorityStep, Trust};

/// What to write.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The authority first; when it is written, the plan is made again, and leaves wait until then.
    pub authority: AuthorityStep,
    /// Whom to trust, in the order that bundles have.
    pub bundle: Vec<Certificate>,
    /// One entry for each want, in their order.
    pub leaves: Vec<LeafPlan>,
    /// Which of them are written now, most urgent first; at most [`super::Rules::writes`].
    pub order: Vec<usize>,
    /// Whether a rotation is under way.
    pub rotating: bool,
    /// When to look again without a change.
    pub at: Option<Timestamp>,
}

/// Decides.
#[must_use]
pub fn plan(facts: &Facts<'_>) -> Plan {
    let trust = Trust::of(facts);
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    let leaves: Vec<LeafPlan> = facts
        .wants
        .iter()
        .enumerate()
        .map(|(index, want)| {
            let holder = *first.entry(&want.secret).or_insert(index);
            match facts.wants.get(holder) {
                Some(other) if holder != index => LeafPlan {
                    want: index,
                    step: LeafStep::Keep,
                    trouble: Some(Trouble::Shared {
                        secret: want.secret.clone(),
                        first: owner(&other.owners),
                        second: owner(&want.owners),
                    }),
                    ready: false,
                    at: None,
                },
                _ => leaf::plan(facts, &trust, index, want),
            }
        })
        .collect();
    let mut order: Vec<(u8, usize)> = leaves
        .iter()
        .filter_map(|leaf| Some((leaf.urgency()?, leaf.want)))
        .filter(|(_, index)| {
            let want = facts.wants.get(*index);
            want.is_some_and(|want| !facts.waiting.contains(&want.secret))
        })
        .collect();
    order.sort_unstable();
    let more = order.len() > facts.rules.writes;
    order.truncate(facts.rules.writes);
    let mut at: Vec<Timestamp> = leaves.iter().filter_map(|leaf| leaf.at).chain(trust.at).collect();
    if more {
        at.push(later(facts.now, signed(facts.rules.pause)));
    }
    at.extend(trust.bundle.iter().map(Certificate::not_after));
    let keep = trust.step == AuthorityStep::Keep;
    Plan {
        order: match keep {
            true => order.into_iter().map(|(_, index)| index).collect(),
            false => vec![],
        },
        authority: trust.step,
        bundle: trust.bundle,
        leaves,
        rotating: trust.rotating,
        at: at.into_iter().filter(|at| *at > facts.now).min(),
    }
}

fn owner(owners: &[kit::meta::Owner]) -> String {
    let owner = owners.iter().find(|o| o.controller).or(owners.first());
    owner.map_or_else(|| "nobody".to_owned(), |o| format!("{} {}", o.kind, o.name))
}
