//! Quoting a package's own text in messages.

use crate::limits::MAX_QUOTED_CHARS;

/// `text`, cut to a length that fits a message, control characters made visible.
pub(crate) fn shorten(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MAX_QUOTED_CHARS)
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    if text.chars().nth(MAX_QUOTED_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// `kind name`, or the kind alone where an object has no name.
pub(crate) fn object(kind: &str, name: &str) -> String {
    if name.is_empty() {
        shorten(kind)
    } else {
        format!("{} {}", shorten(kind), shorten(name))
    }
}
