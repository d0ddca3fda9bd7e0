//! The kinds of objects that packages carry, and where the API server keeps them (api.md 2.6).

use api::managed_resource;
use kit::resource::Resource;

/// One kind of object that a package may carry, known by group and kind; the version is the object's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarriedKind {
    /// The resource, in the version that is watched.
    pub resource: Resource,
    /// The API server always has it; the others come with a CRD of somebody else.
    pub built_in: bool,
}

const fn kind(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
) -> CarriedKind {
    CarriedKind {
        resource: Resource::new(group, version, plural, kind),
        built_in: false,
    }
}

const fn built_in(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
) -> CarriedKind {
    CarriedKind {
        resource: Resource::new(group, version, plural, kind),
        built_in: true,
    }
}

/// Group of composite resource definitions and their like.
pub const APIEXTENSIONS_CROSSPLANE: &str = "apiextensions.crossplane.io";

/// Where CRDs stand in [`ALL`].
pub const CRD: usize = 0;

/// Where definitions of managed resources stand in [`ALL`].
pub const DEFINITION: usize = 1;

/// All kinds, in the order in which they are established: definitions before what refers to them.
pub static ALL: [CarriedKind; 10] = [
    built_in(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
    ),
    kind(
        APIEXTENSIONS_CROSSPLANE,
        "v1alpha1",
        managed_resource::PLURAL,
        managed_resource::KIND,
    ),
    kind(
        APIEXTENSIONS_CROSSPLANE,
        "v1",
        "compositeresourcedefinitions",
        "CompositeResourceDefinition",
    ),
    kind(APIEXTENSIONS_CROSSPLANE, "v1", "compositions", "Composition"),
    kind(
        APIEXTENSIONS_CROSSPLANE,
        "v1alpha1",
        "managedresourceactivationpolicies",
        "ManagedResourceActivationPolicy",
    ),
    kind("ops.crossplane.io", "v1alpha1", "operations", "Operation"),
    kind("ops.crossplane.io", "v1alpha1", "cronoperations", "CronOperation"),
    kind(
        "ops.crossplane.io",
        "v1alpha1",
        "watchoperations",
        "WatchOperation",
    ),
    built_in(
        "admissionregistration.k8s.io",
        "v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
    ),
    built_in(
        "admissionregistration.k8s.io",
        "v1",
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
    ),
];

/// The place of a kind in [`ALL`].
#[must_use]
pub fn find(group: &str, kind: &str) -> Option<usize> {
    ALL.iter()
        .position(|k| k.resource.group == group && k.resource.kind == kind)
}

/// The resource in another version than the watched one.
#[must_use]
pub fn in_version(index: usize, version: &str) -> Option<Resource> {
    let resource = &ALL.get(index)?.resource;
    Some(Resource {
        version: version.to_owned().into(),
        ..resource.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_stands_once_and_definitions_come_first() {
        for (place, k) in ALL.iter().enumerate() {
            assert_eq!(find(&k.resource.group, &k.resource.kind), Some(place));
        }
        assert_eq!(ALL[CRD].resource.kind, "CustomResourceDefinition");
        assert_eq!(find("apps", "Deployment"), None);
        let xrd = find(APIEXTENSIONS_CROSSPLANE, "CompositeResourceDefinition").unwrap();
        assert_eq!(
            in_version(xrd, "v2").unwrap().api_version(),
            "apiextensions.crossplane.io/v2"
        );
    }
}
