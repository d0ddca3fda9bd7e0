//! Runs one task on a revision from loading its content to the report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::condition::{Condition, ConditionType, Conditions as _, Reason};
use api::pkg::{DeclaredDependency, Package, Revision};
use base64::Engine;
use kit::certificate::Fingerprint;
use kit::read;
use kit::resource::{Resource, Target};
use oci::{Digest, Reference};
use package::Parsed;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::items::{self, WebhookService};
use super::job::Job;
use super::plan::{Aim, ContentFacts, Ending, Task};
use super::work::{Finished, Trusted, fingerprint};
use super::{doubt, establish, preflight, survey};
use crate::content::{Content, Origin};
use crate::context::Context;
use crate::images;
use crate::key::Key;
use crate::manager::check::Trouble;
use crate::runtime;
use crate::runtime_mode::RuntimeMode;

/// Objects of one package: the status names each in some 200 bytes, and the API server takes 1.5 MiB for a revision.
pub(crate) const MAX_OBJECTS: usize = 5_000;

/// Starts the task unless it runs already.
pub(crate) fn start(
    cx: &Arc<Context>,
    key: &Key,
    revision: &Arc<Revision>,
    package: &Arc<Package>,
    aim: Aim,
) {
    let uid = revision.metadata.uid.clone().unwrap_or_default();
    let Some((cancel, ticket)) = cx.works.begin(&uid, &aim, cx.tasks.stopping()) else {
        return;
    };
    // What is written to a revision that was established as it is now, somebody has changed.
    let conditions = revision.status.as_ref().map(|s| &s.conditions);
    let found = |type_| {
        let condition = conditions.and_then(|c| c.get(type_));
        condition.filter(|c| c.observed_generation == Some(aim.generation))
    };
    let repairs = found(ConditionType::Established).is_some_and(Condition::is_true);
    let decisive = aim.task.decisive().and_then(found);
    let refused_before = decisive.is_some_and(|c| c.has_reason(Reason::Refused));
    let run = Run {
        cx: cx.clone(),
        key: key.clone(),
        revision: revision.clone(),
        package: package.clone(),
        ticket,
        cancel: cancel.clone(),
    };
    let span = tracing::info_span!("work", revision = %key, task = ?aim.task);
    let (context, key) = (cx.clone(), key.clone());
    let task = async move {
        let started = tokio::time::Instant::now();
        let Some(mut finished) = cancel.run_until_cancelled(Box::pin(run.run(&aim))).await else {
            return;
        };
        let well_before = context
            .reach
            .well_for()
            .map(|well| well.saturating_sub(started.elapsed()));
        finished.ending = doubt::judged(finished.ending, well_before, refused_before);
        let (seconds, wrote) = (started.elapsed().as_secs_f64(), finished.wrote.len());
        match &finished.ending {
            Ending::Done => tracing::info!(wrote, seconds, "done"),
            other => tracing::warn!(outcome = other.word(), why = %other, wrote, seconds, "not done"),
        }
        if let (Task::Establish, Some((_, items))) = (aim.task, &finished.loaded) {
            let done = finished.ending == Ending::Done;
            context
                .work_figures
                .established(items, &finished.wrote, done, repairs);
        }
        if context
            .works
            .end(&uid, ticket, aim, finished, kit::clock::steady())
        {
            context.revisions.add(key);
            // A rotation waits until callers of webhooks were told.
            context.certificates_wanted.notify_one();
        }
    };
    let name = format!(
        "work on {}",
        revision.metadata.name.as_deref().unwrap_or_default()
    );
    cx.tasks.spawn_job(name, task.instrument(span));
}

struct Run {
    cx: Arc<Context>,
    key: Key,
    revision: Arc<Revision>,
    package: Arc<Package>,
    ticket: u64,
    cancel: CancellationToken,
}

impl Run {
    async fn run(&self, aim: &Aim) -> Finished {
        let nothing = |ending| Finished {
            spec: fingerprint(&self.revision.spec),
            ending,
            facts: None,
            loaded: None,
            written: None,
            refs: None,
            wrote: BTreeSet::new(),
            trusted: None,
        };
        if aim.task == Task::Release {
            return nothing(self.release().await);
        }
        // What the store loses while it is used is loaded once more; losing it again is told.
        let mut again = true;
        loop {
            let content = match self.load().await {
                Ok(loaded) => loaded,
                Err(trouble) => return nothing(Ending::NoContent(trouble)),
            };
            let (finished, lost) = self.with_content(aim, content).await;
            if let (true, true, Some(digest)) = (lost, again, digest(&self.revision)) {
                tracing::warn!("the store lost the content; loading it again");
                self.cx.contents.forget(&digest);
                again = false;
                continue;
            }
            return finished;
        }
    }

