//! Which change wakes which controller.

use std::sync::Arc;
use std::time::Duration;

use api::condition::{Condition, ConditionType};
use api::image_config::ImageConfig;
use api::pkg::{Package, PackageKind, Revision, RevisionKind, View};
use jiff::Timestamp;
use kit::changes::Change;
use kit::live::{Live, Phase};
use kit::meta::Meta;
use kit::queue;
use kit::resource::Resource;
use kit::tasks::Tasks;
use kit::watch::{Watch, Watches};
use oci::Digest;
use tokio::sync::Notify;

use crate::certificates::{Keeper, Rules};
use crate::context::{Caches, Context, PerKind, by_need, by_package, by_source, uid_key};
use crate::key::Key;
use crate::runtime::{self, RuntimeCaches};
use crate::{dependencies, images, kinds, manager, revision};

/// The store's pins are brought up to date this long after revisions changed: eviction is not in a hurry.
const PIN_PAUSE: Duration = Duration::from_secs(2);

/// Starts all caches.
pub(crate) fn caches(watches: &Watches, namespace: &str, runtimes: bool) -> Caches {
    Caches {
        packages: PerKind::of(|kind| {
            watches.objects::<Package>(kind, Watch::optional(), |package: &Package| {
                let source = dependencies::plan::source(&package.spec.package);
                let uid = package.metadata.uid.as_deref().map(uid_key);
                source
                    .map(|source| by_source(&source))
                    .into_iter()
                    .chain(uid)
                    .collect()
            })
        }),
        revisions: PerKind::of(|kind| {
            watches.objects::<Revision>(RevisionKind(kind), Watch::optional(), |revision: &Revision| {
                let owners = revision
                    .metadata
                    .owner_references
                    .iter()
                    .flatten()
                    .map(|o| o.uid.clone());
                let package = revision.package_name().map(by_package);
                let own = revision.metadata.uid.as_deref().map(uid_key);
                let declared = revision.status.iter().flat_map(|s| &s.declared_dependencies);
                let needs = declared.map(|dependency| by_need(&dependency.package));
                owners.chain(package).chain(own).chain(needs).collect()
            })
        }),
        image_configs: watches.objects::<ImageConfig>((), Watch::optional(), |_: &ImageConfig| vec![]),
        secrets: watches.metadata(
            &Resource::new("", "v1", "secrets", "Secret"),
            Watch::all().within(namespace),
        ),
        objects: kinds::ALL
            .iter()
            .map(|kind| {
                let watch = if kind.built_in {
                    Watch::all()
                } else {
                    Watch::optional()
                };
                watches.metadata(&kind.resource, watch)
            })
            .collect(),
        runtime: runtimes.then(|| RuntimeCaches::start(watches, namespace)),
    }
}

impl Caches {
    /// Names of the stores that are not filled yet, with reasons.
    pub(crate) fn register(&self, readiness: &kit::ready::Readiness) {
        for (_, live) in self.packages.iter() {
            readiness.store(live);
        }
        for (_, live) in self.revisions.iter() {
            readiness.store(live);
        }
        readiness.store(&self.image_configs);
        readiness.store(&self.secrets);
        for live in &self.objects {
            readiness.store(live);
        }
        if let Some(runtime) = &self.runtime {
            readiness.store(&runtime.configs);
            readiness.store(&runtime.deployments);
            readiness.store(&runtime.services);
            readiness.store(&runtime.accounts);
            readiness.store(&runtime.definitions);
        }
    }

