//! The process: what it refuses to start with, what it shows, how it ends.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use testkit::process::{Process, Spec};
use testkit::world::{NAMESPACE, USER};
use testkit::{AuditMark, Operator, OperatorOptions, PackageFixture, World, WorldOptions};

use crate::OPERATOR;
use crate::state::nothing_was_forbidden;

/// To become true on a busy machine.
const SOON: Duration = Duration::from_secs(90);
/// A stop in good order takes no longer (design: graceful stop).
const GRACEFUL: Duration = Duration::from_secs(10);

/// Runs the operator with these flags until it ends; answers whether it succeeded, and what it said.
async fn refused(args: &[&str]) -> Result<String> {
    refused_with(args, 1).await
}

/// The same, where the exit status matters.
async fn refused_with(args: &[&str], status: i32) -> Result<String> {
    let folder = testkit::folder("refused")?;
    let log = folder.path().join("log");
    let mut spec = Spec::new("gantry-operator", OPERATOR, &log).args(args.iter().copied());
    for (name, value) in [
        ("KUBECONFIG", "/nonexistent/kubeconfig"),
        ("HOME", "/nonexistent"),
    ] {
        spec = spec.env(name, value);
    }
    let process = Process::start(spec)?;
    let ended = process.wait(SOON).await?;
    let said = std::fs::read_to_string(&log)?;
    ensure!(ended.code() == Some(status), "{args:?}: {ended}: {said}");
    ensure!(!said.contains("panicked"), "{args:?}: {said}");
    Ok(said)
}

/// The sentence for people, which is the last line; before it there may be log lines.
fn sentence(said: &str) -> Result<&str> {
    let plain: Vec<&str> = said.lines().filter(|l| !l.starts_with('{')).collect();
    match plain.as_slice() {
        [line] if line.starts_with("gantry-operator: ") => Ok(line),
        _ => anyhow::bail!("not one sentence: {said}"),
    }
}

#[test]
fn what_it_cannot_work_with_is_refused_with_a_sentence() -> Result<()> {
    testkit::run(async {
        for (args, parts) in [
            (
                ["--crossplane-version=banana"].as_slice(),
                ["--crossplane-version", "banana"].as_slice(),
            ),
            (&["--kubeconfig=/nonexistent/file"], &["/nonexistent/file"]),
            (&[], &["/nonexistent/kubeconfig"]),
            (
                &[
                    "--leader-election-lease-duration=1s",
                    "--leader-election-renew-deadline=5s",
                ],
                &["lease duration", "renew deadline"],
            ),
        ] {
            let said = refused(args).await?;
            let sentence = sentence(&said).with_context(|| format!("{args:?}"))?;
            for part in parts {
                ensure!(sentence.contains(part), "{args:?}: {part:?} is not in {sentence}");
            }
        }
        // A wrong command line is one sentence that says which flag, and where help is.
        for (flag, part) in [
            ("--no-such-flag", "unexpected argument"),
            ("--package-runtime=Banana", "Banana"),
            ("--max-concurrent-reconciles=x", "1 to 256"),
            ("--max-concurrent-reconciles=0", "1 to 256"),
            ("--max-concurrent-package-establishers=0", "1 to 64"),
            ("--crds=maybe", "maybe"),
            ("--tag-poll-interval=2", "is not a duration"),
            ("--sync-interval=0s", "at least 1 s"),
            ("--leader-election-lease-duration=soon", "is not a duration"),
            ("--namespace=No_Namespace", "lower-case"),
        ] {
            let said = refused_with(&[flag], 2).await?;
            let sentence = sentence(&said).with_context(|| flag.to_owned())?;
            let name = flag.split('=').next().unwrap_or_default();
            for part in [name, part, "--help"] {
                ensure!(sentence.contains(part), "{flag}: {part:?} is not in {sentence}");
            }
        }
        // Certificates that can't be read are named before anything else is tried.
        let folder = testkit::folder("bundle")?;
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "no certificate")?;
        let damaged = folder.path().join("damaged.pem");
        std::fs::write(
            &damaged,
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        )?;
        for path in [&folder.path().join("missing.pem"), &empty, &damaged] {
            let flag = format!("--ca-bundle-path={}", path.display());
            let said = refused(&[&flag]).await?;
            let sentence = sentence(&said)?;
            let named = sentence.contains(&path.display().to_string()) && sentence.contains("CA bundle");
            ensure!(named, "{sentence}");
        }
        Ok(())
    })
}

