//! Each right is needed: without a rule the scenario that it names fails, and the scenarios together use all of them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api::rbac::{CLUSTER, ENFORCED, EVENTS, EVENTS_NAMESPACE, NAMESPACE as OWN, RUNTIME, Rule};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use testkit::tools::workspace;
use testkit::world::{ACCOUNT, NAMESPACE, USER};
use testkit::{
    AuditEvent, AuditMark, ControlPlaneOptions, Operator, OperatorOptions, Registry, RegistryOptions, World,
    WorldOptions, eventually, run,
};
use tokio::sync::OnceCell;

use crate::OPERATOR;
use crate::leader::Renewing;
use crate::runtimes::{crashed, node_says, up};
use crate::scene::{SOON, Scene, message, name, says};

/// How long one step of a scenario may take.
const STEP: Duration = Duration::from_secs(30);

/// Name of the role for an API server that enforces owner references.
const ENFORCING: &str = "gantry-operator-owner-references";

/// Rules of a role in their order; one role may have several lists.
type Rules = &'static [&'static [Rule]];

/// The roles: kind, name, namespace, rules.
const ROLES: [(&str, &str, Option<&str>, Rules); 4] = [
    ("clusterrole", ACCOUNT, None, &[CLUSTER]),
    ("clusterrole", ENFORCING, None, &[ENFORCED]),
    ("role", ACCOUNT, Some(NAMESPACE), &[OWN, RUNTIME]),
    ("role", ACCOUNT, Some(EVENTS_NAMESPACE), &[EVENTS]),
];

/// A world whose API server enforces owner references, with the rights for that.
async fn strict() -> Result<&'static World> {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    let start = async || {
        let plugin = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement";
        let options = WorldOptions {
            control_plane: ControlPlaneOptions {
                api_server_args: vec![plugin.to_owned()],
                ..ControlPlaneOptions::default()
            },
            ..WorldOptions::default()
        };
        let world = World::start(options).await?;
        let rules = ENFORCED.iter().map(
            |rule| json!({ "apiGroups": rule.groups, "resources": rule.resources, "verbs": rule.verbs }),
        );
        let rules: Vec<Value> = rules.collect();
        let api = "rbac.authorization.k8s.io";
        let role = json!({
            "apiVersion": format!("{api}/v1"), "kind": "ClusterRole", "metadata": { "name": ENFORCING }, "rules": rules,
        });
        let binding = json!({
            "apiVersion": format!("{api}/v1"), "kind": "ClusterRoleBinding", "metadata": { "name": ENFORCING },
            "roleRef": { "apiGroup": api, "kind": "ClusterRole", "name": ENFORCING },
            "subjects": [{ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE }],
        });
        world
            .plane()
            .apply_yaml(&format!("{role}\n---\n{binding}"))
            .await?;
        anyhow::Ok(world)
    };
    WORLD.get_or_try_init(start).await
}

/// One scenario under way. Any step fails as soon as the operator was told that it may not, or has ended.
struct Act {
    world: &'static World,
    mark: AuditMark,
    operator: Operator,
}

impl Act {
    /// An operator that finds no Lease of a former one.
    async fn start(args: &[String]) -> Result<Self> {
        let world = strict().await?;
        let lease = ["delete", "lease", ACCOUNT, "-n", NAMESPACE, "--ignore-not-found"];
        world.plane().kubectl(&lease).await?;
        let mark = world.plane().audit_mark()?;
        let options = OperatorOptions::new(OPERATOR, world.operator_kubeconfig());
        let operator = Operator::start(options.args(args.iter().cloned()).without_waiting()).await?;
        let act = Self {
            world,
            mark,
            operator,
        };
        act.reach("the operator is ready", async || {
            Ok(act.operator.is_ready().await)
        })
        .await?;
        Ok(act)
    }

