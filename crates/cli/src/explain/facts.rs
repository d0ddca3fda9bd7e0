//! What is known of one package when it is explained.

use api::condition::{Condition, ConditionType, Conditions};
use api::pkg::{Package, PackageKind, PackageStatus, Revision, View};
use jiff::Timestamp;

/// Who manages packages in this cluster, as its Leases say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    /// One leads.
    Leads { lease: String, holder: String },
    /// The Lease is there, but nobody keeps it.
    Gone { lease: String, since: Option<Timestamp> },
    /// There is no such Lease.
    Never { lease: String },
    /// It can't be told, for example because Leases may not be read.
    Unknown { why: String },
}

/// An event about the package or one of its revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) warning: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// When it was told last.
    pub(crate) last: Option<Timestamp>,
}

/// Everything that an explanation depends on.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) kind: PackageKind,
    pub(crate) package: Package,
    /// Its revisions, lowest number first; or why they are not known.
    pub(crate) revisions: Result<Vec<Revision>, String>,
    pub(crate) operator: Operator,
    /// Lease of a package manager of the reference that is alive.
    pub(crate) reference: Option<String>,
}

impl Facts {
    pub(crate) fn name(&self) -> &str {
        self.package.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn status(&self) -> Option<&PackageStatus> {
        self.package.status.as_ref()
    }

    pub(crate) fn condition(&self, type_: ConditionType) -> Option<&Condition> {
        self.status()?.conditions.get(type_)
    }

    fn views(&self) -> impl Iterator<Item = View<'_>> {
        self.revisions.iter().flatten().map(View)
    }

    fn find(&self, name: &str) -> Option<View<'_>> {
        self.views().find(|r| r.name() == name)
    }

    /// The revision that `spec.package` stands for.
    pub(crate) fn wanted(&self) -> Option<View<'_>> {
        self.find(self.status()?.current_revision.as_deref()?)
    }

    /// The revision that serves. The reference keeps no record of it: the active one counts then.
    pub(crate) fn serving(&self) -> Option<View<'_>> {
        serving(&self.package, self.revisions.as_deref().unwrap_or_default())
    }

    /// The spec changed after the status was written.
    pub(crate) fn is_stale(&self) -> bool {
        is_stale(&self.package)
    }

    /// Whether what is wanted works.
    pub(crate) fn is_ready(&self) -> bool {
        is_ready(&self.package)
    }
}

/// The package's spec changed after its status was written.
pub(crate) fn is_stale(package: &Package) -> bool {
    let seen = package.status.as_ref().and_then(|s| s.observed_generation);
    seen.is_some() && seen < package.metadata.generation
}

/// Whether what the package wants works, by `Ready` or, where only the reference looked at it, by what that
/// writes.
pub(crate) fn is_ready(package: &Package) -> bool {
    let Some(status) = &package.status else {
        return false;
    };
    let asked = status.current_identifier.as_deref();
    let answered = asked.is_none_or(|asked| asked == package.spec.package);
    answered
        && !is_stale(package)
        && match status.conditions.get(ConditionType::Ready) {
            Some(ready) => ready.is_true(),
            None => {
                status.conditions.is_true(ConditionType::Installed)
                    && status.conditions.is_true(ConditionType::Healthy)
            }
        }
}

/// The one of these revisions that serves the package.
pub(crate) fn serving<'a>(package: &'a Package, revisions: &'a [Revision]) -> Option<View<'a>> {
    let recorded = package
        .status
        .as_ref()
        .and_then(|s| s.serving_revision.as_deref());
    let all = || revisions.iter().map(View).filter(|r| !r.is_deleting());
    match recorded {
        Some(name) => all().find(|r| r.name() == name),
        None => all().filter(|r| r.is_active()).max_by_key(|r| r.number()),
    }
}

/// What a revision is called in sentences: its number and its version.
pub(crate) fn called(revision: View<'_>) -> String {
    let version = version(&revision.0.spec.image).or_else(|| revision.digest().map(|d| short(d.hex())));
    match version {
        Some(version) => format!("revision {} ({version})", revision.number()),
        None => format!("revision {}", revision.number()),
    }
}

/// The tag of a reference, else the first digits of its digest.
pub(crate) fn version(reference: &str) -> Option<String> {
    let reference = oci::Reference::parse(reference).ok()?;
    match (reference.tag(), reference.digest()) {
        (Some(tag), _) => Some(tag.to_owned()),
        (None, Some(digest)) => Some(short(digest.hex())),
        (None, None) => None,
    }
}

/// Digits of a digest that people compare.
const SHORT_DIGITS: usize = 12;

/// The first digits of a digest.
pub(crate) fn short(hex: &str) -> String {
    hex.chars().take(SHORT_DIGITS).collect()
}
