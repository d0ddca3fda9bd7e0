//! What happens while the registry, the operator or a CRD is gone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testkit::World;
use testkit::world::condition_of;

use super::stage::{SOON, Stage, digest_of, is, serving};
use super::upgrade::set_version;

const PROVIDER: &str = "provider-nimbus";
/// A CRD without custom resources, which somebody deletes.
const VICTIM: &str = "machines.nimbus.example.org";
/// What is installed.
const ALL: &[(&str, &str)] = &[
    ("Provider", PROVIDER),
    ("Provider", "provider-large"),
    ("Configuration", "configuration-network"),
];

/// Back to the tag before, whose revision was kept, without asking anybody.
pub(super) async fn rollback(stage: &mut Stage<'_>) -> Result<()> {
    let revisions = stage.world.revisions("Provider", PROVIDER).await?;
    let old = revisions.iter().find(|r| {
        let image = r["spec"]["image"].as_str().unwrap_or_default();
        image.ends_with(":v1.0")
    });
    let old = old.context("no revision of v1.0 is kept")?;
    let digest = digest_of(old).to_owned();
    stage.world.registry().stop()?;
    stage.note("The registry is stopped: connections are refused.");
    set_version(stage, "v1.0").await?;

    let what = "the kept revision serves again";
    let took = stage
        .watch(what, SOON, async |world| {
            let found = serving(world, "Provider", PROVIDER).await?;
            let same = found
                .as_ref()
                .is_some_and(|r| digest_of(r) == digest && r["metadata"]["uid"] == old["metadata"]["uid"]);
            Ok(same && is(world, "Provider", PROVIDER, "Ready", "True").await?)
        })
        .await?;
    stage.expect_office().await?;
    stage.holds(&format!(
        "the kept revision of v1.0 serves again {:.1} s after the change, without a registry",
        took.as_secs_f64()
    ));
    Ok(())
}

/// The operator dies, a CRD is deleted; both come back.
pub(super) async fn repair(stage: &mut Stage<'_>) -> Result<()> {
    let killed = stage.kill_operator().await?;
    let uid = uid_of_victim(stage).await?.context("the CRD is not there")?;
    stage.kubectl(&["delete", "crd", VICTIM]).await?;
    let begun = Instant::now();
    let goes_on = stage.operator_after(&killed).await?;
    let new = wait_repaired(stage, &uid).await?;
    stage.note(&format!(
        "{goes_on}, and the CRD was back after {:.1} s.",
        begun.elapsed().as_secs_f64()
    ));

    // And once more while it runs.
    stage.kubectl(&["delete", "crd", VICTIM]).await?;
    let begun = Instant::now();
    wait_repaired(stage, &new).await?;
    let took = begun.elapsed();
    stage.watch("every package is healthy", SOON, all_healthy).await?;
    let stale = stage
        .world
        .wait_condition(
            "Configuration",
            "configuration-network",
            "UpToDate",
            "Unknown",
            SOON,
        )
        .await?;
    let stale = condition_of(&stale, "UpToDate");
    stage.note(&format!(
        "configuration-network, UpToDate=Unknown since {}: {}",
        stale["lastTransitionTime"].as_str().unwrap_or_default(),
        stale["message"].as_str().unwrap_or_default()
    ));
    ensure!(
        took < Duration::from_secs(5),
        "the deleted CRD was back only after {took:?}; 5 s are promised"
    );
    stage.expect_office().await?;
    stage.holds(&format!(
        "deleted while the operator runs, the CRD is back after {:.1} s; all packages are Installed and \
         Healthy, and the one that is polled says since when nobody answers",
        took.as_secs_f64()
    ));
    Ok(())
}

async fn all_healthy(world: &World) -> Result<bool> {
    for (kind, name) in ALL {
        if !is(world, kind, name, "Installed", "True").await?
            || !is(world, kind, name, "Healthy", "True").await?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn uid_of_victim(stage: &Stage<'_>) -> Result<Option<String>> {
    let crd = stage.world.get("CustomResourceDefinition", VICTIM).await?;
    let living = crd.filter(|crd| crd["metadata"]["deletionTimestamp"].is_null());
    Ok(living.and_then(|crd| crd["metadata"]["uid"].as_str().map(str::to_owned)))
}

async fn wait_repaired(stage: &Stage<'_>, gone: &str) -> Result<String> {
    let look = async || Ok(uid_of_victim(stage).await?.filter(|uid| uid != gone));
    testkit::eventually("the deleted CRD is back", SOON, look).await
}

/// The registry answers again.
pub(super) async fn recovery(stage: &mut Stage<'_>) -> Result<()> {
    stage.world.registry().start_again().await?;
    stage
        .kubectl(&[
            "annotate",
            "provider/provider-nimbus",
            "configuration/configuration-network",
            "gantry.dev/check-requested-at=second",
            "--overwrite",
        ])
        .await?;
    stage
        .watch("every package is up to date", SOON, async |world| {
            for (kind, name) in ALL {
                if !is(world, kind, name, "UpToDate", "True").await?
                    || !is(world, kind, name, "Ready", "True").await?
                {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await?;
    stage.holds("every package is up to date again, and nothing else has changed");
    Ok(())
}
