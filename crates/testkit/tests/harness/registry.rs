use std::process::Command;

use anyhow::Result;
use http::Method;
use testkit::{
    Auth, Fault, FaultProxy, Match, PackageFixture, Registry, RegistryOptions, Rule, TestRegistry, Tools, run,
};

/// Runs crane, a client that is not ours; answers its standard output or standard error.
async fn crane(args: &[&str], config: Option<&str>) -> Result<Result<String, String>> {
    let at = testkit::folder("crane")?;
    std::fs::write(at.path().join("config.json"), config.unwrap_or("{}"))?;
    let mut command = Command::new(Tools::find()?.path("crane"));
    command.args(args).env("DOCKER_CONFIG", at.path());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    })
}

fn image(version: &str) -> Result<testkit::Image> {
    PackageFixture::provider("registered")
        .crd("registered.example.org", "Thing")
        .annotation("v", version)
        .build()
}

#[test]
fn the_real_registry_serves_what_was_pushed_and_survives_a_stop() -> Result<()> {
    run(async {
        let registry = Registry::distribution().await?;
        let (one, two) = (image("1")?, image("2")?);
        let reference = registry.push("made/up", "v1", &one).await?;
        registry.push("made/up", "v2", &two).await?;
        assert_ne!(one.digest(), two.digest());
        assert_eq!(crane(&["digest", &reference], None).await?, Ok(one.digest()));
        assert!(crane(&["validate", "--remote", &reference], None).await?.is_ok());
        registry.set_tag("made/up", "v1", &two.digest()).await?;
        assert_eq!(crane(&["digest", &reference], None).await?, Ok(two.digest()));
        assert_eq!(
            crane(&["digest", &registry.reference("made/up", &one.digest())], None).await?,
            Ok(one.digest())
        );

        registry.stop()?;
        assert!(crane(&["digest", &reference], None).await?.is_err());
        registry.start_again().await?;
        assert_eq!(crane(&["digest", &reference], None).await?, Ok(two.digest()));
        Ok(())
    })
}

#[test]
fn the_real_registry_can_ask_for_a_password_over_tls() -> Result<()> {
    run(async {
        let registry = Registry::start(RegistryOptions {
            password: true,
            tls: true,
            ..RegistryOptions::default()
        })
        .await?;
        let image = image("1")?;
        let reference = registry.push("made/up", "v1", &image).await?;
        let secret = registry.docker_config();
        let digest = |config: Option<String>| {
            let reference = reference.clone();
            async move { crane(&["digest", "--insecure", &reference], config.as_deref()).await }
        };
        assert_eq!(digest(Some(secret)).await?, Ok(image.digest()));
        assert!(digest(None).await?.unwrap_err().contains("UNAUTHORIZED"));
        let trusted = crane(&["digest", &reference], None).await?.unwrap_err();
        assert!(trusted.contains("certificate"), "{trusted}");
        Ok(())
    })
}

#[test]
fn the_registry_in_this_process_agrees_with_crane() -> Result<()> {
    run(async {
        let registry = TestRegistry::start().await?;
        let (one, two) = (image("1")?, image("2")?);
        let reference = registry.push("made/up", "v1", &one);
        assert_eq!(crane(&["digest", &reference], None).await?, Ok(one.digest()));
        assert!(crane(&["validate", "--remote", &reference], None).await?.is_ok());
        let copied = registry.reference("copied", "v9");
        assert!(crane(&["copy", &reference, &copied], None).await?.is_ok());
        assert_eq!(crane(&["digest", &copied], None).await?, Ok(one.digest()));
        for n in 0..7 {
            registry.push("made/up", &format!("t{n}"), &two);
        }
        let tags = crane(
            &["ls", &registry.reference("made/up", "x").replace(":x", "")],
            None,
        )
        .await?
        .unwrap();
        assert_eq!(tags.lines().count(), 8, "{tags}");

        registry.set_tag("made/up", "v1", &two.digest());
        assert_eq!(crane(&["digest", &reference], None).await?, Ok(two.digest()));
        registry.remove_tag("made/up", "v1");
        assert!(
            crane(&["digest", &reference], None)
                .await?
                .unwrap_err()
                .contains("MANIFEST_UNKNOWN")
        );
        assert!(registry.count(&Match::any().method(Method::HEAD).path("/manifests/v1")) >= 2);
        Ok(())
    })
}

#[test]
fn an_index_leads_to_the_image_of_a_platform() -> Result<()> {
    run(async {
        let registry = Registry::distribution().await?;
        let (one, two) = (image("1")?, image("2")?);
        for image in [&one, &two] {
            registry.push("made/up", &image.digest(), image).await?;
        }
        let index = testkit::image::index(&[(&one, Some("linux/amd64")), (&two, Some("linux/arm64/v8"))])?;
        registry
            .put_manifest("made/up", "v1", testkit::image::OCI_INDEX, &index)
            .await?;
        let reference = registry.reference("made/up", "v1");
        let args = ["digest", "--platform", "linux/arm64/v8", &reference];
        assert_eq!(crane(&args, None).await?, Ok(two.digest()));
        assert_eq!(
            crane(&["digest", &reference], None).await?,
            Ok(testkit::image::sha256(&index))
        );
        Ok(())
    })
}

#[test]
fn the_registry_in_this_process_asks_for_credentials() -> Result<()> {
    run(async {
        let registry = TestRegistry::start().await?;
        let image = image("1")?;
        let reference = registry.push("made/up", "v1", &image);
        let config = |password: &str| {
            let auths = serde_json::json!({ registry.host(): { "username": "u", "password": password } });
            serde_json::json!({ "auths": auths }).to_string()
        };
        let (right, wrong) = (config("right"), config("wrong"));
        let (user, password) = ("u".to_owned(), "right".to_owned());
        for auth in [
            Auth::Basic(user.clone(), password.clone()),
            Auth::Bearer(user, password),
        ] {
            registry.set_auth(auth.clone());
            assert!(crane(&["digest", &reference], None).await?.is_err(), "{auth:?}");
            assert!(
                crane(&["digest", &reference], Some(&wrong)).await?.is_err(),
                "{auth:?}"
            );
            assert_eq!(
                crane(&["digest", &reference], Some(&right)).await?,
                Ok(image.digest()),
                "{auth:?}"
            );
        }
        assert_eq!(registry.tokens_given(), 1);
        Ok(())
    })
}

#[test]
fn faults_strike_registries_too() -> Result<()> {
    run(async {
        let registry = TestRegistry::start().await?;
        let image = image("1")?;
        let reference = registry.push("made/up", "v1", &image);
        let blobs = Match::any().method(Method::GET).path("/blobs/");
        registry
            .faults()
            .add(Rule::new(blobs.clone(), Fault::Corrupt(20)));
        assert!(crane(&["validate", "--remote", &reference], None).await?.is_err());
        registry.faults().clear();
        registry.stop();
        assert!(crane(&["digest", &reference], None).await?.is_err());
        registry.start_again().await?;
        assert!(crane(&["validate", "--remote", &reference], None).await?.is_ok());

        // The same through a proxy before the real one.
        let real = Registry::distribution().await?;
        let proxy = FaultProxy::for_plain(real.addr()).await?;
        real.push("made/up", "v1", &image).await?;
        let proxied = format!("{}/made/up:v1", proxy.addr());
        assert!(crane(&["validate", "--remote", &proxied], None).await?.is_ok());
        let hits = proxy.faults().add(Rule::new(blobs, Fault::Truncate(100)));
        assert!(crane(&["validate", "--remote", &proxied], None).await?.is_err());
        assert!(hits.count() >= 1);
        Ok(())
    })
}
