//! Tests on a whole node. They need root on Linux, so that `cargo test` says that it ignores them, and why;
//! `make test-node` runs them.

mod cluster;
mod image;
mod oom;
mod teardown;

use anyhow::Result;
use testkit::{Node, NodeOptions};
use tokio::sync::OnceCell;

/// The node that tests share which stop, freeze or restart nothing of it; they use names of their own.
async fn node() -> Result<&'static Node> {
    static SHARED: OnceCell<Node> = OnceCell::const_new();
    SHARED
        .get_or_try_init(|| Node::start(NodeOptions::default()))
        .await
}
