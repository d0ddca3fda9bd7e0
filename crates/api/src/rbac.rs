//! What the operator may do in a cluster, as data: `deploy/rbac.yaml` and the chart are generated from it.
//!
//! Each rule says which step needs it. Nothing here may delete what a package carries, or read a Secret
//! outside the operator's own namespace.

/// One rule of a ClusterRole or Role.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Step that needs it.
    pub why: &'static str,
    /// Name of the scenario that fails without it: the end-to-end tests take away each rule in turn and run it.
    pub scenario: &'static str,
    /// API groups; the core group is `""`.
    pub groups: &'static [&'static str],
    /// Resources, with subresources after a slash.
    pub resources: &'static [&'static str],
    /// Names that it is limited to; none means all.
    pub names: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
}

/// What a cache asks for.
const FOLLOW: &[&str] = &["list", "watch"];
/// `get` is for an object that changed between the look at the cache and the write.
const ESTABLISH: &[&str] = &["get", "list", "watch", "create", "patch"];
const STATUS: &[&str] = &["patch"];
const PKG: &[&str] = &[crate::GROUP];

/// Rights in the whole cluster.
pub const CLUSTER: &[Rule] = &[
    Rule {
        why: "manager: follow packages; take off finalizers that a former package manager left",
        scenario: "provider",
        groups: PKG,
        resources: &["providers", "configurations", "functions"],
        names: &[],
        verbs: &["list", "watch", "patch"],
    },
    Rule {
        why: "start: make the packages that flags name",
        scenario: "preinstall",
        groups: PKG,
        resources: &["providers", "configurations", "functions"],
        names: &[],
        verbs: &["create"],
    },
    Rule {
        why: "manager: say what became of a package",
        scenario: "provider",
        groups: PKG,
        resources: &["providers/status", "configurations/status", "functions/status"],
        names: &[],
        verbs: STATUS,
    },
    Rule {
        why: "manager: make, activate and collect revisions; revision: labels from the package's metadata",
        scenario: "provider",
        groups: PKG,
        resources: &["providerrevisions", "configurationrevisions", "functionrevisions"],
        names: &[],
        verbs: &["list", "watch", "create", "patch", "delete"],
    },
    Rule {
        why: "revision, dependencies: say what became of a revision",
        scenario: "provider",
        groups: PKG,
        resources: &[
            "providerrevisions/status",
            "configurationrevisions/status",
            "functionrevisions/status",
        ],
        names: &[],
        verbs: STATUS,
    },
    Rule {
        why: "manager, revision: owner references that block deletion, where admission asks for this right",
        scenario: "provider",
        groups: PKG,
        resources: &[
            "providers/finalizers",
            "configurations/finalizers",
            "functions/finalizers",
            "providerrevisions/finalizers",
            "configurationrevisions/finalizers",
            "functionrevisions/finalizers",
        ],
        names: &[],
        verbs: &["update"],
    },
    Rule {
        why: "manager, revision: rewriting and credentials",
        scenario: "provider",
        groups: PKG,
        resources: &["imageconfigs"],
        names: &[],
        verbs: FOLLOW,
    },
    Rule {
        why: "runtime: how programs are deployed",
        scenario: "runtime",
        groups: PKG,
        resources: &["deploymentruntimeconfigs"],
        names: &[],
        verbs: FOLLOW,
    },
    Rule {
        why: "start: our own CRDs and the claim on the cluster; revision: CRDs of providers",
        scenario: "start",
        groups: &["apiextensions.k8s.io"],
        resources: &["customresourcedefinitions"],
        names: &[],
        verbs: ESTABLISH,
    },
    Rule {
        why: "revision: what configurations and providers carry, where the cluster serves it",
        scenario: "configuration",
        groups: &["apiextensions.crossplane.io"],
        resources: &[
            "compositeresourcedefinitions",
            "compositions",
            "managedresourceactivationpolicies",
            "managedresourcedefinitions",
        ],
        names: &[],
        verbs: ESTABLISH,
    },
    Rule {
        why: "revision: what configurations carry, where the cluster serves it",
        scenario: "operations",
        groups: &["ops.crossplane.io"],
        resources: &["operations", "cronoperations", "watchoperations"],
        names: &[],
        verbs: ESTABLISH,
    },
    Rule {
        why: "revision: webhook configurations of providers",
        scenario: "webhooks",
        groups: &["admissionregistration.k8s.io"],
        resources: &["validatingwebhookconfigurations", "mutatingwebhookconfigurations"],
        names: &[],
        verbs: ESTABLISH,
    },
    Rule {
        why: "start: see a live package manager of the reference, or another operator that claims the \
              cluster, in whichever namespace it runs",
        scenario: "start",
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        names: &[crate::REFERENCE_LEASE, crate::OPERATOR],
        verbs: &["get"],
    },
    Rule {
        why: "start: see that the admission policy is in force that lets Gantry lead beside the reference",
        scenario: "beside",
        groups: &["admissionregistration.k8s.io"],
        resources: &["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
        names: &[crate::beside::POLICY],
        verbs: FOLLOW,
    },
];

/// Rights in the operator's own namespace.
pub const NAMESPACE: &[Rule] = &[
    Rule {
        why: "registry: credentials that packages and image configs name",
        scenario: "private",
        groups: &[""],
        resources: &["secrets"],
        names: &[],
        verbs: &["get", "list", "watch"],
    },
    Rule {
        why: "registry: credentials of the operator's own service account",
        scenario: "private",
        groups: &[""],
        resources: &["serviceaccounts"],
        names: &[],
        verbs: &["get"],
    },
    Rule {
        why: "start: a lease can't be limited by name when it is created",
        scenario: "start",
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        names: &[],
        verbs: &["create"],
    },
    Rule {
        why: "start: take, renew and hand over the lease",
        scenario: "start",
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        names: &[crate::OPERATOR],
        verbs: &["get", "update"],
    },
];

/// More rights in the operator's own namespace: what the programs of packages need, where Gantry runs them.
pub const RUNTIME: &[Rule] = &[
    Rule {
        why: "runtime: certificates of programs, and the authority that signs them",
        scenario: "runtime",
        groups: &[""],
        resources: &["secrets"],
        names: &[],
        verbs: &["create", "patch"],
    },
    Rule {
        why: "runtime: the service account that a program runs as, and the service by which it is reached",
        scenario: "runtime",
        groups: &[""],
        resources: &["serviceaccounts", "services"],
        names: &[],
        verbs: &["list", "watch", "create", "patch"],
    },
    Rule {
        why: "runtime: run programs, and end those of revisions that serve no more",
        scenario: "runtime",
        groups: &["apps"],
        resources: &["deployments"],
        names: &[],
        verbs: &["list", "watch", "create", "patch", "delete"],
    },
    Rule {
        why: "runtime: say what is wrong with a program that does not run",
        scenario: "crash",
        groups: &[""],
        resources: &["pods"],
        names: &[],
        verbs: &["list"],
    },
];

/// Rights in namespace `default`, where events about cluster-scoped objects are kept.
pub const EVENTS: &[Rule] = &[Rule {
    why: "all controllers: events about packages and revisions",
    scenario: "provider",
    groups: &["events.k8s.io"],
    resources: &["events"],
    names: &[],
    verbs: &["create"],
}];

/// Rights in the whole cluster where the API server asks for the right to delete an object before its owner references
/// may be changed (admission plugin OwnerReferencesPermissionEnforcement). Only then: the operator deletes none of these.
pub const ENFORCED: &[Rule] = &[Rule {
    why: "revision: change owner references; nothing is deleted",
    scenario: "provider",
    groups: &[
        "apiextensions.k8s.io",
        "apiextensions.crossplane.io",
        "ops.crossplane.io",
        "admissionregistration.k8s.io",
    ],
    resources: &[
        "customresourcedefinitions",
        "compositeresourcedefinitions",
        "compositions",
        "managedresourceactivationpolicies",
        "managedresourcedefinitions",
        "operations",
        "cronoperations",
        "watchoperations",
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
    ],
    names: &[],
    verbs: &["delete"],
}];

/// Namespace that the API server keeps events about cluster-scoped objects in.
pub const EVENTS_NAMESPACE: &str = "default";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_packages_carry_is_never_deleted() {
        // ENFORCED is what admission asks for, and only given where somebody says so.
        for rule in CLUSTER.iter().chain(NAMESPACE).chain(RUNTIME).chain(EVENTS) {
            let deletes = rule
                .verbs
                .iter()
                .any(|verb| matches!(*verb, "delete" | "deletecollection" | "*"));
            let ours = match rule.groups {
                PKG => rule.resources.iter().all(|name| name.ends_with("revisions")),
                _ => rule.resources == ["deployments"] && RUNTIME.contains(rule),
            };
            assert!(!deletes || ours, "{rule:?}");
            let wide = rule.resources.contains(&"*") || rule.groups.contains(&"*");
            assert!(
                !wide && !rule.verbs.contains(&"escalate") && !rule.verbs.contains(&"bind"),
                "{rule:?}"
            );
            assert!(!rule.why.is_empty() && !rule.verbs.is_empty() && !rule.resources.is_empty());
        }
        assert!(
            CLUSTER.iter().all(|rule| !rule.resources.contains(&"secrets")),
            "secrets of other namespaces"
        );
    }
}
