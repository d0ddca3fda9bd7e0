use api::pkg::PackageKind;
use serde_json::{Value, json};

use super::*;

const REFERENCE: &str = "r.example.org/acme/nimbus:v2";

/// A package as Gantry leaves it, with these conditions, and further fields merged in.
fn object(conditions: &[Value], more: Value) -> Value {
    let mut object = json!({
        "metadata": { "name": "nimbus", "generation": 2, "creationTimestamp": "2026-11-01T10:00:00Z" },
        "spec": { "package": REFERENCE },
        "status": {
            "observedGeneration": 2, "currentRevision": "nimbus-2", "servingRevision": "nimbus-1",
            "currentIdentifier": REFERENCE, "conditions": conditions,
        },
    });
    merge(&mut object, more);
    object
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-24T12:00:00Z",
    })
}

fn revision(n: i64, state: &str, more: Value) -> Value {
    let mut object = json!({
        "metadata": { "name": format!("nimbus-{n}"), "annotations": { "gantry.dev/served": "true" } },
        "spec": { "desiredState": state, "image": format!("r.example.org/acme/nimbus:v{n}"), "revision": n },
    });
    merge(&mut object, more);
    object
}

fn two() -> Vec<Value> {
    vec![
        revision(1, "Active", json!({})),
        revision(2, "Inactive", json!({})),
    ]
}

fn leads() -> Operator {
    Operator::Leads {
        lease: "gantry-system/gantry-operator".into(),
        holder: "pod-1".into(),
    }
}

fn facts(package: Value, revisions: Vec<Value>) -> Facts {
    Facts {
        kind: PackageKind::Provider,
        package: serde_json::from_value(package).unwrap(),
        revisions: Ok(revisions
            .into_iter()
            .map(|r| serde_json::from_value(r).unwrap())
            .collect()),
        operator: leads(),
        reference: None,
    }
}

/// One state: what it is called, its facts, the state, and words that must be in what, why and next of the
/// first finding.
struct Case(&'static str, Facts, State, [&'static str; 3]);

fn good() -> [Value; 3] {
    [
        condition("Installed", "True", "ActivePackageRevision", ""),
        condition("Healthy", "True", "HealthyPackageRevision", ""),
        condition("Ready", "True", "HealthyPackageRevision", ""),
    ]
}

/// Serves v1 while v2 is as `ready` says.
fn newer(ready: Value, held: &str) -> Facts {
    let [installed, healthy, _] = good();
    let message = ready["message"].as_str().unwrap().to_owned();
    let held = condition(held, "True", "x", &message);
    facts(object(&[installed, healthy, ready, held], json!({})), two())
}

fn fails(reason: &str, message: &str) -> Value {
    condition("Ready", "False", reason, message)
}

