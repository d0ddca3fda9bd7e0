//! Why a dependency can't be met, for a person and as data.

use std::fmt;

use serde::Serialize;

use crate::facts::Name;
use crate::limits::MAX_EXPLANATION_LINES;

/// Why one dependency can't be met, and what would help. Its text has at most [`MAX_EXPLANATION_LINES`]
/// lines.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Who has the dependency.
    pub by: Who,
    /// The repository that is wanted.
    pub source: String,
    /// The constraint, digest or tag, as it is written.
    pub constraint: String,
    /// What is in the way.
    pub why: Why,
    /// Others that need the same package, and what they ask for; the first few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub demands: Vec<Asks>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_demands: usize,
    /// Why `by` is there: from what a person installed down to who needs it. Empty if a person installed it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<Who>,
    /// Versions that the repository has, the highest few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_versions: usize,
    /// Changes each of which would resolve it, the smallest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remedies: Vec<Remedy>,
}

/// A package, or the person who asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Who {
    /// The repository; empty for the person.
    pub source: String,
    /// The tag or digest.
    pub version: String,
    /// Its object, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
}

/// One who asks for a package, and what for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Asks {
    /// Who.
    pub by: Who,
    /// What, as it is written.
    pub constraint: String,
}

/// What is in the way of a dependency.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Why {
    /// Others need another version.
    Disagreement {
        /// The version that they need.
        version: String,
    },
    /// The package is installed in another version, and may not be changed.
    Fixed {
        /// The objects with their versions.
        packages: Vec<Who>,
    },
    /// No tag of the repository is a version that would do.
    NoVersion,
    /// All versions that would do are unusable.
    Unusable {
        /// One of them.
        version: String,
        /// Why it can't be used.
        detail: String,
    },
    /// There is no such repository.
    NoRepository {
        /// What the registry said.
        detail: String,
    },
    /// Nothing can be learnt about it now; it is tried again.
    Unreachable {
        /// What went wrong.
        detail: String,
    },
    /// The dependency can't be read.
    Invalid {
        /// What is wrong, and where.
        detail: String,
    },
    /// The package is of another kind.
    OtherKind {
        /// The kind that is asked for.
        wanted: String,
        /// The kind that it is.
        is: String,
    },
    /// The package depends on another version of itself.
    Itself,
    /// The search was given up.
    GaveUp {
        /// How many choices of a version were made before.
        decisions: usize,
    },
    /// The graph has more packages than the limit.
    TooLarge {
        /// The limit.
        most: usize,
    },
}

/// A change that would resolve a conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "change")]
pub enum Remedy {
    /// A package has to accept a version that it does not accept now.
    Allow {
        /// The repository of the package whose dependency has to change; empty for what a person asked for.
        #[serde(rename = "in")]
        in_: String,
        /// The package that it has to accept.
        source: String,
        /// The version that it has to accept.
        version: String,
        /// What it accepts now.
        constraint: String,
    },
    /// A package that is fixed has to get another version.
    Set {
        /// The object.
        package: Name,
        /// Its repository.
        source: String,
        /// The tag or digest to set, if one is known that all agree with.
        version: Option<String>,
        /// What the version has to satisfy.
        constraint: String,
    },
    /// A package has to go.
    Remove {
        /// The object.
        package: Name,
    },
    /// A declaration has to be corrected.
    Correct {
        /// The repository of the package that has it; empty for what a person asked for.
        #[serde(rename = "in")]
        in_: String,
        /// The dependency.
        source: String,
    },
    /// A version has to be published.
    Publish {
        /// The repository.
        source: String,
        /// What the version has to satisfy.
        constraint: String,
    },
    /// The registry has to answer; nothing else needs to be done.
    Answer {
        /// The repository.
        source: String,
    },
    /// The solver's limit has to be raised.
    Raise {
        /// The limit that was reached.
        decisions: usize,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.source.is_empty(), self.version.is_empty()) {
            (true, _) => f.write_str("the request"),
            (false, true) => f.write_str(&self.source),
            (false, false) => write!(f, "{} {}", self.source, short(&self.version)),
        }
    }
}

