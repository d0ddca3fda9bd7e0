//! Facts and catalogue as a graph: sources by number, and who asks what of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use oci::Digest;
use pubgrub::VersionSet;

use crate::catalogue::{Answer, Catalogue, Metadata, Need};
use crate::choices::Choices;
use crate::facts::{Facts, Package};
use crate::island::worth_trying;
use crate::limits::{MAX_DIGEST_PROBES, MAX_SOURCES};
use crate::map::Map;
use crate::requirement::{Dependency, Requirement};
use crate::source::{Fixed, Source, Tags, sorted};

/// The number of a source.
pub(crate) type Id = u32;

pub(crate) struct World<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) sources: Vec<Source<'a>>,
    index: Map<&'a str, Id>,
    pub(crate) askers: Vec<Asker<'a>>,
    choices: RefCell<Map<(Id, &'a str), Choices>>,
    /// Of each source the candidates that are worth trying.
    pub(crate) worth_trying: Vec<Choices>,
    /// The graph has more sources than the limit; those beyond it are not looked at.
    pub(crate) too_large: bool,
}

/// Somebody whose demands are given: a package that stays as it is, or a person.
#[derive(Debug)]
pub(crate) struct Asker<'a> {
    /// `None` is a person.
    pub(crate) package: Option<&'a Package>,
    pub(crate) dependencies: Vec<&'a Dependency>,
    /// What must be asked to know its dependencies.
    pub(crate) need: Option<Need>,
}

/// Whether a fixed point is what a dependency asks for.
pub(crate) enum Fit<'w, 'a> {
    Yes(&'w Fixed<'a>),
    /// It cannot be said before these questions are answered.
    Maybe(Vec<Need>),
    No,
    /// It would fit, were it of the right kind.
    OtherKind(&'w Fixed<'a>),
}

/// What a dependency means for the choice of versions.
pub(crate) enum Demand {
    /// Nothing: it is met, or nothing that can be chosen would meet it, or it can't be said yet.
    None,
    /// One of these candidates must be chosen.
    OneOf(Id, Choices),
    /// It is met only by not being there.
    Never(Id),
}

impl<'a> World<'a> {
    pub(crate) fn new(facts: &'a Facts, catalogue: &'a Catalogue) -> Self {
        let mut packages: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
        for package in &facts.packages {
            packages.entry(&package.source).or_default().push(package);
        }
        for several in packages.values_mut() {
            several.sort_by_key(|p| &p.name);
        }
        let mut requests: Vec<&Dependency> = facts.requests.iter().map(|r| &r.dependency).collect();
        requests.sort_by_key(|d| (d.source(), d.text(), d.kind()));

        let mut pinned: BTreeMap<&str, BTreeSet<&Digest>> = BTreeMap::new();
        let given = facts
            .packages
            .iter()
            .flat_map(|p| p.dependencies.iter().flatten());
        for dependency in given
            .chain(requests.iter().copied())
            .chain(catalogue.dependencies())
        {
            if let Requirement::Digest(digest) = dependency.requirement() {
                pinned.entry(dependency.source()).or_default().insert(digest);
            }
        }

        let mut world = Self {
            catalogue,
            sources: Vec::new(),
            index: Map::default(),
            askers: Vec::new(),
            choices: RefCell::default(),
            worth_trying: Vec::new(),
            too_large: false,
        };
        let roots = packages
            .keys()
            .copied()
            .chain(requests.iter().map(|d| d.source()));
        let mut queue: Vec<&str> = Vec::new();
        for root in roots.collect::<BTreeSet<_>>() {
            queue.push(root);
        }
        queue.reverse();
        while let Some(name) = queue.pop() {
            if world.index.contains_key(name) {
                continue;
            }
            if world.sources.len() >= MAX_SOURCES {
                world.too_large = true;
                continue;
            }
            let there = packages.get(name).map_or(&[][..], Vec::as_slice);
            let source = Source::new(name, there, pinned.get(name), catalogue);
            for fixed in &source.fixed {
                let asker = Asker::package(fixed.package, catalogue);
                queue.extend(asker.dependencies.iter().map(|d| d.source()));
                world.askers.push(asker);
            }
            for candidate in &source.candidates {
                queue.extend(candidate.dependencies().map(Dependency::source));
            }
            let id = Id::try_from(world.sources.len()).unwrap_or(Id::MAX);
            world.index.insert(name, id);
            world.sources.push(source);
        }
        if !requests.is_empty() {
            world.askers.push(Asker {
                package: None,
                dependencies: requests,
                need: None,
            });
        }
        world.worth_trying = worth_trying(&world);
        world
    }