    /// Does the task with the content; also answers whether the store lost it meanwhile.
    async fn with_content(&self, aim: &Aim, content: Arc<Content>) -> (Finished, bool) {
        let facts = Arc::new(facts(&content.parsed));
        let unfit = self.unfit(&content.parsed);
        let webhooks = match unfit {
            None if facts.webhooks => self.webhooks(aim.task).await.map(Option::unzip),
            _ => Ok((None, None)),
        };
        let package_name = self.package.metadata.name.as_deref().unwrap_or_default();
        let items = Arc::new(items::items(
            &content.parsed,
            self.key.kind,
            package_name,
            &self.revision.spec,
            webhooks.as_ref().ok().and_then(|(service, _)| service.as_ref()),
        ));
        let mut finished = Finished {
            spec: fingerprint(&self.revision.spec),
            ending: Ending::Done,
            facts: Some(facts),
            loaded: Some((content.clone(), items.clone())),
            written: None,
            refs: None,
            wrote: BTreeSet::new(),
            trusted: None,
        };
        if let Some(unfit) = unfit {
            finished.ending = Ending::Unfit(unfit);
            return (finished, false);
        }
        let (webhooks, trusted) = match webhooks {
            Ok(found) => found,
            Err(waiting) => {
                finished.ending = Ending::Waiting(vec![waiting]);
                return (finished, false);
            }
        };
        self.cx.carriers.set(&self.key, &items);
        let job = self.job(Some(content), items, webhooks);
        let lost = match aim.task {
            Task::Preflight => {
                let (ending, lost) = preflight::preflight(&job).await;
                finished.ending = ending;
                lost
            }
            Task::Establish | Task::Release => {
                let established = establish::establish(&job).await;
                finished.ending = established.ending;
                finished.wrote = established.wrote;
                finished.refs = Some(survey::references(&job.items, &established.written));
                finished.written = Some(established.written);
                finished.trusted = trusted.flatten().filter(|_| finished.ending == Ending::Done);
                established.lost
            }
        };
        (finished, lost)
    }

    fn job(
        &self,
        content: Option<Arc<Content>>,
        items: Arc<Vec<super::diff::Item>>,
        webhooks: Option<WebhookService>,
    ) -> Job {
        Job {
            cx: self.cx.clone(),
            key: self.key.clone(),
            revision: self.revision.clone(),
            package: self.package.clone(),
            ticket: self.ticket,
            cancel: self.cancel.clone(),
            content,
            items,
            webhooks,
            fresh: std::sync::Mutex::new(BTreeMap::new()),
            wrote: std::sync::Mutex::new(BTreeMap::new()),
            refused_in_a_row: 0.into(),
        }
    }

    /// Nothing is carried, so everything that is controlled is released.
    async fn release(&self) -> Ending {
        let failures = establish::release(&self.job(None, Arc::default(), None)).await;
        match failures.is_empty() {
            true => Ending::Done,
            false => Ending::Waiting(vec![
                "objects of this revision changed while they were released".to_owned(),
            ]),
        }
    }

    /// The content, from whoever holds it, the store, or the registry. Credentials are read only for the last.
    async fn load(&self) -> Result<Arc<Content>, Trouble> {
        let spec = &self.revision.spec;
        let secrets = spec.package_pull_secrets.as_deref();
        let digest = digest(&self.revision).ok_or_else(|| Trouble {
            reason: Reason::Waiting,
            message: format!("the digest of {} is not recorded yet", spec.image),
            terminal: false,
            not_before: None,
        })?;
        if let Some(content) = self.cx.contents.stored(&self.cx.registry, &digest).await {
            return Ok(content);
        }
        let image = images::effective(&self.cx, &spec.image, secrets)?;
        let keychain = images::keychain(&self.cx, &spec.image, secrets).await?;
        let origin = Origin {
            reference: image.reference,
            digest,
            keychain,
            policy: spec.pull_policy(),
        };
        self.cx.contents.fetch(&self.cx.registry, origin).await
    }

