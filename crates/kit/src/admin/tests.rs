use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::metrics::Build;

fn args(metrics: &str, probes: &str, file: Option<PathBuf>) -> AdminArgs {
    AdminArgs {
        metrics_bind_address: metrics.parse().unwrap(),
        health_probe_bind_address: probes.parse().unwrap(),
        bound_addresses_file: file,
    }
}

fn admin() -> Admin {
    let metrics = Metrics::new(
        "test",
        Build {
            version: "1",
            revision: "r",
        },
    );
    Admin {
        metrics,
        readiness: Readiness::default(),
        log: None,
    }
}

/// Status and body of one request.
async fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn shows_state_on_two_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bound");
    let tasks = Tasks::new(CancellationToken::new());
    let admin = admin();
    let part = admin.readiness.part("definitions");
    let bound = admin
        .serve(&args("127.0.0.1:0", "127.0.0.1:0", Some(file.clone())), &tasks)
        .await
        .unwrap();
    let written = std::fs::read_to_string(file).unwrap();
    assert_eq!(
        written,
        format!("metrics={}\nprobes={}\n", bound.metrics, bound.probes)
    );

    assert_eq!(
        request(bound.probes, "GET", "/livez", "").await,
        (200, "ok\n".into())
    );
    let unready = request(bound.probes, "GET", "/readyz", "").await;
    assert_eq!(unready, (503, "definitions: not started\n".into()));
    part.ready();
    assert_eq!(request(bound.probes, "GET", "/readyz", "").await.0, 200);
    let (status, text) = request(bound.metrics, "GET", "/metrics", "").await;
    assert_eq!(status, 200);
    assert!(text.contains("test_build_info"));
    assert_eq!(request(bound.metrics, "GET", "/livez", "").await.0, 404);
    assert_eq!(request(bound.probes, "PUT", "/log", "debug").await.0, 404);
    assert_eq!(
        request(bound.probes, "PUT", "/log", &"x".repeat(FILTER_BYTES + 1))
            .await
            .0,
        413
    );
}

#[tokio::test]
async fn serves_both_on_one_address() {
    let tasks = Tasks::new(CancellationToken::new());
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let bound = admin().serve(&args(&free, &free, None), &tasks).await.unwrap();
    assert_eq!(bound.metrics, bound.probes);
    assert_eq!(request(bound.metrics, "GET", "/livez", "").await.0, 200);
    assert_eq!(request(bound.metrics, "GET", "/metrics", "").await.0, 200);
    let again = admin()
        .serve(&args(&free, &free, None), &tasks)
        .await
        .unwrap_err();
    assert!(
        again
            .to_string()
            .starts_with(&format!("cannot listen on {free} for metrics"))
    );
}

#[tokio::test]
async fn goes_on_while_the_process_stops() {
    let stopping = CancellationToken::new();
    let tasks = Tasks::new(stopping.clone());
    let bound = admin()
        .serve(&args("127.0.0.1:0", "127.0.0.1:0", None), &tasks)
        .await
        .unwrap();
    stopping.cancel();
    assert!(tasks.drain(std::time::Duration::from_secs(5)).await);
    assert_eq!(request(bound.probes, "GET", "/livez", "").await.0, 200);
}

#[test]
fn reads_addresses() {
    assert_eq!(address(":8080").unwrap().to_string(), "[::]:8080");
    assert_eq!(address("127.0.0.1:0").unwrap().to_string(), "127.0.0.1:0");
    for bad in ["", "8080", "localhost:80", ":x", ":99999"] {
        assert!(address(bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn changes_the_log_filter() {
    let (filter, _layer) = LogFilter::detached("info");
    let tasks = Tasks::new(CancellationToken::new());
    let admin = Admin {
        log: Some(filter),
        ..admin()
    };
    let bound = admin
        .serve(&args("127.0.0.1:0", "127.0.0.1:0", None), &tasks)
        .await
        .unwrap();
    assert_eq!(
        request(bound.probes, "PUT", "/log", "debug,kube=warn").await.0,
        200
    );
    assert!(
        request(bound.probes, "GET", "/log", "")
            .await
            .1
            .contains("kube=warn")
    );
    let (status, words) = request(bound.probes, "PUT", "/log", "kube=loud").await;
    assert_eq!(status, 400);
    assert!(words.contains("is not a log filter"), "{words}");
}
