//! What the runtime controller does with one revision: pure, total, and without a clock.
//!
//! It is the only writer of the Deployment, Service and ServiceAccount of a package's program, and of the conditions
//! `RuntimeHealthy` and `RuntimeActive`, `tls*SecretName`, `endpoint` and the entry `ConfigureRuntime` of a revision's
//! status (design §3).
//!
//! **Hand-over.** The active revision does all of it: as soon as its objects are established, and not before, it deletes
//! the Deployments of the package's other revisions in the foreground, which lets them go only after their pods; then it
//! points the Service at its own pods and makes its Deployment. Until it is established the former program runs. An
//! inactive revision does something only where no active one is there to do it.

use std::sync::Arc;

use api::condition::{ConditionType, Reason, Status};
use api::pkg::{AppliedReason, ImageConfigRef, PackageKind, Revision, View};
use jiff::{SignedDuration, Timestamp};
use kit::meta::Owner;
use kit::resource::Target;
use serde_json::{Value, json};

use super::deployment::{Inputs, PORT, selector};
use super::facts::Seen;
use super::health::{self, Verdict};
use super::objects::{self, Wanted};
use super::templates::Names;
use crate::conditions::Cond;
use crate::note::{Note, Told};

pub use crate::manager::plan::Next;

/// Pods are looked at this long after their Deployment was last seen to move, and again and again at growing intervals while
/// it has trouble: the API server is asked for a list of a few pods.
pub const PODS_FIRST: SignedDuration = SignedDuration::from_secs(2);
/// Longest pause between two looks at the pods of a runtime that is not well.
pub const PODS_LONGEST: SignedDuration = SignedDuration::from_secs(60);

/// Text of the reference while the revision's objects are not in place.
const NOT_ESTABLISHED: &str = "Package revision is not healthy yet";
const AT_ZERO: &str =
    "Package runtime is scaled to zero; awaiting the first ManagedResourceDefinition to be activated";

/// Conditions that this controller owns.
pub const OWNED: [ConditionType; 2] = [ConditionType::RuntimeHealthy, ConditionType::RuntimeActive];

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Server-side apply, forced: each field that we set is ours.
    Apply(Wanted),
    /// The object gets our revision as its only controller, in place of one that may not have it any more.
    TakeOver {
        /// Which object.
        target: Target,
        /// UID.
        uid: String,
        /// resourceVersion.
        version: String,
        /// Its owners, complete.
        owners: Vec<Value>,
    },
    /// Deletion in the foreground: the Deployment goes after its pods.
    Delete {
        /// Which object.
        target: Target,
        /// UID.
        uid: String,
    },
}

impl Step {
    /// Tells steps apart: another content is another step.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Apply(wanted) => format!("apply {} {}", wanted.target, wanted.hash),
            Self::TakeOver { target, version, .. } => format!("take over {target} {version}"),
            Self::Delete { target, uid } => format!("delete {target} {uid}"),
        }
    }

    fn what(&self, kind: PackageKind) -> String {
        let kind = kind.kind().to_lowercase();
        let (verb, target) = match self {
            Self::Apply(wanted) => ("apply", &wanted.target),
            Self::TakeOver { target, .. } => ("apply", target),
            Self::Delete { target, .. } => ("delete", target),
        };
        let object = match target.resource.kind.as_ref() {
            "ServiceAccount" => "service account".to_owned(),
            other => other.to_lowercase(),
        };
        format!("cannot {verb} {kind} package {object}")
    }
}

/// The part of the revision's status that this controller owns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Conditions.
    pub conditions: Vec<Cond>,
    /// `status.tlsServerSecretName`.
    pub server_secret: Option<String>,
    /// `status.tlsClientSecretName`.
    pub client_secret: Option<String>,
    /// `status.endpoint`.
    pub endpoint: Option<String>,
    /// The entry `ConfigureRuntime`.
    pub chosen_by: Option<ImageConfigRef>,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Writes, in their order; one that fails ends the row.
    pub steps: Vec<Step>,
    /// Ask for the pods of this Deployment: UID, resourceVersion, and the labels of its pods.
    pub look: Option<(String, String, String)>,
    /// The status; `None` leaves it alone.
    pub status: Option<Outcome>,
    /// Events.
    pub notes: Vec<Note>,
    /// When to look again.
    pub next: Option<Timestamp>,
}

