//! One package of a test in a world: its name, its images, its revisions, and what is waited for.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testkit::world::condition_of;
use testkit::{PackageFixture, World, WorldOptions, eventually};
use tokio::sync::OnceCell;

use crate::OPERATOR;

/// How long one step may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// The world of tests that need another configuration of the operator than the default: tags are polled each
/// second, lint warnings refuse a package, and the controllers of providers are run by somebody else.
pub(crate) async fn configured() -> Result<&'static World> {
    static SHARED: OnceCell<World> = OnceCell::const_new();
    SHARED
        .get_or_try_init(|| {
            let flags = [
                "--tag-poll-interval=1s",
                "--strict-lint",
                "--package-runtime=Provider=External",
            ];
            World::start(WorldOptions::with_operator(OPERATOR).operator_args(flags))
        })
        .await
}

/// One package under a name of its own.
pub(crate) struct Scene {
    /// Where it lives.
    pub(crate) world: &'static World,
    /// `Provider`, `Configuration` or `Function`.
    pub(crate) kind: &'static str,
    /// Its name, which is its repository too.
    pub(crate) name: String,
}

impl Scene {
    /// A package that does not exist yet.
    pub(crate) fn new(world: &'static World, kind: &'static str, prefix: &str) -> Self {
        let name = world.unique(prefix);
        Self { world, kind, name }
    }

    /// The API group of its content.
    pub(crate) fn group(&self) -> String {
        format!("{}.example.org", self.name)
    }

    /// Content that differs by version; CRDs are added by the caller.
    pub(crate) fn fixture(&self, version: &str) -> PackageFixture {
        PackageFixture::new(self.kind, &self.name)
            .annotation("example.org/version", version)
            .version_label(version)
    }

    /// The same with `n` CRDs `thing0s`, `thing1s`… of its group.
    pub(crate) fn with_crds(&self, version: &str, n: usize) -> PackageFixture {
        self.fixture(version).crds(&self.group(), n)
    }

    /// Name of the CRD `thing<n>s` of its group.
    pub(crate) fn crd_name(&self, n: usize) -> String {
        format!("thing{n}s.{}", self.group())
    }

    /// Pushes content under a tag of the world's registry; answers the reference.
    pub(crate) async fn push(&self, tag: &str, fixture: &PackageFixture) -> Result<String> {
        self.world.push(&self.name, tag, &fixture.build()?).await
    }

    /// Creates the package.
    pub(crate) async fn create(&self, reference: &str, spec: Value) -> Result<()> {
        self.world
            .create_package(self.kind, &self.name, reference, spec)
            .await
            .map(drop)
    }

    /// Pushes a version under its own name as tag and installs it; answers the reference and the settled
    /// package.
    pub(crate) async fn install(&self, version: &str, fixture: &PackageFixture) -> Result<(String, Value)> {
        let reference = self.push(version, fixture).await?;
        self.create(&reference, json!({})).await?;
        Ok((reference, self.settled().await?))
    }

    /// Pushes a version and makes the package ask for it.
    pub(crate) async fn ask_for(&self, version: &str, fixture: &PackageFixture) -> Result<String> {
        let reference = self.push(version, fixture).await?;
        self.set(&reference).await?;
        Ok(reference)
    }

    /// Changes `spec.package`.
    pub(crate) async fn set(&self, reference: &str) -> Result<()> {
        self.patch(json!({ "spec": { "package": reference } })).await
    }

    /// Changes the package by merge patch.
    pub(crate) async fn patch(&self, patch: Value) -> Result<()> {
        self.world.patch(self.kind, &self.name, patch).await.map(drop)
    }

    /// Changes one of its revisions by merge patch.
    pub(crate) async fn patch_revision(&self, revision: &str, patch: Value) -> Result<()> {
        self.world
            .patch(&self.revision_kind(), revision, patch)
            .await
            .map(drop)
    }

    /// Kind of its revisions.
    pub(crate) fn revision_kind(&self) -> String {
        format!("{}Revision", self.kind)
    }

    /// The package as it is.
    pub(crate) async fn get(&self) -> Result<Value> {
        let found = self.world.get(self.kind, &self.name).await?;
        found.with_context(|| format!("{} {} does not exist", self.kind, self.name))
    }

