//! What the command line says of packages that aren't well, and how waiting for them ends.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use testkit::run;
use tokio::process::Command;

use crate::commands::{GANTRY, ends, gantry, gantry_as};
use crate::scene::Scene;
use crate::{plane, world};

#[test]
fn what_is_wrong_is_explained_and_given_up() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "cli-wrong");
        let name = scene.name.as_str();
        let (_, before) = scene.install("v1", &scene.with_crds("v1", 1)).await?;
        let second = scene
            .push("v2", &scene.with_crds("v2", 1).crossplane(">=v99.0.0"))
            .await?;
        let stalled = ends(3, &format!("update provider {name} {second} --wait=90s")).await?;
        for words in [
            "is refused; revision 1 (v1) goes on serving.",
            "since ",
            "why ",
            "do ",
            "did not become ready",
        ] {
            assert!(stalled.stderr.contains(words), "{words}: {stalled:?}");
        }
        let told = ends(3, &format!("status provider/{name}")).await?;
        for words in [
            "not ready\n",
            "serves    revision 1, ",
            "wanted    revision 2, ",
            "incompatible Crossplane version",
            "gantry rollback provider",
            "Lease gantry-system/gantry-operator",
            "InstallPackageRevision",
        ] {
            assert!(told.stdout.contains(words), "{words}: {}", told.stdout);
        }
        assert_eq!(told.stderr, "", "all is said already");
        let report = ends(3, &format!("status provider {name} -o json"))
            .await?
            .json()?;
        assert_eq!(
            (&report["state"], &report["ready"]),
            (&json!("NotReady"), &json!(false))
        );
        assert!(report["findings"][0]["since"].is_string(), "{report}");
        let all = gantry("status").await?;
        assert_eq!(all.status, 3);
        assert!(
            all.stdout
                .contains(&format!("\nProvider {name}: not ready\n  What is wanted")),
            "{all:?}"
        );

        // Back to what serves, not behind it.
        ends(0, &format!("rollback provider {name} --wait=90s")).await?;
        let now = scene.get().await?;
        assert_eq!(
            now["status"]["servingRevision"],
            before["status"]["servingRevision"]
        );

        // Left alone on request; what serves goes on.
        scene
            .patch(json!({ "metadata": { "annotations": { "crossplane.io/paused": "true" } } }))
            .await?;
        scene
            .until("it is paused", |p| {
                crate::scene::reason(p, "Synced") == "False ReconcilePaused"
            })
            .await?;
        let paused = ends(0, &format!("status provider {name}")).await?;
        assert!(
            paused.stdout.contains("paused\n") && paused.stdout.contains("crossplane.io/paused-"),
            "{paused:?}"
        );
        let update = ends(0, &format!("update provider {name} {second}")).await?;
        assert!(
            update.stderr.contains("is paused: nothing happens until"),
            "{update:?}"
        );
        ends(3, &format!("update provider {name} {second} --wait=90s")).await?;
        scene.delete().await
    })
}

#[test]
fn a_package_that_cannot_be_had_and_ctrl_c() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Configuration", "cli-nowhere");
        let name = scene.name.as_str();
        let late = ends(
            3,
            &format!("install configuration registry.invalid/a/b:v1 {name} --wait=4s"),
        )
        .await?;
        assert!(
            late.stderr.contains("can't be had; nothing of it serves."),
            "{late:?}"
        );
        assert!(
            late.stderr.contains("did not become ready within 4 s"),
            "{late:?}"
        );
        let line = format!("update configuration registry.invalid/a/b:v2 {name} --wait=90s");
        let waiting = Command::new(GANTRY)
            .args(line.split_whitespace())
            .env("KUBECONFIG", scene.world.plane().kubeconfig())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = waiting.id().context("it runs")?.to_string();
        scene
            .until("the change is there", |p| {
                p["spec"]["package"] == "registry.invalid/a/b:v2"
            })
            .await?;
        // The change is made before the waiting begins.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let interrupt = Command::new("kill").args(["-INT", &pid]).status().await?;
        anyhow::ensure!(interrupt.success());
        let ended = waiting.wait_with_output().await?;
        assert_eq!(ended.status.code(), Some(130), "{ended:?}");
        assert!(
            String::from_utf8_lossy(&ended.stderr).contains("nothing is taken back"),
            "{ended:?}"
        );
        assert_eq!(scene.get().await?["spec"]["package"], "registry.invalid/a/b:v2");
        // Nothing was installed, so nothing is asked.
        let gone = ends(0, &format!("uninstall configuration {name} --wait=90s")).await?;
        assert!(gone.stdout.ends_with(" deleted\n"), "{gone:?}");
        assert!(scene.world.get("Configuration", name).await?.is_none());
        Ok(())
    })
}

#[test]
fn activation_by_hand_is_waited_for_and_done() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "cli-hand");
        let name = scene.name.as_str();
        let first = scene.push("v1", &scene.with_crds("v1", 1)).await?;
        let second = scene.push("v2", &scene.with_crds("v2", 1)).await?;
        let waits = ends(3, &format!("install provider {first} {name} --manual --wait=90s")).await?;
        assert!(
            waits.stderr.contains("waits for somebody to activate it"),
            "{waits:?}"
        );
        let told = ends(3, &format!("status provider {name}")).await?;
        assert!(told.stdout.contains("waiting for you\n"), "{told:?}");
        // What it says to do works as it is written.
        let advice = told
            .stdout
            .lines()
            .find_map(|line| line.trim().strip_prefix("do").map(str::trim))
            .context("nothing to do")?;
        let advice = advice.strip_prefix("kubectl ").context("not a kubectl command")?;
        let args: Vec<String> = advice
            .split(' ')
            .map(|word| word.trim_matches('\'').to_owned())
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        scene.world.plane().kubectl(&args).await?;
        scene.settled().await?;
        ends(0, &format!("update provider {name} {second} --wait=90s")).await?;
        scene
            .until("an update is offered", |p| {
                crate::scene::reason(p, "Ready") == "True UpdateAvailable"
            })
            .await?;
        let offered = ends(0, &format!("status provider {name}")).await?;
        assert!(
            offered.stdout.contains("ready, update available\n"),
            "{offered:?}"
        );
        let done = ends(0, &format!("rollback provider {name} --to 2 --wait=90s")).await?;
        assert!(done.stdout.contains("rolled back: revision 2 (v2)"), "{done:?}");
        assert_eq!(scene.active().await?["spec"]["image"], second);
        let back = ends(0, &format!("rollback provider {name} --wait=90s")).await?;
        assert!(back.stdout.contains("revision 1 (v1)"), "{back:?}");
        assert_eq!(scene.active().await?["spec"]["image"], first);
        assert_eq!(
            scene.get().await?["spec"]["package"],
            second,
            "by hand the reference stays"
        );
        scene.delete().await
    })
}

#[test]
fn without_an_operator_it_says_so() -> Result<()> {
    run(async {
        let plane = plane().await?;
        let package = "apiVersion: pkg.crossplane.io/v1\nkind: Provider\nmetadata: {name: cli-alone}\n\
                       spec: {package: r.example.org/a/b:v1}\n";
        plane.apply_yaml(package).await?;
        let ran = gantry_as(&plane.kubeconfig(), "status provider cli-alone").await?;
        assert_eq!(ran.status, 3, "{ran:?}");
        for words in [
            "No operator leads",
            "there is no Lease gantry-system/gantry-operator",
            "Nobody has looked at it",
        ] {
            assert!(ran.stdout.contains(words), "{words}: {ran:?}");
        }
        plane.kubectl(&["delete", "provider", "cli-alone"]).await?;
        Ok(())
    })
}
