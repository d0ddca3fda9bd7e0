//! Two replicas: what they take while nothing is to do, and how soon the other one works on when the leader ends.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use testkit::world::NAMESPACE;
use testkit::{Operator, OperatorOptions, World, WorldOptions};

use super::figures::{HandOver, Pair, Replicas, Rest};
use super::{PATIENCE, many, quiet};

/// Numbers of packages at which the replicas are left alone.
const PACKAGES: [usize; 3] = [0, 10, 100];
/// How long they are left alone each time.
const PERIOD: Duration = Duration::from_secs(40);
/// How long after the last request memory and CPU are those of a process that does nothing.
const SETTLE: Duration = Duration::from_secs(10);
/// How often a leader is killed, and stopped in good order.
const ROUNDS: usize = 3;
/// How often it is looked who leads.
const LOOK: Duration = Duration::from_millis(10);

/// Measures both.
pub(super) async fn run(operator: &Path) -> Result<Replicas> {
    let world = World::start(WorldOptions::default()).await?;
    let most = PACKAGES.iter().copied().max().unwrap_or_default();
    let references = many::push(&world, most + 2 * ROUNDS).await?;
    let mut leader = start(&world, operator).await?;
    world.wait_served().await?;
    let mut standby = start(&world, operator).await?;
    let mut rest = vec![];
    let mut applied = 0;
    for packages in PACKAGES {
        let next = references.get(applied..packages).context("packages in order")?;
        many::apply(&world, next, applied).await?;
        applied = packages;
        many::ready(&world, packages).await?;
        quiet(world.plane()).await?;
        rest.push((packages, pair(&leader, &standby, PERIOD).await?));
    }
    let (mut killed, mut stopped) = (vec![], vec![]);
    for (round, reference) in references.iter().enumerate().skip(applied) {
        let kill = round % 2 == 0;
        quiet(world.plane()).await?;
        let ended = hand_over(&world, &leader, kill, (round, reference)).await?;
        match kill {
            true => killed.push(ended),
            false => stopped.push(ended),
        }
        leader = standby;
        standby = start(&world, operator).await?;
    }
    Ok(Replicas {
        rest,
        killed,
        stopped,
    })
}

async fn start(world: &World, operator: &Path) -> Result<Operator> {
    Operator::start(OperatorOptions::new(operator, world.operator_kubeconfig())).await
}

/// What a leader and a standby take while nothing is to do.
pub(super) async fn pair(leader: &Operator, standby: &Operator, period: Duration) -> Result<Pair> {
    tokio::time::sleep(SETTLE).await;
    let before = (leader.cpu_seconds()?, standby.cpu_seconds()?);
    tokio::time::sleep(period).await;
    let rest = |operator: &Operator, before: f64| -> Result<Rest> {
        let used = operator.cpu_seconds()? - before;
        Ok(Rest {
            percent: used / period.as_secs_f64() * 100.0,
            rss: operator.process().rss()?,
        })
    };
    Ok(Pair {
        leader: rest(leader, before.0)?,
        standby: rest(standby, before.1)?,
    })
}

/// Ends the leader while a package is applied.
async fn hand_over(
    world: &World,
    leader: &Operator,
    kill: bool,
    (number, reference): (usize, &String),
) -> Result<HandOver> {
    let before = holder(world).await?;
    let begin = Instant::now();
    match kill {
        true => leader.kill()?,
        false => leader.process().term()?,
    }
    many::apply(world, std::slice::from_ref(reference), number).await?;
    loop {
        let now = holder(world).await?;
        if !now.is_empty() && now != before {
            break;
        }
        if begin.elapsed() > PATIENCE {
            bail!("nobody leads {PATIENCE:?} after the leader's end");
        }
        tokio::time::sleep(LOOK).await;
    }
    let lease = begin.elapsed().as_secs_f64();
    world
        .wait_condition(many::KIND, &many::name(number), "Ready", "True", PATIENCE)
        .await?;
    Ok(HandOver {
        lease,
        ready: begin.elapsed().as_secs_f64(),
    })
}

/// Who holds the Lease; empty when it was given back.
async fn holder(world: &World) -> Result<String> {
    let api: Api<Lease> = Api::namespaced(world.plane().client(), NAMESPACE);
    let lease = api.get_opt(api::OPERATOR).await?;
    Ok(lease.and_then(|l| l.spec?.holder_identity).unwrap_or_default())
}
