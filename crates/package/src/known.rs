//! The types that a package may contain, and what each package kind makes of them.

use api::pkg::PackageKind;

/// API group of package metadata.
pub const META_GROUP: &str = "meta.pkg.crossplane.io";

/// What a type known to the format is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The metadata of a package.
    Meta(PackageKind),
    /// An object.
    Object,
}

/// What becomes of an object in a package of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is applied.
    Established,
    /// It is there for readers of the package and never applied: CRDs of function inputs.
    SchemaOnly,
    /// It would be applied, but no supported API server serves its version.
    NotServed,
    /// It is not applied, with a warning.
    NotAllowed,
}

const APIEXTENSIONS: &str = "apiextensions.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const CROSSPLANE: &str = "apiextensions.crossplane.io";
const OPS: &str = "ops.crossplane.io";

const CRD: &str = "CustomResourceDefinition";
const MRD: &str = "ManagedResourceDefinition";
const MRAP: &str = "ManagedResourceActivationPolicy";
const XRD: &str = "CompositeResourceDefinition";
const MUTATING: &str = "MutatingWebhookConfiguration";
const VALIDATING: &str = "ValidatingWebhookConfiguration";

/// Group, version, kinds; each kind also exists as a list (spec: API reference 2.6, format 2.2).
const OBJECTS: &[(&str, &str, &[&str])] = &[
    (APIEXTENSIONS, "v1", &[CRD]),
    (APIEXTENSIONS, "v1beta1", &[CRD]),
    (
        ADMISSION,
        "v1",
        &[
            MUTATING,
            VALIDATING,
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
        ],
    ),
    (CROSSPLANE, "v1", &[XRD, "Composition", "CompositionRevision"]),
    (CROSSPLANE, "v2", &[XRD]),
    (CROSSPLANE, "v1alpha1", &[MRD, MRAP, "Usage"]),
    (OPS, "v1alpha1", &["Operation", "CronOperation", "WatchOperation"]),
];

/// Metadata: kind and versions (spec: API reference 2.1). Other combinations are unknown.
const METAS: &[(PackageKind, &[&str])] = &[
    (PackageKind::Provider, &["v1", "v1alpha1"]),
    (PackageKind::Configuration, &["v1", "v1alpha1"]),
    (PackageKind::Function, &["v1", "v1beta1"]),
];

/// What is established per package kind: group and kind, the version does not matter (spec: API reference
/// 2.6).
const ESTABLISHED: &[(PackageKind, &[(&str, &str)])] = &[
    (
        PackageKind::Provider,
        &[
            (APIEXTENSIONS, CRD),
            (CROSSPLANE, MRD),
            (ADMISSION, VALIDATING),
            (ADMISSION, MUTATING),
        ],
    ),
    (
        PackageKind::Configuration,
        &[
            (CROSSPLANE, XRD),
            (CROSSPLANE, "Composition"),
            (CROSSPLANE, MRAP),
            (OPS, "Operation"),
            (OPS, "CronOperation"),
            (OPS, "WatchOperation"),
        ],
    ),
    (PackageKind::Function, &[]),
];

/// Looks a type up; `None` if the format doesn't know it, which fails the package.
pub fn lookup(group: &str, version: &str, kind: &str) -> Option<Known> {
    if group == META_GROUP {
        let package = PackageKind::from_kind(kind)?;
        let (_, versions) = METAS.iter().find(|(known, _)| *known == package)?;
        return versions.contains(&version).then_some(Known::Meta(package));
    }
    let (_, _, kinds) = OBJECTS.iter().find(|(g, v, _)| *g == group && *v == version)?;
    let single = kind.strip_suffix("List").filter(|single| kinds.contains(single));
    (kinds.contains(&kind) || single.is_some()).then_some(Known::Object)
}

/// What becomes of a known object in a package of kind `package`.
pub fn fate(package: PackageKind, group: &str, version: &str, kind: &str) -> Fate {
    let is_crd = (group, kind) == (APIEXTENSIONS, CRD);
    if package == PackageKind::Function && is_crd {
        return Fate::SchemaOnly;
    }
    let established = ESTABLISHED
        .iter()
        .find(|(known, _)| *known == package)
        .is_some_and(|(_, kinds)| kinds.contains(&(group, kind)));
    match established {
        true if is_crd && version == "v1beta1" => Fate::NotServed,
        true => Fate::Established,
        false => Fate::NotAllowed,
    }
}