    /// What the operator did so far.
    fn deeds(&self) -> Result<Vec<AuditEvent>> {
        let mut events = self.world.plane().audit_since(self.mark)?;
        events.retain(|event| event.user == USER);
        Ok(events)
    }

    async fn reach(&self, what: &str, holds: impl AsyncFn() -> Result<bool>) -> Result<()> {
        let look = async || {
            if let Some(no) = self.deeds()?.into_iter().find(|event| event.code == 403) {
                bail!("{what}: forbidden: {} {}", no.verb, no.uri);
            }
            if self.operator.process().exit_status().is_some() {
                bail!("{what}: the operator ended: {}", self.operator.log_tail());
            }
            Ok(holds().await?.then_some(()))
        };
        eventually(what, STEP, look).await
    }

    /// Installs content; waits until it serves, and an event tells of it.
    async fn install(&self, scene: &Scene, reference: &str, spec: Value) -> Result<()> {
        scene.create(reference, spec).await?;
        self.serves(scene, reference).await?;
        self.reach("an event tells of it", async || {
            Ok(!scene.events(&scene.name).await?.is_empty())
        })
        .await
    }

    async fn serves(&self, scene: &Scene, reference: &str) -> Result<()> {
        self.reach("the package serves", async || {
            let package = scene.get().await?;
            let status = &package["status"];
            Ok(status["currentIdentifier"] == *reference
                && status["servingRevision"] == status["currentRevision"]
                && says(&package, "Ready", "True"))
        })
        .await
    }

    /// Somebody changes an object of the package; the operator puts it right.
    async fn repairs(&self, kind: &str, object: &str, wrong: Value, pointer: &str) -> Result<()> {
        let right = self
            .world
            .get(kind, object)
            .await?
            .context("the object is there")?;
        self.world.patch(kind, object, wrong).await?;
        self.reach(&format!("{kind} {object} is repaired"), async || {
            let now = self.world.get(kind, object).await?.unwrap_or_default();
            Ok(now.pointer(pointer) == right.pointer(pointer))
        })
        .await
    }
}

/// Runs a scenario by the name that rules give it; answers what the operator did in it.
async fn scenario(which: &str) -> Result<Vec<AuditEvent>> {
    match which {
        "start" => start().await,
        "preinstall" => preinstall().await,
        "provider" => provider().await,
        "configuration" => configuration().await,
        "operations" => operations().await,
        "webhooks" => webhooks().await,
        "private" => private().await,
        "beside" => beside().await,
        "runtime" => runtime(false).await,
        "crash" => runtime(true).await,
        _ => bail!("there is no scenario {which}"),
    }
}

/// A first start: the Lease is taken and renewed, the CRDs are there.
async fn start() -> Result<Vec<AuditEvent>> {
    let act = Act::start(&[]).await?;
    act.reach("the lease is renewed", async || {
        let renewed = |event: &AuditEvent| event.is_lease() && event.verb == "update";
        Ok(act.deeds()?.iter().any(renewed))
    })
    .await?;
    act.deeds()
}

/// A package that a flag names is made; one that differs is changed.
async fn preinstall() -> Result<Vec<AuditEvent>> {
    let world = strict().await?;
    let [new, old] = ["flagged", "changed"].map(|prefix| Scene::new(world, "Function", prefix));
    let from = new.push("v1", &new.fixture("v1")).await?;
    let [before, after] = [
        old.push("v1", &old.fixture("v1")).await?,
        old.push("v2", &old.fixture("v2")).await?,
    ];
    let served = world.plane().try_kubectl(&["get", "functions"], None).await?;
    if served.success {
        old.create(&before, json!({})).await?;
    }
    let act = Act::start(&[format!("--function={from}"), format!("--function={after}")]).await?;
    act.reach("the packages are as the flags say", async || {
        let packages = [
            world.get("Function", &new.name).await?,
            world.get("Function", &old.name).await?,
        ];
        let asked = packages.map(|found| found.map(|package| package["spec"]["package"].clone()));
        Ok(asked == [Some(json!(from)), Some(json!(after))])
    })
    .await?;
    let deeds = act.deeds()?;
    drop(act);
    new.delete().await?;
    old.delete().await?;
    Ok(deeds)
}

