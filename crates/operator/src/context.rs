//! What all controllers share: caches, writers, the registry, and the memory that a restart may lose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::image_config::ImageConfig;
use api::pkg::{Package, PackageKind, Revision, RevisionKind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kit::events::{Events, Regarding};
use kit::live::Live;
use kit::meta::Meta;
use kit::queue::{Next, Queue};
use kit::reach::Reach;
use kit::resource::{Resource, Target};
use kit::tasks::Tasks;
use kit::write::Writer;
use kube::Client;
use tokio::sync::{Notify, Semaphore};

use crate::content::Contents;
use crate::freshness::Freshness;
use crate::key::Key;
use crate::manager::Checks;
use crate::manager::plan;
use crate::metrics::{ReadyTimes, WorkFigures};
use crate::note::Note;
use crate::pace::Pace;
use crate::preinstall::Wanted;
use crate::revision::{Carriers, Works};
use crate::runtime::{RuntimeCaches, Runtimes};
use crate::runtime_mode::PackageRuntime;

/// Nothing is looked at again sooner without a change: whatever the reason, that would be a busy loop.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// What flags decide.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Where pull secrets are.
    pub namespace: String,
    /// Whose imagePullSecrets are used too.
    pub service_account: String,
    /// Who runs controllers.
    pub runtime: PackageRuntime,
    /// Version that Gantry counts as.
    pub crossplane_version: String,
    /// Refuse packages with objects that their type may not have.
    pub strict_lint: bool,
    /// Pause between polls of a tag.
    pub poll_interval: Duration,
    /// Longest time without a look at an object.
    pub sync_interval: Duration,
    /// Packages to install at start.
    pub packages: Vec<(PackageKind, Wanted)>,
}

/// One of each kind of package.
#[derive(Debug)]
pub(crate) struct PerKind<T>(BTreeMap<PackageKind, T>);

impl<T> PerKind<T> {
    pub(crate) fn of(make: impl Fn(PackageKind) -> T) -> Self {
        Self(
            PackageKind::ALL
                .into_iter()
                .map(|kind| (kind, make(kind)))
                .collect(),
        )
    }

    /// `None` never happens: all kinds are made together.
    pub(crate) fn get(&self, kind: PackageKind) -> Option<&T> {
        self.0.get(&kind)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PackageKind, &T)> {
        self.0.iter().map(|(kind, value)| (*kind, value))
    }
}

/// Caches of the API server's objects; they fill whether this process leads or not.
pub(crate) struct Caches {
    /// Packages by name.
    pub packages: PerKind<Live<Package>>,
    /// Revisions by name; indexed by package name, own UID (`uid:…`), owners' UIDs and what they need.
    pub revisions: PerKind<Live<Revision>>,
    /// Image configs.
    pub image_configs: Live<ImageConfig>,
    /// Metadata of the secrets in our namespace: which exist, and in what state.
    pub secrets: Live<Meta>,
    /// Metadata of the objects that packages carry, one cache per kind of [`crate::kinds::ALL`].
    pub objects: Vec<Live<Meta>>,
    /// What runtimes consist of; `None` where Gantry runs no kind of package.
    pub runtime: Option<RuntimeCaches>,
}

impl Caches {
    pub(crate) fn package(&self, key: &Key) -> Option<Arc<Package>> {
        self.packages.get(key.kind)?.get(&key.name)
    }

    pub(crate) fn revision(&self, key: &Key) -> Option<Arc<Revision>> {
        self.revisions.get(key.kind)?.get(&key.name)
    }

    /// Packages or revisions of this kind were not listed since the API server was away. One of these caches may show what
    /// the other has not, or what was undone: nothing is decided on them together.
    pub(crate) fn in_doubt(&self, kind: PackageKind) -> bool {
        self.packages.get(kind).is_some_and(Live::in_doubt)
            || self.revisions.get(kind).is_some_and(Live::in_doubt)
    }

    /// Revisions that carry the package's label or are owned by it.
    pub(crate) fn revisions_of(&self, kind: PackageKind, package: &str, uid: &str) -> Vec<Arc<Revision>> {
        let Some(live) = self.revisions.get(kind) else {
            return vec![];
        };
        let mut all = live.lookup_objects(&by_package(package));
        for revision in live.lookup_objects(uid) {
            if !all.iter().any(|r| r.metadata.uid == revision.metadata.uid) {
                all.push(revision);
            }
        }
        // The label is what the reference lists by; an owner of another UID means that it is somebody else's by now.
        all.retain(|r| {
            let owners = r.metadata.owner_references.as_deref().unwrap_or_default();
            owners.is_empty() || owners.iter().any(|o| o.uid == uid)
        });
        all.sort_by(|a, b| (a.spec.revision, &a.metadata.name).cmp(&(b.spec.revision, &b.metadata.name)));
        all
    }

