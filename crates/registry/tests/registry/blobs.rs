//! Blobs: verified, bounded, taken up again.

use std::time::Duration;

use axum::response::Response;
use gantry_registry::{Client, Error, Keychain, Reason, limits};
use oci::{Algorithm, Descriptor, Digest};

use crate::stub::*;

const SIZE: usize = 100_000;

/// Makes an odd answer to a request from some byte on.
type FaultAt = fn(usize) -> Response;

async fn pull(client: &Client, stub: &Stub, descriptor: &Descriptor) -> (Result<(), Error>, Vec<u8>) {
    let mut sink = Vec::new();
    let reference = stub.reference("a/b:v1");
    let outcome = client
        .blob(&reference, descriptor, &Keychain::anonymous(), soon(), &mut sink)
        .await;
    (outcome, sink)
}

fn start_of(seen: &Seen) -> usize {
    let range = seen
        .header("range")
        .strip_prefix("bytes=")
        .and_then(|range| range.strip_suffix('-'));
    range.map_or(0, |start| start.parse().unwrap())
}

/// A registry that breaks off after a quarter of the blob each time, and honours ranges if `ranges`.
async fn breaking(ranges: bool) -> Stub {
    Stub::start(move |seen| {
        let (layer, start) = (noise(SIZE), if ranges { start_of(seen) } else { 0 });
        let length = (SIZE - start).to_string();
        // without ranges, each try gets a quarter further, so that it can end
        let end = if ranges {
            start + SIZE / 4
        } else {
            SIZE / 4 * (seen.nth + 1)
        }
        .min(SIZE);
        let body = pieces(vec![layer.slice(start..end)], Duration::ZERO, end < SIZE);
        let range = format!("bytes {start}-{}/{SIZE}", SIZE - 1);
        match start {
            0 => reply(200, &[("content-length", &length)], body),
            _ => reply(
                206,
                &[("content-length", &length), ("content-range", &range)],
                body,
            ),
        }
    })
    .await
}

#[tokio::test]
async fn a_blob_arrives() {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let layer = noise(SIZE);
        let stub = Stub::start(|_| reply(200, &[], noise(SIZE))).await;
        let descriptor = Descriptor::new("x", Digest::of(algorithm, &layer), SIZE as u64);
        let (outcome, got) = pull(&client(), &stub, &descriptor).await;
        outcome.unwrap();
        assert_eq!(got, layer);
        assert_eq!(
            stub.seen()[0].path,
            format!("/v2/a/b/blobs/{}", descriptor.digest)
        );
    }
    let empty = Stub::start(|_| reply(200, &[], "")).await;
    pull(&client(), &empty, &Descriptor::new("x", Digest::sha256(b""), 0))
        .await
        .0
        .unwrap();
}

#[tokio::test]
async fn what_breaks_off_is_resumed() {
    let stub = breaking(true).await;
    let (outcome, got) = pull(&client(), &stub, &layer_descriptor(&noise(SIZE))).await;
    outcome.unwrap();
    assert_eq!(got, noise(SIZE));
    let ranges: Vec<String> = stub
        .seen()
        .iter()
        .map(|seen| seen.header("range").to_owned())
        .collect();
    assert_eq!(ranges, ["", "bytes=25000-", "bytes=50000-", "bytes=75000-"]);
}

#[tokio::test]
async fn a_registry_that_ignores_ranges_is_read_from_the_start() {
    let stub = breaking(false).await;
    let (outcome, got) = pull(&client(), &stub, &layer_descriptor(&noise(SIZE))).await;
    outcome.unwrap();
    assert_eq!(got, noise(SIZE));
}

#[tokio::test]
async fn odd_answers_to_ranges_start_over() {
    let odd: [(&str, FaultAt); 4] = [
        ("416", |_| reply(416, &[("content-range", "bytes */100000")], "")),
        ("other start", |_| {
            reply(
                206,
                &[("content-range", "bytes 1-99999/100000")],
                noise(SIZE).slice(1..),
            )
        }),
        ("other total", |start| {
            reply(
                206,
                &[("content-range", &format!("bytes {start}-99999/100001"))],
                noise(SIZE).slice(start..),
            )
        }),
        ("no range", |start| reply(206, &[], noise(SIZE).slice(start..))),
    ];
    for (name, answer) in odd {
        let stub = Stub::start(move |seen| match (seen.nth, start_of(seen)) {
            (0, _) => {
                let half = noise(SIZE).slice(..SIZE / 2);
                reply(
                    200,
                    &[("content-length", "100000")],
                    pieces(vec![half], Duration::ZERO, true),
                )
            }
            (_, 0) => reply(200, &[], noise(SIZE)),
            (_, start) => answer(start),
        })
        .await;
        let (outcome, got) = pull(&client(), &stub, &layer_descriptor(&noise(SIZE))).await;
        assert!(outcome.is_ok(), "{name}: {outcome:?}");
        assert_eq!(got, noise(SIZE), "{name}");
    }
}