/// A Provider is installed, followed, repaired; a revision beyond the limit goes, and finalizers of a former manager do.
async fn provider() -> Result<Vec<AuditEvent>> {
    let act = Act::start(&[]).await?;
    let scene = Scene::new(act.world, "Provider", "needs");
    let reference = scene.push("v1", &scene.with_crds("v1", 2)).await?;
    act.install(&scene, &reference, json!({ "revisionHistoryLimit": 1 }))
        .await?;
    for version in ["v2", "v3"] {
        let reference = scene.ask_for(version, &scene.with_crds(version, 1)).await?;
        act.serves(&scene, &reference).await?;
    }
    act.reach("old revisions are collected", async || {
        Ok(scene.revisions().await?.len() == 2)
    })
    .await?;
    let crd = scene.crd_name(0);
    let wrong = json!({ "spec": { "names": { "shortNames": ["wrong"] } } });
    act.repairs("CustomResourceDefinition", &crd, wrong, "/spec/names")
        .await?;
    let deeds = act.deeds()?;
    drop(act);
    scene.delete().await?;
    Ok(deeds)
}

/// A Configuration with an XRD and a Composition.
async fn configuration() -> Result<Vec<AuditEvent>> {
    let act = Act::start(&[]).await?;
    let scene = Scene::new(act.world, "Configuration", "needs");
    let group = scene.group();
    let fixture = scene
        .fixture("v1")
        .xrd(&group, "Thing")
        .composition(&scene.name, &group, "Thing");
    let reference = scene.push("v1", &fixture).await?;
    act.install(&scene, &reference, json!({})).await?;
    let wrong = json!({ "spec": { "mode": "Wrong" } });
    act.repairs("Composition", &scene.name, wrong, "/spec/mode")
        .await?;
    let deeds = act.deeds()?;
    drop(act);
    scene.delete().await?;
    Ok(deeds)
}

/// A Configuration with operations.
async fn operations() -> Result<Vec<AuditEvent>> {
    let act = Act::start(&[]).await?;
    let scene = Scene::new(act.world, "Configuration", "operates");
    let operation = |kind: &str| {
        json!({
            "apiVersion": "ops.crossplane.io/v1alpha1", "kind": kind, "metadata": { "name": scene.name },
            "spec": { "mode": "Pipeline" },
        })
    };
    let fixture = scene
        .fixture("v1")
        .object(operation("Operation"))
        .object(operation("CronOperation"))
        .object(operation("WatchOperation"));
    let reference = scene.push("v1", &fixture).await?;
    act.install(&scene, &reference, json!({})).await?;
    let wrong = json!({ "spec": { "mode": "Wrong" } });
    act.repairs("Operation", &scene.name, wrong, "/spec/mode").await?;
    let deeds = act.deeds()?;
    drop(act);
    scene.delete().await?;
    Ok(deeds)
}

