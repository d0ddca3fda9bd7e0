//! A release of the chart with pods, from the image, by both versions of Helm, with the content store on each kind of
//! volume. One life after another on one node: a start costs more than a step.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gantry_tests::image;
use gantry_tests::release::Release;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, PostParams};
use serde_json::{Value, json};
use testkit::helm::VERSIONS;
use testkit::wait::eventually;
use testkit::world::{NAMESPACE, USER};
use testkit::{Node, PackageFixture, World, run};

use super::world;
use crate::OPERATOR;
use crate::chart_releases::{established, serves};
use crate::state::nothing_was_forbidden_but;

/// How long what takes a second or two may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// How long nothing may be written after an operator is ready again.
const QUIET: Duration = Duration::from_secs(2);
/// A CRD without custom resources, which somebody deletes.
const SPARE: &str = "spares.chart.example.org";
/// Claim, volume and ConfigMap with a content store.
const STORE: &str = "store";
/// What an operator says whose store can't be written.
const READ_ONLY: &str = "content store keeps nothing";

type Interval = (Timestamp, Timestamp);

/// What all releases share.
struct Story<'a> {
    world: &'a World,
    node: &'a Node,
    /// Two versions of one package: by a name that the cluster's DNS knows and a tag, and by digest.
    one: String,
    two: String,
    /// Another package, by digest.
    second: String,
}

impl<'a> Story<'a> {
    /// Pushes the packages.
    async fn begin(world: &'a World) -> Result<Self> {
        let node = world.node()?;
        let content = |label: &str| {
            PackageFixture::provider("nimbus")
                .version_label(label)
                .crd("chart.example.org", "Thing")
                .crd("chart.example.org", "Spare")
                .build()
        };
        let registry = node.registry();
        registry.push("nimbus", "v1", &content("v1")?).await?;
        let two = content("v2")?;
        registry.push("nimbus", "v2", &two).await?;
        let second = PackageFixture::provider("second").crd("second.example.org", "Other");
        let second = second.build()?;
        registry.push("second", "v1", &second).await?;
        Ok(Self {
            world,
            node,
            one: format!("{}/nimbus:v1", image::REGISTRY),
            two: registry.reference("nimbus", &two.digest()),
            second: registry.reference("second", &second.digest()),
        })
    }

    /// Makes a ConfigMap of a claim's files; answers what puts them in place.
    async fn copy_store(&self, claimed: &Path) -> Result<Value> {
        let (mut data, mut items) = (BTreeMap::new(), Vec::new());
        for path in files(claimed)? {
            let key = path.replace('/', ".");
            let bytes = std::fs::read(claimed.join(&path))?;
            data.insert(key.clone(), ByteString(bytes));
            items.push(json!({ "key": key, "path": path }));
        }
        ensure!(data.contains_key("version"), "no content store: {items:?}");
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(STORE.to_owned()),
                ..ObjectMeta::default()
            },
            binary_data: Some(data),
            ..ConfigMap::default()
        };
        let maps: Api<ConfigMap> = Api::namespaced(self.node.plane().client(), NAMESPACE);
        maps.create(&PostParams::default(), &map).await?;
        Ok(json!(items))
    }

    /// Deletes a CRD of the package, which comes back.
    async fn repaired(&self) -> Result<()> {
        let uid = async || -> Result<Option<String>> {
            let crd = self.world.get("CustomResourceDefinition", SPARE).await?;
            let living = crd.filter(|crd| crd["metadata"]["deletionTimestamp"].is_null());
            Ok(living.and_then(|crd| crd["metadata"]["uid"].as_str().map(str::to_owned)))
        };
        let before = uid().await?.context("the CRD is not there")?;
        self.world.delete("CustomResourceDefinition", SPARE).await?;
        let back = eventually("the deleted CRD is back", SOON, async || {
            Ok(uid().await?.filter(|uid| *uid != before).map(|_| ()))
        });
        match back.await {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(self.world.dump("Provider", "nimbus").await)),
        }
    }

    /// Has the other package, and its CRD.
    async fn install_second(&self) -> Result<()> {
        self.world
            .create_package("Provider", "second", &self.second, json!({}))
            .await?;
        self.world
            .wait_condition("Provider", "second", "Ready", "True", SOON)
            .await?;
        Ok(())
    }

    async fn remove_second(&self) -> Result<()> {
        self.world.delete("Provider", "second").await?;
        let crd = "others.second.example.org";
        self.world
            .wait_gone("CustomResourceDefinition", crd, SOON)
            .await?;
        self.world.wait_gone("Provider", "second", SOON).await
    }

    /// UIDs of what must outlive a release.
    async fn kept(&self) -> Result<Vec<String>> {
        let things = [
            "get",
            "things.chart.example.org",
            "-o",
            "jsonpath={.items[*].metadata.uid}",
        ];
        let mut kept = vec![self.node.kubectl(&things).await?];
        let all = established(self.world).await?;
        let uid = |line: String| line.rsplit_once(' ').map(|(uid, _version)| uid.to_owned());
        kept.extend(all.into_iter().filter_map(uid));
        Ok(kept)
    }
}