    /// Those of some candidates that are worth trying.
    pub(crate) fn worth(&self, id: Id, choices: &Choices) -> Choices {
        let worth = usize::try_from(id).ok().and_then(|i| self.worth_trying.get(i));
        worth.map_or_else(|| choices.clone(), |worth| choices.intersection(worth))
    }

    pub(crate) fn id(&self, name: &str) -> Option<Id> {
        self.index.get(name).copied()
    }

    pub(crate) fn source(&self, id: Id) -> Option<&Source<'a>> {
        self.sources.get(usize::try_from(id).ok()?)
    }

    pub(crate) fn asker(&self, id: u32) -> Option<&Asker<'a>> {
        self.askers.get(usize::try_from(id).ok()?)
    }

    /// The name of a source, for messages and for order.
    pub(crate) fn name(&self, id: Id) -> &'a str {
        self.source(id).map_or("", |s| s.name)
    }

    /// What a dependency demands. `own` is the candidate that has it, where it is one.
    pub(crate) fn demand(
        &self,
        dependency: &'a Dependency,
        own: Option<(Id, u32)>,
        needs: &mut BTreeSet<Need>,
    ) -> Demand {
        let requirement = dependency.requirement();
        let Some(target) = self.id(dependency.source()) else {
            return Demand::None;
        };
        let Some(source) = self.source(target) else {
            return Demand::None;
        };
        if matches!(requirement, Requirement::Invalid(_)) {
            return Demand::None;
        }
        if source.is_fixed() {
            return match self.fit(source, dependency) {
                Fit::Yes(_) => Demand::None,
                Fit::Maybe(asked) => {
                    needs.extend(asked);
                    Demand::None
                }
                Fit::No | Fit::OtherKind(_) => Demand::Never(target),
            };
        }
        let choices = self.choices(target, source, dependency);
        if let Some((id, place)) = own
            && id == target
        {
            return match choices.has(place) {
                true => Demand::None,
                false => Demand::Never(target),
            };
        }
        match (choices.is_empty(), source.tags) {
            (true, Tags::Failed(_)) => Demand::None,
            (true, _) => Demand::Never(target),
            (false, _) => Demand::OneOf(target, self.worth(target, &choices)),
        }
    }

    /// The candidates of a source that satisfy a dependency.
    pub(crate) fn choices(&self, id: Id, source: &Source<'a>, dependency: &'a Dependency) -> Choices {
        self.set(id, source, dependency.text(), dependency.requirement())
    }

    /// The candidates of a source that satisfy a requirement, which has this text.
    pub(crate) fn set(
        &self,
        id: Id,
        source: &Source<'a>,
        text: &'a str,
        requirement: &Requirement,
    ) -> Choices {
        if let Some(known) = self.choices.borrow().get(&(id, text)) {
            return known.clone();
        }
        let choices = source.choices(requirement);
        self.choices.borrow_mut().insert((id, text), choices.clone());
        choices
    }

    /// Whether a fixed point is what a dependency asks for.
    pub(crate) fn fit<'w>(&'w self, source: &'w Source<'a>, dependency: &Dependency) -> Fit<'w, 'a> {
        let mut asked = Vec::new();
        let mut other = None;
        for fixed in &source.fixed {
            let kind = &fixed.package.name.kind;
            match self.fits(source, fixed, dependency.requirement()) {
                Ok(true) if dependency.kind().is_empty() || dependency.kind() == kind => {
                    return Fit::Yes(fixed);
                }
                Ok(true) => other = other.or(Some(fixed)),
                Ok(false) => {}
                Err(needs) => asked.extend(needs),
            }
        }
        match (asked.is_empty(), other) {
            (false, _) => Fit::Maybe(asked),
            (true, Some(other)) => Fit::OtherKind(other),
            (true, None) => Fit::No,
        }
    }

    fn fits(
        &self,
        source: &Source<'a>,
        fixed: &Fixed<'a>,
        requirement: &Requirement,
    ) -> Result<bool, Vec<Need>> {
        let package = fixed.package;
        let tags = || package.tag.iter().chain(&package.also_tagged);
        match requirement {
            Requirement::Invalid(_) => Ok(false),
            Requirement::Digest(digest) => Ok(self.digest_of(package)?.is_some_and(|d| d == *digest)),
            Requirement::Tag(tag) => {
                if tags().any(|t| **t == **tag) {
                    return Ok(true);
                }
                if package.digest.is_none() {
                    return Ok(false);
                }
                let meant = self.digest(source.name, tag)?;
                Ok(meant.is_some() && meant == package.digest.as_ref())
            }
            Requirement::Versions(constraint) => {
                if fixed.versions.iter().any(|v| constraint.matches(v)) {
                    return Ok(true);
                }
                if !fixed.floating {
                    return Ok(false);
                }
                // A digest or a moving tag: is it the content of a version that would do?
                let Some(digest) = self.digest_of(package)? else {
                    return Ok(false);
                };
                let Tags::Known(tags) = source.tags else {
                    return match source.tags {
                        Tags::Unknown => Err(vec![Need::Tags {
                            source: source.name.to_owned(),
                        }]),
                        _ => Ok(false),
                    };
                };
                let would_do = tags
                    .iter()
                    .rev()
                    .filter(|t| !t.partial && t.version.as_ref().is_some_and(|v| constraint.matches(v)));
                let mut asked = Vec::new();
                for tag in would_do.take(MAX_DIGEST_PROBES) {
                    match self.digest(source.name, &tag.text) {
                        Ok(Some(other)) if *other == digest => return Ok(true),
                        Ok(_) => {}
                        Err(needs) => asked.extend(needs),
                    }
                }
                match asked.is_empty() {
                    true => Ok(false),
                    false => Err(asked),
                }
            }
        }
    }

    fn digest_of(&self, package: &'a Package) -> Result<Option<Digest>, Vec<Need>> {
        match (&package.digest, &package.tag) {
            (Some(digest), _) => Ok(Some(digest.clone())),
            (None, Some(tag)) => Ok(self.digest(&package.source, tag)?.cloned()),
            (None, None) => Ok(None),
        }
    }

    /// The digest of a tag; `None` if there is none to be had.
    pub(crate) fn digest(&self, source: &str, tag: &str) -> Result<Option<&'a Digest>, Vec<Need>> {
        match self.catalogue.find(source).and_then(|r| r.digests.get(tag)) {
            None => Err(vec![Need::Digest {
                source: source.to_owned(),
                tag: tag.to_owned(),
            }]),
            Some(Answer::Known(digest)) => Ok(Some(digest)),
            Some(Answer::Failed(_) | Answer::Absent(_)) => Ok(None),
        }
    }
}

