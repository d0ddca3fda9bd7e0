//! Who asks: challenges, tokens, several credentials, and who never learns what.

use axum::response::Response;
use gantry_registry::{Client, Error, Keychain, PullSecret, Reason, SecretKind};

use crate::stub::*;

/// What a registry with tokens demands of whom.
#[derive(Clone)]
pub(crate) struct Rules {
    /// The Basic header that the token endpoint wants; anonymous if empty.
    pub(crate) wanted: Vec<&'static str>,
    /// Body of the endpoint's answer; `N` becomes the number of the token.
    pub(crate) answer: &'static str,
    /// Path of the realm.
    pub(crate) realm: &'static str,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            wanted: vec![],
            answer: r#"{"token":"t-N","expires_in":300}"#,
            realm: "/token",
        }
    }
}

// base64 of alice:secret, bob:secret
pub(crate) const ALICE: &str = "Basic YWxpY2U6c2VjcmV0";
pub(crate) const BOB: &str = "Basic Ym9iOnNlY3JldA==";

pub(crate) fn challenge(seen: &Seen, realm: &str) -> Response {
    let challenge = format!(
        "Bearer realm=\"http://{}{realm}\",service=\"svc\"",
        seen.header("host")
    );
    reply(
        401,
        &[("www-authenticate", &challenge)],
        r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#,
    )
}

pub(crate) fn token(rules: &Rules, seen: &Seen) -> Response {
    let known = rules.wanted.is_empty() || rules.wanted.contains(&seen.authorization());
    if known {
        reply(200, &[], rules.answer.replace('N', &seen.nth.to_string()))
    } else {
        reply(401, &[], "who?")
    }
}

/// A registry that takes any token of its endpoint, and Basic from nobody.
pub(crate) async fn with_tokens(rules: Rules) -> Stub {
    let image = Image::of("layer");
    Stub::start(move |seen| {
        if seen.path == rules.realm {
            return token(&rules, seen);
        }
        if seen.authorization().starts_with("Bearer t-") && seen.path != "/v2/" {
            return image.serve(seen);
        }
        challenge(seen, rules.realm)
    })
    .await
}

pub(crate) async fn get(client: &Client, stub: &Stub, keychain: &Keychain) -> Result<(), Error> {
    client
        .manifest(&stub.reference("a/b:v1"), keychain, soon())
        .await
        .map(drop)
}

#[tokio::test]
async fn basic_credentials() {
    let image = Image::of("layer");
    let stub = Stub::start(move |seen| match seen.authorization() {
        ALICE => image.serve(seen),
        _ => reply(401, &[("www-authenticate", "Basic realm=\"x\"")], ""),
    })
    .await;
    let client = client();
    get(&client, &stub, &login(&stub, "alice", "secret"))
        .await
        .unwrap();
    let error = get(&client, &stub, &Keychain::anonymous()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Unauthenticated);
    assert!(error.to_string().contains("no pull secrets given"), "{error}");
    let error = get(&client, &stub, &login(&stub, "alice", "hunter2"))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::CredentialsRefused);
    let message = error.to_string();
    assert!(
        message.contains("secret \"test\"") && !message.contains("hunter2"),
        "{message}"
    );
    let elsewhere = Keychain::single("other.example.org", basic("alice", "secret"), "secret \"other\"");
    let error = get(&client, &stub, &elsewhere).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unauthenticated { tried, .. } if tried == "secret \"other\""),
        "{error}"
    );
    assert!(
        stub.seen()
            .iter()
            .all(|seen| ["", ALICE, "Basic YWxpY2U6aHVudGVyMg=="].contains(&seen.authorization()))
    );
}

