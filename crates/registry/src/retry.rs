//! When to try again.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::config::RetryPolicy;
use crate::limits::MAX_RETRY_AFTER;

/// Whether a status may go away by itself: the set of format-and-cli.md 3.5 without 429, which has its own
/// rules.
pub(crate) const fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 499 | 500 | 502 | 503 | 504 | 522)
}

/// The wait before try number `attempt` + 1, with up to a quarter of jitter, so that clients don't march in
/// step.
pub(crate) fn backoff(policy: &RetryPolicy, attempt: u32) -> Duration {
    let doubled = policy
        .backoff
        .saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let jitter = doubled.mul_f64(0.25 * random());
    doubled.saturating_add(jitter).min(policy.max_wait)
}

/// How long the answer asks to wait: seconds or a date, at most [`MAX_RETRY_AFTER`].
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// A number from 0 to 1. Needs no quality: it spreads clients.
fn random() -> f64 {
    let hasher = std::collections::hash_map::RandomState::new().build_hasher();
    (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(text: &str) -> Option<u64> {
        let now: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        retry_after(&headers, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn reads_seconds_dates_and_nonsense() {
        let table = [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("3600", Some(3600)),
            ("86400", Some(3600)),
            ("99999999999999999999999", Some(3600)),
            ("Fri, 01 May 2026 12:00:30 GMT", Some(30)),
            ("Fri, 01 May 2026 11:00:00 GMT", Some(0)),
            ("Fri, 01 May 2099 11:00:00 GMT", Some(3600)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(wait(text), expected, "{text:?}");
        }
    }

    #[test]
    fn backoff_grows_within_bounds() {
        let policy = RetryPolicy {
            attempts: 9,
            backoff: Duration::from_millis(100),
            max_wait: Duration::from_secs(1),
        };
        for (attempt, least) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (40, 1000)] {
            let wait = backoff(&policy, attempt).as_millis();
            assert!(
                wait >= least && wait <= (least * 5 / 4).min(1000).max(least),
                "{attempt}: {wait}"
            );
        }
    }
}
