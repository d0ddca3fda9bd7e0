//! What the solver found out.

use oci::Digest;
use serde::Serialize;

use crate::catalogue::Need;
use crate::explanation::Explanation;
use crate::facts::Name;

/// What is to be installed, what can't be, and what must be asked to know more. All lists are sorted, and
/// nothing in them depends on the order in which facts were given.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Every package that is there or is to be, by source.
    pub picks: Vec<Pick>,
    /// What the person's requests came to, in their order of source and text.
    pub requested: Vec<Edge>,
    /// Every dependency that can't be met, with the reason.
    pub unmet: Vec<Explanation>,
    /// What must be asked before the picks that are not settled can be acted on.
    pub needs: Vec<Need>,
    /// What could be asked to make explanations better; nothing waits for it.
    pub hints: Vec<Need>,
    /// Packages that are there more than once.
    pub duplicates: Vec<Duplicate>,
    /// Packages that were created because something needed them, and that nothing needs any more.
    pub unneeded: Vec<Name>,
    /// Parts of the graph that were given up.
    pub gave_up: Vec<GaveUp>,
    /// How many choices of a version were made.
    pub decisions: usize,
    /// The sources whose version was chosen, in the order in which they were decided: each has the best
    /// version that goes with those before it.
    #[serde(skip)]
    pub order: Vec<String>,
}

/// A package that is there or is to be.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pick {
    /// The repository.
    pub source: String,
    /// Its object; absent if it is to be created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// `Provider`, `Configuration` or `Function`; absent while its content is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The tag, else the digest, that it has or is to have.
    pub version: String,
    /// The digest, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What is to be done.
    pub action: Action,
    /// The tag or digest that it has now, if that is to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Nothing that must still be asked can change this pick.
    pub settled: bool,
    /// What became of its dependencies.
    pub dependencies: Vec<Edge>,
    /// The sources of those that depend on it, each once.
    pub needed_by: Vec<String>,
    /// Places in [`Plan::unmet`]: of its own dependencies, and of those of packages that it needs.
    pub unmet: Vec<usize>,
}

/// What is to be done with a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Nothing.
    Keep,
    /// It is to be created.
    Install,
    /// It is to get another version.
    Change,
}

/// What became of one dependency.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// The repository that is wanted.
    pub source: String,
    /// The constraint, digest or tag, as it is written.
    pub constraint: String,
    /// How it stands.
    pub state: State,
    /// The version that is there or is to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The place in [`Plan::unmet`] of the reason why it can't be met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmet: Option<usize>,
}

/// How a dependency stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// What is there fits.
    Found,
    /// What is to be installed fits.
    Planned,
    /// Nothing is there, and nothing can be installed.
    Missing,
    /// What is there, or is to be, does not fit.
    Incompatible,
    /// What is there is a package of another kind.
    OtherKind,
    /// The dependency can't be read.
    Invalid,
    /// It can't be said now.
    Unknown,
}

impl State {
    /// Whether the dependency is met, or will be when the plan is carried out.
    pub const fn is_met(self) -> bool {
        matches!(self, Self::Found | Self::Planned)
    }
}

/// One package that is there several times.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Duplicate {
    /// The repository that is really asked.
    pub source: String,
    /// The objects.
    pub packages: Vec<Name>,
}

/// A part of the graph that was too hard.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GaveUp {
    /// The sources in it.
    pub sources: Vec<String>,
    /// How many choices of a version were made before.
    pub decisions: usize,
}
