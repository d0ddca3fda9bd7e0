//! End-to-end tests. There is nothing here but what they start: the operator and the CLI as binaries of this
//! crate, so that `cargo test` builds them. The tests are in `tests/e2e`, the tools that they run in
//! `tests/tools`.