#[test]
fn an_api_server_that_is_not_there_is_named() -> Result<()> {
    testkit::run(async {
        let folder = testkit::folder("kubeconfig")?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let server = format!("http://{}", listener.local_addr()?);
        drop(listener);
        let path = folder.path().join("kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{ "name": "x", "cluster": { "server": server } }],
            "users": [{ "name": "x", "user": { "token": "t" } }],
            "contexts": [{ "name": "x", "context": { "cluster": "x", "user": "x" } }],
        });
        std::fs::write(&path, config.to_string())?;
        let path = path.to_string_lossy().into_owned();
        let args = ["--kubeconfig", &path, "--metrics-bind-address=127.0.0.1:0"];
        let said = refused(&[&args[..], &["--health-probe-bind-address=127.0.0.1:0"]].concat()).await?;
        let sentence = sentence(&said)?;
        ensure!(sentence.contains(&server), "{server} is not in {sentence}");
        Ok(())
    })
}

#[test]
fn missing_rights_are_named() -> Result<()> {
    testkit::run(async {
        let world = World::start(WorldOptions::default()).await?;
        let nobody = world
            .plane()
            .service_account_kubeconfig(NAMESPACE, "nobody")
            .await?
            .to_string_lossy()
            .into_owned();
        let own = world.operator_kubeconfig().to_string_lossy().into_owned();
        for (kubeconfig, namespace, parts, absent) in [
            (
                &nobody,
                NAMESPACE,
                [
                    "list, watch customresourcedefinitions.apiextensions.k8s.io;",
                    "list, watch compositions.apiextensions.crossplane.io;",
                    "and 11 more",
                ],
                "in namespace default",
            ),
            (
                &own,
                "elsewhere",
                [
                    "create leases.coordination.k8s.io in namespace elsewhere",
                    "update leases.coordination.k8s.io \"gantry-operator\" in namespace elsewhere",
                    "list, watch secrets in namespace elsewhere",
                ],
                "pkg.crossplane.io",
            ),
        ] {
            let args = ["--kubeconfig", kubeconfig, "--namespace", namespace];
            let said = refused(&args).await?;
            let sentence = sentence(&said)?;
            ensure!(sentence.contains("deploy/rbac.yaml"), "{sentence}");
            for part in parts {
                ensure!(sentence.contains(part), "{part:?} is not in {sentence}");
            }
            ensure!(!sentence.contains(absent), "{absent:?} is in {sentence}");
        }

        // What only some packages need is told, and the rest works.
        let events = ["delete", "rolebinding", "gantry-operator", "-n", "default"];
        world.plane().kubectl(&events).await?;
        let options = OperatorOptions::new(OPERATOR, world.operator_kubeconfig());
        let operator = Operator::start(options).await?;
        let log = operator.log()?;
        let told = log.contains("create events.events.k8s.io in namespace default");
        ensure!(told && operator.is_ready().await, "{log}");
        Ok(())
    })
}

#[test]
fn two_replicas_share_a_store() -> Result<()> {
    testkit::run(async {
        let world = World::start(WorldOptions::default()).await?;
        let folder = testkit::folder("shared-store")?;
        let replica = || {
            let timing = [
                "--leader-election-lease-duration=4s",
                "--leader-election-renew-deadline=3s",
                "--leader-election-retry-period=500ms",
            ];
            OperatorOptions::new(OPERATOR, world.operator_kubeconfig())
                .args(timing)
                .store(folder.path().join("store"))
        };
        let first = Operator::start(replica()).await?;
        let small = PackageFixture::provider("small").crds("small.shared.example.org", 2);
        let reference = world.push("shared/small", "v1", &small.build()?).await?;
        world
            .create_package("Provider", "small", &reference, json!({}))
            .await?;
        installed(&world, "small").await?;
        let second = Operator::start(replica()).await?;

        // The first dies while it fetches and establishes; the second goes on with what is in the store.
        let large = PackageFixture::provider("large")
            .crd_bytes(20_000)
            .crds("large.shared.example.org", 60);
        let large_reference = world.push("shared/large", "v1", &large.build()?).await?;
        let mark = world.plane().audit_mark()?;
        world
            .create_package("Provider", "large", &large_reference, json!({}))
            .await?;
        let at_work = async || Ok((!world.plane().writes_since(mark, USER)?.is_empty()).then_some(()));
        testkit::eventually("the first one is at work", SOON, at_work).await?;
        first.kill()?;
        installed(&world, "large").await?;
        ensure!(second.process().is_running(), "{}", second.log_tail());
        // What the first one fetched the second one has: under Never nobody asks the registry.
        world.delete("Provider", "small").await?;
        world.wait_gone("Provider", "small", SOON).await?;
        let never = json!({ "packagePullPolicy": "Never" });
        world
            .create_package("Provider", "again", &reference, never)
            .await?;
        installed(&world, "again").await?;
        // And a third one joins while the second works.
        let third = Operator::start(replica()).await?;
        installed(&world, "again").await?;
        for operator in [&second, &third] {
            let log = operator.log()?;
            ensure!(!log.contains("content store keeps nothing"), "{log}");
        }
        Ok(())
    })
}

