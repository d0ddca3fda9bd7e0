//! What is there, and what is wanted.

use oci::Digest;
use serde::Serialize;

use crate::limits::MAX_DECISIONS;
use crate::requirement::Dependency;

/// All that the solver starts from, besides what registries say. The order of the lists does not matter.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The packages that are installed, or that somebody created and that are about to be.
    pub packages: Vec<Package>,
    /// What is wanted besides: packages that a person names on a command line.
    pub requests: Vec<Request>,
}

/// A package object, by kind and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Name {
    /// `Provider`, `Configuration` or `Function`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
}

/// A package that is there.
#[derive(Clone, Debug, Default)]
pub struct Package {
    /// Its object.
    pub name: Name,
    /// The repository that it comes from, as it is written in `spec.package`.
    pub source: String,
    /// The tag in `spec.package`, if there is one.
    pub tag: Option<String>,
    /// The digest in `spec.package`, else the one that its tag was resolved to, if that is known.
    pub digest: Option<Digest>,
    /// Other tags that are known to have this digest.
    pub also_tagged: Vec<String>,
    /// What it depends on, if its revision has told already; else the registry is asked.
    pub dependencies: Option<Vec<Dependency>>,
    /// Its dependencies are none of our business. It serves others as any package does.
    pub skip_dependencies: bool,
    /// Whether another version may be put in its place.
    pub change: Change,
    /// It was created because something needed it, and not by a person.
    pub created: bool,
    /// The repository that is really asked, where that is another than `source`. Only used to find
    /// duplicates.
    pub effective: Option<String>,
}

/// Whether the version of a package that is there may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// No: it is a fixed point.
    #[default]
    Never,
    /// To a higher version only.
    Up,
    /// To any version.
    Any,
}

/// Something that a person wants.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is wanted. The kind may be left empty.
    pub dependency: Dependency,
}

/// How far the solver goes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many choices of a version are made for one part of the graph before it is given up.
    pub decisions: usize,
    /// Whether conflicts get suggestions how to resolve them. Each costs some more runs of the solver.
    pub remedies: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            decisions: MAX_DECISIONS,
            remedies: true,
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}
