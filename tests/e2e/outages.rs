//! Each kind of trouble with a registry has its own words on the package.

use anyhow::Result;
use serde_json::json;
use testkit::registry::{PASSWORD, USER};
use testkit::{Auth, Fault, Match, Rule, TestRegistry, run};

use crate::scene::{Scene, message, reason, says};
use crate::world;

#[test]
fn each_trouble_has_its_reason_names_host_and_reference_and_is_told_once() -> Result<()> {
    run(async {
        let world = world().await?;
        let mut registries = vec![];
        let mut cases = vec![];
        for (word, fault, expected) in [
            ("unknown-tag", None, "NotFound"),
            ("closed", None, "Unauthorized"),
            ("busy", Some(Fault::retry_after(429, "3000")), "RateLimited"),
            ("broken", Some(Fault::status(500)), "RegistryFailed"),
            ("away", Some(Fault::status(503)), "RegistryFailed"),
            ("down", None, "Unreachable"),
        ] {
            let registry = TestRegistry::start().await?;
            let scene = Scene::new(world, "Provider", word);
            match word {
                "closed" => registry.set_auth(Auth::Basic(USER.to_owned(), PASSWORD.to_owned())),
                "down" => registry.stop(),
                _ => {}
            }
            if let Some(fault) = fault {
                registry.faults().add(Rule::new(Match::any(), fault));
            }
            let reference = registry.reference(&scene.name, "v1");
            cases.push((scene, registry.host(), reference, expected));
            registries.push(registry);
        }
        let nowhere = Scene::new(world, "Provider", "no-such-host");
        let reference = format!("registry.invalid/{}:v1", nowhere.name);
        cases.push((nowhere, "registry.invalid".to_owned(), reference, "HostUnknown"));
        for (scene, _, reference, _) in &cases {
            scene.create(reference, json!({})).await?;
        }
        for (scene, host, _, expected) in &cases {
            let package = scene
                .until(&format!("it says {expected}"), |p| {
                    reason(p, "UpToDate") == format!("Unknown {expected}")
                })
                .await?;
            for condition in ["UpToDate", "Installed", "Healthy"] {
                let said = message(&package, condition);
                assert!(said.contains(host), "{} {condition}: {said}", scene.name);
                assert!(
                    said.contains(&scene.name),
                    "{} {condition}: the reference is not named: {said}",
                    scene.name
                );
            }
            assert_eq!(reason(&package, "Installed"), "False UnpackingPackage");
            assert!(
                says(&package, "Reconciling", "True") != says(&package, "Stalled", "True"),
                "{package:#}"
            );
            scene.event(&scene.name, "UnpackPackage").await?;
        }
        for (scene, ..) in &cases {
            let told = scene.events(&scene.name).await?;
            assert!(told.len() <= 2, "events are for changes: {told:#?}");
            scene.delete().await?;
        }
        Ok(())
    })
}
