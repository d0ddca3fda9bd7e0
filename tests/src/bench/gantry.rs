//! Gantry does the same: a package is installed, upgraded, the operator restarted and left alone.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use testkit::control_plane::AuditEvent;
use testkit::world::{USER, condition_of};
use testkit::{Operator, OperatorOptions, World, WorldOptions};

use super::figures::{Gantry, Idle, Later, Requests, Restart, Upgrade, seconds};
use super::inputs::{self, Inputs};
use super::observer::Observer;
use super::{LOOK, PATIENCE, ROUNDS, quiet, replicas};

const KIND: &str = "Provider";
const NAME: &str = "provider-bench";
const REPOSITORY: &str = "acme/provider-bench";
/// The operator is silent when it asked for nothing but its Lease for this long.
const SILENCE: Duration = Duration::from_secs(8);

/// Installs the first `size` CRDs; with `idle` all the rest too.
pub(super) async fn run(
    inputs: &Inputs,
    size: usize,
    operator: &Path,
    idle: Option<Duration>,
) -> Result<(Gantry, Option<Later>)> {
    let options = WorldOptions {
        stand_ins: false,
        ..WorldOptions::default()
    };
    let mut world = World::start(options).await?;
    let folder = testkit::folder("bench-store")?;
    let names = inputs::names(&inputs.objects(size)?);
    let first = world.push(REPOSITORY, "v1", &inputs.image(size, "1")?).await?;
    let mut newer = vec![];
    for version in (2..).take(if idle.is_some() { ROUNDS } else { 0 }) {
        let image = inputs.image(size, &version.to_string())?;
        newer.push(world.push(REPOSITORY, &format!("v{version}"), &image).await?);
    }
    let start = |world: &World| {
        OperatorOptions::new(operator, world.operator_kubeconfig()).store(folder.path().join("store"))
    };
    let options = start(&world);
    world.replace_operator(Some(options)).await?;
    world.wait_served().await?;
    quiet(world.plane()).await?;

    let figures = install(&world, &names, &first).await?;
    let mut later = None;
    if let Some(idle) = idle {
        let mut upgrades = vec![];
        for reference in &newer {
            quiet(world.plane()).await?;
            upgrades.push(upgrade(&world, &names, reference).await?);
        }
        quiet(world.plane()).await?;
        let standby = Operator::start(OperatorOptions::new(operator, world.operator_kubeconfig())).await?;
        quiet(world.plane()).await?;
        let idle = do_nothing(&world, &standby, idle).await?;
        for replica in [&standby, world.operator()?] {
            replica.term(Duration::from_secs(30)).await?;
        }
        let options = start(&world).without_waiting();
        let restart = restart(&mut world, options).await?;
        later = Some(Later {
            upgrades,
            restart,
            idle,
        });
    }
    Ok((figures, later))
}

async fn install(world: &World, names: &[String], reference: &str) -> Result<Gantry> {
    let (plane, operator) = (world.plane(), world.operator()?);
    let mut observer = Observer::new(plane, names, USER)?;
    let mark = plane.audit_mark()?;
    let (cpu, api_cpu) = (operator.cpu_seconds()?, plane.api_cpu_seconds()?);
    let applied = Timestamp::now();
    world.create_package(KIND, NAME, reference, json!({})).await?;
    let (mut served, mut healthy) = (None, None);
    while served.is_none() || healthy.is_none() {
        tokio::time::sleep(LOOK).await;
        observer.look()?;
        if served.is_none() && observer.all_established() {
            served = Some((plane.api_cpu_seconds()? - api_cpu, plane.api_rss()?));
        }
        if healthy.is_none() && is_healthy(world, None).await? {
            healthy = Some((Timestamp::now(), operator.cpu_seconds()? - cpu));
        }
        patience(world, applied).await?;
    }
    let (api_cpu, api_rss) = served.context("not served")?;
    let (healthy, cpu) = healthy.context("not healthy")?;
    let figures = Gantry {
        first_write: seconds(applied, observer.first()?),
        written: observer.writing()?,
        established: observer.establishing()?,
        healthy: seconds(applied, healthy),
        cpu,
        hwm: operator.vm_hwm()?,
        api_cpu,
        api_rss,
        requests: count(&plane.audit_since(mark)?),
    };
    observer.confirm().await?;
    Ok(figures)
}

