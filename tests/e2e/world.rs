//! A world without an operator: what every end-to-end test starts from.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use testkit::{PackageFixture, World, WorldOptions, run};

#[test]
fn a_world_has_what_the_operator_needs() -> Result<()> {
    run(async {
        let world = World::start(WorldOptions::default()).await?;
        let kubeconfig = world.operator_kubeconfig().to_string_lossy().into_owned();
        let plane = world.plane();
        let me = plane
            .kubectl(&["--kubeconfig", &kubeconfig, "auth", "whoami"])
            .await?;
        assert!(me.contains(testkit::world::USER), "{me}");
        let refused = plane
            .try_kubectl(&["--kubeconfig", &kubeconfig, "get", "nodes"], None)
            .await?;
        assert!(
            refused.stderr.contains("forbidden"),
            "the operator has rights that it should not have: {refused:?}"
        );

        // It brings its own CRDs; here they come from elsewhere.
        let crds = api::crds()
            .into_iter()
            .map(|crd| Ok(serde_json::to_string(&crd)?));
        plane
            .apply_yaml(&crds.collect::<Result<Vec<_>>>()?.join("\n---\n"))
            .await?;
        world.wait_served().await?;
        let image = PackageFixture::provider("first")
            .crd("world.example.org", "Thing")
            .build()?;
        let name = world.unique("provider");
        let reference = world.push(&name, "v1", &image).await?;
        world
            .create_package(
                "Provider",
                &name,
                &reference,
                json!({ "packagePullPolicy": "Always" }),
            )
            .await?;
        let stored = world.get("Provider", &name).await?.unwrap();
        assert_eq!(stored["spec"]["package"], reference);
        assert_eq!(stored["spec"]["packagePullPolicy"], "Always");
        assert_ne!(world.unique("provider"), name);

        // What does not come true says what was awaited and shows the object.
        let wait = world.wait_condition("Provider", &name, "Healthy", "True", Duration::from_millis(300));
        let error = format!("{:#}", wait.await.unwrap_err());
        for part in [
            "has Healthy=True: not after 300ms",
            &reference,
            "--- events",
            "(no operator)",
        ] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        world.delete("Provider", &name).await?;
        world.delete("Provider", &name).await?;
        world.wait_gone("Provider", &name, Duration::from_secs(5)).await?;
        Ok(())
    })
}
