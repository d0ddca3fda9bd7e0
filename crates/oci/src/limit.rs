//! One bound, described for the table of limits in the documentation.

/// A bound that Gantry enforces: one row of the generated table of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is bounded, as a short noun phrase, unique in the table ("manifest size").
    pub name: &'static str,
    /// The bound with its unit ("4 MiB").
    pub value: &'static str,
    /// Why there is a bound, and why this one.
    pub reason: &'static str,
    /// The flag that changes it, with its dashes, if there is one.
    pub flag: Option<&'static str>,
}

impl Limit {
    /// A bound that only a change of the code moves.
    pub const fn fixed(name: &'static str, value: &'static str, reason: &'static str) -> Self {
        Self {
            name,
            value,
            reason,
            flag: None,
        }
    }

    /// A bound that a flag changes; `value` is its default.
    pub const fn flag(
        name: &'static str,
        value: &'static str,
        reason: &'static str,
        flag: &'static str,
    ) -> Self {
        Self {
            name,
            value,
            reason,
            flag: Some(flag),
        }
    }
}
