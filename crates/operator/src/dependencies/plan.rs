//! Which declared dependencies are there. Pure.

use api::condition::{ConditionType, Reason, Status};
use api::pkg::{DeclaredDependency, DependencyState, Package, PackageKind, Revision};
use oci::Reference;
use solve::{Constraint, Version};

use crate::conditions::Cond;

/// Missing dependencies named in a message; the rest is counted, as in the reference.
const NAMED: usize = 3;

/// A package that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    kind: PackageKind,
    source: String,
    version: String,
}

impl Installed {
    /// What a package is known by: the names that users write, not what they are rewritten to. `None` if its reference
    /// can't be read.
    #[must_use]
    pub fn of(kind: PackageKind, package: &Package) -> Option<Self> {
        let reference = Reference::parse(&package.spec.package).ok()?;
        let version = match (reference.tag(), reference.digest()) {
            (Some(tag), _) => tag.to_owned(),
            (None, Some(digest)) => digest.to_string(),
            (None, None) => return None,
        };
        Some(Self {
            kind,
            source: reference.source(),
            version,
        })
    }
}

/// What dependencies know a package by: its reference as written, without tag and digest.
#[must_use]
pub fn source(package: &str) -> Option<String> {
    Reference::parse(package).ok().map(|reference| reference.source())
}

/// What the status says of a revision's dependencies, without times.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// `DependenciesResolved`.
    pub condition: Cond,
    /// One entry per declared dependency.
    pub dependencies: Vec<DependencyState>,
    /// Declared; zero is absent, as in the reference.
    pub found: Option<i64>,
    /// Declared and there.
    pub installed: Option<i64>,
    /// There in a version that doesn't fit.
    pub invalid: Option<i64>,
}

/// `None` while the revision's declarations are not known yet.
#[must_use]
pub fn plan(revision: &Revision, packages: &[Installed]) -> Option<Outcome> {
    let status = revision.status.as_ref()?;
    let known = status.conditions.iter().any(|c| {
        [ConditionType::Preflighted, ConditionType::Established]
            .iter()
            .any(|t| t.as_str() == c.type_ && c.is_true())
    });
    if !known && status.declared_dependencies.is_empty() {
        return None;
    }
    let resolved = |status, reason| Cond::new(ConditionType::DependenciesResolved, status, reason);
    // Absent means yes (api.md 1.3).
    if revision.spec.skip_dependency_resolution != Some(false) || status.declared_dependencies.is_empty() {
        return Some(Outcome {
            condition: resolved(Status::True, Reason::NothingToResolve),
            dependencies: vec![],
            found: None,
            installed: None,
            invalid: None,
        });
    }
    let dependencies: Vec<DependencyState> = status
        .declared_dependencies
        .iter()
        .map(|d| state(d, packages))
        .collect();
    let count = |state: &str| dependencies.iter().filter(|d| d.state == state).count();
    let (missing, unfit) = (count(MISSING), count(UNFIT));
    let condition = match (missing, unfit) {
        (0, 0) => resolved(Status::True, Reason::AllDependenciesFound),
        (0, _) => resolved(Status::False, Reason::IncompatibleDependencies).message(format!(
            "incompatible dependencies: {}",
            why(&dependencies, UNFIT)
        )),
        (_, 0) => resolved(Status::False, Reason::MissingDependencies).message(missing_text(&dependencies)),
        (_, _) => resolved(Status::False, Reason::MissingDependencies).message(format!(
            "{}; incompatible dependencies: {}",
            missing_text(&dependencies),
            why(&dependencies, UNFIT)
        )),
    };
    let number = |n: usize| i64::try_from(n).ok().filter(|n| *n > 0);
    Some(Outcome {
        condition,
        found: number(dependencies.len()),
        installed: number(dependencies.len() - missing),
        invalid: number(unfit),
        dependencies,
    })
}

const MISSING: &str = "Missing";
const UNFIT: &str = "Incompatible";
const FOUND: &str = "Found";

fn state(declared: &DeclaredDependency, packages: &[Installed]) -> DependencyState {
    let found: Vec<&Installed> = packages
        .iter()
        .filter(|p| p.kind.kind() == declared.kind && p.source == declared.package)
        .collect();
    let base = DependencyState {
        package: declared.package.clone(),
        constraints: declared.constraints.clone(),
        ..DependencyState::default()
    };
    let fits = |installed: &Installed| {
        installed.version == declared.constraints
            || match (
                Constraint::parse(&declared.constraints),
                Version::parse(&installed.version),
            ) {
                (Ok(constraint), Ok(version)) => constraint.matches(&version),
                _ => false,
            }
    };
    match (found.iter().find(|p| fits(p)), found.first()) {
        (Some(fitting), _) => DependencyState {
            found: Some(fitting.version.clone()),
            state: FOUND.to_owned(),
            ..base
        },
        (None, Some(other)) => DependencyState {
            found: Some(other.version.clone()),
            state: UNFIT.to_owned(),
            why: Some(format!(
                "existing package {}@{} is incompatible with constraint {}",
                declared.package, other.version, declared.constraints
            )),
            ..base
        },
        (None, None) => DependencyState {
            state: MISSING.to_owned(),
            why: Some(format!(
                "no {} with package {} exists",
                declared.kind, declared.package
            )),
            ..base
        },
    }
}

