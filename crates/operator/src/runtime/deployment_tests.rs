//! Scenarios 8.A12 of the reference, and what is ours.

use serde_json::json;

use super::*;

fn templates(spec: Value) -> Templates {
    Templates {
        spec: spec.as_object().cloned().unwrap_or_default(),
        ..Templates::default()
    }
}

struct Case {
    kind: PackageKind,
    templates: Templates,
    secrets: Vec<String>,
    policy: Option<&'static str>,
    client: Option<&'static str>,
    server: Option<&'static str>,
    at_zero: bool,
}

impl Case {
    fn of(kind: PackageKind, spec: Value) -> Self {
        Self {
            kind,
            templates: templates(spec),
            secrets: vec![],
            policy: Some("IfNotPresent"),
            client: (kind == PackageKind::Provider).then_some("nimbus-tls-client"),
            server: Some("nimbus-tls-server"),
            at_zero: false,
        }
    }

    fn provider(spec: Value) -> Self {
        Self::of(PackageKind::Provider, spec)
    }

    fn build(&self) -> Result<Value, Unbuildable> {
        spec(&Inputs {
            kind: self.kind,
            package: "nimbus",
            revision: "nimbus-1",
            uid: "u-1",
            templates: &self.templates,
            names: &Names::of(&self.templates, "nimbus", "nimbus-1"),
            image: "registry.test/nimbus@sha256:0",
            pull_secrets: &self.secrets,
            pull_policy: self.policy,
            client_secret: self.client,
            server_secret: self.server,
            loaded: None,
            at_zero: self.at_zero,
        })
    }

    fn spec(&self) -> Value {
        self.build().unwrap()
    }
}

fn container(spec: &Value) -> &Value {
    &spec["template"]["spec"]["containers"][0]
}

