//! Every bound of this crate, for a table that people read.

/// One bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is bounded.
    pub name: &'static str,
    /// The bound with its unit.
    pub value: &'static str,
    /// Why it is there and why it is so large.
    pub reason: &'static str,
    /// The flag that changes it, if one does.
    pub flag: Option<&'static str>,
}

const fn fixed(name: &'static str, value: &'static str, reason: &'static str) -> Limit {
    Limit {
        name,
        value,
        reason,
        flag: None,
    }
}

const fn flag(name: &'static str, value: &'static str, reason: &'static str, flag: &'static str) -> Limit {
    Limit {
        name,
        value,
        reason,
        flag: Some(flag),
    }
}

/// All of them. A test compares the values with the constants.
pub const LIMITS: &[Limit] = &[
    fixed(
        "API server: connect",
        "5 s",
        "a machine that is gone must not hold a reconcile",
    ),
    fixed(
        "API server: head of an answer",
        "30 s",
        "half of what the server allows itself",
    ),
    fixed(
        "API server: silence within an answer",
        "30 s",
        "watches are exempt, they are silent by nature",
    ),
    fixed(
        "API server: first request",
        "15 s",
        "a wrong address is an answer and not a silence",
    ),
    fixed(
        "API server: one write",
        "40 s",
        "large definitions take seconds on a busy server",
    ),
    fixed("API server: one read", "30 s", "as for the head of an answer"),
    fixed(
        "API server: answer with metadata only",
        "4 MiB",
        "managed fields of large objects are part of it",
    ),
    fixed(
        "API server: one object",
        "16 MiB",
        "the server's store takes 1.5 MiB by default, some take more",
    ),
    fixed(
        "API server: words of a refusal that are kept",
        "4 KiB",
        "they end up in conditions and events",
    ),
    fixed(
        "API server: causes of a refusal that are kept",
        "20",
        "a reader wants the first few",
    ),
    fixed(
        "lists: objects per page",
        "500",
        "as the official clients ask for",
    ),
    fixed(
        "lists: one page",
        "64 MiB",
        "500 objects with large managed fields",
    ),
    fixed(
        "lists: pages",
        "2000",
        "a million objects; more is a server that never ends",
    ),
    fixed(
        "watches: first delay after a failure",
        "0.8 s",
        "as the official clients wait",
    ),
    fixed(
        "watches: longest delay after failures",
        "30 s",
        "as the official clients wait",
    ),
    fixed(
        "watches: longest delay after the API server was away",
        "5 s",
        "nothing is decided on what is known until all is listed again",
    ),
    fixed(
        "watches: pause while a kind is not served",
        "10 s",
        "a new kind is noticed soon; a hint makes it at once",
    ),
    fixed(
        "watches: second look before a kind counts as gone",
        "1 s",
        "a server that starts may not know its kinds yet",
    ),
    fixed("retries: first delay", "1 s", "bridges a hiccup"),
    fixed(
        "retries: longest delay",
        "60 s",
        "the end of an outage is noticed within a minute",
    ),
    fixed(
        "controllers: reconciles at once",
        "256",
        "each holds memory and a connection; the flag may ask for fewer",
    ),
    fixed("stop: running reconciles", "8 s", "leaves time to free the lease"),
    fixed(
        "stop: altogether",
        "10 s",
        "a third of what a pod is given by default",
    ),
    flag(
        "lease: duration",
        "15 s",
        "how long candidates wait",
        "--leader-election-lease-duration",
    ),
    flag(
        "lease: renew deadline",
        "10 s",
        "how long a holder may write",
        "--leader-election-renew-deadline",
    ),
    flag(
        "lease: retry period",
        "2 s",
        "five attempts before the deadline",
        "--leader-election-retry-period",
    ),
    fixed("lease: one request", "4 s", "two fit into the renew deadline"),
    fixed(
        "lease: longest duration of others",
        "600 s",
        "a mistyped year must not block for a year",
    ),
    fixed(
        "other leases: interval",
        "5 s",
        "how soon another manager is noticed",
    ),
    fixed(
        "other leases: certainly left behind after",
        "1800 s",
        "clocks in one cluster differ by less",
    ),
    fixed(
        "claim: attempts",
        "5",
        "the object may change while it is claimed",
    ),
    fixed(
        "events: waiting",
        "1000",
        "a storm larger than this tells nobody anything",
    ),
    fixed(
        "events: remembered",
        "10000",
        "so that the same is not told again",
    ),
    fixed(
        "events: the same again after",
        "3600 s",
        "as long as servers keep events by default",
    ),
    fixed("events: note", "1024 bytes", "the server refuses longer ones"),
    fixed(
        "events: reason, action, reporter",
        "128 bytes",
        "the server refuses longer ones",
    ),
    fixed("events: time between two", "0.02 s", "bursts are for metrics"),
    fixed(
        "log filter",
        "1024 bytes",
        "a filter is a line that a person types",
    ),
    fixed(
        "asking another process whether it is ready",
        "10 s",
        "it answers from memory",
    ),
    fixed("its answer", "64 KiB", "a line per part that is not ready"),
    fixed(
        "rights: asked for one by one",
        "200",
        "more are only missing where nearly all are",
    ),
    fixed(
        "rights: questions at a time",
        "8",
        "the API server has others to serve at a start",
    ),
    fixed(
        "certificates: validity",
        "90 days",
        "a key that leaked is of use for a season at most",
    ),
    fixed(
        "certificates: validity of an authority",
        "3650 days",
        "as long as what was there before it; it is followed with overlap",
    ),
    fixed(
        "certificates: an authority is valid before it was made",
        "366 days",
        "a clock that was wrong by less makes nothing that isn't valid yet",
    ),
    fixed(
        "certificates: PEM text",
        "256 KiB",
        "a bundle of a hundred authorities",
    ),
    fixed(
        "certificates: in one PEM text",
        "16",
        "chains and bundles have a handful",
    ),
    fixed("certificates: names", "32", "a service has three"),
    fixed("certificates: a name", "253 bytes", "as in the DNS"),
    fixed(
        "duration flags",
        "31622400 s",
        "a year, so that sums never overflow",
    ),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        admin, answer, backoff, certificate, claim, client, events, lease, queue, read, rights, shutdown,
        span, telemetry, watch, write,
    };

    fn seconds(duration: Duration) -> String {
        format!("{} s", duration.as_secs_f64())
    }

    fn days(duration: Duration) -> String {
        format!("{} days", duration.as_secs() / (24 * 60 * 60))
    }

    fn bytes(bytes: usize) -> String {
        match bytes {
            n if n % (1 << 20) == 0 => format!("{} MiB", n >> 20),
            n if n % (1 << 10) == 0 && n > 1024 => format!("{} KiB", n >> 10),
            n => format!("{n} bytes"),
        }
    }

    #[test]
    fn the_table_shows_the_constants() {
        let constants = [
            seconds(client::CONNECT_TIMEOUT),
            seconds(client::HEADER_TIMEOUT),
            seconds(client::BODY_IDLE_TIMEOUT),
            seconds(client::FIRST_REQUEST_TIMEOUT),
            seconds(write::WRITE_TIMEOUT),
            seconds(read::READ_TIMEOUT),
            bytes(answer::METADATA_BYTES),
            bytes(read::OBJECT_BYTES),
            bytes(answer::REFUSAL_BYTES),
            answer::REFUSAL_CAUSES.to_string(),
            read::PAGE_SIZE.to_string(),
            bytes(read::PAGE_BYTES),
            read::PAGES.to_string(),
            seconds(watch::WATCH_FIRST_DELAY),
            seconds(watch::WATCH_LONGEST_DELAY),
            seconds(watch::WATCH_DOUBT_DELAY),
            seconds(watch::ABSENT_RETRY),
            seconds(watch::ABSENT_CONFIRM),
            seconds(backoff::FIRST_DELAY),
            seconds(backoff::LONGEST_DELAY),
            queue::MOST_WORKERS.to_string(),
            seconds(queue::QUEUE_DRAIN),
            seconds(shutdown::DRAIN_DEADLINE),
            seconds(lease::LEASE_DURATION),
            seconds(lease::RENEW_DEADLINE),
            seconds(lease::RETRY_PERIOD),
            seconds(lease::LEASE_TIMEOUT),
            seconds(lease::LONGEST_LEASE),
            seconds(lease::RIVAL_INTERVAL),
            format!("{} s", lease::STALE_AFTER.as_secs()),
            claim::CLAIM_ATTEMPTS.to_string(),
            events::WAITING.to_string(),
            events::REMEMBERED.to_string(),
            seconds(events::QUIET),
            bytes(events::NOTE_BYTES),
            bytes(events::WORD_BYTES),
            seconds(events::PACE),
            bytes(telemetry::FILTER_BYTES),
            seconds(admin::ask::ASK_TIMEOUT),
            bytes(usize::try_from(admin::ask::ASK_BYTES).unwrap()),
            rights::SINGLE_QUESTIONS.to_string(),
            rights::QUESTIONS_AT_A_TIME.to_string(),
            days(certificate::VALIDITY),
            days(certificate::AUTHORITY_VALIDITY),
            days(certificate::BACKDATE),
            bytes(certificate::PEM_BYTES),
            certificate::CERTIFICATES.to_string(),
            certificate::NAMES.to_string(),
            bytes(certificate::NAME_BYTES),
            seconds(span::LONGEST),
        ];
        let shown: Vec<_> = LIMITS.iter().map(|limit| limit.value).collect();
        assert_eq!(shown, constants);
        assert_eq!(usize::try_from(watch::WATCH_PAGE).unwrap(), read::PAGE_SIZE);
        assert!(queue::QUEUE_DRAIN + Duration::from_secs(1) < shutdown::DRAIN_DEADLINE);
    }
}
