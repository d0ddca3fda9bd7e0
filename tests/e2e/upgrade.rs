//! From one version to the next and back.

use anyhow::Result;
use serde_json::{Value, json};
use testkit::{Registry, run};

use crate::scene::{Scene, configured, controller, is_current, name, owners, reason, says};
use crate::world;

#[test]
fn a_new_version_takes_over_and_releases_what_it_does_not_carry() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "upgraded");
        let (_, before) = scene.install("v1", &scene.with_crds("v1", 3)).await?;
        let old = scene.active().await?;
        scene.make_thing(0, "kept").await?;
        scene.make_thing(2, "released").await?;
        let uid = scene.crd(&scene.crd_name(0)).await?["metadata"]["uid"].clone();

        scene.ask_for("v2", &scene.with_crds("v2", 2)).await?;
        let package = scene.settled().await?;
        let new = scene.active().await?;
        assert_ne!(name(&new), name(&old));
        assert_eq!(new["spec"]["revision"], 2);
        assert_ne!(
            package["status"]["currentRevision"],
            before["status"]["currentRevision"]
        );
        let old = scene.revision(&json!(name(&old))).await?;
        assert_eq!(old["spec"]["desiredState"], "Inactive");
        assert_eq!(old["metadata"]["annotations"]["gantry.dev/served"], "true");
        for n in 0..2 {
            let crd = scene.crd(&scene.crd_name(n)).await?;
            assert_eq!(controller(&crd), Some(name(&new)));
            let mut owners = owners(&crd);
            owners.sort();
            let mut expected = vec![
                format!("Provider/{}", scene.name),
                format!("ProviderRevision/{}", name(&old)),
                format!("ProviderRevision/{}*", name(&new)),
            ];
            expected.sort();
            assert_eq!(owners, expected);
            assert_eq!(crd["metadata"]["labels"]["example.org/version"], "v2");
        }
        assert_eq!(
            scene.crd(&scene.crd_name(0)).await?["metadata"]["uid"],
            uid,
            "never deleted"
        );

        // What the new version lacks stays, without anybody who controls it.
        let dropped = scene.crd(&scene.crd_name(2)).await?;
        assert_eq!(controller(&dropped), None);
        let owners = owners(&dropped);
        assert!(owners.contains(&format!("Provider/{}", scene.name)), "{owners:?}");
        assert!(says(&dropped, "Established", "True"));
        scene
            .until("the released CRD is counted", |p| {
                p["status"]["releasedObjects"] == 1
            })
            .await?;
        for (n, thing) in [(0, "kept"), (2, "released")] {
            let resource = format!("thing{n}s.{}", scene.group());
            scene.world.plane().kubectl(&["get", &resource, thing]).await?;
        }

        // Taken up again by a version that has it.
        scene.ask_for("v3", &scene.with_crds("v3", 3)).await?;
        scene.settled().await?;
        let crd = scene.crd(&scene.crd_name(2)).await?;
        assert_eq!(controller(&crd), Some(name(&scene.active().await?)));
        scene
            .until("nothing is released", |p| {
                p["status"]["releasedObjects"] == Value::Null
            })
            .await?;
        scene.delete().await
    })
}

#[test]
fn content_that_did_not_change_is_taken_over_without_being_written() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "unchanged");
        let content = |version: &str| {
            scene
                .with_crds("same", 2)
                .annotation("example.org/version", version)
        };
        scene.install("v1", &content("v1")).await?;
        let before = scene.crd(&scene.crd_name(0)).await?;
        scene.ask_for("v2", &content("v2")).await?;
        scene.settled().await?;
        let after = scene.crd(&scene.crd_name(0)).await?;
        assert_eq!(controller(&after), Some(name(&scene.active().await?)));
        assert_eq!(before["metadata"]["generation"], after["metadata"]["generation"]);
        assert_eq!(
            before["metadata"]["annotations"],
            after["metadata"]["annotations"]
        );
        scene.delete().await
    })
}