/// Paths of all files below a folder but what is being written, relative to it.
fn files(folder: &Path) -> Result<Vec<String>> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next)? {
            let path = entry?.path();
            let short = path.strip_prefix(folder)?.display().to_string();
            if path.is_dir() && short != "tmp" {
                open.push(path);
            } else if path.is_file() {
                found.push(short);
            }
        }
    }
    Ok(found)
}

/// Values for a release that installs this version.
fn values(reference: &str, replicas: u32, cache: &Value) -> Value {
    json!({
        "replicas": replicas, "packageCache": cache,
        "provider": { "packages": [{ "package": reference, "name": "nimbus" }] },
    })
}

#[test]
#[ignore = "needs root on Linux: make test-node"]
fn what_was_installed_outlives_releases_of_pods() -> Result<()> {
    run(async {
        let world = world().await?;
        let program = std::env::var("GANTRY_OPERATOR").unwrap_or_else(|_| OPERATOR.to_owned());
        let image = image::image(Path::new(&program))?;
        let (files, pulled) = (image.files as f64 / 1e6, image.pulled() as f64 / 1e6);
        println!("image: {files:.1} MB, {pulled:.1} MB to pull");
        let [four, three] = VERSIONS;
        let story = Story::begin(world).await?;
        let release = Release::new(story.node, four, &image).await?;
        let (items, first_end) = first_life(&story, &release).await.context(four)?;
        let release = Release::new(story.node, three, &image).await?;
        let second_end = second_life(&story, &release, &items).await.context(three)?;
        // Helm takes the rights before the pods have gone.
        nothing_was_forbidden_but(world, &[first_end, second_end])
    })
}

/// Two replicas that share a claim; then one with a store in memory, back, and away. Answers how to put the files of the
/// ConfigMap with the store in place, and when it went.
async fn first_life(story: &Story<'_>, release: &Release<'_>) -> Result<(Value, Interval)> {
    let (world, registry) = (story.world, story.node.registry());
    let claimed = release.claim(STORE).await?;
    release
        .install(&values(&story.one, 2, &json!({ "pvc": STORE })))
        .await?;
    serves(world, &story.one).await?;
    without_rights_on_the_node(release).await?;
    release.test().await?;
    let thing =
        json!({ "apiVersion": "chart.example.org/v1beta1", "kind": "Thing", "metadata": { "name": "kept" } });
    eventually("a custom resource can be made", SOON, async || {
        Ok(story.node.plane().apply_yaml(&thing.to_string()).await.ok())
    })
    .await?;
    story.install_second().await?;
    story.remove_second().await?;
    let items = story.copy_store(&claimed).await?;

    // What one replica fetched the other one has: nobody else could give it.
    registry.stop()?;
    release.pods.replace_leader().await?;
    story.repaired().await?;
    registry.start_again().await?;
    let log = release.pods.log().await?;
    ensure!(
        log.contains("this process leads") && !log.contains(READ_ONLY),
        "{log}"
    );

    let memory = json!({ "medium": "Memory", "sizeLimit": "8Mi" });
    release.upgrade(&values(&story.two, 1, &memory)).await?;
    serves(world, &story.two).await?;
    let mounted = mount(release, "/cache/xpkg").await?;
    ensure!(
        mounted.contains(" tmpfs ") && mounted.contains("size=8192k"),
        "{mounted}"
    );

    release.rollback("1").await?;
    serves(world, &story.one).await?;
    ensure!(
        release.pods.all().await?.len() == 2,
        "rolled back, there are not two pods"
    );
    Ok((items, leave(story, release).await?))
}