/// Decides.
#[must_use]
pub fn plan(seen: &Seen, now: Timestamp) -> Plan {
    let revision = View(&seen.revision);
    let Some(package) = seen
        .package
        .as_ref()
        .filter(|p| p.metadata.deletion_timestamp.is_none())
    else {
        return Plan::default();
    };
    if revision.is_deleting() || api::annotation::is_paused(&seen.revision.metadata) {
        return Plan::default();
    }
    let active = |r: &Arc<Revision>| View(r).is_active() && !View(r).is_deleting();
    if !revision.is_active() {
        return match seen.siblings.iter().any(active) {
            true => Plan::default(),
            false => ended(seen),
        };
    }
    let newer = |r: &Arc<Revision>| active(r) && View(r).number() > revision.number();
    if seen.siblings.iter().any(newer) {
        return Plan::default();
    }
    let package = package.metadata.name.clone().unwrap_or_default();
    serving(seen, &package, now)
}

/// Nobody is to run: what this revision controls goes.
fn ended(seen: &Seen) -> Plan {
    let uid = uid(seen);
    let own = |d: &&Value| objects::controller(d).is_some_and(|owner| owner.uid == uid);
    Plan {
        steps: seen
            .deployments
            .iter()
            .filter(own)
            .filter_map(|d| delete(seen, d))
            .collect(),
        ..Plan::default()
    }
}

fn uid(seen: &Seen) -> &str {
    seen.revision.metadata.uid.as_deref().unwrap_or_default()
}

/// Deletes a Deployment, unless that was asked for already.
fn delete(seen: &Seen, live: &Value) -> Option<Step> {
    (!objects::is_going(live)).then(|| Step::Delete {
        target: Target::namespaced(objects::DEPLOYMENTS, &seen.namespace, objects::meta(live, "name")),
        uid: objects::meta(live, "uid").to_owned(),
    })
}

/// What becomes of one pass over an active revision.
struct Pass<'a> {
    seen: &'a Seen,
    plan: Plan,
    outcome: Outcome,
}

fn serving(seen: &Seen, package: &str, now: Timestamp) -> Plan {
    let before = seen.revision.status.clone().unwrap_or_default();
    let mut pass = Pass {
        seen,
        plan: Plan::default(),
        // What was said before stays said while something is in the way.
        outcome: Outcome {
            conditions: vec![],
            server_secret: before.tls_server_secret_name,
            client_secret: before.tls_client_secret_name,
            endpoint: before.endpoint,
            chosen_by: before
                .applied_image_config_refs
                .into_iter()
                .find(|r| r.reason == AppliedReason::ConfigureRuntime.as_str()),
        },
    };
    let verdict = pass.work(package, now);
    pass.conclude(verdict)
}

