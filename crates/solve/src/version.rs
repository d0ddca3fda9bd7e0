//! A version as an author spells it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::limits::MAX_VERSION_BYTES;
use crate::parts;

/// A semantic version, read leniently and keeping its spelling.
///
/// `v` in front is optional, missing parts are 0 and leading zeros of the three numbers are
/// tolerated. Order and equality follow SemVer 2 precedence: build metadata does not count, so
/// `1.0.0+a == v1.0+b`.
#[derive(Clone, Debug)]
pub struct Version {
    original: Box<str>,
    parsed: semver::Version,
}

/// Why a text is not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// The text has not the shape of a version.
    #[error("{0:?} is not a semantic version; write for instance v1.2.3 or 1.2.3-rc.1")]
    Shape(String),
    /// One of the numbers does not fit 64 bits.
    #[error("a number in version {0:?} is too large; the largest is {max}", max = u64::MAX)]
    Number(String),
    /// A numeric pre-release identifier starts with a zero (SemVer 2, item 9).
    #[error("a pre-release number in version {0:?} starts with 0; remove the leading zero")]
    LeadingZero(String),
    /// The text is longer than [`MAX_VERSION_BYTES`].
    #[error("a version has at most {MAX_VERSION_BYTES} bytes, this one has {0}; shorten it")]
    TooLong(usize),
}

impl Version {
    /// Reads a version: optional `v`, one to three numbers, optional pre-release and build metadata.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        if text.len() > MAX_VERSION_BYTES {
            return Err(VersionError::TooLong(text.len()));
        }
        let shape = || VersionError::Shape(text.to_owned());
        let (parts, length) = parts::take(text, |byte| byte.is_ascii_digit()).ok_or_else(shape)?;
        if length != text.len() {
            return Err(shape());
        }
        let [major, minor, patch] = parts.numbers;
        let number = |part: Option<&str>| -> Result<u64, VersionError> {
            part.map_or(Ok(0), |digits| {
                digits.parse().map_err(|_| VersionError::Number(text.to_owned()))
            })
        };
        let mut parsed = semver::Version::new(number(major)?, number(minor)?, number(patch)?);
        if let Some(prerelease) = parts.prerelease {
            // Shape is checked above: a leading zero is all that can still be wrong.
            parsed.pre = semver::Prerelease::new(prerelease)
                .map_err(|_| VersionError::LeadingZero(text.to_owned()))?;
        }
        if let Some(build) = parts.build {
            parsed.build = semver::BuildMetadata::new(build).map_err(|_| shape())?;
        }
        Ok(Self {
            original: text.into(),
            parsed,
        })
    }

    /// The text this version was read from.
    pub fn as_str(&self) -> &str {
        &self.original
    }

    /// First number.
    pub fn major(&self) -> u64 {
        self.parsed.major
    }

    /// Second number, 0 where the text has none.
    pub fn minor(&self) -> u64 {
        self.parsed.minor
    }

    /// Third number, 0 where the text has none.
    pub fn patch(&self) -> u64 {
        self.parsed.patch
    }

    /// Whether the version has a pre-release part.
    pub fn is_prerelease(&self) -> bool {
        !self.parsed.pre.is_empty()
    }

    /// The version in normal form, for code that needs its parts.
    pub fn semver(&self) -> &semver::Version {
        &self.parsed
    }
}

/// Those of `tags` that are versions, lowest first, pre-releases included, each with its own spelling.
/// Tags that differ only in build metadata or spelling keep the order they came in.
pub fn sorted_versions<I>(tags: I) -> Vec<Version>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let mut versions: Vec<Version> = tags
        .into_iter()
        .filter_map(|tag| Version::parse(tag.as_ref()).ok())
        .collect();
    versions.sort();
    versions
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.original)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.original)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let numbers = |v: &semver::Version| (v.major, v.minor, v.patch);
        let (a, b) = (&self.parsed, &other.parsed);
        numbers(a)
            .cmp(&numbers(b))
            .then_with(|| match (a.pre.is_empty(), b.pre.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => prereleases(&a.pre, &b.pre),
            })
    }
}

/// The order of two pre-releases, by the reference: a number that does not fit 64 bits counts as a word.
fn prereleases(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let (x, y) = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => (x, y),
        };
        let order = match (x.parse::<u64>(), y.parse::<u64>()) {
            (Ok(x), Ok(y)) => x.cmp(&y),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => x.cmp(y),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.parsed.major, self.parsed.minor, self.parsed.patch).hash(state);
        self.parsed.pre.hash(state);
    }
}

#[cfg(test)]
#[path = "version_tests.rs"]
mod tests;
