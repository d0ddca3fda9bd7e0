//! From facts to plan.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::catalogue::{Catalogue, Need};
use crate::explain::Explainer;
use crate::facts::{Facts, Name, Options, Package};
use crate::island::{Island, islands};
use crate::plan::{Action, Duplicate, Edge, GaveUp, Pick, Plan, State};
use crate::relax::{Settled, kind, settle};
use crate::requirement::{Dependency, Requirement};
use crate::search::Node;
use crate::source::{Content, Tags};
use crate::world::{Fit, Id, World};

/// Finds out what is to be installed.
///
/// One version of each source is chosen. What is installed and may not be changed is a fixed point; what is
/// installed and may be changed keeps its version if a solution has it; all else gets the highest version
/// that a solution has, decided from what is given outwards and, at the same distance, by name. Where not
/// all can be had, as few dependencies as possible are left unmet, and each is explained.
///
/// Ask what [`Plan::needs`] has, tell the catalogue, and call again: what is settled already can be acted on.
pub fn solve(facts: &Facts, catalogue: &Catalogue, options: &Options) -> Plan {
    let world = World::new(facts, catalogue);
    let islands = islands(&world);
    let settled: Vec<Settled> = islands
        .iter()
        .map(|island| settle(&world, island, options))
        .collect();
    let mut judge = Judge {
        world: &world,
        home: BTreeMap::new(),
        settled: &settled,
        needs: BTreeSet::new(),
    };
    for (number, island) in islands.iter().enumerate() {
        judge.home.extend(island.sources.iter().map(|id| (*id, number)));
    }
    judge.plan(facts, options, &islands)
}

/// Says of each dependency how it stands.
pub(crate) struct Judge<'w, 'a> {
    pub(crate) world: &'w World<'a>,
    /// The island of each source.
    home: BTreeMap<Id, usize>,
    settled: &'w [Settled],
    needs: BTreeSet<Need>,
}

/// A package whose dependencies are looked at.
struct Owner<'a> {
    node: Node,
    /// The place that is chosen, for what is not fixed.
    place: Option<(Id, u32)>,
    dependencies: Vec<&'a Dependency>,
    pick: Option<Pick>,
    created: bool,
}