async fn installed(world: &World, name: &str) -> Result<()> {
    world
        .wait_condition("Provider", name, "Ready", "True", SOON)
        .await
        .map(drop)
}

#[test]
fn without_a_store_it_works_and_a_stop_in_the_middle_is_orderly() -> Result<()> {
    testkit::run(async {
        let mut world = World::start(WorldOptions::default()).await?;
        let folder = testkit::folder("store")?;
        // A file where the folder should be: nothing can be made below it, whoever runs this.
        let file = folder.path().join("file");
        std::fs::write(&file, "in the way")?;
        let options = OperatorOptions::new(OPERATOR, world.operator_kubeconfig());
        world
            .replace_operator(Some(options.clone().store(file.join("store"))))
            .await?;
        let log = world.operator()?.log()?;
        ensure!(log.contains("content store keeps nothing"), "no warning: {log}");
        let small = PackageFixture::provider("small").crds("small.process.example.org", 3);
        let reference = world.push("process/small", "v1", &small.build()?).await?;
        world
            .create_package("Provider", "small", &reference, json!({}))
            .await?;
        installed(&world, "small").await?;
        shows(world.operator()?).await?;

        // Asked to stop in the middle of a hundred CRDs it ends in time, and the next one goes on where it
        // was.
        let large = PackageFixture::provider("large")
            .crd_bytes(20_000)
            .crds("large.process.example.org", 100);
        let reference = world.push("process/large", "v1", &large.build()?).await?;
        let mark = world.plane().audit_mark()?;
        world
            .create_package("Provider", "large", &reference, json!({}))
            .await?;
        made(&world, mark, 10).await?;
        let asked = Instant::now();
        let operator = world.operator()?;
        let ended = operator.term(SOON).await?;
        ensure!(asked.elapsed() < GRACEFUL, "ended after {:?}", asked.elapsed());
        ensure!(ended.success(), "{ended}: {}", operator.log_tail());
        ensure!(
            made(&world, mark, 10).await? < 100,
            "it was not in the middle of its work"
        );
        world.replace_operator(Some(options)).await?;
        installed(&world, "large").await?;
        let made = made(&world, mark, 100).await?;
        ensure!(made == 100, "{made} of 100 CRDs were made");
        // The answer to a request that was under way at the stop may have been lost, but nothing is made twice.
        let mut answered = HashSet::new();
        for event in world.plane().writes_since(mark, USER)? {
            if event.verb == "create" && event.code == 201 {
                ensure!(
                    answered.insert(event.name.clone()),
                    "{} was made twice",
                    event.name
                );
            }
        }

        // Nothing of all this was forbidden: `deploy/rbac.yaml` is enough.
        nothing_was_forbidden(&world)
    })
}

/// How many CRDs of the large package were asked for since, once it are at least so many.
async fn made(world: &World, mark: AuditMark, least: usize) -> Result<usize> {
    let look = async || {
        let writes = world.plane().writes_since(mark, USER)?;
        let made = writes
            .iter()
            .filter(|e| e.verb == "create" && e.name.contains(".large.process."));
        let names: HashSet<&str> = made.map(|e| e.name.as_str()).collect();
        Ok(Some(names.len()).filter(|n| *n >= least))
    };
    testkit::eventually("CRDs are made", SOON, look).await
}

/// Probes and metrics.
async fn shows(operator: &Operator) -> Result<()> {
    ensure!(operator.is_ready().await, "not ready");
    let live = get(operator.probe_addr(), "/livez").await?;
    ensure!(live.starts_with("HTTP/1.1 200"), "{live}");
    let metrics = operator.metrics().await?;
    ensure!(
        metrics.trim_end().ends_with("# EOF"),
        "not OpenMetrics: {metrics}"
    );
    let names = metrics.lines().filter_map(|l| l.strip_prefix("# TYPE "));
    let names: Vec<&str> = names.filter_map(|l| l.split(' ').next()).collect();
    let foreign: Vec<_> = names.iter().filter(|n| !n.starts_with("gantry_")).collect();
    ensure!(foreign.is_empty() && names.len() > 8, "{foreign:?} of {names:?}");
    for part in [
        "gantry_registry_requests",
        "gantry_build_info",
        "controller=\"manager\"",
    ] {
        ensure!(metrics.contains(part), "{part} is not in {metrics}");
    }
    Ok(())
}

/// One bare HTTP request.
async fn get(addr: std::net::SocketAddr, path: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(addr).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
