//! `docs/migration.md`: a cluster moves from Crossplane's package manager to Gantry and back, and nothing is
//! deleted. Crossplane is played by a client with its service account's name that makes objects as it does
//! (api.md, chapter 4).

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};
use testkit::image::Image;
use testkit::{PackageFixture, World, WorldOptions, run};

use crate::beside::{account, define, policy};
use crate::leader::{Renewing, SOON, replica};
use crate::scene::{controller, name, says};
use crate::state::{custom_resource, nothing_was_forbidden};

/// API group of what the packages bring.
const GROUP: &str = "moved.example.org";
/// The two packages.
const PACKAGES: [(&str, &str); 2] = [("Provider", "moved"), ("Configuration", "platform")];

/// The reference, as far as what it leaves in a cluster goes.
struct Reference<'a> {
    world: &'a World,
    client: Client,
}

/// One package at one version: what the registry has.
struct Release {
    kind: &'static str,
    name: &'static str,
    reference: String,
    image: Image,
    fixture: PackageFixture,
}

impl Release {
    async fn push(world: &World, kind: &'static str, name: &'static str, version: &str) -> Result<Self> {
        let fixture = PackageFixture::new(kind, name).annotation("example.org/version", version);
        let fixture = match kind {
            "Provider" => fixture.crds(GROUP, 2),
            _ => fixture
                .xrd(GROUP, "Platform")
                .composition("platform", GROUP, "Platform"),
        };
        let image = fixture.build()?;
        let reference = world.push(name, version, &image).await?;
        Ok(Self {
            kind,
            name,
            reference,
            image,
            fixture,
        })
    }

    /// What it carries, without the metadata document.
    fn objects(&self) -> Result<Vec<Value>> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&self.fixture.yaml()?)?;
        let meta = |object: &Value| {
            let version = object["apiVersion"].as_str().unwrap_or_default();
            version.starts_with("meta.pkg.crossplane.io/")
        };
        Ok(documents.into_iter().filter(|object| !meta(object)).collect())
    }
}

fn owner(object: &Value, controls: Option<bool>) -> Value {
    let mut owner = json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"],
    });
    if let Some(controls) = controls {
        owner["controller"] = json!(controls);
        owner["blockOwnerDeletion"] = json!(true);
    }
    owner
}

fn condition(type_: &str, reason: &str) -> Value {
    json!({ "type": type_, "status": "True", "reason": reason, "lastTransitionTime": "2026-01-01T00:00:00Z" })
}

impl<'a> Reference<'a> {
    fn new(world: &'a World, client: &Client) -> Self {
        Self {
            world,
            client: client.clone(),
        }
    }

    fn api(&self, kind: &str) -> Result<Api<DynamicObject>> {
        Ok(Api::all_with(
            self.client.clone(),
            &testkit::world::resource(kind)?,
        ))
    }

    async fn get(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let found = self.api(kind)?.get_opt(name).await?;
        let mut found = found.map(serde_json::to_value).transpose()?;
        if let Some(object) = &mut found {
            let resource = testkit::world::resource(kind)?;
            object["apiVersion"] = json!(resource.api_version);
            object["kind"] = json!(kind);
        }
        Ok(found)
    }

    /// Creates the object, or merges it over the one that is there.
    async fn put(&self, object: Value) -> Result<Value> {
        let kind = object["kind"].as_str().context("no kind")?.to_owned();
        let (api, name) = (self.api(&kind)?, name(&object).to_owned());
        if self.get(&kind, &name).await?.is_none() {
            let object: DynamicObject = serde_json::from_value(object)?;
            api.create(&PostParams::default(), &object).await?;
        } else {
            api.patch(&name, &PatchParams::default(), &Patch::Merge(object))
                .await?;
        }
        self.get(&kind, &name).await?.context("it was just written")
    }