/// Without a registry, from a store that can only be read; then the defaults, back, and away.
async fn second_life(story: &Story<'_>, release: &Release<'_>, items: &Value) -> Result<Interval> {
    let (world, registry) = (story.world, story.node.registry());
    let before = established(world).await?;
    registry.stop()?;
    let mark = world.plane().audit_mark()?;
    let filled = json!({ "configMap": STORE, "configMapItems": items });
    release.install(&values(&story.one, 2, &filled)).await?;
    release.pods.leader().await?;
    serves(world, &story.one).await?;
    tokio::time::sleep(QUIET).await;
    let written = world.plane().writes_since(mark, USER)?;
    ensure!(written.is_empty(), "written again: {written:#?}");
    ensure!(
        established(world).await? == before,
        "not what it was: {before:#?}"
    );
    story.repaired().await?;
    story.install_second().await?;
    let log = release.pods.log().await?;
    ensure!(log.contains(READ_ONLY), "{log}");
    registry.start_again().await?;
    release.test().await?;

    release.upgrade(&values(&story.two, 1, &json!({}))).await?;
    serves(world, &story.two).await?;
    super::oom::an_upgrade_that_does_not_fit_into_memory(story.node, &release.pods).await?;
    release.rollback("1").await?;
    serves(world, &story.one).await?;
    leave(story, release).await
}

/// Uninstalls the release: what there is stays. Answers when that was.
async fn leave(story: &Story<'_>, release: &Release<'_>) -> Result<Interval> {
    let before = story.kept().await?;
    ensure!(before.iter().any(|line| line.contains(SPARE)), "{before:#?}");
    ensure!(
        before.iter().any(|line| line.contains("ProviderRevision")),
        "{before:#?}"
    );
    let start = Timestamp::now();
    release.uninstall().await?;
    let end = Timestamp::now();
    let after = story.kept().await?;
    ensure!(before == after, "before: {before:#?}\nafter: {after:#?}");
    Ok((start, end))
}

async fn without_rights_on_the_node(release: &Release<'_>) -> Result<()> {
    let container = release.pods.container(&release.pods.leader().await?.pod).await?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", container.pid()))?;
    for expected in [
        "Uid: 65532 65532 65532 65532",
        "CapBnd: 0000000000000000",
        "NoNewPrivs: 1",
        "Seccomp: 2",
    ] {
        let same = |line: &str| line.split_whitespace().eq(expected.split_whitespace());
        ensure!(status.lines().any(same), "{expected} was expected: {status}");
    }
    let root = mount(release, "/").await?;
    let options = root.split(' ').nth(5).unwrap_or_default();
    ensure!(options.split(',').any(|o| o == "ro"), "{root}");
    Ok(())
}

/// The line about what is mounted there in the leader's container.
async fn mount(release: &Release<'_>, at: &str) -> Result<String> {
    let container = release.pods.container(&release.pods.leader().await?.pod).await?;
    let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", container.pid()))?;
    let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some(at));
    Ok(line
        .with_context(|| format!("nothing is mounted at {at}: {mounts}"))?
        .to_owned())
}
