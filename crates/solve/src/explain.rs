//! Makes explanations.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::Need;
use crate::explanation::{Asks, Explanation, Remedy, Who, Why};
use crate::facts::{Name, Options};
use crate::island::Island;
use crate::limits::{
    MAX_EXPLAINED_DEMANDS, MAX_EXPLAINED_VERSIONS, MAX_REMEDIES, MAX_REMEDY_RUNS, MAX_SOURCES,
};
use crate::plan::{Pick, State};
use crate::requirement::{Dependency, Requirement};
use crate::search::{Link, Node, Run, search};
use crate::solver::{Judge, version};
use crate::source::{Content, Source, Tags};
use crate::world::Id;

pub(crate) struct Explainer<'j, 'w, 'a> {
    judge: &'j Judge<'w, 'a>,
    options: &'j Options,
    islands: &'j [Island],
    /// Who asks what of each source.
    demands: BTreeMap<&'a str, Vec<(Asks, &'a Dependency, Node, bool)>>,
    hints: BTreeSet<Need>,
    runs: usize,
}

impl<'j, 'w, 'a> Explainer<'j, 'w, 'a> {
    pub(crate) fn new(judge: &'j Judge<'w, 'a>, options: &'j Options, islands: &'j [Island]) -> Self {
        Self {
            judge,
            options,
            islands,
            demands: BTreeMap::new(),
            hints: BTreeSet::new(),
            runs: 0,
        }
    }

    /// Takes note of a dependency, so that others can be explained by it.
    pub(crate) fn note(
        &mut self,
        owner: Option<&Pick>,
        node: Node,
        dependency: &'a Dependency,
        state: State,
    ) {
        let asks = Asks {
            by: who(owner),
            constraint: dependency.text().to_owned(),
        };
        self.demands
            .entry(dependency.source())
            .or_default()
            .push((asks, dependency, node, state.is_met()));
    }

    pub(crate) fn hints(self) -> Vec<Need> {
        self.hints.into_iter().collect()
    }

    /// Why a dependency is not met.
    pub(crate) fn explain(
        &mut self,
        (node, pick, place): (Node, Option<&Pick>, Option<(Id, u32)>),
        dependency: &'a Dependency,
        state: State,
        path: Vec<Option<&Pick>>,
    ) -> Explanation {
        let by = who(pick);
        let mut explanation = Explanation {
            source: dependency.source().to_owned(),
            constraint: dependency.text().to_owned(),
            why: Why::TooLarge { most: MAX_SOURCES },
            demands: Vec::new(),
            more_demands: 0,
            path: path.into_iter().map(who).collect(),
            versions: Vec::new(),
            more_versions: 0,
            remedies: Vec::new(),
            by,
        };
        let world = self.judge.world;
        let found = world
            .id(dependency.source())
            .and_then(|id| Some((id, world.source(id)?)));
        explanation.why = self.why(&explanation, found, dependency, state, place);
        if matches!(explanation.why, Why::Disagreement { .. } | Why::Fixed { .. }) {
            self.others(&mut explanation, node);
        }
        if let (Why::Disagreement { version }, Some((_, source))) = (&explanation.why, found)
            && let (Some(package), true) = (source.movable, explanation.demands.is_empty())
        {
            // Nobody else needs it in another version: it may not be changed to one that would do.
            explanation.why = Why::Fixed {
                packages: vec![Who {
                    source: source.name.to_owned(),
                    version: version.clone(),
                    name: Some(package.name.clone()),
                }],
            };
        }
        if let Some((_, source)) = found
            && matches!(
                explanation.why,
                Why::Disagreement { .. } | Why::Fixed { .. } | Why::NoVersion
            )
        {
            versions(&mut explanation, source);
        }
        if self.options.remedies {
            explanation.remedies = self.remedies(&explanation, node, found, dependency);
        }
        explanation
    }