impl<'a> Judge<'_, 'a> {
    fn plan(mut self, facts: &'a Facts, options: &Options, islands: &[Island]) -> Plan {
        let mut owners = self.owners();
        owners.sort_by(|a, b| order(a).cmp(&order(b)));
        let mut plan = Plan {
            duplicates: duplicates(facts),
            decisions: self.settled.iter().map(|s| s.decisions).sum(),
            ..Plan::default()
        };
        for (island, settled) in islands.iter().zip(self.settled) {
            plan.order.extend(
                settled
                    .found
                    .order
                    .iter()
                    .map(|id| self.world.name(*id).to_owned()),
            );
            if settled.gave_up {
                let mut sources: Vec<String> = island
                    .sources
                    .iter()
                    .map(|id| self.world.name(*id).to_owned())
                    .collect();
                sources.sort();
                plan.gave_up.push(GaveUp {
                    sources,
                    decisions: settled.decisions,
                });
            }
        }
        let stands: Vec<Vec<(State, Option<String>)>> = owners
            .iter()
            .map(|owner| owner.dependencies.iter().map(|d| self.stands(owner, d)).collect())
            .collect();

        let mut by_source: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, owner) in owners.iter().enumerate() {
            if let Some(pick) = &owner.pick {
                by_source
                    .entry(self.source_name(&pick.source))
                    .or_default()
                    .push(number);
            }
        }
        let mut explainer = Explainer::new(&self, options, islands);
        for (owner, stands) in owners.iter().zip(&stands) {
            for (dependency, (state, _)) in owner.dependencies.iter().zip(stands) {
                explainer.note(owner.pick.as_ref(), owner.node, dependency, *state);
            }
        }
        let given: Vec<bool> = owners.iter().map(|o| o.pick.is_none() || is_given(o)).collect();
        let above = above(&owners, &stands, &by_source, &given);

        // Edges, and an explanation for each that is not met.
        let mut edges: Vec<Vec<Edge>> = Vec::with_capacity(owners.len());
        for (number, (owner, stands)) in owners.iter().zip(&stands).enumerate() {
            let mut own = Vec::with_capacity(stands.len());
            for (dependency, (state, found)) in owner.dependencies.iter().zip(stands) {
                let waiting = *state == State::Unknown && found.is_some();
                let mut unmet = None;
                if !state.is_met() && !waiting {
                    let path = path(number, &above, &owners);
                    unmet = Some(plan.unmet.len());
                    let explanation = explainer.explain(
                        (owner.node, owner.pick.as_ref(), owner.place),
                        dependency,
                        *state,
                        path,
                    );
                    plan.unmet.push(explanation);
                }
                own.push(Edge {
                    source: dependency.source().to_owned(),
                    constraint: dependency.text().to_owned(),
                    state: *state,
                    found: found.clone().filter(|f| !f.is_empty()),
                    unmet,
                });
            }
            edges.push(own);
        }
        plan.hints = explainer.hints();

        let below = below(&owners, &edges, &stands, &by_source);
        let mut needed_by: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for owner in &owners {
            let by = owner.pick.as_ref().map_or("", |p| self.source_name(&p.source));
            for dependency in &owner.dependencies {
                needed_by.entry(dependency.source()).or_default().insert(by);
            }
        }
        let reached: Vec<bool> = (0..owners.len())
            .map(|n| given.get(n) == Some(&true) || above.contains_key(&n))
            .collect();
        for ((number, owner), (edges, unmet)) in
            owners.into_iter().enumerate().zip(edges.into_iter().zip(below))
        {
            let Some(mut pick) = owner.pick else {
                plan.requested = edges;
                continue;
            };
            if owner.created && reached.get(number) != Some(&true) {
                plan.unneeded.extend(pick.name.clone());
            }
            let by = needed_by.get(pick.source.as_str()).into_iter().flatten();
            pick.needed_by = by.filter(|s| !s.is_empty()).map(|s| (*s).to_owned()).collect();
            pick.dependencies = edges;
            pick.unmet = unmet.into_iter().collect();
            plan.picks.push(pick);
        }
        self.needs
            .extend(self.settled.iter().flat_map(|s| s.found.needs.iter().cloned()));
        self.needs
            .extend(self.world.askers.iter().filter_map(|a| a.need.clone()));
        plan.needs = self.needs.into_iter().collect();
        plan.hints.retain(|hint| !plan.needs.contains(hint));
        plan
    }

    /// The name as the world has it, which lives as long as the facts.
    fn source_name(&self, name: &str) -> &'a str {
        self.world.id(name).map_or("", |id| self.world.name(id))
    }

    fn owners(&self) -> Vec<Owner<'a>> {
        let mut owners = Vec::new();
        for (number, asker) in (0..).zip(&self.world.askers) {
            owners.push(Owner {
                node: Node::Asker(number),
                place: None,
                dependencies: asker.dependencies.clone(),
                pick: asker.package.map(|p| kept(p, asker.need.is_none())),
                created: asker.package.is_some_and(|p| p.created),
            });
        }
        for settled in self.settled {
            let calm = settled.found.needs.is_empty();
            for (id, place) in &settled.found.chosen {
                owners.extend(self.chosen(*id, *place, calm));
            }
        }
        // Where a part was given up, what is there stays.
        for (id, number) in &self.home {
            let Some(source) = self.world.source(*id) else {
                continue;
            };
            if let Some(package) = source.movable
                && self
                    .settled
                    .get(*number)
                    .is_none_or(|s| !s.found.chosen.contains_key(id))
            {
                let candidate = source.installed.and_then(|place| source.candidate(place));
                owners.push(Owner {
                    node: Node::Source(*id),
                    place: source.installed.map(|place| (*id, place)),
                    dependencies: candidate.map(|c| c.dependencies().collect()).unwrap_or_default(),
                    pick: Some(kept(package, false)),
                    created: package.created,
                });
            }
        }
        owners
    }

    fn chosen(&self, id: Id, place: u32, settled: bool) -> Option<Owner<'a>> {
        let source = self.world.source(id)?;
        let candidate = source.candidate(place)?;
        if matches!(candidate.content, Content::Anything) {
            return None;
        }
        let there = source.movable;
        let same = source.installed == Some(place);
        let from = there.and_then(|p| {
            p.tag
                .clone()
                .or_else(|| p.digest.as_ref().map(ToString::to_string))
        });
        Some(Owner {
            node: Node::Source(id),
            place: Some((id, place)),
            dependencies: candidate.dependencies().collect(),
            created: there.is_some_and(|p| p.created),
            pick: Some(Pick {
                source: source.name.to_owned(),
                name: there.map(|p| p.name.clone()),
                kind: kind(self.world, id, place).map(str::to_owned),
                version: candidate.name.to_owned(),
                digest: candidate.digest.cloned(),
                action: match (there.is_some(), same) {
                    (true, true) => Action::Keep,
                    (true, false) => Action::Change,
                    (false, _) => Action::Install,
                },
                from: from.filter(|_| !same),
                settled,
                dependencies: Vec::new(),
                needed_by: Vec::new(),
                unmet: Vec::new(),
            }),
        })
    }

    /// How a dependency stands, and the version that is there or is to be. `Unknown` with an empty version
    /// means that something must be asked first.
    fn stands(&mut self, owner: &Owner<'a>, dependency: &'a Dependency) -> (State, Option<String>) {
        let waiting = (State::Unknown, Some(String::new()));
        if matches!(dependency.requirement(), Requirement::Invalid(_)) {
            return (State::Invalid, None);
        }
        let world = self.world;
        let Some((id, source)) = world
            .id(dependency.source())
            .and_then(|id| Some((id, world.source(id)?)))
        else {
            return (State::Unknown, None);
        };
        if source.is_fixed() {
            let version = |p: &Package| Some(version(p));
            return match world.fit(source, dependency) {
                Fit::Yes(fixed) => (State::Found, version(fixed.package)),
                Fit::OtherKind(fixed) => (State::OtherKind, version(fixed.package)),
                Fit::No => (
                    State::Incompatible,
                    source.fixed.first().and_then(|f| version(f.package)),
                ),
                Fit::Maybe(needs) => {
                    self.needs.extend(needs);
                    waiting
                }
            };
        }
        let Some(settled) = self.home.get(&id).and_then(|number| self.settled.get(*number)) else {
            return (State::Unknown, None);
        };
        if settled.gave_up {
            return (State::Unknown, None);
        }
        let choices = world.choices(id, source, dependency);
        if let Some(place) = settled.found.chosen.get(&id) {
            let Some(candidate) = source.candidate(*place) else {
                return (State::Unknown, None);
            };
            if matches!(candidate.content, Content::Anything) {
                return waiting;
            }
            let name = Some(candidate.name.to_owned());
            if settled.other_kind.contains(&(owner.node, id)) {
                return (State::OtherKind, name);
            }
            return match (choices.has(*place), source.installed == Some(*place)) {
                (true, true) => (State::Found, name),
                (true, false) => (State::Planned, name),
                (false, _) => (State::Incompatible, name),
            };
        }
        if settled.other_kind.contains(&(owner.node, id)) {
            return (State::OtherKind, None);
        }
        match source.tags {
            Tags::Failed(_) if choices.is_empty() => (State::Unknown, None),
            _ if settled.blocked.contains_key(&id) => (State::Unknown, None),
            _ => (State::Missing, None),
        }
    }

    pub(crate) fn settled_of(&self, id: Id) -> Option<(usize, &Settled)> {
        let number = *self.home.get(&id)?;
        Some((number, self.settled.get(number)?))
    }
}

