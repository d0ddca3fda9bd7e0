//! Lists of tags, with every habit of paging and everything that goes wrong on the way.

use std::time::Duration;

use axum::body::Bytes;
use axum::response::Response;
use gantry_registry::{Deadline, Error, Keychain, Reason, limits};

use crate::stub::{Seen, Stub, client, late, login, pieces, reply, soon};

/// The tags that a registry with this habit shows, and how many requests it took.
async fn listed(
    answer: impl Fn(&Seen) -> Response + Send + Sync + 'static,
) -> (Result<Vec<String>, Error>, usize) {
    let stub = Stub::start(answer).await;
    let tags = client()
        .tags(&stub.reference("a/b"), &Keychain::anonymous(), soon())
        .await;
    (tags, stub.seen().len())
}

fn page(tags: &[String]) -> String {
    serde_json::json!({ "name": "a/b", "tags": tags }).to_string()
}

/// `count` tags in order, from number `from` on.
fn numbered(from: usize, count: usize) -> Vec<String> {
    (from..from + count)
        .map(|number| format!("v1.0.{number:05}"))
        .collect()
}

/// What the query asks for.
fn asked(seen: &Seen, name: &str) -> Option<String> {
    let pairs = seen.query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .into_iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

#[tokio::test]
async fn every_habit_of_paging_ends_with_all_tags() {
    let all = numbered(0, 2500);
    let after = |all: &[String], last: Option<String>| -> Vec<String> {
        all.iter()
            .filter(|tag| last.as_ref().is_none_or(|last| *tag > last))
            .cloned()
            .collect()
    };

    // Pages by `last`, and no link ever.
    let tags = all.clone();
    let habit = move |seen: &Seen| {
        let mut rest = after(&tags, asked(seen, "last"));
        rest.truncate(asked(seen, "n").unwrap().parse().unwrap());
        reply(200, &[], page(&rest))
    };
    let (found, requests) = listed(habit).await;
    assert_eq!((found.unwrap(), requests), (all.clone(), 3));

    // Exactly as many tags as a page has, and no link: one request more shows that this was all.
    let full = numbered(0, limits::TAG_PAGE_SIZE);
    let tags = full.clone();
    let (found, requests) =
        listed(move |seen| reply(200, &[], page(&after(&tags, asked(seen, "last"))))).await;
    assert_eq!((found.unwrap(), requests), (full, 2));

    // Knows neither `n` nor `last`: the whole list, whatever is asked.
    let tags = all.clone();
    let (found, requests) = listed(move |_| reply(200, &[], page(&tags))).await;
    assert_eq!((found.unwrap(), requests), (all.clone(), 2));

    // Shorter pages than were asked for, with links that have another name for the place.
    let tags = all.clone();
    let (found, requests) = listed(move |seen| {
        let from: usize = asked(seen, "token").map_or(0, |token| token.parse().unwrap());
        let rest: Vec<String> = tags.iter().skip(from).take(500).cloned().collect();
        let link = format!("</v2/a/b/tags/list?token={}>; rel=\"next\"", from + 500);
        match from + 500 < tags.len() {
            true => reply(200, &[("link", &link)], page(&rest)),
            false => reply(200, &[], page(&rest)),
        }
    })
    .await;
    assert_eq!((found.unwrap(), requests), (all, 5));
}

#[tokio::test]
async fn links_are_followed_however_they_are_written() {
    let host = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let known = std::sync::Arc::clone(&host);
    let stub = Stub::start(move |seen| {
        let absolute = format!(
            "<http://{}/v2/a/b/tags/list?page=2>; rel=next",
            known.get().unwrap()
        );
        match asked(seen, "page").as_deref() {
            None => reply(200, &[("link", &absolute)], page(&numbered(0, 1))),
            // An empty page is not the end.
            Some("2") => reply(
                200,
                &[("link", "<?page=3>; title=\"x\"; rel=\"last next\"")],
                r#"{"tags":[]}"#,
            ),
            Some("3") => reply(
                200,
                &[(
                    "link",
                    "</v2/a/b/tags/list>; rel=\"first\", <list?page=4>; REL=next",
                )],
                r#"{"name":"a/b"}"#,
            ),
            _ => reply(
                200,
                &[("link", "</v2/a/b/tags/list>; rel=\"prev\"")],
                page(&numbered(9, 1)),
            ),
        }
    })
    .await;
    host.set(stub.host()).unwrap();
    let tags = client()
        .tags(&stub.reference("a/b"), &Keychain::anonymous(), soon())
        .await
        .unwrap();
    assert_eq!(
        (tags, stub.seen().len()),
        ([numbered(0, 1), numbered(9, 1)].concat(), 4)
    );

    // A circle of several pages.
    let (found, requests) = listed(|seen| {
        let next = if seen.nth % 2 == 0 {
            "<list?page=a>; rel=next"
        } else {
            "<list?page=b>; rel=next"
        };
        reply(200, &[("link", next)], page(&numbered(seen.nth, 1)))
    })
    .await;
    assert_eq!((found.unwrap(), requests), (numbered(0, 3), 3));
}

#[tokio::test]
async fn what_goes_wrong_between_pages_is_tried_again() {
    let second = "<list?page=2>; rel=next";
    type Fault = (&'static str, fn() -> Response);
    let faults: [Fault; 3] = [
        ("a server's trouble", || reply(503, &[], "")),
        ("too many requests", || reply(429, &[("retry-after", "0")], "")),
        ("a body that breaks off", || {
            reply(
                200,
                &[],
                pieces(vec![Bytes::from_static(b"{\"tags\":[")], Duration::ZERO, true),
            )
        }),
    ];
    for (what, fault) in faults {
        let (found, requests) = listed(move |seen| match seen.nth {
            0 => reply(200, &[("link", second)], page(&numbered(0, 1))),
            1 => fault(),
            _ => reply(200, &[], page(&numbered(1, 1))),
        })
        .await;
        assert_eq!((found.unwrap(), requests), (numbered(0, 2), 3), "{what}");
        // It is not tried for ever, and what was seen before is not taken for the whole list.
        let (found, requests) = listed(move |seen| match seen.nth {
            0 => reply(200, &[("link", second)], page(&numbered(0, 1))),
            _ => fault(),
        })
        .await;
        assert!(found.is_err(), "{what}");
        assert_eq!(requests, 4, "{what}");
    }

    // A credential that is needed from the second page on.
    let stub = Stub::start(
        |seen| match (asked(seen, "page"), seen.authorization().is_empty()) {
            (None, _) => reply(200, &[("link", "<list?page=2>; rel=next")], page(&numbered(0, 1))),
            (Some(_), true) => reply(401, &[("www-authenticate", "Basic realm=\"r\"")], ""),
            (Some(_), false) => reply(200, &[], page(&numbered(1, 1))),
        },
    )
    .await;
    let tags = client()
        .tags(&stub.reference("a/b"), &login(&stub, "u", "p"), soon())
        .await
        .unwrap();
    assert_eq!(tags, numbered(0, 2));
}

#[tokio::test]
async fn what_is_refused_says_so() {
    for (status, body, reason) in [
        (401, "", Reason::Unauthenticated),
        (403, "", Reason::Forbidden),
        (404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#, Reason::NotFound),
    ] {
        let (found, _) = listed(move |_| {
            let demand = [("www-authenticate", "Basic realm=\"r\"")];
            reply(status, if status == 401 { &demand } else { &[] }, body)
        })
        .await;
        let error = found.unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
    }
    // A page that is larger than the limit is not read to its end.
    let (found, _) = listed(|_| reply(200, &[], vec![b' '; 9 << 20])).await;
    assert_eq!(found.unwrap_err().reason(), Reason::TooLarge);
    // One that does not come is not waited for beyond the deadline.
    let stub = Stub::start(|_| late(Duration::from_secs(30), reply(200, &[], "{}"))).await;
    let deadline = Deadline::after(Duration::from_millis(300));
    let started = std::time::Instant::now();
    let found = client()
        .tags(&stub.reference("a/b"), &Keychain::anonymous(), deadline)
        .await;
    assert!(found.is_err() && started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn tags_are_paged() {
    let stub = Stub::start(|seen| {
        let (link, body) = match seen.query.as_str() {
            "n=1000" => (
                "</v2/a/b/tags/list?last=v2&n=1000>; rel=\"next\"",
                r#"{"tags":["v2","v1"]}"#,
            ),
            "last=v2&n=1000" => ("<list?last=x>; rel=next", r#"{"name":"a/b","tags":null}"#),
            _ => ("", r#"{"tags":["v3","v1"]}"#),
        };
        reply(200, &[("link", link)], body)
    })
    .await;
    let tags = client()
        .tags(&stub.reference("a/b"), &Keychain::anonymous(), soon())
        .await
        .unwrap();
    assert_eq!(tags, ["v1", "v2", "v3"]);
    assert_eq!(stub.count("GET", "/v2/a/b/tags/list"), 3);
}

#[tokio::test]
async fn odd_lists_of_tags_end() {
    let circle = Stub::start(|_| {
        reply(
            200,
            &[("link", "</v2/a/b/tags/list?n=1000>; rel=\"next\"")],
            r#"{"tags":["v1"]}"#,
        )
    })
    .await;
    let tags = client()
        .tags(&circle.reference("a/b"), &Keychain::anonymous(), soon())
        .await
        .unwrap();
    assert_eq!((tags, circle.seen().len()), (vec!["v1".to_owned()], 1));

    let endless = Stub::start(|seen| {
        let next = format!("</v2/a/b/tags/list?page={}>; rel=\"next\"", seen.nth);
        reply(200, &[("link", &next)], r#"{}"#)
    })
    .await;
    let error = client()
        .tags(&endless.reference("a/b"), &Keychain::anonymous(), soon())
        .await
        .unwrap_err();
    assert_eq!(
        (error.reason(), endless.seen().len()),
        (Reason::TooLarge, limits::MAX_TAG_PAGES)
    );

    let many = Stub::start(|_| {
        let tags: Vec<String> = (0..=limits::MAX_TAGS)
            .map(|number| format!("v{number}"))
            .collect();
        reply(200, &[], serde_json::json!({ "tags": tags }).to_string())
    })
    .await;
    let error = client()
        .tags(&many.reference("a/b"), &Keychain::anonymous(), soon())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::TooLarge);

    let elsewhere = Stub::start(|_| {
        reply(
            200,
            &[(
                "link",
                "<http://cdn.invalid/v2/a/b/tags/list?secret=1>; rel=\"next\"",
            )],
            r#"{"tags":[]}"#,
        )
    })
    .await;
    let error = client()
        .tags(&elsewhere.reference("a/b"), &Keychain::anonymous(), soon())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::RedirectRefused);
    assert!(!error.to_string().contains("secret"), "{error}");

    let html = Stub::start(|_| reply(200, &[], "<html>")).await;
    let error = client()
        .tags(&html.reference("a/b"), &Keychain::anonymous(), soon())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::UnexpectedAnswer);
}