impl<'a> Pass<'a> {
    fn work(&mut self, package: &str, now: Timestamp) -> Verdict {
        let seen = self.seen;
        let failing = |message: String| Verdict::Failing(message);
        let prepare = "cannot prepare runtime manifest builder options";
        let config = match &seen.config {
            Ok(config) => config,
            Err(error) => return failing(format!("{prepare}: {error}")),
        };
        let chosen = |name: &String| ImageConfigRef::new(name, AppliedReason::ConfigureRuntime);
        self.outcome.chosen_by = config.chosen_by.as_ref().map(chosen);
        let revision = seen.revision.metadata.name.clone().unwrap_or_default();
        let names = Names::of(&config.templates, package, &revision);
        self.certified(&names);
        let view = View(&seen.revision);
        let established = view.is_established() || view.awaits_program();
        let own = self.own(&names, package, &revision);
        if !established && own.is_none() {
            return Verdict::Waiting(NOT_ESTABLISHED.to_owned());
        }
        let image = match &seen.image {
            Ok(image) => image,
            Err(error) => return failing(format!("cannot parse {} package image: {error}", self.word())),
        };
        if let Some(missing) = self.uncertified() {
            return Verdict::Waiting(format!("Secret {missing} gets its certificate"));
        }
        let loaded = self.loaded(own);
        let inputs = Inputs {
            kind: seen.kind,
            package,
            revision: &revision,
            uid: uid(seen),
            templates: &config.templates,
            names: &names,
            image,
            pull_secrets: &seen.pull_secrets,
            pull_policy: seen.revision.spec.package_pull_policy.as_deref(),
            client_secret: self.outcome.client_secret.as_deref(),
            server_secret: self.outcome.server_secret.as_deref(),
            loaded: loaded.as_deref(),
            at_zero: seen.awaiting,
        };
        let owner = |kind: &str, name: &str, uid: &str| {
            json!({
                "apiVersion": api::API_VERSION, "kind": kind, "name": name, "uid": uid,
                "controller": true, "blockOwnerDeletion": true,
            })
        };
        let of_revision = owner(seen.kind.revision_kind(), &revision, uid(seen));
        // What all revisions share belongs to the package: it stays as it is when one follows another.
        let package_uid = seen.package.as_ref().and_then(|p| p.metadata.uid.as_deref());
        let of_package = owner(seen.kind.kind(), package, package_uid.unwrap_or_default());
        let deployment = match objects::deployment(&seen.namespace, &inputs, &of_revision) {
            Ok(deployment) => deployment,
            Err(error) => {
                return failing(format!(
                    "{prepare}: DeploymentRuntimeConfig {}: {error}",
                    config.name
                ));
            }
        };
        let service = objects::service(&seen.namespace, &inputs, &of_package);
        let account = objects::account(
            &seen.namespace,
            &inputs,
            &seen.operator_pull_secrets,
            seen.named.account.as_ref(),
            if names.account == revision {
                &of_revision
            } else {
                &of_package
            },
        );
        let mut live = vec![
            (&deployment, seen.named.deployment.as_ref()),
            (&service, seen.named.service.as_ref()),
        ];
        if names.has_account() {
            live.push((&account, seen.named.account.as_ref()));
        }
        let foreign: Vec<String> = live
            .iter()
            .filter_map(|(wanted, live)| self.foreign(wanted, *live))
            .collect();
        if !foreign.is_empty() {
            let where_to = format!("name another in DeploymentRuntimeConfig {}", config.name);
            return failing(format!("{}; {where_to}", foreign.join("; ")));
        }
        // The former program ends before the Service looks elsewhere and the next one starts.
        let others: Vec<&Value> = seen
            .deployments
            .iter()
            .filter(|d| own.is_none_or(|own| objects::meta(own, "uid") != objects::meta(d, "uid")))
            .collect();
        if !others.is_empty() {
            let mut called: Vec<&str> = others.iter().map(|d| objects::meta(d, "name")).collect();
            called.sort_unstable();
            self.plan.steps = others.iter().filter_map(|d| delete(seen, d)).collect();
            return self.tried(now).unwrap_or_else(|| {
                Verdict::Waiting(format!("the pods of Deployment {} end first", called.join(", ")))
            });
        }
        let mut steps = vec![];
        if names.has_account() {
            self.steps(&mut steps, account, seen.named.account.as_ref());
        }
        self.steps(&mut steps, service, seen.named.service.as_ref());
        self.steps(&mut steps, deployment, seen.named.deployment.as_ref());
        self.plan.steps = steps;
        if let Some(failed) = self.tried(now) {
            return failed;
        }
        match own {
            None => Verdict::Waiting("the Deployment is being made".to_owned()),
            Some(live) => self.health(live, package, &revision, now),
        }
    }

    fn word(&self) -> String {
        self.seen.kind.kind().to_lowercase()
    }

    /// What the status says of certificates, and of how a function is reached.
    fn certified(&mut self, names: &Names) {
        let spec = &self.seen.revision.spec;
        let ready = self.seen.certificates.clone().unwrap_or_default();
        if ready.server {
            self.outcome
                .server_secret
                .clone_from(&spec.tls_server_secret_name);
        }
        if ready.client {
            self.outcome
                .client_secret
                .clone_from(&spec.tls_client_secret_name);
        }
        if self.seen.kind == PackageKind::Function {
            let (service, namespace) = (&names.service, &self.seen.namespace);
            self.outcome.endpoint = Some(format!("dns:///{service}.{namespace}:{PORT}"));
        }
    }

