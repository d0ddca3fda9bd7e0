//! Who says what `spec.package` is, beside the person who types. Pure.

use api::pkg::Package;

/// Field managers of people's own commands: what they set is not set again by itself.
const BY_HAND: &[&str] = &[
    super::FIELD_MANAGER,
    "kubectl-create",
    "kubectl-edit",
    "kubectl-patch",
    "kubectl-replace",
    // Crossplane's command line.
    "crossplane",
    // Programs that say nothing of themselves: scripts.
    "unknown",
];

/// Annotations and labels by which GitOps tools and Helm mark what they keep in step with a source.
const MARKS: &[(&str, &str)] = &[
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/name", "Flux (kustomize-controller)"),
    ("helm.toolkit.fluxcd.io/name", "Flux (helm-controller)"),
    ("meta.helm.sh/release-name", "Helm"),
];

/// Who else owns `spec.package` and may set it back: a GitOps tool or Helm by its marks, else a field
/// manager.
pub(crate) fn owner_of_reference(package: &Package) -> Option<String> {
    let meta = &package.metadata;
    let keys = || {
        let annotations = meta.annotations.iter().flatten();
        annotations.chain(meta.labels.iter().flatten())
    };
    let marked = MARKS.iter().find_map(|(mark, tool)| {
        keys()
            .find(|(key, _)| key == mark)
            .map(|(_, value)| (tool, value))
    });
    if let Some((tool, value)) = marked {
        return Some(format!("{tool} ({value})"));
    }
    let owns = |fields: &serde_json::Value| {
        let package = fields.get("f:spec").and_then(|spec| spec.get("f:package"));
        package.is_some()
    };
    let managers = meta.managed_fields.iter().flatten();
    managers
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| owns(&fields.0)))
        .filter_map(|entry| entry.manager.as_deref())
        .find(|manager| !BY_HAND.contains(manager))
        .map(|manager| format!("field manager {manager}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(meta: serde_json::Value) -> Package {
        serde_json::from_value(json!({ "metadata": meta })).unwrap()
    }

    #[test]
    fn managers_and_marks_are_found() {
        let managed = |manager: &str, fields: serde_json::Value| {
            package(json!({ "managedFields": [
                { "manager": "gantry-manager", "fieldsType": "FieldsV1", "fieldsV1": { "f:status": {} } },
                { "manager": manager, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields },
            ]}))
        };
        let owns = json!({ "f:spec": { "f:package": {} } });
        let other = json!({ "f:spec": { "f:packagePullPolicy": {} } });
        for (manager, fields, expected) in [
            (
                "argocd-controller",
                &owns,
                Some("field manager argocd-controller"),
            ),
            ("kubectl", &owns, Some("field manager kubectl")),
            (
                "kubectl-client-side-apply",
                &owns,
                Some("field manager kubectl-client-side-apply"),
            ),
            ("argocd-controller", &other, None),
            ("kubectl-create", &owns, None),
            ("unknown", &owns, None),
            ("gantry-cli", &owns, None),
        ] {
            let found = owner_of_reference(&managed(manager, fields.clone()));
            assert_eq!(found.as_deref(), expected, "{manager}");
        }
        assert_eq!(owner_of_reference(&package(json!({}))), None);
        let flux = json!({ "labels": { "kustomize.toolkit.fluxcd.io/name": "infra" } });
        let found = owner_of_reference(&package(flux)).unwrap();
        assert_eq!(found, "Flux (kustomize-controller) (infra)");
        let argo = json!({ "annotations": { "argocd.argoproj.io/tracking-id": "platform:x" } });
        assert_eq!(
            owner_of_reference(&package(argo)).unwrap(),
            "Argo CD (platform:x)"
        );
    }
}
