//! What a package needs and whether it is there.

use anyhow::Result;
use serde_json::{Value, json};
use testkit::run;

use crate::scene::{SOON, Scene, message, name, reason, says};
use crate::world;

/// Waits until the active revision says this of its dependencies.
async fn resolved(scene: &Scene, expected: &str) -> Result<Value> {
    let look = async || {
        let revision = scene.active().await?;
        Ok((reason(&revision, "DependenciesResolved") == expected).then_some(revision))
    };
    match testkit::eventually(&format!("dependencies: {expected}"), SOON, look).await {
        Ok(revision) => Ok(revision),
        Err(error) => Err(error.context(format!("{:#}", scene.active().await?))),
    }
}

#[test]
fn a_package_says_which_of_its_dependencies_are_there() -> Result<()> {
    run(async {
        let world = world().await?;
        let host = world.registry().host();
        let scene = Scene::new(world, "Configuration", "needy");
        let needed = Scene::new(world, "Provider", "needed");
        let source = format!("{host}/{}", needed.name);
        let absent = format!("{host}/not-there");
        let content = |version: &str, constraint: &str| {
            let fixture = scene
                .fixture(version)
                .xrd(&scene.group(), "Thing")
                .depends_on("Provider", &source, constraint);
            fixture.depends_on_kind("pkg.crossplane.io/v1", "Function", &absent, ">=v2.0.0")
        };
        let (_, package) = scene.install("v1", &content("v1", ">=v1.0.0")).await?;
        assert!(says(&package, "Healthy", "True"), "it is installed all the same");
        let revision = resolved(&scene, "False MissingDependencies").await?;
        let mut missing = [
            format!("\"{source}\" (>=v1.0.0)"),
            format!("\"{absent}\" (>=v2.0.0)"),
        ];
        missing.sort();
        assert_eq!(
            message(&revision, "DependenciesResolved"),
            format!("missing dependencies: {}", missing.join(", "))
        );
        assert_eq!(revision["status"]["foundDependencies"], 2);
        assert_eq!(revision["status"]["installedDependencies"], Value::Null);
        let states: Vec<&Value> = revision["status"]["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|d| &d["state"])
            .collect();
        assert_eq!(states, ["Missing", "Missing"]);

        needed.install("v1.2.0", &needed.with_crds("v1", 1)).await?;
        let look = async || {
            let revision = scene.active().await?;
            let first = revision["status"]["dependencies"][0].clone();
            Ok((first["state"] == "Found").then_some(first))
        };
        let found = testkit::eventually("one of them is found", SOON, look).await?;
        assert_eq!(found["package"], source);
        assert_eq!(found["found"], "v1.2.0");
        let revision = scene.active().await?;
        assert_eq!(revision["status"]["installedDependencies"], 1);

        // A version that asks for more than there is.
        let fixture = scene.fixture("v2").xrd(&scene.group(), "Thing");
        let fixture = fixture.depends_on("Provider", &source, ">=v2.0.0");
        scene.ask_for("v2", &fixture).await?;
        let package = scene.settled().await?;
        assert!(says(&package, "Healthy", "True"));
        let revision = resolved(&scene, "False IncompatibleDependencies").await?;
        assert_eq!(revision["status"]["invalidDependencies"], 1);
        let why = message(&revision, "DependenciesResolved");
        assert!(
            why.contains(&format!(
                "existing package {source}@v1.2.0 is incompatible with constraint >=v2.0.0"
            )),
            "{why}"
        );
        needed.ask_for("v2.0.0", &needed.with_crds("v2", 1)).await?;
        let revision = resolved(&scene, "True AllDependenciesFound").await?;
        assert_eq!(revision["metadata"]["name"], name(&scene.active().await?));

        // Whoever does not want to know is not told.
        scene
            .patch(json!({ "spec": { "skipDependencyResolution": true } }))
            .await?;
        let revision = resolved(&scene, "True NothingToResolve").await?;
        assert_eq!(revision["status"]["foundDependencies"], Value::Null);
        needed.delete().await?;
        scene.delete().await
    })
}
