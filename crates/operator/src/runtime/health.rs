//! Whether a runtime is well, by its Deployment and, where that has trouble, its pods. Pure.

use serde_json::Value;

/// How a Deployment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As many pods as asked for are available. The text is for who looks closer; mostly empty.
    Well(String),
    /// On its way.
    Waiting(String),
    /// It does not get there.
    Failing(String),
}

/// The longest part of a container's last words that is told: a sentence, not a log.
const LAST_WORDS: usize = 300;

fn number(value: &Value, path: &str) -> Option<i64> {
    value.pointer(path).and_then(Value::as_i64)
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    let all = object.pointer("/status/conditions")?.as_array()?;
    all.iter().find(|c| text(c, "/type") == type_)
}

fn is(condition: Option<&Value>, status: &str) -> bool {
    condition.is_some_and(|c| text(c, "/status") == status)
}

/// Judges a Deployment. `pods` are what is known of its pods' trouble, see [`trouble`].
#[must_use]
pub fn judge(deployment: &Value, pods: Option<&str>) -> Verdict {
    let generation = number(deployment, "/metadata/generation").unwrap_or_default();
    if number(deployment, "/status/observedGeneration").unwrap_or_default() < generation {
        return Verdict::Waiting("the cluster has not taken up the Deployment yet".to_owned());
    }
    let count = |field: &str| number(deployment, &format!("/status/{field}")).unwrap_or_default();
    let want = number(deployment, "/spec/replicas").unwrap_or(1);
    let (updated, available) = (count("updatedReplicas"), count("availableReplicas"));
    if want == 0 {
        return match count("replicas") {
            0 => Verdict::Well("0 replicas are asked for".to_owned()),
            left => Verdict::Waiting(format!("0 replicas are asked for; {left} are ending")),
        };
    }
    if updated >= want && available >= want {
        return Verdict::Well(String::new());
    }
    let failure = condition(deployment, "ReplicaFailure").filter(|c| is(Some(c), "True"));
    let progressing = condition(deployment, "Progressing");
    let late = is(progressing, "False");
    let state = format!("{available} of {want} replicas are available, {updated} have the present template");
    if let Some(failure) = failure {
        return Verdict::Failing(format!("pods can't be created: {}", text(failure, "/message")));
    }
    match pods {
        Some(pods) => Verdict::Failing(pods.to_owned()),
        None if late => Verdict::Failing(format!(
            "{state}, and nothing has moved within the Deployment's progress deadline"
        )),
        // Former pods serve while new ones start.
        None if is(condition(deployment, "Available"), "True") && available > 0 => Verdict::Well(state),
        None => Verdict::Waiting(state),
    }
}

/// Whether all pods that a Deployment has are by its present template, and as many as asked for can be used.
#[must_use]
pub fn is_rolled_out(generation: i64, deployment: &Value) -> bool {
    let count = |field: &str| number(deployment, &format!("/status/{field}")).unwrap_or_default();
    let want = number(deployment, "/spec/replicas").unwrap_or(1);
    let updated = count("updatedReplicas");
    count("observedGeneration") >= generation
        && updated >= want
        && count("replicas") == updated
        && count("availableReplicas") >= want
}

/// What is wrong with pods, in a sentence; `None` where nothing is, or not yet. The first by name that has trouble.
#[must_use]
pub fn trouble(pods: &[Value]) -> Option<String> {
    let mut pods: Vec<&Value> = pods
        .iter()
        .filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none())
        .collect();
    pods.sort_by_key(|pod| text(pod, "/metadata/name"));
    pods.iter().find_map(|pod| of_pod(pod))
}

fn of_pod(pod: &Value) -> Option<String> {
    let name = text(pod, "/metadata/name");
    if let Some(scheduled) = condition(pod, "PodScheduled").filter(|c| text(c, "/reason") == "Unschedulable")
    {
        return Some(format!(
            "pod {name} finds no node: {}",
            text(scheduled, "/message")
        ));
    }
    if text(pod, "/status/phase") == "Failed" {
        return Some(format!(
            "pod {name} has failed: {}",
            cut(text(pod, "/status/message"))
        ));
    }
    let of = |field: &str| pod.pointer(field).and_then(Value::as_array).into_iter().flatten();
    of("/status/initContainerStatuses")
        .chain(of("/status/containerStatuses"))
        .find_map(|container| of_container(name, container))
}

fn of_container(pod: &str, container: &Value) -> Option<String> {
    let who = format!("container {} of pod {pod}", text(container, "/name"));
    let waiting = text(container, "/state/waiting/reason");
    let why = text(container, "/state/waiting/message");
    match waiting {
        "" => {}
        "ContainerCreating" | "PodInitializing" => return None,
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable"
        | "ImageInspectError" => {
            return Some(format!("{who}: image can't be pulled: {}", cut(why)));
        }
        "CrashLoopBackOff" => {
            return Some(format!(
                "{who} is in CrashLoopBackOff: {}",
                ending(container, "/lastState")
            ));
        }
        reason => return Some(format!("{who} does not start: {reason}: {}", cut(why))),
    }
    if container.pointer("/state/terminated").is_some()
        && text(container, "/state/terminated/reason") != "Completed"
    {
        return Some(format!("{who} has ended: {}", ending(container, "/state")));
    }
    None
}

