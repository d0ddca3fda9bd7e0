//! End-to-end tests on a real API server and real registries.
//!
//! Tests that only speak to the API server share one control plane; they use names of their own. What stops
//! or freezes something has its own.

// Helpers of tests are tests too.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod alerts;
mod beside;
mod certificates;
mod chart;
mod chart_releases;
mod chart_values;
mod cli;
mod commands;
mod content;
mod crds;
mod deleted_again;
mod dependencies;
mod docs;
mod drift;
mod every_fault;
mod explained;
mod faults;
mod ha;
mod health;
mod history;
mod images;
mod inherited;
mod install;
mod keep;
mod kill;
mod kinds;
mod leader;
mod ledger;
mod manual;
mod metrics;
mod migration;
mod node;
mod outages;
mod packages;
mod pages;
mod pausing;
mod policies;
mod preinstall;
mod process;
mod quiet;
mod refusals;
mod rights;
mod rights_each;
mod rotation;
mod runtimes;
mod scenarios;
mod scene;
mod upgrade;
mod webhooks;
mod world;

use anyhow::Result;
use gantry_tests::state;
use testkit::{ControlPlane, ControlPlaneOptions, World, WorldOptions};
use tokio::sync::OnceCell;

/// The API server without an operator, with the nine CRDs of `api` installed.
async fn plane() -> Result<&'static ControlPlane> {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    SHARED
        .get_or_try_init(async || {
            let plane = ControlPlane::start(ControlPlaneOptions::default()).await?;
            let crds = api::crds()
                .into_iter()
                .map(|crd| Ok(serde_json::to_string(&crd)?));
            let crds = crds.collect::<Result<Vec<_>>>()?;
            plane.apply_yaml(&crds.join("\n---\n")).await?;
            plane
                .kubectl(&[
                    "wait",
                    "crd",
                    "--all",
                    "--for",
                    "condition=Established",
                    "--timeout",
                    "30s",
                ])
                .await?;
            Ok(plane)
        })
        .await
}

/// Path of the operator's binary.
const OPERATOR: &str = env!("CARGO_BIN_EXE_gantry-operator-under-test");

/// The world that tests share: one control plane, one registry, one operator. For tests that stop, freeze or
/// reconfigure nothing; they use names of their own ([`World::unique`]).
async fn world() -> Result<&'static World> {
    static SHARED: OnceCell<World> = OnceCell::const_new();
    SHARED
        .get_or_try_init(|| World::start(WorldOptions::with_operator(OPERATOR)))
        .await
}