#[test]
fn a_rollback_reuses_the_kept_revision() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "rollback");
        let first = scene.with_crds("v1", 2);
        let (by_tag, _) = scene.install("v1", &first).await?;
        let old = scene.active().await?;
        let newer = scene.ask_for("v2", &scene.with_crds("v2", 2)).await?;
        scene.settled().await?;
        let by_digest = scene
            .world
            .registry()
            .reference(&scene.name, &first.build()?.digest());
        for (round, reference) in [&by_tag, &newer, &by_digest].into_iter().enumerate() {
            scene.set(reference).await?;
            scene.settled().await?;
            let active = scene.active().await?;
            let number = active["spec"]["revision"].as_i64().unwrap();
            assert_eq!(
                number,
                3 + i64::try_from(round)?,
                "the one taken again has the highest number"
            );
            if *reference != newer {
                assert_eq!(active["metadata"]["uid"], old["metadata"]["uid"]);
                assert_eq!(active["spec"]["image"], **reference);
                let crd = scene.crd(&scene.crd_name(1)).await?;
                assert_eq!(controller(&crd), Some(name(&old)));
                assert_eq!(crd["metadata"]["labels"]["example.org/version"], "v1");
            }
            assert_eq!(scene.revisions().await?.len(), 2);
        }
        scene.delete().await
    })
}

#[test]
fn without_a_registry_what_is_installed_serves_and_can_be_rolled_back() -> Result<()> {
    run(async {
        let registry = Registry::distribution().await?;
        let scene = Scene::new(configured().await?, "Configuration", "cut-off");
        let composition = |version: &str| {
            let fixture = scene.fixture(version).xrd(&scene.group(), "Thing");
            fixture.composition(&format!("{}-{version}", scene.name), &scene.group(), "Thing")
        };
        let first = registry
            .push(&scene.name, "v1", &composition("v1").build()?)
            .await?;
        let second = registry
            .push(&scene.name, "v2", &composition("v2").build()?)
            .await?;
        scene
            .create(&first, json!({ "packagePullPolicy": "Always" }))
            .await?;
        scene.settled().await?;
        scene.set(&second).await?;
        scene.settled().await?;

        registry.stop()?;
        let stale = scene
            .until("the check is stale", |p| says(p, "UpToDate", "Unknown"))
            .await?;
        assert_eq!(reason(&stale, "UpToDate"), "Unknown Unreachable");
        for condition in ["Installed", "Healthy", "Ready"] {
            assert!(says(&stale, condition, "True"), "{stale:#}");
        }
        let told = crate::scene::message(&stale, "UpToDate");
        assert!(told.contains(&registry.host()), "{told}");
        let since = |p: &Value| testkit::world::condition_of(p, "UpToDate")["lastTransitionTime"].clone();
        assert_ne!(since(&stale), Value::Null);
        scene.event(&scene.name, "UnpackPackage").await?;

        // Back to the version that is kept, without asking anybody.
        scene.set(&first).await?;
        let back = scene
            .until("the old version serves", |p| {
                is_current(p)
                    && says(p, "Ready", "True")
                    && p["status"]["servingRevision"] == p["status"]["currentRevision"]
                    && p["status"]["currentRevision"] != stale["status"]["currentRevision"]
            })
            .await?;
        assert!(says(&back, "UpToDate", "Unknown"));
        assert_ne!(since(&back), Value::Null, "since when it is stale");
        let active = scene.active().await?;
        assert_eq!(active["spec"]["image"], first);
        assert_eq!(active["spec"]["revision"], 3);

        registry.start_again().await?;
        let fresh = scene
            .until("it is checked again", |p| says(p, "UpToDate", "True"))
            .await?;
        assert!(says(&fresh, "Healthy", "True"));
        assert_eq!(fresh["status"]["currentIdentifier"], first);
        scene.delete().await
    })
}