/// A digest in as many digits as people compare.
pub(crate) fn short(version: &str) -> &str {
    match version.starts_with("sha256:") {
        true => version.get(.."sha256:".len() + 12).unwrap_or(version),
        false => version,
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl Explanation {
    /// The sentence that says it in one line.
    pub fn summary(&self) -> String {
        let Self {
            by,
            source,
            constraint,
            why,
            ..
        } = self;
        let needs = format!("{by} needs {source} {}", short(constraint));
        match why {
            Why::Disagreement { version } => {
                format!("{needs}, but others need another version: {}", short(version))
            }
            Why::Fixed { packages } => {
                let there: Vec<String> = packages
                    .iter()
                    .map(|p| match &p.name {
                        Some(name) => format!("{} as {name}", short(&p.version)),
                        None => short(&p.version).to_owned(),
                    })
                    .collect();
                format!(
                    "{needs}, but it is installed in {} and stays as it is",
                    there.join(" and ")
                )
            }
            Why::NoVersion => format!("{needs}, but the repository has no such version"),
            Why::Unusable { version, detail } => {
                format!(
                    "{needs}, but no such version can be used; {}: {detail}",
                    short(version)
                )
            }
            Why::NoRepository { detail } => format!("{needs}, but there is no such repository: {detail}"),
            Why::Unreachable { detail } => format!("{needs}, of which nothing can be learnt now: {detail}"),
            Why::Invalid { detail } => {
                format!("{by} has a dependency on {source} that can't be read: {detail}")
            }
            Why::OtherKind { wanted, is } => format!("{by} needs {wanted} {source}, but that is a {is}"),
            Why::Itself => format!("{needs}, which is the package itself in another version"),
            Why::GaveUp { decisions } => {
                format!("{needs}, but the solver gave up after {decisions} decisions")
            }
            Why::TooLarge { most } => {
                format!("{needs}, but the graph has more than the {most} packages that are looked at")
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{}.", self.summary())];
        for Asks { by, constraint } in &self.demands {
            lines.push(format!("  {by} needs {}", short(constraint)));
        }
        if self.more_demands > 0 {
            lines.push(format!("  and {} more need it", self.more_demands));
        }
        if let Some((first, rest)) = self.path.split_first() {
            let by = match self.by.source.is_empty() {
                true => "the request",
                false => &self.by.source,
            };
            let mut text = format!("{by} is needed by {}", self.path.last().unwrap_or(first));
            match rest.len() {
                0 => {}
                1 => text += &format!(", which is needed by {first}"),
                more => text += &format!(", which is needed by {first} through {} others", more - 1),
            }
            if let Some(name) = &first.name {
                text += &format!(" ({name})");
            }
            lines.push(format!("{text}."));
        }
        if !self.versions.is_empty() {
            let more = match self.more_versions {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            lines.push(format!(
                "Versions of {}: {}{more}.",
                self.source,
                self.versions.join(", ")
            ));
        }
        for (number, remedy) in self.remedies.iter().enumerate() {
            let start = if number == 0 { "To resolve it" } else { "Or" };
            lines.push(format!("{start}: {remedy}."));
        }
        lines.truncate(MAX_EXPLANATION_LINES);
        lines
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |in_: &str| match in_.is_empty() {
            true => "the request".to_owned(),
            false => in_.to_owned(),
        };
        match self {
            Self::Allow {
                in_,
                source,
                version,
                constraint,
            } => write!(
                f,
                "allow {source} {} in {}, which allows {}",
                short(version),
                place(in_),
                short(constraint)
            ),
            Self::Set {
                package,
                source,
                version: Some(version),
                ..
            } => {
                let mark = if version.starts_with("sha256:") { '@' } else { ':' };
                write!(f, "set spec.package of {package} to {source}{mark}{version}")
            }
            Self::Set {
                package, constraint, ..
            } => write!(
                f,
                "set spec.package of {package} to a version that satisfies {}",
                short(constraint)
            ),
            Self::Remove { package } => write!(f, "remove {package}"),
            Self::Correct { in_, source } => {
                write!(f, "correct the dependency on {source} in {}", place(in_))
            }
            Self::Publish { source, constraint } => {
                write!(
                    f,
                    "publish a version of {source} that satisfies {}",
                    short(constraint)
                )
            }
            Self::Answer { source } => {
                write!(
                    f,
                    "see to it that the registry answers for {source}; it is asked again by itself"
                )
            }
            Self::Raise { decisions } => write!(f, "raise the limit of {decisions} decisions"),
        }
    }
}
