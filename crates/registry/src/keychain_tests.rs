//! Forms of secrets, and which entry is used for which image.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn secret(name: &str, data: &str) -> PullSecret {
    PullSecret {
        name: name.to_owned(),
        kind: SecretKind::DockerConfigJson,
        data: data.as_bytes().to_vec(),
    }
}

fn users(keychain: &Keychain, image: &str) -> Vec<String> {
    let reference = Reference::parse(image).unwrap();
    let user = |sourced: Sourced| match sourced.credential {
        Credential::Basic { username, .. } => username,
        Credential::IdentityToken { token, .. } => format!("identity {token}"),
        Credential::RegistryToken(token) => format!("registry {token}"),
    };
    keychain.candidates(&reference).into_iter().map(user).collect()
}

fn keychain(keys: &[&str]) -> Keychain {
    let auths: serde_json::Map<_, _> = keys
        .iter()
        .map(|key| {
            (
                (*key).to_owned(),
                serde_json::json!({ "username": key, "password": "p" }),
            )
        })
        .collect();
    let (keychain, problems) =
        Keychain::from_secrets(&[secret("s", &serde_json::json!({ "auths": auths }).to_string())]);
    assert!(problems.is_empty(), "{problems:?}");
    keychain
}

#[test]
fn matches_as_kubernetes_does() {
    // key, image, matches
    let table = [
        ("r.example.org", "r.example.org/a/b:1", true),
        ("https://r.example.org", "r.example.org/a/b:1", true),
        ("https://r.example.org/v1/", "r.example.org/a/b:1", true),
        ("https://r.example.org/v2/", "r.example.org/a/b:1", true),
        ("R.Example.org", "r.example.org/a/b:1", true),
        ("*.example.org", "r.example.org/a/b:1", true),
        ("*.example.org", "x.r.example.org/a/b:1", false),
        ("*.*.example.org", "x.r.example.org/a/b:1", true),
        ("r-?.example.org", "r-1.example.org/a/b:1", true),
        ("*.example.org", "example.org/a/b:1", false),
        ("r.example.org:5000", "r.example.org/a/b:1", false),
        ("r.example.org", "r.example.org:5000/a/b:1", false),
        ("r.example.org:5000", "r.example.org:5000/a/b:1", true),
        ("r.example.org/a", "r.example.org/a/b:1", true),
        ("r.example.org/a/", "r.example.org/a/b:1", true),
        ("r.example.org/a/b", "r.example.org/a/b:1", true),
        ("r.example.org/b", "r.example.org/a/b:1", false),
        ("https://index.docker.io/v1/", "docker.io/a/b:1", true),
        ("docker.io", "docker.io/b:1", true),
        ("docker.io/library", "docker.io/b:1", true),
        ("[::1]:5000", "[::1]:5000/a:1", true),
        ("example.org", "r.example.org/a:1", false),
        ("", "r.example.org/a:1", false),
    ];
    for (key, image, matches) in table {
        assert_eq!(
            !users(&keychain(&[key]), image).is_empty(),
            matches,
            "{key} for {image}"
        );
    }
}

#[test]
fn the_most_specific_entry_comes_first() {
    let keys = [
        "*.example.org",
        "r.example.org",
        "r.example.org/a",
        "r.example.org/a/b",
    ];
    assert_eq!(
        users(&keychain(&keys), "r.example.org/a/b:1"),
        [
            "r.example.org/a/b",
            "r.example.org/a",
            "r.example.org",
            "*.example.org"
        ]
    );
    assert_eq!(
        users(&keychain(&keys), "r.example.org/c:1"),
        ["r.example.org", "*.example.org"]
    );
}