/// How a container ended: status or reason, and the last line that it wrote.
fn ending(container: &Value, state: &str) -> String {
    let at = |field: &str| format!("{state}/terminated/{field}");
    let code = number(container, &at("exitCode"));
    let reason = text(container, &at("reason"));
    let mut said = match (code, reason) {
        (None, _) => "it ended".to_owned(),
        (Some(code), "" | "Error" | "Completed") => format!("exit {code}"),
        (Some(code), reason) => format!("{reason}, exit {code}"),
    };
    let message = text(container, &at("message"));
    if let Some(line) = message.lines().rev().find(|line| !line.trim().is_empty()) {
        said.push_str(", last line: ");
        said.push_str(&cut(line.trim()));
    }
    said
}

fn cut(text: &str) -> String {
    crate::conditions::cut(text.to_owned(), LAST_WORDS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(replicas: Value, status: Value) -> Value {
        json!({"metadata": {"generation": 2}, "spec": {"replicas": replicas}, "status": status})
    }

    #[test]
    fn a_deployment_is_judged_by_what_it_has_seen() {
        let well = |text: &str| Verdict::Well(text.to_owned());
        let available = json!([{"type": "Available", "status": "True"}]);
        let late = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
        let failure = json!([{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: q"}]);
        for (called, deployment, pods, expected) in [
            (
                "of the generation before",
                deployment(
                    json!(1),
                    json!({"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": 1}),
                ),
                None,
                "Waiting",
            ),
            (
                "all there",
                deployment(
                    json!(2),
                    json!({"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 2}),
                ),
                None,
                "Well",
            ),
            (
                "one of two, none before",
                deployment(
                    json!(2),
                    json!({"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 1}),
                ),
                None,
                "Waiting",
            ),
            (
                "former pods serve",
                deployment(
                    json!(1),
                    json!({"observedGeneration": 2, "updatedReplicas": 1, "replicas": 2, "availableReplicas": 1, "conditions": available}),
                ),
                None,
                "Well",
            ),
            (
                "former pods serve, the new one crashes",
                deployment(
                    json!(2),
                    json!({"observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": 2, "conditions": available}),
                ),
                Some("it crashes"),
                "Failing",
            ),
            (
                "late",
                deployment(
                    json!(1),
                    json!({"observedGeneration": 2, "updatedReplicas": 1, "conditions": late}),
                ),
                None,
                "Failing",
            ),
            (
                "no pods allowed",
                deployment(json!(1), json!({"observedGeneration": 2, "conditions": failure})),
                None,
                "Failing",
            ),
            (
                "none asked for, some left",
                deployment(json!(0), json!({"observedGeneration": 2, "replicas": 1})),
                None,
                "Waiting",
            ),
        ] {
            let verdict = judge(&deployment, pods);
            assert!(
                format!("{verdict:?}").starts_with(expected),
                "{called}: {verdict:?}"
            );
        }
        let none = deployment(json!(0), json!({"observedGeneration": 2}));
        assert_eq!(judge(&none, None), well("0 replicas are asked for"));
        let absent = deployment(
            Value::Null,
            json!({"observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": 1}),
        );
        assert_eq!(judge(&absent, None), well(""));
        assert!(matches!(judge(&json!({}), None), Verdict::Waiting(_)));
        assert!(matches!(judge(&json!("odd"), None), Verdict::Waiting(_)));
    }

    #[test]
    fn pods_are_told_by_what_is_wrong_with_them() {
        let pod = |status: Value| json!({"metadata": {"name": "nimbus-1-x"}, "status": status});
        let container = |state: Value, last: Value| {
            pod(
                json!({"containerStatuses": [{"name": "package-runtime", "state": state, "lastState": last}]}),
            )
        };
        for (pod, expected) in [
            (
                container(
                    json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}),
                    json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "a\nno such flag\n\n"}}),
                ),
                Some(
                    "container package-runtime of pod nimbus-1-x is in CrashLoopBackOff: exit 1, last line: no such flag",
                ),
            ),
            (
                container(
                    json!({"waiting": {"reason": "CrashLoopBackOff"}}),
                    json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
                ),
                Some(
                    "container package-runtime of pod nimbus-1-x is in CrashLoopBackOff: OOMKilled, exit 137",
                ),
            ),
            (
                container(
                    json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}}),
                    json!({}),
                ),
                Some("container package-runtime of pod nimbus-1-x: image can't be pulled: not found"),
            ),
            (
                container(
                    json!({"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"x\" not found"}}),
                    json!({}),
                ),
                Some(
                    "container package-runtime of pod nimbus-1-x does not start: CreateContainerConfigError: secret \"x\" not found",
                ),
            ),
            (
                container(
                    json!({"terminated": {"exitCode": 2, "reason": "Error"}}),
                    json!({}),
                ),
                Some("container package-runtime of pod nimbus-1-x has ended: exit 2"),
            ),
            (
                container(json!({"waiting": {"reason": "ContainerCreating"}}), json!({})),
                None,
            ),
            (container(json!({"running": {}}), json!({})), None),
            (
                pod(
                    json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]}),
                ),
                Some("pod nimbus-1-x finds no node: 0/1 nodes"),
            ),
            (json!("odd"), None),
        ] {
            assert_eq!(trouble(std::slice::from_ref(&pod)).as_deref(), expected, "{pod}");
        }
        let mut going = container(
            json!({"terminated": {"exitCode": 2, "reason": "Error"}}),
            json!({}),
        );
        *going.pointer_mut("/metadata").unwrap() =
            json!({"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(trouble(&[going]), None, "a pod that goes is no trouble");
    }
}