    /// Waits until all stores are filled.
    pub(crate) async fn filled(&self) {
        async fn one<T: Send + Sync + 'static>(live: &Live<T>) {
            while let Err(error) = live.wait_ready(Duration::from_secs(30)).await {
                tracing::warn!(%error, "still waiting for a watch");
            }
        }
        for (_, live) in self.packages.iter() {
            one(live).await;
        }
        for (_, live) in self.revisions.iter() {
            one(live).await;
        }
        one(&self.image_configs).await;
        one(&self.secrets).await;
        for live in &self.objects {
            one(live).await;
        }
        if let Some(runtime) = &self.runtime {
            one(&runtime.configs).await;
            one(&runtime.deployments).await;
            one(&runtime.services).await;
            one(&runtime.accounts).await;
            one(&runtime.definitions).await;
        }
    }

    /// Our own kinds were just defined: their watches look again at once.
    pub(crate) fn poke(&self) {
        for (_, live) in self.packages.iter() {
            live.poke();
        }
        for (_, live) in self.revisions.iter() {
            live.poke();
        }
        self.image_configs.poke();
        if let Some(runtime) = &self.runtime {
            runtime.configs.poke();
        }
    }

    /// Waits until the watches of our own kinds have noticed that these exist.
    pub(crate) async fn defined(&self) {
        for (_, live) in self.packages.iter() {
            live.until_listed().await;
        }
        for (_, live) in self.revisions.iter() {
            live.until_listed().await;
        }
        self.image_configs.until_listed().await;
        if let Some(runtime) = &self.runtime {
            runtime.configs.until_listed().await;
        }
    }
}

/// Starts the controllers: from now on changes are worked on.
pub(crate) fn start(cx: &Arc<Context>, tasks: &Tasks, concurrency: usize) {
    let pins = Arc::new(Notify::new());
    for (kind, live) in cx.caches.packages.iter() {
        follow(cx, tasks, live, move |cx, change| {
            package_changed(cx, kind, change);
        });
    }
    for (kind, live) in cx.caches.revisions.iter() {
        let pins = pins.clone();
        follow(cx, tasks, live, move |cx, change| {
            revision_changed(cx, kind, change);
            pins.notify_one();
        });
    }
    follow(cx, tasks, &cx.caches.image_configs, |cx, _| everything(cx));
    follow(cx, tasks, &cx.caches.secrets, |cx, change| {
        secret_changed(cx, &change.name);
    });
    for (place, live) in cx.caches.objects.iter().enumerate() {
        follow(cx, tasks, live, move |cx, change| {
            object_changed(cx, place, change);
        });
        phases(cx, tasks, live);
    }
    if let Some(caches) = &cx.caches.runtime {
        follow_runtimes(cx, tasks, caches);
    }
    keep_pins(cx, tasks, pins);

    let stopping = tasks.stopping();
    let context = cx.clone();
    tasks.spawn_fallible(
        "manager",
        queue::run(cx.packages.clone(), concurrency, stopping.clone(), move |key| {
            manager::reconcile(context.clone(), key)
        }),
    );
    let context = cx.clone();
    tasks.spawn_fallible(
        "revision",
        queue::run(cx.revisions.clone(), concurrency, stopping.clone(), move |key| {
            revision::reconcile(context.clone(), key)
        }),
    );
    let context = cx.clone();
    tasks.spawn_fallible(
        "dependencies",
        queue::run(
            cx.dependencies.clone(),
            concurrency,
            stopping.clone(),
            move |key| dependencies::reconcile(context.clone(), key),
        ),
    );
    let context = cx.clone();
    tasks.spawn_fallible(
        "runtime",
        queue::run(cx.running.clone(), concurrency, stopping.clone(), move |key| {
            runtime::reconcile(context.clone(), key)
        }),
    );
}

