//! A constraint on versions.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::limits::MAX_CONSTRAINT_BYTES;
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
        let groups = text
            .split("||")
            .map(|group| terms(group).ok_or_else(|| ConstraintError::Improper(group.to_owned())))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            original: text.into(),
            groups,
        })
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

/// The terms of one group, `None` if it doesn't follow the grammar.
fn terms(group: &str) -> Option<Vec<Term>> {
    let mut rest = skip_space(group);
    let mut terms = Vec::new();
    loop {
        let (op, after_op) = operator(rest);
        let (bound, after) = word(skip_space(after_op))?;
        rest = after;
        // A hyphen range is two versions without operators and a dash with spaces around it.
        let dash = skip_space(rest).strip_prefix('-').filter(|_| op.is_none());
        let upper = dash.filter(|tail| rest.starts_with(is_space) && tail.starts_with(is_space));
        if let Some(tail) = upper {
            let (upper, after) = word(skip_space(tail))?;
            rest = after;
            terms.push(Term::new(Op::GreaterEqual, bound)?);
            terms.push(Term::new(Op::LessEqual, upper)?);
        } else {
            terms.push(Term::new(op.unwrap_or(Op::Equal), bound)?);
        }
        let after_space = skip_space(rest);
        if after_space.is_empty() {
            return Some(terms);
        }
        if let Some(after_comma) = after_space.strip_prefix(',') {
            rest = skip_space(after_comma);
        } else if after_space.len() < rest.len() {
            rest = after_space;
        } else {
            return None;
        }
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

fn word(text: &str) -> Option<(Parts<'_>, &str)> {
    let is_part = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'x' | b'X' | b'*');
    let (parts, length) = parts::take(text, is_part)?;
    Some((parts, text.get(length..)?))
}

fn skip_space(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

/// What `\s` means in Go's regular expressions, which define the reference's grammar.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}

impl Term {
    fn new(op: Op, parts: Parts<'_>) -> Option<Self> {
        let open = |part: Option<&str>| matches!(part, None | Some("x" | "X" | "*"));
        let [major, minor, patch] = parts.numbers;
        let (open, major, minor, patch) = match (open(major), open(minor), open(patch)) {
            (true, _, _) => (Open::Major, "0", "0", "0"),
            (_, true, _) => (Open::Minor, major?, "0", "0"),
            (_, _, true) => (Open::Patch, major?, minor?, "0"),
            _ => (Open::None, major?, minor?, patch?),
        };
        let dash = if parts.prerelease.is_some() { "-" } else { "" };
        let prerelease = parts.prerelease.unwrap_or_default();
        let bound = Version::parse(&format!("{major}.{minor}.{patch}{dash}{prerelease}")).ok()?;
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
