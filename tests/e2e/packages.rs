//! The package reader against packages that share no code with it.

use anyhow::Result;
use api::pkg::PackageKind;
use package::{Content, Discard, Options, Parsed};
use testkit::{Image, PackageFixture, malformed};

/// Reads an image as the operator does: the annotated layer, else all layers.
fn read(image: &Image) -> Result<Parsed, package::Error> {
    let layers = image.blobs.get(1..).unwrap_or_default();
    let annotated = layers.iter().find(|l| l.annotation.as_deref() == Some("base"));
    let content = match annotated {
        Some(layer) => Content::Annotated {
            layer: layer.bytes.as_ref(),
            diff_id: None,
        },
        None => Content::Flattened(layers.iter().map(|l| l.bytes.as_ref()).collect()),
    };
    let options = Options {
        kind: Some(PackageKind::Provider),
        ..Options::default()
    };
    package::read(content, &mut Discard, &options)
}

#[test]
fn well_formed_packages_are_read() -> Result<()> {
    let group = "read.example.org";
    let fixture = PackageFixture::provider("read")
        .crds(group, 5)
        .crossplane(">=v2.0.0")
        .capability("safe-start");
    let fixture = fixture.depends_on("Provider", "registry.invalid/a/b", ">=v1.0.0");
    let parsed = read(&fixture.build()?)?;
    assert_eq!(parsed.objects.len(), 5);
    assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
    for version in ["v1", "v1alpha1"] {
        read(
            &PackageFixture::provider("old")
                .meta_version(version)
                .crd(group, "Thing")
                .build()?,
        )?;
    }
    // A Composition has no place in a Provider: left out, with a warning.
    let odd = fixture.composition("not-allowed-in-a-provider", group, "Thing");
    let parsed = read(&odd.build()?)?;
    assert_eq!(
        (parsed.objects.len(), parsed.warnings.len()),
        (5, 1),
        "{:?}",
        parsed.warnings
    );
    Ok(())
}

#[test]
fn a_package_of_real_size_is_read() -> Result<()> {
    // GANTRY_CORPUS is optional; without it the same is done with synthetic ones of that size.
    let n = 50;
    let fixture = PackageFixture::provider("real-size");
    let fixture = match testkit::Corpus::from_env()? {
        Some(corpus) => fixture.corpus(&corpus, n)?,
        None => fixture.crd_bytes(50_000).crds("real.example.org", n),
    };
    assert_eq!(read(&fixture.build()?)?.objects.len(), n);
    Ok(())
}

#[test]
fn malformed_packages_are_refused_each_with_a_sentence() -> Result<()> {
    for case in malformed::all()? {
        let error = match read(&case.image) {
            Ok(parsed) => anyhow::bail!("{} ({}) was read: {:?}", case.name, case.wrong, parsed.meta),
            Err(error) => format!("{:#}", anyhow::Error::from(error)),
        };
        assert!(error.len() > 10 && error.len() < 2_000, "{}: {error}", case.name);
    }
    Ok(())
}
