//! The solver as its callers see it.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test that cannot go on ends the test"
)]

mod brute_force;
mod choosing;
mod explaining;
mod lab;
mod masterminds;
