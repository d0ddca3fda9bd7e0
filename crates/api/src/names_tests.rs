//! Test vectors of the spec: API reference 4.4; behaviour 8.A1 and 8.C; format 1.15.

use super::*;

const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const LONG: &str = "a-rather-long-configuration-package-name-that-exceeds-fifty";

#[test]
fn dns_labels() {
    let x62 = "x".repeat(62);
    let dashes = format!("{}-----------", "a".repeat(60));
    let rows = [
        ("org/repo.name", "org-repo-name"),
        ("Upbound/provider_aws", "pbound-provideraws"),
        ("/lead", "lead"),
        ("trail/", "trail"),
        (&format!("{x62}/y"), &x62),
        (&"x".repeat(70), &"x".repeat(63)),
        ("-hi/my.name/is-", "hi-my-name-is"),
        (&"a".repeat(64), &"a".repeat(63)),
        (&dashes, &"a".repeat(60)),
        ("Acme_Corp/provider.demo", "cmeorp-provider-demo"),
        ("ghcr.io/acme/pkg_one", "ghcr-io-acme-pkgone"),
        ("..a..b..", "a--b"),
        (
            "crossplane-contrib/function-auto-ready",
            "crossplane-contrib-function-auto-ready",
        ),
        ("", ""),
        ("-", ""),
        ("ÄÖÜ", ""),
        ("aäb", "ab"),
    ];
    for (text, label) in rows {
        assert_eq!(to_dns_label(text), label, "{text}");
    }
}

#[test]
fn friendly_ids() {
    let n49 = "n".repeat(49);
    let rows = [
        ("my.provider", "abcdef", "my-provider-abcdef"),
        ("Name_With-Caps", "0011223344556677", "ameith-aps-001122334455"),
        (
            &format!("{n49}-tail"),
            "deadbeefcafebabe",
            &format!("{n49}--deadbeefcafe"),
        ),
        ("provider-aws", "1234567", "provider-aws-1234567"),
        (
            "provider-aws-plusabunchofothernonsensethatisgoingtogetcutoff",
            "1234567",
            "provider-aws-plusabunchofothernonsensethatisgoingt-1234567",
        ),
        ("provider-aws", "1234567891234567", "provider-aws-123456789123"),
        (
            "provider-aws-plusabunchofothernonsensethatisgoingtogetcutoff",
            "1234567891234567",
            "provider-aws-plusabunchofothernonsensethatisgoingt-123456789123",
        ),
        (
            "provider.aws-plusabunchofothernonsensethatisgoingtogetcutoff",
            "1234.567891234567",
            "provider-aws-plusabunchofothernonsensethatisgoingt-1234-5678912",
        ),
        (
            "provider-in-cluster",
            "provider-in-cluster",
            "provider-in-cluster-provider-in",
        ),
        ("my-config", "0123456789abcdef", "my-config-0123456789ab"),
        (
            "registry.example.org/team-one/platform-configuration-network-core",
            "sha256:deadbeef00",
            "registry-example-org-team-one-platform-configurati-sha256-deadb",
        ),
        (
            "xpkg.crossplane.io/acme/provider-widget",
            "sha256:0123456",
            "xpkg-crossplane-io-acme-provider-widget-sha256-01234",
        ),
    ];
    for (name, hash, id) in rows {
        assert_eq!(friendly_id(name, hash), id, "{name} {hash}");
    }
}

#[test]
fn names_of_the_reference() {
    assert_eq!(
        reference_revision_name("provider-nop", DIGEST, 1),
        "provider-nop-cd2c7ea14b2c"
    );
    assert_eq!(
        reference_revision_name("provider-nop", DIGEST, 2),
        "provider-nop-cf39198d28ea"
    );
    let long = reference_revision_name(LONG, DIGEST, 7);
    assert_eq!(
        long,
        "a-rather-long-configuration-package-name-that-exce-a890a4a195a0"
    );
    let digest = format!("{}1234", "1234567890".repeat(6));
    assert_eq!(reference_revision_name("test", &digest, 1), "test-ab749296bed2");
    assert_eq!(reference_revision_name("test", &digest, 2), "test-765f5b55f1a1");
    assert_eq!(
        legacy_revision_name("provider-nop", DIGEST),
        "provider-nop-0123456789ab"
    );
}

/// Ours: the expected hashes were computed with coreutils, e.g. `printf %s "$DIGEST|$API|$KIND|default" |
/// sha256sum`.
#[test]
fn our_names_depend_on_digest_and_runtime_config_only() {
    let default = RuntimeConfigReference::default();
    let other = RuntimeConfigReference {
        name: "other".to_owned(),
        ..default.clone()
    };
    assert_eq!(revision_name("platform", DIGEST, None), "platform-a8ae6e6ee929");
    assert_eq!(
        revision_name("provider-nop", DIGEST, Some(&default)),
        "provider-nop-c59d9464f7bb"
    );
    assert_eq!(
        revision_name("provider-nop", DIGEST, Some(&other)),
        "provider-nop-8c60329857ae"
    );
}

#[test]
fn secrets() {
    assert_eq!(tls_server_secret("provider-nop"), "provider-nop-tls-server");
    assert_eq!(tls_client_secret("provider-nop"), "provider-nop-tls-client");
    assert_eq!(tls_client_secret(&"p".repeat(253)).len(), MAX_NAME_BYTES);
}

#[test]
fn strange_input_gives_labels_and_no_panic() {
    let pieces = [
        "",
        "-",
        "é",
        "日本",
        "\u{0}",
        "A",
        "a",
        ".",
        "/",
        "x".repeat(49).as_str(),
        "🦀",
    ]
    .map(str::to_owned);
    for name in &pieces {
        for middle in &pieces {
            for hash in &pieces {
                let id = friendly_id(&format!("{name}{middle}"), hash);
                assert!(
                    id.len() <= MAX_LABEL_BYTES && !id.starts_with('-') && !id.ends_with('-'),
                    "{id}"
                );
                assert!(
                    id.bytes()
                        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')),
                    "{id}"
                );
            }
        }
    }
}
