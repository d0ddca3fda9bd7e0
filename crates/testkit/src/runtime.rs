//! The one runtime of a test process.

use std::future::Future;
use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    // Only one TLS provider is linked, but whoever asks first must find it installed. An error means that it
    // is.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a tokio runtime can be built")
});

/// Runs `future` to its end on the runtime that all tests of this process share.
///
/// `#[tokio::test]` makes a runtime per test: what a shared control plane's client or an in-process server
/// spawned would die with the test that came first.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}
