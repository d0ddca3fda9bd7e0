//! Working beside the reference's composition engine: the admission policy that keeps the package controllers
//! of a running Crossplane from writing while its other controllers go on, as data.
//! `deploy/beside-crossplane.yaml` and the chart's template are generated from it, and the operator compares
//! the cluster with it.
//!
//! For the service accounts that it names, the policy
//! - refuses writes to packages, revisions and the lock, but for what changes nothing (the reference's init
//!   container touches them so, and does not start otherwise), an empty lock, and the label by which a
//!   `Usage` marks what is used;
//! - refuses to create, change or delete objects that a package or revision owns, but for what composition
//!   does with them: finalizers and status of XRDs, activating an MRD, the CRD of an MRD;
//! - refuses events about packages and revisions.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, ValidatingAdmissionPolicyBindingSpec, ValidatingAdmissionPolicySpec,
};
use serde_json::{Value, json};

/// Name of the policy and of its binding.
pub const POLICY: &str = "gantry-beside-crossplane";
/// Name of an object that is never made: a request to make one with an owner that is a package is refused by
/// the policy whoever sends it, which shows that the policy is in force.
pub const PROBE: &str = "gantry-admission-probe";
/// What the policy says when it refuses.
pub const REFUSAL: &str = "Gantry manages the packages of this cluster";

/// Start of the expression that says whose requests are judged; a JSON list of user names follows.
const WHOSE: &str = "request.name == \"gantry-admission-probe\" || request.userInfo.username in ";

/// Variables, in the order in which they refer to each other.
const VARIABLES: &[(&str, &str)] = &[
    (
        "ours",
        "request.resource.group == \"pkg.crossplane.io\" && request.resource.resource in [\n  \
         \"providers\", \"configurations\", \"functions\",\n  \
         \"providerrevisions\", \"configurationrevisions\", \"functionrevisions\", \"locks\"]",
    ),
    (
        "owned",
        "[object, oldObject].exists(o, o != null &&\n  \
         o.?metadata.ownerReferences.orValue([]).exists(r, r.apiVersion.startsWith(\"pkg.crossplane.io/\")))",
    ),
    ("labels", "object.?metadata.labels.orValue({})"),
    ("oldLabels", "oldObject.?metadata.labels.orValue({})"),
    (
        "sameMetadata",
        "variables.labels.all(k, k == \"crossplane.io/in-use\" ||\n  \
         (k in variables.oldLabels && variables.oldLabels[k] == variables.labels[k])) &&\n\
         variables.oldLabels.all(k, k == \"crossplane.io/in-use\" || k in variables.labels) &&\n\
         object.?metadata.annotations.orValue({}) == oldObject.?metadata.annotations.orValue({}) &&\n\
         object.?metadata.ownerReferences.orValue([]) == oldObject.?metadata.ownerReferences.orValue([])",
    ),
    (
        "sameFinalizers",
        "object.?metadata.finalizers.orValue([]) == oldObject.?metadata.finalizers.orValue([])",
    ),
    (
        "sameRest",
        "object.all(k, k in [\"metadata\", \"spec\"] || (k in oldObject && object[k] == oldObject[k])) &&\n\
         oldObject.all(k, k in object)",
    ),
    (
        "sameSpec",
        "object.?spec.orValue({}) == oldObject.?spec.orValue({})",
    ),
    (
        "activates",
        "request.resource.group == \"apiextensions.crossplane.io\" &&\n\
         request.resource.resource == \"managedresourcedefinitions\" &&\n\
         object.spec.all(k, k == \"state\" || (k in oldObject.spec && object.spec[k] == oldObject.spec[k])) &&\n\
         oldObject.spec.all(k, k == \"state\" || k in object.spec)",
    ),
    (
        "generated",
        "request.resource.group == \"apiextensions.k8s.io\" &&\n\
         request.resource.resource == \"customresourcedefinitions\" &&\n\
         object.?metadata.ownerReferences.orValue([]).exists(r, r.kind == \"ManagedResourceDefinition\" &&\n  \
         r.apiVersion.startsWith(\"apiextensions.crossplane.io/\")) &&\n\
         (oldObject == null || !(\"gantry.dev/content\" in oldObject.?metadata.annotations.orValue({})))",
    ),
];