fn why(dependencies: &[DependencyState], state: &str) -> String {
    let of_state = dependencies.iter().filter(|d| d.state == state);
    of_state
        .filter_map(|d| d.why.clone())
        .collect::<Vec<_>>()
        .join("; ")
}

/// The reference's list (api.md 3.3): sorted, at most three named.
fn missing_text(dependencies: &[DependencyState]) -> String {
    let mut missing: Vec<String> = dependencies
        .iter()
        .filter(|d| d.state == MISSING)
        .map(|d| match d.constraints.is_empty() {
            true => format!("{:?}", d.package),
            false => format!("{:?} ({})", d.package, d.constraints),
        })
        .collect();
    missing.sort();
    let list = match missing.as_slice() {
        [a, b, c] => format!("{a}, {b}, and {c}"),
        more if more.len() > NAMED => {
            format!("{}, and {} more", more[..NAMED].join(", "), more.len() - NAMED)
        }
        few => few.join(", "),
    };
    format!("missing dependencies: {list}")
}

#[cfg(test)]
mod tests {
    use api::condition::Condition;
    use api::pkg::{RevisionSpec, RevisionStatus};

    use super::*;

    fn revision(declared: &[(&str, &str)]) -> Revision {
        let declared = declared.iter().map(|(package, constraints)| DeclaredDependency {
            api_version: "pkg.crossplane.io/v1".into(),
            kind: "Provider".into(),
            package: (*package).into(),
            constraints: (*constraints).into(),
        });
        Revision {
            spec: RevisionSpec {
                skip_dependency_resolution: Some(false),
                ..Default::default()
            },
            status: Some(RevisionStatus {
                declared_dependencies: declared.collect(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn there(source: &str, version: &str) -> Installed {
        Installed {
            kind: PackageKind::Provider,
            source: source.into(),
            version: version.into(),
        }
    }

    #[test]
    fn missing_and_unfit_are_told_apart() {
        let r = revision(&[("x.io/a", ">=v1"), ("x.io/b", ">=v2"), ("x.io/c", "")]);
        let outcome = plan(&r, &[there("x.io/a", "v1.2.0"), there("x.io/b", "v1.0.0")]).unwrap();
        assert_eq!(
            (outcome.found, outcome.installed, outcome.invalid),
            (Some(3), Some(2), Some(1))
        );
        assert_eq!(
            outcome.condition.message,
            "missing dependencies: \"x.io/c\"; incompatible dependencies: existing package x.io/b@v1.0.0 is \
             incompatible with constraint >=v2"
        );
        let all = plan(&revision(&[("x.io/a", "*")]), &[there("x.io/a", "v1.0.0")]).unwrap();
        assert_eq!((all.condition.status, all.invalid), (Status::True, None));
    }

    #[test]
    fn many_missing_are_counted() {
        let names: Vec<String> = (1..=5).map(|n| format!("x.io/p{n}")).collect();
        let declared: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "*")).collect();
        let outcome = plan(&revision(&declared), &[]).unwrap();
        assert!(
            outcome
                .condition
                .message
                .ends_with(r#""x.io/p3" (*), and 2 more"#),
            "{}",
            outcome.condition.message
        );
        let three = plan(&revision(&declared[..3]), &[]).unwrap();
        assert!(
            three
                .condition
                .message
                .ends_with(r#""x.io/p2" (*), and "x.io/p3" (*)"#),
            "{}",
            three.condition.message
        );
    }

    #[test]
    fn nothing_is_said_before_the_content_is_known() {
        let mut r = revision(&[]);
        assert_eq!(plan(&r, &[]), None);
        let done = Condition::new(ConditionType::Preflighted, Status::True, Reason::ChecksPassed);
        r.status.as_mut().unwrap().conditions.push(done);
        assert_eq!(plan(&r, &[]).unwrap().condition.reason, Reason::NothingToResolve);
        let mut skipped = revision(&[("x.io/a", "*")]);
        skipped.spec.skip_dependency_resolution = None;
        assert_eq!(plan(&skipped, &[]).unwrap().found, None);
    }
}
