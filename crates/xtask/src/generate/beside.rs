//! `deploy/beside-crossplane.yaml` and the chart's template of it: the admission policy that lets Gantry lead
//! beside the reference's composition engine.

use anyhow::Context as _;
use api::beside;
use serde_json::Value;

use super::{MARK, YAML_HEADER};

/// Stands in the policy where the template computes an expression from values.
const PLACE: &str = "ACCOUNTS";

/// For the reference as it is installed by default.
pub(super) fn file() -> anyhow::Result<String> {
    manifests(&[api::REFERENCE_NAMESPACE], api::REFERENCE_SERVICE_ACCOUNTS)
}

/// Policy and binding for these service accounts in these namespaces.
fn manifests(namespaces: &[&str], service_accounts: &[&str]) -> anyhow::Result<String> {
    let accounts = serde_json::to_string(&beside::accounts(namespaces, service_accounts))?;
    Ok(format!("{YAML_HEADER}{}", documents(&beside::whose(&accounts))?))
}

/// The same as a template: value `besideCrossplane` says whether, and for whom.
pub(super) fn template() -> anyhow::Result<String> {
    let expression = beside::whose("%s").replace('"', "\\\"");
    let expression = format!("{{{{ printf \"{expression}\" (toJson $accounts) | quote }}}}");
    let documents = documents(PLACE)?.replace(PLACE, &expression);
    Ok(format!(
        "{{{{/* {MARK} */}}}}\n\
         {{{{- if .Values.besideCrossplane.enabled }}}}\n\
         {{{{- $accounts := list }}}}\n\
         {{{{- range $namespace := .Values.besideCrossplane.namespaces }}}}\n\
         {{{{- range $account := $.Values.besideCrossplane.serviceAccounts }}}}\n\
         {{{{- $accounts = append $accounts (printf \"system:serviceaccount:%s:%s\" $namespace $account) }}}}\n\
         {{{{- end }}}}\n\
         {{{{- end }}}}\n\
         {documents}\
         {{{{- end }}}}\n"
    ))
}

fn documents(whose: &str) -> anyhow::Result<String> {
    let yaml = |object: &Value| serde_saphyr::to_string(object).context("write the policy as YAML");
    Ok(format!(
        "---\n{}---\n{}",
        yaml(&beside::policy(whose))?,
        yaml(&beside::binding())?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_what_the_code_says() {
        let file = manifests(&["a", "b"], &["x"]).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&file).unwrap();
        let whose = beside::whose(r#"["system:serviceaccount:a:x","system:serviceaccount:b:x"]"#);
        assert_eq!(documents, [beside::policy(&whose), beside::binding()]);
    }

    #[test]
    fn the_template_differs_in_one_expression() {
        let template = template().unwrap();
        assert!(template.lines().next().unwrap().contains(MARK));
        let actions = template.matches("{{").count();
        assert_eq!(actions, template.matches("}}").count());
        // Nothing of the policy looks like a template's action.
        assert!(!documents("x").unwrap().contains("{{"));
        let line = template.lines().find(|l| l.contains("toJson")).unwrap();
        let (key, action) = line.split_once(": ").unwrap();
        assert_eq!(key.trim_start_matches(['-', ' ']), "expression");
        let expected = concat!(
            r#"{{ printf "request.name == \"gantry-admission-probe\" || request.userInfo.username in %s" "#,
            r#"(toJson $accounts) | quote }}"#
        );
        assert_eq!(action, expected);
    }
}