/// The kinds that a package of kind `package` may carry, for messages.
pub fn allowed(package: PackageKind) -> Vec<&'static str> {
    if package == PackageKind::Function {
        return vec![CRD];
    }
    let kinds = ESTABLISHED.iter().find(|(known, _)| *known == package);
    kinds.map_or_else(Vec::new, |(_, kinds)| {
        kinds.iter().map(|(_, kind)| *kind).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURATION: &str = "Configuration";
    const PROVIDER: &str = "Provider";
    const FUNCTION: &str = "Function";

    #[test]
    fn metadata_versions() {
        for (version, kind, known) in [
            ("v1", PROVIDER, true),
            ("v1alpha1", PROVIDER, true),
            ("v1beta1", PROVIDER, false),
            ("v1", CONFIGURATION, true),
            ("v1alpha1", CONFIGURATION, true),
            ("v1beta1", CONFIGURATION, false),
            ("v1", FUNCTION, true),
            ("v1beta1", FUNCTION, true),
            ("v1alpha1", FUNCTION, false),
            ("v2", PROVIDER, false),
            ("v1", "Project", false),
        ] {
            let expected = known.then(|| Known::Meta(PackageKind::from_kind(kind).unwrap()));
            assert_eq!(lookup(META_GROUP, version, kind), expected, "{version} {kind}");
        }
    }

    #[test]
    fn objects_and_their_fate() {
        use Fate::{Established as E, NotAllowed as N, NotServed as O, SchemaOnly as S};
        // group, version, kind, fate in Provider, Configuration, Function
        for (group, version, kind, fates) in [
            (APIEXTENSIONS, "v1", CRD, [E, N, S]),
            (APIEXTENSIONS, "v1beta1", CRD, [O, N, S]),
            (APIEXTENSIONS, "v1", "CustomResourceDefinitionList", [N, N, N]),
            (ADMISSION, "v1", MUTATING, [E, N, N]),
            (ADMISSION, "v1", VALIDATING, [E, N, N]),
            (ADMISSION, "v1", "ValidatingAdmissionPolicy", [N, N, N]),
            (CROSSPLANE, "v1alpha1", MRD, [E, N, N]),
            (CROSSPLANE, "v1alpha1", MRAP, [N, E, N]),
            (CROSSPLANE, "v1alpha1", "Usage", [N, N, N]),
            (CROSSPLANE, "v1", XRD, [N, E, N]),
            (CROSSPLANE, "v2", XRD, [N, E, N]),
            (CROSSPLANE, "v1", "Composition", [N, E, N]),
            (CROSSPLANE, "v1", "CompositionList", [N, N, N]),
            (CROSSPLANE, "v1", "CompositionRevision", [N, N, N]),
            (OPS, "v1alpha1", "Operation", [N, E, N]),
            (OPS, "v1alpha1", "CronOperation", [N, E, N]),
            (OPS, "v1alpha1", "WatchOperation", [N, E, N]),
        ] {
            assert_eq!(
                lookup(group, version, kind),
                Some(Known::Object),
                "{group}/{version} {kind}"
            );
            for (package, fate) in PackageKind::ALL.into_iter().zip(fates) {
                assert_eq!(
                    super::fate(package, group, version, kind),
                    fate,
                    "{package}: {group}/{version} {kind}"
                );
            }
        }
    }

    #[test]
    fn everything_else_is_unknown() {
        for (group, version, kind) in [
            (CROSSPLANE, "v1beta1", "EnvironmentConfig"),
            (CROSSPLANE, "v1alpha1", "EnvironmentConfig"),
            (CROSSPLANE, "v2", "Composition"),
            ("protection.crossplane.io", "v1beta1", "ClusterUsage"),
            ("pkg.crossplane.io", "v1", PROVIDER),
            ("", "v1", "ConfigMap"),
            ("apps", "v1", "Deployment"),
            (APIEXTENSIONS, "v2", CRD),
            (APIEXTENSIONS, "v1", "List"),
            ("", "v1", "List"),
        ] {
            assert_eq!(lookup(group, version, kind), None, "{group}/{version} {kind}");
        }
    }
}
