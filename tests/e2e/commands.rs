//! The command line in a cluster: install, update, status, history, rollback, uninstall, list.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testkit::{Registry, Tools, eventually, run};
use tokio::process::Command;

use crate::scene::{SOON, Scene, name};
use crate::world;

pub(crate) const GANTRY: &str = env!("CARGO_BIN_EXE_gantry-under-test");

/// What one run did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The result as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("{self:?}"))
    }

    /// The one sentence of a refusal.
    pub(crate) fn sentence(&self) -> &str {
        let sentences: Vec<&str> = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("gantry: "))
            .collect();
        assert!(sentences.len() == 1 && self.stdout.is_empty(), "{self:?}");
        sentences[0]
    }
}

/// Runs `gantry` as whom the kubeconfig says.
pub(crate) async fn gantry_as(kubeconfig: &Path, line: &str) -> Result<Ran> {
    let output = Command::new(GANTRY)
        .args(line.split_whitespace())
        .env("KUBECONFIG", kubeconfig)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .output()
        .await?;
    let status = output.status.code().context("gantry was ended by a signal")?;
    Ok(Ran {
        status,
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

/// Runs `gantry` in the shared world.
pub(crate) async fn gantry(line: &str) -> Result<Ran> {
    gantry_as(&world().await?.plane().kubeconfig(), line).await
}

/// Runs `gantry` with a person at the terminal, who answers so.
async fn answering(line: &str, answer: &str) -> Result<Ran> {
    let kubeconfig = world().await?.plane().kubeconfig();
    let mut args: Vec<std::ffi::OsString> = vec!["gantry".into()];
    args.extend(line.split_whitespace().map(Into::into));
    args.extend(["--kubeconfig".into(), kubeconfig.into()]);
    let answer = answer.to_owned();
    // It has a runtime of its own.
    let run = tokio::task::spawn_blocking(move || {
        let surroundings =
            ::cli::Surroundings::new("/".into(), |_| None).answering(move || Some(answer.clone()));
        let (mut stdout, mut stderr) = (vec![], vec![]);
        let status = ::cli::run(args, &surroundings, &mut stdout, &mut stderr);
        (status, stdout, stderr)
    });
    let (status, stdout, stderr) = run.await?;
    Ok(Ran {
        status: status.into(),
        stdout: String::from_utf8(stdout)?,
        stderr: String::from_utf8(stderr)?,
    })
}

/// Runs what must end so.
pub(crate) async fn ends(status: i32, line: &str) -> Result<Ran> {
    let ran = gantry(line).await?;
    assert_eq!(ran.status, status, "gantry {line}: {ran:?}");
    Ok(ran)
}

#[test]
fn a_package_goes_through_its_life_and_back_with_the_registry_gone() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "cli-life");
        let name = scene.name.as_str();
        let registry = Registry::distribution().await?;
        let v1 = scene.with_crds("v1", 2).build()?;
        let v2 = scene.with_crds("v2", 3).build()?;
        let first = registry.push(name, "v1", &v1).await?;
        let second = registry.push(name, "v2", &v2).await?;

        // The name is made of the repository, as Crossplane's tool makes it.
        let dry = ends(0, &format!("install provider {first} --dry-run")).await?;
        let subject = format!("provider.pkg.crossplane.io/{name}");
        assert_eq!(dry.stdout, format!("{subject} created: {first} (dry run)\n"));
        assert!(scene.world.get("Provider", name).await?.is_none());
        let installed = ends(
            0,
            &format!("install Providers {first} --history-limit 3 --wait=90s"),
        )
        .await?;
        assert_eq!(installed.stdout, format!("{subject} created: {first}\n"));
        assert!(
            installed.stderr.lines().all(|line| line.starts_with("Provider ")),
            "{installed:?}"
        );
        let package = scene.get().await?;
        assert_eq!(package["spec"]["revisionHistoryLimit"], 3);
        let managers = package["metadata"]["managedFields"].as_array().unwrap();
        assert!(
            managers
                .iter()
                .any(|m| m["manager"] == "gantry-cli" && m["fieldsV1"]["f:spec"].is_object())
        );
        let again = ends(1, &format!("install provider {first}")).await?;
        assert!(
            again
                .sentence()
                .contains("exists already; gantry update provider"),
            "{again:?}"
        );

        let status = ends(0, &format!("status provider {name}")).await?;
        assert!(
            status.stdout.starts_with(&format!("Provider {name}: ready\n")),
            "{status:?}"
        );
        assert!(status.stdout.contains("revision 1, "), "{status:?}");
        assert!(!status.stdout.contains('\x1b'), "no colour without a terminal");
        let rows = ends(0, &format!("list provider/{name} -o json")).await?.json()?;
        assert_eq!(rows[0]["ready"], "True");
        assert_eq!(
            (rows[0]["version"].as_str(), rows[0]["digest"].as_str()),
            (Some("v1"), Some(&*v1.digest()))
        );

        let updated = ends(0, &format!("update provider {name} {second} --wait=90s")).await?;
        assert_eq!(updated.stdout, format!("{subject} updated: {second}\n"));
        let same = ends(0, &format!("update provider {second}")).await?;
        assert_eq!(same.stdout, format!("{subject} unchanged: {second}\n"));
        let rows = ends(0, &format!("history provider {name} -o json"))
            .await?
            .json()?;
        let column = |key: &str| {
            rows.as_array()
                .unwrap()
                .iter()
                .map(|row| row[key].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(column("number"), [1, 2]);
        assert_eq!(column("digest"), [v1.digest(), v2.digest()]);
        assert_eq!(column("serving"), [false, true]);
        assert_eq!(column("wanted"), [false, true]);
        assert_eq!(column("served"), [true, true]);
        assert_eq!(column("state"), ["Inactive", "Active"]);

        // Back, and forth again, without the registry.
        drop(registry);
        let dry = ends(0, &format!("rollback provider {name} --dry-run")).await?;
        assert!(
            dry.stdout.contains("rolled back: revision 1 (v1) (dry run)"),
            "{dry:?}"
        );
        assert_eq!(scene.get().await?["spec"]["package"], second);
        let back = ends(0, &format!("rollback provider {name} --wait=90s")).await?;
        assert_eq!(back.stderr.matches("warning").count(), 0, "{back:?}");
        let package = scene.get().await?;
        let asks = package["spec"]["package"].as_str().unwrap();
        assert!(asks.ends_with(&format!("/{name}@{}", v1.digest())), "{asks}");
        let active = scene.active().await?;
        assert_eq!(
            active["metadata"]["annotations"]["gantry.dev/digest"],
            v1.digest()
        );
        let text = ends(0, &format!("history provider/{name}")).await?.stdout;
        let last = text.lines().last().unwrap();
        assert!(last.starts_with('3') && last.ends_with("serves"), "{text}");
        ends(0, &format!("rollback provider {name} --wait=90s")).await?;
        assert_eq!(
            scene.active().await?["metadata"]["annotations"]["gantry.dev/digest"],
            v2.digest()
        );
        let none = ends(1, &format!("rollback provider {name} --to 99")).await?;
        assert!(
            none.sentence().contains("it has no revision 99; kept are 3, 4"),
            "{none:?}"
        );
        let noop = ends(0, &format!("rollback provider {name} --to 4")).await?;
        assert!(noop.stdout.contains("unchanged: revision 4"), "{noop:?}");

        // What goes with it is told and not lost by mistake.
        scene.make_thing(0, "precious").await?;
        let refused = ends(1, &format!("uninstall provider {name}")).await?;
        assert!(
            refused
                .stderr
                .contains("goes: 3 CRDs with 1 custom resource, 2 revisions."),
            "{refused:?}"
        );
        assert!(refused.stderr.contains(&scene.crd_name(0)), "{refused:?}");
        assert!(
            refused
                .sentence()
                .contains("1 custom resource would go with it; say --yes"),
            "{refused:?}"
        );
        let told = ends(0, &format!("uninstall provider {name} --dry-run -o yaml")).await?;
        assert!(told.stdout.contains("resources: 1"), "{told:?}");
        let answered = answering(&format!("uninstall provider {name}"), "yes\n").await?;
        assert!(
            answered.stderr.contains("Write its name to confirm: "),
            "{answered:?}"
        );
        assert!(
            answered.status == 1 && answered.stderr.contains("that was not its name"),
            "{answered:?}"
        );
        assert!(scene.get().await?["metadata"]["deletionTimestamp"].is_null());
        let gone = answering(&format!("uninstall provider {name}"), &format!("{name}\n")).await?;
        assert_eq!((gone.status, gone.stdout), (0, format!("{subject} deleted\n")));
        scene.world.wait_gone("Provider", name, SOON).await?;
        for n in 0..3 {
            scene.crd_going(&scene.crd_name(n)).await?;
        }
        Ok(())
    })
}

#[test]
fn objects_are_kept_on_request() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Provider", "cli-keep");
        scene.install("v1", &scene.with_crds("v1", 1)).await?;
        let make = async || Ok(scene.make_thing(0, "kept").await.ok());
        eventually("a custom resource can be made", SOON, make).await?;
        let uid = scene.crd(&scene.crd_name(0)).await?["metadata"]["uid"].clone();
        let kept = ends(
            0,
            &format!("uninstall provider {} --keep-objects --wait=90s", scene.name),
        )
        .await?;
        assert!(
            kept.stdout.ends_with("deleted, its objects are kept\n"),
            "{kept:?}"
        );
        assert!(scene.world.get("Provider", &scene.name).await?.is_none());
        assert!(scene.revisions().await?.is_empty());
        let free = async || {
            let crd = scene.crd(&scene.crd_name(0)).await?;
            assert!(crd["metadata"]["uid"] == uid && crd["metadata"]["deletionTimestamp"].is_null());
            Ok(crd["metadata"]["ownerReferences"].is_null().then_some(()))
        };
        eventually("nobody owns the CRD", SOON, free).await?;
        let resource = format!("thing0s.{}", scene.group());
        scene.world.plane().kubectl(&["get", &resource, "kept"]).await?;
        scene
            .world
            .delete("CustomResourceDefinition", &scene.crd_name(0))
            .await
    })
}

