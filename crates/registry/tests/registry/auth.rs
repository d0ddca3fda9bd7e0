//! Who asks: challenges, tokens, several credentials, and who never learns what.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::response::Response;
use gantry_registry::{Client, ClientConfig, Credential, Error, Keychain, PullSecret, Reason, SecretKind};
use jiff::Timestamp;

use crate::stub::*;

/// What a registry with tokens demands of whom.
#[derive(Clone)]
struct Rules {
    /// The Basic header that the token endpoint wants; anonymous if empty.
    wanted: Vec<&'static str>,
    /// Body of the endpoint's answer; `N` becomes the number of the token.
    answer: &'static str,
    /// Path of the realm.
    realm: &'static str,
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
const ALICE: &str = "Basic YWxpY2U6c2VjcmV0";
const BOB: &str = "Basic Ym9iOnNlY3JldA==";

fn challenge(seen: &Seen, realm: &str) -> Response {
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

fn token(rules: &Rules, seen: &Seen) -> Response {
    let known = rules.wanted.is_empty() || rules.wanted.contains(&seen.authorization());
    if known {
        reply(200, &[], rules.answer.replace('N', &seen.nth.to_string()))
    } else {
        reply(401, &[], "who?")
    }
}

/// A registry that takes any token of its endpoint, and Basic from nobody.
async fn with_tokens(rules: Rules) -> Stub {
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

async fn get(client: &Client, stub: &Stub, keychain: &Keychain) -> Result<(), Error> {
    client
        .manifest(&stub.reference("a/b:v1"), keychain, soon())
        .await
        .map(drop)
}

#[tokio::test]
async fn anonymous_tokens() {
    for answer in [
        r#"{"token":"t-N"}"#,
        r#"{"access_token":"t-N"}"#,
        r#"{"token":"","access_token":"t-N","x":1}"#,
    ] {
        let stub = with_tokens(Rules {
            answer,
            ..Rules::default()
        })
        .await;
        get(&client(), &stub, &Keychain::anonymous()).await.unwrap();
        let asked = stub
            .seen()
            .into_iter()
            .find(|seen| seen.path == "/token")
            .unwrap();
        assert_eq!(asked.query, "service=svc&scope=repository%3Aa%2Fb%3Apull");
        assert_eq!(asked.authorization(), "");
    }
}

#[tokio::test]
async fn tokens_are_kept_until_they_expire() {
    let now = Arc::new(AtomicU64::new(1_800_000_000));
    let clock = Arc::clone(&now);
    let config = ClientConfig {
        clock: Arc::new(move || Timestamp::from_second(clock.load(Ordering::Relaxed) as i64).unwrap()),
        ..setup()
    };
    // answer, seconds in which it is kept, seconds after which it isn't
    let table = [
        (r#"{"token":"t-N","expires_in":300}"#, 285, 295),
        (r#"{"token":"t-N"}"#, 45, 55),
        (r#"{"token":"t-N","expires_in":10}"#, 4, 6),
        (r#"{"token":"t-N","expires_in":0}"#, 45, 55),
        (r#"{"token":"t-N","expires_in":-7}"#, 45, 55),
    ];
    for (answer, kept, gone) in table {
        let client = Client::new(config.clone()).unwrap();
        let stub = with_tokens(Rules {
            answer,
            ..Rules::default()
        })
        .await;
        let start = now.load(Ordering::Relaxed);
        for (after, tokens) in [(0, 1), (0, 1), (kept, 1), (gone, 2)] {
            now.store(start + after, Ordering::Relaxed);
            get(&client, &stub, &Keychain::anonymous()).await.unwrap();
            assert_eq!(stub.count("GET", "/token"), tokens, "{answer} after {after} s");
        }
        assert_eq!(stub.count("GET", "/v2/"), 5, "one 401 at first, then none");
    }
}

#[tokio::test]
async fn one_token_for_many_at_once() {
    let rules = Rules::default();
    let image = Image::of("layer");
    let stub = Stub::start(move |seen| {
        if seen.path == "/token" {
            return late(Duration::from_millis(100), token(&rules, seen));
        }
        if seen.authorization().starts_with("Bearer t-") {
            image.serve(seen)
        } else {
            challenge(seen, "/token")
        }
    })
    .await;
    let client = client();
    let anonymous = Keychain::anonymous();
    let all = futures::future::join_all((0..8).map(|_| get(&client, &stub, &anonymous))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(stub.count("GET", "/token"), 1);
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
async fn refresh_tokens_are_exchanged() {
    for post in [200, 404, 405] {
        let image = Image::of("layer");
        let stub = Stub::start(move |seen| match (seen.method.as_str(), seen.path.as_str()) {
            ("POST", "/token") if post == 200 => reply(200, &[], r#"{"access_token":"t-0"}"#),
            ("POST", "/token") => reply(post, &[], ""),
            (_, "/token") => reply(200, &[], r#"{"token":"t-0"}"#),
            _ if seen.authorization() == "Bearer t-0" => image.serve(seen),
            _ => challenge(seen, "/token"),
        })
        .await;
        let refresh = Credential::IdentityToken {
            username: "u".to_owned(),
            token: "re&fresh".to_owned(),
        };
        let keychain = Keychain::single(&stub.host(), refresh, "secret \"x\"");
        get(&client(), &stub, &keychain).await.unwrap();
        let posted = stub
            .seen()
            .into_iter()
            .find(|seen| seen.method == "POST")
            .unwrap();
        let form = String::from_utf8(posted.body.to_vec()).unwrap();
        assert!(
            form.contains("grant_type=refresh_token") && form.contains("refresh_token=re%26fresh"),
            "{form}"
        );
        assert!(
            form.contains("scope=repository%3Aa%2Fb%3Apull") && form.contains("service=svc"),
            "{form}"
        );
        assert_eq!(stub.count("GET", "/token"), usize::from(post != 200));
        assert!(
            stub.seen().iter().all(|seen| !seen.query.contains("fresh")),
            "a secret in a URL ends up in logs"
        );
    }
}

#[tokio::test]
async fn ready_tokens_are_used_as_they_are() {
    let image = Image::of("layer");
    let stub = Stub::start(move |seen| match seen.authorization() {
        "Bearer ready" => image.serve(seen),
        _ => challenge(seen, "/token"),
    })
    .await;
    let keychain = |token: &str| {
        Keychain::single(
            &stub.host(),
            Credential::RegistryToken(token.to_owned()),
            "secret \"x\"",
        )
    };
    get(&client(), &stub, &keychain("ready")).await.unwrap();
    assert_eq!(stub.seen().len(), 1);
    for bad in ["stale", "li\nne"] {
        let error = get(&client(), &stub, &keychain(bad)).await.unwrap_err();
        assert_eq!(error.reason(), Reason::CredentialsRefused, "{error}");
    }
    assert_eq!(stub.count("GET", "/token"), 0);
}

#[tokio::test]
async fn a_token_refused_midway_is_renewed_once() {
    let image = Image::of("layer");
    let valid = Arc::new(Mutex::new("t-0"));
    let current = Arc::clone(&valid);
    let stub = Stub::start(move |seen| {
        if seen.path == "/token" {
            return token(&Rules::default(), seen);
        }
        if seen.authorization() == format!("Bearer {}", current.lock().unwrap()) {
            return image.serve(seen);
        }
        let host = seen.header("host");
        let scope = "repository:a/b:pull registry:catalog:*";
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"svc\",scope=\"{scope}\"");
        reply(401, &[("www-authenticate", &challenge)], "")
    })
    .await;
    let client = client();
    get(&client, &stub, &Keychain::anonymous()).await.unwrap();
    // the token for our own scope is new and too narrow, the remembered one for the demanded scope is revoked
    *valid.lock().unwrap() = "t-2";
    get(&client, &stub, &Keychain::anonymous()).await.unwrap();
    assert_eq!(stub.count("GET", "/token"), 3);
    let asked = stub
        .seen()
        .into_iter()
        .rfind(|seen| seen.path == "/token")
        .unwrap();
    assert!(
        asked.query.contains("registry%3Acatalog"),
        "the demanded scope is asked for: {}",
        asked.query
    );
    // never valid again: one renewal, then the truth
    *valid.lock().unwrap() = "nothing";
    let error = get(&client, &stub, &Keychain::anonymous()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Unauthenticated);
    assert_eq!(stub.count("GET", "/token"), 5);
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
async fn scopes_differ_by_repository() {
    let stub = with_tokens(Rules::default()).await;
    let client = client();
    for repository in ["a/b:v1", "a/c:v1", "a/b:v2"] {
        client
            .manifest(&stub.reference(repository), &Keychain::anonymous(), soon())
            .await
            .unwrap();
    }
    assert_eq!(stub.count("GET", "/token"), 2);
}

#[tokio::test]
async fn a_failing_token_endpoint_is_named() {
    let table: [(u16, &str, Reason, usize); 6] = [
        (500, "oops", Reason::TokenEndpointFailed, 3),
        (400, "bad", Reason::TokenEndpointFailed, 1),
        (404, "", Reason::TokenEndpointFailed, 1),
        (200, "<html>", Reason::TokenEndpointFailed, 1),
        (200, r#"{"token":"li\nne"}"#, Reason::TokenEndpointFailed, 1),
        (429, "", Reason::RateLimited, 3),
    ];
    for (status, body, reason, tries) in table {
        let stub = Stub::start(move |seen| match seen.path.as_str() {
            "/token" => reply(status, &[], body),
            _ => challenge(seen, "/token?secret=1"),
        })
        .await;
        let error = get(&client(), &stub, &Keychain::anonymous()).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
        let message = error.to_string();
        assert!(
            message.contains(&stub.host()) && !message.contains("secret=1"),
            "{message}"
        );
        assert_eq!(stub.count("GET", "/token"), tries, "{status}");
        assert_eq!(error.is_transient(), matches!(status, 429 | 500), "{error}");
    }
    let stub = with_tokens(Rules {
        wanted: vec![BOB],
        ..Rules::default()
    })
    .await;
    let error = get(&client(), &stub, &login(&stub, "alice", "secret"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::CredentialsRefused { detail, .. } if detail.contains("401")),
        "{error}"
    );
    let error = get(&client(), &stub, &Keychain::anonymous()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Unauthenticated);
}

#[tokio::test]
async fn a_token_endpoint_that_recovers_is_enough() {
    let image = Image::of("layer");
    let stub = Stub::start(move |seen| match (seen.path.as_str(), seen.nth) {
        ("/token", 0) => reply(503, &[("retry-after", "0")], ""),
        ("/token", _) => token(&Rules::default(), seen),
        _ if seen.authorization().starts_with("Bearer t-") => image.serve(seen),
        _ => challenge(seen, "/token"),
    })
    .await;
    get(&client(), &stub, &Keychain::anonymous()).await.unwrap();
    assert_eq!(stub.count("GET", "/token"), 2);
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
