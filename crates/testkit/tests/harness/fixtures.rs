use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use testkit::{PackageFixture, malformed, run, synthetic};

use crate::shared;

#[test]
fn fixtures_are_the_same_each_time_and_differ_where_they_should() -> Result<()> {
    let base = || PackageFixture::provider("p").crds("fixtures.example.org", 3);
    let digest = |fixture: PackageFixture| anyhow::Ok(fixture.build()?.digest());
    assert_eq!(digest(base())?, digest(base())?);
    let variants = [
        base(),
        base().annotation("a", "b"),
        base().version_label("v2"),
        base().depends_on("Provider", "registry.invalid/a/b", ">=v1.0.0"),
        base().crossplane(">=v2.0.0"),
        base().meta_version("v1beta1"),
    ];
    let digests = variants
        .into_iter()
        .map(digest)
        .collect::<Result<BTreeSet<_>>>()?;
    assert_eq!(digests.len(), 6);
    assert_eq!(base().crd_names()[2], "thing2s.fixtures.example.org");
    Ok(())
}

#[test]
fn malformed_packages_have_names_of_their_own() -> Result<()> {
    let all = malformed::all()?;
    let names: BTreeSet<&str> = all.iter().map(|m| m.name).collect();
    assert_eq!(names.len(), all.len());
    for bomb in all
        .iter()
        .filter(|m| m.name.ends_with("-bomb") && m.name != "alias-bomb")
    {
        let size: usize = bomb.image.blobs.iter().map(|b| b.bytes.len()).sum();
        assert!(size < 4 << 20, "{} is {size} bytes long", bomb.name);
    }
    Ok(())
}

#[test]
fn synthetic_crds_have_the_size_asked_for_and_the_api_server_takes_them() -> Result<()> {
    run(async {
        let plane = shared().await?;
        for bytes in [2_000, 10_000, 50_000, 150_000] {
            let kind = format!("Sized{bytes}");
            let yaml =
                serde_saphyr::to_string(&synthetic::crd("fixtures.example.org", &kind, bytes, Some("v1")))?;
            let off = yaml.len().abs_diff(bytes);
            assert!(
                off < bytes / 20 + 700,
                "{bytes} bytes were asked for, {} came",
                yaml.len()
            );
            plane.apply_yaml(&yaml).await?;
        }
        let args = [
            "wait",
            "crd",
            "sized150000s.fixtures.example.org",
            "--for",
            "condition=Established",
        ];
        plane.kubectl(&args).await?;
        let custom =
            "{apiVersion: fixtures.example.org/v1beta1, kind: Sized2000, metadata: {name: one}, spec: {}}";
        let applied = async || Ok(plane.apply_yaml(custom).await.ok());
        testkit::eventually("a custom resource is taken", Duration::from_secs(10), applied).await?;
        assert!(plane.kubectl(&["get", "synthetic"]).await?.contains("one"));
        Ok(())
    })
}
