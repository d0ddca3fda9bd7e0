//! Versions and constraints beside the library that the reference reads them with.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test that cannot go on ends the test"
)]

mod masterminds;
