//! `templates/rbac.yaml`: the rights of `deploy/rbac.yaml`, under the names of a release.

use std::fmt::Write as _;

use api::rbac::{CLUSTER, ENFORCED, EVENTS, EVENTS_NAMESPACE, NAMESPACE, RUNTIME, Rule};

use crate::generate::{YAML_HEADER, rbac};

const OWN: &str = "{{ .Release.Namespace }}";
const FULL_NAME: &str = "{{ include \"gantry.fullname\" . }}";
/// Of what is outside the release's namespace.
const CLUSTER_NAME: &str = "{{ include \"gantry.clusterName\" . }}";

/// The template.
pub(super) fn file() -> String {
    let mut file = format!("{YAML_HEADER}{{{{- if .Values.rbac.create }}}}\n");
    role(&mut file, "ClusterRole", CLUSTER_NAME, None, CLUSTER);
    file.push_str("{{- if .Values.rbac.enforcedOwnerReferences }}\n");
    let name = format!("{CLUSTER_NAME}:owner-references");
    role(&mut file, "ClusterRole", &name, None, ENFORCED);
    file.push_str("{{- end }}\n");
    role(
        &mut file,
        "Role",
        FULL_NAME,
        Some(OWN),
        &[NAMESPACE, RUNTIME].concat(),
    );
    role(&mut file, "Role", CLUSTER_NAME, Some(EVENTS_NAMESPACE), EVENTS);
    file.push_str("{{- end }}\n");
    file
}

/// A role and its binding.
fn role(file: &mut String, kind: &str, name: &str, namespace: Option<&str>, rules: &[Rule]) {
    let rules: String = rules.iter().map(rbac::rule).collect();
    push(file, kind, name, namespace, &format!("rules:\n{rules}"));
    let binding = format!(
        "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {name}\nsubjects:\n\
         - kind: ServiceAccount\n  name: {{{{ include \"gantry.serviceAccountName\" . }}}}\n  namespace: {OWN}\n",
    );
    push(file, &format!("{kind}Binding"), name, namespace, &binding);
}

fn push(file: &mut String, kind: &str, name: &str, namespace: Option<&str>, rest: &str) {
    let namespace = namespace
        .map(|name| format!("  namespace: {name}\n"))
        .unwrap_or_default();
    // writing to a String can't fail
    let _ = write!(
        file,
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n{namespace}  \
         labels:\n    {{{{- include \"gantry.labels\" . | nindent 4 }}}}\n{rest}"
    );
}
