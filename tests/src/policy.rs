//! A policy of a test's cluster that refuses some of what the operator wants to write.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use testkit::world::USER;
use testkit::{World, synthetic};

/// To be in force on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A policy of the cluster that refuses objects with some text in their name.
pub struct Policy<'a> {
    world: &'a World,
    name: &'a str,
    part: &'a str,
    /// It lets dry runs pass.
    real_only: bool,
}

/// Sets up such a policy, and waits until it is in force.
pub async fn forbid<'a>(
    world: &'a World,
    name: &'a str,
    part: &'a str,
    real_only: bool,
) -> Result<Policy<'a>> {
    let condition = if real_only {
        format!("object.metadata.name.contains('{part}') && !(has(request.dryRun) && request.dryRun)")
    } else {
        format!("object.metadata.name.contains('{part}')")
    };
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": name },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [{
                "apiGroups": ["apiextensions.k8s.io"], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["customresourcedefinitions"],
            }] },
            "matchConditions": [
                { "name": "only-these", "expression": condition },
                { "name": "only-ours", "expression": format!("request.userInfo.username == '{USER}'") },
            ],
            "validations": [{ "expression": "false", "message": "the cluster's policy says no" }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": name },
        "spec": { "policyName": name, "validationActions": ["Deny"] },
    });
    world
        .plane()
        .apply_yaml(&format!("{policy}\n---\n{binding}"))
        .await?;
    let policy = Policy {
        world,
        name,
        part,
        real_only,
    };
    policy.in_force(true).await?;
    Ok(policy)
}

impl Policy<'_> {
    /// Waits until the API server refuses by it, or doesn't any more: it looks at its policies once a second.
    async fn in_force(&self, wanted: bool) -> Result<()> {
        let look = async || Ok((self.refuses().await? == wanted).then_some(()));
        let what = if wanted { "in force" } else { "out of force" };
        testkit::eventually(&format!("the policy is {what}"), SOON, look).await
    }

    /// Tries it out in the operator's name, if possible without writing.
    async fn refuses(&self) -> Result<bool> {
        let (world, part) = (self.world, self.part);
        let kubeconfig = world.operator_kubeconfig().to_string_lossy().into_owned();
        let as_operator = ["--kubeconfig", &kubeconfig];
        let tried = if self.real_only {
            // A dry run says nothing here; an annotation on an existing CRD that is refused does.
            let existing = world.list("CustomResourceDefinition", "").await?;
            let existing = existing.iter().map(crate::state::name).find(|n| n.contains(part));
            let existing = existing.context("no CRD to try the policy on")?;
            let annotate = [
                "annotate",
                "crd",
                "--overwrite",
                &existing,
                "example.org/tried=yes",
            ];
            world
                .plane()
                .try_kubectl(&[&as_operator[..], &annotate].concat(), None)
                .await?
        } else {
            let crd = synthetic::crd(&format!("probe.{part}.example.org"), "Probe", 2_000, None);
            let create = ["create", "--dry-run=server", "-f", "-"];
            world
                .plane()
                .try_kubectl(&[&as_operator[..], &create].concat(), Some(&crd.to_string()))
                .await?
        };
        Ok(tried.stderr.contains("says no"))
    }

    /// Removes it, and waits until it is out of force.
    pub async fn lift(self) -> Result<()> {
        for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
            self.world.plane().kubectl(&["delete", kind, self.name]).await?;
        }
        self.in_force(false).await
    }
}
