//! `deploy/rbac.yaml`: the operator's rights, each with the step that needs it.

use std::fmt::Write as _;

use api::rbac::{CLUSTER, EVENTS, EVENTS_NAMESPACE, NAMESPACE, RUNTIME, Rule};

use super::YAML_HEADER;

/// Name of the ServiceAccount, the roles and the bindings.
const NAME: &str = api::OPERATOR;

/// The file: a ServiceAccount in the default namespace, a ClusterRole, two Roles, and their bindings.
pub(super) fn file() -> String {
    let mut file = YAML_HEADER.to_owned();
    let own = Some(api::DEFAULT_NAMESPACE);
    push(&mut file, "v1", "ServiceAccount", own, "");
    role(&mut file, "ClusterRole", None, CLUSTER);
    role(&mut file, "Role", own, &[NAMESPACE, RUNTIME].concat());
    role(&mut file, "Role", Some(EVENTS_NAMESPACE), EVENTS);
    file
}

/// A role and its binding.
fn role(file: &mut String, kind: &str, namespace: Option<&str>, rules: &[Rule]) {
    const API: &str = "rbac.authorization.k8s.io/v1";
    let rules: String = rules.iter().map(rule).collect();
    push(file, API, kind, namespace, &format!("rules:\n{rules}"));
    let binding = format!(
        "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {NAME}\nsubjects:\n\
         - kind: ServiceAccount\n  name: {NAME}\n  namespace: {}\n",
        api::DEFAULT_NAMESPACE
    );
    push(file, API, &format!("{kind}Binding"), namespace, &binding);
}

/// A rule of a role, with its comment.
pub(super) fn rule(rule: &Rule) -> String {
    let mut text = format!(
        "# {}; scenario {}\n- apiGroups: {}\n",
        rule.why,
        rule.scenario,
        list(rule.groups)
    );
    // writing to a String can't fail
    let _ = writeln!(text, "  resources: {}", list(rule.resources));
    if !rule.names.is_empty() {
        let _ = writeln!(text, "  resourceNames: {}", list(rule.names));
    }
    let _ = writeln!(text, "  verbs: {}", list(rule.verbs));
    text
}

fn list(items: &[&str]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

fn push(file: &mut String, api_version: &str, kind: &str, namespace: Option<&str>, rest: &str) {
    let namespace = namespace
        .map(|name| format!("  namespace: {name}\n"))
        .unwrap_or_default();
    let _ = write!(
        file,
        "---\napiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: {NAME}\n{namespace}{rest}"
    );
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_file_is_yaml_and_says_what_the_table_says() {
        let file = file();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&file).unwrap();
        let kinds: Vec<&str> = documents
            .iter()
            .filter_map(|object| object.pointer("/kind")?.as_str())
            .collect();
        let expected = [
            "ServiceAccount",
            "ClusterRole",
            "ClusterRoleBinding",
            "Role",
            "RoleBinding",
            "Role",
            "RoleBinding",
        ];
        assert_eq!(kinds, expected);
        let own = [NAMESPACE, RUNTIME].concat();
        for (document, rules) in [(1, CLUSTER), (3, &own), (5, EVENTS)] {
            let written = documents[document]["rules"].as_array().unwrap();
            assert_eq!(written.len(), rules.len());
            for (written, rule) in written.iter().zip(rules) {
                assert_eq!(written["apiGroups"], serde_json::json!(rule.groups));
                assert_eq!(written["resources"], serde_json::json!(rule.resources));
                assert_eq!(written["verbs"], serde_json::json!(rule.verbs));
                let names = written
                    .get("resourceNames")
                    .and_then(Value::as_array)
                    .map_or(0, Vec::len);
                assert_eq!(names, rule.names.len());
            }
        }
    }
}
