//! Registries that are busy, slow or broken.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gantry_registry::{Client, ClientConfig, Error, Keychain, Metrics, Operation, Reason};
use jiff::Timestamp;
use oci::Reference;

use crate::stub::*;

async fn head(client: &Client, stub: &Stub) -> Result<(), Error> {
    client
        .head(&stub.reference("a/b:v1"), &Keychain::anonymous(), soon())
        .await
        .map(drop)
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    for status in [408, 429, 499, 500, 502, 503, 504, 522] {
        let image = Image::of("layer");
        let stub = Stub::start(move |seen| {
            if seen.nth < 2 {
                reply(status, &[], "")
            } else {
                image.serve(seen)
            }
        })
        .await;
        head(&client(), &stub)
            .await
            .unwrap_or_else(|error| panic!("{status}: {error}"));
        assert_eq!(stub.seen().len(), 3, "{status}");
    }
}

#[tokio::test]
async fn what_stays_is_told() {
    let stub = Stub::start(|_| reply(503, &[], r#"{"errors":[{"code":"X","message":"maintenance"}]}"#)).await;
    let error = client()
        .manifest(&stub.reference("a/b:v1"), &Keychain::anonymous(), soon())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Unavailable { status: 503, detail, .. } if detail.contains("maintenance")),
        "{error}"
    );
    assert!(error.is_transient());
    assert_eq!(stub.seen().len(), 3);
}

#[tokio::test]
async fn a_short_pause_is_waited_for_and_a_long_one_reported() {
    let now: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
    let config = || ClientConfig {
        clock: Arc::new(move || now),
        ..setup()
    };
    let image = Image::of("layer");
    let short = Stub::start(move |seen| {
        if seen.nth == 0 {
            reply(429, &[("retry-after", "0")], "")
        } else {
            image.serve(seen)
        }
    })
    .await;
    head(&Client::new(config()).unwrap(), &short).await.unwrap();
    // header, seconds until T
    let table = [
        ("120", 120),
        ("Fri, 01 May 2026 12:02:00 GMT", 120),
        ("86400000", 3600),
        ("Fri, 01 May 2099 12:02:00 GMT", 3600),
    ];
    for (header, seconds) in table {
        let stub = Stub::start(move |_| reply(429, &[("retry-after", header)], "")).await;
        let client = Client::new(config()).unwrap();
        let started = Instant::now();
        let error = head(&client, &stub).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(2), "the worker was held");
        assert_eq!(error.reason(), Reason::RateLimited);
        let until = error.retry_at().unwrap();
        assert_eq!(until.duration_since(now).as_secs(), seconds, "{header}");
        assert!(error.to_string().contains(&until.to_string()), "{error}");
        // everybody who asks this host pauses, without a request
        let other = stub.reference("other/repository:v1");
        let error = client
            .head(&other, &Keychain::anonymous(), soon())
            .await
            .unwrap_err();
        assert_eq!((error.reason(), stub.seen().len()), (Reason::RateLimited, 1));
        assert!(error.to_string().contains("other/repository"), "{error}");
    }
}

#[tokio::test]
async fn a_pause_of_one_host_is_not_another_hosts() {
    let busy = Stub::start(|_| reply(429, &[("retry-after", "100")], "")).await;
    let idle = Image::of("layer").start().await;
    let client = client();
    assert!(head(&client, &busy).await.is_err());
    head(&client, &idle).await.unwrap();
}

#[tokio::test]
async fn slow_answers_end() {
    let stub = Stub::start(|_| late(Duration::from_secs(30), reply(200, &[], ""))).await;
    let started = Instant::now();
    let error = head(&client(), &stub).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Timeout);
    assert!(error.to_string().contains("0.6 s"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(6));
}

#[tokio::test]
async fn retries_stop_short_of_the_deadline() {
    let stub = Stub::start(|_| reply(500, &[], "broken")).await;
    let mut config = setup();
    config.retry.attempts = 1_000;
    config.retry.backoff = Duration::from_millis(50);
    let deadline = gantry_registry::Deadline::after(Duration::from_millis(600));
    let client = Client::new(config).unwrap();
    let outcome = client
        .manifest(&stub.reference("a/b:v1"), &Keychain::anonymous(), deadline)
        .await;
    assert_eq!(
        outcome.unwrap_err().reason(),
        Reason::Unavailable,
        "the cause, and not that time was up"
    );
}