    /// Why this content can't be a revision of this kind here: the reference's words.
    fn unfit(&self, parsed: &Parsed) -> Option<String> {
        if parsed.meta.kind != self.key.kind {
            return Some(format!(
                "validating package contents failed: package meta type is not {}: it is a {found}; create a {found} instead",
                self.key.kind,
                found = parsed.meta.kind
            ));
        }
        if self.cx.options.strict_lint && !parsed.warnings.is_empty() {
            let warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
            return Some(format!(
                "linting package contents failed: {}",
                super::status::listed(&warnings)
            ));
        }
        if parsed.objects.len() > MAX_OBJECTS {
            return Some(format!(
                "validating package contents failed: the package carries {} objects, more than the limit of {MAX_OBJECTS}; \
                 split it",
                parsed.objects.len()
            ));
        }
        if self.revision.spec.ignore_crossplane_constraints == Some(true) {
            return None;
        }
        let incompatible = parsed
            .meta
            .check_crossplane(&self.cx.options.crossplane_version)
            .err()?;
        Some(format!("incompatible Crossplane version: {incompatible}"))
    }

    /// How the webhooks of this package, which has some, are reached, where somebody runs them, and where that was read.
    async fn webhooks(&self, task: Task) -> Result<Option<(WebhookService, Option<Trusted>)>, String> {
        if self.cx.options.runtime.of(self.key.kind) == RuntimeMode::None {
            return Ok(None);
        }
        let package = self.package.metadata.name.as_deref().unwrap_or_default();
        let service = WebhookService {
            name: runtime::service(&self.cx, &self.revision, package),
            namespace: self.cx.options.namespace.clone(),
            ca_bundle: String::new(),
        };
        // While it is only checked, nobody has made certificates yet.
        if task == Task::Preflight {
            return Ok(Some((service, None)));
        }
        let name = self
            .revision
            .status
            .as_ref()
            .and_then(|s| s.tls_server_secret_name.clone())
            .ok_or_else(|| {
                "waiting for package runtime controller to set revision's webhook TLS secret".to_owned()
            })?;
        let secret = Target::namespaced(
            Resource::new("", "v1", "secrets", "Secret"),
            self.cx.options.namespace.clone(),
            name.clone(),
        );
        let secret = read::value(&self.cx.client, &secret)
            .await
            .map_err(|error| format!("cannot get webhook tls secret: {error}"))?
            .ok_or_else(|| format!("cannot get webhook tls secret: {secret} does not exist"))?;
        // Who calls trusts the authority, so that a renewed certificate needs no other bundle. A secret that others made
        // may hold none: then the certificate itself is trusted, as in the reference.
        let value = |key: &str| {
            let text = secret.pointer(&format!("/data/{key}"))?.as_str()?;
            let pem = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
            (!pem.is_empty()).then_some((text, pem))
        };
        let certificate = value("tls.crt").ok_or("the value for the key tls.crt cannot be empty")?;
        let (text, pem) = value("ca.crt").unwrap_or(certificate);
        let version = secret.pointer("/metadata/resourceVersion");
        let trusted = Trusted {
            service: service.name.clone(),
            secret: name,
            version: version.and_then(Value::as_str).unwrap_or_default().to_owned(),
            bundle: Fingerprint::of(&pem),
        };
        let service = WebhookService {
            ca_bundle: text.to_owned(),
            ..service
        };
        Ok(Some((service, Some(trusted))))
    }
}

/// The digest that a revision stands for.
pub(crate) fn digest(revision: &Revision) -> Option<Digest> {
    match revision.digest() {
        Some(text) => Digest::parse(text).ok(),
        None => Reference::parse(&revision.spec.image).ok()?.digest().cloned(),
    }
}

fn facts(parsed: &Parsed) -> ContentFacts {
    let mut warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
    if parsed.omitted_warnings > 0 {
        warnings.push(format!("and {} more", parsed.omitted_warnings));
    }
    ContentFacts {
        labels: parsed.meta.labels.clone(),
        annotations: parsed.meta.annotations.clone(),
        capabilities: parsed.meta.capabilities.clone(),
        dependencies: parsed
            .meta
            .depends_on
            .iter()
            .map(|d| DeclaredDependency {
                api_version: d.api_version.clone(),
                kind: d.kind.clone(),
                package: d.package.clone(),
                constraints: d.constraints.clone(),
            })
            .collect(),
        warnings,
        webhooks: parsed.webhook_objects().next().is_some(),
    }
}