/// Changes of what runtimes consist of.
fn follow_runtimes(cx: &Arc<Context>, tasks: &Tasks, caches: &RuntimeCaches) {
    let namespace = cx.options.namespace.clone();
    let keeper = Keeper::new(
        cx.writer.clone(),
        cx.caches.secrets.clone(),
        namespace,
        Rules::default(),
    );
    let (context, stopping) = (cx.clone(), tasks.stopping().clone());
    tasks.spawn("certificates", async move {
        stopping
            .run_until_cancelled(runtime::certify::keep(context, keeper))
            .await;
    });
    follow(cx, tasks, &cx.caches.secrets, |cx, _| {
        cx.certificates_wanted.notify_one();
    });
    follow(cx, tasks, &caches.configs, |cx, change| {
        cx.certificates_wanted.notify_one();
        if let Some(caches) = &cx.caches.runtime {
            for kind in PackageKind::ALL.into_iter().filter(|kind| kind.has_runtime()) {
                for key in runtime::observe::configured_by(cx, caches, kind, &change.name) {
                    // Webhooks call the Service that it names.
                    cx.revisions.add(key.clone());
                    cx.running.add(key);
                }
            }
        }
    });
    follow(cx, tasks, &caches.definitions, |cx, change| {
        let owners = change
            .states()
            .flat_map(|d| d.metadata.owner_references.iter().flatten());
        for owner in owners {
            run_siblings(cx, &uid_key(&owner.uid));
        }
    });
    // A rotation waits for programs that start again.
    follow(cx, tasks, &caches.deployments, |cx, _| {
        cx.certificates_wanted.notify_one();
    });
    for live in [&caches.deployments, &caches.services, &caches.accounts] {
        follow(cx, tasks, live, |cx, change| {
            let states = change.states();
            let owners = states.flat_map(|object| object.metadata.owner_references.iter().flatten());
            for owner in owners {
                run_siblings(cx, &uid_key(&owner.uid));
                // Of a package: the key of the revisions that it owns.
                run_siblings(cx, &owner.uid);
            }
        });
    }
}

/// All revisions of the packages whose revision has this index key: one ends when another may start.
fn run_siblings(cx: &Context, key: &str) {
    for (kind, live) in cx.caches.revisions.iter().filter(|(kind, _)| kind.has_runtime()) {
        for revision in live.lookup_objects(key) {
            let package = revision::package_of(cx, kind, &revision);
            let siblings = package.map(|package| revision::siblings(cx, kind, &revision, &package));
            for revision in siblings.into_iter().flatten().chain([revision]) {
                cx.running
                    .add(Key::new(kind, revision.metadata.name.clone().unwrap_or_default()));
            }
        }
    }
}

fn follow<T: Send + Sync + 'static>(
    cx: &Arc<Context>,
    tasks: &Tasks,
    live: &Live<T>,
    changed: impl Fn(&Context, &Change<T>) + Send + 'static,
) {
    let mut changes = live.subscribe();
    let (cx, stopping) = (cx.clone(), tasks.stopping().clone());
    tasks.spawn(format!("follow {}", live.what()), async move {
        while let Some(Some(change)) = stopping.run_until_cancelled(changes.next()).await {
            changed(&cx, &change);
        }
    });
}

fn package_changed(cx: &Context, kind: PackageKind, change: &Change<Package>) {
    cx.packages.add(Key::new(kind, change.name.clone()));
    match (&change.before, &change.after) {
        (_, Some(package)) => cx.ready_times.seen(kind, package, Timestamp::now()),
        (Some(package), None) => cx.ready_times.gone(package),
        (None, None) => {}
    }
    // What a revision does depends on what of its package's spec and metadata changed, and on which one is wanted.
    let said = |package: &Arc<Package>| {
        (
            package.metadata.generation,
            package.metadata.deletion_timestamp.is_some(),
            wanted(package),
        )
    };
    if change.before.as_ref().map(said) != change.after.as_ref().map(said) {
        for package in change.states() {
            let uid = package.metadata.uid.as_deref().unwrap_or_default();
            for revision in cx.caches.revisions_of(kind, &change.name, uid) {
                cx.revisions
                    .add(Key::new(kind, revision.metadata.name.clone().unwrap_or_default()));
            }
        }
    }
    let source = |package: &Arc<Package>| package.spec.package.clone();
    if change.before.as_ref().map(source) != change.after.as_ref().map(source) {
        for package in change.states() {
            dependents(cx, &package.spec.package);
        }
    }
}