    /// The secret that has to be there before pods start with it. What had one once keeps it.
    fn uncertified(&self) -> Option<&'a str> {
        let spec = &self.seen.revision.spec;
        let asked = [
            (&spec.tls_server_secret_name, &self.outcome.server_secret),
            (&spec.tls_client_secret_name, &self.outcome.client_secret),
        ];
        asked.into_iter().find_map(|(asked, have)| {
            let asked = asked.as_deref().filter(|name| !name.is_empty())?;
            have.is_none().then_some(asked)
        })
    }

    /// What pods that load their certificate once are told by their template; another value starts them again. Functions are
    /// such; webhook servers of providers follow their mount.
    fn loaded(&self, own: Option<&Value>) -> Option<String> {
        if self.seen.kind != PackageKind::Function {
            return None;
        }
        let now = self.seen.certificates.as_ref().and_then(|c| c.loaded);
        // Until it is known, the pods stay as they are.
        now.map(|loaded| loaded.to_string())
            .or_else(|| objects::loaded(own?).map(str::to_owned))
    }

    /// The Deployment of this revision: it has the wanted name, we control it, and it selects our pods.
    fn own(&self, names: &Names, package: &str, revision: &str) -> Option<&'a Value> {
        let live = self.seen.named.deployment.as_ref()?;
        let labels = selector(self.seen.kind, package, revision);
        let ours = objects::controller(live).is_none_or(|owner| owner.uid == uid(self.seen));
        let fits = objects::selects(live).is_some_and(|selects| *selects == labels);
        (ours && fits && objects::meta(live, "name") == names.deployment && !objects::is_going(live))
            .then_some(live)
    }

    /// Why the live object can't be had.
    fn foreign(&self, wanted: &Wanted, live: Option<&Value>) -> Option<String> {
        let Owner {
            kind, name, uid: of, ..
        } = objects::controller(live?)?;
        let ours = of == wanted.owner() || self.may_take(&of);
        (!ours).then(|| {
            let what = format!("{} {}", wanted.target.resource.kind, wanted.target.name);
            format!("{what} is already controlled by {kind} {name} (UID {of})")
        })
    }

    fn may_take(&self, of: &str) -> bool {
        let own = |uid: Option<&str>| uid == Some(of);
        let package = self.seen.package.as_ref().and_then(|p| p.metadata.uid.as_deref());
        let sibling = |r: &Arc<Revision>| own(r.metadata.uid.as_deref());
        own(package)
            || of == uid(self.seen)
            || self.seen.siblings.iter().any(sibling)
            || self.seen.gone.iter().any(|gone| gone == of)
    }

    /// What has to be done so that the object is as wanted.
    fn steps(&self, steps: &mut Vec<Step>, wanted: Wanted, live: Option<&Value>) {
        if let Some(live) = live {
            if let Some(owner) = objects::controller(live)
                && owner.uid != wanted.owner()
            {
                let owners = live
                    .pointer("/metadata/ownerReferences")
                    .and_then(Value::as_array);
                let stays = |owner: &&Value| {
                    let of = owner.get("uid").and_then(Value::as_str).unwrap_or_default();
                    of != wanted.owner() && !self.may_take(of)
                };
                let ours = wanted.body.pointer("/metadata/ownerReferences/0").cloned();
                steps.push(Step::TakeOver {
                    target: wanted.target.clone(),
                    uid: objects::meta(live, "uid").to_owned(),
                    version: objects::meta(live, "resourceVersion").to_owned(),
                    owners: owners
                        .into_iter()
                        .flatten()
                        .filter(stays)
                        .cloned()
                        .chain(ours)
                        .collect(),
                });
            }
            let answered = |(target, hash): &(String, String)| {
                *target == wanted.target.to_string() && *hash == wanted.hash
            };
            if wanted.is_in_place(live) || self.seen.answered.iter().any(answered) {
                return;
            }
        }
        steps.push(Step::Apply(wanted));
    }

    /// The verdict where one of the steps failed a moment ago; the steps then wait.
    fn tried(&mut self, now: Timestamp) -> Option<Verdict> {
        let failure = self.seen.failure.as_ref()?;
        let step = self.plan.steps.iter().find(|step| step.key() == failure.step)?;
        let message = format!("{}: {}", step.what(self.seen.kind), failure.message);
        if now < failure.until {
            self.plan.steps.clear();
            self.at(failure.until);
        }
        Some(Verdict::Failing(message))
    }

    fn at(&mut self, time: Timestamp) {
        let next = self.plan.next.map_or(time, |next| next.min(time));
        self.plan.next = Some(next);
    }

    fn health(&mut self, live: &Value, package: &str, revision: &str, now: Timestamp) -> Verdict {
        let of = (
            objects::meta(live, "uid").to_owned(),
            objects::meta(live, "resourceVersion").to_owned(),
        );
        let pods = self.seen.pods.as_ref().filter(|pods| pods.of.0 == of.0);
        let alone = health::judge(live, None);
        if matches!(&alone, Verdict::Well(text) if text.is_empty()) {
            return alone;
        }
        // Looked at when the Deployment has moved or the last look is old enough.
        let due = match pods {
            None => now,
            Some(pods) => {
                let doubled = PODS_FIRST
                    .saturating_mul(1 << pods.looks.min(5))
                    .min(PODS_LONGEST);
                let pause = if pods.of == of { doubled } else { PODS_FIRST };
                pods.at.saturating_add(pause).unwrap_or(now)
            }
        };
        if due <= now {
            let labels = selector(self.seen.kind, package, revision);
            let labels = labels
                .iter()
                .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
            self.plan.look = Some((of.0, of.1, labels.collect::<Vec<_>>().join(",")));
        } else {
            self.at(due);
        }
        health::judge(live, pods.and_then(|pods| pods.trouble.as_deref()))
    }

    fn conclude(mut self, verdict: Verdict) -> Plan {
        let seen = self.seen;
        let ill = |message: String| {
            let reason = Reason::UnhealthyPackageRevision;
            Cond::new(ConditionType::RuntimeHealthy, Status::False, reason).message(message)
        };
        let trouble = seen.certificates.as_ref().and_then(|c| c.trouble.clone());
        let runtime = match &verdict {
            Verdict::Failing(message) => vec![ill(message.clone())],
            Verdict::Waiting(message) if message == NOT_ESTABLISHED && trouble.is_none() => {
                vec![ill(NOT_ESTABLISHED.to_owned())]
            }
            _ if trouble.is_some() => {
                let package = seen
                    .package
                    .as_ref()
                    .and_then(|p| p.metadata.name.clone())
                    .unwrap_or_default();
                vec![ill(format!(
                    "cannot generate TLS certificates for \"{package}\": {}",
                    trouble.unwrap_or_default()
                ))]
            }
            Verdict::Waiting(message) => vec![ill(format!("waiting: {message}"))],
            Verdict::Well(message) => {
                let reason = Reason::HealthyPackageRevision;
                let healthy = Cond::new(ConditionType::RuntimeHealthy, Status::True, reason).message(message);
                let active = match seen.awaiting {
                    true => Cond::new(
                        ConditionType::RuntimeActive,
                        Status::False,
                        Reason::AwaitingActivation,
                    )
                    .message(AT_ZERO),
                    false => Cond::new(ConditionType::RuntimeActive, Status::True, Reason::ActiveRuntime),
                };
                vec![healthy, active]
            }
        };
        // Not touched while the runtime is not well, as in the reference.
        let kept = View(&seen.revision)
            .condition(ConditionType::RuntimeActive)
            .and_then(Cond::carried)
            .filter(|_| runtime.len() == 1);
        self.plan.notes = notes(seen, &verdict, runtime.first());
        self.outcome.conditions = runtime.into_iter().chain(kept).collect();
        self.plan.status = Some(self.outcome);
        self.plan
    }
}

/// Events, at the moment something becomes different.
fn notes(seen: &Seen, verdict: &Verdict, now: Option<&Cond>) -> Vec<Note> {
    let before = View(&seen.revision).condition(ConditionType::RuntimeHealthy);
    let (Some(now), was) = (now, before.is_some_and(|c| c.is_true())) else {
        return vec![];
    };
    let told = before.and_then(|c| c.message.as_deref()) == Some(now.message.as_str());
    match verdict {
        Verdict::Well(_) if !was => vec![Note::new(
            Told::RuntimeReady,
            "Successfully configured package revision",
        )],
        Verdict::Failing(_) if !told => {
            vec![
                Note::new(Told::RuntimeNotReady, &now.message)
                    .next(Reason::UnhealthyPackageRevision.help().remedy),
            ]
        }
        _ => vec![],
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
