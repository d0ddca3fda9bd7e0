use std::sync::{Arc, Mutex};

use http::Response;
use http_body_util::Full;
use serde_json::json;

use super::*;
use crate::{
    metrics::{Build, Metrics},
    resource::Resource,
};

type Sent = Arc<Mutex<Vec<String>>>;

/// A writer whose requests go nowhere: they are noted, and each is answered with the same metadata.
fn writer(fence: Fence) -> (Writer, Sent, Metrics) {
    let sent = Sent::default();
    let notes = sent.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let header = |name: header::HeaderName| request.headers()[name].to_str().unwrap().to_owned();
        assert!(header(header::ACCEPT).starts_with("application/json;as=PartialObjectMetadata;"));
        let uri = request.uri();
        notes.lock().unwrap().push(format!(
            "{} {uri} {}",
            request.method(),
            header(header::CONTENT_TYPE)
        ));
        async {
            let answer = r#"{"metadata": {"name": "a", "uid": "u", "resourceVersion": "2"}}"#;
            Ok::<_, tower::BoxError>(Response::new(Full::new(Bytes::from_static(answer.as_bytes()))))
        }
    });
    let metrics = Metrics::new(
        "test",
        Build {
            version: "1",
            revision: "r",
        },
    );
    let client = Client::new(service, "default");
    (
        Writer::new(client, fence, Writes::register(&metrics)),
        sent,
        metrics,
    )
}

fn thing() -> Target {
    Target::cluster(Resource::new("example.org", "v1", "things", "Thing"), "a")
}

#[tokio::test]
async fn sends_what_each_verb_needs() {
    let (writer, sent, metrics) = writer(Fence::open());
    let (t, body) = (thing(), json!({}));
    assert_eq!(writer.create("m", &t, &body).await.unwrap().uid, "u");
    writer.replace("m", &t, &body).await.unwrap();
    writer.merge_patch("m", &t, &body).await.unwrap();
    writer.apply("m", &t, &body, false).await.unwrap();
    writer.apply("m", &t, &body, true).await.unwrap();
    writer.apply_status("m", &t, &body).await.unwrap();
    writer.dry_run().create("m", &t, &body).await.unwrap();
    writer
        .delete(&t, &Preconditions::same("u"), Propagation::Background)
        .await
        .unwrap();
    const OBJECT: &str = "/apis/example.org/v1/things/a";
    assert_eq!(
        *sent.lock().unwrap(),
        [
            "POST /apis/example.org/v1/things?fieldManager=m application/json".to_owned(),
            format!("PUT {OBJECT}?fieldManager=m application/json"),
            format!("PATCH {OBJECT}?fieldManager=m application/merge-patch+json"),
            format!("PATCH {OBJECT}?fieldManager=m application/apply-patch+yaml"),
            format!("PATCH {OBJECT}?fieldManager=m&force=true application/apply-patch+yaml"),
            format!("PATCH {OBJECT}/status?fieldManager=m&force=true application/apply-patch+yaml"),
            "POST /apis/example.org/v1/things?fieldManager=m&dryRun=All application/json".to_owned(),
            format!("DELETE {OBJECT} application/json"),
        ]
    );
    let counted = "test_writes_total{operation=\"create\",kind=\"Thing\",outcome=\"Written\"} 1\n";
    assert!(
        metrics.encode().unwrap().contains(counted),
        "a dry run is no write"
    );
}

#[tokio::test]
async fn sends_nothing_through_a_closed_fence() {
    let fence = Fence::open();
    let (writer, sent, _) = writer(fence.clone());
    fence.suspend("another manager is alive");
    let error = writer.create("m", &thing(), json!({})).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "writing is suspended: another manager is alive"
    );
    let gone = Preconditions::default();
    assert_eq!(
        writer
            .delete(&thing(), &gone, Propagation::Orphan)
            .await
            .unwrap_err()
            .reason(),
        "Fenced"
    );
    assert!(sent.lock().unwrap().is_empty());
    // Checks need no right to write.
    writer
        .dry_run()
        .apply("m", &thing(), json!({}), true)
        .await
        .unwrap();
    fence.resume();
    writer.create("m", &thing(), json!({})).await.unwrap();
    assert_eq!(sent.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn sends_nothing_for_a_name_that_is_none() {
    let (writer, sent, _) = writer(Fence::open());
    let nameless = Target {
        name: String::new(),
        ..thing()
    };
    assert_eq!(
        writer
            .replace("m", &nameless, json!({}))
            .await
            .unwrap_err()
            .reason(),
        "BadName"
    );
    assert!(sent.lock().unwrap().is_empty());
}

#[test]
fn preconditions_hold_only_what_is_set() {
    assert_eq!(
        serde_json::to_value(Preconditions::same("u")).unwrap(),
        json!({"uid": "u"})
    );
    let meta = Meta {
        uid: "u".into(),
        resource_version: "7".into(),
        ..Meta::default()
    };
    let exactly = serde_json::to_value(Preconditions::exactly(&meta)).unwrap();
    assert_eq!(exactly, json!({"uid": "u", "resourceVersion": "7"}));
}