    fn why(
        &self,
        explanation: &Explanation,
        found: Option<(Id, &Source<'a>)>,
        dependency: &'a Dependency,
        state: State,
        place: Option<(Id, u32)>,
    ) -> Why {
        if let Requirement::Invalid(detail) = dependency.requirement() {
            return Why::Invalid {
                detail: detail.to_string(),
            };
        }
        let Some((id, source)) = found else {
            return Why::TooLarge { most: MAX_SOURCES };
        };
        if state == State::OtherKind {
            let fixed = source.fixed.first().map(|f| f.package.name.kind.as_str());
            let is = fixed
                .or_else(|| source.movable.map(|p| p.name.kind.as_str()))
                .or_else(|| {
                    let kinds = source.candidates.iter().rev().filter_map(|c| match c.content {
                        Content::Known(metadata) => Some(metadata.kind.as_str()),
                        _ => None,
                    });
                    kinds.into_iter().find(|kind| *kind != dependency.kind())
                });
            return Why::OtherKind {
                wanted: dependency.kind().to_owned(),
                is: is.unwrap_or("package of another kind").to_owned(),
            };
        }
        if source.is_fixed() {
            let packages = source.fixed.iter().map(|f| Who {
                source: source.name.to_owned(),
                version: version(f.package),
                name: Some(f.package.name.clone()),
            });
            return Why::Fixed {
                packages: packages.collect(),
            };
        }
        if place.is_some_and(|(own, _)| own == id) {
            return Why::Itself;
        }
        let settled = self.judge.settled_of(id).map(|(_, settled)| settled);
        if let Some(settled) = settled.filter(|s| s.gave_up) {
            return Why::GaveUp {
                decisions: settled.decisions,
            };
        }
        if let Some(detail) = settled.and_then(|s| s.blocked.get(&id)) {
            return Why::Unreachable {
                detail: detail.clone(),
            };
        }
        let choices = self.judge.world.choices(id, source, dependency);
        if choices.is_empty() {
            return match source.tags {
                Tags::Failed(detail) => Why::Unreachable {
                    detail: detail.to_owned(),
                },
                Tags::Absent(detail) => Why::NoRepository {
                    detail: detail.to_owned(),
                },
                Tags::Known(_) | Tags::Unknown => Why::NoVersion,
            };
        }
        let chosen = settled
            .and_then(|s| s.found.chosen.get(&id))
            .and_then(|place| source.candidate(*place));
        if let Some(chosen) = chosen {
            return Why::Disagreement {
                version: chosen.name.to_owned(),
            };
        }
        let wanted = (0u32..)
            .zip(&source.candidates)
            .filter(|(place, _)| choices.has(*place));
        let unusable = wanted
            .filter_map(|(_, c)| match c.content {
                Content::Absent(why) => Some((c.name, why)),
                _ => None,
            })
            .last();
        match unusable {
            Some((version, detail)) => Why::Unusable {
                version: version.to_owned(),
                detail: detail.to_owned(),
            },
            None => Why::Unusable {
                version: explanation.constraint.clone(),
                detail: "what these versions need can't be met beside all else".to_owned(),
            },
        }
    }

    /// Others that ask for the same package and get it.
    fn others(&self, explanation: &mut Explanation, node: Node) {
        let all = self
            .demands
            .get(explanation.source.as_str())
            .into_iter()
            .flatten();
        let met = all.filter(|(_, _, other, met)| *met && *other != node);
        let mut others: Vec<&Asks> = met.map(|(asks, ..)| asks).collect();
        others.sort();
        others.dedup();
        explanation.more_demands = others.len().saturating_sub(MAX_EXPLAINED_DEMANDS);
        explanation.demands = others.into_iter().take(MAX_EXPLAINED_DEMANDS).cloned().collect();
    }

    fn remedies(
        &mut self,
        explanation: &Explanation,
        node: Node,
        found: Option<(Id, &Source<'a>)>,
        dependency: &'a Dependency,
    ) -> Vec<Remedy> {
        let source = || explanation.source.clone();
        let constraint = || explanation.constraint.clone();
        let in_ = || explanation.by.source.clone();
        let allow = |version: &str| Remedy::Allow {
            in_: in_(),
            source: source(),
            version: version.to_owned(),
            constraint: constraint(),
        };
        let mut remedies = match &explanation.why {
            Why::Disagreement { version } => {
                let mut remedies = vec![allow(version)];
                remedies.extend(self.alternatives((node, found.map_or(0, |(id, _)| id)), found));
                remedies
            }
            Why::Fixed { packages } => {
                let mut remedies: Vec<Remedy> = found
                    .and_then(|(_, s)| self.set(s, packages, dependency))
                    .into_iter()
                    .collect();
                remedies.extend(packages.first().map(|p| allow(&p.version)));
                remedies
            }
            Why::NoVersion => {
                let highest = explanation.versions.first();
                let mut remedies: Vec<Remedy> = highest.map(|v| allow(v)).into_iter().collect();
                remedies.push(Remedy::Publish {
                    source: source(),
                    constraint: constraint(),
                });
                remedies
            }
            Why::Unusable { .. } => vec![Remedy::Publish {
                source: source(),
                constraint: constraint(),
            }],
            Why::NoRepository { .. } | Why::Invalid { .. } | Why::OtherKind { .. } | Why::Itself => {
                vec![Remedy::Correct {
                    in_: in_(),
                    source: source(),
                }]
            }
            Why::Unreachable { .. } => return vec![Remedy::Answer { source: source() }],
            Why::GaveUp { decisions } => {
                return vec![Remedy::Raise {
                    decisions: *decisions,
                }];
            }
            Why::TooLarge { .. } => return vec![],
        };
        remedies.truncate(MAX_REMEDIES - 1);
        let root = explanation.path.first().unwrap_or(&explanation.by);
        remedies.extend(root.name.clone().map(|package| Remedy::Remove { package }));
        remedies
    }

    /// Another version for a fixed point that all who need it agree with.
    fn set(&mut self, source: &Source<'a>, packages: &[Who], dependency: &Dependency) -> Option<Remedy> {
        let [
            Who {
                name: Some(package), ..
            },
        ] = packages
        else {
            return None;
        };
        let set = |package: &Name, version| Remedy::Set {
            package: package.clone(),
            source: source.name.to_owned(),
            version,
            constraint: dependency.text().to_owned(),
        };
        if let Requirement::Digest(digest) = dependency.requirement() {
            let all = self.demands.get(source.name).into_iter().flatten();
            let agreed = all.into_iter().all(|(_, d, ..)| d.text() == dependency.text());
            return agreed.then(|| set(package, Some(digest.to_string())));
        }
        let tags = match source.tags {
            Tags::Known(tags) => tags,
            Tags::Unknown => {
                self.hints.insert(Need::Tags {
                    source: source.name.to_owned(),
                });
                return Some(set(package, None));
            }
            Tags::Failed(_) | Tags::Absent(_) => return Some(set(package, None)),
        };
        let asked: Vec<&Requirement> = {
            let all = self.demands.get(source.name).into_iter().flatten();
            all.map(|(_, d, ..)| d.requirement()).collect()
        };
        let agreed = tags.iter().rev().filter(|t| !t.partial).find(|tag| {
            asked.iter().all(|requirement| match requirement {
                Requirement::Versions(constraint) => {
                    tag.version.as_ref().is_some_and(|v| constraint.matches(v))
                }
                Requirement::Tag(text) => *text == tag.text,
                Requirement::Digest(_) => false,
                Requirement::Invalid(_) => true,
            })
        });
        agreed.map(|tag| set(package, Some(tag.text.to_string())))
    }

    /// Other links of the conflict that could give way instead.
    fn alternatives(&mut self, link: Link, found: Option<(Id, &Source<'a>)>) -> Vec<Remedy> {
        let world = self.judge.world;
        let Some((number, settled)) = found.and_then(|(id, _)| self.judge.settled_of(id)) else {
            return vec![];
        };
        let Some(island) = self.islands.get(number) else {
            return vec![];
        };
        let mut others: Vec<Link> = settled
            .left_out
            .get(&link)
            .into_iter()
            .flatten()
            .copied()
            .collect();
        others.retain(|other| *other != link && other.0 != Node::Root);
        // What is given comes first: people can change it.
        others.sort_by_key(|(from, to)| {
            (
                !matches!(from, Node::Asker(_)),
                self.name_of(*from),
                world.name(*to),
            )
        });
        let mut remedies = Vec::new();
        for other in others {
            if remedies.len() + 1 >= MAX_REMEDIES || self.runs >= MAX_REMEDY_RUNS {
                break;
            }
            self.runs += 1;
            let mut without = settled.without();
            without.links.remove(&link);
            without.links.insert(other);
            let decisions = Cell::new(0);
            let Run::Found(instead) = search(world, island, &without, &decisions, self.options.decisions)
            else {
                continue;
            };
            let version = instead.chosen.get(&other.1);
            let version = version
                .and_then(|place| world.source(other.1)?.candidate(*place))
                .map(|c| c.name);
            let asked = self.demands.get(world.name(other.1)).into_iter().flatten();
            let asked = asked.into_iter().find(|(_, _, node, _)| *node == other.0);
            let (Some(version), Some((asks, ..))) = (version, asked) else {
                continue;
            };
            remedies.push(Remedy::Allow {
                in_: asks.by.source.clone(),
                source: world.name(other.1).to_owned(),
                version: version.to_owned(),
                constraint: asks.constraint.clone(),
            });
        }
        remedies
    }

    fn name_of(&self, node: Node) -> &'a str {
        match node {
            Node::Root => "",
            Node::Source(id) => self.judge.world.name(id),
            Node::Asker(number) => {
                let package = self.judge.world.asker(number).and_then(|a| a.package);
                package.map_or("", |p| p.source.as_str())
            }
        }
    }
}

/// The highest versions that a repository has.
fn versions(explanation: &mut Explanation, source: &Source<'_>) {
    let Tags::Known(tags) = source.tags else { return };
    let versions = || tags.iter().rev().filter(|t| t.version.is_some() && !t.partial);
    let shown: Vec<String> = versions()
        .take(MAX_EXPLAINED_VERSIONS)
        .map(|t| t.text.to_string())
        .collect();
    explanation.more_versions = versions().count() - shown.len();
    explanation.versions = shown;
}

fn who(pick: Option<&Pick>) -> Who {
    pick.map_or(
        Who {
            source: String::new(),
            version: String::new(),
            name: None,
        },
        |pick| Who {
            source: pick.source.clone(),
            version: pick.version.clone(),
            name: pick.name.clone(),
        },
    )
}
