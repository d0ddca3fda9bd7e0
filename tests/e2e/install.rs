//! The main job: packages become objects in the cluster.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use testkit::{PackageFixture, World, WorldOptions};

const OPERATOR: &str = env!("CARGO_BIN_EXE_gantry-operator-under-test");
const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_provider_is_installed() -> Result<()> {
    testkit::run(async {
        let world = World::start(WorldOptions::with_operator(OPERATOR)).await?;
        let image = PackageFixture::provider("first")
            .crds("first.example.org", 3)
            .build()?;
        let reference = world.push("acme/first", "v1", &image).await?;
        world
            .create_package("Provider", "first", &reference, json!({}))
            .await?;
        world
            .wait_condition("Provider", "first", "Healthy", "True", SOON)
            .await?;
        world
            .wait_condition("Provider", "first", "Ready", "True", SOON)
            .await?;
        println!("{}", world.dump("Provider", "first").await);
        Ok(())
    })
}
