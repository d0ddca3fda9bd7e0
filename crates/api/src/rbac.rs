//! What the operator may do in a cluster, as data: `deploy/rbac.yaml` and the chart are generated from it.
//!
//! Each rule says which step needs it. Nothing here may delete what a package carries, or read a Secret
//! outside the operator's own namespace.

/// One rule of a ClusterRole or Role.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Step that needs it.
    pub why: &'static str,
    /// API groups; the core group is `""`.
    pub groups: &'static [&'static str],
    /// Resources, with subresources after a slash.
    pub resources: &'static [&'static str],
    /// Names that it is limited to; none means all.
    pub names: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
}

const READ: &[&str] = &["get", "list", "watch"];
const ESTABLISH: &[&str] = &["get", "list", "watch", "create", "update", "patch"];
const STATUS: &[&str] = &["get", "update", "patch"];
const PKG: &[&str] = &[crate::GROUP];

/// Rights in the whole cluster.
pub const CLUSTER: &[Rule] = &[
    Rule {
        why: "manager: follow packages; take off finalizers that a former package manager left",
        groups: PKG,
        resources: &["providers", "configurations", "functions"],
        names: &[],
        verbs: &["get", "list", "watch", "patch"],
    },
    Rule {
        why: "manager: say what became of a package",
        groups: PKG,
        resources: &["providers/status", "configurations/status", "functions/status"],
        names: &[],
        verbs: STATUS,
    },
    Rule {
        why: "manager: make, activate and collect revisions; revision: labels from the package's metadata",
        groups: PKG,
        resources: &["providerrevisions", "configurationrevisions", "functionrevisions"],
        names: &[],
        verbs: &["get", "list", "watch", "create", "update", "patch", "delete"],
    },
    Rule {
        why: "revision, dependencies: say what became of a revision",
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
        why: "manager, revision: rewriting, credentials and runtime configs; the reference's lock",
        groups: PKG,
        resources: &["imageconfigs", "deploymentruntimeconfigs", "locks"],
        names: &[],
        verbs: READ,
    },
    Rule {
        why: "start: our own CRDs and the claim on the cluster; revision: CRDs of providers",
        groups: &["apiextensions.k8s.io"],
        resources: &["customresourcedefinitions"],
        names: &[],
        verbs: ESTABLISH,
    },
    Rule {
        why: "revision: what configurations and providers carry, where the cluster serves it",
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
        groups: &["ops.crossplane.io"],
        resources: &["operations", "cronoperations", "watchoperations"],
        names: &[],
        verbs: ESTABLISH,
    },
    Rule {
        why: "revision: webhook configurations of providers",
        groups: &["admissionregistration.k8s.io"],
        resources: &["validatingwebhookconfigurations", "mutatingwebhookconfigurations"],
        names: &[],
        verbs: ESTABLISH,
    },
    Rule {
        why: "start: see a live package manager of the reference, or another operator that claims the \
              cluster, in whichever namespace it runs",
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        names: &[crate::REFERENCE_LEASE, crate::OPERATOR],
        verbs: READ,
    },
    Rule {
        why: "start: see that the admission policy is in force that lets Gantry lead beside the reference",
        groups: &["admissionregistration.k8s.io"],
        resources: &["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
        names: &[crate::beside::POLICY],
        verbs: READ,
    },
];

/// Rights in the operator's own namespace.
pub const NAMESPACE: &[Rule] = &[
    Rule {
        why: "registry: credentials that packages and image configs name",
        groups: &[""],
        resources: &["secrets"],
        names: &[],
        verbs: READ,
    },
    Rule {
        why: "registry: credentials of the operator's own service account",
        groups: &[""],
        resources: &["serviceaccounts"],
        names: &[],
        verbs: &["get"],
    },
    Rule {
        why: "start: a lease can't be limited by name when it is created",
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        names: &[],
        verbs: &["create"],
    },
    Rule {
        why: "start: take, renew and hand over the lease",
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        names: &[crate::OPERATOR],
        verbs: &["get", "update", "patch"],
    },
];

/// Rights in namespace `default`, where events about cluster-scoped objects are kept.
pub const EVENTS: &[Rule] = &[Rule {
    why: "all controllers: events about packages and revisions",
    groups: &["events.k8s.io"],
    resources: &["events"],
    names: &[],
    verbs: &["create", "patch"],
}];

/// Namespace that the API server keeps events about cluster-scoped objects in.
pub const EVENTS_NAMESPACE: &str = "default";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_packages_carry_is_never_deleted() {
        for rule in CLUSTER.iter().chain(NAMESPACE).chain(EVENTS) {
            let deletes = rule
                .verbs
                .iter()
                .any(|verb| matches!(*verb, "delete" | "deletecollection" | "*"));
            let revisions =
                rule.groups == PKG && rule.resources.iter().all(|name| name.ends_with("revisions"));
            assert!(!deletes || revisions, "{rule:?}");
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