async fn upgrade(world: &World, names: &[String], reference: &str) -> Result<Upgrade> {
    let (plane, operator) = (world.plane(), world.operator()?);
    let before = current_revision(world).await?;
    let mut observer = Observer::new(plane, names, USER)?;
    let mark = plane.audit_mark()?;
    let cpu = operator.cpu_seconds()?;
    let applied = Timestamp::now();
    world
        .patch(KIND, NAME, json!({ "spec": { "package": reference } }))
        .await?;
    while !is_healthy(world, Some(&before)).await? {
        patience(world, applied).await?;
        tokio::time::sleep(LOOK).await;
    }
    let healthy = Timestamp::now();
    let cpu = operator.cpu_seconds()? - cpu;
    observer.look()?;
    if observer.count() != names.len() {
        bail!("{} of {} CRDs were taken over", observer.count(), names.len());
    }
    Ok(Upgrade {
        first_write: seconds(applied, observer.first()?),
        written: observer.writing()?,
        healthy: seconds(applied, healthy),
        cpu,
        hwm: operator.vm_hwm()?,
        requests: count(&plane.audit_since(mark)?),
    })
}

async fn restart(world: &mut World, options: OperatorOptions) -> Result<Restart> {
    let mark = world.plane().audit_mark()?;
    let started = Timestamp::now();
    world.replace_operator(Some(options)).await?;
    let (plane, operator) = (world.plane(), world.operator()?);
    operator.await_ready(PATIENCE).await?;
    let ready = seconds(started, Timestamp::now());
    // The Lease of the former holder was given back; a leader asks for more than that it is ready.
    let begin = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let events = plane.audit_since(mark)?;
        let last = events.iter().filter(|e| is_work(e)).map(|e| e.at).max();
        let last = last.unwrap_or(started);
        if Timestamp::now().duration_since(last).as_secs_f64() >= SILENCE.as_secs_f64() {
            return Ok(Restart {
                ready,
                settled: seconds(started, last),
                requests: count(&events),
                cpu: operator.cpu_seconds()?,
                hwm: operator.vm_hwm()?,
                rss: operator.process().rss()?,
            });
        }
        if begin.elapsed() > PATIENCE {
            bail!("the operator does not fall silent after its restart");
        }
    }
}

async fn do_nothing(world: &World, standby: &Operator, period: Duration) -> Result<Idle> {
    let (plane, leader) = (world.plane(), world.operator()?);
    let mark = plane.audit_mark()?;
    let pair = replicas::pair(leader, standby, period).await?;
    let events = plane.audit_since(mark)?;
    let lease = |e: &&AuditEvent| e.user == USER && e.is_lease() && e.is_write();
    Ok(Idle {
        seconds: period.as_secs_f64(),
        requests: count(&events),
        lease_writes: events.iter().filter(lease).count(),
        pair,
    })
}

async fn patience(world: &World, since: Timestamp) -> Result<()> {
    if seconds(since, Timestamp::now()) > PATIENCE.as_secs_f64() {
        bail!("not healthy after {PATIENCE:?}: {}", world.dump(KIND, NAME).await);
    }
    Ok(())
}

async fn current_revision(world: &World) -> Result<Value> {
    let package = world.get(KIND, NAME).await?.context("the package is gone")?;
    Ok(package["status"]["currentRevision"].clone())
}

/// Whether the package is healthy and ready, by another revision than `before`.
async fn is_healthy(world: &World, before: Option<&Value>) -> Result<bool> {
    let package = world.get(KIND, NAME).await?.context("the package is gone")?;
    let is = |condition| condition_of(&package, condition)["status"] == "True";
    let changed = before.is_none_or(|before| package["status"]["currentRevision"] != *before);
    Ok(changed && is("Healthy") && is("Ready"))
}

/// A request of the operator that is not about its Lease; of watches, their start.
fn is_work(event: &AuditEvent) -> bool {
    let watch = event.verb == "watch";
    let stage = match watch {
        true => "ResponseStarted",
        false => "ResponseComplete",
    };
    event.user == USER && !event.is_lease() && event.stage == stage
}

fn count(events: &[AuditEvent]) -> Requests {
    let mut requests = Requests::default();
    for event in events.iter().filter(|e| is_work(e)) {
        match event.verb.as_str() {
            "watch" => requests.watches += 1,
            _ if event.is_write() => requests.writes += 1,
            _ => requests.reads += 1,
        }
    }
    requests
}
