//! The content store and its disk.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use testkit::{OperatorOptions, World, WorldOptions};

use super::Stage;
use super::case::Moment;
use crate::state::Subject;

/// Mounts a small disk at `STORE`, which only the operator sees, and becomes the operator.
const SMALL_DISK: &str = "#!/bin/sh
if [ \"$(id -u)\" = 0 ]; then user=; else user=--map-root-user; fi
exec unshare $user --mount sh -c 'mount -t tmpfs -o size=64k tmpfs \"$0\" && exec \"$@\"' \"$STORE\" \"$@\"
";

pub(super) async fn full(stage: &mut Stage, subject: &Subject, at: Moment) -> Result<()> {
    let options = stage.options()?.args(["--cache-size=1"]);
    stage.world.replace_operator(Some(options)).await?;
    at.begin(stage, subject).await?;
    stage.serves(subject).await?;
    stage.run_operator().await
}

pub(super) async fn disk_full(stage: &mut Stage, subject: &Subject, at: Moment) -> Result<()> {
    let folder = testkit::folder("small-disk")?;
    let (script, store) = (folder.path().join("operator"), folder.path().join("store"));
    std::fs::create_dir(&store)?;
    std::fs::write(&script, SMALL_DISK)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let options = stage
        .options()?
        .store(&store)
        .within(&script)
        .env("STORE", &store.to_string_lossy());
    stage
        .world
        .replace_operator(Some(options))
        .await
        .context("with a small disk (this needs unshare, mount)")?;
    at.begin(stage, subject).await?;
    stage.serves(subject).await?;
    let empty = std::fs::read_dir(&store)?.next().is_none();
    ensure!(empty, "the store was not on the small disk");
    stage.run_operator().await
}

pub(super) async fn removed(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    at.middle(stage, subject).await?;
    std::fs::remove_dir_all(stage.store.path()).ok();
    Ok(())
}

pub(super) async fn tampered(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    spoil(stage.store.path())?;
    at.middle(stage, subject).await?;
    spoil(stage.store.path())
}

/// Turns over bytes in every file.
fn spoil(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            spoil(&path)?;
        } else if let Ok(mut bytes) = std::fs::read(&path) {
            bytes.iter_mut().step_by(7).for_each(|b| *b ^= 0x20);
            // It may be read-only, or gone meanwhile.
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).ok();
            std::fs::write(&path, bytes).ok();
        }
    }
    Ok(())
}

/// Another cluster's operator uses the same store at the same time, for the same packages.
pub(super) async fn shared(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    let mut other = World::start(WorldOptions::default()).await?;
    let options = OperatorOptions::new(stage.program(), other.operator_kubeconfig())
        .store(stage.store.path())
        .args(["--leader-election=false"]);
    other.replace_operator(Some(options)).await?;
    let reference = stage.reference(subject, at.phase.target());
    let (here, there) = tokio::join!(
        at.begin(stage, subject),
        other.create_package("Provider", &subject.name, &reference, json!({}))
    );
    here?;
    there?;
    let ready = other.wait_condition("Provider", &subject.name, "Ready", "True", super::stage::SOON);
    ready.await.context("in the other cluster").map(drop)
}