fn wanted(package: &Package) -> Option<String> {
    package.status.as_ref()?.current_revision.clone()
}

/// Revisions that declare to need what is at this reference.
fn dependents(cx: &Context, reference: &str) {
    let Some(source) = dependencies::plan::source(reference) else {
        return;
    };
    for (kind, live) in cx.caches.revisions.iter() {
        for name in live.lookup(&by_need(&source)) {
            cx.dependencies.add(Key::new(kind, name));
        }
    }
}

fn revision_changed(cx: &Context, kind: PackageKind, change: &Change<Revision>) {
    let key = Key::new(kind, change.name.clone());
    cx.revisions.add(key.clone());
    cx.dependencies.add(key.clone());
    if kind.has_runtime() && cx.caches.runtime.is_some() {
        cx.certificates_wanted.notify_one();
        for state in change.states() {
            run_siblings(cx, &uid_key(state.metadata.uid.as_deref().unwrap_or_default()));
        }
    }
    let said = |r: &Arc<Revision>| {
        (
            r.metadata.generation,
            r.metadata.uid.clone(),
            r.metadata.deletion_timestamp.is_some(),
        )
    };
    let differs = change.before.as_ref().map(said) != change.after.as_ref().map(said);
    if let (Some(before), Some(after)) = (&change.before, &change.after) {
        let uid = |r: &Revision| r.metadata.uid.clone().unwrap_or_default();
        let awaited = |r: &Revision| {
            (
                revision::digest(r),
                r.status.as_ref().and_then(|s| s.tls_server_secret_name.clone()),
                View(r)
                    .condition(ConditionType::RuntimeHealthy)
                    .is_some_and(Condition::is_true),
            )
        };
        if uid(before) != uid(after) {
            cx.works.stop(&uid(before));
        } else if awaited(before) != awaited(after) {
            cx.works.touch(&uid(after));
        }
    }
    for state in change.states() {
        let owner = state
            .metadata
            .owner_references
            .iter()
            .flatten()
            .find(|o| o.kind == kind.kind());
        let Some(package) = owner.map(|o| o.name.as_str()).or(state.package_name()) else {
            continue;
        };
        cx.packages.add(Key::new(kind, package));
        if differs && let Some(owner) = owner {
            for sibling in cx.caches.revisions_of(kind, package, &owner.uid) {
                cx.revisions
                    .add(Key::new(kind, sibling.metadata.name.clone().unwrap_or_default()));
            }
        }
    }
    if change.is_deletion() {
        cx.carriers.remove_all(&key);
        cx.revisions.forget(&key);
    }
}

fn object_changed(cx: &Context, place: usize, change: &Change<Meta>) {
    for key in cx.carriers.of(place, &change.name) {
        if let Some(revision) = cx.caches.revision(&key) {
            let uid = revision.metadata.uid.as_deref().unwrap_or_default();
            // A task that runs sees the change itself, and brings the revision back when it ends.
            if cx.works.with(uid, |work| work.is_running()) {
                continue;
            }
            cx.works.touch(uid);
        }
        cx.revisions.add(key);
    }
    // What nobody controls is counted by the package that still owns it.
    for meta in change.states().filter(|meta| meta.controller().is_none()) {
        for owner in &meta.owner_references {
            if let Some(kind) =
                PackageKind::from_kind(&owner.kind).filter(|_| owner.api_version == api::API_VERSION)
            {
                cx.packages.add(Key::new(kind, owner.name.clone()));
            }
        }
    }
    // A revision that is leaving lets go of what it controls.
    let controllers = change.states().filter_map(|meta| meta.controller());
    for controller in controllers {
        for (kind, live) in cx
            .caches
            .revisions
            .iter()
            .filter(|(kind, _)| kind.revision_kind() == controller.kind)
        {
            for revision in live.lookup_objects(&uid_key(&controller.uid)) {
                if revision.spec.desired_state != "Active" {
                    cx.revisions
                        .add(Key::new(kind, revision.metadata.name.clone().unwrap_or_default()));
                }
            }
        }
    }
    if place == kinds::CRD {
        let defines =
            |k: &&kinds::CarriedKind| format!("{}.{}", k.resource.plural, k.resource.group) == change.name;
        if let Some(defined) = kinds::ALL.iter().position(|k| defines(&k))
            && let Some(live) = cx.caches.objects.get(defined)
        {
            live.poke();
        }
    }
}

