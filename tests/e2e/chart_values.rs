//! The values of the chart that its README names, and what each must bring.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// Of these renderings alone: other tests use the API server too.
pub(crate) const NAMESPACE: &str = "gantry-chart";

/// What must be true of the rendered manifests.
pub(crate) enum Check {
    /// The object of this kind has this value there.
    Is(&'static str, &'static str, Value),
    /// The list there has this item.
    Has(&'static str, &'static str, Value),
    /// No item of the list there has this name.
    HasNot(&'static str, &'static str, &'static str),
    /// There is an object of this kind.
    Some(&'static str),
    /// There is one of this name.
    Named(&'static str, &'static str),
    /// There is none.
    None(&'static str),
    /// The object has nothing there.
    Absent(&'static str, &'static str),
}

use Check::{Absent, Has, HasNot, Is};

const POD: &str = "/spec/template/spec";
const ARGS: &str = "/spec/template/spec/containers/0/args";
const ENV: &str = "/spec/template/spec/containers/0/env";

fn in_pod(path: &str) -> &'static str {
    format!("{POD}{path}").leak()
}

fn deployment(path: &'static str, value: Value) -> Check {
    Is("Deployment", path, value)
}

fn pod(path: &str, value: Value) -> Check {
    Is("Deployment", in_pod(path), value)
}

fn arg(text: &str) -> Check {
    Has("Deployment", ARGS, json!(text))
}

fn env(name: &str, value: &str) -> Check {
    Has("Deployment", ENV, json!({ "name": name, "value": value }))
}

/// Values, and what they must bring. Each row is rendered by each version of Helm.
#[allow(clippy::too_many_lines, reason = "a table")]
pub(crate) fn table() -> Vec<(Value, Vec<Check>)> {
    vec![
        (
            json!({}),
            vec![
                Is("Deployment", "/metadata/name", json!("gantry-operator")),
                deployment("/spec/replicas", json!(1)),
                Absent("Deployment", "/spec/revisionHistoryLimit"),
                deployment("/spec/strategy/type", json!("RollingUpdate")),
                pod(
                    "/containers/0/image",
                    json!(format!(
                        "ghcr.io/gantry-pkg/gantry-operator:v{}",
                        env!("CARGO_PKG_VERSION")
                    )),
                ),
                pod("/serviceAccountName", json!("gantry-operator")),
                pod("/securityContext/runAsNonRoot", json!(true)),
                pod(
                    "/containers/0/securityContext/readOnlyRootFilesystem",
                    json!(true),
                ),
                arg("--leader-election=true"),
                arg("--crds=apply"),
                arg("--cache-size=512Mi"),
                arg("--metrics-bind-address=:8080"),
                arg("--health-probe-bind-address=:8081"),
                pod("/volumes/0/emptyDir", json!({ "sizeLimit": "2Gi" })),
                HasNot("Deployment", ENV, "CA_BUNDLE_PATH"),
                HasNot("Deployment", ENV, "HTTPS_PROXY"),
                Check::Some("ClusterRole"),
                Check::Some("Service"),
                Check::None("ServiceMonitor"),
                Check::None("PodMonitor"),
                Check::None("PrometheusRule"),
                Check::None("ConfigMap"),
                Check::None("NetworkPolicy"),
                Check::None("PodDisruptionBudget"),
                Check::None("CustomResourceDefinition"),
                Check::None("ValidatingAdmissionPolicy"),
                arg("--reference-namespace=crossplane-system"),
                arg("--reference-service-account=rbac-manager"),
                Has(
                    "Pod",
                    "/spec/containers/0/args",
                    json!("--ask-ready=$(GANTRY_OPERATOR_SERVICE_HOST):8081"),
                ),
            ],
        ),
        (
            json!({
                "fullnameOverride": "operator", "replicas": 3, "revisionHistoryLimit": 4,
                "deploymentStrategy": "Recreate", "nodeSelector": { "disk": "fast" },
                "tolerations": [{ "key": "infra", "operator": "Exists" }],
                "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [] } },
                "topologySpreadConstraints": [
                    { "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway" },
                ],
                "priorityClassName": "system-cluster-critical", "runtimeClassName": "gvisor", "hostNetwork": true,
                "dnsPolicy": "None", "dnsConfig": { "nameservers": ["10.0.0.1"] },
                "terminationGracePeriodSeconds": 20, "customLabels": { "team": "platform" },
                "customAnnotations": { "example.org/note": "x" }, "resources": { "limits": { "cpu": 2 } },
            }),
            vec![
                Is("Deployment", "/metadata/name", json!("operator")),
                Is("Service", "/metadata/name", json!("operator")),
                Is("ServiceAccount", "/metadata/name", json!("operator")),
                deployment("/spec/replicas", json!(3)),
                deployment("/spec/revisionHistoryLimit", json!(4)),
                deployment("/spec/strategy/type", json!("Recreate")),
                pod("/nodeSelector/disk", json!("fast")),
                pod("/tolerations/0/key", json!("infra")),
                pod(
                    "/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution",
                    json!([]),
                ),
                pod("/topologySpreadConstraints/0/topologyKey", json!("zone")),
                pod(
                    "/topologySpreadConstraints/0/labelSelector/matchLabels/app.kubernetes.io~1instance",
                    json!("gantry"),
                ),
                pod("/priorityClassName", json!("system-cluster-critical")),
                pod("/runtimeClassName", json!("gvisor")),
                pod("/hostNetwork", json!(true)),
                pod("/dnsPolicy", json!("None")),
                pod("/dnsConfig/nameservers/0", json!("10.0.0.1")),
                pod("/terminationGracePeriodSeconds", json!(20)),
                pod("/containers/0/resources/limits/cpu", json!(2)),
                deployment("/metadata/labels/team", json!("platform")),
                deployment("/spec/template/metadata/labels/team", json!("platform")),
                Is("ClusterRole", "/metadata/labels/team", json!("platform")),
                deployment("/metadata/annotations/example.org~1note", json!("x")),
                deployment(
                    "/spec/template/metadata/annotations/example.org~1note",
                    json!("x"),
                ),
            ],
        ),
        (
            json!({
                "nameOverride": "packages", "leaderElection": false, "debug": true, "crds": "check",
                "packageRuntime": "External", "args": ["--strict-lint", "--plain-http=registry.test"],
                "image": { "repository": "mirror.test/gantry", "tag": "main", "digest": DIGEST, "pullPolicy": "Always" },
                "imagePullSecrets": ["one", { "name": "two" }],
                "serviceAccount": { "name": "own", "customAnnotations": { "cloud/role": "r" } },
            }),
            vec![
                Is("Deployment", "/metadata/name", json!("gantry-packages-operator")),
                deployment(
                    "/spec/selector/matchLabels/app.kubernetes.io~1name",
                    json!("packages"),
                ),
                arg("--leader-election=false"),
                arg("--debug"),
                arg("--crds=check"),
                arg("--package-runtime=External"),
                arg("--strict-lint"),
                arg("--plain-http=registry.test"),
                pod(
                    "/containers/0/image",
                    json!(format!("mirror.test/gantry:main@{DIGEST}")),
                ),
                pod("/containers/0/imagePullPolicy", json!("Always")),
                pod("/imagePullSecrets", json!([{ "name": "one" }, { "name": "two" }])),
                Is(
                    "ServiceAccount",
                    "/imagePullSecrets",
                    json!([{ "name": "one" }, { "name": "two" }]),
                ),
                Is("ServiceAccount", "/metadata/name", json!("own")),
                Is("ServiceAccount", "/metadata/annotations/cloud~1role", json!("r")),
                pod("/serviceAccountName", json!("own")),
                Is("ClusterRoleBinding", "/subjects/0/name", json!("own")),
                Is(
                    "Pod",
                    "/spec/containers/0/image",
                    json!(format!("mirror.test/gantry:main@{DIGEST}")),
                ),
            ],
        ),
        (
            json!({
                "image": { "repository": "mirror.test/gantry:mine", "ignoreTag": true },
                "serviceAccount": { "create": false, "name": "given" }, "rbac": { "create": false },
                "test": { "enabled": false },
            }),
            vec![
                pod("/containers/0/image", json!("mirror.test/gantry:mine")),
                pod("/serviceAccountName", json!("given")),
                Check::None("ServiceAccount"),
                Check::None("ClusterRole"),
                Check::None("Role"),
                Check::None("RoleBinding"),
                Check::None("Pod"),
            ],
        ),
        (
            json!({
                "image": { "digest": DIGEST }, "rbac": { "enforcedOwnerReferences": true },
                "extraEnvVars": { "RUST.LOG": "debug", "N": 1 },
                "extraEnv": [{ "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }],
                "extraVolumes": [{ "name": "more", "emptyDir": {} }],
                "extraVolumeMounts": [{ "name": "more", "mountPath": "/more" }],
                "sidecars": [{ "name": "side-{{ .Release.Name }}", "image": "side:1" }],
                "extraObjects": [
                    { "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "{{ .Release.Name }}-more" } },
                ],
            }),
            vec![
                pod(
                    "/containers/0/image",
                    json!(format!("ghcr.io/gantry-pkg/gantry-operator@{DIGEST}")),
                ),
                Check::Named("ClusterRole", "gantry-chart:gantry-operator:owner-references"),
                env("RUST_LOG", "debug"),
                env("N", "1"),
                Has(
                    "Deployment",
                    ENV,
                    json!({ "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }),
                ),
                Has(
                    "Deployment",
                    in_pod("/volumes"),
                    json!({ "name": "more", "emptyDir": {} }),
                ),
                Has(
                    "Deployment",
                    in_pod("/containers/0/volumeMounts"),
                    json!({ "name": "more", "mountPath": "/more" }),
                ),
                pod("/containers/1/name", json!("side-gantry")),
                Is("ConfigMap", "/metadata/name", json!("gantry-more")),
            ],
        ),
        (
            json!({
                "provider": { "packages": [
                    "registry.test/a/nimbus:v1",
                    { "package": "registry.test/b:v1", "name": "b", "packagePullPolicy": "Always",
                      "packagePullSecrets": [{ "name": "key" }], "revisionHistoryLimit": 2,
                      "runtimeConfigRef": { "name": "big" } },
                ] },
                "configuration": { "packages": ["registry.test/c:v1"] },
                "function": { "packages": [{ "package": "registry.test/d:v1", "revisionActivationPolicy": "Manual" }] },
                "sidecars": "- name: text\n  image: side:{{ .Chart.Version }}\n",
                "extraObjects": ["apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Namespace }}'}\n"],
            }),
            vec![
                arg("--provider=registry.test/a/nimbus:v1"),
                arg(
                    "--provider={\"name\":\"b\",\"package\":\"registry.test/b:v1\",\"packagePullPolicy\":\"Always\",\
                     \"packagePullSecrets\":[{\"name\":\"key\"}],\"revisionHistoryLimit\":2,\
                     \"runtimeConfigRef\":{\"name\":\"big\"}}",
                ),
                arg("--configuration=registry.test/c:v1"),
                arg(
                    "--function={\"package\":\"registry.test/d:v1\",\"revisionActivationPolicy\":\"Manual\"}",
                ),
                pod("/containers/1/name", json!("text")),
                Is("ConfigMap", "/metadata/name", json!(NAMESPACE)),
            ],
        ),
        (
            json!({
                "packageCache": { "size": "64Mi", "medium": "Memory", "sizeLimit": "128Mi" },
                "registryCaBundleConfig": { "name": "authorities", "key": "ca.pem" },
                "proxy": { "httpProxy": "http://p:1", "httpsProxy": "http://p:2", "noProxy": ".svc,10.0.0.0/8" },
                "readiness": { "port": 9001 }, "metrics": { "enabled": false, "port": 9000 },
            }),
            vec![
                arg("--cache-size=64Mi"),
                pod(
                    "/volumes/0/emptyDir",
                    json!({ "medium": "Memory", "sizeLimit": "128Mi" }),
                ),
                env("CA_BUNDLE_PATH", "/certs/ca.pem"),
                Has(
                    "Deployment",
                    in_pod("/volumes"),
                    json!({ "name": "ca-certs", "configMap": { "name": "authorities",
                        "items": [{ "key": "ca.pem", "path": "ca.pem" }] } }),
                ),
                env("HTTP_PROXY", "http://p:1"),
                env("HTTPS_PROXY", "http://p:2"),
                env("NO_PROXY", ".svc,10.0.0.0/8"),
                arg("--health-probe-bind-address=:9001"),
                arg("--metrics-bind-address=127.0.0.1:9000"),
                pod(
                    "/containers/0/ports",
                    json!([{ "name": "probes", "containerPort": 9001 }]),
                ),
                Absent(
                    "Deployment",
                    "/spec/template/metadata/annotations/prometheus.io~1scrape",
                ),
                Is(
                    "Service",
                    "/spec/ports",
                    json!([{ "name": "probes", "port": 9001, "targetPort": "probes" }]),
                ),
            ],
        ),
        (
            json!({ "packageCache": { "pvc": "claim", "configMap": "loses" } }),
            vec![pod(
                "/volumes/0/persistentVolumeClaim",
                json!({ "claimName": "claim" }),
            )],
        ),
        (
            json!({ "packageCache": {
                "configMap": "store", "configMapItems": [{ "key": "version", "path": "version" }],
            } }),
            vec![pod(
                "/volumes/0/configMap",
                json!({ "name": "store", "items": [{ "key": "version", "path": "version" }] }),
            )],
        ),
        (
            json!({
                "podSecurityContext": { "fsGroup": 1 }, "securityContext": { "privileged": false },
                "service": { "customAnnotations": { "a/b": "c" } },
                "metrics": {
                    "enabled": true, "port": 9000,
                    "serviceMonitor": { "enabled": true, "interval": "30s", "labels": { "release": "p" },
                        "relabelings": [{ "action": "labeldrop" }], "metricRelabelings": [{ "action": "drop" }] },
                    "podMonitor": { "enabled": true, "interval": "1m", "labels": { "release": "q" },
                        "relabelings": [{ "action": "labelmap" }], "metricRelabelings": [{ "action": "keep" }] },
                    "prometheusRule": { "enabled": true, "labels": { "release": "r" } },
                    "dashboard": { "enabled": true, "labels": { "grafana_dashboard": "yes" }, "annotations": { "f": "g" } },
                },
                "networkPolicy": { "enabled": true, "metricsFrom": [{ "namespaceSelector": {} }],
                    "egress": [{ "ports": [{ "port": 443 }] }] },
                "podDisruptionBudget": { "enabled": true, "minAvailable": "50%" },
            }),
            vec![
                pod("/securityContext/fsGroup", json!(1)),
                pod("/containers/0/securityContext/privileged", json!(false)),
                Is("Service", "/metadata/annotations/a~1b", json!("c")),
                deployment(
                    "/spec/template/metadata/annotations/prometheus.io~1port",
                    json!("9000"),
                ),
                Is("Service", "/spec/ports/0/port", json!(9000)),
                Is("ServiceMonitor", "/metadata/labels/release", json!("p")),
                Is("ServiceMonitor", "/spec/endpoints/0/interval", json!("30s")),
                Is(
                    "ServiceMonitor",
                    "/spec/endpoints/0/relabelings/0/action",
                    json!("labeldrop"),
                ),
                Is(
                    "ServiceMonitor",
                    "/spec/endpoints/0/metricRelabelings/0/action",
                    json!("drop"),
                ),
                Is("PodMonitor", "/metadata/labels/release", json!("q")),
                Is("PodMonitor", "/spec/podMetricsEndpoints/0/interval", json!("1m")),
                Is(
                    "PodMonitor",
                    "/spec/podMetricsEndpoints/0/relabelings/0/action",
                    json!("labelmap"),
                ),
                Is(
                    "PodMonitor",
                    "/spec/podMetricsEndpoints/0/metricRelabelings/0/action",
                    json!("keep"),
                ),
                Is("PrometheusRule", "/metadata/labels/release", json!("r")),
                Check::Some("PrometheusRule"),
                Is("ConfigMap", "/metadata/labels/grafana_dashboard", json!("yes")),
                Is("ConfigMap", "/metadata/annotations/f", json!("g")),
                Is("NetworkPolicy", "/spec/policyTypes", json!(["Ingress", "Egress"])),
                Is("NetworkPolicy", "/spec/egress/0/ports/0/port", json!(443)),
                Is("NetworkPolicy", "/spec/ingress/0/ports/0/port", json!(8081)),
                Is(
                    "NetworkPolicy",
                    "/spec/ingress/1/from/0/namespaceSelector",
                    json!({}),
                ),
                Is("PodDisruptionBudget", "/spec/minAvailable", json!("50%")),
                Absent("PodDisruptionBudget", "/spec/maxUnavailable"),
            ],
        ),
        (
            json!({ "podDisruptionBudget": { "enabled": true }, "networkPolicy": { "enabled": true } }),
            vec![
                Is("PodDisruptionBudget", "/spec/maxUnavailable", json!(1)),
                Is("NetworkPolicy", "/spec/policyTypes", json!(["Ingress"])),
                Absent("NetworkPolicy", "/spec/egress"),
            ],
        ),
        (
            json!({
                "podDisruptionBudget": { "enabled": true, "maxUnavailable": 2 },
                "besideCrossplane": { "enabled": true, "namespaces": ["xp"], "serviceAccounts": ["core"] },
            }),
            vec![
                Check::Some("ValidatingAdmissionPolicy"),
                Check::Some("ValidatingAdmissionPolicyBinding"),
                Is(
                    "ValidatingAdmissionPolicy",
                    "/spec/matchConditions/0/expression",
                    json!(
                        "request.name == \"gantry-admission-probe\" || \
                         request.userInfo.username in [\"system:serviceaccount:xp:core\"]"
                    ),
                ),
                arg("--reference-namespace=xp"),
                arg("--reference-service-account=core"),
                Is("PodDisruptionBudget", "/spec/maxUnavailable", json!(2)),
            ],
        ),
    ]
}

/// The first object of a kind.
pub(crate) fn find<'a>(objects: &'a [Value], kind: &str) -> Option<&'a Value> {
    objects.iter().find(|object| object["kind"] == kind)
}

/// Whether a check holds.
pub(crate) fn holds(objects: &[Value], check: &Check) -> Result<()> {
    let at = |kind: &str, path: &str| {
        let object = find(objects, kind).with_context(|| format!("there is no {kind}"))?;
        anyhow::Ok(object.pointer(path).cloned().unwrap_or_default())
    };
    match check {
        Is(kind, path, value) => {
            let found = at(kind, path)?;
            ensure!(found == *value, "{kind} {path}: {found} and not {value}");
        }
        Has(kind, path, value) => {
            let found = at(kind, path)?;
            let items = found.as_array().cloned().unwrap_or_default();
            ensure!(
                items.contains(value),
                "{kind} {path}: {value} is not in {found:#}"
            );
        }
        HasNot(kind, path, name) => {
            let found = at(kind, path)?;
            let named = |item: &Value| item["name"] == *name;
            ensure!(
                !found.as_array().context("a list")?.iter().any(named),
                "{kind} {path}: {name}"
            );
        }
        Check::Some(kind) => ensure!(find(objects, kind).is_some(), "there is no {kind}"),
        Check::Named(kind, name) => {
            let named = |object: &&Value| object["kind"] == *kind && object["metadata"]["name"] == *name;
            ensure!(objects.iter().find(named).is_some(), "there is no {kind} {name}");
        }
        Check::None(kind) => ensure!(find(objects, kind).is_none(), "there is a {kind}"),
        Absent(kind, path) => ensure!(at(kind, path)?.is_null(), "{kind} has {path}"),
    }
    Ok(())
}
