//! Waiting for something to become true.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks: short enough for figures to a tenth of a second, long enough to cost the machine
/// nothing.
pub const PAUSE: Duration = Duration::from_millis(100);

/// Looks again and again until `look` answers `Some`.
///
/// # Errors
/// When `look` fails, or answers `None` for `timeout`; the message says `what` was awaited.
pub async fn eventually<T, F, R>(what: &str, timeout: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> R,
    R: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not after {timeout:?}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// That `look` answers `true` all the time for `period`.
///
/// # Errors
/// When it fails or answers `false`; the message says `what` did not last.
pub async fn lasting<F, R>(what: &str, period: Duration, mut look: F) -> Result<()>
where
    F: FnMut() -> R,
    R: Future<Output = Result<bool>>,
{
    let start = Instant::now();
    while start.elapsed() < period {
        if !look().await? {
            bail!("{what}: no longer true after {:?}", start.elapsed());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