/// A kind appears or goes: what was refused for it is tried again.
fn phases(cx: &Arc<Context>, tasks: &Tasks, live: &Live<Meta>) {
    let mut phases = live.phases();
    let (cx, stopping, live) = (cx.clone(), tasks.stopping().clone(), live.clone());
    tasks.spawn_job(format!("phases of {}", live.what()), async move {
        let mut absent = *phases.borrow_and_update() == Phase::Absent;
        while let Some(Ok(())) = stopping.run_until_cancelled(phases.changed()).await {
            let now = phases.borrow_and_update().clone();
            if now == Phase::Absent {
                absent = true;
            } else if absent && live.is_listed() {
                absent = false;
                everything(&cx);
            }
        }
    });
}

/// Everything is looked at again: for changes that may concern anybody. A look that finds nothing to do writes nothing.
pub(crate) fn everything(cx: &Context) {
    for (kind, live) in cx.caches.packages.iter() {
        for name in live.names() {
            cx.packages.add(Key::new(kind, name));
        }
    }
    for (kind, live) in cx.caches.revisions.iter() {
        for revision in live.all() {
            cx.works
                .touch(revision.metadata.uid.as_deref().unwrap_or_default());
            let key = Key::new(kind, revision.metadata.name.clone().unwrap_or_default());
            if kind.has_runtime() {
                cx.running.add(key.clone());
            }
            cx.revisions.add(key);
        }
    }
}

/// Those who name a secret try it at once; what is refused for other reasons keeps its pause, for secrets of others change
/// at any time.
fn secret_changed(cx: &Context, name: &str) {
    for (kind, live) in cx.caches.packages.iter() {
        for package in live.all() {
            if images::names_secret(
                cx,
                &package.spec.package,
                package.spec.package_pull_secrets.as_deref(),
                name,
            ) {
                cx.packages
                    .add(Key::new(kind, package.metadata.name.clone().unwrap_or_default()));
            }
        }
    }
    for (kind, live) in cx.caches.revisions.iter() {
        for revision in live.all() {
            let spec = &revision.spec;
            let webhooks = revision
                .status
                .as_ref()
                .and_then(|s| s.tls_server_secret_name.as_deref());
            if webhooks == Some(name)
                || images::names_secret(cx, &spec.image, spec.package_pull_secrets.as_deref(), name)
            {
                cx.works
                    .touch(revision.metadata.uid.as_deref().unwrap_or_default());
                cx.revisions
                    .add(Key::new(kind, revision.metadata.name.clone().unwrap_or_default()));
            }
        }
    }
}

/// Keeps the content of every revision that exists from being evicted.
fn keep_pins(cx: &Arc<Context>, tasks: &Tasks, changed: Arc<Notify>) {
    let (cx, stopping) = (cx.clone(), tasks.stopping().clone());
    tasks.spawn("pins", async move {
        let pin = async {
            loop {
                changed.notified().await;
                tokio::time::sleep(PIN_PAUSE).await;
                let revisions = cx.caches.revisions.iter().flat_map(|(_, live)| live.all());
                let digests: std::collections::BTreeSet<Digest> = revisions
                    .filter_map(|revision| revision::digest(&revision))
                    .collect();
                cx.registry.store().pin(digests);
            }
        };
        stopping.run_until_cancelled::<_>(pin).await;
    });
}
