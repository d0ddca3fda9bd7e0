//! Packages become objects.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testkit::eventually;
use testkit::wait::PAUSE;
use testkit::world::condition_of;

use super::stage::{SOON, Stage, is, serving};

/// How long a thousand CRDs may take on a busy machine.
const LARGE: Duration = Duration::from_secs(600);
/// Pause between two lines about progress.
const PROGRESS: Duration = Duration::from_secs(3);

/// A Provider and a Configuration with an XRD and a Composition.
pub(super) async fn small(stage: &mut Stage<'_>) -> Result<()> {
    stage.apply("imageconfig.yaml").await?;
    stage.apply("configuration.yaml").await?;
    stage.apply("provider.yaml").await?;
    let took = stage
        .watch("both packages are ready", SOON, async |world| {
            Ok(is(world, "Provider", "provider-nimbus", "Ready", "True").await?
                && is(world, "Configuration", "configuration-network", "Ready", "True").await?)
        })
        .await?;
    for (kind, name) in [
        ("Provider", "provider-nimbus"),
        ("Configuration", "configuration-network"),
    ] {
        stage
            .expect(kind, name, &[("Installed", "True"), ("Healthy", "True")])
            .await?;
    }

    // Waits for nothing: they are there when the packages are ready.
    stage
        .kubectl(&[
            "get",
            "crd/networks.nimbus.example.org",
            "crd/subnets.nimbus.example.org",
            "crd/machines.nimbus.example.org",
            "xrd/privatenetworks.platform.example.org",
            "composition/privatenetworks.platform.example.org",
            "-o",
            "name",
        ])
        .await?;
    let look = async || {
        let revisions = stage
            .world
            .revisions("Configuration", "configuration-network")
            .await?;
        let resolved = |r| condition_of(r, "DependenciesResolved")["status"] == "True";
        Ok(revisions.first().is_some_and(resolved).then_some(()))
    };
    eventually("the Configuration's dependency is found", SOON, look).await?;

    // Its kind was established a moment ago; the API server may need another one to serve it.
    let path = testkit::tools::workspace().join("examples/manifests/network.yaml");
    let network =
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let look = async || {
        let args = ["apply", "-f", "-", "-o", "jsonpath={.metadata.uid}"];
        let said = stage.world.plane().try_kubectl(&args, Some(&network)).await?;
        Ok(said.success.then_some(said.stdout))
    };
    stage.office = eventually("a Network can be made", SOON, look).await?;
    stage.holds(&format!(
        "both Ready {:.1} s after the apply, fetched from where the ImageConfig says; three CRDs, an \
         XRD and a Composition are there, the Configuration's dependency is found, and a Network named \
         office was made",
        took.as_secs_f64()
    ));
    Ok(())
}

/// A Provider of real size.
pub(super) async fn large(stage: &mut Stage<'_>) -> Result<()> {
    stage.apply("provider-large.yaml").await?;
    let begun = Instant::now();
    let (mut said, mut next) = (String::new(), begun);
    loop {
        if stage.is("Provider", "provider-large", "Ready", "True").await? {
            break;
        }
        let package = stage.world.get("Provider", "provider-large").await?;
        let package = package.context("provider-large is gone")?;
        let ready = condition_of(&package, "Ready");
        ensure!(
            begun.elapsed() < LARGE && condition_of(&package, "Stalled")["status"] != "True",
            "provider-large is not ready: {ready}"
        );
        let message = ready["message"].as_str().unwrap_or_default();
        if Instant::now() >= next && message != said {
            stage.note(&format!("{:>5.1} s  {message}", begun.elapsed().as_secs_f64()));
            message.clone_into(&mut said);
            stage.packages().await?;
            next = Instant::now() + PROGRESS;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let took = begun.elapsed();
    stage.packages().await?;

    let revision = serving(&stage.world, "Provider", "provider-large").await?;
    let revision = revision.context("no revision of provider-large serves")?;
    let uid = &revision["metadata"]["uid"];
    let said = revision["status"]["objectRefs"].as_array().map_or(0, Vec::len);
    let crds = stage.world.list("CustomResourceDefinition", "").await?;
    let there = crds.iter().filter(|crd| {
        let owners = crd["metadata"]["ownerReferences"].as_array();
        let ours = owners.is_some_and(|all| all.iter().any(|o| o["uid"] == *uid && o["controller"] == true));
        ours && condition_of(crd, "Established")["status"] == "True"
    });
    let there = there.count();
    let carried = std::fs::read_dir(stage.folder().join("provider-large/crds"))?.count();
    ensure!(
        said == carried && there == carried,
        "the package carries {carried} CRDs; the revision names {said}, {there} are established"
    );
    stage.holds(&format!(
        "all {carried} CRDs are established and owned by the revision {:.1} s after the apply",
        took.as_secs_f64()
    ));
    Ok(())
}
