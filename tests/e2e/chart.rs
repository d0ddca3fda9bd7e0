//! What the chart renders: each value that its README names, and values that it refuses.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testkit::helm::VERSIONS;
use testkit::tools::workspace;
use testkit::{Helm, run};

use crate::chart_values::{NAMESPACE, find, holds, table};
use crate::plane;

/// The manifests for these values.
async fn render(helm: &Helm, values: &Value) -> Result<Vec<Value>> {
    let chart = Helm::chart();
    let args = [
        "template",
        "gantry",
        &chart,
        "--namespace",
        NAMESPACE,
        "--values",
        "-",
    ];
    let text = helm.run(&args, Some(values)).await?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).context("rendered manifests")?;
    Ok(documents.into_iter().filter(|d| !d.is_null()).collect())
}

#[test]
fn each_value_does_what_it_says_under_both_versions_of_helm() -> Result<()> {
    run(async {
        let [four, three] = VERSIONS.map(|version| Helm::new(version, None));
        let (four, three) = (four?, three?);
        for (values, checks) in table() {
            let objects = render(&four, &values).await?;
            for check in &checks {
                holds(&objects, check).with_context(|| format!("values {values}"))?;
            }
            let other = render(&three, &values).await?;
            let key = |o: &Value| format!("{} {}", o["kind"], o["metadata"]["name"]);
            let sorted = |mut all: Vec<Value>| {
                all.sort_by_key(key);
                all
            };
            assert_eq!(sorted(other), sorted(objects), "values {values}");
        }
        Ok(())
    })
}

/// Paths of a value and of all within it.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    for (key, value) in value.as_object().into_iter().flatten() {
        let below = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        paths(value, &below, found);
    }
}

#[test]
fn no_value_of_the_readme_is_untested() -> Result<()> {
    let readme = std::fs::read_to_string(workspace().join("charts/gantry/README.md"))?;
    let (_, rest) = readme.split_once("\n## Values\n").context("a table of values")?;
    let table_of_values = rest.split("\n## ").next().unwrap_or_default();
    let mut tested = BTreeSet::new();
    for (values, _) in table() {
        paths(&values, "", &mut tested);
    }
    let documented = table_of_values
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let untested: Vec<&str> = documented.filter(|path| !tested.contains(*path)).collect();
    assert_eq!(untested, Vec::<&str>::new());
    Ok(())
}

#[test]
fn wrong_values_are_refused_with_their_path() -> Result<()> {
    run(async {
        let rows = [
            (json!({ "replica": 2 }), "'replica'"),
            (json!({ "replicas": "two" }), "/replicas"),
            (json!({ "image": { "tagg": "x" } }), "/image"),
            (json!({ "image": { "digest": "abc" } }), "/image/digest"),
            (
                json!({ "image": { "pullPolicy": "Sometimes" } }),
                "/image/pullPolicy",
            ),
            (json!({ "resourcesCrossplane": {} }), "'resourcesCrossplane'"),
            (json!({ "crds": "never" }), "/crds"),
            (json!({ "args": ["strict-lint"] }), "/args/0"),
            (
                json!({ "provider": { "packages": ["nimbus"] } }),
                "/provider/packages/0",
            ),
            (
                json!({ "provider": { "packages": [{ "package": "r.test/a:v1", "pullPolicy": "Always" }] } }),
                "/provider/packages/0",
            ),
            (
                json!({ "configuration": { "packages": [
                    { "package": "r.test/a:v1", "runtimeConfigRef": { "name": "x" } },
                ] } }),
                "/configuration/packages/0",
            ),
            (
                json!({ "function": { "packages": [{ "name": "x" }] } }),
                "/function/packages/0",
            ),
            (
                json!({ "packageCache": { "size": "much" } }),
                "/packageCache/size",
            ),
            (
                json!({ "packageCache": { "medium": "Disk" } }),
                "/packageCache/medium",
            ),
            (json!({ "metrics": { "port": 0 } }), "/metrics/port"),
            (
                json!({ "metrics": { "serviceMonitor": { "interval": 30 } } }),
                "/metrics/serviceMonitor/interval",
            ),
            (
                json!({ "proxy": { "httpsProxy": "proxy:3128" } }),
                "/proxy/httpsProxy",
            ),
            (
                json!({ "terminationGracePeriodSeconds": 1 }),
                "/terminationGracePeriodSeconds",
            ),
            (json!({ "customLabels": { "a": 1 } }), "/customLabels/a"),
            // What a schema can't say.
            (
                json!({ "replicas": 2, "leaderElection": false }),
                "leaderElection: false needs replicas: 1",
            ),
            (
                json!({ "metrics": { "enabled": false, "podMonitor": { "enabled": true } } }),
                "metrics.podMonitor.enabled needs metrics.enabled",
            ),
            (
                json!({ "metrics": { "port": 8081 } }),
                "metrics.port and readiness.port must differ",
            ),
            (
                json!({ "podDisruptionBudget": { "minAvailable": 1, "maxUnavailable": 1 } }),
                "exclude each other",
            ),
        ];
        let chart = Helm::chart();
        let args = ["template", "gantry", &chart, "--values", "-"];
        for version in VERSIONS {
            let helm = Helm::new(version, None)?;
            for (values, part) in &rows {
                let answer = helm.try_run(&args, Some(values)).await?;
                assert!(!answer.success, "{version}: {values} was accepted");
                assert!(
                    answer.stderr.contains(part),
                    "{version}: {values}: {}",
                    answer.stderr
                );
            }
        }
        Ok(())
    })
}

