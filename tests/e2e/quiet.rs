//! Idle and restarted, the operator writes nothing but its Lease (design §3.2, §6).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use testkit::world::USER;
use testkit::{AuditEvent, Operator, OperatorOptions, PackageFixture, Registry, World, WorldOptions};

use crate::OPERATOR;
use crate::state::nothing_was_forbidden;

/// For one package to reach its state on a busy machine.
const SOON: Duration = Duration::from_secs(120);
/// Nothing was written for this long: it has settled.
const CALM: Duration = Duration::from_secs(8);
/// How long nothing may be written then. Polls happen meanwhile.
const QUIET: Duration = Duration::from_secs(60);

/// Packages in every state that lasts: healthy, polled, with something missing, unknown, refused,
/// unreachable.
struct Scene {
    world: World,
    /// Where one package comes from that can't be had any more.
    registry: Registry,
    store: tempfile::TempDir,
    objects: Vec<String>,
}

impl Scene {
    fn options(world: &World, store: &tempfile::TempDir) -> OperatorOptions {
        OperatorOptions::new(OPERATOR, world.operator_kubeconfig())
            .store(store.path())
            .args(["--tag-poll-interval=5s", "--leader-election-lease-duration=4s"])
            .args([
                "--leader-election-renew-deadline=3s",
                "--leader-election-retry-period=1s",
            ])
    }

    async fn start() -> Result<Self> {
        let (world, registry) =
            tokio::try_join!(World::start(WorldOptions::default()), Registry::distribution())?;
        let mut scene = Self {
            world,
            registry,
            store: testkit::folder("store")?,
            objects: vec![],
        };
        let options = Self::options(&scene.world, &scene.store);
        scene.world.replace_operator(Some(options)).await?;
        scene.fill().await?;
        Ok(scene)
    }

    async fn fill(&mut self) -> Result<()> {
        let Self {
            world,
            registry,
            objects,
            ..
        } = self;
        let good = PackageFixture::provider("good").crds("good.quiet.example.org", 5);
        let polled = PackageFixture::provider("polled").crds("polled.quiet.example.org", 3);
        let lonely = PackageFixture::provider("lonely")
            .crd("lonely.quiet.example.org", "Thing")
            .depends_on("Provider", "registry.invalid/acme/absent", ">=v1.0.0");
        let composed = PackageFixture::configuration("composed")
            .xrd("composed.quiet.example.org", "Cluster")
            .composition("composed-quiet", "composed.quiet.example.org", "Cluster");
        let thief = PackageFixture::provider("thief").crds("good.quiet.example.org", 1);
        let too_new = PackageFixture::provider("too-new")
            .crd("new.quiet.example.org", "Thing")
            .crossplane(">=v99.0.0");
        let away = PackageFixture::provider("away").crd("away.quiet.example.org", "Thing");
        for fixture in [&good, &polled, &lonely] {
            objects.extend(fixture.crd_names());
        }
        objects.extend([
            "xclusters.composed.quiet.example.org".to_owned(),
            "composed-quiet".to_owned(),
        ]);

        let always = json!({ "packagePullPolicy": "Always" });
        let mut packages = vec![];
        for (kind, name, fixture, spec) in [
            ("Provider", "good", &good, json!({})),
            ("Provider", "polled", &polled, always.clone()),
            ("Provider", "lonely", &lonely, json!({})),
            ("Configuration", "composed", &composed, json!({})),
        ] {
            let reference = world
                .push(&format!("quiet/{name}"), "v1", &fixture.build()?)
                .await?;
            world.create_package(kind, name, &reference, spec).await?;
            packages.push((kind, name));
        }
        let reference = registry.push("quiet/away", "v1", &away.build()?).await?;
        world
            .create_package("Provider", "away", &reference, always.clone())
            .await?;
        packages.push(("Provider", "away"));
        for (kind, name) in packages {
            world.wait_condition(kind, name, "Ready", "True", SOON).await?;
        }
        // An upgrade that is refused while the old revision serves.
        let reference = world.push("quiet/polled", "v2", &too_new.build()?).await?;
        world
            .patch("Provider", "polled", json!({ "spec": { "package": reference } }))
            .await?;

        registry.stop()?;
        let reference = world.push("quiet/thief", "v1", &thief.build()?).await?;
        world
            .create_package("Provider", "thief", &reference, json!({}))
            .await?;
        let unknown = world.registry().reference("quiet/good", "no-such-tag");
        world
            .create_package("Provider", "unknown", &unknown, always.clone())
            .await?;
        let gone = registry.reference("quiet/away", "v2");
        world
            .create_package("Provider", "unreachable", &gone, json!({}))
            .await?;
        for name in ["polled", "thief"] {
            world
                .wait_condition("Provider", name, "Stalled", "True", SOON)
                .await?;
        }
        world
            .wait_condition("Provider", "polled", "Healthy", "True", SOON)
            .await?;
        for name in ["unknown", "unreachable"] {
            world
                .wait_condition("Provider", name, "Installed", "False", SOON)
                .await?;
        }
        world
            .wait_condition("Provider", "away", "UpToDate", "Unknown", SOON)
            .await?;
        world
            .wait_condition("Provider", "away", "Healthy", "True", SOON)
            .await?;
        Ok(())
    }