#[tokio::test]
async fn few_requests_at_a_time_per_host() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, peak) = (Arc::clone(&now), Arc::clone(&most));
    let image = Image::of("layer");
    let stub = Stub::start(move |seen| {
        peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let done = Arc::clone(&running);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            done.fetch_sub(1, Ordering::SeqCst);
        });
        late(Duration::from_millis(40), image.serve(seen))
    })
    .await;
    let client = Client::new(ClientConfig {
        per_host_concurrency: 3,
        ..setup()
    })
    .unwrap();
    let all = futures::future::join_all((0..12).map(|_| head(&client, &stub))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[derive(Default)]
struct Recorder {
    lines: Mutex<Vec<String>>,
}

impl Recorder {
    fn add(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }
}

impl Metrics for Recorder {
    fn request(&self, host: &str, operation: Operation, status: Option<u16>, _: Duration) {
        self.add(format!("{host} {} {status:?}", operation.as_str()));
    }

    fn received(&self, _: &str, operation: Operation, bytes: u64) {
        if bytes > 0 {
            self.add(format!("{} {bytes} bytes", operation.as_str()));
        }
    }

    fn retry(&self, _: &str, operation: Operation) {
        self.add(format!("retry {}", operation.as_str()));
    }

    fn throttled(&self, host: &str, wait: Duration) {
        self.add(format!("{host} asks for {} s", wait.as_secs()));
    }

    fn rate_limit_remaining(&self, _: &str, remaining: u64) {
        self.add(format!("{remaining} left"));
    }
}

#[tokio::test]
async fn figures_are_reported() {
    let image = Image::of("layer");
    let size = image.manifest.len();
    let stub = Stub::start(move |seen| {
        let mut answer = match seen.nth {
            0 => reply(502, &[], ""),
            1 => reply(429, &[("retry-after", "0")], ""),
            _ => image.serve(seen),
        };
        answer
            .headers_mut()
            .insert("ratelimit-remaining", "99;w=21600".parse().unwrap());
        answer
    })
    .await;
    let recorder = Arc::new(Recorder::default());
    let client = Client::new(ClientConfig {
        metrics: recorder.clone(),
        ..setup()
    })
    .unwrap();
    client
        .manifest(&stub.reference("a/b:v1"), &Keychain::anonymous(), soon())
        .await
        .unwrap();
    let host = stub.host();
    assert_eq!(
        *recorder.lines.lock().unwrap(),
        [
            format!("{host} get_manifest Some(502)"),
            "99 left".to_owned(),
            "retry get_manifest".to_owned(),
            format!("{host} get_manifest Some(429)"),
            "99 left".to_owned(),
            "retry get_manifest".to_owned(),
            format!("{host} asks for 0 s"),
            format!("{host} get_manifest Some(200)"),
            "99 left".to_owned(),
            format!("get_manifest {size} bytes"),
        ]
    );
}

#[tokio::test]
async fn nobody_there() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let reference = Reference::parse(&format!("{address}/a/b:v1")).unwrap();
    let error = client()
        .head(&reference, &Keychain::anonymous(), soon())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::ConnectionFailed, "{error}");
    assert!(error.is_transient());
    let reference = Reference::parse("nowhere.invalid/a/b:v1").unwrap();
    let error = client()
        .head(&reference, &Keychain::anonymous(), soon())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::HostNotFound, "{error}");
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_is_tried_again() {
    // accepts and hangs up twice, then answers by hand
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let image = Image::of("layer");
    let manifest = image.manifest.clone();
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        for number in 0..3 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            if number == 2 {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    image.media_type,
                    manifest.len()
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(&manifest).await.unwrap();
            }
        }
    });
    let reference = Reference::parse(&format!("{address}/a/b:v1")).unwrap();
    client()
        .manifest(&reference, &Keychain::anonymous(), soon())
        .await
        .unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn what_is_no_http_is_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers: Vec<Vec<u8>> = vec![
        b"\x16\x03\x01 no http".to_vec(),
        noise(10_000).to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!".to_vec(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        [b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(10_000)].concat(),
        [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), b"y".repeat(2 << 20)].concat(),
        b"HTTP/1.1 999 \xff\xfe\r\nlocation: \xff\r\n\r\n".to_vec(),
        b"HTTP/1.1 401 X\r\nwww-authenticate: \xff\xfe\r\ncontent-length: 0\r\n\r\n".to_vec(),
    ];
    let count = answers.len();
    let served = Arc::new(Mutex::new(Vec::new()));
    let current = Arc::clone(&served);
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer: Vec<u8> = current.lock().unwrap().clone();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&answer).await;
        }
    });
    let reference = Reference::parse(&format!("{address}/a/b:v1")).unwrap();
    for (number, answer) in answers.into_iter().enumerate() {
        *served.lock().unwrap() = answer;
        let outcome = client()
            .manifest(&reference, &Keychain::anonymous(), soon())
            .await;
        assert!(outcome.is_err(), "{number} of {count}");
    }
    server.abort();
}
