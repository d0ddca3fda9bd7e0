//! The solver against trying out everything, on many small random graphs.

use std::collections::{BTreeMap, BTreeSet};

use gantry_solve::{
    Answer, Catalogue, Change, Constraint, Dependency, Facts, Metadata, Options, Plan, Version, solve,
};
use oci::Digest;

use crate::lab::{Lab, digest, picked, source};

/// How many graphs are tried.
const GRAPHS: u64 = 100_000;
/// At most so many repositories.
const SOURCES: usize = 5;
const NAMES: [&str; SOURCES] = ["a", "b", "c", "d", "e"];
const TAGS: [&str; 4] = ["v1.0.0", "v1.1.0", "v2.0.0", "v3.0.0-rc.1"];
const CONSTRAINTS: [&str; 8] = [
    "*",
    ">=v2.0.0",
    "<v2.0.0",
    "v1.0.0",
    "^1.1",
    ">=v2.0.0-0",
    "v2.0.0 || v1.0.0",
    ">v9",
];

/// What is chosen of each source: a place in [`TAGS`].
type Assignment = [Option<usize>; SOURCES];
/// Who depends, on which source: `None` is the one package that is fixed.
type Link = (Option<usize>, usize);
/// Source and place in [`CONSTRAINTS`].
type Edges = Vec<(usize, usize)>;

/// Links that don't count, by their origin.
struct Without([u8; SOURCES + 1]);

impl Without {
    fn new(links: &BTreeSet<Link>) -> Self {
        let mut all = [0; SOURCES + 1];
        for (from, to) in links {
            all[from.unwrap_or(SOURCES)] |= 1 << to;
        }
        Self(all)
    }

    fn has(&self, (from, to): Link) -> bool {
        self.0[from.unwrap_or(SOURCES)] & 1 << to != 0
    }
}

#[derive(Debug, Default)]
struct Graph {
    /// By source and tag: whether it exists, and what it needs.
    versions: Vec<[Option<Edges>; TAGS.len()]>,
    root: Edges,
    /// What is installed and may be changed.
    installed: [Option<(usize, bool)>; SOURCES],
}

fn random(seed: u64) -> Graph {
    let mut random = fastrand::Rng::with_seed(seed);
    let sources = random.usize(1..=SOURCES);
    let edges = |random: &mut fastrand::Rng, most: usize| -> Edges {
        let count = random.usize(0..=most);
        (0..count)
            .map(|_| (random.usize(0..sources), random.usize(0..CONSTRAINTS.len())))
            .collect()
    };
    let mut graph = Graph {
        root: edges(&mut random, 3),
        ..Graph::default()
    };
    for source in 0..sources {
        let mut versions: [Option<Edges>; TAGS.len()] = Default::default();
        for version in &mut versions {
            if random.u8(0..4) > 0 {
                *version = Some(edges(&mut random, 2));
            }
        }
        let there: Vec<usize> = (0..TAGS.len()).filter(|v| versions[*v].is_some()).collect();
        if random.u8(0..5) == 0
            && let Some(place) = random.choice(&there)
        {
            graph.installed[source] = Some((*place, random.bool()));
        }
        graph.versions.push(versions);
    }
    graph
}

/// All that is parsed, once.
struct Parsed {
    /// By source and constraint.
    dependencies: Vec<Vec<Dependency>>,
    /// By source and tag.
    digests: Vec<Vec<Digest>>,
}

impl Parsed {
    fn new() -> Self {
        let names = || NAMES.iter().map(|name| source(name));
        Self {
            dependencies: names()
                .map(|s| {
                    CONSTRAINTS
                        .iter()
                        .map(|text| Dependency::new("", &s, text))
                        .collect()
                })
                .collect(),
            digests: names()
                .map(|s| TAGS.iter().map(|tag| digest(&s, tag)).collect())
                .collect(),
        }
    }

    fn dependencies(&self, edges: &Edges, random: &mut fastrand::Rng) -> Vec<Dependency> {
        let mut all: Vec<Dependency> = edges
            .iter()
            .map(|(to, text)| self.dependencies[*to][*text].clone())
            .collect();
        random.shuffle(&mut all);
        all
    }

