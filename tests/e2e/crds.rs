//! What the API server makes of the nine CRDs: taken, served, defaulted, refused (spec: API reference ch. 1).

use anyhow::{Context, Result};
use gantry_tests::deployment_schema;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};
use testkit::run;
use testkit::tools::workspace;
use testkit::world::resource;

use crate::plane;

const KINDS: [&str; 9] = [
    "Provider",
    "Configuration",
    "Function",
    "ProviderRevision",
    "ConfigurationRevision",
    "FunctionRevision",
    "Lock",
    "ImageConfig",
    "DeploymentRuntimeConfig",
];
const PACKAGES: [&str; 3] = ["Provider", "Configuration", "Function"];
const REVISIONS: [&str; 3] = ["ProviderRevision", "ConfigurationRevision", "FunctionRevision"];

/// Creates an object (by dry run: nothing stays) and answers it as the API server would store it.
async fn created(kind: &str, version: Option<&str>, rest: Value) -> Result<Value> {
    let mut resource = resource(kind)?;
    if let Some(version) = version {
        resource.api_version = resource
            .api_version
            .replace(&format!("/{}", resource.version), &format!("/{version}"));
        version.clone_into(&mut resource.version);
    }
    let mut object = json!({
        "apiVersion": resource.api_version, "kind": kind, "metadata": { "name": "example" },
    });
    for (key, value) in rest.as_object().context("an object")? {
        object[key] = value.clone();
    }
    let objects: Api<DynamicObject> = Api::all_with(plane().await?.client(), &resource);
    let params = PostParams {
        dry_run: true,
        field_manager: None,
    };
    let answer = objects.create(&params, &serde_json::from_value(object)?).await?;
    Ok(serde_json::to_value(answer)?)
}

/// That creating is refused; answers the API server's message.
async fn refused(kind: &str, rest: Value) -> Result<String> {
    match created(kind, None, rest.clone()).await {
        Ok(_) => anyhow::bail!("{kind} {rest} was accepted"),
        Err(error) => match error.downcast::<kube::Error>()? {
            kube::Error::Api(status) if status.code == 422 || status.code == 400 => Ok(status.message),
            other => Err(other.into()),
        },
    }
}

/// A reference to a runtime config as the API server completes it.
fn runtime_config(name: &str) -> Value {
    json!({ "apiVersion": "pkg.crossplane.io/v1beta1", "kind": "DeploymentRuntimeConfig", "name": name })
}

#[test]
fn all_nine_are_served_and_nothing_else_of_the_group() -> Result<()> {
    run(async {
        let plane = plane().await?;
        let served = plane
            .kubectl(&["api-resources", "--api-group=pkg.crossplane.io", "--no-headers"])
            .await?;
        assert_eq!(served.lines().count(), 9, "{served}");
        for kind in KINDS {
            assert!(
                served.lines().any(|l| l.ends_with(&format!(" {kind}"))),
                "{kind}: {served}"
            );
        }
        let not_ours = [
            "get",
            "crd",
            "-o",
            "jsonpath={range .items[*]}{.status.conditions[*].type}{\"\\n\"}{end}",
        ];
        let conditions = plane.kubectl(&not_ours).await?;
        assert!(!conditions.contains("NonStructuralSchema"), "{conditions}");
        Ok(())
    })
}

#[test]
fn every_field_is_explained() -> Result<()> {
    run(async {
        let plane = plane().await?;
        for kind in KINDS {
            let resource = resource(kind)?;
            let name = resource.plural;
            let version = format!("--api-version={}", resource.api_version);
            let text = plane
                .kubectl(&["explain", &name, &version, "--recursive"])
                .await?;
            assert!(text.contains("DESCRIPTION"), "{text}");
            let top = plane.kubectl(&["explain", &name, &version]).await?;
            assert!(!top.contains("<empty>"), "{kind} has no description:\n{top}");
        }
        let field = plane
            .kubectl(&["explain", "providers.spec.revisionHistoryLimit"])
            .await?;
        assert!(
            field.contains("DESCRIPTION") && !field.contains("<empty>") && field.contains("revision"),
            "{field}"
        );
        let deep = [
            "explain",
            "imageconfigs.spec.verification.cosign.authorities.keyless.identities.issuerRegExp",
        ];
        assert!(!plane.kubectl(&deep).await?.contains("<empty>"));
        Ok(())
    })
}

