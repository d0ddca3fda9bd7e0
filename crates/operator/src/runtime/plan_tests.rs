//! What is decided, pass by pass, over a cluster that does what it is told.

use api::condition::Condition;
use api::pkg::{Package, RevisionSpec, RevisionStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::super::facts::{Certificates, Config, Failure, Named, PodsSeen};
use super::super::templates::Templates;
use super::*;
use crate::certificates::Loadable;

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn revision(name: &str, number: i64, state: &str, established: bool) -> Revision {
    let established = match established {
        true => (Status::True, Reason::AllEstablished),
        false => (Status::False, Reason::Establishing),
    };
    Revision {
        metadata: ObjectMeta {
            name: Some(name.into()),
            uid: Some(format!("uid-{name}")),
            generation: Some(1),
            ..ObjectMeta::default()
        },
        spec: RevisionSpec {
            desired_state: state.into(),
            image: "registry.test/nimbus:v1".into(),
            revision: number,
            package_pull_policy: Some("IfNotPresent".into()),
            tls_server_secret_name: Some("nimbus-tls-server".into()),
            tls_client_secret_name: Some("nimbus-tls-client".into()),
            ..RevisionSpec::default()
        },
        status: Some(RevisionStatus {
            conditions: vec![Condition::new(
                ConditionType::Established,
                established.0,
                established.1,
            )],
            ..RevisionStatus::default()
        }),
        ..Revision::default()
    }
}

/// A cluster with one package.
struct World {
    revisions: Vec<Revision>,
    objects: Vec<Value>,
    templates: Result<Config, String>,
    failure: Option<Failure>,
    pods: Option<PodsSeen>,
    kind: PackageKind,
    certificates: Option<Certificates>,
    version: u64,
}

impl World {
    fn with(revisions: Vec<Revision>) -> Self {
        Self {
            revisions,
            objects: vec![],
            templates: Ok(Config {
                name: "default".into(),
                ..Config::default()
            }),
            failure: None,
            pods: None,
            kind: PackageKind::Provider,
            certificates: Some(Certificates {
                server: true,
                client: true,
                ..Certificates::default()
            }),
            version: 0,
        }
    }

    fn find(&self, kind: &str, name: &str) -> Option<Value> {
        let is = |o: &&Value| o["kind"] == kind && objects::meta(o, "name") == name;
        self.objects.iter().find(is).cloned()
    }

    fn names(&self, kind: &str) -> Vec<String> {
        let of = self.objects.iter().filter(|o| o["kind"] == kind);
        let mut all: Vec<String> = of.map(|o| objects::meta(o, "name").to_owned()).collect();
        all.sort();
        all
    }

    fn seen(&self, name: &str) -> Seen {
        let revision = self.revisions.iter().find(|r| View(r).name() == name).unwrap();
        let names = self
            .templates
            .as_ref()
            .map(|c| Names::of(&c.templates, "nimbus", name))
            .ok();
        let named = |kind, of: fn(&Names) -> &String| names.as_ref().and_then(|n| self.find(kind, of(n)));
        let known: Vec<String> = self
            .revisions
            .iter()
            .filter_map(|r| r.metadata.uid.clone())
            .collect();
        let deployments = self.objects.iter().filter(|o| o["kind"] == "Deployment");
        let ours = |o: &&Value| {
            let owner = objects::controller(o);
            owner.is_some_and(|owner| known.contains(&owner.uid) || owner.uid == "uid-long-gone")
        };
        Seen {
            kind: self.kind,
            revision: Arc::new(revision.clone()),
            package: Some(Arc::new(Package {
                metadata: ObjectMeta {
                    name: Some("nimbus".into()),
                    uid: Some("uid-nimbus".into()),
                    ..ObjectMeta::default()
                },
                ..Package::default()
            })),
            siblings: self
                .revisions
                .iter()
                .filter(|r| View(r).name() != name)
                .map(|r| Arc::new(r.clone()))
                .collect(),
            namespace: "gantry-system".into(),
            config: self.templates.clone(),
            image: Ok("registry.test/nimbus@sha256:0".into()),
            pull_secrets: vec![],
            operator_pull_secrets: vec!["of-operator".into()],
            deployments: deployments.filter(ours).cloned().collect(),
            named: Named {
                deployment: named("Deployment", |n| &n.deployment),
                service: named("Service", |n| &n.service),
                account: named("ServiceAccount", |n| &n.account),
            },
            gone: vec!["uid-long-gone".into()],
            certificates: self.certificates.clone(),
            pods: self.pods.clone(),
            failure: self.failure.clone(),
            answered: vec![],
            awaiting: false,
        }
    }

    /// One pass over one revision: what was decided, and how many writes it took.
    fn pass(&mut self, name: &str) -> Plan {
        let plan = plan(&self.seen(name), now());
        for step in plan.steps.clone() {
            self.version += 1;
            match step {
                Step::Apply(wanted) => {
                    let mut body = wanted.body.clone();
                    let kind = wanted.target.resource.kind.as_ref();
                    let old = self.find(kind, &wanted.target.name);
                    self.objects
                        .retain(|o| o["kind"] != kind || objects::meta(o, "name") != wanted.target.name);
                    let uid = old.as_ref().map_or(format!("uid-{}", self.version), |o| {
                        objects::meta(o, "uid").to_owned()
                    });
                    body["metadata"]["uid"] = json!(uid);
                    body["metadata"]["generation"] = json!(self.version);
                    body["metadata"]["resourceVersion"] = json!(self.version.to_string());
                    self.objects.push(body);
                }
                Step::TakeOver { target, owners, .. } => {
                    let is = |o: &&mut Value| {
                        o["kind"] == target.resource.kind.as_ref() && objects::meta(o, "name") == target.name
                    };
                    self.objects.iter_mut().find(is).unwrap()["metadata"]["ownerReferences"] = json!(owners);
                }
                Step::Delete { uid, .. } => {
                    let object = self
                        .objects
                        .iter_mut()
                        .find(|o| objects::meta(o, "uid") == uid)
                        .unwrap();
                    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                }
            }
        }
        if let Some(outcome) = &plan.status {
            let r = self
                .revisions
                .iter_mut()
                .find(|r| View(r).name() == name)
                .unwrap();
            let status = r.status.get_or_insert_default();
            let kept: Vec<Condition> = status
                .conditions
                .iter()
                .filter(|c| !c.type_.starts_with("Runtime"))
                .cloned()
                .collect();
            let new = crate::conditions::timed(&outcome.conditions, &status.conditions, Some(1), now());
            status.conditions = kept.into_iter().chain(new).collect();
            status.tls_server_secret_name.clone_from(&outcome.server_secret);
            status.tls_client_secret_name.clone_from(&outcome.client_secret);
            status.endpoint.clone_from(&outcome.endpoint);
        }
        plan
    }

    /// Passes until nothing is written any more.
    fn settle(&mut self) {
        for _ in 0..20 {
            let names: Vec<String> = self.revisions.iter().map(|r| View(r).name().to_owned()).collect();
            let writes: usize = names.iter().map(|name| self.pass(name).steps.len()).sum();
            if writes == 0 {
                return;
            }
        }
        panic!("it never ends: {:#?}", self.objects);
    }

    /// Pods start, and those of Deployments that go end.
    fn run(&mut self) {
        self.objects.retain(|o| !objects::is_going(o));
        for object in self.objects.iter_mut().filter(|o| o["kind"] == "Deployment") {
            let generation = object["metadata"]["generation"].clone();
            let want = object["spec"].get("replicas").cloned().unwrap_or(json!(1));
            object["status"] = json!({
                "observedGeneration": generation, "replicas": want, "updatedReplicas": want, "availableReplicas": want,
            });
        }
    }

    fn health(&self, name: &str) -> String {
        let r = self.revisions.iter().find(|r| View(r).name() == name).unwrap();
        let c = View(r).condition(ConditionType::RuntimeHealthy);
        c.map_or_else(String::new, |c| {
            format!("{} {}", c.status, c.message.clone().unwrap_or_default())
        })
    }

    fn set(&mut self, name: &str, change: impl FnOnce(&mut Revision)) {
        change(
            self.revisions
                .iter_mut()
                .find(|r| View(r).name() == name)
                .unwrap(),
        );
    }
}

#[test]
fn a_runtime_is_made_once_the_objects_are_in_place() {
    let mut world = World::with(vec![revision("nimbus-1", 1, "Active", false)]);
    world.settle();
    assert!(world.objects.is_empty());
    assert_eq!(
        world.health("nimbus-1"),
        "False Package revision is not healthy yet"
    );
    let status = world.revisions[0].status.clone().unwrap();
    assert_eq!(
        status.tls_server_secret_name.as_deref(),
        Some("nimbus-tls-server"),
        "webhooks wait for it"
    );
    world.revisions[0] = Revision {
        status: Some(RevisionStatus {
            conditions: revision("x", 1, "Active", true).status.unwrap().conditions,
            ..status
        }),
        ..world.revisions[0].clone()
    };
    world.settle();
    assert_eq!(world.names("Deployment"), ["nimbus-1"]);
    assert_eq!(world.names("Service"), ["nimbus"]);
    assert_eq!(world.names("ServiceAccount"), ["nimbus-1"]);
    let account = world.find("ServiceAccount", "nimbus-1").unwrap();
    assert_eq!(account["imagePullSecrets"], json!([{"name": "of-operator"}]));
    assert!(
        world.health("nimbus-1").starts_with("False waiting: "),
        "{}",
        world.health("nimbus-1")
    );
    world.run();
    let plan = world.pass("nimbus-1");
    assert_eq!(world.health("nimbus-1"), "True ");
    assert_eq!(plan.notes.len(), 1);
    let plan = world.pass("nimbus-1");
    assert!(
        plan.steps.is_empty() && plan.notes.is_empty() && plan.next.is_none() && plan.look.is_none(),
        "{plan:#?}"
    );
}

#[test]
fn the_former_program_runs_until_the_next_one_may_and_ends_before_it_starts() {
    let mut world = World::with(vec![revision("nimbus-1", 1, "Active", true)]);
    world.settle();
    world.run();
    world.settle();
    world.set("nimbus-1", |r| r.spec.desired_state = "Inactive".into());
    world.revisions.push(revision("nimbus-2", 2, "Active", false));
    world.settle();
    assert_eq!(
        world.names("Deployment"),
        ["nimbus-1"],
        "it serves while the next one's objects are put in place"
    );
    assert!(!objects::is_going(&world.find("Deployment", "nimbus-1").unwrap()));
    world.set("nimbus-2", |r| r.status = revision("x", 2, "Active", true).status);
    world.settle();
    assert!(objects::is_going(&world.find("Deployment", "nimbus-1").unwrap()));
    assert_eq!(
        world.names("Deployment"),
        ["nimbus-1"],
        "no second program before its pods are gone"
    );
    let selector =
        |world: &World| world.find("Service", "nimbus").unwrap()["spec"]["selector"][label()].clone();
    assert_eq!(selector(&world), "nimbus-1");
    assert_eq!(
        world.health("nimbus-2"),
        "False waiting: the pods of Deployment nimbus-1 end first"
    );
    world.run();
    world.settle();
    assert_eq!(world.names("Deployment"), ["nimbus-2"]);
    assert_eq!(selector(&world), "nimbus-2");
    let owners = world.find("Service", "nimbus").unwrap()["metadata"]["ownerReferences"].clone();
    assert_eq!(owners.as_array().unwrap().len(), 1, "{owners}");
    assert_eq!(owners[0]["uid"], "uid-nimbus");
}

fn label() -> &'static str {
    api::label::REVISION
}