    /// Waits until nothing was written for a while.
    async fn settle(&self) -> Result<()> {
        let start = Instant::now();
        let mut mark = self.world.plane().audit_mark()?;
        let mut since = Instant::now();
        let mut writes = vec![];
        while since.elapsed() < CALM {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let next = self.world.plane().audit_mark()?;
            let new = self.world.plane().writes_since(mark, USER)?;
            if !new.is_empty() {
                writes.extend(new);
                since = Instant::now();
                mark = next;
            }
            if start.elapsed() > SOON {
                bail!("still writing after {SOON:?}:\n{}", list(&writes));
            }
        }
        Ok(())
    }

    /// Fails if anything is written for a minute.
    async fn stays_quiet(&self) -> Result<()> {
        let mark = self.world.plane().audit_mark()?;
        tokio::time::sleep(QUIET).await;
        let events = self.world.plane().audit_since(mark)?;
        let leases = events
            .iter()
            .filter(|e| e.user == USER && e.is_lease() && e.is_write());
        assert!(leases.count() > 10, "it lives: the lease is renewed");
        let writes = self.world.plane().writes_since(mark, USER)?;
        if !writes.is_empty() {
            let log = self.world.operator()?.log_tail();
            bail!("idle, it wrote:\n{}\n{log}", list(&writes));
        }
        Ok(())
    }

    /// Specs, statuses and versions of everything that could have been written.
    async fn versions(&self) -> Result<BTreeMap<String, Value>> {
        let mut all = BTreeMap::new();
        for kind in [
            "Provider",
            "Configuration",
            "ProviderRevision",
            "ConfigurationRevision",
        ] {
            for object in self.world.list(kind, "").await? {
                let name = format!(
                    "{kind} {}",
                    object["metadata"]["name"].as_str().unwrap_or_default()
                );
                all.insert(name, object["metadata"]["resourceVersion"].clone());
            }
        }
        Ok(all)
    }
}

fn list(events: &[AuditEvent]) -> String {
    let lines = events
        .iter()
        .map(|e| format!("{} {} {} {}", e.at, e.verb, e.code, e.uri));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn idle_and_restarted_it_writes_nothing_but_its_lease() -> Result<()> {
    testkit::run(async {
        tokio::try_join!(idle(), restarted())?;
        Ok(())
    })
}

async fn idle() -> Result<()> {
    let scene = Scene::start().await?;
    scene.settle().await?;
    scene.stays_quiet().await
}

async fn restarted() -> Result<()> {
    let mut scene = Scene::start().await?;
    scene.settle().await?;
    let before = scene.versions().await?;
    scene.world.replace_operator(None).await?;
    let mark = scene.world.plane().audit_mark()?;
    let started = Instant::now();
    let options = Scene::options(&scene.world, &scene.store);
    scene.world.replace_operator(Some(options)).await?;
    let ready = started.elapsed();
    tokio::time::sleep(QUIET).await;

    let writes = scene.world.plane().writes_since(mark, USER)?;
    let operator = scene.world.operator()?;
    if !writes.is_empty() {
        bail!("restarted, it wrote:\n{}\n{}", list(&writes), operator.log()?);
    }
    assert_eq!(scene.versions().await?, before);
    assert!(ready < Duration::from_secs(15), "ready {ready:?} after the start");
    reads(&scene, operator, mark)
}

/// One list per kind, and no object of a package is read on its own.
fn reads(scene: &Scene, operator: &Operator, mark: testkit::AuditMark) -> Result<()> {
    let events = scene.world.plane().audit_since(mark)?;
    let mut lists: BTreeMap<&str, usize> = BTreeMap::new();
    for event in events.iter().filter(|e| e.user == USER) {
        let initial = event.verb == "watch" && event.uri.contains("sendInitialEvents=true");
        let done = event.stage == "ResponseComplete";
        if (event.verb == "list" && done) || (initial && !done) {
            *lists.entry(event.resource.as_str()).or_default() += 1;
        }
        if event.verb == "get" && scene.objects.contains(&event.name) {
            bail!("it read {} ({})\n{}", event.name, event.uri, operator.log()?);
        }
    }
    let crds = lists.get("customresourcedefinitions.apiextensions.k8s.io");
    assert_eq!(crds.copied(), Some(1), "{lists:?}");
    let often: Vec<_> = lists.iter().filter(|(_, n)| **n > 1).collect();
    assert!(often.is_empty(), "listed more than once: {often:?}");
    nothing_was_forbidden(&scene.world)
}
