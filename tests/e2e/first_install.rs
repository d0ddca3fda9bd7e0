//! The shortest way through: a package is applied, its content is in the cluster.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use testkit::{PackageFixture, run};

use crate::world;

/// How long the first installation may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_provider_is_installed_and_its_crds_are_served() -> Result<()> {
    run(async {
        let world = world().await?;
        let name = world.unique("installed");
        let group = format!("{name}.example.org");
        let fixture = PackageFixture::provider(&name).crds(&group, 3);
        let reference = world.push(&name, "v1.0.0", &fixture.build()?).await?;
        world
            .create_package("Provider", &name, &reference, json!({}))
            .await?;
        world
            .wait_condition("Provider", &name, "Healthy", "True", SOON)
            .await?;
        let package = world
            .wait_condition("Provider", &name, "Installed", "True", SOON)
            .await?;

        let revisions = world.revisions("Provider", &name).await?;
        assert_eq!(revisions.len(), 1, "{revisions:#?}");
        assert_eq!(
            revisions[0]["metadata"]["name"],
            package["status"]["currentRevision"]
        );
        for crd in fixture.crd_names() {
            let crd = world
                .wait_condition("CustomResourceDefinition", &crd, "Established", "True", SOON)
                .await?;
            let owners = crd["metadata"]["ownerReferences"].as_array().unwrap();
            let controller = owners.iter().find(|o| o["controller"] == true).unwrap();
            assert_eq!(controller["uid"], revisions[0]["metadata"]["uid"]);
        }
        Ok(())
    })
}
