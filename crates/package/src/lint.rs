//! Advice to authors: what is allowed, but will not do what it seems to.

use oci::{Digest, Reference};
use solve::Constraint;

use crate::parse::Parsed;
use crate::text::{object, shorten};
use crate::warning::{Warning, WarningKind};

/// Findings about a package's metadata that reading it does not report.
pub fn advise(parsed: &Parsed) -> Vec<Warning> {
    let meta = &parsed.meta;
    let mut findings = Vec::new();
    let mut warn = |kind, message| {
        let (document, object) = (meta.document, object(meta.kind.kind(), &meta.name));
        findings.push(Warning {
            document,
            object,
            kind,
            message,
        });
    };
    for (index, dependency) in meta.depends_on.iter().enumerate() {
        let version = &dependency.constraints;
        if Digest::parse(version).is_err()
            && let Err(error) = Constraint::parse(version)
        {
            let message = format!(
                "spec.dependsOn[{index}].version is neither a version constraint nor a digest ({error}): \
                 the dependency can't be resolved"
            );
            warn(WarningKind::Dependency, message);
        }
        let package = &dependency.package;
        match Reference::parse(package) {
            Ok(reference) if reference.tag().is_none() && reference.digest().is_none() => {}
            Ok(_) => {
                let problem = "must not have a tag or digest; write that as its version";
                let message = format!(
                    "spec.dependsOn[{index}]: package {:?} {problem}",
                    shorten(package)
                );
                warn(WarningKind::Dependency, message);
            }
            Err(_) => {
                let problem = "is no image name with a registry, such as registry.example.org/team/name";
                let message = format!(
                    "spec.dependsOn[{index}]: package {:?} {problem}",
                    shorten(package)
                );
                warn(WarningKind::Dependency, message);
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Options, parse};
    use crate::sink::Discard;

    #[test]
    fn dependencies_that_can_not_be_resolved_are_named() {
        let advice = |package: &str, version: &str| {
            let text = format!(
                "apiVersion: meta.pkg.crossplane.io/v1\nkind: Configuration\nmetadata: {{name: demo}}\n\
                 spec:\n  dependsOn: [{{provider: '{package}', version: '{version}'}}]\n"
            );
            let parsed = parse(text.as_bytes(), &mut Discard, &Options::default()).unwrap();
            advise(&parsed)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let digest = format!("sha256:{}", "0".repeat(64));
        for version in [">=v1.0.0", "v1", &digest] {
            assert_eq!(
                advice("registry.example.org/team/name", version),
                Vec::<String>::new()
            );
        }
        for (package, version, part) in [
            (
                "registry.example.org/team/name",
                "latest",
                "neither a version constraint nor a digest",
            ),
            (
                "registry.example.org/team/name",
                "",
                "neither a version constraint nor a digest",
            ),
            (
                "registry.example.org/team/name:v1",
                "v1",
                "must not have a tag or digest",
            ),
            ("name", "v1", "is no image name with a registry"),
        ] {
            let found = advice(package, version);
            assert!(
                found.len() == 1 && found[0].contains(part),
                "{package} {version}: {found:?}"
            );
        }
    }
}