impl<'a> Asker<'a> {
    fn package(package: &'a Package, catalogue: &'a Catalogue) -> Self {
        let mut asker = Self {
            package: Some(package),
            dependencies: Vec::new(),
            need: None,
        };
        if package.skip_dependencies {
            return asker;
        }
        if let Some(dependencies) = &package.dependencies {
            asker.dependencies = sorted(dependencies);
            return asker;
        }
        match known(package, catalogue) {
            Ok(metadata) => asker.dependencies = metadata.map_or_else(Vec::new, |m| sorted(&m.dependencies)),
            Err(need) => asker.need = Some(need),
        }
        asker
    }
}

/// The content of a package that is there; `None` if it is not to be had.
fn known<'a>(package: &'a Package, catalogue: &'a Catalogue) -> Result<Option<&'a Metadata>, Need> {
    let source = || package.source.clone();
    let repository = catalogue.find(&package.source);
    let digest = match (&package.digest, &package.tag) {
        (Some(digest), _) => digest,
        (None, None) => return Ok(None),
        (None, Some(tag)) => match repository.and_then(|r| r.digests.get(tag)) {
            None => {
                return Err(Need::Digest {
                    source: source(),
                    tag: tag.clone(),
                });
            }
            Some(Answer::Known(digest)) => digest,
            Some(_) => return Ok(None),
        },
    };
    match repository.and_then(|r| r.packages.get(digest)) {
        None => Err(Need::Package {
            source: source(),
            digest: digest.clone(),
        }),
        Some(Answer::Known(metadata)) => Ok(Some(metadata)),
        Some(_) => Ok(None),
    }
}
