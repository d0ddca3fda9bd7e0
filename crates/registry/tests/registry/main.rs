//! The client and the store against registries on loopback that do everything wrong that a registry can do.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test that cannot go on ends the test"
)]

mod auth;
mod blobs;
mod fetching;
mod manifests;
mod network;
mod oracle;
mod pushing;
mod redirects;
mod storing;
mod stub;
mod tags;
mod throttling;
mod tokens;