#[tokio::test]
async fn several_challenges() {
    let image = Image::of("layer");
    let rules = Rules {
        wanted: vec![ALICE],
        ..Rules::default()
    };
    let stub = Stub::start(move |seen| {
        if seen.path == "/token" {
            return token(&rules, seen);
        }
        if seen.authorization().starts_with("Bearer t-") {
            return image.serve(seen);
        }
        let mut answer = challenge(seen, "/token");
        let bearer = answer.headers_mut().remove("www-authenticate").unwrap();
        for value in ["Negotiate", "Basic realm=\"x\""] {
            answer
                .headers_mut()
                .append("www-authenticate", value.parse().unwrap());
        }
        answer.headers_mut().append("www-authenticate", bearer);
        answer
    })
    .await;
    get(&client(), &stub, &login(&stub, "alice", "secret"))
        .await
        .unwrap();
    let to_registry = stub.seen().into_iter().filter(|seen| seen.path != "/token");
    assert!(
        to_registry.into_iter().all(|seen| seen.authorization() != ALICE),
        "the password goes to the realm only"
    );
}

#[tokio::test]
async fn with_a_credential_the_registry_is_asked_first_what_it_wants() {
    // such a registry says 404, and not 401, to somebody it doesn't know
    let image = Image::of("layer");
    let rules = Rules {
        wanted: vec![ALICE],
        ..Rules::default()
    };
    let stub = Stub::start(move |seen| match seen.path.as_str() {
        "/token" => token(&rules, seen),
        "/v2/" => challenge(seen, "/token"),
        _ if seen.authorization().starts_with("Bearer t-") => image.serve(seen),
        _ => not_found(),
    })
    .await;
    let client = client();
    for _ in 0..3 {
        get(&client, &stub, &login(&stub, "alice", "secret"))
            .await
            .unwrap();
    }
    let pings = stub.seen().iter().filter(|seen| seen.path == "/v2/").count();
    assert_eq!(
        (pings, stub.count("GET", "manifests")),
        (1, 3),
        "asked once, then remembered"
    );
}

#[tokio::test]
async fn the_next_credential_is_tried_when_one_is_refused() {
    let stub = with_tokens(Rules {
        wanted: vec![BOB],
        ..Rules::default()
    })
    .await;
    let auths = serde_json::json!({ "auths": {
        format!("{}/a/b", stub.host()): { "username": "alice", "password": "secret" },
        stub.host(): { "username": "bob", "password": "secret" },
    }});
    let secret = |name: &str, data: &serde_json::Value| PullSecret {
        name: name.to_owned(),
        kind: SecretKind::DockerConfigJson,
        data: data.to_string().into_bytes(),
    };
    let (keychain, _) = Keychain::from_secrets(&[secret("both", &auths)]);
    get(&client(), &stub, &keychain).await.unwrap();
    let tried: Vec<String> = stub
        .seen()
        .iter()
        .filter(|seen| seen.path == "/token")
        .map(|seen| seen.authorization().to_owned())
        .collect();
    assert_eq!(tried, [ALICE, BOB], "the more specific one comes first");

    let only = serde_json::json!({ "auths": { stub.host(): { "username": "alice", "password": "secret" } } });
    let other =
        serde_json::json!({ "auths": { stub.host(): { "username": "carol", "password": "secret" } } });
    let (keychain, _) = Keychain::from_secrets(&[secret("one", &only), secret("two", &other)]);
    let error = get(&client(), &stub, &keychain).await.unwrap_err();
    assert_eq!(error.reason(), Reason::CredentialsRefused);
    let message = error.to_string();
    assert!(
        message.contains("\"one\"") && message.contains("\"two\""),
        "{message}"
    );
}

