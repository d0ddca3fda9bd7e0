//! What tools that wait for objects make of them: the published rules of kstatus (sigs.k8s.io/cli-utils), which kpt and
//! Flux follow, and the checks of packages that Argo CD brings.

use std::fmt;

use serde_json::Value;

/// Answers of kstatus.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kstatus {
    /// It is as it should be.
    Current,
    /// Not yet.
    InProgress,
    /// It won't be without somebody.
    Failed,
    /// It is being deleted.
    Terminating,
    /// There is none.
    NotFound,
}

/// Answers of Argo CD.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Argo {
    /// It is as it should be.
    Healthy,
    /// Not yet.
    Progressing,
    /// It is not as it should be.
    Degraded,
    /// There is none.
    Missing,
    /// The check itself failed.
    Unknown,
}

impl fmt::Display for Kstatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for Argo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

fn conditions(object: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let all = object["status"]["conditions"].as_array().into_iter().flatten();
    all.map(|c| (c["type"].as_str().unwrap_or_default(), c))
}

/// kstatus of a custom resource: deletion, then the generation that was observed, then the first of `Reconciling` and
/// `Stalled` that is true, then `Ready`. Without any of them it is current.
pub fn kstatus(object: Option<&Value>) -> Kstatus {
    let Some(object) = object else {
        return Kstatus::NotFound;
    };
    if is_deleting(object) {
        return Kstatus::Terminating;
    }
    let observed = object["status"]["observedGeneration"].as_i64();
    let generation = object["metadata"]["generation"].as_i64();
    if let (Some(observed), Some(generation)) = (observed, generation)
        && observed != generation
    {
        return Kstatus::InProgress;
    }
    for (type_, _) in conditions(object).filter(|(_, c)| c["status"] == "True") {
        match type_ {
            "Reconciling" => return Kstatus::InProgress,
            "Stalled" => return Kstatus::Failed,
            _ => {}
        }
    }
    match conditions(object).find(|(type_, _)| *type_ == "Ready") {
        Some((_, ready)) if ready["status"] != "True" => Kstatus::InProgress,
        _ => Kstatus::Current,
    }
}

/// Argo CD's health of a Provider, Configuration or Function: healthy when `Installed` and `Healthy` are true, degraded when
/// not, on its way while there are no conditions. The check joins the two reasons and fails where one is missing.
pub fn argo(object: Option<&Value>) -> Argo {
    let Some(object) = object else {
        return Argo::Missing;
    };
    if is_deleting(object) || object["status"]["conditions"].is_null() {
        return Argo::Progressing;
    }
    let of = |wanted: &str| {
        conditions(object)
            .find(|(type_, _)| *type_ == wanted)
            .map(|(_, c)| c)
    };
    let (Some(installed), Some(healthy)) = (of("Installed"), of("Healthy")) else {
        return Argo::Unknown;
    };
    match installed["status"] == "True" && healthy["status"] == "True" {
        true => Argo::Healthy,
        false => Argo::Degraded,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_published_rules() {
        let object = |observed: i64, conditions: &[(&str, &str)]| {
            let conditions: Vec<Value> = conditions
                .iter()
                .map(|(type_, status)| json!({"type": type_, "status": status}))
                .collect();
            json!({"metadata": {"generation": 2},
                "status": {"observedGeneration": observed, "conditions": conditions}})
        };
        for (object, expected) in [
            (json!({"metadata": {"generation": 1}}), Kstatus::Current),
            (object(1, &[("Ready", "True")]), Kstatus::InProgress),
            (object(2, &[("Ready", "True")]), Kstatus::Current),
            (object(2, &[("Ready", "False")]), Kstatus::InProgress),
            (object(2, &[("Ready", "Unknown")]), Kstatus::InProgress),
            (
                object(2, &[("Stalled", "False"), ("Ready", "True")]),
                Kstatus::Current,
            ),
            (
                object(2, &[("Ready", "False"), ("Stalled", "True")]),
                Kstatus::Failed,
            ),
            (
                object(2, &[("Reconciling", "True"), ("Stalled", "True")]),
                Kstatus::InProgress,
            ),
            (
                json!({"metadata": {"deletionTimestamp": "now"}}),
                Kstatus::Terminating,
            ),
        ] {
            assert_eq!(kstatus(Some(&object)), expected, "{object}");
        }
        assert_eq!((kstatus(None), argo(None)), (Kstatus::NotFound, Argo::Missing));
    }
}
