//! End-to-end tests, and the demonstration. What they start are the operator and the CLI: the tests as
//! binaries of this crate, so that `cargo test` builds them. The tests are in `tests/e2e`, the tools that they
//! run in `tests/tools`.

pub mod bench;
pub mod demo;
pub mod pod;