#[test]
fn reads_all_forms() {
    let encoded = STANDARD.encode("alice:se:cret");
    let auths = format!(
        r#"{{"auths":{{
            "a.example.org":{{"auth":"{encoded}"}},
            "b.example.org":{{"username":"bob","password":"p","email":"x"}},
            "c.example.org":{{"auth":"{encoded}","identitytoken":"refresh"}},
            "d.example.org":{{"registrytoken":"ready"}},
            "e.example.org":{{}}, "f.example.org":null
        }},"credsStore":"desktop"}}"#
    );
    let legacy = PullSecret {
        name: "old".to_owned(),
        kind: SecretKind::DockerCfg,
        data: br#"{"g.example.org":{"username":"grace","password":"p"}}"#.to_vec(),
    };
    let (keychain, problems) = Keychain::from_secrets(&[secret("new", &auths), legacy]);
    assert!(problems.is_empty(), "{problems:?}");
    let expected = [
        ("a", "alice"),
        ("b", "bob"),
        ("c", "identity refresh"),
        ("d", "registry ready"),
        ("g", "grace"),
    ];
    for (host, user) in expected {
        assert_eq!(users(&keychain, &format!("{host}.example.org/x:1")), [user]);
    }
    assert!(
        users(&keychain, "e.example.org/x:1").is_empty() && users(&keychain, "f.example.org/x:1").is_empty()
    );
    let candidate = keychain
        .candidates(&Reference::parse("a.example.org/x:1").unwrap())
        .remove(0);
    let whole = Credential::Basic {
        username: "alice".to_owned(),
        password: "se:cret".to_owned(),
    };
    assert_eq!(
        candidate,
        Sourced {
            credential: whole,
            source: "secret \"new\"".to_owned()
        }
    );
}

#[test]
fn what_is_wrong_is_named_and_the_rest_is_used() {
    let good =
        r#"{"auths":{"a.example.org":{"username":"a","password":"p"},"b.example.org":{"auth":"%%%"}}}"#;
    let (keychain, problems) = Keychain::from_secrets(&[secret("bad", "{hunter2"), secret("good", good)]);
    assert_eq!(users(&keychain, "a.example.org/x:1"), ["a"]);
    let messages: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(
        messages.len() == 2 && messages[0].contains("\"bad\"") && messages[1].contains("b.example.org"),
        "{messages:?}"
    );
    assert!(!messages.concat().contains("hunter2"));
    let big = PullSecret {
        data: vec![b' '; MAX_SECRET_BYTES + 1],
        ..secret("big", "")
    };
    assert_eq!(
        Keychain::from_secrets(&[big]).1,
        [KeychainProblem::TooLarge("secret \"big\"".to_owned())]
    );
}

#[test]
fn debug_shows_no_secret() {
    let keychain = Keychain::single(
        "r.example.org",
        Credential::Basic {
            username: "alice".to_owned(),
            password: "hunter2".to_owned(),
        },
        "test",
    );
    let reference = Reference::parse("r.example.org/a:1").unwrap();
    let shown = format!(
        "{keychain:?} {:?} {:?}",
        keychain.candidates(&reference),
        secret("s", "hunter2")
    );
    assert!(!shown.contains("hunter2") && !shown.contains("alice"), "{shown}");
}

#[test]
fn identities_differ() {
    let basic = |user: &str, password: &str| {
        Credential::Basic {
            username: user.to_owned(),
            password: password.to_owned(),
        }
        .identity()
    };
    assert_ne!(basic("ab", "c"), basic("a", "bc"));
    assert_eq!(basic("a", "b"), basic("a", "b"));
    assert_ne!(
        Credential::RegistryToken("b".to_owned()).identity(),
        basic("", "b")
    );
}

proptest! {
    #[test]
    fn never_panics(data in vec(any::<u8>(), 0..200), key in ".{0,60}", glob in ".{0,12}") {
        let raw = PullSecret { name: "s".to_owned(), kind: SecretKind::DockerCfg, data };
        let _ = Keychain::from_secrets(&[raw]);
        let _ = split_key(&key);
        let _ = glob_matches(&glob, &key);
    }

    #[test]
    fn a_star_matches_everything(label in "[a-z0-9-]{0,20}", cut in 0_usize..20) {
        prop_assert!(glob_matches("*", &label));
        let cut = cut.min(label.len());
        let (head, tail) = label.split_at(cut);
        let glob = format!("{head}*{tail}");
        prop_assert!(glob_matches(&glob, &label));
    }
}
