//! ImageConfigs and pull secrets.

use anyhow::Result;
use serde_json::{Value, json};
use testkit::registry::{PASSWORD, USER};
use testkit::world::NAMESPACE;
use testkit::{Auth, Registry, RegistryOptions, TestRegistry, World, run};

use crate::scene::{Scene, message, reason, says};
use crate::world;

async fn config(world: &World, name: &str, spec: Value) -> Result<()> {
    let object = json!({ "metadata": { "name": name }, "spec": spec });
    world.create("ImageConfig", object).await.map(drop)
}

fn rewrite(from: &str, to: &str) -> Value {
    json!({ "matchImages": [{ "type": "Prefix", "prefix": from }], "rewriteImage": { "prefix": to } })
}

fn authentication(prefix: &str, secret: &str) -> Value {
    json!({
        "matchImages": [{ "type": "Prefix", "prefix": prefix }],
        "registry": { "authentication": { "pullSecretRef": { "name": secret } } },
    })
}

/// A pull secret in the operator's namespace.
async fn secret(world: &World, name: &str, docker_config: &str) -> Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "stringData": { ".dockerconfigjson": docker_config },
    });
    world.plane().apply_yaml(&object.to_string()).await
}

#[test]
fn a_rewrite_counts_at_once_and_keeps_the_users_spelling() -> Result<()> {
    run(async {
        let world = world().await?;
        let scene = Scene::new(world, "Configuration", "rewritten");
        let fixture = scene.fixture("v1").xrd(&scene.group(), "Thing");
        let real = scene.push("v1", &fixture).await?;
        let host = format!("{}.invalid", scene.name);
        let written = format!("{host}/{}:v1", scene.name);
        scene.create(&written, json!({})).await?;
        let package = scene
            .until("nobody knows the host", |p| says(p, "UpToDate", "Unknown"))
            .await?;
        assert_eq!(reason(&package, "UpToDate"), "Unknown HostUnknown");
        assert!(
            message(&package, "Installed").contains(&host),
            "{}",
            message(&package, "Installed")
        );

        config(world, &scene.name, rewrite(&host, &world.registry().host())).await?;
        let package = scene.settled().await?;
        let status = &package["status"];
        assert_eq!(status["currentIdentifier"], written);
        assert_eq!(status["resolvedPackage"], real);
        let applied = json!([{ "name": scene.name, "reason": "RewriteImage" }]);
        assert_eq!(status["appliedImageConfigRefs"], applied);
        let revision = scene.active().await?;
        assert_eq!(revision["spec"]["image"], written);
        assert_eq!(revision["status"]["resolvedImage"], real);
        assert_eq!(revision["status"]["appliedImageConfigRefs"], applied);

        // Another target is another question: asked at once, without a change of the package.
        let other = TestRegistry::start().await?;
        let newer = scene.fixture("v2").xrd(&scene.group(), "Thing").build()?;
        let there = other.push(&scene.name, "v1", &newer);
        let to = json!({ "spec": { "rewriteImage": { "prefix": other.host() } } });
        world.patch("ImageConfig", &scene.name, to).await?;
        scene
            .until("it comes from the other registry", |p| {
                p["status"]["resolvedPackage"] == there && p["status"]["resolvedDigest"] == newer.digest()
            })
            .await?;
        scene.settled().await?;
        world.delete("ImageConfig", &scene.name).await?;
        scene.delete().await
    })
}

#[test]
fn a_private_registry_opens_with_the_packages_secret() -> Result<()> {
    run(async {
        let options = RegistryOptions {
            password: true,
            ..RegistryOptions::default()
        };
        let registry = Registry::start(options).await?;
        let scene = Scene::new(world().await?, "Configuration", "private");
        let fixture = scene.fixture("v1").xrd(&scene.group(), "Thing");
        let reference = registry.push(&scene.name, "v1", &fixture.build()?).await?;
        let spec = json!({ "packagePullSecrets": [{ "name": scene.name }] });
        scene.create(&reference, spec).await?;
        let package = scene
            .until("it is not let in", |p| says(p, "UpToDate", "Unknown"))
            .await?;
        assert_eq!(reason(&package, "UpToDate"), "Unknown Unauthorized");
        assert!(says(&package, "Installed", "False"));
        let why = message(&package, "UpToDate");
        assert!(
            why.contains(&registry.host()) && !why.contains("password"),
            "{why}"
        );

        // The secret comes, wrong at first; each change counts at once.
        let wrong = registry.docker_config().replace("\"auth\":\"", "\"auth\":\"AAAA");
        secret(scene.world, &scene.name, &wrong).await?;
        secret(scene.world, &scene.name, &registry.docker_config()).await?;
        let package = scene.settled().await?;
        assert_eq!(package["status"]["appliedImageConfigRefs"], Value::Null);
        assert!(says(&package, "UpToDate", "True"));
        scene.delete().await
    })
}

#[test]
fn an_image_config_brings_a_secret_also_for_a_rewritten_reference() -> Result<()> {
    run(async {
        let world = world().await?;
        let registry = TestRegistry::start().await?;
        registry.set_auth(Auth::Bearer(USER.to_owned(), PASSWORD.to_owned()));
        let scene = Scene::new(world, "Function", "config-secret");
        let direct = registry.push(&scene.name, "v1", &scene.fixture("v1").build()?);
        let secret_name = format!("{}-pull", scene.name);
        let auth = json!({ "auths": { registry.host(): {
            "username": USER, "password": PASSWORD,
        } } });
        secret(world, &secret_name, &auth.to_string()).await?;
        let auths = format!("{}-auth", scene.name);
        config(world, &auths, authentication(&registry.host(), &secret_name)).await?;
        scene.create(&direct, json!({})).await?;
        let package = scene.settled().await?;
        let by_secret = json!({ "name": auths, "reason": "SetImagePullSecret" });
        assert_eq!(package["status"]["appliedImageConfigRefs"], json!([by_secret]));

        // The secret is looked up for the rewritten reference.
        let host = format!("{}.invalid", scene.name);
        let rewrites = format!("{}-rewrite", scene.name);
        config(world, &rewrites, rewrite(&host, &registry.host())).await?;
        scene.set(&format!("{host}/{}:v1", scene.name)).await?;
        let package = scene.settled().await?;
        let by_rewrite = json!({ "name": rewrites, "reason": "RewriteImage" });
        assert_eq!(
            package["status"]["appliedImageConfigRefs"],
            json!([by_rewrite, by_secret])
        );
        for config in [auths, rewrites] {
            world.delete("ImageConfig", &config).await?;
        }
        scene.delete().await
    })
}