#[test]
fn a_refused_successor_ends_nothing() {
    let mut world = World::with(vec![
        revision("nimbus-1", 1, "Inactive", true),
        revision("nimbus-2", 2, "Active", true),
    ]);
    world.settle();
    world.run();
    world.settle();
    // Back to the first one, which keeps its name.
    world.set("nimbus-2", |r| r.spec.desired_state = "Inactive".into());
    world.set("nimbus-1", |r| {
        r.spec.desired_state = "Active".into();
        r.spec.revision = 3;
    });
    world.settle();
    world.run();
    world.settle();
    world.run();
    world.settle();
    assert_eq!(world.names("Deployment"), ["nimbus-1"]);
    assert_eq!(world.health("nimbus-1"), "True ");
}

#[test]
fn nobody_active_means_nobody_runs() {
    let mut world = World::with(vec![revision("nimbus-1", 1, "Active", true)]);
    world.settle();
    world.set("nimbus-1", |r| r.spec.desired_state = "Inactive".into());
    // Not even a runtime config that is gone is in the way.
    world.templates = Err("gone".into());
    world.settle();
    assert!(objects::is_going(&world.find("Deployment", "nimbus-1").unwrap()));
    assert_eq!(world.names("Service"), ["nimbus"], "it stays for the next one");
}

