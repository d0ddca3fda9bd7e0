//! The rights of `deploy/rbac.yaml`: enough, and not more.

use anyhow::Result;
use testkit::run;
use testkit::tools::workspace;
use testkit::world::{ACCOUNT, NAMESPACE, USER};

use crate::plane;

#[test]
fn the_operator_may_do_its_work_and_nothing_beyond() -> Result<()> {
    run(async {
        let plane = plane().await?;
        plane.namespace(NAMESPACE).await?;
        plane
            .apply_yaml(&std::fs::read_to_string(workspace().join("deploy/rbac.yaml"))?)
            .await?;
        plane
            .kubectl(&["get", "serviceaccount", ACCOUNT, "-n", NAMESPACE])
            .await?;
        let may = async |verb: &str, what: &str, namespace: &str| {
            let args = ["auth", "can-i", verb, what, "-n", namespace, "--as", USER];
            anyhow::Ok(plane.try_kubectl(&args, None).await?.stdout.trim() == "yes")
        };
        for (verb, what) in [
            ("patch", "customresourcedefinitions.apiextensions.k8s.io"),
            ("create", "providerrevisions.pkg.crossplane.io"),
            ("delete", "functionrevisions.pkg.crossplane.io"),
            ("watch", "configurations.pkg.crossplane.io"),
            ("update", "leases.coordination.k8s.io/gantry-operator"),
            ("get", "secrets"),
        ] {
            assert!(may(verb, what, NAMESPACE).await?, "it may not {verb} {what}");
        }
        for (verb, what, namespace) in [
            (
                "delete",
                "customresourcedefinitions.apiextensions.k8s.io",
                NAMESPACE,
            ),
            ("delete", "providers.pkg.crossplane.io", NAMESPACE),
            ("get", "secrets", "default"),
            ("create", "pods", NAMESPACE),
            (
                "create",
                "clusterrolebindings.rbac.authorization.k8s.io",
                NAMESPACE,
            ),
            ("escalate", "clusterroles.rbac.authorization.k8s.io", NAMESPACE),
            ("impersonate", "users", NAMESPACE),
            ("*", "*", NAMESPACE),
        ] {
            assert!(
                !may(verb, what, namespace).await?,
                "it may {verb} {what} in {namespace}"
            );
        }
        Ok(())
    })
}
