//! Tests on a whole node. They need root on Linux, so that `cargo test` says that it ignores them, and why;
//! `make test-node` runs them.

mod chart;
mod cluster;
mod oom;
mod teardown;

use std::time::Instant;

use anyhow::Result;
use testkit::{Node, NodeOptions, World};
use tokio::sync::OnceCell;

/// The node that tests share which stop, freeze or restart nothing of it, and that only one test puts an operator on; they
/// use names of their own.
async fn world() -> Result<&'static World> {
    static SHARED: OnceCell<World> = OnceCell::const_new();
    SHARED
        .get_or_try_init(async || {
            let start = Instant::now();
            let node = Node::start(NodeOptions::default()).await?;
            println!("node: ready after {:.1} s", start.elapsed().as_secs_f64());
            Ok(World::on(node))
        })
        .await
}

async fn node() -> Result<&'static Node> {
    world().await?.node()
}