/// What must hold for a request to pass, and what is said of it otherwise.
const VALIDATIONS: &[(&str, &str)] = &[
    (
        "!variables.ours ||\n\
         (request.operation == \"CREATE\" && request.resource.resource == \"locks\" &&\n  \
         object.?packages.orValue([]).size() == 0) ||\n\
         (request.operation == \"UPDATE\" && variables.sameMetadata && variables.sameFinalizers &&\n  \
         variables.sameRest && variables.sameSpec)",
        "this account may not change packages, revisions and the lock",
    ),
    (
        "variables.ours || !variables.owned ||\n\
         (request.operation == \"UPDATE\" && variables.sameMetadata && variables.sameRest &&\n  \
         (variables.sameSpec || variables.activates)) ||\n\
         (request.operation != \"DELETE\" && variables.generated)",
        "this account may not make, change or delete what packages and revisions own",
    ),
    (
        "request.resource.resource != \"events\" || !(request.resource.group in [\"\", \"events.k8s.io\"]) ||\n\
         object == null || ![\"regarding\", \"involvedObject\"].exists(k, k in object &&\n  \
         object[k].?apiVersion.orValue(\"\").startsWith(\"pkg.crossplane.io/\"))",
        "this account may not tell of packages and revisions",
    ),
];

/// User names of these service accounts in these namespaces, each in each.
pub fn accounts<N: AsRef<str>, S: AsRef<str>>(namespaces: &[N], service_accounts: &[S]) -> Vec<String> {
    let name = |namespace: &N, account: &S| {
        format!(
            "system:serviceaccount:{}:{}",
            namespace.as_ref(),
            account.as_ref()
        )
    };
    namespaces
        .iter()
        .flat_map(|namespace| {
            service_accounts
                .iter()
                .map(move |account| name(namespace, account))
        })
        .collect()
}

/// The expression that says whose requests are judged; `accounts` is a JSON list, or what a template makes
/// one of.
pub fn whose(accounts: &str) -> String {
    format!("{WHOSE}{accounts}")
}

/// The policy for requests that `whose` selects, with all defaults of the API server spelled out.
pub fn policy(whose: &str) -> Value {
    let rule = |groups: &str, resources: &str| {
        json!({
            "apiGroups": [groups], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE", "DELETE"],
            "resources": [resources], "scope": "*",
        })
    };
    let variables = VARIABLES
        .iter()
        .map(|(name, expression)| json!({"name": name, "expression": expression}));
    let validations = VALIDATIONS
        .iter()
        .map(|(expression, what)| json!({"expression": expression, "message": format!("{REFUSAL}: {what}")}));
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": metadata(),
        "spec": {
            "failurePolicy": "Fail",
            "matchConditions": [{"name": "whose", "expression": whose}],
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
                "resourceRules": [rule("*", "*"), rule(crate::GROUP, "*/status")],
            },
            "variables": variables.collect::<Vec<_>>(),
            "validations": validations.collect::<Vec<_>>(),
        },
    })
}

/// What puts the policy into force.
pub fn binding() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": metadata(),
        "spec": {"policyName": POLICY, "validationActions": ["Deny"]},
    })
}

fn metadata() -> Value {
    json!({
        "name": POLICY,
        "annotations": {crate::annotation::VERSION: env!("CARGO_PKG_VERSION")},
        "labels": {"app.kubernetes.io/name": "gantry"},
    })
}

/// In what a policy found in the cluster falls short of [`policy`] for these accounts; `None` if it does in
/// nothing.
pub fn weakness(found: &ValidatingAdmissionPolicySpec, accounts: &[String]) -> Option<String> {
    let judged = found.match_conditions.as_deref().and_then(judged);
    let Some(judged) = judged else {
        return Some("its matchConditions are not those of this version".to_owned());
    };
    let mut missing = accounts.iter().filter(|account| !judged.contains(*account));
    if let Some(account) = missing.next() {
        return Some(format!("it does not cover {account}"));
    }
    let ours = policy("").get_mut("spec").map(Value::take).unwrap_or_default();
    let Ok(mut ours) = serde_json::from_value::<ValidatingAdmissionPolicySpec>(ours) else {
        return Some("it can't be compared".to_owned());
    };
    ours.match_conditions.clone_from(&found.match_conditions);
    let parts = [
        ("failurePolicy", ours.failure_policy == found.failure_policy),
        (
            "matchConstraints",
            ours.match_constraints == found.match_constraints,
        ),
        ("variables", ours.variables == found.variables),
        ("validations", ours.validations == found.validations),
    ];
    if let Some((part, _)) = parts.into_iter().find(|(_, same)| !same) {
        return Some(format!("its {part} are not those of this version"));
    }
    (ours != *found).then(|| "it is not that of this version".to_owned())
}

/// The user names of the one condition that may be there.
fn judged(conditions: &[MatchCondition]) -> Option<BTreeSet<String>> {
    let [condition] = conditions else { return None };
    serde_json::from_str(condition.expression.strip_prefix(WHOSE)?).ok()
}

