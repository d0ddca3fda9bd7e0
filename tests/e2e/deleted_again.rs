//! Somebody deletes a CRD while the operator waits for the API server to serve it.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use testkit::{PackageFixture, eventually};

/// The wait itself gives up after a minute; a deleted CRD must be back long before.
const SOON: Duration = Duration::from_secs(40);

#[test]
fn a_crd_deleted_before_it_is_served_comes_back() -> Result<()> {
    testkit::run(async {
        let world = crate::world().await?;
        let name = world.unique("again");
        let group = format!("{name}.example.org");
        let image = PackageFixture::provider(&name).crds(&group, 60).build()?;
        let package = world.push(&name, "v1", &image).await?;
        world
            .create_package("Provider", &name, &package, json!({}))
            .await?;

        // The last to be created is the last to be served.
        let kind = "CustomResourceDefinition";
        let look = async || {
            let crds = world.list(kind, "").await?;
            let mut ours = crds
                .into_iter()
                .filter(|crd| crd["spec"]["group"] == group.as_str());
            Ok(ours.next_back().and_then(|crd| {
                let metadata = &crd["metadata"];
                Some((metadata["name"].as_str()?.to_owned(), metadata["uid"].clone()))
            }))
        };
        let (victim, uid) = eventually("a CRD is created", SOON, look).await?;
        world.delete(kind, &victim).await?;

        world
            .wait_condition("Provider", &name, "Ready", "True", SOON)
            .await?;
        let back = world
            .wait_condition(kind, &victim, "Established", "True", SOON)
            .await?;
        assert_ne!(back["metadata"]["uid"], uid, "{victim} was not deleted");
        world.delete("Provider", &name).await
    })
}
