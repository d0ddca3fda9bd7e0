//! The table of faults.

use super::phase::{ALL, Phase, WITH_CONTENT};

/// What happens; each one has its own function in [`super::case`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table says what each is")]
pub enum Fault {
    Conflicts,
    Throttled,
    Broken,
    Unavailable,
    TimesOut,
    AnswersLost,
    Resets,
    Slow,
    WatchesCut,
    WatchesExpire,
    NetworkSwallows,
    EtcdStops,
    ApiServerKilled,
    PolicyRefuses,
    WebhookDown,
    RegistryDead,
    RegistrySlow,
    RegistryFlaps,
    RegistryThrottles,
    StoreFull,
    DiskFull,
    StoreRemoved,
    StoreTampered,
    StoreShared,
    Killed,
    NodeRestarts,
    EtcdRestored,
    DeletedForeground,
    DeletedBackground,
    DeletedOrphan,
    Pruned,
    TwoWriters,
    Terminating,
    RevisionDeleted,
    RevisionsDeleted,
    BackupRestored,
}

/// What the package says meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Says {
    /// One message of its conditions has all of these; `{group}` and `{registry}` stand for the package's own.
    Parts(&'static [&'static str]),
    /// Nothing, for this reason.
    Nothing(&'static str),
}

/// How the end is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Everything.
    All,
    /// All but the history: its revisions were taken away, so their numbers start again.
    Serving,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// For the command line and names.
    pub key: &'static str,
    /// What happens.
    pub fault: Fault,
    /// In words.
    pub what: &'static str,
    /// Where it hurts most.
    pub worst: Phase,
    /// Where it makes sense.
    pub phases: &'static [Phase],
    /// What the package says.
    pub says: Says,
    /// How the end is compared.
    pub compare: Compare,
    /// Custom resources must survive. They don't where somebody asks for the deletion of what defines them.
    pub keeps: bool,
    /// The control plane is not used again.
    pub ends_world: bool,
}

const API: Says = Says::Nothing("the API server is where it would be said; log and metrics have it");
const CACHE: Says = Says::Nothing("there is nothing to wait for: the store is a cache");
const ASKED: Says = Says::Nothing("there is nothing to wait for: it is done as asked");

const fn row(key: &'static str, fault: Fault, worst: Phase, what: &'static str, says: Says) -> Row {
    Row {
        key,
        fault,
        what,
        worst,
        phases: ALL,
        says,
        compare: Compare::All,
        keeps: true,
        ends_world: false,
    }
}

impl Row {
    const fn with_content(mut self) -> Self {
        self.phases = WITH_CONTENT;
        self
    }

    const fn within(mut self, phases: &'static [Phase]) -> Self {
        self.phases = phases;
        self
    }

    const fn without_history(mut self) -> Self {
        self.compare = Compare::Serving;
        self
    }

    const fn loses_by_request(mut self) -> Self {
        self.keeps = false;
        self.without_history()
    }

    const fn ends_world(mut self) -> Self {
        self.ends_world = true;
        self
    }
}

use Fault as F;
use Phase::{Install, Rollback, Upgrade};

/// The phases in which something is there already.
const LATER: &[Phase] = &[Upgrade, Rollback, Phase::Collect];

