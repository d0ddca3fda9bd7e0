//! What a package asks of another.

use oci::{Digest, Reference};

use crate::constraint::{Constraint, ConstraintError};

/// One dependency as a package declares it.
#[derive(Clone, Debug)]
pub struct Dependency {
    kind: Box<str>,
    source: Box<str>,
    text: Box<str>,
    requirement: Requirement,
}

/// What the text of a dependency's version means.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// Any version that satisfies a constraint.
    Versions(Constraint),
    /// Exactly this content.
    Digest(Digest),
    /// What is neither, but could be a tag, such as `main`: exactly that tag.
    Tag(Box<str>),
    /// Nothing that could be met; the sentence says what is wrong and where.
    Invalid(Box<str>),
}

impl Dependency {
    /// A dependency on `source` (`registry/repository`), of which `text` is demanded: a constraint, a
    /// digest or a tag. `kind` is the kind that the package must have, empty where any will do. What is
    /// wrong with source or text is kept and reported where the dependency is looked at.
    pub fn new(kind: &str, source: &str, text: &str) -> Self {
        let named = Reference::parse(source);
        let requirement = match named {
            Ok(name) if name.tag().is_none() && name.digest().is_none() => Requirement::read(text),
            Ok(_) => Requirement::Invalid(
                format!("{source:?} must be a repository without tag and digest; move those to the version")
                    .into(),
            ),
            Err(error) => Requirement::Invalid(error.to_string().into()),
        };
        Self {
            kind: kind.into(),
            source: source.into(),
            text: text.into(),
            requirement,
        }
    }

    /// The kind that is wanted, empty for any.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The repository that is wanted, as it is written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The constraint, digest or tag, as it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the text means.
    pub const fn requirement(&self) -> &Requirement {
        &self.requirement
    }
}

impl Requirement {
    /// Reads a constraint, a digest or a tag.
    pub fn read(text: &str) -> Self {
        if let Ok(digest) = Digest::parse(text) {
            return Self::Digest(digest);
        }
        let error = match Constraint::parse(text) {
            Ok(constraint) => return Self::Versions(constraint),
            Err(error) => error,
        };
        // A tag is what a reference takes for one.
        if Reference::parse(&format!("tag.invalid/a:{text}")).is_ok_and(|r| r.tag() == Some(text)) {
            return Self::Tag(text.into());
        }
        let place = match (&error, Constraint::fault(text)) {
            (ConstraintError::Improper(_), Some(at)) => {
                match text.get(at..).filter(|rest| !rest.is_empty()) {
                    Some(rest) => format!(" (at byte {at}, from {rest:?} on)"),
                    None if text.is_empty() => String::new(),
                    None => " (something is missing at its end)".to_owned(),
                }
            }
            _ => String::new(),
        };
        Self::Invalid(format!("{error}{place}").into())
    }
}
