//! A constraint on versions.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::limits::{MAX_CONSTRAINT_BYTES, MAX_CONSTRAINT_GROUPS};
use crate::parts::{self, Parts};
use crate::version::Version;

/// A constraint such as `>=v1.2.0, <2` or `~1.4 || ^3`, with the semantics of Masterminds/semver v3.5.0.
///
/// Groups separated by `||` are alternatives; in a group all terms, separated by commas or spaces, must
/// hold. A pre-release satisfies a group only if a term of that group carries a pre-release itself.
#[derive(Clone, Debug)]
pub struct Constraint {
    original: Box<str>,
    groups: Vec<Vec<Term>>,
}

/// Why a text is not a constraint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// The text, or the part of it between two `||`, does not follow the grammar. The wording is the
    /// reference's: users search for it.
    #[error("improper constraint: {0:?}")]
    Improper(String),
    /// The text is longer than [`MAX_CONSTRAINT_BYTES`].
    #[error(
        "improper constraint: it has {0} bytes, more than the {MAX_CONSTRAINT_BYTES} allowed; shorten it"
    )]
    TooLong(usize),
    /// The text has more alternatives than [`MAX_CONSTRAINT_GROUPS`].
    #[error("improper constraint: it has {0} alternatives, more than the {MAX_CONSTRAINT_GROUPS} allowed")]
    TooManyGroups(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    Tilde,
    Caret,
}

/// Which part of a term's version is the first to be missing or a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    None,
    Patch,
    Minor,
    Major,
}

#[derive(Clone, Debug)]
struct Term {
    op: Op,
    /// The version with missing parts as 0.
    bound: Version,
    open: Open,
}

impl Constraint {
    /// Reads a constraint; the grammar is
    ///
    /// ```text
    /// constraint = group { "||" group }
    /// group      = term { ("," | space) term }
    /// term       = [op] version | version " - " version
    /// op         = "=" "!=" ">" "<" ">=" "=>" "<=" "=<" "~" "~>" "^"
    /// version    = ["v"] part ["." part ["." part]] ["-" prerelease] ["+" build], part = digits "x" "X" "*"
    /// ```
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        if text.len() > MAX_CONSTRAINT_BYTES {
            return Err(ConstraintError::TooLong(text.len()));
        }
        let plain = without_ranges(text);
        let count = plain.split("||").count();
        if count > MAX_CONSTRAINT_GROUPS {
            return Err(ConstraintError::TooManyGroups(count));
        }
        let groups = plain
            .split("||")
            .map(|group| terms(group).map_err(|_| ConstraintError::Improper(group.to_owned())))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            original: text.into(),
            groups,
        })
    }

    /// Where reading stops in a text that is no constraint: bytes from its start. `None` for a constraint,
    /// and for a text whose length or number of alternatives is what is wrong with it.
    pub fn fault(text: &str) -> Option<usize> {
        if !matches!(Self::parse(text), Err(ConstraintError::Improper(_))) {
            return None;
        }
        let mut start = 0;
        for group in text.split("||") {
            if let Err(left) = terms(&without_ranges(group)) {
                // What is left is the end of the group, whether or not a range before it was written out.
                return Some(start + group.len().saturating_sub(left));
            }
            start += group.len() + 2;
        }
        Some(0)
    }

    /// Whether `version` satisfies this constraint.
    pub fn matches(&self, version: &Version) -> bool {
        self.groups.iter().any(|group| {
            let prereleases = group.iter().any(|term| term.bound.is_prerelease());
            (prereleases || !version.is_prerelease()) && group.iter().all(|term| term.matches(version))
        })
    }

    /// The text this constraint was read from.
    pub fn as_str(&self) -> &str {
        &self.original
    }
}

impl FromStr for Constraint {
    type Err = ConstraintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.original)
    }
}

impl Serialize for Constraint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.original)
    }
}

/// The text with each `a - b` written as `>= a, <= b`, as the reference does it: in the text as a whole and
/// not in each alternative, and taking the spaces around with it. So `1 - 2 3` is `>= 1, <= 2 3`, `>0 1 - 2` is no
/// constraint, and `1||2 - 3` is `>= 1 || 2, <= 3`: its numbers may have a `|` in them.
fn without_ranges(text: &str) -> Cow<'_, str> {
    let mut plain = Cow::Borrowed(text);
    let mut at = 0;
    while let Some((start, end, low, high)) = range(text, at) {
        if let Some(whole) = text.get(start..end) {
            plain = Cow::Owned(plain.replacen(whole, &format!(">= {low}, <= {high} "), 1));
        }
        at = end;
    }
    plain
}

/// The first `a - b` at or after `from`: where it starts and ends with the spaces around it, `a` and `b`.
fn range(text: &str, from: usize) -> Option<(usize, usize, &str, &str)> {
    // Most constraints have no dash, and this need not be quick for the others.
    text.get(from..)?.find('-')?;
    for (offset, _) in text.get(from..)?.char_indices() {
        let start = from + offset;
        let low = skip_space(text.get(start..)?);
        let Some((_, length)) = parts::take(low, is_part) else {
            continue;
        };
        let (low, rest) = low.split_at(length);
        let Some(rest) = skip_some_space(rest)
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(skip_some_space)
        else {
            continue;
        };
        let Some((_, length)) = parts::take(rest, is_part) else {
            continue;
        };
        let (high, rest) = rest.split_at(length);
        return Some((start, text.len() - skip_space(rest).len(), low, high));
    }
    None
}