/// All faults; those that end their control plane come last.
pub const FAULTS: &[Row] = &[
    row(
        "api-409",
        F::Conflicts,
        Upgrade,
        "the API server answers one write in five with 409",
        API,
    ),
    row(
        "api-429",
        F::Throttled,
        Install,
        "the API server answers one request in five with 429, Retry-After 1",
        API,
    ),
    row(
        "api-500",
        F::Broken,
        Upgrade,
        "the API server answers one request in five with 500",
        API,
    ),
    row(
        "api-503",
        F::Unavailable,
        Rollback,
        "the API server answers one request in five with 503",
        API,
    ),
    row(
        "api-timeout",
        F::TimesOut,
        Upgrade,
        "one write in five is answered with 504 after a second",
        API,
    ),
    row(
        "api-answers-lost",
        F::AnswersLost,
        Upgrade,
        "one write in five is carried out, and its answer lost",
        API,
    ),
    row(
        "api-reset",
        F::Resets,
        Install,
        "one connection in five to the API server is reset",
        API,
    ),
    row(
        "api-slow",
        F::Slow,
        Rollback,
        "one request in five to the API server takes two seconds longer",
        API,
    ),
    row(
        "watches-cut",
        F::WatchesCut,
        Upgrade,
        "all connections are reset, twice a second",
        API,
    ),
    row(
        "watches-expire",
        F::WatchesExpire,
        Upgrade,
        "each watch ends with 410, at its start or within the stream",
        API,
    ),
    row(
        "network",
        F::NetworkSwallows,
        Upgrade,
        "packets to and from the API server are swallowed",
        API,
    ),
    row(
        "policy",
        F::PolicyRefuses,
        Upgrade,
        "an admission policy refuses one of its CRDs",
        Says::Parts(&["{group}", "the cluster's policy says no"]),
    )
    .with_content(),
    row(
        "webhook-down",
        F::WebhookDown,
        Upgrade,
        "an admission webhook for its CRDs does not answer",
        Says::Parts(&["{group}", "failed calling webhook"]),
    )
    .with_content(),
    row(
        "registry-dead",
        F::RegistryDead,
        Install,
        "the registry refuses connections",
        Says::Parts(&["{registry}"]),
    )
    .with_content(),
    row(
        "registry-slow",
        F::RegistrySlow,
        Install,
        "the registry sends one byte a second",
        Says::Parts(&["fetching"]),
    )
    .with_content(),
    row(
        "registry-flaps",
        F::RegistryFlaps,
        Install,
        "the registry comes and goes, twice a second",
        Says::Nothing("it is there often enough to go on"),
    )
    .with_content(),
    row(
        "registry-429",
        F::RegistryThrottles,
        Upgrade,
        "the registry answers 429",
        Says::Parts(&["{registry}", "limits the rate of requests"]),
    )
    .with_content(),
    row(
        "store-full",
        F::StoreFull,
        Rollback,
        "the store may keep one byte (--cache-size=1)",
        CACHE,
    )
    .with_content(),
    row(
        "disk-full",
        F::DiskFull,
        Upgrade,
        "the store's disk has room for 64 KiB",
        CACHE,
    )
    .with_content(),
    row(
        "store-removed",
        F::StoreRemoved,
        Upgrade,
        "the store's folder is removed in the middle",
        CACHE,
    )
    .with_content(),
    row(
        "store-tampered",
        F::StoreTampered,
        Rollback,
        "every file of the store is overwritten, before and in the middle",
        CACHE,
    )
    .with_content(),
    row(
        "store-shared",
        F::StoreShared,
        Install,
        "two operators on two clusters use one store for the same package",
        CACHE,
    )
    .with_content(),
    row(
        "killed",
        F::Killed,
        Upgrade,
        "the operator is ended by SIGKILL in the middle, as out of memory",
        ASKED,
    ),
    row(
        "terminating",
        F::Terminating,
        Upgrade,
        "somebody deletes one of its CRDs, which somebody's finalizer holds",
        Says::Parts(&["thing1s.{group}", "delet"]),
    )
    .within(&[Upgrade, Rollback])
    .without_history(),
    row(
        "revision-deleted",
        F::RevisionDeleted,
        Upgrade,
        "the newest revision is deleted by hand in the middle",
        ASKED,
    )
    .without_history(),
    row(
        "revisions-deleted",
        F::RevisionsDeleted,
        Upgrade,
        "all revisions are deleted by hand in the middle",
        ASKED,
    )
    .without_history(),
    row(
        "two-writers",
        F::TwoWriters,
        Upgrade,
        "two GitOps tools set the package to different versions in turns",
        ASKED,
    )
    .within(LATER)
    .without_history(),
    row(
        "deleted-background",
        F::DeletedBackground,
        Install,
        "the package is deleted (background) in the middle, and comes back",
        ASKED,
    )
    .loses_by_request(),
    row(
        "deleted-foreground",
        F::DeletedForeground,
        Install,
        "the package is deleted (foreground) in the middle, and comes back",
        ASKED,
    )
    .loses_by_request(),
    row(
        "deleted-orphan",
        F::DeletedOrphan,
        Upgrade,
        "the package is deleted (orphan) in the middle, and comes back",
        ASKED,
    )
    .without_history(),
    row(
        "pruned",
        F::Pruned,
        Upgrade,
        "a GitOps tool deletes the package, and creates it again at once",
        ASKED,
    )
    .loses_by_request(),
    row(
        "backup-restored",
        F::BackupRestored,
        Install,
        "a backup tool brings all back: new UIDs, no status, stale owner references",
        ASKED,
    )
    .loses_by_request(),
    row(
        "etcd-stopped",
        F::EtcdStops,
        Upgrade,
        "etcd stands still in the middle",
        API,
    ),
    row(
        "api-server-killed",
        F::ApiServerKilled,
        Upgrade,
        "the API server is killed in the middle, and comes back",
        API,
    ),
    row(
        "node-restart",
        F::NodeRestarts,
        Upgrade,
        "operator, API server, controller manager and etcd are killed in the middle, and start again",
        API,
    ),
    row(
        "etcd-restored",
        F::EtcdRestored,
        Upgrade,
        "the cluster goes back to a snapshot of etcd from before, and the change is asked for again",
        API,
    )
    .ends_world(),
];

const _: () = assert!(FAULTS.len() >= 25 && matches!(Install, Phase::Install));
