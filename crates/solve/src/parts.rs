//! The textual pieces that versions and constraints share.

/// A version-like word cut into its parts, nothing resolved yet. All slices are of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// One to three dotted parts: digits, or for constraints also `x`, `X`, `*`.
    pub(crate) numbers: [Option<&'a str>; 3],
    /// What follows `-`, without it.
    pub(crate) prerelease: Option<&'a str>,
    /// What follows `+`, without it.
    pub(crate) build: Option<&'a str>,
}

/// Reads a version-like word at the start of `text` and returns it with the number of bytes read.
///
/// `part` says which characters a numeric part may have. A `-` or `+` that no identifier follows is
/// not part of the word, so that the caller sees it as left over.
pub(crate) fn take(text: &str, part: fn(u8) -> bool) -> Option<(Parts<'_>, usize)> {
    let mut at = usize::from(text.starts_with('v'));
    let mut numbers = [None; 3];
    for (index, slot) in numbers.iter_mut().enumerate() {
        let start = if index == 0 {
            at
        } else if text.as_bytes().get(at) == Some(&b'.') {
            at + 1
        } else {
            break;
        };
        let length = run(text, start, part);
        if length == 0 {
            if index == 0 {
                return None;
            }
            break;
        }
        *slot = text.get(start..start + length);
        at = start + length;
    }
    let prerelease = suffix(text, &mut at, b'-');
    let build = suffix(text, &mut at, b'+');
    Some((
        Parts {
            numbers,
            prerelease,
            build,
        },
        at,
    ))
}

/// Reads `<mark>identifier(.identifier)*` at `at` and moves `at` behind it.
fn suffix<'a>(text: &'a str, at: &mut usize, mark: u8) -> Option<&'a str> {
    if text.as_bytes().get(*at) != Some(&mark) {
        return None;
    }
    let start = *at + 1;
    let mut end = start;
    loop {
        let length = run(text, end, is_identifier);
        if length == 0 {
            break;
        }
        end += length;
        if text.as_bytes().get(end) == Some(&b'.') && run(text, end + 1, is_identifier) > 0 {
            end += 1;
        } else {
            break;
        }
    }
    if end == start {
        return None;
    }
    *at = end;
    text.get(start..end)
}

/// Length of the run of bytes at `start` that `wanted` accepts.
fn run(text: &str, start: usize, wanted: fn(u8) -> bool) -> usize {
    text.as_bytes()
        .iter()
        .skip(start)
        .take_while(|byte| wanted(**byte))
        .count()
}

fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}