fn order<'o>(owner: &'o Owner<'_>) -> (Option<&'o str>, Option<&'o Name>) {
    let pick = owner.pick.as_ref();
    (
        pick.map(|p| p.source.as_str()),
        pick.and_then(|p| p.name.as_ref()),
    )
}

/// A person wants it.
fn is_given(owner: &Owner<'_>) -> bool {
    owner.pick.as_ref().is_some_and(|p| p.name.is_some()) && !owner.created
}

/// The tag, else the digest, of a package that is there.
pub(crate) fn version(package: &Package) -> String {
    let digest = || package.digest.as_ref().map(ToString::to_string);
    package.tag.clone().or_else(digest).unwrap_or_default()
}

fn kept(package: &Package, settled: bool) -> Pick {
    Pick {
        source: package.source.clone(),
        name: Some(package.name.clone()),
        kind: Some(package.name.kind.clone()),
        version: version(package),
        digest: package.digest.clone(),
        action: Action::Keep,
        from: None,
        settled,
        dependencies: Vec::new(),
        needed_by: Vec::new(),
        unmet: Vec::new(),
    }
}

type Stands = [Vec<(State, Option<String>)>];

/// Each package's dependent by which what is given reaches it first.
fn above(
    owners: &[Owner<'_>],
    stands: &Stands,
    by_source: &BTreeMap<&str, Vec<usize>>,
    given: &[bool],
) -> BTreeMap<usize, usize> {
    let mut above = BTreeMap::new();
    let mut queue: VecDeque<usize> = given
        .iter()
        .enumerate()
        .filter(|(_, given)| **given)
        .map(|(number, _)| number)
        .collect();
    while let Some(number) = queue.pop_front() {
        let (Some(owner), Some(stands)) = (owners.get(number), stands.get(number)) else {
            continue;
        };
        for (dependency, (state, _)) in owner.dependencies.iter().zip(stands) {
            if *state == State::Invalid {
                continue;
            }
            for target in by_source.get(dependency.source()).into_iter().flatten() {
                if given.get(*target) == Some(&false) && !above.contains_key(target) {
                    above.insert(*target, number);
                    queue.push_back(*target);
                }
            }
        }
    }
    above
}

/// Who needs a package, from what is given down to its nearest dependent.
fn path<'o>(of: usize, above: &BTreeMap<usize, usize>, owners: &'o [Owner<'_>]) -> Vec<Option<&'o Pick>> {
    let mut path = Vec::new();
    let mut at = of;
    while let Some(next) = above.get(&at) {
        path.push(owners.get(*next).and_then(|o| o.pick.as_ref()));
        at = *next;
    }
    path.reverse();
    path
}

/// For each owner the unmet dependencies of its own and of all that it needs.
fn below(
    owners: &[Owner<'_>],
    edges: &[Vec<Edge>],
    stands: &Stands,
    by_source: &BTreeMap<&str, Vec<usize>>,
) -> Vec<BTreeSet<usize>> {
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); owners.len()];
    for (number, (owner, stands)) in owners.iter().zip(stands).enumerate() {
        for (dependency, (state, _)) in owner.dependencies.iter().zip(stands) {
            if !state.is_met() {
                continue;
            }
            for target in by_source.get(dependency.source()).into_iter().flatten() {
                if let Some(list) = dependents.get_mut(*target) {
                    list.push(number);
                }
            }
        }
    }
    let mut below: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); owners.len()];
    for (number, edges) in edges.iter().enumerate() {
        for unmet in edges.iter().filter_map(|e| e.unmet) {
            let mut queue = vec![number];
            while let Some(at) = queue.pop() {
                if below.get_mut(at).is_some_and(|all| all.insert(unmet)) {
                    queue.extend(dependents.get(at).into_iter().flatten());
                }
            }
        }
    }
    below
}

/// Packages that are there more than once: from one source, or from sources that are one in truth.
fn duplicates(facts: &Facts) -> Vec<Duplicate> {
    let mut there: BTreeMap<&str, BTreeSet<&Name>> = BTreeMap::new();
    for package in &facts.packages {
        let truth = package.effective.as_ref().unwrap_or(&package.source);
        there.entry(truth).or_default().insert(&package.name);
    }
    there
        .into_iter()
        .filter(|(_, names)| names.len() > 1)
        .map(|(source, names)| Duplicate {
            source: source.to_owned(),
            packages: names.into_iter().cloned().collect(),
        })
        .collect()
}