fn cases() -> Vec<Case> {
    let served = json!({ "status": { "currentRevision": "nimbus-1" } });
    let healthy = || {
        facts(
            object(&good(), served.clone()),
            vec![revision(1, "Active", json!({}))],
        )
    };
    let with = |change: fn(&mut Facts)| {
        let mut facts = healthy();
        change(&mut facts);
        facts
    };
    let unpack = |reason: &str, stalled: bool| {
        let message = "cannot unpack package: r.example.org says no";
        let held = if stalled { "Stalled" } else { "Reconciling" };
        let conditions = [
            condition("Installed", "False", "UnpackingPackage", message),
            condition("Healthy", "False", "UnhealthyPackageRevision", message),
            fails("UnpackingPackage", message),
            condition(held, "True", "x", message),
            condition("UpToDate", "Unknown", reason, "r.example.org says no"),
        ];
        let none = json!({ "status": {
            "currentRevision": null, "servingRevision": null, "currentIdentifier": null,
        }});
        facts(object(&conditions, none), vec![])
    };
    let refused = |message: &str| newer(fails("Refused", message), "Stalled");
    // The registry answered for the tag; what is in the image is at fault.
    let unfit = {
        let message = "documents 2 and 3 both are CustomResourceDefinition x";
        let package = object(
            &[
                fails("UnpackingPackage", &format!("cannot unpack package: {message}")),
                condition("Stalled", "True", "Refused", message),
                condition("UpToDate", "True", "Checked", ""),
            ],
            json!({ "status": { "servingRevision": null } }),
        );
        let checked = condition("Preflighted", "False", "FetchRefused", message);
        let revision = revision(2, "Inactive", json!({ "status": { "conditions": [checked] } }));
        facts(package, vec![revision])
    };
    let manual = json!({ "spec": { "revisionActivationPolicy": "Manual" } });
    let offered = {
        let [installed, healthy, _] = good();
        let ready = condition(
            "Ready",
            "True",
            "UpdateAvailable",
            "revision nimbus-2 is checked and waits",
        );
        let checked =
            json!({ "status": { "conditions": [condition("Preflighted", "True", "ChecksPassed", "")] } });
        let revisions = vec![revision(1, "Active", json!({})), revision(2, "Inactive", checked)];
        facts(object(&[installed, healthy, ready], manual.clone()), revisions)
    };
    let awaiting = {
        let mut package = object(
            &[
                condition(
                    "Installed",
                    "False",
                    "InactivePackageRevision",
                    "Package is inactive",
                ),
                condition("Healthy", "True", "HealthyPackageRevision", ""),
                fails("AwaitingActivation", "revision nimbus-2 is checked and waits"),
            ],
            manual,
        );
        merge(&mut package, json!({ "status": { "servingRevision": null } }));
        facts(package, vec![revision(2, "", json!({}))])
    };
    let ill = |runtime: bool| {
        let message = "Package revision health is \"False\" with message: waiting for CRDs";
        let conditions = [
            condition("Installed", "True", "ActivePackageRevision", ""),
            condition("Healthy", "False", "UnhealthyPackageRevision", message),
            fails("UnhealthyPackageRevision", message),
        ];
        let pods = condition("RuntimeHealthy", "False", "UnhealthyPackageRevision", "no pods");
        let runtime = json!({ "status": { "conditions": if runtime { json!([pods]) } else { json!([]) } } });
        facts(
            object(&conditions, served.clone()),
            vec![revision(1, "Active", runtime)],
        )
    };
    let stale = {
        let mut conditions = good().to_vec();
        conditions.push(condition(
            "UpToDate",
            "Unknown",
            "HostUnknown",
            "r.example.org: no such host",
        ));
        facts(
            object(&conditions, served.clone()),
            vec![revision(1, "Active", json!({}))],
        )
    };
    let needy = {
        let status = json!({ "status": {
            "conditions": [
                condition("DependenciesResolved", "False", "MissingDependencies", "missing dependencies: x"),
            ],
            "declaredDependencies": [
                { "kind": "Function", "package": "r.example.org/acme/f", "constraints": ">=v1" },
            ],
            "dependencies": [
                { "package": "r.example.org/acme/f", "constraints": ">=v1", "state": "Missing" },
            ],
        }});
        facts(
            object(&good(), served.clone()),
            vec![revision(1, "Active", status)],
        )
    };
    let theirs = |installed: Value, healthy: Value| {
        let none = json!({ "status": { "observedGeneration": null, "servingRevision": null } });
        facts(
            object(&[installed, healthy], none),
            vec![revision(
                2,
                "Active",
                json!({ "metadata": { "annotations": null } }),
            )],
        )
    };
    vec![
        Case("all is well", healthy(), State::Ready, ["", "", ""]),
        Case(
            "nobody leads",
            with(|f| {
                f.operator = Operator::Gone {
                    lease: "a/b".into(),
                    since: Some("2026-11-24T11:00:00Z".parse().unwrap()),
                };
            }),
            State::Ready,
            [
                "No operator leads",
                "nobody keeps Lease a/b",
                "start the operator",
            ],
        ),
        Case(
            "nobody ever led",
            with(|f| f.operator = Operator::Never { lease: "a/b".into() }),
            State::Ready,
            ["No operator leads", "there is no Lease a/b", "start the operator"],
        ),
        Case(
            "no right to see who leads",
            with(|f| {
                f.operator = Operator::Unknown {
                    why: "forbidden".into(),
                }
            }),
            State::Ready,
            [
                "not known whether an operator leads",
                "forbidden",
                "right to read Leases",
            ],
        ),
        Case(
            "Crossplane leads",
            with(|f| {
                f.operator = Operator::Never { lease: "a/b".into() };
                f.reference = Some("crossplane-system/x".into());
            }),
            State::Ready,
            [
                "Crossplane's package manager is at work",
                "crossplane-system/x",
                "stop the other package manager",
            ],
        ),
        Case(
            "no right to see revisions",
            with(|f| f.revisions = Err("forbidden".into())),
            State::Ready,
            ["revisions are not known", "forbidden", "right to list revisions"],
        ),
        Case(
            "objects left over",
            facts(
                object(
                    &good(),
                    json!({ "status": { "currentRevision": "nimbus-1", "releasedObjects": 3 } }),
                ),
                vec![revision(1, "Active", json!({}))],
            ),
            State::Ready,
            [
                "3 objects of former revisions",
                "an upgrade deletes nothing",
                "delete them by hand",
            ],
        ),
        Case(
            "lint warnings",
            facts(
                object(&good(), served.clone()),
                vec![revision(
                    1,
                    "Active",
                    json!({ "status": { "warnings": ["label is reserved", "b"] } }),
                )],
            ),
            State::Ready,
            ["lint warnings", "label is reserved (and 1 more)", "gantry lint"],
        ),
        Case(
            "nobody looked yet",
            facts(object(&[], json!({ "status": null })), vec![]),
            State::Working,
            ["Nobody has looked at it yet", "no status", "wait a moment"],
        ),
        Case(
            "the change is not seen yet",
            facts(
                object(
                    &good(),
                    json!({ "metadata": { "generation": 3 }, "status": { "currentRevision": "nimbus-1" } }),
                ),
                vec![revision(1, "Active", json!({}))],
            ),
            State::Working,
            [
                "latest change was not looked at",
                "generation 2, the present one is 3",
                "operator's log",
            ],
        ),
        Case(
            "being deleted",
            facts(
                object(
                    &good(),
                    json!({ "metadata": {
                        "deletionTimestamp": "2026-11-24T11:00:00Z", "finalizers": ["a.example/f"] } }),
                ),
                two(),
            ),
            State::Deleting,
            ["is being deleted", "a.example/f", "whoever set that finalizer"],
        ),
        Case(
            "deleted in the foreground",
            facts(
                object(
                    &good(),
                    json!({ "metadata": {
                        "deletionTimestamp": "2026-11-24T11:00:00Z",
                        "finalizers": ["foregroundDeletion"] } }),
                ),
                two(),
            ),
            State::Deleting,
            ["is being deleted", "waits for the objects", "custom resources"],
        ),
        Case(
            "paused",
            facts(
                object(
                    &[
                        good().to_vec(),
                        vec![condition("Synced", "False", "ReconcilePaused", "paused")],
                    ]
                    .concat(),
                    json!({ "metadata": { "annotations": { "crossplane.io/paused": "true" } } }),
                ),
                two(),
            ),
            State::Paused,
            [
                "It is paused",
                "crossplane.io/paused",
                "kubectl annotate provider nimbus crossplane.io/paused-",
            ],
        ),
        Case(
            "its revision is paused",
            facts(
                object(&good(), served.clone()),
                vec![revision(
                    1,
                    "Active",
                    json!({ "metadata": { "annotations": { "crossplane.io/paused": "true" } },
                            "status": {
                                "conditions": [condition("Synced", "False", "ReconcilePaused", "")] } }),
                )],
            ),
            State::Ready,
            [
                "revision 1 (v1) is paused",
                "on nimbus-1",
                "kubectl annotate providerrevision nimbus-1",
            ],
        ),
        Case(
            "no such tag",
            unpack("NotFound", false),
            State::NotReady,
            [
                "can't be had; nothing of it serves",
                "says no",
                "push the tag, correct spec.package",
            ],
        ),
        Case(
            "wrong credentials",
            unpack("Unauthorized", true),
            State::NotReady,
            ["can't be had", "says no", "pull secret"],
        ),
        Case(
            "unknown host",
            unpack("HostUnknown", false),
            State::NotReady,
            ["can't be had", "says no", "Gantry tries again by itself"],
        ),
        Case(
            "not in the store",
            unpack("NotInStore", true),
            State::NotReady,
            ["can't be had", "no", "put the package into the store"],
        ),
        Case(
            "bad certificate",
            unpack("TlsFailed", false),
            State::NotReady,
            ["can't be had", "no", "--ca-bundle-path"],
        ),
        Case(
            "a reason of later",
            unpack("Later", false),
            State::NotReady,
            ["can't be had", "no", "put right"],
        ),
        Case(
            "a conflict",
            refused("cannot establish control of object: CRD a is already controlled by Provider b"),
            State::NotReady,
            [
                "revision 2 (v2), is refused; revision 1 (v1) goes on serving",
                "already controlled by Provider b",
                "gantry rollback provider nimbus",
            ],
        ),
        Case(
            "another Crossplane version",
            refused("incompatible Crossplane version: package is not compatible"),
            State::NotReady,
            [
                "is refused",
                "incompatible Crossplane version",
                "ignoreCrossplaneConstraints",
            ],
        ),
        Case(
            "webhooks without a runtime",
            refused("X is called by webhook, which nobody serves while the package runtime is None"),
            State::NotReady,
            ["is refused", "webhook", "--package-runtime=Provider=External"],
        ),
        Case(
            "lint refuses",
            refused("linting package contents failed: x"),
            State::NotReady,
            ["is refused", "linting", "--strict-lint"],
        ),
        Case(
            "a kind is not served",
            refused("kind X (v1) is not served by this cluster; install what defines it"),
            State::NotReady,
            ["is refused", "kind X", "install what defines the missing kinds"],
        ),
        Case(
            "something is in the way for a while",
            newer(
                fails(
                    "Establishing",
                    "waiting: CustomResourceDefinition a is being deleted",
                ),
                "Reconciling",
            ),
            State::Working,
            [
                "waits; revision 1 (v1) goes on serving",
                "a is being deleted",
                "finalizers",
            ],
        ),
        Case(
            "objects are put in place",
            newer(fails("Establishing", "Established 412 of 1,000"), "Reconciling"),
            State::Working,
            [
                "objects of revision 2 (v2) are being put in place",
                "412 of 1,000",
                "wait",
            ],
        ),
        Case(
            "it is checked",
            newer(
                fails("Checking", "the content is being fetched and checked"),
                "Reconciling",
            ),
            State::Working,
            [
                "revision 2 (v2), is being fetched and checked; revision 1",
                "content",
                "wait",
            ],
        ),
        Case(
            "an update waits",
            offered,
            State::UpdateAvailable,
            [
                "Revision 2 (v2) is checked and waits",
                "Manual",
                "kubectl patch providerrevision nimbus-2",
            ],
        ),
        Case(
            "the first waits",
            awaiting,
            State::Waiting,
            [
                "revision 2 (v2) waits for somebody",
                "Manual",
                "desiredState\":\"Active\"",
            ],
        ),
        Case(
            "not healthy",
            ill(false),
            State::NotReady,
            [
                "Revision 1 (v1) is not healthy",
                "waiting for CRDs",
                "put right what the message names",
            ],
        ),
        Case(
            "its program does not run",
            ill(true),
            State::NotReady,
            [
                "program does not run well",
                "waiting for CRDs",
                "kubectl get pods -A -l pkg.crossplane.io/revision=nimbus-1",
            ],
        ),
        Case(
            "the registry is away",
            stale,
            State::Ready,
            [
                "registry could not be asked",
                "no such host",
                "correct the host in spec.package",
            ],
        ),
        Case(
            "a dependency is missing",
            needy,
            State::Ready,
            [
                "needs packages that are not there",
                "missing dependencies: x",
                "gantry install function r.example.org/acme/f",
            ],
        ),
        Case(
            "unfit content",
            unfit,
            State::NotReady,
            [
                "can't be had",
                "both are CustomResourceDefinition",
                "push a package that `gantry lint` accepts",
            ],
        ),
        Case(
            "the reference's, well",
            theirs(
                condition("Installed", "True", "ActivePackageRevision", ""),
                condition("Healthy", "True", "HealthyPackageRevision", ""),
            ),
            State::Ready,
            ["", "", ""],
        ),
        Case(
            "the reference's, not installed",
            theirs(
                condition(
                    "Installed",
                    "False",
                    "UnpackingPackage",
                    "cannot unpack package: 404",
                ),
                condition("Healthy", "Unknown", "UnknownPackageRevisionHealth", ""),
            ),
            State::NotReady,
            [
                "Nothing of it is installed",
                "404",
                "put right what the message names",
            ],
        ),
        Case(
            "the reference's, ill",
            theirs(
                condition("Installed", "True", "ActivePackageRevision", ""),
                condition("Healthy", "Unknown", "UnknownPackageRevisionHealth", ""),
            ),
            State::NotReady,
            [
                "Revision 2 (v2) is not healthy",
                "UnknownPackageRevisionHealth",
                "put right",
            ],
        ),
        Case(
            "a reason that nobody knows",
            facts(
                object(&[fails("FromTheFuture", "")], served),
                vec![revision(1, "Active", json!({}))],
            ),
            State::NotReady,
            [
                "is not healthy",
                "condition Ready is False: FromTheFuture",
                "put right",
            ],
        ),
    ]
}