    pub(crate) fn object(&self, kind: usize, name: &str) -> Option<Arc<Meta>> {
        self.objects.get(kind)?.get(name)
    }
}

/// Index key of revisions by the name of their package.
pub(crate) fn by_package(package: &str) -> String {
    format!("package:{package}")
}

/// Index key of packages and revisions by their own UID; the bare UID is the key of those that it owns.
pub(crate) fn uid_key(uid: &str) -> String {
    format!("uid:{uid}")
}

/// Index key of packages by their source: the reference as written, without tag and digest.
pub(crate) fn by_source(source: &str) -> String {
    format!("source:{source}")
}

/// Index key of revisions by the source of what they declare to need, as they write it.
pub(crate) fn by_need(source: &str) -> String {
    format!("needs:{source}")
}

/// Everything.
pub(crate) struct Context {
    /// For reading.
    pub client: Client,
    /// Whether the API server has been within reach of `client` and `writer`.
    pub reach: Reach,
    /// For writing, which asks the fence.
    pub writer: Writer,
    /// Caches.
    pub caches: Caches,
    /// What is remembered of runtimes.
    pub runtimes: Runtimes,
    /// Somebody may need another certificate.
    pub certificates_wanted: Notify,
    /// Our last writes to what runtimes consist of.
    pub runtime_freshness: Freshness,
    /// Registry and content store.
    pub registry: registry::Registry,
    /// Parsed packages.
    pub contents: Contents,
    /// What is being done for revisions.
    pub works: Works,
    /// Which revisions carry which objects.
    pub carriers: Carriers,
    /// Answers of registries.
    pub checks: Checks,
    /// Our last writes to packages and revisions.
    pub freshness: Freshness,
    /// Statuses whose writes wait a moment.
    pub pace: Pace,
    /// Queue of the manager.
    pub packages: Queue<Key>,
    /// Queue of the revision controller.
    pub revisions: Queue<Key>,
    /// Queue of the dependencies controller.
    pub dependencies: Queue<Key>,
    /// Queue of the runtime controller.
    pub running: Queue<Key>,
    /// Events.
    pub events: Events,
    /// What was done to objects.
    pub work_figures: WorkFigures,
    /// How long packages take.
    pub ready_times: ReadyTimes,
    /// Bounds what is asked of the API server while objects are established.
    pub requests: Arc<Semaphore>,
    /// Tasks that end by themselves.
    pub tasks: Tasks,
    /// Flags.
    pub options: Options,
}

/// Where a package is written to.
pub(crate) fn package_target(key: &Key) -> Target {
    Target::cluster(Resource::of::<Package>(&key.kind), key.name.clone())
}

/// Where a revision is written to.
pub(crate) fn revision_target(key: &Key) -> Target {
    Target::cluster(
        Resource::of::<Revision>(&RevisionKind(key.kind)),
        key.name.clone(),
    )
}

impl Context {
    pub(crate) fn tell_package(&self, key: &Key, package: &Package, note: &Note) {
        self.tell(&package_target(key), &package.metadata, note);
    }

    pub(crate) fn tell_revision(&self, key: &Key, revision: &Revision, note: &Note) {
        self.tell(&revision_target(key), &revision.metadata, note);
    }

    fn tell(&self, target: &Target, meta: &ObjectMeta, note: &Note) {
        let regarding = Regarding::new(&target.resource, &Meta::from(meta));
        self.events.publish(note.event(regarding));
    }

    /// When to look again: at the time that the plan names, and now and then in any case.
    pub(crate) fn next(&self, next: plan::Next) -> Next {
        let longest = self.options.sync_interval;
        match next {
            plan::Next::Await => Next::After(longest),
            plan::Next::At(at) => {
                let wait = at.duration_since(kit::clock::steady());
                let wait = Duration::try_from(wait).unwrap_or(Duration::ZERO);
                Next::After(wait.min(longest).max(SHORTEST_WAIT))
            }
        }
    }

    /// Drops what is remembered of packages and revisions that don't exist any more.
    pub(crate) fn forget_gone(&self) {
        let uids = |meta: &ObjectMeta| meta.uid.clone();
        let revisions = self.caches.revisions.iter().flat_map(|(_, live)| live.all());
        let mut living: BTreeSet<String> = revisions.filter_map(|r| uids(&r.metadata)).collect();
        self.works.retain(&living);
        self.runtimes.retain(&living);
        let packages = self.caches.packages.iter().flat_map(|(_, live)| live.all());
        let packages: BTreeSet<String> = packages.filter_map(|p| uids(&p.metadata)).collect();
        self.checks.retain(&packages);
        living.extend(packages);
        self.pace.retain(&living);
        self.freshness.retain(&living);
    }
}
