use super::*;
use crate::meta::Owner;

fn live() -> Live<Meta> {
    Live::new(
        "things".into(),
        CancellationToken::new(),
        crate::watch::by_owner(),
    )
}

fn seen(name: &str, version: &str, owners: &[&str]) -> Seen<Meta> {
    let owner = |uid: &&str| Owner {
        uid: (*uid).to_owned(),
        ..Owner::default()
    };
    let meta = Meta {
        name: name.into(),
        owner_references: owners.iter().map(owner).collect(),
        ..Meta::default()
    };
    Seen {
        name: name.into(),
        uid: format!("uid-{name}"),
        version: version.into(),
        value: Ok(meta),
    }
}

fn drain(changes: &mut Changes<Meta>) -> Vec<(String, bool)> {
    let mut all: Vec<_> = std::iter::from_fn(|| changes.try_next())
        .map(|c| (c.name.clone(), c.is_deletion()))
        .collect();
    all.sort();
    all
}

#[test]
fn what_is_known_is_in_doubt_until_everything_is_listed_again() {
    let live = live();
    live.inner.replace(vec![seen("a", "9", &[])]);
    assert!(!live.in_doubt());
    live.inner.doubt();
    assert!(live.in_doubt() && live.get("a").is_some());
    live.inner.apply(seen("a", "3", &[]));
    assert!(live.in_doubt(), "one event is not all");
    live.inner.replace(vec![seen("a", "3", &[])]);
    assert!(!live.in_doubt());
}

#[test]
fn a_relist_reports_only_differences() {
    let live = live();
    assert!(!live.ready());
    live.inner.replace(vec![
        seen("a", "1", &["x"]),
        seen("b", "1", &["x"]),
        seen("c", "1", &[]),
    ]);
    assert!(live.ready());
    let mut changes = live.subscribe();
    assert_eq!(drain(&mut changes).len(), 3);
    live.inner
        .replace(vec![seen("a", "1", &["x"]), seen("b", "2", &["y"])]);
    assert_eq!(
        drain(&mut changes),
        [("b".to_owned(), false), ("c".to_owned(), true)]
    );
    assert_eq!(live.owned_by("x"), ["a"]);
    assert_eq!(live.owned_by("y"), ["b"]);
}

#[test]
fn the_index_follows_owners() {
    let live = live();
    live.inner.apply(seen("a", "1", &["x", "y"]));
    live.inner.apply(seen("a", "2", &["y"]));
    assert!(live.owned_by("x").is_empty());
    assert_eq!(live.lookup_objects("y").len(), 1);
    assert!(live.any("y", |_| true) && !live.any("y", |_| false) && !live.any("nobody", |_| true));
    live.inner.delete("a");
    assert!(live.owned_by("y").is_empty() && live.is_empty());
    assert!(live.inner.store().index.is_empty());
}

#[test]
fn a_recreated_object_of_the_same_version_is_a_change() {
    let live = live();
    live.inner.apply(seen("a", "1", &[]));
    let mut changes = live.subscribe();
    drain(&mut changes);
    live.inner.apply(Seen {
        uid: "other".into(),
        ..seen("a", "1", &[])
    });
    assert_eq!(drain(&mut changes), [("a".to_owned(), false)]);
}

#[test]
fn what_cannot_be_decoded_keeps_its_last_good_state() {
    let live = live();
    live.inner.apply(seen("a", "1", &[]));
    let bad = |name: &str| Seen {
        value: Err("bad".into()),
        ..seen(name, "2", &[])
    };
    live.inner.apply(bad("a"));
    live.inner.replace(vec![bad("a"), bad("b")]);
    assert!(live.get("a").is_some() && live.get("b").is_none());
    assert_eq!(live.broken().len(), 2);
    live.inner.apply(seen("b", "3", &[]));
    live.inner.delete("a");
    assert!(live.broken().is_empty() && live.get("a").is_none());
}

#[tokio::test(start_paused = true)]
async fn waits_and_says_why() {
    let live = live();
    live.inner
        .set_phase(Phase::Failing("listing is forbidden".into()));
    let late = live.wait_ready(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(
        late.to_string(),
        "the watch on things has not filled its store within 5 s: listing is forbidden"
    );
    live.inner.set_phase(Phase::Absent);
    live.wait_ready(Duration::from_secs(5)).await.unwrap();
}

/// A watch may fail right after its list came: whoever waits sees only the last phase.
#[tokio::test(start_paused = true)]
async fn a_failure_right_after_the_list_does_not_hide_the_list() {
    let live = live();
    let start = tokio::time::Instant::now();
    let later = async {
        tokio::task::yield_now().await;
        live.inner.replace(vec![seen("a", "1", &[])]);
        live.inner.set_phase(Phase::Synced);
        live.inner.set_phase(Phase::Failing("too many requests".into()));
    };
    let (waited, ()) = tokio::join!(live.wait_ready(Duration::from_secs(5)), later);
    waited.unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "only noticed when the time was over"
    );
}

#[tokio::test(start_paused = true)]
async fn an_absent_resource_is_not_listed() {
    let live = live();
    live.inner.clear();
    assert!(live.ready() && !live.is_listed());
    let later = async {
        tokio::task::yield_now().await;
        live.inner.replace(vec![]);
        live.inner.set_phase(Phase::Synced);
        live.inner.set_phase(Phase::Failing("too many requests".into()));
    };
    let waited = tokio::time::timeout(Duration::from_secs(5), live.until_listed());
    let (waited, ()) = tokio::join!(waited, later);
    waited.unwrap();
    live.inner.clear();
    assert!(!live.is_listed());
}
