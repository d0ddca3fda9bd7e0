//! One run of pubgrub over one island.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use pubgrub::{
    Dependencies, DependencyConstraints, DependencyProvider, DerivationTree, External,
    PackageResolutionStatistics, PubGrubError, VersionSet,
};

use crate::catalogue::Need;
use crate::choices::Choices;
use crate::island::Island;
use crate::limits::CONFLICTS_BEFORE_REORDER;
use crate::map::Map;
use crate::requirement::Dependency;
use crate::source::Content;
use crate::world::{Demand, Id, World};

/// What pubgrub takes for a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Node {
    /// Depends on all that is given.
    Root,
    /// Somebody whose demands are given.
    Asker(u32),
    Source(Id),
}

/// A dependency of one node on a source.
pub(crate) type Link = (Node, Id);

/// What is left out of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Without {
    pub(crate) links: BTreeSet<Link>,
    /// Nobody's dependency on these counts: nothing can be said about them now.
    pub(crate) sources: BTreeSet<Id>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Run {
    /// Every link is met.
    Found(Found),
    /// The links that can't all be met.
    Conflict(Conflict),
    /// Something would be chosen of which nothing can be learnt now.
    Blocked(Id, String),
    GaveUp,
}

#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The place that is chosen of each source that is needed.
    pub(crate) chosen: BTreeMap<Id, u32>,
    /// The sources in the order in which they were decided.
    pub(crate) order: Vec<Id>,
    /// What must be asked before it can be said whether this is right.
    pub(crate) needs: BTreeSet<Need>,
}

#[derive(Debug, Default)]
pub(crate) struct Conflict {
    pub(crate) links: BTreeSet<Link>,
    /// How far each node is from what is given.
    pub(crate) depth: Map<Id, u32>,
}

/// Solves an island.
pub(crate) fn search(
    world: &World<'_>,
    island: &Island,
    without: &Without,
    decisions: &Cell<usize>,
    limit: usize,
) -> Run {
    let search = Search {
        world,
        island,
        without,
        decisions,
        limit,
        needs: RefCell::default(),
        depth: RefCell::default(),
        log: RefCell::default(),
    };
    match pubgrub::resolve(&search, Node::Root, 0u32) {
        Ok(selected) => Run::Found(search.found(selected)),
        Err(PubGrubError::NoSolution(tree)) => Run::Conflict(Conflict {
            links: leaves(tree),
            depth: search.depth.into_inner(),
        }),
        Err(
            PubGrubError::ErrorRetrievingDependencies { source, .. }
            | PubGrubError::ErrorChoosingVersion { source, .. }
            | PubGrubError::ErrorInShouldCancel(source),
        ) => match source {
            Stop::GaveUp => Run::GaveUp,
            Stop::Blocked(id, why) => Run::Blocked(id, why),
        },
    }
}

struct Search<'w, 'a> {
    world: &'w World<'a>,
    island: &'w Island,
    without: &'w Without,
    decisions: &'w Cell<usize>,
    limit: usize,
    needs: RefCell<BTreeSet<Need>>,
    depth: RefCell<Map<Id, u32>>,
    log: RefCell<Vec<Id>>,
}

/// Why a run was stopped.
#[derive(Clone, Debug)]
enum Stop {
    GaveUp,
    Blocked(Id, String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GaveUp => f.write_str("too many decisions"),
            Self::Blocked(_, why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Stop {}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl<'a> Search<'_, 'a> {
    /// The links of a node: one for each source that it asks for.
    fn links(
        &self,
        from: Node,
        own: Option<(Id, u32)>,
        dependencies: impl Iterator<Item = &'a Dependency>,
    ) -> Vec<(Node, Choices)> {
        let mut links: BTreeMap<Id, Choices> = BTreeMap::new();
        let mut needs = self.needs.borrow_mut();
        for dependency in dependencies {
            let (target, choices) = match self.world.demand(dependency, own, &mut needs) {
                Demand::None => continue,
                Demand::OneOf(target, choices) => (target, choices),
                Demand::Never(target) => (target, Choices::empty()),
            };
            if self.without.sources.contains(&target) || self.without.links.contains(&(from, target)) {
                continue;
            }
            links
                .entry(target)
                .and_modify(|all| *all = all.intersection(&choices))
                .or_insert(choices);
        }
        links
            .into_iter()
            .map(|(id, choices)| (Node::Source(id), choices))
            .collect()
    }

    fn given(&self) -> Vec<(Node, Choices)> {
        let askers = self
            .island
            .askers
            .iter()
            .map(|n| (Node::Asker(*n), Choices::singleton(0)));
        let there = self.island.sources.iter().filter_map(|id| {
            let source = self.world.source(*id).filter(|s| s.installed.is_some())?;
            Some((Node::Source(*id), self.world.worth(*id, &source.allowed())))
        });
        askers.chain(there).collect()
    }

    fn deepen(&self, links: &[(Node, Choices)], depth: u32) {
        let mut known = self.depth.borrow_mut();
        for (node, _) in links {
            if let Node::Source(id) = node {
                known
                    .entry(*id)
                    .and_modify(|d| *d = (*d).min(depth))
                    .or_insert(depth);
            }
        }
    }

    fn found(self, selected: pubgrub::SelectedDependencies<Node, u32>) -> Found {
        let chosen: BTreeMap<Id, u32> = selected
            .into_iter()
            .filter_map(|(node, place)| match node {
                Node::Source(id) => Some((id, place)),
                Node::Root | Node::Asker(_) => None,
            })
            .collect();
        // A decision that was taken back is made again later, so the last time counts.
        let mut order = Vec::with_capacity(chosen.len());
        let mut seen = BTreeSet::new();
        for id in self.log.into_inner().into_iter().rev() {
            if chosen.contains_key(&id) && seen.insert(id) {
                order.push(id);
            }
        }
        order.reverse();
        Found {
            chosen,
            order,
            needs: self.needs.into_inner(),
        }
    }
}

/// Higher is decided first: what is there, then what has caused many conflicts, then what is near to what
/// is given, then by name.
type Priority<'a> = (bool, u32, Reverse<u32>, Reverse<&'a str>);

impl<'a> DependencyProvider for Search<'_, 'a> {
    type P = Node;
    type V = u32;
    type VS = Choices;
    type M = String;
    type Err = Stop;
    type Priority = Priority<'a>;

