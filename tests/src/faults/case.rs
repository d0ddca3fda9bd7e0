//! One cell of the matrix: a phase, disturbed, and its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kube::api::DeleteParams;
use serde_json::Value;
use testkit::World;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use super::phase::{KEPT, PRECIOUS};
use super::stage::{LOOK, SOON};
use super::table::{Compare, Fault, Says};
use super::{Cell, Pace, Phase, Stage, api_server, machine, objects, registry, store};
use crate::state::{Subject, custom_resource, difference, name};

/// The end is reached when nothing changes for so long.
const STILL: Duration = Duration::from_millis(1_200);
/// Without a fault it takes longer: the cluster's own collector takes off references to what was deleted, seconds later.
const STILL_UNDISTURBED: Duration = Duration::from_secs(3);

type State = BTreeMap<String, Value>;

/// How a cell ended, if as it should.
#[derive(Clone, Debug)]
pub struct Done {
    /// From the start of the phase to its end, in seconds.
    pub seconds: f64,
    /// The message by which the package said what it was waiting for.
    pub said: Option<String>,
}

impl Done {
    /// For a person who watches.
    pub fn line(&self) -> String {
        match &self.said {
            Some(said) => format!("same end after {:.1} s; it said: {said}", self.seconds),
            None => format!("same end after {:.1} s", self.seconds),
        }
    }
}

/// The ends of undisturbed runs, by phase and size; each is run once.
#[derive(Default)]
pub struct Expected(Mutex<BTreeMap<(Phase, usize), Once>>);

/// An end that is being found out, or known.
type Once = Arc<OnceCell<State>>;

impl Expected {
    async fn get(&self, stage: &Stage, phase: Phase, size: usize) -> Result<State> {
        let cell = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry((phase, size)).or_default().clone()
        };
        cell.get_or_try_init(|| undisturbed(stage, phase, size))
            .await
            .cloned()
    }
}

async fn undisturbed(stage: &Stage, phase: Phase, size: usize) -> Result<State> {
    let mut subject = Subject::new(&format!("calm-{phase}-{size}").to_lowercase());
    phase.prepare(stage, &mut subject, size).await?;
    phase.begin(stage, &subject).await?;
    stage.serves(&subject).await?;
    let start = Instant::now();
    let (mut state, mut since) = (state(&subject, stage, Compare::All).await?, Instant::now());
    while since.elapsed() < STILL_UNDISTURBED {
        tokio::time::sleep(LOOK).await;
        let now = self::state(&subject, stage, Compare::All).await?;
        if now != state {
            (state, since) = (now, Instant::now());
        }
        ensure!(start.elapsed() < SOON, "it changes still after {SOON:?}");
    }
    objects::remove(stage, &subject).await?;
    Ok(state)
}

/// The state without what the runner itself leaves behind.
async fn state(subject: &Subject, stage: &Stage, compare: Compare) -> Result<State> {
    let mut state = subject.state(&stage.world).await?;
    let host = stage.registry.addr().to_string();
    for object in state.values_mut() {
        *object = serde_json::from_str(&object.to_string().replace(&host, "(registry)"))?;
    }
    if let Some(annotations) = state
        .get_mut("Provider (name)")
        .and_then(|p| p.pointer_mut("/metadata/annotations"))
        .and_then(Value::as_object_mut)
    {
        annotations.remove("gantry.dev/check-requested-at");
    }
    if let Some(status) = state
        .get_mut("Provider (name)")
        .and_then(|p| p["status"].as_object_mut())
    {
        status.remove("lastCheckRequest");
    }
    for object in state.values_mut() {
        let empty = object
            .pointer("/metadata/annotations")
            .is_some_and(|a| a.as_object().is_some_and(|a| a.is_empty()));
        if empty && let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("annotations");
        }
    }
    Ok(if compare == Compare::Serving {
        serving(state)
    } else {
        state
    })
}

/// What serves, without the history: the package, its active revision without a number, what these control.
fn serving(state: State) -> State {
    let mut left = State::new();
    for (key, mut object) in state {
        if key.starts_with("ProviderRevision") && object["spec"]["desiredState"] != "Active" {
            continue;
        }
        if let Some(spec) = object["spec"]
            .as_object_mut()
            .filter(|_| key.starts_with("ProviderRevision"))
        {
            spec.remove("revision");
        }
        if let Some(owners) = object
            .pointer_mut("/metadata/owners")
            .and_then(Value::as_array_mut)
        {
            owners.retain(|o| {
                o.as_str()
                    .is_some_and(|o| !o.contains("Revision") || o.ends_with("controller=true"))
            });
        }
        // Something is released only by a revision before.
        if let Some(status) = object["status"].as_object_mut() {
            status.remove("releasedObjects");
        }
        let mut text = object.to_string();
        let mut key = key;
        for number in 1..20 {
            let numbered = format!("(revision {number})");
            text = text.replace(&numbered, "(revision)");
            key = key.replace(&numbered, "(revision)");
        }
        left.insert(key, serde_json::from_str(&text).unwrap_or_default());
    }
    // What only an older version had stays until somebody removes it, unless somebody did.
    left.retain(|_, o| {
        !o["metadata"]["owners"].as_array().is_some_and(|all| {
            all.iter()
                .all(|owner| !owner.as_str().is_some_and(|o| o.ends_with("controller=true")))
        }) || o["spec"]["package"].is_string()
    });
    left
}