/// A Provider with webhook configurations, whose controller somebody else runs.
async fn webhooks() -> Result<Vec<AuditEvent>> {
    let act = Act::start(&["--package-runtime=Provider=External".to_owned()]).await?;
    let scene = Scene::new(act.world, "Provider", "hooks");
    let configuration = |kind: &str| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": { "name": "x" },
            "webhooks": [{
                "name": "hook.example.org", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "failurePolicy": "Ignore",
                "rules": [{ "apiGroups": [scene.group()], "apiVersions": ["*"], "operations": ["CREATE"],
                    "resources": ["nothings"] }],
                "clientConfig": { "service": { "name": "x", "namespace": "x", "path": "/judge" } },
            }],
        })
    };
    let fixture = scene
        .fixture("v1")
        .object(configuration("ValidatingWebhookConfiguration"))
        .object(configuration("MutatingWebhookConfiguration"));
    let reference = scene.push("v1", &fixture).await?;
    let secret = format!("{}-tls", scene.name);
    let certificate = testkit::pki::Authority::new("made-up")?.certificate().to_owned();
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": secret, "namespace": NAMESPACE },
        "stringData": { "tls.crt": certificate },
    });
    act.world.plane().apply_yaml(&object.to_string()).await?;
    scene.create(&reference, json!({})).await?;
    act.reach("a revision is active", async || {
        let active = |revision: &Value| revision["spec"]["desiredState"] == "Active";
        Ok(scene.revisions().await?.iter().any(active))
    })
    .await?;
    let revision = scene.active().await?;
    let status = json!({
        "apiVersion": "pkg.crossplane.io/v1", "kind": "ProviderRevision",
        "metadata": { "name": name(&revision) },
        "status": { "tlsServerSecretName": secret, "conditions": [{
            "type": "RuntimeHealthy", "status": "True", "reason": "HealthyPackageRevision", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }] },
    });
    let params = PatchParams::apply("somebody-else").force();
    let revisions = act.world.api("ProviderRevision")?;
    revisions
        .patch_status(name(&revision), &params, &Patch::Apply(status))
        .await?;
    act.serves(&scene, &reference).await?;
    let made = format!("crossplane-provider-{}", scene.name);
    // Metadata is left to others but for our keys: the controlling owner is one.
    let wrong = json!({ "metadata": { "ownerReferences": null } });
    act.repairs(
        "ValidatingWebhookConfiguration",
        &made,
        wrong,
        "/metadata/ownerReferences",
    )
    .await?;
    let deeds = act.deeds()?;
    drop(act);
    scene.delete().await?;
    Ok(deeds)
}

/// A package from a registry that asks for a password, which a Secret has.
async fn private() -> Result<Vec<AuditEvent>> {
    static REGISTRY: OnceCell<Registry> = OnceCell::const_new();
    let options = RegistryOptions {
        password: true,
        ..RegistryOptions::default()
    };
    let registry = REGISTRY.get_or_try_init(|| Registry::start(options)).await?;
    let act = Act::start(&[]).await?;
    let scene = Scene::new(act.world, "Function", "private");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": { "name": scene.name, "namespace": NAMESPACE },
        "stringData": { ".dockerconfigjson": registry.docker_config() },
    });
    act.world.plane().apply_yaml(&secret.to_string()).await?;
    let reference = registry
        .push(&scene.name, "v1", &scene.fixture("v1").build()?)
        .await?;
    let spec = json!({ "packagePullSecrets": [{ "name": scene.name }] });
    act.install(&scene, &reference, spec).await?;
    let deeds = act.deeds()?;
    drop(act);
    scene.delete().await?;
    Ok(deeds)
}