#[test]
fn package_references_are_checked_as_the_table_says() -> Result<()> {
    run(async {
        let accepted = [
            "xpkg.example.org/a/b:v1",
            "docker.example.org/a/b@sha256:abc",
            "xpkg.io/a/b:v1@sha256:ab",
            "registry.local:5000/a/b:v1",
            "10.0.0.1:5000/x:1",
            "127.0.0.1:5000/a/b:v1",
            "xpkg.io/a.b/c:v1",
            "XPKG.io/A/b:v1",
            "xpkg.io/a:b/c",
            "xpkg.io/a/b@sha256X",
        ];
        let not_accepted = [
            "localhost:5000/a/b:v1",
            "kind-registry:5000/a:v1",
            "a/b:v1",
            "xpkg.example.org/a/b",
            "xpkg.io/a/b@sha512:ab",
            "xpkg.io/a/b:v1@sha512:ab",
            "",
            "xpkg.io",
        ];
        for kind in PACKAGES {
            for reference in accepted {
                let spec = json!({ "spec": { "package": reference } });
                created(kind, None, spec)
                    .await
                    .with_context(|| format!("{kind} with {reference}"))?;
            }
            for reference in not_accepted {
                let message = refused(kind, json!({ "spec": { "package": reference } })).await?;
                assert!(
                    message.contains("must be a fully qualified image name"),
                    "{reference}: {message}"
                );
            }
        }
        // A revision's image has no such rule.
        for kind in REVISIONS {
            let spec = json!({ "spec": { "image": "a/b:v1", "desiredState": "Active", "revision": 1 } });
            created(kind, None, spec).await?;
        }
        Ok(())
    })
}

#[test]
fn packages_get_their_defaults() -> Result<()> {
    run(async {
        for kind in PACKAGES {
            let given =
                json!({ "spec": { "package": "xpkg.example.org/a/b:v1", "packagePullSecrets": [{}] } });
            let mut expected = json!({
                "package": "xpkg.example.org/a/b:v1",
                "revisionActivationPolicy": "Automatic",
                "revisionHistoryLimit": 1,
                "packagePullPolicy": "IfNotPresent",
                "packagePullSecrets": [{ "name": "" }],
                "ignoreCrossplaneConstraints": false,
                "skipDependencyResolution": false,
            });
            let runtime = runtime_config("default");
            if kind != "Configuration" {
                expected["runtimeConfigRef"] = runtime.clone();
            }
            let stored = created(kind, None, given.clone()).await?;
            assert_eq!(stored["spec"], expected, "{kind}");
            if kind == "Function" {
                assert_eq!(created(kind, Some("v1beta1"), given).await?["spec"], expected);
            }

            let given =
                json!({ "spec": { "image": "x.io/a:v1", "desiredState": "Inactive", "revision": 3 } });
            let mut expected = json!({
                "image": "x.io/a:v1", "desiredState": "Inactive", "revision": 3,
                "packagePullPolicy": "IfNotPresent",
                "ignoreCrossplaneConstraints": false,
                "skipDependencyResolution": false,
            });
            if kind != "Configuration" {
                expected["runtimeConfigRef"] = runtime;
            }
            let stored = created(&format!("{kind}Revision"), None, given).await?;
            assert_eq!(stored["spec"], expected, "{kind}Revision");
        }
        Ok(())
    })
}

#[test]
fn invalid_specs_are_refused_and_odd_ones_taken() -> Result<()> {
    run(async {
        let package = "xpkg.example.org/a/b:v1";
        for kind in PACKAGES {
            refused(kind, json!({ "spec": {} })).await?;
            refused(
                kind,
                json!({ "spec": { "package": package, "revisionHistoryLimit": "1" } }),
            )
            .await?;
            refused(
                kind,
                json!({ "spec": { "package": package, "commonLabels": { "a": 1 } } }),
            )
            .await?;
            // The reference has no enums here, no minimum, and no required spec.
            let odd = json!({
                "package": package, "revisionActivationPolicy": "Whenever", "packagePullPolicy": "Sometimes",
                "revisionHistoryLimit": -1,
            });
            created(kind, None, json!({ "spec": odd })).await?;
            created(kind, None, json!({})).await?;
        }
        for kind in ["Provider", "Function"] {
            refused(
                kind,
                json!({ "spec": { "package": package, "runtimeConfigRef": { "kind": "X" } } }),
            )
            .await?;
        }
        for kind in REVISIONS {
            for missing in ["image", "desiredState", "revision"] {
                let mut spec = json!({ "image": package, "desiredState": "", "revision": 1 });
                spec.as_object_mut().unwrap().remove(missing);
                let message = refused(kind, json!({ "spec": spec })).await?;
                assert!(message.contains(missing), "{message}");
            }
            created(kind, None, json!({})).await?;
        }
        Ok(())
    })
}