/// Collects what the package says of itself, until it is dropped.
struct Listener {
    heard: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

impl Listener {
    fn start(world: &World, package: &str) -> Result<Self> {
        let heard = Arc::new(Mutex::new(BTreeSet::new()));
        let (api, package, into) = (world.api("Provider")?, package.to_owned(), heard.clone());
        let task = tokio::spawn(async move {
            loop {
                if let Ok(found) = api.get(&package).await {
                    let all = found.data["status"]["conditions"]
                        .as_array()
                        .cloned()
                        .unwrap_or_default();
                    let messages = all.iter().filter_map(|c| {
                        let text = |key: &str| c[key].as_str();
                        Some(format!(
                            "{} {}: {}",
                            text("type")?,
                            text("reason")?,
                            text("message")?
                        ))
                    });
                    into.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend(messages);
                }
                tokio::time::sleep(LOOK / 2).await;
            }
        });
        Ok(Self { heard, task })
    }

    fn heard(&self) -> BTreeSet<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The message that has all parts.
    fn find(&self, parts: &[String]) -> Option<String> {
        self.heard().into_iter().find(|message| {
            let message = message.to_lowercase();
            parts.iter().all(|part| message.contains(&part.to_lowercase()))
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// UIDs of what must be neither lost nor made again: the custom resource, and the CRDs that are there already.
async fn identities(stage: &Stage, subject: &Subject, phase: Phase) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    if phase == Phase::Install {
        return Ok(all);
    }
    let uid = custom_resource(&stage.world, &subject.group, KEPT, PRECIOUS).await?;
    all.insert("the custom resource".to_owned(), uid);
    for crd in stage.world.list("CustomResourceDefinition", "").await? {
        if crd["spec"]["group"] == subject.group.as_str() {
            all.insert(
                name(&crd),
                crd["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
            );
        }
    }
    Ok(all)
}

/// Runs one cell. What it made is removed again.
pub async fn run_case(stage: &mut Stage, cell: Cell, pace: Pace, expected: &Expected) -> Result<Done> {
    let Cell { row, phase, size } = cell;
    let all = expected
        .get(stage, phase, size)
        .await
        .context("without a fault")?;
    let expected = if row.compare == Compare::Serving {
        serving(all)
    } else {
        all
    };
    let mut subject = Subject::new(&format!("{}-{phase}-{size}", row.key).to_lowercase());
    phase
        .prepare(stage, &mut subject, size)
        .await
        .context("before the fault")?;
    let before = identities(stage, &subject, phase).await?;
    let listener = Listener::start(&stage.world, &subject.name)?;
    let begun = Instant::now();
    happen(stage, &subject, cell, pace)
        .await
        .context("while it happened")?;
    let seconds = settle(stage, &subject, row.compare, &expected, begun).await?;
    let said = match row.says {
        Says::Nothing(_) => None,
        Says::Parts(parts) => {
            let host = stage.registry.addr().to_string();
            let fill = |part: &&str| {
                part.replace("{group}", &subject.group)
                    .replace("{registry}", &host)
            };
            let parts: Vec<String> = parts.iter().map(fill).collect();
            let heard = listener.find(&parts);
            let heard =
                heard.with_context(|| format!("it never said {parts:?}, but {:#?}", listener.heard()))?;
            Some(
                heard
                    .replace(&subject.group, "example.org")
                    .replace(&host, "registry"),
            )
        }
    };
    drop(listener);
    if row.keeps {
        let after = identities(stage, &subject, phase).await?;
        for (what, uid) in before {
            // What somebody else deleted is made again.
            let deleted = row.fault == Fault::Terminating && what.starts_with("thing1s.");
            ensure!(
                deleted || after.get(&what) == Some(&uid),
                "{what} was lost, or made twice: {after:?}"
            );
        }
    }
    let operator = stage.world.operator()?;
    ensure!(!operator.log()?.contains("panicked"), "{}", operator.log_tail());
    if !row.ends_world {
        objects::remove(stage, &subject).await?;
    }
    Ok(Done { seconds, said })
}

/// Waits until the end is as expected, and stays so; answers how long it took.
async fn settle(
    stage: &mut Stage,
    subject: &Subject,
    compare: Compare,
    expected: &State,
    begun: Instant,
) -> Result<f64> {
    let start = Instant::now();
    let mut same: Option<Instant> = None;
    loop {
        // The runner's own question may meet what is not over yet.
        let now = match state(subject, stage, compare).await {
            Err(_) if start.elapsed() < SOON => State::new(),
            read => read?,
        };
        if now == *expected {
            let since = *same.get_or_insert_with(Instant::now);
            if since.elapsed() > STILL {
                return Ok(since.duration_since(begun).as_secs_f64());
            }
        } else {
            same = None;
        }
        if start.elapsed() > SOON {
            let differs = difference(&now, expected);
            bail!(
                "not in its end state:\n{differs}\n{}",
                stage.world.dump("Provider", &subject.name).await
            );
        }
        // As a kubelet does it.
        if !stage.world.operator()?.process().is_running() {
            stage.run_operator().await?;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Starts the phase, and lets the fault happen and end.
async fn happen(stage: &mut Stage, subject: &Subject, cell: Cell, pace: Pace) -> Result<()> {
    let Cell { row, phase, size } = cell;
    let long = pace == Pace::Long;
    let at = super::case::Moment { phase, size, long };
    match row.fault {
        Fault::Conflicts
        | Fault::Throttled
        | Fault::Broken
        | Fault::Unavailable
        | Fault::TimesOut
        | Fault::AnswersLost
        | Fault::Resets
        | Fault::Slow => api_server::answers(stage, subject, at, row.fault).await,
        Fault::WatchesCut => api_server::watches_cut(stage, subject, at).await,
        Fault::WatchesExpire => api_server::watches_expire(stage, subject, at).await,
        Fault::NetworkSwallows => api_server::network_swallows(stage, subject, at).await,
        Fault::EtcdStops => api_server::etcd_stops(stage, subject, at).await,
        Fault::ApiServerKilled => api_server::killed(stage, subject, at).await,
        Fault::PolicyRefuses => api_server::policy_refuses(stage, subject, at).await,
        Fault::WebhookDown => api_server::webhook_down(stage, subject, at).await,
        Fault::RegistryDead => registry::dead(stage, subject, at).await,
        Fault::RegistrySlow => registry::slow(stage, subject, at).await,
        Fault::RegistryFlaps => registry::flaps(stage, subject, at).await,
        Fault::RegistryThrottles => registry::throttles(stage, subject, at).await,
        Fault::StoreFull => store::full(stage, subject, at).await,
        Fault::DiskFull => store::disk_full(stage, subject, at).await,
        Fault::StoreRemoved => store::removed(stage, subject, at).await,
        Fault::StoreTampered => store::tampered(stage, subject, at).await,
        Fault::StoreShared => store::shared(stage, subject, at).await,
        Fault::Killed => machine::killed(stage, subject, at).await,
        Fault::NodeRestarts => machine::restarts(stage, subject, at).await,
        Fault::EtcdRestored => machine::etcd_restored(stage, subject, at).await,
        Fault::DeletedForeground => objects::deleted(stage, subject, at, DeleteParams::foreground()).await,
        Fault::DeletedBackground => objects::deleted(stage, subject, at, DeleteParams::background()).await,
        Fault::DeletedOrphan => objects::deleted(stage, subject, at, DeleteParams::orphan()).await,
        Fault::Pruned => objects::pruned(stage, subject, at).await,
        Fault::TwoWriters => objects::two_writers(stage, subject, at).await,
        Fault::Terminating => objects::terminating(stage, subject, at).await,
        Fault::RevisionDeleted => objects::revisions_deleted(stage, subject, at, 1).await,
        Fault::RevisionsDeleted => objects::revisions_deleted(stage, subject, at, usize::MAX).await,
        Fault::BackupRestored => objects::backup_restored(stage, subject, at).await,
    }
}

/// When it happens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) phase: Phase,
    pub(super) size: usize,
    long: bool,
}

impl Moment {
    /// Starts the phase.
    pub(super) async fn begin(self, stage: &Stage, subject: &Subject) -> Result<()> {
        self.phase.begin(stage, subject).await
    }

    /// Starts the phase, and waits until it is in the middle.
    pub(super) async fn middle(self, stage: &Stage, subject: &Subject) -> Result<()> {
        self.phase.begin_to_middle(stage, subject, self.size).await
    }

    /// Lasts as long as it should.
    pub(super) async fn last(self) {
        tokio::time::sleep(Duration::from_secs(if self.long { 60 } else { 5 })).await;
    }

    /// How often something that takes half a second is repeated.
    pub(super) fn times(self) -> usize {
        if self.long { 120 } else { 8 }
    }
}