/// A Provider whose program Gantry runs, in two versions; the test plays the node. A key that somebody takes out of its
/// certificate comes back. A program that crashes says why.
async fn runtime(crashes: bool) -> Result<Vec<AuditEvent>> {
    let act = Act::start(&["--package-runtime=Deployment".to_owned()]).await?;
    let scene = Scene::new(act.world, "Provider", "program");
    let reference = scene.push("v1", &scene.with_crds("v1", 1)).await?;
    scene.create(&reference, json!({})).await?;
    let runs = async |reference: &str, status: Value| {
        act.reach("its program is awaited", async || {
            let package = scene.get().await?;
            let told = package["status"]["currentIdentifier"] == *reference;
            Ok(told && message(&package, "Ready").contains("replicas are available"))
        })
        .await?;
        node_says(&scene, &scene.active().await?, &status).await
    };
    if crashes {
        runs(&reference, crashed()).await?;
        act.reach("the crash is told", async || {
            Ok(message(&scene.get().await?, "Healthy").contains("CrashLoopBackOff"))
        })
        .await?;
    } else {
        runs(&reference, up()).await?;
        act.serves(&scene, &reference).await?;
        let reference = scene.ask_for("v2", &scene.with_crds("v2", 1)).await?;
        runs(&reference, up()).await?;
        act.serves(&scene, &reference).await?;
        let secret = format!("{}-tls-server", scene.name);
        let secret = ["secret", &secret, "-n", NAMESPACE];
        let without = r#"{"data":{"tls.key":null}}"#;
        let args = [&["patch"][..], &secret, &["-p", without]].concat();
        act.world.plane().kubectl(&args).await?;
        act.reach("its certificate is whole again", async || {
            let args = [&["get"][..], &secret, &["-o", "jsonpath={.data.tls\\.key}"]].concat();
            Ok(!act.world.plane().kubectl(&args).await?.is_empty())
        })
        .await?;
    }
    let deeds = act.deeds()?;
    drop(act);
    scene.delete().await?;
    Ok(deeds)
}

/// Leading beside a live package manager of the reference, which the admission policy keeps from packages.
async fn beside() -> Result<Vec<AuditEvent>> {
    let world = strict().await?;
    let policy = std::fs::read_to_string(workspace().join("deploy/beside-crossplane.yaml"))?;
    world.plane().apply_yaml(&policy).await?;
    let other = Renewing::start(world, api::REFERENCE_NAMESPACE, api::REFERENCE_LEASE).await?;
    let ended = match Act::start(&[]).await {
        Ok(act) => act.deeds(),
        Err(error) => Err(error),
    };
    drop(other);
    let lease = [
        "delete",
        "lease",
        api::REFERENCE_LEASE,
        "-n",
        api::REFERENCE_NAMESPACE,
    ];
    world.plane().kubectl(&lease).await?;
    ended
}

/// A role as it is in the cluster.
async fn role(world: &World, kind: &str, name: &str, namespace: Option<&str>) -> Result<Value> {
    let namespace = namespace.unwrap_or("default");
    let args = ["get", kind, name, "-n", namespace, "-o", "json"];
    let mut role: Value = serde_json::from_str(&world.plane().kubectl(&args).await?)?;
    role["metadata"] = json!({ "name": name, "namespace": role["metadata"]["namespace"] });
    Ok(role)
}

async fn set_role(world: &World, role: &Value) -> Result<()> {
    let answer = world
        .plane()
        .try_kubectl(&["replace", "-f", "-"], Some(&role.to_string()))
        .await?;
    ensure!(answer.success, "{}", answer.stderr);
    Ok(())
}

/// A scenario that failed leaves its packages.
async fn clean(world: &World) -> Result<()> {
    for kind in ["Provider", "Configuration", "Function"] {
        for package in world.list(kind, "").await? {
            world.delete(kind, name(&package)).await?;
            world.wait_gone(kind, name(&package), SOON).await?;
        }
    }
    Ok(())
}

/// Waits until the API server knows of a change: whether the operator may now do what the rule says.
async fn may(world: &World, rule: &Rule, namespace: Option<&str>, expected: bool) -> Result<()> {
    let (resource, subresource) = match rule.resources[0].split_once('/') {
        Some((resource, sub)) => (resource, format!("--subresource={sub}")),
        None => (rule.resources[0], String::new()),
    };
    let mut what = match rule.groups[0] {
        "" => resource.to_owned(),
        group => format!("{resource}.{group}"),
    };
    if let Some(name) = rule.names.first() {
        what = format!("{what}/{name}");
    }
    // Another rule may give a part of the same rights.
    let verb = rule.verbs.last().copied().unwrap_or_default();
    let mut args = vec!["auth", "can-i", verb, &what, "--as", USER, "-n"];
    args.push(namespace.unwrap_or("kube-public"));
    if !subresource.is_empty() {
        args.push(&subresource);
    }
    let look = async || {
        let answer = world.plane().try_kubectl(&args, None).await?;
        Ok((answer.stdout.trim() == if expected { "yes" } else { "no" }).then_some(()))
    };
    eventually(&format!("{args:?} is {expected}"), SOON, look).await
}