#[test]
fn image_configs_are_defaulted_and_refused() -> Result<()> {
    run(async {
        let full = json!({ "spec": {
            "matchImages": [{ "prefix": "xpkg.example.org" }],
            "registry": { "authentication": { "pullSecretRef": {} } },
            "rewriteImage": { "prefix": "mirror.example.org" },
            "runtime": { "configRef": { "name": "x" } },
            "verification": { "provider": "Cosign", "cosign": { "authorities": [
                { "name": "k", "key": { "secretRef": { "name": "s", "key": "k" } } },
                { "name": "l", "keyless": { "identities": [{ "issuer": "i", "subjectRegExp": ".*" }] } },
            ] } },
        } });
        let stored = created("ImageConfig", None, full).await?;
        let spec = &stored["spec"];
        assert_eq!(spec["matchImages"][0]["type"], "Prefix");
        assert_eq!(spec["registry"]["authentication"]["pullSecretRef"]["name"], "");
        assert_eq!(
            spec["verification"]["cosign"]["authorities"][0]["key"]["hashAlgorithm"],
            "sha256"
        );
        assert_eq!(spec["runtime"]["configRef"], runtime_config("x"));

        let matched = json!([{ "prefix": "a" }]);
        let message = refused("ImageConfig", json!({ "spec": { "matchImages": [] } })).await?;
        assert!(
            message.contains("matchImages should have at least one element."),
            "{message}"
        );
        for wrong in [
            json!({}),
            json!({ "matchImages": [{ "type": "Regex", "prefix": "a" }] }),
            json!({ "matchImages": [{}] }),
            json!({ "matchImages": matched, "registry": { "authentication": {} } }),
            json!({ "matchImages": matched, "rewriteImage": {} }),
            json!({ "matchImages": matched, "verification": { "provider": "Notary" } }),
            json!({ "matchImages": matched, "verification": {} }),
            json!({ "matchImages": matched, "runtime": { "configRef": {} } }),
        ] {
            refused("ImageConfig", json!({ "spec": wrong })).await?;
        }
        Ok(())
    })
}

#[test]
fn locks_and_runtime_configs() -> Result<()> {
    run(async {
        let entry = json!({
            "name": "a-1", "apiVersion": "pkg.crossplane.io/v1", "kind": "Provider", "source": "x.io/a",
            "version": "v1.0.0", "dependencies": [{ "package": "x.io/b", "constraints": ">=v1" }],
        });
        let stored = created("Lock", None, json!({ "packages": [entry.clone()] })).await?;
        assert_eq!(stored["packages"][0], entry);
        assert!(stored.get("spec").is_none());
        // The reference writes `type: null` when there is none.
        let mut with_null = entry.clone();
        with_null["type"] = Value::Null;
        created("Lock", None, json!({ "packages": [with_null] })).await?;
        for missing in ["name", "source", "version", "dependencies"] {
            let mut wrong = entry.clone();
            wrong.as_object_mut().unwrap().remove(missing);
            refused("Lock", json!({ "packages": [wrong] })).await?;
        }
        let mut wrong = entry.clone();
        wrong["type"] = json!("Extension");
        refused("Lock", json!({ "packages": [wrong] })).await?;

        let template = json!({
            "deploymentTemplate": { "spec": {
                "selector": {}, "template": { "metadata": { "labels": { "a": "b" } },
                "spec": { "containers": [{ "name": "package-runtime" }] } },
            } },
            "serviceAccountTemplate": { "metadata": { "name": "x", "annotations": { "a": "b" } } },
        });
        let stored = created(
            "DeploymentRuntimeConfig",
            None,
            json!({ "spec": template.clone() }),
        )
        .await?;
        assert_eq!(stored["spec"], template);
        created("DeploymentRuntimeConfig", None, json!({ "spec": {} })).await?;
        Ok(())
    })
}

