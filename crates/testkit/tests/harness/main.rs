//! Tests of the test environment itself: what it says is so on real processes.

#![allow(missing_docs)]

// The name by which everybody else knows it.
extern crate gantry_testkit as testkit;

mod control_plane;
mod fixtures;
mod process;
mod proxy;
mod registry;

use anyhow::Result;
use testkit::{ControlPlane, ControlPlaneOptions};
use tokio::sync::OnceCell;

/// The control plane of the tests that don't restart or freeze anything.
async fn shared() -> Result<&'static ControlPlane> {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    SHARED
        .get_or_try_init(|| ControlPlane::start(ControlPlaneOptions::default()))
        .await
}
