//! Sets of candidates, as pubgrub wants them.

use std::fmt;
use std::ops::Bound;

use pubgrub::{Ranges, VersionSet};

/// A set of candidates of one source, by their places in its list. Written as half-open ranges of whole
/// numbers, so that two sets of the same candidates are always equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choices(Ranges<u32>);

impl Choices {
    /// All places below `count`.
    pub(crate) fn all(count: u32) -> Self {
        Self(Ranges::between(0u32, count))
    }

    /// Those of `0..count` that `wanted` accepts.
    pub(crate) fn of(count: u32, mut wanted: impl FnMut(u32) -> bool) -> Self {
        let mut ranges = Vec::new();
        let mut start = None;
        for place in 0..=count {
            match (place < count && wanted(place), start) {
                (true, None) => start = Some(place),
                (false, Some(from)) => {
                    ranges.push((Bound::Included(from), Bound::Excluded(place)));
                    start = None;
                }
                _ => {}
            }
        }
        Self(ranges.into_iter().collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, place: u32) -> bool {
        self.0.contains(&place)
    }

    /// The highest place below `count`.
    pub(crate) fn highest(&self, count: u32) -> Option<u32> {
        (0..count).rev().find(|place| self.has(*place))
    }
}

impl fmt::Display for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl VersionSet for Choices {
    type V = u32;

    fn empty() -> Self {
        Self(Ranges::empty())
    }

    fn singleton(place: u32) -> Self {
        Self(Ranges::between(place, place + 1))
    }

    fn complement(&self) -> Self {
        Self(self.0.complement())
    }

    fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0))
    }

    fn contains(&self, place: &u32) -> bool {
        self.0.contains(place)
    }

    fn full() -> Self {
        Self(Ranges::full())
    }

    fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0))
    }

    fn is_disjoint(&self, other: &Self) -> bool {
        self.0.is_disjoint(&other.0)
    }

    fn subset_of(&self, other: &Self) -> bool {
        self.0.subset_of(&other.0)
    }
}
