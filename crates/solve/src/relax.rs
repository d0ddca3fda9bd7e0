//! An island to its end: what can't be met is left out, as little as possible.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use pubgrub::VersionSet;

use crate::catalogue::Need;
use crate::choices::Choices;
use crate::facts::Options;
use crate::island::Island;
use crate::limits::{MAX_LEFT_OUT, MAX_PUT_BACK};
use crate::requirement::{Dependency, Requirement};
use crate::search::{Conflict, Found, Link, Node, Run, Without, search};
use crate::source::{Content, Tags};
use crate::world::{Demand, Id, World};

/// What came of an island.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) found: Found,
    /// Links that can't be met beside all others, each with the links of the proof.
    pub(crate) left_out: BTreeMap<Link, BTreeSet<Link>>,
    /// Sources of which nothing can be learnt now, and why.
    pub(crate) blocked: BTreeMap<Id, String>,
    /// Links to packages of another kind than was asked for.
    pub(crate) other_kind: BTreeSet<Link>,
    /// The search had no end within the limit; nothing of the island is known.
    pub(crate) gave_up: bool,
    pub(crate) decisions: usize,
}

impl Settled {
    pub(crate) fn without(&self) -> Without {
        Without {
            links: self.left_out.keys().chain(&self.other_kind).copied().collect(),
            sources: self.blocked.keys().copied().collect(),
        }
    }
}

/// Solves an island, leaving out as few links as it takes.
///
/// Of the links that can't all be met the one farthest from what is given is left out first, so that a
/// package whose own version is allowed is there even if something below it can't be; among equals the one
/// that agrees with the fewest other demands, then the one that would have the lower version chosen.
pub(crate) fn settle(world: &World<'_>, island: &Island, options: &Options) -> Settled {
    let mut settled = Settled::default();
    let decisions = Cell::new(0);
    let mut asked = BTreeSet::new();
    loop {
        match search(world, island, &settled.without(), &decisions, options.decisions) {
            Run::Found(found) => {
                let other = other_kind(world, island, &found, &settled.other_kind);
                settled.found = found;
                if other.is_empty() {
                    break;
                }
                settled.other_kind.extend(other);
            }
            Run::Blocked(id, why) => drop(settled.blocked.insert(id, why)),
            Run::Conflict(conflict) => {
                probe(world, island, &conflict, &mut asked);
                let Some(link) = weakest(world, island, &conflict) else {
                    settled.gave_up = true;
                    break;
                };
                settled.left_out.insert(link, conflict.links);
                if settled.left_out.len() > MAX_LEFT_OUT {
                    settled.gave_up = true;
                    break;
                }
            }
            Run::GaveUp => {
                settled.gave_up = true;
                break;
            }
        }
    }
    if settled.gave_up {
        settled.found = Found::default();
    } else if settled.left_out.len() > 1 && settled.left_out.len() <= MAX_PUT_BACK {
        put_back(world, island, options, &decisions, &mut settled);
    }
    settled.found.needs.extend(asked);
    settled.decisions = decisions.get();
    settled
}

/// A link that was left out early may be met after all now that others are left out.
fn put_back(
    world: &World<'_>,
    island: &Island,
    options: &Options,
    decisions: &Cell<usize>,
    settled: &mut Settled,
) {
    let links: Vec<Link> = settled.left_out.keys().copied().collect();
    for link in links {
        let mut without = settled.without();
        without.links.remove(&link);
        if let Run::Found(found) = search(world, island, &without, decisions, options.decisions)
            && other_kind(world, island, &found, &settled.other_kind).is_empty()
        {
            settled.left_out.remove(&link);
            settled.found = found;
        }
    }
}

/// The link to leave out.
fn weakest(world: &World<'_>, island: &Island, conflict: &Conflict) -> Option<Link> {
    let depth = |node: Node| match node {
        Node::Root | Node::Asker(_) => 0,
        Node::Source(id) => conflict.depth.get(&id).copied().unwrap_or(0),
    };
    let links = || conflict.links.iter().filter(|(from, _)| *from != Node::Root);
    let deepest = links().map(|(from, _)| depth(*from)).max()?;
    let tied: Vec<Link> = links()
        .filter(|(from, _)| depth(*from) == deepest)
        .copied()
        .collect();
    if let [only] = tied.as_slice() {
        return Some(*only);
    }
    let scored = tied.into_iter().map(|link| {
        let wanted = wanted(world, link);
        let agreeing = demands(world, island, conflict, link.1)
            .into_iter()
            .filter(|(other, choices)| *other != link && !choices.is_disjoint(&wanted))
            .count();
        let highest = world.source(link.1).and_then(|s| wanted.highest(s.count()));
        ((agreeing, highest, std::cmp::Reverse(label(world, link))), link)
    });
    scored.min_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, link)| link)
}

/// A name for a link that does not depend on the order of the input.
fn label<'a>(world: &World<'a>, (from, to): Link) -> (&'a str, String, &'a str) {
    let (source, object) = match from {
        Node::Root => ("", String::new()),
        Node::Source(id) => (world.name(id), String::new()),
        Node::Asker(number) => match world.asker(number).and_then(|a| a.package) {
            Some(package) => (package.source.as_str(), package.name.to_string()),
            None => ("", String::new()),
        },
    };
    (source, object, world.name(to))
}