    /// What the solver is told of a graph, in any order.
    fn told(&self, graph: &Graph, random: &mut fastrand::Rng) -> (Facts, Catalogue) {
        let mut catalogue = Catalogue::new();
        let mut lab = Lab::default();
        for (place, versions) in graph.versions.iter().enumerate() {
            let source = source(NAMES[place]);
            let there = || (0..TAGS.len()).filter(|tag| versions[*tag].is_some());
            let tags = there().map(|tag| TAGS[tag].to_owned()).collect();
            catalogue.set_tags(&source, Answer::Known(tags));
            for tag in there() {
                let digest = &self.digests[place][tag];
                catalogue.set_digest(&source, TAGS[tag], Answer::Known(digest.clone()));
                let edges = versions[tag].as_ref().unwrap();
                let metadata = Metadata {
                    kind: "Provider".to_owned(),
                    dependencies: self.dependencies(edges, random),
                };
                catalogue.set_package(&source, digest, Answer::Known(metadata));
            }
        }
        lab.install("root", "v1.0.0", &[]).dependencies = Some(self.dependencies(&graph.root, random));
        for (name, installed) in NAMES.iter().zip(graph.installed) {
            if let Some((place, any)) = installed {
                lab.movable(name, TAGS[place], if any { Change::Any } else { Change::Up });
            }
        }
        random.shuffle(&mut lab.facts.packages);
        (lab.facts, catalogue)
    }
}

struct Judge {
    graph: Graph,
    /// By constraint and tag.
    satisfies: [[bool; TAGS.len()]; CONSTRAINTS.len()],
}

impl Judge {
    fn new(graph: Graph) -> Self {
        let mut satisfies = [[false; TAGS.len()]; CONSTRAINTS.len()];
        for (row, text) in satisfies.iter_mut().zip(CONSTRAINTS) {
            let constraint = Constraint::parse(text).unwrap();
            for (cell, tag) in row.iter_mut().zip(TAGS) {
                *cell = constraint.matches(&Version::parse(tag).unwrap());
            }
        }
        Self { graph, satisfies }
    }

    fn edges(&self, from: Option<usize>, assignment: &Assignment) -> &[(usize, usize)] {
        match from {
            None => &self.graph.root,
            Some(source) => match assignment[source] {
                None => &[],
                Some(place) => self.graph.versions[source][place].as_deref().unwrap_or_default(),
            },
        }
    }

    fn met(&self, edge: (usize, usize), assignment: &Assignment) -> bool {
        assignment[edge.0].is_some_and(|place| self.satisfies[edge.1][place])
    }

    /// Whether the demands between a source and those before it hold, but for some links.
    fn fits(&self, source: usize, assignment: &Assignment, without: &Without) -> bool {
        if let Some((place, any)) = self.graph.installed[source] {
            match assignment[source] {
                None => return false,
                Some(other) if !any && other < place => return false,
                Some(_) => {}
            }
        }
        let holds = |from: Option<usize>, edge: &(usize, usize)| {
            without.has((from, edge.0)) || self.met(*edge, assignment)
        };
        let to_this = |from: Option<usize>| {
            self.edges(from, assignment)
                .iter()
                .all(|e| e.0 != source || holds(from, e))
        };
        to_this(None)
            && (0..source).all(|from| to_this(Some(from)))
            && self
                .edges(Some(source), assignment)
                .iter()
                .all(|e| e.0 > source || holds(Some(source), e))
    }

    /// Whether only what is needed is chosen.
    fn is_needed(&self, assignment: &Assignment, without: &Without) -> bool {
        let mut needed = 0u8;
        let mut queue: u8 = 0;
        let follow = |from: Option<usize>| -> u8 {
            let edges = self
                .edges(from, assignment)
                .iter()
                .filter(|e| !without.has((from, e.0)));
            edges.fold(0, |all, e| all | 1 << e.0)
        };
        queue |= follow(None);
        for source in 0..self.graph.versions.len() {
            queue |= u8::from(self.graph.installed[source].is_some()) << source;
        }
        while queue & !needed != 0 {
            let source = usize::try_from((queue & !needed).trailing_zeros()).unwrap();
            needed |= 1 << source;
            queue |= follow(Some(source));
        }
        (0..self.graph.versions.len()).all(|s| assignment[s].is_none() || needed & 1 << s != 0)
    }

    fn solves(&self, assignment: &Assignment, without: &BTreeSet<Link>) -> bool {
        let without = Without::new(without);
        (0..self.graph.versions.len()).all(|s| self.fits(s, assignment, &without))
            && self.is_needed(assignment, &without)
    }

    /// All solutions but for some links.
    fn solutions(&self, without: &BTreeSet<Link>) -> Vec<Assignment> {
        let mut solutions = Vec::new();
        let mut assignment = Assignment::default();
        self.extend(0, &mut assignment, &Without::new(without), &mut solutions);
        solutions
    }

    fn extend(
        &self,
        source: usize,
        assignment: &mut Assignment,
        without: &Without,
        solutions: &mut Vec<Assignment>,
    ) {
        let Some(versions) = self.graph.versions.get(source) else {
            if self.is_needed(assignment, without) {
                solutions.push(*assignment);
            }
            return;
        };
        let there = (0..TAGS.len())
            .filter(|place| versions[*place].is_some())
            .map(Some);
        for place in std::iter::once(None).chain(there) {
            assignment[source] = place;
            if self.fits(source, assignment, without) {
                self.extend(source + 1, assignment, without, solutions);
            }
        }
        assignment[source] = None;
    }