#[test]
fn what_is_paused_or_going_is_left_alone() {
    for change in [
        |r: &mut Revision| {
            let paused = [(api::annotation::PAUSED.to_owned(), "true".to_owned())];
            r.metadata.annotations = Some(paused.into());
        },
        |r: &mut Revision| r.metadata.deletion_timestamp = Some(Time(now())),
    ] {
        let mut world = World::with(vec![revision("nimbus-1", 1, "Active", true)]);
        world.set("nimbus-1", change);
        assert_eq!(world.pass("nimbus-1"), Plan::default());
    }
}

#[test]
fn what_somebody_edits_comes_back_and_what_others_set_stays() {
    let mut world = World::with(vec![revision("nimbus-1", 1, "Active", true)]);
    world.settle();
    world.run();
    world.settle();
    let edit = |world: &mut World, path: &str, value: Value| {
        let object = world
            .objects
            .iter_mut()
            .find(|o| o["kind"] == "Deployment")
            .unwrap();
        match object.pointer_mut(path) {
            Some(place) => *place = value,
            None => object["spec"]["replicas"] = value,
        }
    };
    edit(&mut world, "/spec/replicas", json!(4));
    assert!(world.pass("nimbus-1").steps.is_empty(), "an autoscaler's");
    edit(
        &mut world,
        "/spec/template/spec/containers/0/image",
        json!("other"),
    );
    assert_eq!(world.pass("nimbus-1").steps.len(), 1);
    let image =
        &world.find("Deployment", "nimbus-1").unwrap()["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "registry.test/nimbus@sha256:0");
}

#[test]
fn fixed_names_are_taken_over_from_siblings_and_refused_to_others() {
    let templates = serde_json::from_value(json!({
        "deploymentTemplate": {"metadata": {"name": "fixed"}},
        "serviceTemplate": {"metadata": {"name": "fixed"}},
        "serviceAccountTemplate": {"metadata": {"name": "fixed"}},
    }));
    let spec: api::runtime_config::DeploymentRuntimeConfigSpec = templates.unwrap();
    let mut world = World::with(vec![revision("nimbus-1", 1, "Active", true)]);
    world.templates = Ok(Config {
        name: "shared".into(),
        templates: Templates::from(&spec),
        chosen_by: None,
    });
    world.settle();
    world.run();
    world.set("nimbus-1", |r| r.spec.desired_state = "Inactive".into());
    world.revisions.push(revision("nimbus-2", 2, "Active", true));
    for _ in 0..3 {
        world.settle();
        world.run();
    }
    world.settle();
    assert_eq!(world.health("nimbus-2"), "True ");
    for (kind, owner) in [
        ("Deployment", "uid-nimbus-2"),
        ("Service", "uid-nimbus"),
        ("ServiceAccount", "uid-nimbus"),
    ] {
        let owners = world.find(kind, "fixed").unwrap()["metadata"]["ownerReferences"].clone();
        assert_eq!(
            (owners.as_array().unwrap().len(), &owners[0]["uid"]),
            (1, &json!(owner)),
            "{kind}"
        );
    }
    for object in &mut world.objects {
        object["metadata"]["ownerReferences"] =
            json!([{"kind": "ProviderRevision", "name": "cirrus-1", "uid": "of-cirrus", "controller": true}]);
    }
    let plan = world.pass("nimbus-2");
    assert!(plan.steps.is_empty(), "{plan:#?}");
    let said = world.health("nimbus-2");
    assert!(
        said.starts_with("False Deployment fixed is already controlled by ProviderRevision cirrus-1 (UID of-cirrus); Service fixed")
            && said.ends_with("name another in DeploymentRuntimeConfig shared"),
        "{said}"
    );
}

#[test]
fn a_renamed_deployment_does_not_leave_the_old_one_behind() {
    let mut world = World::with(vec![revision("nimbus-1", 1, "Active", true)]);
    world.settle();
    world.run();
    let spec = json!({"deploymentTemplate": {"metadata": {"name": "renamed"}}});
    let spec: api::runtime_config::DeploymentRuntimeConfigSpec = serde_json::from_value(spec).unwrap();
    world.templates = Ok(Config {
        name: "default".into(),
        templates: Templates::from(&spec),
        chosen_by: None,
    });
    for _ in 0..3 {
        world.settle();
        world.run();
    }
    assert_eq!(world.names("Deployment"), ["renamed"]);
}

#[test]
fn what_the_api_server_refuses_is_told_and_tried_later() {
    let mut world = World::with(vec![revision("nimbus-1", 1, "Active", true)]);
    let steps = plan(&world.seen("nimbus-1"), now()).steps;
    let deployment = steps.last().unwrap().key();
    world.failure = Some(Failure {
        step: deployment,
        message: "exceeded quota".into(),
        until: now().saturating_add(SignedDuration::from_secs(8)).unwrap(),
    });
    let plan = world.pass("nimbus-1");
    assert!(plan.steps.is_empty());
    assert_eq!(plan.next, world.failure.as_ref().map(|f| f.until));
    assert_eq!(
        world.health("nimbus-1"),
        "False cannot apply provider package deployment: exceeded quota"
    );
    assert_eq!(plan.notes.len(), 1);
    assert!(world.pass("nimbus-1").notes.is_empty(), "told once");
    world.failure.as_mut().unwrap().until = now();
    assert_eq!(world.pass("nimbus-1").steps.len(), 3);
}

#[test]
fn pods_are_looked_at_while_a_runtime_is_not_well() {
    let mut world = World::with(vec![revision("nimbus-1", 1, "Active", true)]);
    world.settle();
    let plan = world.pass("nimbus-1");
    let (uid, version, labels) = plan.look.unwrap();
    assert_eq!(
        labels,
        "pkg.crossplane.io/provider=nimbus,pkg.crossplane.io/revision=nimbus-1"
    );
    let object = world
        .objects
        .iter_mut()
        .find(|o| o["kind"] == "Deployment")
        .unwrap();
    object["status"] = json!({"observedGeneration": 99});
    world.pods = Some(PodsSeen {
        of: (uid, version),
        trouble: Some("it crashes".into()),
        at: now(),
        looks: 1,
    });
    let plan = world.pass("nimbus-1");
    assert_eq!(world.health("nimbus-1"), "False it crashes");
    assert!(plan.look.is_none() && plan.next > Some(now()));
    let before = plan.next;
    world.pods.as_mut().unwrap().looks = 30;
    assert_eq!(
        world.pass("nimbus-1").next,
        now().saturating_add(PODS_LONGEST).ok(),
        "{before:?}"
    );
}

#[test]
fn pods_start_with_their_certificates_and_functions_start_again_for_others() {
    let loaded = |text: &str| Loadable {
        certificate: kit::certificate::Fingerprint::of(text.as_bytes()),
        bundle: kit::certificate::Fingerprint::of(b"bundle"),
    };
    for (kind, restarts) in [(PackageKind::Provider, false), (PackageKind::Function, true)] {
        let mut world = World::with(vec![revision("nimbus-1", 1, "Active", true)]);
        world.kind = kind;
        world.certificates = None;
        world.settle();
        assert_eq!(world.names("Deployment"), [""; 0], "{kind}");
        assert!(
            world
                .health("nimbus-1")
                .contains("Secret nimbus-tls-server gets its certificate")
        );
        world.certificates = Some(Certificates {
            server: true,
            client: true,
            loaded: Some(loaded("first")),
            trouble: None,
        });
        world.settle();
        let template =
            |world: &World| world.find("Deployment", "nimbus-1").unwrap()["spec"]["template"].clone();
        let first = template(&world);
        let key = api::annotation::CERTIFICATE_LOADED;
        let told = first["metadata"]["annotations"][key]
            .as_str()
            .and_then(Loadable::parse);
        assert_eq!(told, restarts.then(|| loaded("first")), "{kind}");
        // A restart of the operator, which knows nothing yet, starts nobody again.
        let known = world.certificates.take();
        world.settle();
        assert_eq!(template(&world), first, "{kind}");
        world.certificates = known;
        world.certificates.as_mut().unwrap().loaded = Some(loaded("second"));
        world.settle();
        assert_eq!(template(&world) != first, restarts, "{kind}");
    }
}

#[test]
fn a_service_account_of_others_is_used_and_secrets_that_others_gave_ours_stay() {
    let mut world = World::with(vec![revision("nimbus-1", 1, "Active", true)]);
    world.settle();
    let is = |o: &&mut Value| o["kind"] == "ServiceAccount";
    world.objects.iter_mut().find(is).unwrap()["imagePullSecrets"] =
        json!([{"name": "of-operator"}, {"name": "of-somebody"}]);
    world.settle();
    assert_eq!(
        world.find("ServiceAccount", "nimbus-1").unwrap()["imagePullSecrets"],
        json!([{"name": "of-operator"}, {"name": "of-somebody"}])
    );
    let mut world = World::with(vec![revision("nimbus-1", 1, "Active", true)]);
    let templates = serde_json::from_value(json!({
        "deploymentTemplate": {"spec": {"template": {"spec": {"serviceAccountName": "theirs"}}}},
    }));
    let spec: api::runtime_config::DeploymentRuntimeConfigSpec = templates.unwrap();
    world.templates = Ok(Config {
        name: "own-account".into(),
        templates: Templates::from(&spec),
        chosen_by: None,
    });
    world.settle();
    assert_eq!(world.names("ServiceAccount"), [""; 0]);
    let pod = world.find("Deployment", "nimbus-1").unwrap()["spec"]["template"]["spec"].clone();
    assert_eq!(pod["serviceAccountName"], "theirs");
}

/// Older versions of the reference selected other labels, and a selector can't be changed.
#[test]
fn a_deployment_that_selects_other_pods_goes_and_is_made_anew() {
    let mut world = World::with(vec![revision("nimbus-1", 1, "Active", true)]);
    world.settle();
    let is = |o: &&mut Value| o["kind"] == "Deployment";
    world.objects.iter_mut().find(is).unwrap()["spec"]["selector"]["matchLabels"] =
        json!({"pkg.crossplane.io/provider": "provider-of-old"});
    world.settle();
    assert!(objects::is_going(&world.find("Deployment", "nimbus-1").unwrap()));
    world.run();
    world.settle();
    let made = world.find("Deployment", "nimbus-1").unwrap();
    assert_eq!(
        made["spec"]["selector"]["matchLabels"]["pkg.crossplane.io/provider"],
        "nimbus"
    );
}
