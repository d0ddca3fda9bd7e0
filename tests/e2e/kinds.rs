//! Objects of kinds that this cluster does not serve.

use anyhow::Result;
use testkit::{World, WorldOptions, run};
use tokio::sync::OnceCell;

use crate::OPERATOR;
use crate::scene::{Scene, reason, says};

/// A world in which nobody defines the kinds of composition.
async fn bare() -> Result<&'static World> {
    static SHARED: OnceCell<World> = OnceCell::const_new();
    SHARED
        .get_or_try_init(|| {
            let mut options = WorldOptions::with_operator(OPERATOR);
            options.stand_ins = false;
            World::start(options)
        })
        .await
}

#[test]
fn kinds_that_are_not_served_are_named_and_used_when_they_come() -> Result<()> {
    run(async {
        let world = bare().await?;
        let configuration = Scene::new(world, "Configuration", "early");
        let content = |version: &str| {
            configuration
                .fixture(version)
                .xrd(&configuration.group(), "Database")
                .composition(&configuration.name, &configuration.group(), "Database")
        };
        let reference = configuration.push("v1", &content("v1")).await?;
        configuration.create(&reference, serde_json::json!({})).await?;
        let why = configuration.refused().await?;
        for kind in ["CompositeResourceDefinition", "Composition"] {
            assert!(
                why.contains(&format!("kind {kind} (apiextensions.crossplane.io/v1)")),
                "{why}"
            );
        }
        assert!(why.contains("is not served by this cluster"), "{why}");
        let package = configuration.get().await?;
        assert!(says(&package, "Healthy", "False"));
        assert_eq!(reason(&package, "Installed"), "False InactivePackageRevision");

        // A provider is not held up by it, also one that serves and gets a version with such a kind.
        let provider = Scene::new(world, "Provider", "untouched");
        provider.install("v1", &provider.with_crds("v1", 1)).await?;

        world.plane().install_stand_ins().await?;
        configuration.settled().await?;
        assert!(world.get("Composition", &configuration.name).await?.is_some());
        configuration.delete().await
    })
}