#[test]
fn each_rule_is_needed_by_the_scenario_that_it_names() -> Result<()> {
    run(async {
        let world = strict().await?;
        let mut all = vec![];
        for (kind, name, namespace, rules) in ROLES {
            let rules = rules.iter().copied().flatten().enumerate();
            all.extend(rules.map(|(place, rule)| (kind, name, namespace, place, rule)));
        }
        // With all rights every scenario comes to its end; that is what their failing below means something by.
        let names: BTreeSet<&str> = all.iter().map(|(.., rule)| rule.scenario).collect();
        let mut deeds = vec![];
        for name in ["start"]
            .into_iter()
            .chain(names.into_iter().filter(|name| *name != "start"))
        {
            deeds.extend(scenario(name).await.with_context(|| format!("scenario {name}"))?);
        }
        unused(&deeds)?;
        for (kind, name, namespace, place, rule) in all {
            let whole = role(world, kind, name, namespace).await?;
            let mut without = whole.clone();
            without["rules"].as_array_mut().context("rules")?.remove(place);
            set_role(world, &without).await?;
            may(world, rule, namespace, false).await?;
            let ended = scenario(rule.scenario).await;
            set_role(world, &whole).await?;
            may(world, rule, namespace, true).await?;
            clean(world).await?;
            match ended {
                Ok(_) => bail!(
                    "scenario {} does not need the rule \"{}\"",
                    rule.scenario,
                    rule.why
                ),
                Err(error) => println!("without \"{}\": {error:#}", rule.why),
            }
        }
        Ok(())
    })
}

/// That every verb and every resource of every rule was used.
fn unused(deeds: &[AuditEvent]) -> Result<()> {
    let used = |rule: &Rule, verb: Option<&str>, resource: Option<&str>| {
        deeds.iter().any(|deed| {
            let (whole, sub) = deed.resource.split_once('/').unwrap_or((&deed.resource, ""));
            let (plural, group) = whole.split_once('.').unwrap_or((whole, ""));
            let path = if sub.is_empty() {
                plural.to_owned()
            } else {
                format!("{plural}/{sub}")
            };
            rule.groups.contains(&group)
                && rule.resources.contains(&path.as_str())
                // An apply that finds nothing needs the right to create, too.
                && verb.is_none_or(|verb| verb == deed.verb || verb == "create" && deed.code == 201)
                && resource.is_none_or(|resource| resource == path)
                && matches!(deed.code, 200..300 | 404)
        })
    };
    let mut idle = vec![];
    for rule in ROLES
        .iter()
        .flat_map(|(.., lists)| lists.iter().copied().flatten())
    {
        // What admission asks for shows in no request.
        let finalizers = rule
            .resources
            .iter()
            .all(|resource| resource.ends_with("/finalizers"));
        if finalizers || ENFORCED.contains(rule) {
            continue;
        }
        // An object that packages carry is read only when somebody changes it between a look and a write.
        let carried = rule.verbs.contains(&"create") && rule.groups != [api::GROUP];
        let rare = |verb: &str| carried && verb == "get";
        let verbs = rule
            .verbs
            .iter()
            .filter(|verb| !rare(verb) && !used(rule, Some(verb), None));
        idle.extend(verbs.map(|verb| format!("{verb} of \"{}\"", rule.why)));
        let resources = rule
            .resources
            .iter()
            .filter(|resource| !used(rule, None, Some(resource)));
        idle.extend(resources.map(|resource| format!("{resource} of \"{}\"", rule.why)));
    }
    ensure!(idle.is_empty(), "rights that no scenario uses: {idle:#?}");
    Ok(())
}
