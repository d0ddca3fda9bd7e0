//! What the command line builds and pushes, seen by a client that is not ours.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use testkit::{Registry, Tools};

const GANTRY: &str = env!("CARGO_BIN_EXE_gantry-under-test");

/// Runs a program to its end; its standard output.
fn run(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Result<String> {
    let output = Command::new(program.as_ref()).args(args).output()?;
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    anyhow::ensure!(
        output.status.success(),
        "{:?} {args:?}: {stderr}",
        program.as_ref()
    );
    Ok(stdout.trim().to_owned())
}

#[test]
fn a_built_package_is_pushed_and_another_client_finds_it_valid() -> Result<()> {
    testkit::run(async {
        let registry = Registry::distribution().await?;
        let folder = testkit::folder("built")?;
        let example = testkit::tools::workspace().join("examples/provider-nimbus");
        let example = example.to_str().context("the path of the examples is not text")?;
        let crane = Tools::find()?.path("crane");
        let crane = |args: &[&str]| run(&crane, args);
        for (tag, flags) in [("docker", &[][..]), ("oci", &["--oci"][..])] {
            let mut files = vec![];
            for n in 0..2 {
                let file = folder.path().join(format!("{tag}-{n}.xpkg"));
                let file = file.to_str().context("the path is not text")?.to_owned();
                let mut args = vec!["build", "-f", example, "--package-file", &file];
                args.extend(flags);
                run(GANTRY, &args)?;
                files.push(file);
            }
            assert_eq!(
                std::fs::read(&files[0])?,
                std::fs::read(&files[1])?,
                "same input, same bytes"
            );
            let reference = format!("{}/acme/provider-nimbus:{tag}", registry.host());
            run(GANTRY, &["push", &reference, "-f", &files[0]])?;
            crane(&["validate", "--remote", &reference])?;
            assert_eq!(
                crane(&["digest", &reference])?,
                run(GANTRY, &["digest", &reference])?
            );

            // The golden layout: one layer marked as the package's, in manifest and config alike.
            let manifest: Value = serde_json::from_str(&crane(&["manifest", &reference])?)?;
            let layers = manifest["layers"].as_array().context("no layers")?;
            assert_eq!(
                layers[0]["annotations"]["io.crossplane.xpkg"], "base",
                "{manifest}"
            );
            let digest = layers[0]["digest"].as_str().context("no digest")?;
            let config: Value = serde_json::from_str(&crane(&["config", &reference])?)?;
            assert_eq!(
                config["config"]["Labels"][format!("io.crossplane.xpkg:{digest}")],
                "base",
                "{config}"
            );
            let files = run(
                "sh",
                &[
                    "-c",
                    &format!(
                        "'{}' export '{reference}' - | tar -tv",
                        Tools::find()?.path("crane").display()
                    ),
                ],
            )?;
            assert!(
                files
                    .lines()
                    .any(|line| line.starts_with("-rw-r--r--") && line.ends_with(" package.yaml")),
                "{files}"
            );
        }
        Ok(())
    })
}
