//! What is known of registries.

use std::sync::Arc;

use oci::Digest;
use serde::Serialize;

use crate::map::Map;
use crate::requirement::Dependency;
use crate::version::Version;

/// A question that somebody must put to a registry before the solver can go on. All questions of one plan
/// may be asked at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase", tag = "ask")]
pub enum Need {
    /// Which tags does the repository have?
    Tags {
        /// The repository, as packages name it.
        source: String,
    },
    /// Which digest does the tag have?
    Digest {
        /// The repository, as packages name it.
        source: String,
        /// The tag.
        tag: String,
    },
    /// What is the package, and what does it depend on?
    Package {
        /// The repository, as packages name it.
        source: String,
        /// The content's digest.
        digest: Digest,
    },
}

/// What came of a question.
#[derive(Clone, Debug)]
pub enum Answer<T> {
    /// The answer.
    Known(T),
    /// There is none now, and trying again may help. The sentence says why.
    Failed(String),
    /// There is none, and trying again will not help: no such tag, no package. The sentence says why.
    Absent(String),
}

/// What the solver must know of a package's content.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// `Provider`, `Configuration` or `Function`.
    pub kind: String,
    /// What it depends on, in any order.
    pub dependencies: Vec<Dependency>,
}

/// Answers of registries. Nothing in it is ever asked for twice; whoever keeps it decides how long an
/// answer is good.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    repositories: Map<String, Repository>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Repository {
    pub(crate) tags: Option<Answer<Arc<[Tag]>>>,
    pub(crate) digests: Map<String, Answer<Digest>>,
    pub(crate) packages: Map<Digest, Answer<Arc<Metadata>>>,
}

/// A tag, read once.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    pub(crate) text: Box<str>,
    pub(crate) version: Option<Version>,
    /// A version with parts left out, such as `v1`: it moves, so nobody is given it who did not ask for it
    /// by name.
    pub(crate) partial: bool,
}

impl Catalogue {
    /// Knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The answer to [`Need::Tags`]; the order of the tags does not matter.
    pub fn set_tags(&mut self, source: &str, answer: Answer<Vec<String>>) {
        let answer = match answer {
            Answer::Known(tags) => Answer::Known(read(tags)),
            Answer::Failed(why) => Answer::Failed(why),
            Answer::Absent(why) => Answer::Absent(why),
        };
        self.repository(source).tags = Some(answer);
    }

    /// The answer to [`Need::Digest`].
    pub fn set_digest(&mut self, source: &str, tag: &str, answer: Answer<Digest>) {
        self.repository(source).digests.insert(tag.to_owned(), answer);
    }

    /// The answer to [`Need::Package`].
    pub fn set_package(&mut self, source: &str, digest: &Digest, answer: Answer<Metadata>) {
        let answer = match answer {
            Answer::Known(mut metadata) => {
                // A fixed order, so that nothing depends on the one in which a package lists them.
                metadata
                    .dependencies
                    .sort_by(|a, b| (a.source(), a.text(), a.kind()).cmp(&(b.source(), b.text(), b.kind())));
                Answer::Known(Arc::new(metadata))
            }
            Answer::Failed(why) => Answer::Failed(why),
            Answer::Absent(why) => Answer::Absent(why),
        };
        self.repository(source).packages.insert(digest.clone(), answer);
    }

    /// Whether there is an answer, be it a failure.
    pub fn has(&self, need: &Need) -> bool {
        match need {
            Need::Tags { source } => self.find(source).is_some_and(|r| r.tags.is_some()),
            Need::Digest { source, tag } => self.find(source).is_some_and(|r| r.digests.contains_key(tag)),
            Need::Package { source, digest } => {
                self.find(source).is_some_and(|r| r.packages.contains_key(digest))
            }
        }
    }

    /// Forgets an answer, so that it is asked for again where it is needed.
    pub fn forget(&mut self, need: &Need) {
        match need {
            Need::Tags { source } => self.repository(source).tags = None,
            Need::Digest { source, tag } => drop(self.repository(source).digests.remove(tag)),
            Need::Package { source, digest } => drop(self.repository(source).packages.remove(digest)),
        }
    }

    pub(crate) fn find(&self, source: &str) -> Option<&Repository> {
        self.repositories.get(source)
    }

    /// All declarations in all packages that are known, in no particular order.
    pub(crate) fn dependencies(&self) -> impl Iterator<Item = &Dependency> {
        let packages = self.repositories.values().flat_map(|r| r.packages.values());
        packages.flat_map(|answer| match answer {
            Answer::Known(metadata) => metadata.dependencies.as_slice(),
            Answer::Failed(_) | Answer::Absent(_) => &[],
        })
    }

    fn repository(&mut self, source: &str) -> &mut Repository {
        self.repositories.entry(source.to_owned()).or_default()
    }
}

/// Tags in order of preference, least first: what is no version, then versions upwards. Of tags that are
/// the same version in two spellings, the one with `v` is preferred.
fn read(tags: Vec<String>) -> Arc<[Tag]> {
    let mut read: Vec<Tag> = tags
        .into_iter()
        .map(|text| {
            let version = Version::parse(&text).ok();
            let partial = version
                .as_ref()
                .is_some_and(|v| v.semver().to_string() != text.strip_prefix('v').unwrap_or(&text));
            Tag {
                text: text.into(),
                version,
                partial,
            }
        })
        .collect();
    read.sort_by(|a, b| (&a.version, &a.text).cmp(&(&b.version, &b.text)));
    read.dedup_by(|a, b| a.text == b.text);
    read.into()
}