/// The terms of one group; if it doesn't follow the grammar, how many bytes of it were left when that showed.
fn terms(group: &str) -> Result<Vec<Term>, usize> {
    let mut rest = skip_space(group);
    let mut terms = Vec::new();
    loop {
        let (op, after_op) = operator(rest);
        let start = skip_space(after_op);
        let (parts, length) = parts::take(start, is_part).ok_or(start.len())?;
        let (text, after) = start.split_at(length);
        terms.push(Term::new(op.unwrap_or(Op::Equal), text, parts).ok_or(start.len())?);
        let next = skip_space(after);
        if next.is_empty() {
            return Ok(terms);
        }
        rest = match next.strip_prefix(',') {
            Some(after_comma) => skip_space(after_comma),
            None if next.len() < after.len() => next,
            None => return Err(next.len()),
        };
    }
}

/// The operator at the start of `text`, and what follows it.
fn operator(text: &str) -> (Option<Op>, &str) {
    // Longer spellings first: `>` is a prefix of `>=`.
    const OPERATORS: [(&str, Op); 11] = [
        ("!=", Op::NotEqual),
        (">=", Op::GreaterEqual),
        ("=>", Op::GreaterEqual),
        ("<=", Op::LessEqual),
        ("=<", Op::LessEqual),
        ("~>", Op::Tilde),
        ("=", Op::Equal),
        (">", Op::Greater),
        ("<", Op::Less),
        ("~", Op::Tilde),
        ("^", Op::Caret),
    ];
    OPERATORS
        .iter()
        .find_map(|(spelling, op)| text.strip_prefix(spelling).map(|rest| (Some(*op), rest)))
        .unwrap_or((None, text))
}

/// What a number may be made of. A `|` is the reference's slip; it only does something behind a wildcard,
/// where nothing is read any more.
fn is_part(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'x' | b'X' | b'*' | b'|')
}

fn skip_space(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

/// The text behind at least one space.
fn skip_some_space(text: &str) -> Option<&str> {
    text.starts_with(is_space).then(|| skip_space(text))
}

/// What `\s` means in Go's regular expressions, which define the reference's grammar.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}

impl Term {
    /// A term of the version that `text` was taken apart from.
    fn new(op: Op, text: &str, parts: Parts<'_>) -> Option<Self> {
        let open = |part: Option<&str>| matches!(part, None | Some("x" | "X" | "*"));
        let [major, minor, patch] = parts.numbers;
        let dash = if parts.prerelease.is_some() { "-" } else { "" };
        let pre = parts.prerelease.unwrap_or_default();
        let (open, bound) = match (open(major), open(minor), open(patch)) {
            (true, _, _) => (Open::Major, Version::parse(&format!("0.0.0{dash}{pre}"))),
            (_, true, _) => (Open::Minor, Version::parse(&format!("{}.0.0{dash}{pre}", major?))),
            (_, _, true) => (
                Open::Patch,
                Version::parse(&format!("{}.{}.0{dash}{pre}", major?, minor?)),
            ),
            _ => (Open::None, Version::parse(text)),
        };
        let bound = bound.ok()?;
        Some(Self { op, bound, open })
    }

    /// Whether the term holds. Pre-releases have been admitted or refused by the group.
    fn matches(&self, version: &Version) -> bool {
        match self.op {
            Op::Equal if self.open == Open::None => *version == self.bound,
            Op::Equal | Op::Tilde => self.tilde(version),
            Op::NotEqual => self.not_equal(version),
            Op::Greater => self.greater(version),
            Op::Less => *version < self.bound,
            Op::GreaterEqual => *version >= self.bound,
            Op::LessEqual => self.less_equal(version),
            Op::Caret => self.caret(version),
        }
    }

    fn tilde(&self, version: &Version) -> bool {
        if *version < self.bound {
            return false;
        }
        // `~0.0.0` and `~*` accept everything from 0.0.0 up, as the reference does.
        let zero = (self.bound.major(), self.bound.minor(), self.bound.patch()) == (0, 0, 0);
        if zero && matches!(self.open, Open::None | Open::Major) {
            return true;
        }
        version.major() == self.bound.major()
            && (self.open == Open::Minor || version.minor() == self.bound.minor())
    }

    fn caret(&self, version: &Version) -> bool {
        if *version < self.bound || version.major() != self.bound.major() {
            return false;
        }
        // `^*` is read as `^0.0.0` by the reference, whatever its documentation says.
        if self.bound.major() > 0 || self.open == Open::Minor {
            return true;
        }
        if version.minor() != self.bound.minor() {
            return false;
        }
        self.bound.minor() > 0 || self.open == Open::Patch || version.patch() == self.bound.patch()
    }

    fn not_equal(&self, version: &Version) -> bool {
        match self.open {
            Open::None | Open::Major => *version != self.bound,
            Open::Minor => version.major() != self.bound.major(),
            Open::Patch => {
                (version.major(), version.minor()) != (self.bound.major(), self.bound.minor())
                    || version.semver().pre != self.bound.semver().pre
            }
        }
    }

    fn greater(&self, version: &Version) -> bool {
        let line = |version: &Version| (version.major(), version.minor());
        match self.open {
            Open::None | Open::Major => *version > self.bound,
            Open::Minor => version.major() > self.bound.major(),
            Open::Patch => line(version) > line(&self.bound),
        }
    }

    fn less_equal(&self, version: &Version) -> bool {
        match self.open {
            Open::None => *version <= self.bound,
            // `<=*` is read as `<=0.0.x` by the reference.
            Open::Major | Open::Patch => {
                (version.major(), version.minor()) <= (self.bound.major(), self.bound.minor())
            }
            Open::Minor => version.major() <= self.bound.major(),
        }
    }
}

#[cfg(test)]
#[path = "constraint_tests.rs"]
mod tests;
