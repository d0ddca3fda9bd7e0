//! New versions: followed, kept for rollback, collected, refused.

use anyhow::{Context, Result, ensure};

use super::prepare::build_and_push;
use super::source;
use super::stage::{PUBLISHED_AT, SOON, Stage, digest_of, is, serving};

const PROVIDER: &str = "provider-nimbus";
const CONFIGURATION: &str = "configuration-network";

/// A tag moves; an annotation asks for a check.
pub(super) async fn requested(stage: &mut Stage<'_>) -> Result<()> {
    let folder = stage.folder().join("nimbus-next");
    source::copy(&folder, &["provider-nimbus", "provider-nimbus-next"])?;
    let digest = build_and_push(stage, &folder, PROVIDER, "v1.0").await?;
    stage
        .kubectl(&[
            "annotate",
            "provider",
            PROVIDER,
            "gantry.dev/check-requested-at=first",
        ])
        .await?;
    let took = watch_serving(stage, "Provider", PROVIDER, &digest).await?;
    let revisions = stage.world.revisions("Provider", PROVIDER).await?;
    ensure!(
        revisions.len() == 2,
        "there are {} revisions, not 2",
        revisions.len()
    );
    let new = revisions.first().context("no revision")?;
    for plural in ["networks", "subnets", "machines", "gateways"] {
        let name = format!("{plural}.nimbus.example.org");
        let crd = stage.world.get("CustomResourceDefinition", &name).await?;
        let crd = crd.with_context(|| format!("CRD {name} is gone"))?;
        let owners = crd["metadata"]["ownerReferences"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let controller = owners.iter().find(|o| o["controller"] == true);
        ensure!(
            controller.is_some_and(|o| o["uid"] == new["metadata"]["uid"]),
            "CRD {name} is not controlled by the new revision: {owners:?}"
        );
    }
    stage.expect_office().await?;
    stage.holds(&format!(
        "the new revision took over {took} after the request: it controls the three CRDs and a fourth, \
         the old revision is kept, and the Network is the same object as before"
    ));
    Ok(())
}

/// A tag moves; polling finds it.
pub(super) async fn polled(stage: &mut Stage<'_>) -> Result<()> {
    let folder = stage.folder().join("network-next");
    source::copy(&folder, &["configuration-network"])?;
    source::replace(
        &folder.join("apis/network/composition.yaml"),
        "tier: basic",
        "tier: standard",
    )?;
    let digest = build_and_push(stage, &folder, CONFIGURATION, "v1.0").await?;
    let took = watch_serving(stage, "Configuration", CONFIGURATION, &digest).await?;
    let name = "privatenetworks.platform.example.org";
    let composition = stage.world.get("Composition", name).await?;
    let composition = composition.context("the Composition is gone")?;
    let tier = &composition["metadata"]["labels"]["tier"];
    ensure!(tier == "standard", "the Composition's tier is {tier}");
    stage.holds(&format!(
        "polling (every 5 s here, every minute by default) found the new digest; its Composition is in \
         place {took} after the push"
    ));
    Ok(())
}

/// The next version is another tag; one old revision is kept, the one before is collected.
pub(super) async fn collected(stage: &mut Stage<'_>) -> Result<()> {
    let before = stage.world.revisions("Provider", PROVIDER).await?;
    let oldest = before.last().context("no revision")?;
    let oldest = oldest["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let folder = stage.folder().join("nimbus-1.1");
    source::copy(&folder, &["provider-nimbus", "provider-nimbus-next"])?;
    source::replace(
        &folder.join("crds/machines.yaml"),
        "A virtual machine.",
        "A virtual machine, now with a better description.",
    )?;
    let digest = build_and_push(stage, &folder, PROVIDER, "v1.1").await?;
    set_version(stage, "v1.1").await?;
    let took = watch_serving(stage, "Provider", PROVIDER, &digest).await?;
    stage.world.wait_gone("ProviderRevision", &oldest, SOON).await?;
    let left = stage.world.revisions("Provider", PROVIDER).await?;
    ensure!(left.len() == 2, "{} revisions are left, not 2", left.len());
    stage.expect_office().await?;
    stage.holds(&format!(
        "v1.1 served {took} after the change; {oldest} was deleted, as revisionHistoryLimit 1 says, and \
         nothing that it had installed went with it"
    ));
    Ok(())
}

/// A version that the API server would not take.
pub(super) async fn refused(stage: &mut Stage<'_>) -> Result<()> {
    let folder = stage.folder().join("nimbus-1.2");
    source::copy(&folder, &["provider-nimbus", "provider-nimbus-next"])?;
    source::replace(
        &folder.join("crds/machines.yaml"),
        "type: integer",
        "type: whole-number",
    )?;
    build_and_push(stage, &folder, PROVIDER, "v1.2").await?;
    set_version(stage, "v1.2").await?;
    stage
        .watch("v1.2 is refused", SOON, async |world| {
            Ok(is(world, "Provider", PROVIDER, "Stalled", "True").await?
                && is(world, "Provider", PROVIDER, "Ready", "False").await?)
        })
        .await?;
    let why = "jsonpath={.status.conditions[?(@.type==\"Ready\")].message}";
    stage.kubectl(&["get", "provider", PROVIDER, "-o", why]).await?;
    stage
        .expect(
            "Provider",
            PROVIDER,
            &[("Installed", "True"), ("Healthy", "True")],
        )
        .await?;
    let serving = serving(&stage.world, "Provider", PROVIDER).await?;
    let serving = serving.context("no revision serves")?;
    let image = serving["spec"]["image"].as_str().unwrap_or_default();
    ensure!(image.ends_with(":v1.1"), "what serves is {image}");
    stage.expect_office().await?;
    stage.holds("v1.2 was refused before anything was changed; v1.1 goes on serving, Installed and Healthy");
    Ok(())
}

/// Sets the Provider's version.
pub(super) async fn set_version(stage: &Stage<'_>, version: &str) -> Result<()> {
    let patch = format!(r#"{{"spec":{{"package":"{PUBLISHED_AT}/examples/{PROVIDER}:{version}"}}}}"#);
    stage
        .kubectl(&["patch", "provider", PROVIDER, "--type", "merge", "-p", &patch])
        .await
}

/// Waits until the revision of this digest serves and the package says that it is ready; answers how
/// long it took.
pub(super) async fn watch_serving(stage: &Stage<'_>, kind: &str, name: &str, digest: &str) -> Result<String> {
    let what = format!("the revision of {digest} serves");
    let took = stage
        .watch(&what, SOON, async |world| {
            let found = serving(world, kind, name).await?;
            Ok(found.is_some_and(|r| digest_of(&r) == digest)
                && is(world, kind, name, "Ready", "True").await?)
        })
        .await?;
    Ok(format!("{:.1} s", took.as_secs_f64()))
}