fn names(list: &Value, key: &str) -> Vec<String> {
    let all = list.as_array().into_iter().flatten();
    all.map(|e| e[key].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_provider_without_a_runtime_config() {
    let built = Case::provider(json!({})).spec();
    insta::assert_yaml_snapshot!(built);
}

#[test]
fn a_function_without_a_runtime_config() {
    let built = Case::of(PackageKind::Function, json!({})).spec();
    insta::assert_yaml_snapshot!(built);
}

#[test]
fn replicas_are_set_where_somebody_asks() {
    let plain = Case::provider(json!({})).spec();
    assert_eq!(plain.get("replicas"), None, "an autoscaler may set them");
    let asked = Case::provider(json!({"replicas": 3})).spec();
    assert_eq!(asked["replicas"], 3);
    for template in [json!({}), json!({"replicas": 3})] {
        let mut case = Case::provider(template);
        case.at_zero = true;
        assert_eq!(case.spec()["replicas"], 0);
    }
}

#[test]
fn the_template_keeps_what_it_says() {
    let mut case = Case::provider(json!({
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {"mine": "x"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]},
        "template": {
            "metadata": {"labels": {"a": "b", "pkg.crossplane.io/revision": "other"}, "annotations": {"c": "d"}},
            "spec": {
                "serviceAccountName": "mine",
                "imagePullSecrets": [{"name": "own"}],
                "nodeSelector": {"disk": "ssd"},
                "securityContext": {"fsGroup": 7},
                "volumes": [{"name": "data", "emptyDir": {}}],
                "containers": [
                    {"name": "sidecar", "image": "s"},
                    {
                        "name": "package-runtime", "image": "mine:1", "args": ["-d"], "imagePullPolicy": "Always",
                        "securityContext": {"runAsUser": 0},
                        "resources": {"limits": {"cpu": "1"}},
                        "env": [{"name": "A", "value": "1"}, {"name": "POD_NAMESPACE", "value": "n"}, {"name": "A", "value": "2"}],
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                        "ports": [{"name": "metrics", "containerPort": 9090}],
                    },
                ],
            },
        },
    }));
    case.secrets = vec!["of-package".into(), "own".into()];
    let built = case.spec();
    let pod = &built["template"]["spec"];
    let labels = json!({"pkg.crossplane.io/revision": "nimbus-1", "pkg.crossplane.io/provider": "nimbus"});
    assert_eq!(built["selector"]["matchLabels"], labels);
    assert_eq!(built["selector"]["matchExpressions"][0]["key"], "a");
    assert_eq!(built["strategy"]["type"], "Recreate");
    assert_eq!(built["template"]["metadata"]["labels"]["a"], "b");
    assert_eq!(
        built["template"]["metadata"]["labels"]["pkg.crossplane.io/revision"],
        "nimbus-1"
    );
    assert_eq!(built["template"]["metadata"]["annotations"]["c"], "d");
    assert_eq!(
        built["template"]["metadata"]["annotations"]["prometheus.io/port"],
        "9090"
    );
    assert_eq!(pod["serviceAccountName"], "mine");
    assert_eq!(pod["securityContext"], json!({"fsGroup": 7}));
    assert_eq!(names(&pod["imagePullSecrets"], "name"), ["own", "of-package"]);
    assert_eq!(names(&pod["containers"], "name"), ["package-runtime", "sidecar"]);
    assert_eq!(
        names(&pod["volumes"], "name"),
        ["data", "tls-client-certs", "tls-server-certs"]
    );
    let container = container(&built);
    assert_eq!(container["image"], "mine:1");
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(container["securityContext"], json!({"runAsUser": 0}));
    assert_eq!(
        names(&container["volumeMounts"], "mountPath"),
        ["/data", "/tls/client", "/tls/server"]
    );
    let env = names(&container["env"], "name");
    assert_eq!(env.iter().filter(|name| *name == "A").count(), 1);
    let value = |name: &str| {
        let all = container["env"].as_array().unwrap();
        all.iter().find(|e| e["name"] == name).unwrap()["value"].clone()
    };
    assert_eq!((value("A"), value("POD_NAMESPACE")), (json!("2"), json!("n")));
    assert_eq!(names(&container["ports"], "name"), ["metrics", "webhook"]);
}

#[test]
fn scrape_annotations_are_left_to_who_sets_one() {
    let annotations = json!({"prometheus.io/scrape": "false"});
    let built = Case::provider(json!({"template": {"metadata": {"annotations": annotations}}})).spec();
    assert_eq!(built["template"]["metadata"]["annotations"], annotations);
}

#[test]
fn certificates_are_mounted_where_there_are_some() {
    let mut case = Case::provider(json!({}));
    (case.client, case.server) = (None, None);
    let built = case.spec();
    assert_eq!(names(&built["template"]["spec"]["volumes"], "name"), ["tmp"]);
    assert_eq!(names(&container(&built)["ports"], "name"), ["metrics"]);
    assert!(!names(&container(&built)["env"], "name").contains(&"WEBHOOK_TLS_CERT_DIR".to_owned()));
}

#[test]
fn a_template_that_can_be_no_deployment_is_refused_with_the_place() {
    for (template, said) in [
        (
            json!({"template": 1}),
            "spec.deploymentTemplate.spec.template is not an object",
        ),
        (
            json!({"template": {"spec": {"containers": {}}}}),
            "spec.deploymentTemplate.spec.template.spec.containers is not a list",
        ),
        (
            json!({"template": {"spec": {"volumes": [{"name": "a"}, {"name": "a"}]}}}),
            "spec.deploymentTemplate.spec.template.spec.volumes has two entries with name \"a\": remove one",
        ),
        (
            json!({"template": {"spec": {"containers": [{"name": "package-runtime"}, {"name": "package-runtime"}]}}}),
            "spec.deploymentTemplate.spec.template.spec.containers has two entries with name \"package-runtime\": remove one",
        ),
        (
            json!({"template": {"spec": {"containers": [{"name": "package-runtime", "env": "x"}]}}}),
            "spec.deploymentTemplate.spec.template.spec.containers[package-runtime].env is not a list",
        ),
        (
            json!({"selector": []}),
            "spec.deploymentTemplate.spec.selector is not an object",
        ),
    ] {
        let error = Case::provider(template.clone()).build().unwrap_err();
        assert_eq!(error.to_string(), said, "{template}");
    }
    // Whatever a person writes, it is an answer and no crash.
    for odd in [
        json!(null),
        json!([]),
        json!({"template": {"spec": {"containers": [1, null, {"name": 3}]}}}),
    ] {
        let _ = Case::provider(odd).build();
    }
}
