//! One source (`registry/repository`) with all that could be chosen from it.

use std::collections::BTreeSet;

use oci::Digest;

use crate::catalogue::{Answer, Catalogue, Metadata, Repository, Tag};
use crate::choices::Choices;
use crate::facts::{Change, Package};
use crate::requirement::{Dependency, Requirement};
use crate::version::Version;

/// A node of the graph.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    /// The packages that are there and stay as they are. A source that has any is a fixed point.
    pub(crate) fixed: Vec<Fixed<'a>>,
    /// The package that is there and may get another version.
    pub(crate) movable: Option<&'a Package>,
    /// What can be chosen, least preferred first; empty for a fixed point.
    pub(crate) candidates: Vec<Candidate<'a>>,
    /// The place of what is installed.
    pub(crate) installed: Option<u32>,
    pub(crate) tags: Tags<'a>,
}

/// A package that stays as it is.
#[derive(Debug)]
pub(crate) struct Fixed<'a> {
    pub(crate) package: &'a Package,
    /// The versions that its tags name.
    pub(crate) versions: Vec<Version>,
    /// Its tag names no version or one with parts left out: other tags may name the same content.
    pub(crate) floating: bool,
}

/// What is known of a source's tags.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tags<'a> {
    Unknown,
    Known(&'a [Tag]),
    Failed(&'a str),
    Absent(&'a str),
}

#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    /// The tag or digest; empty for [`Content::Anything`].
    pub(crate) name: &'a str,
    pub(crate) version: Option<&'a Version>,
    /// Its version counts although parts are left out, since it is what is installed.
    lenient: Option<Version>,
    partial: bool,
    is_tag: bool,
    pub(crate) digest: Option<&'a Digest>,
    /// Versions of other tags with the same digest.
    aliases: Vec<Version>,
    pub(crate) content: Content<'a>,
}

/// What is known of a candidate's content.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    /// Stands for all tags of a source whose tags are not known yet.
    Anything,
    /// Its digest must be asked for.
    NoDigest,
    /// Its package must be asked for.
    NoPackage(&'a Digest),
    Failed(&'a str),
    Absent(&'a str),
    Known(&'a Metadata),
    /// It is installed, and its revision has said what it depends on.
    Given(Vec<&'a Dependency>),
}

impl<'a> Source<'a> {
    /// `packages` are those that are there, in order of their names; `pinned` the digests that anybody asks
    /// for.
    pub(crate) fn new(
        name: &'a str,
        packages: &[&'a Package],
        pinned: Option<&BTreeSet<&'a Digest>>,
        catalogue: &'a Catalogue,
    ) -> Self {
        let repository = catalogue.find(name);
        let tags = match repository.and_then(|r| r.tags.as_ref()) {
            None => Tags::Unknown,
            Some(Answer::Known(tags)) => Tags::Known(tags),
            Some(Answer::Failed(why)) => Tags::Failed(why),
            Some(Answer::Absent(why)) => Tags::Absent(why),
        };
        let mut source = Self {
            name,
            fixed: Vec::new(),
            movable: None,
            candidates: Vec::new(),
            installed: None,
            tags,
        };
        match packages {
            [] => {}
            [one] if one.change != Change::Never => source.movable = Some(one),
            // Of several packages from one source none is changed: which of them would it be?
            several => source.fixed = several.iter().map(|p| Fixed::new(p)).collect(),
        }
        if source.fixed.is_empty() {
            source.list(pinned, repository);
        }
        source
    }

    fn list(&mut self, pinned: Option<&BTreeSet<&'a Digest>>, repository: Option<&'a Repository>) {
        for digest in pinned.into_iter().flatten() {
            self.candidates.push(Candidate::digest(digest, repository));
        }
        let tags: &'a [Tag] = match self.tags {
            Tags::Known(tags) => tags,
            _ => &[],
        };
        if let Some(package) = self.movable {
            let there = match (&package.tag, &package.digest) {
                (Some(tag), _) if tags.iter().any(|t| *t.text == **tag) => None,
                (Some(tag), digest) => Some(Candidate {
                    digest: digest.as_ref(),
                    ..Candidate::tag(tag, None, false, repository)
                }),
                (None, Some(digest)) if pinned.is_some_and(|p| p.contains(digest)) => None,
                (None, Some(digest)) => Some(Candidate::digest(digest, repository)),
                (None, None) => None,
            };
            self.candidates.extend(there);
        }
        let pseudo = self.candidates.len();
        for tag in tags {
            self.candidates.push(Candidate::tag(
                &tag.text,
                tag.version.as_ref(),
                tag.partial,
                repository,
            ));
        }
        let (pseudo, tagged) = self.candidates.split_at_mut(pseudo);
        for one in pseudo {
            let same = tagged
                .iter()
                .filter(|t| t.digest.is_some() && t.digest == one.digest);
            one.aliases = same
                .filter(|t| !t.partial)
                .filter_map(|t| t.version.cloned())
                .collect();
        }
        if matches!(self.tags, Tags::Unknown) {
            self.candidates.push(Candidate::anything());
        }
        self.mark_installed(repository);
    }

    fn mark_installed(&mut self, repository: Option<&'a Repository>) {
        let Some(package) = self.movable else { return };
        let name = package
            .tag
            .as_deref()
            .or(package.digest.as_ref().map(Digest::as_str));
        let place = self
            .candidates
            .iter()
            .position(|c| Some(c.name) == name && c.is_tag == package.tag.is_some());
        let Some((place, candidate)) = place.and_then(|p| Some((p, self.candidates.get_mut(p)?))) else {
            return;
        };
        candidate.lenient = Version::parse(candidate.name).ok();
        if let (Content::NoDigest, Some(digest)) = (&candidate.content, &package.digest) {
            candidate.digest = Some(digest);
            candidate.content = content(digest, repository);
        }
        candidate
            .aliases
            .extend(package.also_tagged.iter().filter_map(|t| Version::parse(t).ok()));
        if let Some(dependencies) = &package.dependencies {
            candidate.content = Content::Given(sorted(dependencies));
        }
        if package.skip_dependencies {
            candidate.content = Content::Given(Vec::new());
        }
        self.installed = u32::try_from(place).ok();
    }

    pub(crate) const fn is_fixed(&self) -> bool {
        !self.fixed.is_empty()
    }

    /// How many candidates there are.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.candidates.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn candidate(&self, place: u32) -> Option<&Candidate<'a>> {
        self.candidates.get(usize::try_from(place).ok()?)
    }

    /// The candidates that satisfy a requirement.
    pub(crate) fn choices(&self, requirement: &Requirement) -> Choices {
        Choices::of(self.count(), |place| {
            self.candidate(place).is_some_and(|c| c.satisfies(requirement))
        })
    }

    /// The candidates that may take the place of what is installed.
    pub(crate) fn allowed(&self) -> Choices {
        let all = Choices::all(self.count());
        let (Some(package), Some(installed)) = (self.movable, self.installed) else {
            return all;
        };
        if package.change == Change::Any {
            return all;
        }
        let present = self.candidate(installed).and_then(Candidate::highest);
        Choices::of(self.count(), |place| {
            let Some(candidate) = self.candidate(place) else {
                return false;
            };
            place == installed
                || matches!(candidate.content, Content::Anything)
                || matches!((candidate.highest(), present), (Some(other), Some(present)) if other >= present)
        })
    }

    /// What is best of some candidates: what is installed, else the highest version. What is installed
    /// gives way to a pre-release only where no release will do: all who need it may accept one without
    /// anybody having asked for it.
    pub(crate) fn best(&self, choices: &Choices) -> Option<u32> {
        let installed = match self.installed {
            None => return choices.highest(self.count()),
            Some(place) if choices.has(place) => return Some(place),
            Some(place) => place,
        };
        let release = (0..self.count())
            .rev()
            .filter(|place| *place != installed && choices.has(*place));
        let is_release = |place: &u32| {
            let version = self.candidate(*place).and_then(|c| c.version);
            version.is_none_or(|v| !v.is_prerelease())
        };
        release
            .into_iter()
            .find(is_release)
            .or_else(|| choices.highest(self.count()))
    }
}

impl<'a> Fixed<'a> {
    fn new(package: &'a Package) -> Self {
        let tags = package.tag.iter().chain(&package.also_tagged);
        let versions: Vec<Version> = tags.filter_map(|tag| Version::parse(tag).ok()).collect();
        let full = |tag: &String| {
            Version::parse(tag).is_ok_and(|v| v.semver().to_string() == *tag.strip_prefix('v').unwrap_or(tag))
        };
        Self {
            package,
            floating: !package.tag.as_ref().is_some_and(full),
            versions,
        }
    }
}

impl<'a> Candidate<'a> {
    fn anything() -> Self {
        Self {
            name: "",
            version: None,
            lenient: None,
            partial: false,
            is_tag: true,
            digest: None,
            aliases: Vec::new(),
            content: Content::Anything,
        }
    }

    fn digest(digest: &'a Digest, repository: Option<&'a Repository>) -> Self {
        Self {
            name: digest.as_str(),
            is_tag: false,
            digest: Some(digest),
            content: content(digest, repository),
            ..Self::anything()
        }
    }

    fn tag(
        tag: &'a str,
        version: Option<&'a Version>,
        partial: bool,
        repository: Option<&'a Repository>,
    ) -> Self {
        let (digest, content) = match repository.and_then(|r| r.digests.get(tag)) {
            None => (None, Content::NoDigest),
            Some(Answer::Known(digest)) => (Some(digest), content(digest, repository)),
            Some(Answer::Failed(why)) => (None, Content::Failed(why)),
            Some(Answer::Absent(why)) => (None, Content::Absent(why)),
        };
        Self {
            name: tag,
            version,
            partial,
            digest,
            content,
            ..Self::anything()
        }
    }

    /// The highest version that it is known as.
    pub(crate) fn highest(&self) -> Option<&Version> {
        let own = self.version.or(self.lenient.as_ref());
        own.into_iter().chain(&self.aliases).max()
    }

    fn satisfies(&self, requirement: &Requirement) -> bool {
        match requirement {
            Requirement::Invalid(_) => false,
            Requirement::Digest(digest) => {
                self.digest == Some(digest) && (!self.is_tag || self.lenient.is_some())
            }
            Requirement::Tag(tag) => {
                matches!(self.content, Content::Anything) || (self.is_tag && *self.name == **tag)
            }
            Requirement::Versions(constraint) => {
                let own = self.version.filter(|_| !self.partial).or(self.lenient.as_ref());
                matches!(self.content, Content::Anything)
                    || own.is_some_and(|v| constraint.matches(v))
                    || self.aliases.iter().any(|v| constraint.matches(v))
            }
        }
    }

    /// What it depends on, as far as that is known.
    pub(crate) fn dependencies(&self) -> impl Iterator<Item = &'a Dependency> {
        let (known, given): (&'a [Dependency], &[&'a Dependency]) = match &self.content {
            Content::Known(metadata) => (&metadata.dependencies, &[]),
            Content::Given(dependencies) => (&[], dependencies),
            _ => (&[], &[]),
        };
        known.iter().chain(given.iter().copied())
    }
}

fn content<'a>(digest: &'a Digest, repository: Option<&'a Repository>) -> Content<'a> {
    match repository.and_then(|r| r.packages.get(digest)) {
        None => Content::NoPackage(digest),
        Some(Answer::Known(metadata)) => Content::Known(metadata),
        Some(Answer::Failed(why)) => Content::Failed(why),
        Some(Answer::Absent(why)) => Content::Absent(why),
    }
}

/// Dependencies in a fixed order.
pub(crate) fn sorted(dependencies: &[Dependency]) -> Vec<&Dependency> {
    let mut sorted: Vec<&Dependency> = dependencies.iter().collect();
    sorted.sort_by_key(|d| (d.source(), d.text(), d.kind()));
    sorted
}