/// What the file with the Deployment's schema is made of, on the API server that it is of: `GANTRY_WRITE=1` writes it.
#[test]
fn runtime_configs_have_the_schema_of_a_deployment() -> Result<()> {
    run(async {
        let document = plane()
            .await?
            .kubectl(&["get", "--raw", "/openapi/v3/apis/apps/v1"])
            .await?;
        let published = deployment_schema::structural(&serde_json::from_str(&document)?)?;
        let path = workspace().join("crates/api/src/crd/deployment_spec.json");
        if std::env::var_os("GANTRY_WRITE").is_some() {
            std::fs::write(&path, serde_json::to_string_pretty(&published)? + "\n")?;
        }
        let committed: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        assert!(
            committed == published,
            "run this test with GANTRY_WRITE=1, then `cargo xtask gen`"
        );
        // A template that a Deployment can't have is refused with its path; what it can have stays.
        let template = |replicas: Value| {
            json!({ "spec": { "deploymentTemplate": { "spec": {
                "replicas": replicas, "selector": {},
                "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{
                    "name": "package-runtime", "ports": [{ "containerPort": 1 }], "resources": { "limits": { "cpu": "1" } },
                }] } },
            } } } })
        };
        let message = refused("DeploymentRuntimeConfig", template(json!("many"))).await?;
        assert!(
            message.contains("spec.deploymentTemplate.spec.replicas"),
            "{message}"
        );
        let stored = created("DeploymentRuntimeConfig", None, template(json!(2))).await?;
        let pod = &stored["spec"]["deploymentTemplate"]["spec"]["template"];
        assert_eq!(pod["metadata"]["labels"]["a"], "b");
        assert_eq!(pod["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["cpu"], "1");
        Ok(())
    })
}

#[test]
fn categories_list_all_kinds_and_columns_show_what_matters() -> Result<()> {
    run(async {
        let plane = plane().await?;
        for kind in PACKAGES {
            let name = format!("listed-{}", kind.to_lowercase());
            let package: Api<DynamicObject> = Api::all_with(plane.client(), &resource(kind)?);
            let object = json!({
                "apiVersion": "pkg.crossplane.io/v1", "kind": kind, "metadata": { "name": name },
                "spec": { "package": "xpkg.example.org/listed:v1" },
            });
            package
                .create(&PostParams::default(), &serde_json::from_value(object)?)
                .await?;
            let condition = |kind: &str, status: &str| {
                let since = "2026-01-01T00:00:00Z";
                json!({ "type": kind, "status": status, "reason": "R", "lastTransitionTime": since })
            };
            let conditions = [condition("Installed", "True"), condition("Healthy", "Unknown")];
            let status = json!({ "status": { "conditions": conditions } });
            package
                .patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
                .await?;
            let revisions: Api<DynamicObject> =
                Api::all_with(plane.client(), &resource(&format!("{kind}Revision"))?);
            let object = json!({
                "apiVersion": "pkg.crossplane.io/v1", "kind": format!("{kind}Revision"),
                "metadata": { "name": format!("{name}-abc") },
                "spec": { "image": "xpkg.example.org/listed:v1", "desiredState": "Active", "revision": 7 },
            });
            revisions
                .create(&PostParams::default(), &serde_json::from_value(object)?)
                .await?;
        }
        for category in ["packages", "pkg"] {
            let text = plane.kubectl(&["get", category]).await?;
            for kind in PACKAGES {
                let kind = kind.to_lowercase();
                let prefix = format!("{kind}.pkg.crossplane.io/listed-{kind}");
                let row = text
                    .lines()
                    .find(|l| l.starts_with(&prefix))
                    .with_context(|| text.clone())?;
                let columns: Vec<&str> = row.split_whitespace().collect();
                assert_eq!(
                    columns[1..4],
                    ["True", "Unknown", "xpkg.example.org/listed:v1"],
                    "{text}"
                );
            }
        }
        for category in ["packagerevisions", "pkgrev"] {
            let text = plane.kubectl(&["get", category, "-o", "wide"]).await?;
            for kind in PACKAGES {
                let kind = kind.to_lowercase();
                let prefix = format!("{kind}revision.pkg.crossplane.io/listed-{kind}-abc");
                let row = text
                    .lines()
                    .find(|l| l.starts_with(&prefix))
                    .with_context(|| text.clone())?;
                assert!(row.contains(" Active ") && row.contains(" 7"), "{text}");
            }
            assert!(text.contains("DEP-FOUND") && text.contains("REVISION"), "{text}");
        }
        Ok(())
    })
}