    fn prioritize(&self, node: &Node, _: &Choices, statistics: &PackageResolutionStatistics) -> Priority<'a> {
        match node {
            Node::Root | Node::Asker(_) => (true, u32::MAX, Reverse(0), Reverse("")),
            Node::Source(id) => {
                let there = self.world.source(*id).is_some_and(|s| s.installed.is_some());
                let conflicts = match statistics.conflict_count() {
                    many if many >= CONFLICTS_BEFORE_REORDER => many,
                    _ => 0,
                };
                let depth = match there {
                    true => 0,
                    false => self.depth.borrow().get(id).copied().unwrap_or(0),
                };
                (there, conflicts, Reverse(depth), Reverse(self.world.name(*id)))
            }
        }
    }

    fn choose_version(&self, node: &Node, choices: &Choices) -> Result<Option<u32>, Stop> {
        let Node::Source(id) = node else {
            return Ok(Some(0).filter(|place| choices.has(*place)));
        };
        if self.decisions.get() >= self.limit {
            return Err(Stop::GaveUp);
        }
        self.decisions.set(self.decisions.get() + 1);
        self.log.borrow_mut().push(*id);
        Ok(self.world.source(*id).and_then(|source| source.best(choices)))
    }

    fn get_dependencies(
        &self,
        node: &Node,
        place: &u32,
    ) -> Result<Dependencies<Node, Choices, String>, Stop> {
        let links = match node {
            Node::Root => self.given(),
            Node::Asker(number) => {
                let dependencies = self.world.asker(*number).map_or(&[][..], |a| &a.dependencies);
                // What belongs to other islands is theirs to solve; what is fixed can't be solved.
                let all = self.links(*node, None, dependencies.iter().copied());
                let ours = |n: &Node| matches!(n, Node::Source(id) if self.island.sources.contains(id));
                let links: Vec<_> = all.into_iter().filter(|(n, _)| ours(n)).collect();
                self.deepen(&links, 1);
                links
            }
            Node::Source(id) => {
                let Some(source) = self.world.source(*id) else {
                    return Ok(Dependencies::Available(DependencyConstraints::default()));
                };
                let Some(candidate) = source.candidate(*place) else {
                    return Ok(Dependencies::Unavailable("no such candidate".to_owned()));
                };
                let name = || source.name.to_owned();
                let need = match &candidate.content {
                    Content::Known(_) | Content::Given(_) => None,
                    Content::Anything => Some(Need::Tags { source: name() }),
                    Content::NoDigest => Some(Need::Digest {
                        source: name(),
                        tag: candidate.name.to_owned(),
                    }),
                    Content::NoPackage(digest) => Some(Need::Package {
                        source: name(),
                        digest: (*digest).clone(),
                    }),
                    // What is there is there, whether or not it can be asked for again.
                    Content::Failed(_) | Content::Absent(_) if source.installed == Some(*place) => None,
                    Content::Failed(why) => {
                        return Err(Stop::Blocked(*id, format!("{}: {why}", candidate.name)));
                    }
                    Content::Absent(why) => return Ok(Dependencies::Unavailable((*why).to_owned())),
                };
                self.needs.borrow_mut().extend(need);
                let links = self.links(*node, Some((*id, *place)), candidate.dependencies());
                let depth = self.depth.borrow().get(id).copied().unwrap_or(0);
                self.deepen(&links, depth.saturating_add(1));
                links
            }
        };
        Ok(Dependencies::Available(links.into_iter().collect()))
    }
}

/// The links that a proof of impossibility rests on. The proof of a conflict at the end of a long chain is
/// as deep as the chain is long, so it is taken apart without recursion, which also keeps its own
/// destruction from recursing.
fn leaves(tree: DerivationTree<Node, Choices, String>) -> BTreeSet<Link> {
    let mut links = BTreeSet::new();
    let mut left = vec![tree];
    while let Some(tree) = left.pop() {
        match tree {
            DerivationTree::External(External::FromDependencyOf(from, _, Node::Source(to), _)) => {
                links.insert((from, to));
            }
            DerivationTree::External(_) => {}
            DerivationTree::Derived(derived) => {
                left.extend(
                    [derived.cause1, derived.cause2]
                        .into_iter()
                        .filter_map(Arc::into_inner),
                );
            }
        }
    }
    links
}
