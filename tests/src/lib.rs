//! End-to-end tests, the demonstration, the benchmark, the table of faults and the soak. What they start are the operator and the CLI: the tests as
//! binaries of this crate, so that `cargo test` builds them. The tests are in `tests/e2e`, the tools that they
//! run in `tests/tools`.

pub mod bench;
pub mod demo;
pub mod deployment_schema;
pub mod faults;
pub mod image;
pub mod pod;
pub mod policy;
pub mod release;
pub mod soak;
pub mod state;
