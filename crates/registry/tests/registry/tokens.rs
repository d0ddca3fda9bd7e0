//! Tokens: where they come from, how long they last.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gantry_registry::{Client, ClientConfig, Credential, Error, Keychain, Reason};
use jiff::Timestamp;

use crate::auth::{BOB, Rules, challenge, get, token, with_tokens};
use crate::stub::*;

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