#[test]
fn somebody_else_who_owns_the_reference_is_named() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Function", "cli-gitops");
        let first = scene.push("v1", &scene.fixture("v1")).await?;
        let second = scene.push("v2", &scene.fixture("v2")).await?;
        let object = json!({
            "apiVersion": "pkg.crossplane.io/v1", "kind": "Function",
            "metadata": { "name": scene.name }, "spec": { "package": first },
        });
        let plane = scene.world.plane();
        let args = [
            "apply",
            "--server-side",
            "--field-manager",
            "argocd-controller",
            "-f",
            "-",
        ];
        let applied = plane.try_kubectl(&args, Some(&object.to_string())).await?;
        anyhow::ensure!(applied.success, "{applied:?}");
        scene.settled().await?;
        // The first change takes the field over, so that the question comes before it.
        for line in [
            format!("uninstall function {} --dry-run", scene.name),
            format!("update function {} {second}", scene.name),
        ] {
            let ran = ends(0, &line).await?;
            assert!(
                ran.stderr.contains("warning: ") && ran.stderr.contains("field manager argocd-controller"),
                "{ran:?}"
            );
        }
        scene.delete().await
    })
}

#[test]
fn bad_input_gets_one_sentence() -> Result<()> {
    run(async {
        let world = world().await?;
        for (status, line, words) in [
            (
                2,
                "status pod x",
                "is no kind of package; write provider, configuration or function",
            ),
            (2, "history provider", "which provider? write provider NAME"),
            (2, "status provider/a b", "two names are given"),
            (
                2,
                "install provider r.example.org/a/b:v1 --wait=soon",
                "is not a duration",
            ),
            (
                2,
                "install configuration r.example.org/a/b:v1 --runtime-config x",
                "leave --runtime-config out",
            ),
            (2, "update provider nimbus v2", "which version?"),
            (2, "list -o xml", "invalid value 'xml'"),
            (
                1,
                "status provider no-such-package",
                "there is no Provider \"no-such-package\"; gantry list",
            ),
            (1, "rollback function no-such-package", "there is no Function"),
            (1, "uninstall function no-such-package", "there is no Function"),
            (
                1,
                "install provider nimbus:v1 x",
                "is not a reference of a package",
            ),
            (1, "install provider localhost:5000/a:v1", "must be written out"),
            (
                1,
                "list --kubeconfig /nowhere",
                "kubeconfig /nowhere cannot be used",
            ),
            (1, "list --context nowhere", "nowhere"),
        ] {
            let ran = ends(status, line).await?;
            assert!(ran.sentence().contains(words), "{line}: {ran:?}");
            assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        }
        // No rights: verb and resource are named.
        let plane = world.plane();
        plane
            .kubectl(&["create", "serviceaccount", "nobody", "-n", "default"])
            .await?;
        let nobody = plane.service_account_kubeconfig("default", "nobody").await?;
        for (line, words) in [
            ("list", "cannot list resource \"providers\""),
            ("status provider x", "cannot get resource \"providers\""),
            (
                "install provider r.example.org/a/b:v1",
                "cannot create resource \"providers\"",
            ),
        ] {
            let ran = gantry_as(&nobody, line).await?;
            assert!(
                ran.status == 1 && ran.sentence().contains(words),
                "{line}: {ran:?}"
            );
        }
        // No cluster.
        let folder = testkit::folder("nowhere")?;
        let nowhere = folder.path().join("kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{ "name": "x", "cluster": { "server": "http://127.0.0.1:1" } }],
            "contexts": [{ "name": "x", "context": { "cluster": "x", "user": "x" } }],
            "users": [{ "name": "x", "user": {} }],
        });
        std::fs::write(&nowhere, config.to_string())?;
        let ran = gantry_as(&nowhere, "status").await?;
        assert!(
            ran.status == 1 && ran.sentence().contains("127.0.0.1:1/ does not answer"),
            "{ran:?}"
        );
        Ok(())
    })
}

