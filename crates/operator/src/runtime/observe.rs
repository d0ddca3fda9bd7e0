//! What is known of a runtime: caches and this process's memory, nothing else.

use std::sync::Arc;

use api::condition::{ConditionType, Reason};
use api::image_config::Purpose;
use api::managed_resource;
use api::pkg::{ObjectRef, PackageKind, Revision, RuntimeConfigReference, View};
use kit::meta::Owner;
use kit::resource::Target;
use kube::core::DynamicObject;
use serde_json::Value;

use super::facts::{Config, Named, Seen};
use super::objects::{ACCOUNTS, DEPLOYMENTS, SERVICES, controller, meta};
use super::templates::{Names, Templates};
use super::{RuntimeCaches, by_selector};
use crate::context::{Context, uid_key};
use crate::images;
use crate::key::Key;
use crate::revision;

/// Capability of providers whose controllers start when the CRDs that they watch come one by one.
const SAFE_START: &str = "safe-start";

/// `None` if the revision doesn't exist (any more).
pub(crate) fn observe(cx: &Context, caches: &RuntimeCaches, key: &Key) -> Option<Seen> {
    let revision = cx.caches.revision(key)?;
    let package = revision::package_of(cx, key.kind, &revision);
    let siblings = package
        .as_ref()
        .map(|package| revision::siblings(cx, key.kind, &revision, package))
        .unwrap_or_default();
    let uid = revision.metadata.uid.clone().unwrap_or_default();
    let package_name = package
        .as_ref()
        .and_then(|package| package.metadata.name.clone())
        .unwrap_or_default();
    let config = config(cx, caches, &revision);
    let named = config
        .as_ref()
        .map(|config| {
            let name = revision.metadata.name.as_deref().unwrap_or_default();
            let names = Names::of(&config.templates, &package_name, name);
            Named {
                deployment: caches
                    .deployments
                    .get(&names.deployment)
                    .map(|object| value(&object)),
                service: caches.services.get(&names.service).map(|object| value(&object)),
                account: caches.accounts.get(&names.account).map(|object| value(&object)),
            }
        })
        .unwrap_or_default();
    let owners = siblings
        .iter()
        .filter_map(|s| s.metadata.uid.as_deref())
        .chain([uid.as_str()]);
    let keys = owners
        .map(str::to_owned)
        .chain([by_selector(key.kind, &package_name)]);
    let mut deployments: Vec<Arc<DynamicObject>> = keys
        .flat_map(|key| caches.deployments.lookup_objects(&key))
        .collect();
    deployments.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    deployments.dedup_by(|a, b| a.metadata.uid == b.metadata.uid);
    let deployments: Vec<Value> = deployments
        .iter()
        .map(|object| value(object))
        .filter(|live| is_of(cx, live, &siblings, &uid))
        .collect();
    let all = deployments
        .iter()
        .chain(&named.deployment)
        .chain(&named.service)
        .chain(&named.account);
    let gone = all
        .filter_map(controller)
        .map(|owner| owner.uid)
        .filter(|uid| !lives(cx, uid))
        .collect();
    let memory = cx.runtimes.of(&uid);
    let live = [
        (DEPLOYMENTS, &named.deployment),
        (SERVICES, &named.service),
        (ACCOUNTS, &named.account),
    ];
    let answered = live
        .into_iter()
        .filter_map(|(resource, live)| {
            let live = live.as_ref()?;
            let target = Target::namespaced(resource, &cx.options.namespace, meta(live, "name")).to_string();
            let hash = memory.hash_of(&target, meta(live, "uid"), meta(live, "resourceVersion"))?;
            Some((target, hash.to_owned()))
        })
        .collect();
    let (image, pull_secrets) = image(cx, &revision);
    Some(Seen {
        kind: key.kind,
        package,
        siblings,
        namespace: cx.options.namespace.clone(),
        config,
        image,
        pull_secrets,
        operator_pull_secrets: operator_pull_secrets(cx, caches),
        deployments,
        named,
        gone,
        certificates: memory.certificates,
        pods: memory.pods,
        failure: memory.failure,
        answered,
        awaiting: awaits(caches, key.kind, &revision),
        revision,
    })
}

/// Whether nothing is to run until a definition is activated (behaviour 4.7): the provider can start safely, carries
/// definitions, none of them is active, and none ever was. A definition that the cache doesn't show yet is not active.
fn awaits(caches: &RuntimeCaches, kind: PackageKind, revision: &Revision) -> bool {
    let Some(status) = revision.status.as_ref().filter(|_| kind == PackageKind::Provider) else {
        return false;
    };
    let capabilities = status.capabilities.as_deref().unwrap_or_default();
    let safe = capabilities
        .iter()
        .any(|c| package::meta::same_capability(c, SAFE_START));
    let ran = View(revision)
        .condition(ConditionType::RuntimeActive)
        .is_some_and(|c| c.has_reason(Reason::ActiveRuntime));
    let mut definitions = status
        .object_refs
        .iter()
        .filter(|object| object.kind == managed_resource::KIND)
        .peekable();
    let active = |object: &ObjectRef| {
        let definition = caches.definitions.get(&object.name);
        definition.is_some_and(|definition| definition.is_active())
    };
    safe && !ran && definitions.peek().is_some() && !definitions.any(active)
}

fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// Whether a Deployment is this package's: one of its revisions controls it, or a controller that exists no more.
fn is_of(cx: &Context, live: &Value, siblings: &[Arc<Revision>], own: &str) -> bool {
    controller(live).is_some_and(|Owner { uid, .. }| {
        uid == own || siblings.iter().any(|s| s.metadata.uid.as_deref() == Some(&uid)) || !lives(cx, &uid)
    })
}

fn lives(cx: &Context, uid: &str) -> bool {
    let key = uid_key(uid);
    let caches = &cx.caches;
    let revision = caches.revisions.iter().any(|(_, live)| live.any(&key, |_| true));
    revision || caches.packages.iter().any(|(_, live)| live.any(&key, |_| true))
}

/// The runtime config that counts: an ImageConfig's, else the package's own.
pub(crate) fn config(cx: &Context, caches: &RuntimeCaches, revision: &Revision) -> Result<Config, String> {
    let resolved = images::effective(cx, &revision.spec.image, None).map_err(|trouble| trouble.message)?;
    let configs = images::configs(cx);
    let chosen = configs.best(Purpose::Runtime, &resolved.reference.to_string());
    let from = chosen.and_then(|c| c.spec.runtime.as_ref()?.config_ref.clone());
    let chosen_by = chosen.map(|c| c.name().to_owned());
    let default = RuntimeConfigReference::default();
    let reference = from
        .or_else(|| revision.spec.runtime_config_ref.clone())
        .unwrap_or_else(|| default.clone());
    if reference.kind != default.kind || reference.api_version != default.api_version {
        let RuntimeConfigReference {
            api_version, kind, ..
        } = reference;
        return Err(format!(
            "runtime config is set but is an unknown apiVersion and kind: {api_version} {kind}; use {} {}",
            default.api_version, default.kind
        ));
    }
    let templates = match caches.configs.get(&reference.name) {
        Some(config) => Templates::from(&config.spec),
        // What everybody uses need not be there to say nothing.
        None if reference.name == default.name => Templates::default(),
        None => {
            return Err(format!(
                "cannot get referenced deployment runtime config: there is no DeploymentRuntimeConfig {}; create it, or name \
                 another in spec.runtimeConfigRef of the package",
                reference.name
            ));
        }
    };
    Ok(Config {
        name: reference.name,
        templates,
        chosen_by,
    })
}

/// The image by digest, after rewriting, and the secrets that it is pulled with.
fn image(cx: &Context, revision: &Revision) -> (Result<String, String>, Vec<String>) {
    let spec = &revision.spec;
    let secrets = images::pull_secrets(cx, &spec.image, spec.package_pull_secrets.as_deref());
    let image = images::effective(cx, &spec.image, None).map_err(|trouble| trouble.message);
    let image = image.and_then(|image| match revision::digest(revision) {
        Some(digest) => Ok(format!("{}@{digest}", image.reference.source())),
        None => Err(format!("the digest of {} is not known yet", spec.image)),
    });
    (image, secrets)
}

fn operator_pull_secrets(cx: &Context, caches: &RuntimeCaches) -> Vec<String> {
    let own = caches.accounts.get(&cx.options.service_account);
    let secrets = own
        .as_ref()
        .and_then(|own| own.data.get("imagePullSecrets")?.as_array());
    let names = secrets
        .into_iter()
        .flatten()
        .filter_map(|s| s.get("name")?.as_str());
    names.map(str::to_owned).collect()
}

/// Revisions of that kind whose runtime config is the one of this name, whoever chose it.
pub(crate) fn configured_by(cx: &Context, caches: &RuntimeCaches, kind: PackageKind, name: &str) -> Vec<Key> {
    let all = cx
        .caches
        .revisions
        .get(kind)
        .map(kit::live::Live::all)
        .unwrap_or_default();
    let uses = |revision: &&Arc<Revision>| {
        let own = revision
            .spec
            .runtime_config_ref
            .as_ref()
            .is_some_and(|r| r.name == name);
        own || config(cx, caches, revision).is_ok_and(|config| config.name == name)
    };
    all.iter()
        .filter(uses)
        .filter_map(|revision| Some(Key::new(kind, revision.metadata.name.clone()?)))
        .collect()
}