    /// How good a choice is: what is installed, else the highest; of something else in the place of what is
    /// installed, the highest release.
    fn rank(&self, source: usize, place: usize) -> (bool, bool, usize) {
        let release = self.graph.installed[source].is_none() || !TAGS[place].contains('-');
        (
            self.graph.installed[source].is_some_and(|(there, _)| there == place),
            release,
            place,
        )
    }
}

fn assignment(plan: &Plan) -> Assignment {
    let mut assignment = Assignment::default();
    for (slot, name) in assignment.iter_mut().zip(NAMES) {
        *slot = picked(plan, name).map(|v| TAGS.iter().position(|t| *t == v).unwrap());
    }
    assignment
}

fn unmet(plan: &Plan) -> BTreeSet<Link> {
    let place = |wanted: &str| NAMES.iter().position(|n| source(n) == wanted);
    plan.unmet
        .iter()
        .map(|u| (place(&u.by.source), place(&u.source).unwrap()))
        .collect()
}

/// Each test tries its share of the graphs, beside the others.
macro_rules! shares {
    ($($name:ident: $share:literal;)*) => {
        $(#[test] fn $name() { agrees_with_trying_everything($share); })*
        const SHARES: u64 = [$($share),*].len() as u64;
    };
}

shares! {
    first_share_of_the_graphs: 0;
    second_share_of_the_graphs: 1;
    third_share_of_the_graphs: 2;
    fourth_share_of_the_graphs: 3;
}

fn agrees_with_trying_everything(share: u64) {
    let parsed = Parsed::new();
    let mut counts = BTreeMap::new();
    for seed in (0..GRAPHS).filter(|seed| seed % SHARES == share) {
        let judge = Judge::new(random(seed));
        let mut random = fastrand::Rng::with_seed(seed);
        let (facts, catalogue) = parsed.told(&judge.graph, &mut random);
        let options = Options {
            remedies: seed % 50 == share,
            ..Options::default()
        };
        let plan = solve(&facts, &catalogue, &options);
        let (chosen, left_out) = (assignment(&plan), unmet(&plan));
        let context = || {
            format!(
                "seed {seed}: {:?}\nchosen {chosen:?} in order {:?}, unmet {left_out:?}",
                judge.graph, plan.order
            )
        };
        assert!(plan.needs.is_empty() && plan.gave_up.is_empty(), "{}", context());

        // Found if and only if there is one.
        let all = judge.solutions(&BTreeSet::new());
        assert_eq!(left_out.is_empty(), !all.is_empty(), "{}\n{all:?}", context());
        assert!(judge.solves(&chosen, &left_out), "{}", context());
        // None of what is left out could be put back.
        for link in &left_out {
            let mut less = left_out.clone();
            less.remove(link);
            let better = judge.solutions(&less);
            assert!(
                better.is_empty(),
                "{link:?} need not be left out: {}\n{better:?}",
                context()
            );
        }
        // Each decision is the best that goes with those before it; what is installed is decided first.
        let order: Vec<usize> = plan
            .order
            .iter()
            .map(|s| NAMES.iter().position(|n| source(n) == *s).unwrap())
            .collect();
        assert_eq!(order.len(), chosen.iter().flatten().count(), "{}", context());
        let left = if left_out.is_empty() {
            all
        } else {
            judge.solutions(&left_out)
        };
        let present = (0..SOURCES).filter(|s| judge.graph.installed[*s].is_some());
        best_in_order(&judge, &chosen, left.clone(), present, &context);
        best_in_order(&judge, &chosen, left, order.into_iter(), &context);
        *counts.entry(left_out.len()).or_insert(0usize) += 1;
    }
    // The graphs are of all sorts.
    let solved = counts.remove(&0).unwrap_or(0);
    let conflicts: usize = counts.values().sum();
    assert!(
        solved > 5_000 && conflicts > 5_000,
        "{solved} solved, others {counts:?}"
    );
    assert!(counts.len() > 3, "{counts:?}");
}

/// Each choice is the best that a solution has which agrees with the choices before it.
fn best_in_order(
    judge: &Judge,
    chosen: &Assignment,
    mut left: Vec<Assignment>,
    order: impl Iterator<Item = usize>,
    context: &dyn Fn() -> String,
) {
    for source in order {
        let ours = judge.rank(source, chosen[source].unwrap());
        let best = left
            .iter()
            .filter_map(|a| a[source])
            .map(|place| judge.rank(source, place))
            .max();
        assert_eq!(Some(ours), best, "{} at {}", context(), NAMES[source]);
        left.retain(|a| a[source] == chosen[source]);
    }
}