/// What a link asks for: of any candidate of its origin.
fn wanted(world: &World<'_>, (from, to): Link) -> Choices {
    let mut all = Choices::empty();
    let mut needs = BTreeSet::new();
    let mut add = |dependency, own| {
        if let Demand::OneOf(id, choices) = world.demand(dependency, own, &mut needs)
            && id == to
        {
            all = all.union(&choices);
        }
    };
    match from {
        Node::Root => {}
        Node::Asker(number) => {
            for dependency in world.asker(number).iter().flat_map(|a| &a.dependencies) {
                add(dependency, None);
            }
        }
        Node::Source(id) => {
            for (place, candidate) in (0..).zip(world.source(id).iter().flat_map(|s| &s.candidates)) {
                for dependency in candidate.dependencies() {
                    add(dependency, Some((id, place)));
                }
            }
        }
    }
    all
}

/// The demands on a source that are given or part of a conflict.
fn demands(world: &World<'_>, island: &Island, conflict: &Conflict, on: Id) -> BTreeMap<Link, Choices> {
    let given = island.askers.iter().map(|number| (Node::Asker(*number), on));
    let links = given.chain(conflict.links.iter().filter(|(_, to)| *to == on).copied());
    links
        .map(|link| (link, wanted(world, link)))
        .filter(|(_, choices)| !choices.is_empty())
        .collect()
}

/// Links of what was found whose target turns out to be of another kind than they ask for.
fn other_kind(world: &World<'_>, island: &Island, found: &Found, known: &BTreeSet<Link>) -> BTreeSet<Link> {
    let mut links = BTreeSet::new();
    let mut look = |from: Node, dependency: &Dependency| {
        let Some(to) = world.id(dependency.source()) else {
            return;
        };
        let kind = found.chosen.get(&to).and_then(|place| kind(world, to, *place));
        if kind.is_some_and(|kind| !dependency.kind().is_empty() && kind != dependency.kind()) {
            links.insert((from, to));
        }
    };
    for number in &island.askers {
        for dependency in world.asker(*number).iter().flat_map(|a| &a.dependencies) {
            look(Node::Asker(*number), dependency);
        }
    }
    for (id, place) in &found.chosen {
        for dependency in world
            .source(*id)
            .and_then(|s| s.candidate(*place))
            .iter()
            .flat_map(|c| c.dependencies())
        {
            look(Node::Source(*id), dependency);
        }
    }
    links.retain(|link| !known.contains(link));
    links
}

/// The kind of a candidate, if it is known.
pub(crate) fn kind<'a>(world: &World<'a>, id: Id, place: u32) -> Option<&'a str> {
    let source = world.source(id)?;
    if source.installed == Some(place) {
        return source.movable.map(|p| p.name.kind.as_str());
    }
    match source.candidate(place)?.content {
        Content::Known(metadata) => Some(&metadata.kind),
        _ => None,
    }
}

/// Digests that might show that a digest and a version which seem to disagree are the same content.
fn probe(world: &World<'_>, island: &Island, conflict: &Conflict, asked: &mut BTreeSet<Need>) {
    let targets: BTreeSet<Id> = conflict.links.iter().map(|(_, to)| *to).collect();
    for id in targets {
        let Some(source) = world.source(id) else { continue };
        let Tags::Known(tags) = source.tags else { continue };
        let asking = |link: &Link| -> Vec<&Requirement> {
            let of = |d: &&Dependency| d.source() == source.name;
            match link.0 {
                Node::Root => vec![],
                Node::Asker(n) => {
                    let all = world
                        .asker(n)
                        .into_iter()
                        .flat_map(|a| a.dependencies.iter().copied());
                    all.filter(of).map(Dependency::requirement).collect()
                }
                Node::Source(from) => {
                    let all = world.source(from).into_iter().flat_map(|s| &s.candidates);
                    all.flat_map(|c| c.dependencies())
                        .filter(of)
                        .map(Dependency::requirement)
                        .collect()
                }
            }
        };
        let given = island.askers.iter().map(|n| (Node::Asker(*n), id));
        let links: BTreeSet<Link> = given
            .chain(conflict.links.iter().filter(|l| l.1 == id).copied())
            .collect();
        let requirements: Vec<&Requirement> = links.iter().flat_map(asking).collect();
        if !requirements.iter().any(|r| matches!(r, Requirement::Digest(_))) {
            continue;
        }
        for requirement in requirements {
            let Requirement::Versions(constraint) = requirement else {
                continue;
            };
            let would_do = tags.iter().rev().filter(|t| !t.partial);
            let would_do = would_do.filter(|t| t.version.as_ref().is_some_and(|v| constraint.matches(v)));
            for tag in would_do.take(crate::limits::MAX_DIGEST_PROBES) {
                asked.extend(world.digest(source.name, &tag.text).err().into_iter().flatten());
            }
        }
    }
}