#[test]
fn every_state_is_told_with_what_since_why_and_next() {
    for Case(called, facts, state, [what, why, next]) in cases() {
        let explanation = explain(&facts);
        let shown = format!("{called}: {explanation:#?}");
        assert_eq!(explanation.state, state, "{shown}");
        let Some(first) = explanation.findings.first() else {
            assert!(what.is_empty() && explanation.ready, "{shown}");
            continue;
        };
        assert!(!what.is_empty(), "{shown}");
        assert!(first.what.contains(what) && first.what.ends_with('.'), "{shown}");
        assert!(
            first.why.as_deref().is_some_and(|text| text.contains(why)),
            "{shown}"
        );
        assert!(
            first.next.as_deref().is_some_and(|text| text.contains(next)),
            "{shown}"
        );
        // What can't be known to have begun has no "since": rights, Leases that never were, notes.
        let timeless = [
            "leads",
            "at work",
            "not known",
            "former revisions",
            "lint",
            "latest change",
        ];
        let dated = !timeless.iter().any(|part| first.what.contains(part)) || called == "nobody leads";
        assert_eq!(first.since.is_some(), dated, "{shown}");
    }
}

#[test]
fn nothing_known_is_no_trouble() {
    let blank = facts(json!({}), vec![]);
    assert_eq!(explain(&blank).state, State::Working);
    let odd =
        json!({ "spec": null, "status": { "conditions": [{ "type": "Ready", "status": "maybe" }, {}] } });
    assert!(!explain(&facts(odd, vec![json!({}), json!({ "status": {} })])).ready);
}

#[test]
fn the_weightiest_comes_first() {
    let conditions = [
        good().to_vec(),
        vec![condition("UpToDate", "Unknown", "HostUnknown", "no such host")],
    ]
    .concat();
    let more = json!({ "status": { "currentRevision": "nimbus-1", "releasedObjects": 3 } });
    let mut facts = facts(object(&conditions, more), vec![revision(1, "Active", json!({}))]);
    facts.operator = Operator::Never { lease: "a/b".into() };
    let weights: Vec<Weight> = explain(&facts).findings.iter().map(|f| f.weight).collect();
    assert_eq!(weights, [Weight::Wrong, Weight::Wrong, Weight::Note]);
    assert!(!explain(&facts).is_fine());
}
