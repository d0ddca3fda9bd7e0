//! Whether this process has the rights of `deploy/rbac.yaml`, asked at start.

use std::collections::BTreeMap;

use anyhow::bail;
use api::rbac::{self, Rule};
use kit::rights::{self, Right};

use crate::revision::plan::NAMED_REFUSALS;

/// Refuses to go on without the rights that waiting for is no use: what is watched, and the lease. What else
/// is missing is told once; the packages that need it say so.
///
/// # Errors
/// One sentence that names verb, resource and namespace.
pub(crate) async fn check(
    client: &kube::Client,
    namespace: &str,
    elects: bool,
    runs: bool,
) -> anyhow::Result<()> {
    let missing = match rights::missing(client, namespace, all(namespace, runs)).await {
        Ok(missing) => missing,
        Err(why) => {
            tracing::warn!(why, "the API server does not tell which rights this process has");
            return Ok(());
        }
    };
    let (needed, rest): (Vec<Right>, Vec<Right>) =
        missing.into_iter().partition(|right| is_needed(right, elects));
    if !needed.is_empty() {
        bail!(
            "rights are missing, apply deploy/rbac.yaml for this namespace and account: it may not {}",
            sentence(&needed)
        );
    }
    if !rest.is_empty() {
        tracing::warn!(
            missing = sentence(&rest),
            "rights are missing, apply deploy/rbac.yaml; what needs them will say so"
        );
    }
    Ok(())
}

/// Without these this process would never become ready.
fn is_needed(right: &Right, elects: bool) -> bool {
    let watched = right.name.is_none() && matches!(right.verb.as_str(), "list" | "watch");
    let lease = elects && right.namespace.is_some() && right.resource == "leases";
    watched || lease
}

/// The rights of [`rbac`] for an operator in this namespace, which runs the programs of packages or does not.
fn all(namespace: &str, runs: bool) -> Vec<Right> {
    let parts: [(Option<&str>, &[Rule]); 4] = [
        (None, rbac::CLUSTER),
        (Some(namespace), rbac::NAMESPACE),
        (Some(namespace), if runs { rbac::RUNTIME } else { &[] }),
        (Some(rbac::EVENTS_NAMESPACE), rbac::EVENTS),
    ];
    let mut all = vec![];
    for (namespace, rules) in parts {
        for rule in rules {
            let names: Vec<Option<&str>> = match rule.names {
                [] => vec![None],
                names => names.iter().copied().map(Some).collect(),
            };
            for group in rule.groups {
                for resource in rule.resources {
                    for name in &names {
                        all.extend(rule.verbs.iter().map(|verb| Right {
                            namespace: namespace.map(str::to_owned),
                            group: (*group).to_owned(),
                            resource: (*resource).to_owned(),
                            name: name.map(str::to_owned),
                            verb: (*verb).to_owned(),
                        }));
                    }
                }
            }
        }
    }
    all
}

/// `get, list providers.pkg.crossplane.io; list secrets in namespace x`, the first few by name.
fn sentence(missing: &[Right]) -> String {
    let mut verbs: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for right in missing {
        verbs.entry(right.to_string()).or_default().push(&right.verb);
    }
    let named: Vec<String> = verbs
        .iter()
        .take(NAMED_REFUSALS)
        .map(|(what, verbs)| format!("{} {what}", verbs.join(", ")))
        .collect();
    let more = verbs.len().saturating_sub(NAMED_REFUSALS);
    let more = if more == 0 {
        String::new()
    } else {
        format!("; and {more} more")
    };
    format!("{}{more}", named.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let all = all("ns", false);
        let secrets: Vec<Right> = all.iter().filter(|r| r.resource == "secrets").cloned().collect();
        assert_eq!(sentence(&secrets), "get, list, watch secrets in namespace ns");
        let everything = sentence(&all);
        assert!(everything.contains("more"), "{everything}");
        assert!(secrets.iter().any(|right| is_needed(right, true)));
        let lease = |right: &&Right| right.resource == "leases" && right.namespace.is_some();
        assert!(all.iter().filter(lease).all(|right| is_needed(right, true)));
        assert!(!all.iter().filter(lease).any(|right| is_needed(right, false)));
        assert!(
            !all.iter()
                .any(|right| right.verb == "create" && is_needed(right, false))
        );
    }
}