#[tokio::test]
async fn resuming_is_bounded() {
    let stub = Stub::start(|_| {
        let body = pieces(vec![noise(SIZE).slice(..10)], Duration::ZERO, true);
        reply(200, &[("content-length", "100000")], body)
    })
    .await;
    let (outcome, _) = pull(&client(), &stub, &layer_descriptor(&noise(SIZE))).await;
    let error = outcome.unwrap_err();
    assert!(
        matches!(error, Error::Interrupted { received: 10, .. }),
        "{error}"
    );
    assert!(error.is_transient());
    assert_eq!(stub.seen().len(), 1 + limits::MAX_RESUMES as usize);
}

#[tokio::test]
async fn wrong_content_is_refused() {
    let layer = noise(SIZE);
    let stub = Stub::start(|_| reply(200, &[], noise(SIZE))).await;
    let digest = Descriptor::new("x", Digest::sha256(b"other"), SIZE as u64);
    let error = pull(&client(), &stub, &digest).await.0.unwrap_err();
    assert_eq!(error.reason(), Reason::DigestMismatch);
    let message = error.to_string();
    assert!(
        message.contains(digest.digest.as_str()) && message.contains(Digest::sha256(&layer).as_str()),
        "{message}"
    );

    // the registry announces another length, in both directions: nothing is written at all
    for size in [SIZE - 1, SIZE + 1] {
        let (outcome, got) = pull(
            &client(),
            &stub,
            &Descriptor::new("x", Digest::sha256(&layer), size as u64),
        )
        .await;
        let error = outcome.unwrap_err();
        assert!(
            matches!(&error, Error::SizeMismatch { actual, .. } if actual == "100000"),
            "{error}"
        );
        assert!(got.is_empty());
    }
    assert_eq!(stub.seen().len(), 3, "what is wrong is not asked for again");
}

#[tokio::test]
async fn bodies_without_length_are_bounded() {
    let longer = Stub::start(|_| reply(200, &[], pieces(vec![noise(SIZE); 50], Duration::ZERO, false))).await;
    let (outcome, got) = pull(&client(), &longer, &layer_descriptor(&noise(SIZE))).await;
    assert!(
        matches!(&outcome, Err(Error::SizeMismatch { actual, .. }) if actual.contains("more than")),
        "{outcome:?}"
    );
    assert!(got.len() <= SIZE);

    let shorter = Stub::start(|_| {
        reply(
            200,
            &[],
            pieces(vec![noise(SIZE).slice(1..)], Duration::ZERO, false),
        )
    })
    .await;
    let (outcome, _) = pull(&client(), &shorter, &layer_descriptor(&noise(SIZE))).await;
    assert!(
        matches!(&outcome, Err(Error::SizeMismatch { actual, .. }) if actual == "99999"),
        "{outcome:?}"
    );
    assert_eq!(shorter.seen().len(), 2);
}

#[tokio::test]
async fn silence_and_dripping_end() {
    // silence after the first piece
    let silent = Stub::start(|_| {
        let body = pieces(
            vec![noise(SIZE).slice(..1), noise(SIZE)],
            Duration::from_secs(5),
            false,
        );
        reply(200, &[("content-length", "100000")], body)
    })
    .await;
    // one byte each 50 ms: never silent, and never done
    let dripping = Stub::start(|_| {
        let byte = noise(1);
        reply(
            200,
            &[("content-length", "100000")],
            pieces(vec![byte; SIZE], Duration::from_millis(50), false),
        )
    })
    .await;
    for (stub, says) in [(&silent, "nothing came"), (&dripping, "bytes came in")] {
        let started = std::time::Instant::now();
        let error = pull(&client(), stub, &layer_descriptor(&noise(SIZE)))
            .await
            .0
            .unwrap_err();
        assert!(
            matches!(&error, Error::Interrupted { detail, .. } if detail.contains(says)),
            "{error}"
        );
        assert!(started.elapsed() < Duration::from_secs(15));
    }
}

#[tokio::test]
async fn the_deadline_ends_everything() {
    let stub = Stub::start(|_| {
        reply(
            200,
            &[("content-length", "100000")],
            pieces(vec![noise(1); SIZE], Duration::from_millis(20), false),
        )
    })
    .await;
    let (mut sink, reference) = (Vec::new(), stub.reference("a/b:v1"));
    let deadline = gantry_registry::Deadline::after(Duration::from_millis(250));
    let started = std::time::Instant::now();
    let descriptor = layer_descriptor(&noise(SIZE));
    let outcome = client()
        .blob(
            &reference,
            &descriptor,
            &Keychain::anonymous(),
            deadline,
            &mut sink,
        )
        .await;
    assert_eq!(outcome.unwrap_err().reason(), Reason::Timeout);
    assert!(started.elapsed() < Duration::from_millis(900));
}

#[tokio::test]
async fn a_sink_that_fails_is_told() {
    let stub = Stub::start(|_| reply(200, &[], noise(SIZE))).await;
    let mut small = [0; 10];
    let mut sink = std::io::Cursor::new(&mut small[..]);
    let reference = stub.reference("a/b:v1");
    let descriptor = layer_descriptor(&noise(SIZE));
    let outcome = client()
        .blob(&reference, &descriptor, &Keychain::anonymous(), soon(), &mut sink)
        .await;
    assert_eq!(outcome.unwrap_err().reason(), Reason::StorageFailed);
}