    /// Waits until the package is such; answers it.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let what = format!("{} {}: {what}", self.kind, self.name);
        self.world
            .wait_for(self.kind, &self.name, &what, SOON, holds)
            .await
    }

    /// Waits until the package serves what its spec asks for, and says so of its present generation.
    pub(crate) async fn settled(&self) -> Result<Value> {
        self.until("what is asked for serves", |package| {
            let status = &package["status"];
            is_current(package)
                && status["currentIdentifier"] == package["spec"]["package"]
                && status["servingRevision"] == status["currentRevision"]
                && says(package, "Ready", "True")
                && says(package, "Installed", "True")
        })
        .await
    }

    /// Waits until the package refuses what its spec asks for; answers the message of `Ready`.
    pub(crate) async fn refused(&self) -> Result<String> {
        let package = self
            .until("what is asked for is refused", |package| {
                is_current(package) && says(package, "Ready", "False") && says(package, "Stalled", "True")
            })
            .await?;
        Ok(message(&package, "Ready"))
    }

    /// Its revisions, highest number first.
    pub(crate) async fn revisions(&self) -> Result<Vec<Value>> {
        self.world.revisions(self.kind, &self.name).await
    }

    /// One revision.
    pub(crate) async fn revision(&self, name: &Value) -> Result<Value> {
        let name = name.as_str().unwrap_or_default();
        let found = self.world.get(&self.revision_kind(), name).await?;
        found.with_context(|| format!("revision {name} does not exist"))
    }

    /// The one active revision.
    pub(crate) async fn active(&self) -> Result<Value> {
        let mut active = self.revisions().await?;
        active.retain(|r| r["spec"]["desiredState"] == "Active");
        anyhow::ensure!(active.len() == 1, "one revision is active: {active:#?}");
        active.pop().context("one revision is active")
    }

    /// A CRD as it is.
    pub(crate) async fn crd(&self, name: &str) -> Result<Value> {
        let found = self.world.get("CustomResourceDefinition", name).await?;
        found.with_context(|| format!("CRD {name} does not exist"))
    }

    /// Waits until a CRD is such; answers it.
    pub(crate) async fn crd_until(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let look = async || {
            let crd = self.world.get("CustomResourceDefinition", name).await?;
            Ok(crd.filter(|crd| holds(crd)))
        };
        match eventually(&format!("CRD {name}: {what}"), SOON, look).await {
            Ok(crd) => Ok(crd),
            Err(error) => Err(error.context(self.world.dump(self.kind, &self.name).await)),
        }
    }

    /// Makes a custom resource of the CRD `thing<n>s`.
    pub(crate) async fn make_thing(&self, n: usize, name: &str) -> Result<()> {
        let thing = format!(
            "apiVersion: {}/v1beta1\nkind: Thing{n}\nmetadata: {{name: {name}}}\n",
            self.group()
        );
        self.world.plane().apply_yaml(&thing).await
    }

    /// Events about an object of this name, as `reason: message`.
    pub(crate) async fn events(&self, name: &str) -> Result<Vec<String>> {
        let field = format!("involvedObject.name={name}");
        let args = ["get", "events", "-A", "--field-selector", &field, "-o", "json"];
        let list: Value = serde_json::from_str(&self.world.plane().kubectl(&args).await?)?;
        let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        Ok(list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|e| format!("{}: {}", text(e, "reason"), text(e, "message")))
            .collect())
    }

    /// Waits for an event about an object of this name that contains `part`.
    pub(crate) async fn event(&self, name: &str, part: &str) -> Result<String> {
        let what = format!("an event about {name} that says {part}");
        let look = async || Ok(self.events(name).await?.into_iter().find(|e| e.contains(part)));
        match eventually(&what, SOON, look).await {
            Ok(event) => Ok(event),
            Err(error) => Err(error.context(format!("{:#?}", self.events(name).await))),
        }
    }

    /// Waits until a CRD is gone, or going with nobody but the API server to wait for: it takes minutes now and
    /// then for a CRD that is deleted right after it was made ("storage is (re)initializing").
    pub(crate) async fn crd_going(&self, name: &str) -> Result<()> {
        let going = |crd: &Value| {
            let meta = &crd["metadata"];
            meta["deletionTimestamp"].is_string()
                && meta["finalizers"] == json!(["customresourcecleanup.apiextensions.k8s.io"])
        };
        let look = async || {
            let crd = self.world.get("CustomResourceDefinition", name).await?;
            Ok(crd.is_none_or(|crd| going(&crd)).then_some(()))
        };
        eventually(&format!("CRD {name} goes"), SOON, look).await
    }

    /// Deletes the package and waits until it is gone; CRDs follow by the cluster's own collector.
    pub(crate) async fn delete(&self) -> Result<()> {
        self.world.delete(self.kind, &self.name).await?;
        self.world.wait_gone(self.kind, &self.name, SOON).await
    }
}

/// The status speaks of the present spec.
pub(crate) fn is_current(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

/// The object has this condition with this status.
pub(crate) fn says(object: &Value, condition: &str, status: &str) -> bool {
    condition_of(object, condition)["status"] == status
}

/// The condition's message.
pub(crate) fn message(object: &Value, condition: &str) -> String {
    let message = condition_of(object, condition)["message"].as_str();
    message.unwrap_or_default().to_owned()
}

/// Status and reason of a condition, as `True HealthyPackageRevision`.
pub(crate) fn reason(object: &Value, condition: &str) -> String {
    let condition = condition_of(object, condition);
    let text = |key: &str| condition[key].as_str().unwrap_or("-").to_owned();
    format!("{} {}", text("status"), text("reason"))
}

/// Name of the owner that controls the object, or nothing.
pub(crate) fn controller(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let controllers: Vec<&Value> = owners.iter().filter(|o| o["controller"] == true).collect();
    assert!(
        controllers.len() < 2,
        "an object has several controllers: {owners:?}"
    );
    controllers.first()?["name"].as_str()
}

/// The owners as `Kind/name`, with a star for the one that controls.
pub(crate) fn owners(object: &Value) -> Vec<String> {
    let all = object["metadata"]["ownerReferences"].as_array();
    all.into_iter()
        .flatten()
        .map(|o| {
            let text = |key: &str| o[key].as_str().unwrap_or_default().to_owned();
            let star = if o["controller"] == true { "*" } else { "" };
            format!("{}/{}{star}", text("kind"), text("name"))
        })
        .collect()
}

/// The object's name.
pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
