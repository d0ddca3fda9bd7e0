//! Parts of the graph that can be solved by themselves.

use std::collections::{BTreeMap, BTreeSet};

use crate::choices::Choices;
use crate::map::Map;
use crate::relax::kind;
use crate::requirement::Requirement;
use crate::source::{Content, Source};
use crate::world::{Id, World};

/// Sources that may depend on one another, and who asks for them. Fixed points belong to none: they hold
/// whatever is chosen, so they tie nothing together.
#[derive(Debug, Default)]
pub(crate) struct Island {
    pub(crate) sources: BTreeSet<Id>,
    /// Numbers of those that ask for one of the sources.
    pub(crate) askers: BTreeSet<u32>,
}

/// The candidates of each source that are worth trying.
///
/// Versions mostly differ in nothing that matters here: all who ask accept them or not alike, and they need
/// the same. Of such only the best is tried. Without this a conflict is proved again for each version of
/// each package on the way to it.
pub(crate) fn worth_trying<'a>(world: &World<'a>) -> Vec<Choices> {
    let mut asked: Vec<Map<&'a str, &'a Requirement>> = vec![Map::default(); world.sources.len()];
    let given = world.askers.iter().flat_map(|a| a.dependencies.iter().copied());
    let candidates = world.sources.iter().flat_map(|s| &s.candidates);
    for dependency in given.chain(candidates.flat_map(|c| c.dependencies())) {
        let target = world
            .id(dependency.source())
            .and_then(|id| usize::try_from(id).ok());
        if let Some(texts) = target.and_then(|target| asked.get_mut(target)) {
            texts.insert(dependency.text(), dependency.requirement());
        }
    }
    let one = |(id, source): (Id, &Source<'a>)| {
        let texts = asked
            .get(usize::try_from(id).unwrap_or(usize::MAX))
            .into_iter()
            .flatten();
        let mut sets: Vec<Choices> = texts
            .map(|(text, requirement)| world.set(id, source, text, requirement))
            .collect();
        sets.push(source.allowed());
        let mut classes: Map<_, Vec<u32>> = Map::default();
        let mut alone = Vec::new();
        for (place, candidate) in (0..).zip(&source.candidates) {
            match candidate.content {
                Content::Known(_) | Content::Given(_) => {
                    let accepted: Vec<bool> = sets.iter().map(|set| set.has(place)).collect();
                    let needs: Vec<(&str, &str, &str)> = candidate
                        .dependencies()
                        .map(|d| (d.source(), d.text(), d.kind()))
                        .collect();
                    let own = needs.iter().any(|(needed, ..)| *needed == source.name);
                    let class = (accepted, needs, kind(world, id, place), own.then_some(place));
                    classes.entry(class).or_default().push(place);
                }
                _ => alone.push(place),
            }
        }
        let best = classes
            .into_values()
            .filter_map(|places| source.best(&Choices::of(source.count(), |p| places.contains(&p))));
        let kept: BTreeSet<u32> = best.chain(alone).collect();
        Choices::of(source.count(), |place| kept.contains(&place))
    };
    numbered(&world.sources).map(one).collect()
}

/// All islands, in order of the names of their first sources.
pub(crate) fn islands(world: &World<'_>) -> Vec<Island> {
    let mut sets = Sets::new(world.sources.len());
    let free = |name: &str| {
        let id = world.id(name)?;
        world.source(id).filter(|s| !s.is_fixed()).map(|_| id)
    };
    for (id, source) in numbered(&world.sources) {
        for dependency in source.candidates.iter().flat_map(|c| c.dependencies()) {
            if let Some(target) = free(dependency.source()) {
                sets.join(id, target);
            }
        }
    }
    let mut islands: BTreeMap<Id, Island> = BTreeMap::new();
    for (id, source) in numbered(&world.sources) {
        if !source.is_fixed() {
            islands.entry(sets.root(id)).or_default().sources.insert(id);
        }
    }
    for (number, asker) in (0..).zip(&world.askers) {
        for target in asker.dependencies.iter().filter_map(|d| free(d.source())) {
            if let Some(island) = islands.get_mut(&sets.root(target)) {
                island.askers.insert(number);
            }
        }
    }
    let mut islands: Vec<Island> = islands.into_values().collect();
    islands.sort_by_key(|i| i.sources.iter().map(|id| world.name(*id)).min());
    islands
}

fn numbered<'w, 'a>(sources: &'w [Source<'a>]) -> impl Iterator<Item = (Id, &'w Source<'a>)> {
    (0..).zip(sources)
}

/// Disjoint sets of sources.
struct Sets(Vec<Id>);

impl Sets {
    fn new(count: usize) -> Self {
        Self((0..).take(count).collect())
    }

    fn root(&mut self, of: Id) -> Id {
        let mut at = of;
        loop {
            let above = self.get(at);
            if above == at {
                return at;
            }
            let next = self.get(above);
            self.set(at, next);
            at = next;
        }
    }

    fn join(&mut self, a: Id, b: Id) {
        let (a, b) = (self.root(a), self.root(b));
        self.set(a.max(b), a.min(b));
    }

    fn get(&self, of: Id) -> Id {
        usize::try_from(of)
            .ok()
            .and_then(|i| self.0.get(i).copied())
            .unwrap_or(of)
    }

    fn set(&mut self, of: Id, to: Id) {
        if let Some(slot) = usize::try_from(of).ok().and_then(|i| self.0.get_mut(i)) {
            *slot = to;
        }
    }
}