    async fn status(&self, kind: &str, name: &str, status: Value) -> Result<()> {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api(kind)?
            .patch_status(name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// What its manager, revision controller and resolver do until the package is healthy.
    async fn install(&self, release: &Release) -> Result<Value> {
        let revision_kind = format!("{}Revision", release.kind);
        let package = self
            .put(json!({
                "apiVersion": "pkg.crossplane.io/v1", "kind": release.kind,
                "metadata": { "name": release.name }, "spec": { "package": release.reference },
            }))
            .await?;
        let generation = package["metadata"]["generation"].as_i64().unwrap_or_default();
        let hex = release.image.digest().replace("sha256:", "");
        let wanted = api::names::reference_revision_name(release.name, &hex, generation);
        let others = self.world.revisions(release.kind, release.name).await?;
        let mut number = 1;
        for other in others.iter().filter(|other| name(other) != wanted) {
            number = number.max(other["spec"]["revision"].as_i64().unwrap_or_default() + 1);
            self.deactivate(&revision_kind, name(other)).await?;
        }
        let mut spec = json!({
            "desiredState": "Active", "image": release.reference, "revision": number,
            "packagePullPolicy": "IfNotPresent", "ignoreCrossplaneConstraints": false,
            "skipDependencyResolution": false,
        });
        if release.kind == "Provider" {
            spec["runtimeConfigRef"] = json!({
                "apiVersion": "pkg.crossplane.io/v1beta1", "kind": "DeploymentRuntimeConfig",
                "name": "default",
            });
            spec["tlsServerSecretName"] = json!(format!("{}-tls-server", release.name));
            spec["tlsClientSecretName"] = json!(format!("{}-tls-client", release.name));
        }
        let revision = self
            .put(json!({
                "apiVersion": "pkg.crossplane.io/v1", "kind": revision_kind,
                "metadata": {
                    "name": wanted, "labels": { "pkg.crossplane.io/package": release.name },
                    "finalizers": ["revision.pkg.crossplane.io"],
                    "ownerReferences": [owner(&package, Some(true))],
                },
                "spec": spec,
            }))
            .await?;
        self.lock(release, &wanted).await?;
        let mut refs = vec![];
        for object in release.objects()? {
            let made = self.establish(release, object, &revision, &package).await?;
            refs.push(owner(&made, None));
        }
        let status = json!({
            "conditions": [
                condition("RevisionHealthy", "HealthyPackageRevision"),
                condition("RuntimeHealthy", "HealthyPackageRevision"),
            ],
            "objectRefs": refs, "resolvedImage": release.reference,
        });
        self.status(&revision_kind, &wanted, status).await?;
        let status = json!({
            "conditions": [
                condition("Installed", "ActivePackageRevision"),
                condition("Healthy", "HealthyPackageRevision"),
            ],
            "currentRevision": wanted, "currentIdentifier": release.reference,
            "resolvedPackage": release.reference,
        });
        self.status(release.kind, release.name, status).await?;
        Ok(revision)
    }

    /// Makes one object, or takes it over; of a provider's CRD it makes an MRD, and the CRD of that.
    async fn establish(
        &self,
        release: &Release,
        object: Value,
        revision: &Value,
        package: &Value,
    ) -> Result<Value> {
        let owners = [owner(revision, Some(true)), owner(package, Some(false))];
        if release.kind != "Provider" {
            return self.control(object, &owners).await;
        }
        let mut spec = object["spec"].clone();
        spec["state"] = json!("Active");
        let mrd = json!({
            "apiVersion": "apiextensions.crossplane.io/v1alpha1", "kind": "ManagedResourceDefinition",
            "metadata": { "name": object["metadata"]["name"] }, "spec": spec,
        });
        let mrd = self.control(mrd, &owners).await?;
        // Another controller makes the CRD, with the MRD's controller as its own.
        let mut crd = object;
        crd["metadata"]["ownerReferences"] = json!([owner(&mrd, None), owner(revision, Some(true))]);
        let manager = PatchParams::apply("apiextensions.crossplane.io/managed").force();
        self.api("CustomResourceDefinition")?
            .patch(name(&crd), &manager, &Patch::Apply(&crd))
            .await?;
        Ok(mrd)
    }

    /// Adds owners to those that are there; refused if somebody else controls the object, as the reference
    /// is.
    async fn control(&self, mut object: Value, owners: &[Value]) -> Result<Value> {
        let kind = object["kind"].as_str().context("no kind")?.to_owned();
        let live = self.get(&kind, name(&object)).await?;
        let mut all: Vec<Value> = live
            .iter()
            .flat_map(|live| {
                live["metadata"]["ownerReferences"]
                    .as_array()
                    .into_iter()
                    .flatten()
            })
            .filter(|there| owners.iter().all(|owner| owner["uid"] != there["uid"]))
            .cloned()
            .collect();
        for there in &all {
            ensure!(
                there["controller"] != true,
                "{kind} {} is already controlled by {there}",
                name(&object)
            );
        }
        all.extend(owners.iter().cloned());
        object["metadata"]["ownerReferences"] = json!(all);
        self.put(object).await
    }

    /// What becomes of a revision that is not wanted any more.
    async fn deactivate(&self, kind: &str, revision: &str) -> Result<()> {
        let inactive = Patch::Merge(json!({ "spec": { "desiredState": "Inactive" } }));
        self.api(kind)?
            .patch(revision, &PatchParams::default(), &inactive)
            .await?;
        if let Some(mut lock) = self.get("Lock", "lock").await? {
            if let Some(entries) = lock["packages"].as_array_mut() {
                entries.retain(|entry| entry["name"] != revision);
            }
            let patch = Patch::Merge(json!({ "packages": lock["packages"] }));
            self.api("Lock")?
                .patch("lock", &PatchParams::default(), &patch)
                .await?;
        }
        let object = self.get(kind, revision).await?.context("no revision")?;
        for of in object["status"]["objectRefs"].as_array().into_iter().flatten() {
            let of_kind = of["kind"].as_str().unwrap_or_default();
            let Some(live) = self.get(of_kind, of["name"].as_str().unwrap_or_default()).await? else {
                continue;
            };
            let mut owners = live["metadata"]["ownerReferences"].clone();
            for owner in owners.as_array_mut().into_iter().flatten() {
                if owner["uid"] == object["metadata"]["uid"] {
                    owner["controller"] = json!(false);
                }
            }
            let patch = Patch::Merge(json!({ "metadata": { "ownerReferences": owners } }));
            self.api(of_kind)?
                .patch(name(&live), &PatchParams::default(), &patch)
                .await?;
        }
        Ok(())
    }

    /// The revision's entry of the lock. Two entries of one source are what the reference can't work with.
    async fn lock(&self, release: &Release, revision: &str) -> Result<()> {
        let lock = self.get("Lock", "lock").await?.unwrap_or_default();
        let mut entries = lock["packages"].as_array().cloned().unwrap_or_default();
        let (source, version) = release.reference.rsplit_once(':').context("no tag")?;
        if entries.iter().any(|entry| entry["name"] == revision) {
            return Ok(());
        }
        ensure!(
            entries.iter().all(|entry| entry["source"] != source),
            "cannot initialize dependency graph: node {source} already exists"
        );
        entries.push(json!({
            "name": revision, "apiVersion": "pkg.crossplane.io/v1", "kind": release.kind, "source": source,
            "version": version, "dependencies": [],
        }));
        self.put(json!({
            "apiVersion": "pkg.crossplane.io/v1beta1", "kind": "Lock",
            "metadata": { "name": "lock", "finalizers": ["lock.pkg.crossplane.io"] }, "packages": entries,
        }))
        .await?;
        Ok(())
    }
}

/// UIDs of packages, of what they brought, and of a custom resource; nothing of it may be on its way out.
async fn identities(world: &World) -> Result<BTreeMap<String, String>> {
    let crds = ["thing0s", "thing1s"].map(|plural| format!("{plural}.{GROUP}"));
    let mut found = BTreeMap::new();
    let mut objects = PACKAGES.map(|(kind, name)| (kind, name.to_owned())).to_vec();
    for crd in &crds {
        objects.push(("CustomResourceDefinition", crd.clone()));
        objects.push(("ManagedResourceDefinition", crd.clone()));
    }
    objects.push(("CompositeResourceDefinition", format!("xplatforms.{GROUP}")));
    objects.push(("Composition", "platform".to_owned()));
    for (kind, name) in objects {
        let object = world.get(kind, &name).await?;
        let object = object.with_context(|| format!("{kind} {name} is gone"))?;
        let meta = &object["metadata"];
        ensure!(
            meta["deletionTimestamp"].is_null(),
            "{kind} {name} is being deleted"
        );
        found.insert(format!("{kind} {name}"), meta["uid"].to_string());
    }
    found.insert(
        "Thing0".to_owned(),
        custom_resource(world, GROUP, "Thing0", "precious").await?,
    );
    Ok(found)
}

/// The revisions of both packages: name and UID.
async fn revisions(world: &World) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for (kind, package) in PACKAGES {
        for revision in world.revisions(kind, package).await? {
            ensure!(
                revision["metadata"]["deletionTimestamp"].is_null(),
                "{} goes",
                name(&revision)
            );
            found.insert(
                name(&revision).to_owned(),
                revision["metadata"]["uid"].to_string(),
            );
        }
    }
    Ok(found)
}

/// Waits until Gantry serves what both packages ask for.
async fn served(world: &World) -> Result<()> {
    for (kind, name) in PACKAGES {
        let what = format!("{kind} {name} is served by Gantry");
        world
            .wait_for(kind, name, &what, SOON, |package| {
                let status = &package["status"];
                says(package, "Ready", "True")
                    && status["currentIdentifier"] == package["spec"]["package"]
                    && status["servingRevision"] == status["currentRevision"]
                    && status["observedGeneration"] == package["metadata"]["generation"]
            })
            .await?;
    }
    Ok(())
}

async fn releases(world: &World, version: &str) -> Result<Vec<Release>> {
    let mut all = vec![];
    for (kind, name) in PACKAGES {
        all.push(Release::push(world, kind, name, version).await?);
    }
    Ok(all)
}

#[test]
fn to_gantry_and_back_nothing_is_deleted() -> Result<()> {
    run(async {
        let mut world = World::start(WorldOptions::default()).await?;
        define(&world).await?;
        let client = account(&world, "crossplane").await?;
        let (first, second, third) = (
            releases(&world, "v1.0.0").await?,
            releases(&world, "v2.0.0").await?,
            releases(&world, "v3.0.0").await?,
        );
        // A cluster as Crossplane leaves it, and something in use.
        for release in &first {
            Reference::new(&world, &client).install(release).await?;
        }
        let thing = format!("apiVersion: {GROUP}/v1beta1\nkind: Thing0\nmetadata: {{name: precious}}\n");
        let made = async || Ok(world.plane().apply_yaml(&thing).await.ok());
        testkit::eventually("a custom resource can be made", SOON, made).await?;
        let before = identities(&world).await?;
        let theirs = revisions(&world).await?;
        ensure!(theirs.len() == 2, "{theirs:?}");

        // There: the policy first, Gantry beside the running Crossplane.
        let crossplane =
            Renewing::start(&world, "crossplane-system", "crossplane-leader-election-core").await?;
        world.plane().apply_yaml(&policy()?).await?;
        world.replace_operator(Some(replica(&world, "moved"))).await?;
        served(&world).await?;
        assert_eq!(identities(&world).await?, before);
        assert_eq!(
            revisions(&world).await?,
            theirs,
            "the revisions are taken over, not made again"
        );
        for release in &second {
            let wanted = json!({ "spec": { "package": release.reference } });
            world.patch(release.kind, release.name, wanted).await?;
        }
        served(&world).await?;
        assert_eq!(identities(&world).await?, before);
        let ours = revisions(&world).await?;
        ensure!(
            ours.len() == 4 && theirs.iter().all(|(name, uid)| ours.get(name) == Some(uid)),
            "{ours:?}"
        );

        // Back: Gantry stops, the policy goes, the lock is emptied, Crossplane goes on.
        drop(crossplane);
        world.replace_operator(None).await?;
        let policies = ["validatingadmissionpolicy", "validatingadmissionpolicybinding"];
        for kind in policies {
            world
                .plane()
                .kubectl(&["delete", kind, "gantry-beside-crossplane"])
                .await?;
        }
        let empty = json!({ "packages": [], "metadata": { "finalizers": null } });
        world.patch("Lock", "lock", empty).await?;
        let out_of_force = async || {
            let patch = Patch::Merge(json!({ "metadata": { "labels": { "tried": "now" } } }));
            let api = Reference::new(&world, &client).api("Provider")?;
            Ok(api
                .patch("moved", &PatchParams::default(), &patch)
                .await
                .ok()
                .map(drop))
        };
        testkit::eventually("the policy is out of force", SOON, out_of_force).await?;
        for release in &second {
            Reference::new(&world, &client).install(release).await?;
        }
        assert_eq!(identities(&world).await?, before);
        for release in &third {
            Reference::new(&world, &client).install(release).await?;
        }
        assert_eq!(identities(&world).await?, before);
        let now = revisions(&world).await?;
        ensure!(
            ours.iter().all(|(name, uid)| now.get(name) == Some(uid)),
            "{now:?}"
        );

        // And there again.
        world.plane().apply_yaml(&policy()?).await?;
        world.replace_operator(Some(replica(&world, "again"))).await?;
        served(&world).await?;
        assert_eq!(identities(&world).await?, before);
        for release in &third {
            let package = world
                .get(release.kind, release.name)
                .await?
                .context("no package")?;
            let serving = package["status"]["servingRevision"].clone();
            ensure!(
                now.contains_key(serving.as_str().unwrap_or_default()),
                "{serving} is not Crossplane's"
            );
            let object = match release.kind {
                "Provider" => ("CustomResourceDefinition", format!("thing0s.{GROUP}")),
                _ => ("Composition", "platform".to_owned()),
            };
            let object = world.get(object.0, &object.1).await?.context("no object")?;
            assert_eq!(controller(&object), serving.as_str());
        }
        nothing_was_forbidden(&world)
    })
}
