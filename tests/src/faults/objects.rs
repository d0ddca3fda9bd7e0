//! People and tools that write the same objects.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use serde_json::{Value, json};

use super::case::Moment;
use super::stage::{SOON, Stage};
use crate::state::{Subject, name};

const CRD: &str = "CustomResourceDefinition";

/// All CRDs of the subject's group.
async fn crds(stage: &Stage, subject: &Subject) -> Result<Vec<Value>> {
    let mut crds = stage.world.list(CRD, "").await?;
    crds.retain(|crd| crd["spec"]["group"] == subject.group.as_str());
    Ok(crds)
}

/// The cluster's own collector stands still while it gets to know kinds that come and go, on a busy machine for minutes.
const COLLECTED: Duration = Duration::from_secs(400);

async fn nothing_left(stage: &Stage, subject: &Subject) -> Result<()> {
    let left = async || -> Result<Vec<String>> {
        let package = stage.world.get("Provider", &subject.name).await?;
        let revisions = stage.world.revisions("Provider", &subject.name).await?;
        let crds = crds(stage, subject).await?;
        Ok(package.iter().chain(&revisions).chain(&crds).map(name).collect())
    };
    let look = async || Ok(left().await?.is_empty().then_some(()));
    match testkit::eventually("package, revisions and CRDs are gone", COLLECTED, look).await {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(format!("left: {}", left().await?.join(", ")))),
    }
}

/// Removes what a cell has made.
pub(super) async fn remove(stage: &Stage, subject: &Subject) -> Result<()> {
    stage.world.delete("Provider", &subject.name).await?;
    stage.world.wait_gone("Provider", &subject.name, SOON).await
}

pub(super) async fn deleted(stage: &Stage, subject: &Subject, at: Moment, how: DeleteParams) -> Result<()> {
    at.middle(stage, subject).await?;
    stage.world.api("Provider")?.delete(&subject.name, &how).await?;
    stage.world.wait_gone("Provider", &subject.name, SOON).await?;
    if how.propagation_policy == Some(PropagationPolicy::Orphan) {
        stage.calm().await?;
    } else {
        nothing_left(stage, subject).await?;
    }
    stage.create(subject, at.phase.target(), at.phase.spec()).await
}

pub(super) async fn pruned(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    at.middle(stage, subject).await?;
    stage.world.delete("Provider", &subject.name).await?;
    let look = async || {
        let created = stage.create(subject, at.phase.target(), at.phase.spec()).await;
        Ok(created.ok())
    };
    testkit::eventually("the package is created again", SOON, look).await
}

pub(super) async fn two_writers(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    at.begin(stage, subject).await?;
    let target = at.phase.target();
    let other = if target == 1 { 2 } else { target - 1 };
    let api = stage.world.api("Provider")?;
    for n in 0..at.times() {
        let (version, writer) = if n % 2 == 0 {
            (other, "gitops-one")
        } else {
            (target, "gitops-two")
        };
        let object = json!({
            "apiVersion": "pkg.crossplane.io/v1", "kind": "Provider",
            "metadata": { "name": subject.name }, "spec": { "package": stage.reference(subject, version) },
        });
        let force = PatchParams::apply(writer).force();
        api.patch(&subject.name, &force, &Patch::Apply(&object)).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

pub(super) async fn terminating(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    let victim = format!("thing1s.{}", subject.group);
    let hold = json!({ "metadata": { "finalizers": ["example.org/somebody"] } });
    stage.world.patch(CRD, &victim, hold).await?;
    stage.world.delete(CRD, &victim).await?;
    at.begin(stage, subject).await?;
    at.last().await;
    // Merge patches replace lists: the API server's own finalizer has done its work.
    let free = json!({ "metadata": { "finalizers": null } });
    stage.world.patch(CRD, &victim, free).await.map(drop)
}

/// Deletes so many revisions, the newest first.
pub(super) async fn revisions_deleted(
    stage: &Stage,
    subject: &Subject,
    at: Moment,
    most: usize,
) -> Result<()> {
    at.middle(stage, subject).await?;
    for revision in stage
        .world
        .revisions("Provider", &subject.name)
        .await?
        .iter()
        .take(most)
    {
        stage.world.delete("ProviderRevision", &name(revision)).await?;
    }
    Ok(())
}

/// What a backup tool has of an object: all but what the API server and status writers add.
fn backup(object: &Value) -> Value {
    let mut object = object.clone();
    for key in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "deletionTimestamp",
    ] {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove(key);
        }
    }
    if let Some(all) = object.as_object_mut() {
        all.remove("status");
    }
    object
}

pub(super) async fn backup_restored(stage: &Stage, subject: &Subject, at: Moment) -> Result<()> {
    at.begin(stage, subject).await?;
    stage.serves(subject).await?;
    let package = stage
        .world
        .get("Provider", &subject.name)
        .await?
        .context("no package")?;
    let revisions = stage.world.revisions("Provider", &subject.name).await?;
    let crds = crds(stage, subject).await?;
    remove(stage, subject).await?;
    nothing_left(stage, subject).await?;
    for (kind, objects) in [
        (CRD, &crds),
        ("ProviderRevision", &revisions),
        ("Provider", &vec![package]),
    ] {
        for object in objects {
            // The cluster's own collector may be faster with what has no owner any more.
            stage.world.create(kind, backup(object)).await?;
        }
    }
    Ok(())
}
