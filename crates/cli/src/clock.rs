//! Times as people read them.

use jiff::{SignedDuration, Timestamp, Unit};

/// How long before `now` it was, in the largest unit that fits: `3 min ago`.
pub(crate) fn ago(now: Timestamp, then: Timestamp) -> String {
    match span(now.duration_since(then)) {
        Some(span) => format!("{span} ago"),
        None => "just now".to_owned(),
    }
}

/// An age as tables have it: `3m`.
pub(crate) fn age(now: Timestamp, then: Timestamp) -> String {
    let span = span(now.duration_since(then)).unwrap_or_else(|| "0 s".to_owned());
    span.replace("min", "m").replace(' ', "")
}

/// Both ways: `3 min ago (2026-11-24T12:50:31Z)`.
pub(crate) fn both(now: Timestamp, then: Timestamp) -> String {
    format!("{} ({})", ago(now, then), absolute(then))
}

/// To the second, in UTC.
pub(crate) fn absolute(then: Timestamp) -> String {
    then.round(Unit::Second).unwrap_or(then).to_string()
}

/// `None` for less than a second, and for what another machine's clock puts into the future.
fn span(duration: SignedDuration) -> Option<String> {
    let seconds = duration.as_secs();
    Some(match seconds {
        ..1 => return None,
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_largest_unit_that_says_enough() {
        let then: Timestamp = "2026-11-24T12:50:31.9Z".parse().unwrap();
        for (seconds, expected) in [
            (-60, "just now"),
            (0, "just now"),
            (1, "1 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (7_199, "119 min ago"),
            (7_200, "2 h ago"),
            (172_800, "2 d ago"),
        ] {
            let now = then + SignedDuration::from_secs(seconds);
            assert_eq!(ago(now, then), expected);
        }
        let now = then + SignedDuration::from_secs(200);
        assert_eq!(age(now, then), "3m");
        assert_eq!(both(now, then), "3 min ago (2026-11-24T12:50:32Z)");
    }
}