#[tokio::test]
async fn tenants_never_share_tokens() {
    let image = Image::of("layer");
    // a token belongs to whoever asked for it: t-alice, t-bob, t-anonymous
    let stub = Stub::start(move |seen| {
        let user = match seen.authorization() {
            ALICE => "alice",
            BOB => "bob",
            _ => "anonymous",
        };
        if seen.path == "/token" {
            return reply(200, &[], format!(r#"{{"token":"t-{user}","expires_in":3600}}"#));
        }
        if seen.path == "/v2/" || !seen.authorization().starts_with("Bearer ") {
            return challenge(seen, "/token");
        }
        image.serve(seen)
    })
    .await;
    let client = client();
    let keychains = [
        login(&stub, "alice", "secret"),
        login(&stub, "bob", "secret"),
        Keychain::anonymous(),
    ];
    for round in 0..2 {
        for (keychain, user) in keychains.iter().zip(["alice", "bob", "anonymous"]) {
            get(&client, &stub, keychain).await.unwrap();
            let last = stub
                .seen()
                .into_iter()
                .rfind(|seen| seen.path.contains("manifests"))
                .unwrap();
            assert_eq!(last.authorization(), format!("Bearer t-{user}"), "round {round}");
        }
    }
    // a rotated password counts at once
    get(&client, &stub, &login(&stub, "alice", "rotated"))
        .await
        .unwrap();
    let last = stub
        .seen()
        .into_iter()
        .rfind(|seen| seen.path.contains("manifests"))
        .unwrap();
    assert_eq!(last.authorization(), "Bearer t-anonymous");
    // and one tenant's trouble is not another's answer: all at once
    let all = futures::future::join_all(keychains.iter().map(|keychain| get(&client, &stub, keychain))).await;
    assert!(all.iter().all(Result::is_ok));
}

#[tokio::test]
async fn realms_elsewhere_obey_the_rules() {
    // a realm on another port of the registry's own host may have the password, one inside may not
    let auth = Stub::start(|seen| {
        token(
            &Rules {
                wanted: vec![ALICE],
                ..Rules::default()
            },
            seen,
        )
    })
    .await;
    let port = auth.address.port();
    // registry's name, realm, allowed
    let table = [
        ("127.0.0.1", format!("http://127.0.0.1:{port}/token"), true),
        ("r.invalid", format!("http://r.invalid:{port}/token"), true),
        ("r.invalid", format!("http://auth.invalid:{port}/token"), true),
        ("r.invalid", format!("http://127.0.0.1:{port}/token"), false),
        (
            "r.invalid",
            format!("http://[::ffff:127.0.0.1]:{port}/token"),
            false,
        ),
        ("r.invalid", format!("http://localhost:{port}/token"), false),
        ("r.invalid", format!("http://other.invalid:{port}/token"), false),
        ("r.invalid", "https://169.254.169.254/token".to_owned(), false),
        ("r.invalid", "https://10.0.0.1/token".to_owned(), false),
        ("r.invalid", "ftp://auth.invalid/token".to_owned(), false),
        ("r.invalid", "/token".to_owned(), false),
    ];
    for (name, realm, allowed) in table {
        let (image, demanded) = (Image::of("layer"), realm.clone());
        let stub = Stub::start(move |seen| {
            if seen.authorization().starts_with("Bearer t-") {
                return image.serve(seen);
            }
            reply(
                401,
                &[("www-authenticate", &format!("Bearer realm=\"{demanded}\""))],
                "",
            )
        })
        .await;
        let before = auth.seen().len();
        let host = format!("{name}:{}", stub.address.port());
        let reference = oci::Reference::parse(&format!("{host}/a/b:v1")).unwrap();
        let keychain = Keychain::single(&host, basic("alice", "secret"), "secret \"x\"");
        let outcome = client().manifest(&reference, &keychain, soon()).await;
        match outcome {
            Ok(_) => assert!(allowed, "{realm} for {name}"),
            Err(error) => {
                assert!(!allowed, "{realm} for {name}: {error}");
                assert_eq!(
                    error.reason(),
                    Reason::RealmRefused,
                    "{realm} for {name}: {error}"
                );
                assert_eq!(auth.seen().len(), before, "{realm} got a request");
            }
        }
    }
}

#[tokio::test]
async fn no_error_tells_a_secret() {
    let stub = with_tokens(Rules {
        wanted: vec![BOB],
        ..Rules::default()
    })
    .await;
    let refused = get(&client(), &stub, &login(&stub, "alice", "hunter2"))
        .await
        .unwrap_err();
    let shown = format!("{refused} {refused:?} {:?}", client());
    assert!(
        !shown.contains("hunter2") && !shown.contains("YWxpY2U"),
        "{shown}"
    );
}