#[test]
fn kubectl_finds_it_and_pipes_may_close() -> Result<()> {
    run(async {
        let scene = Scene::new(world().await?, "Function", "cli-plugin");
        let (reference, _) = scene.install("v1", &scene.fixture("v1")).await?;
        let folder = testkit::folder("plugin")?;
        std::os::unix::fs::symlink(GANTRY, folder.path().join("kubectl-gantry"))?;
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH")?);
        let kubectl = Tools::find()?.path("kubectl");
        let plugin = async |args: &[&str]| {
            let output = Command::new(&kubectl)
                .args(args)
                .env("KUBECONFIG", scene.world.plane().kubeconfig())
                .env("PATH", &path)
                .output()
                .await?;
            anyhow::ensure!(output.status.success(), "{output:?}");
            anyhow::Ok(String::from_utf8(output.stdout)?)
        };
        let listed = plugin(&["gantry", "list", "functions", "-o", "wide"]).await?;
        let line = listed
            .lines()
            .find(|line| line.contains(&scene.name))
            .context("it is not listed")?;
        assert!(line.ends_with(&reference), "{line}");
        let names = plugin(&["gantry", "list", "functions", "-o", "name"]).await?;
        assert!(
            names.contains(&format!("function.pkg.crossplane.io/{}\n", scene.name)),
            "{names}"
        );
        let help = plugin(&["gantry", "status", "--help"]).await?;
        assert!(help.contains("Usage: kubectl gantry status"), "{help}");
        for shell in ["bash", "zsh", "fish"] {
            let script = ends(0, &format!("completion {shell}")).await?.stdout;
            assert!(script.contains("rollback"), "{shell}");
        }
        let line = format!(
            "set -o pipefail; '{GANTRY}' list -o json | true; echo $?; '{GANTRY}' completion bash | bash -n"
        );
        let piped = Command::new("bash")
            .args(["-c", &line])
            .env("KUBECONFIG", scene.world.plane().kubeconfig())
            .output()
            .await?;
        assert_eq!(String::from_utf8_lossy(&piped.stderr), "", "{piped:?}");
        assert_eq!(String::from_utf8_lossy(&piped.stdout), "0\n", "{piped:?}");
        assert_eq!(name(&scene.get().await?), scene.name);
        scene.delete().await
    })
}