#[test]
fn helm_finds_nothing_to_complain_of() -> Result<()> {
    run(async {
        for version in VERSIONS {
            let helm = Helm::new(version, None)?;
            let said = helm.run(&["lint", "--strict", &Helm::chart()], None).await?;
            assert!(said.contains("0 chart(s) failed"), "{said}");
        }
        Ok(())
    })
}

#[test]
fn the_api_server_takes_all_manifests_and_the_pods_are_restricted() -> Result<()> {
    run(async {
        let plane = plane().await?;
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": NAMESPACE, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
        });
        plane.apply_yaml(&namespace.to_string()).await?;
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": "gantry-operator", "namespace": NAMESPACE } });
        plane.apply_yaml(&account.to_string()).await?;
        plane
            .apply_yaml(&account.to_string().replace("gantry-operator", "default"))
            .await?;
        let helm = Helm::new(VERSIONS[0], None)?;
        let dry_run = async |object: &Value| {
            let args = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
            plane.try_kubectl(&args, Some(&object.to_string())).await
        };
        let mut restricted = 0;
        for (values, _) in table() {
            // Those rows ask for what "restricted" forbids.
            let loose = ["hostNetwork", "podSecurityContext", "sidecars"];
            let loose = loose.iter().any(|key| values.get(key).is_some());
            for object in render(&helm, &values).await? {
                let kind = object["kind"].as_str().unwrap_or_default();
                if ["ServiceMonitor", "PodMonitor", "PrometheusRule"].contains(&kind) {
                    continue;
                }
                if kind != "Pod" || !loose {
                    let answer = dry_run(&object).await?;
                    let fine = answer.success || answer.stderr.contains("already exists");
                    assert!(fine, "{values}: {kind}: {}", answer.stderr);
                    assert!(
                        !answer.stderr.contains("PodSecurity") || loose,
                        "{values}: {}",
                        answer.stderr
                    );
                }
                if kind != "Deployment" || loose {
                    continue;
                }
                let mut spec = object["spec"]["template"]["spec"].clone();
                spec["serviceAccountName"] = json!("gantry-operator");
                let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": NAMESPACE }, "spec": spec });
                let answer = dry_run(&pod).await?;
                assert!(answer.success, "{values}: {}", answer.stderr);
                restricted += 1;
            }
        }
        assert!(restricted > 4, "{restricted}");
        // It is the API server that says so: what is not restricted is refused.
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": NAMESPACE },
            "spec": { "serviceAccountName": "gantry-operator", "containers": [{ "name": "c", "image": "i" }] } });
        let answer = dry_run(&pod).await?;
        assert!(
            answer.stderr.contains("violates PodSecurity \"restricted"),
            "{}",
            answer.stderr
        );
        Ok(())
    })
}

#[test]
fn the_plain_manifests_are_what_the_chart_makes_of_its_defaults() -> Result<()> {
    run(async {
        let plain = std::fs::read_to_string(workspace().join("deploy/operator.yaml"))?;
        let plain: Vec<Value> = serde_saphyr::from_multiple(&plain)?;
        let rendered = render(&Helm::new(VERSIONS[0], None)?, &json!({})).await?;
        for (kind, path) in [
            ("Deployment", "/spec/template/spec"),
            ("Deployment", "/spec/selector"),
            ("Deployment", "/spec/replicas"),
            ("Service", "/spec"),
        ] {
            let [ours, theirs] = [&plain, &rendered].map(|all| find(all, kind).and_then(|o| o.pointer(path)));
            assert!(
                ours.is_some() && ours == theirs,
                "{kind} {path}: {ours:#?} {theirs:#?}"
            );
        }
        Ok(())
    })
}
