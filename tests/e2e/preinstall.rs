//! Packages that flags name, and the question of `helm test`.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;
use testkit::{OperatorOptions, PackageFixture, World, WorldOptions, run};

use crate::OPERATOR;
use crate::scene::{SOON, says};

#[test]
fn packages_of_flags_are_made_and_kept_as_the_flags_say_and_no_further() -> Result<()> {
    run(async {
        let mut world = World::start(WorldOptions::default()).await?;
        let image = |version: &str| {
            PackageFixture::function("flagged")
                .annotation("v", version)
                .build()
        };
        let one = world.push("team/flagged", "v1", &image("1")?).await?;
        let two = world.push("team/flagged", "v2", &image("2")?).await?;
        let with = |world: &World, args: &[String]| {
            OperatorOptions::new(OPERATOR, world.operator_kubeconfig()).args(args.iter().cloned())
        };
        let flag = json!({ "package": one, "name": "flagged", "revisionHistoryLimit": 3 });
        let flags = [
            format!("--function={flag}"),
            format!("--function={}", two.replace("flagged", "absent")),
        ];
        world.replace_operator(Some(with(&world, &flags))).await?;
        let ready = |function: &serde_json::Value| says(function, "Ready", "True");
        let made = world
            .wait_for("Function", "flagged", "it is ready", SOON, ready)
            .await?;
        assert_eq!(made["spec"]["revisionHistoryLimit"], 3);
        let managers = made["metadata"]["managedFields"]
            .as_array()
            .context("managed fields")?;
        assert!(
            managers.iter().any(|m| m["manager"] == "gantry-preinstall"),
            "{managers:#?}"
        );
        // The other, which nobody has, is there all the same; its name is made of the repository.
        assert!(world.get("Function", "team-absent").await?.is_some());

        // What somebody changes stays while the operator runs; the next start sets what the flag names, and no more.
        let edit =
            json!({ "spec": { "package": two, "revisionHistoryLimit": 5, "packagePullPolicy": "Always" } });
        world.patch("Function", "flagged", edit).await?;
        let follows =
            |f: &serde_json::Value| f["status"]["currentIdentifier"] == *two && says(f, "Ready", "True");
        world
            .wait_for("Function", "flagged", "it follows", SOON, follows)
            .await?;
        let flags = [format!("--function={flag}")];
        world.replace_operator(Some(with(&world, &flags))).await?;
        let back = |f: &serde_json::Value| f["spec"]["package"] == *one && says(f, "Ready", "True");
        let now = world
            .wait_for("Function", "flagged", "it is set back", SOON, back)
            .await?;
        assert_eq!(now["spec"]["revisionHistoryLimit"], 3);
        assert_eq!(now["spec"]["packagePullPolicy"], "Always");
        // Its flag is gone, it is not.
        assert!(world.get("Function", "team-absent").await?.is_some());

        // One that is ready says so to who asks.
        let address = world.operator()?.probe_addr();
        let ask = |address: String| {
            Command::new(OPERATOR)
                .arg(format!("--ask-ready={address}"))
                .output()
        };
        assert!(ask(address.to_string())?.status.success());
        world.replace_operator(None).await?;
        let answer = ask(address.to_string())?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(
            answer.status.code() == Some(1) && said.contains(&address.to_string()),
            "{said}"
        );
        Ok(())
    })
}

#[test]
fn wrong_packages_in_flags_are_refused_with_a_sentence() -> Result<()> {
    let good = "registry.test/a:v1";
    for (args, part, status) in [
        (vec!["--provider=nimbus".to_owned()], "--provider", 2),
        (vec!["--function={\"package\": 1}".to_owned()], "--function", 2),
        (
            vec![format!(
                "--provider={{\"package\": \"{good}\", \"pullPolicy\": \"Always\"}}"
            )],
            "pullPolicy",
            2,
        ),
        (
            vec![format!("--provider={good}"), format!("--provider={good}")],
            "Provider a is asked for twice",
            1,
        ),
        (vec!["--cache-size=much".to_owned()], "512Mi", 2),
    ] {
        let answer = Command::new(OPERATOR).args(&args).output()?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert_eq!(answer.status.code(), Some(status), "{args:?}: {said}");
        assert!(
            said.contains(part) && said.trim().lines().count() == 1,
            "{args:?}: {said}"
        );
    }
    Ok(())
}