/// Why a binding found in the cluster does not put the policy into force; `None` if it does.
pub fn looseness(found: &ValidatingAdmissionPolicyBindingSpec) -> Option<&'static str> {
    let actions = found.validation_actions.as_deref().unwrap_or_default();
    // Selectors that select everything are what the API server fills in.
    let narrowed = found.match_resources.as_ref().is_some_and(|limits| {
        let selector = |selector: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>| {
            selector.as_ref().is_some_and(|s| {
                s.match_labels.as_ref().is_some_and(|l| !l.is_empty())
                    || s.match_expressions.as_ref().is_some_and(|e| !e.is_empty())
            })
        };
        selector(&limits.namespace_selector)
            || selector(&limits.object_selector)
            || limits.resource_rules.as_ref().is_some_and(|r| !r.is_empty())
            || limits
                .exclude_resource_rules
                .as_ref()
                .is_some_and(|r| !r.is_empty())
    });
    if found.policy_name.as_deref() != Some(POLICY) {
        Some("it binds another policy")
    } else if !actions.iter().any(|action| action == "Deny") {
        Some("its validationActions do not have Deny")
    } else if narrowed || found.param_ref.is_some() {
        Some("it is limited to some requests")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec<T: serde::de::DeserializeOwned>(object: &Value) -> T {
        serde_json::from_value(object["spec"].clone()).unwrap()
    }

    fn ours(accounts: &[String]) -> Value {
        policy(&whose(&serde_json::to_string(accounts).unwrap()))
    }

    #[test]
    fn what_is_weaker_is_seen() {
        let wanted = accounts(&["a", "b"], &["core", "rbac"]);
        assert_eq!(
            wanted[1..3],
            ["system:serviceaccount:a:rbac", "system:serviceaccount:b:core"]
        );
        let right = ours(&wanted);
        assert_eq!(weakness(&spec(&right), &wanted), None);
        assert_eq!(
            weakness(&spec(&right), &wanted[1..]),
            None,
            "more accounts are no weakness"
        );
        let said = weakness(&spec(&ours(&wanted[1..])), &wanted);
        assert_eq!(
            said.as_deref(),
            Some("it does not cover system:serviceaccount:a:core")
        );

        let weaker: &[(&str, &str, Value)] = &[
            ("failurePolicy", "/spec/failurePolicy", json!("Ignore")),
            (
                "matchConstraints",
                "/spec/matchConstraints/resourceRules/0/operations",
                json!(["CREATE"]),
            ),
            (
                "matchConstraints",
                "/spec/matchConstraints/objectSelector",
                json!({"matchLabels": {"a": "b"}}),
            ),
            ("variables", "/spec/variables/0/expression", json!("false")),
            ("validations", "/spec/validations/0/expression", json!("true")),
            (
                "matchConditions",
                "/spec/matchConditions/0/expression",
                json!("false"),
            ),
            ("matchConditions", "/spec/matchConditions", json!([])),
        ];
        for (part, path, value) in weaker {
            let mut policy = right.clone();
            *policy.pointer_mut(path).unwrap() = value.clone();
            let said = weakness(&spec(&policy), &wanted).unwrap();
            assert!(said.contains(part), "{path}: {said}");
        }
        let mut more = right["spec"]["matchConditions"].clone();
        let never = json!({"name": "never", "expression": "false"});
        more.as_array_mut().unwrap().push(never);
        let mut policy = right.clone();
        policy["spec"]["matchConditions"] = more;
        assert!(weakness(&spec(&policy), &wanted).is_some());
        let mut policy = right;
        policy["spec"]["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        assert!(weakness(&spec(&policy), &wanted).is_some());
    }

    #[test]
    fn a_binding_must_deny_everything() {
        let right = binding();
        assert_eq!(looseness(&spec(&right)), None);
        let mut defaulted = right.clone();
        defaulted["spec"]["matchResources"] =
            json!({"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}});
        defaulted["spec"]["validationActions"] = json!(["Deny", "Audit"]);
        assert_eq!(looseness(&spec(&defaulted)), None);
        for (key, value) in [
            ("policyName", json!("another")),
            ("validationActions", json!(["Warn", "Audit"])),
            (
                "matchResources",
                json!({"namespaceSelector": {"matchLabels": {"a": "b"}}}),
            ),
            (
                "paramRef",
                json!({"name": "x", "parameterNotFoundAction": "Allow"}),
            ),
        ] {
            let mut binding = right.clone();
            binding["spec"][key] = value;
            assert!(looseness(&spec(&binding)).is_some(), "{key}");
        }
    }

    #[test]
    fn the_probe_is_the_one_that_the_expression_names() {
        assert!(WHOSE.contains(&format!("{PROBE:?}")));
        assert!(
            VARIABLES
                .iter()
                .any(|(_, e)| e.contains(crate::annotation::CONTENT))
        );
        assert!(VARIABLES.iter().any(|(_, e)| e.contains(crate::label::IN_USE)));
    }
}
