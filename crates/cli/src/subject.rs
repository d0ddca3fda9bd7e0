//! Which package a command line names.

use std::str::FromStr;

use api::pkg::PackageKind;
use clap::Args;

use crate::ending::Ending;

/// A kind as people write it, with the name behind a slash if there is one: `provider`,
/// `Providers.pkg.crossplane.io`,
/// `function/auto-ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) kind: PackageKind,
    pub(crate) name: Option<String>,
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (kind, Some(name)),
            None => (text, None),
        };
        let lower = kind.to_ascii_lowercase();
        // As kubectl has it, the version may stand before the group.
        let word = ["", ".pkg.crossplane.io", ".v1.pkg.crossplane.io"]
            .iter()
            .filter_map(|group| lower.strip_suffix(group))
            .next_back()
            .unwrap_or(&lower);
        let known = |kind: &PackageKind| word == kind.plural() || word == kind.kind().to_lowercase();
        let kind = PackageKind::ALL.into_iter().find(known).ok_or_else(|| {
            format!("{kind:?} is no kind of package; write provider, configuration or function")
        })?;
        let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(Self { kind, name })
    }
}

/// One package by kind and name.
#[derive(Args, Clone, Debug)]
pub(crate) struct Subject {
    /// provider, configuration or function; the name may follow after a slash.
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Name of the package.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

impl Subject {
    /// Kind and name.
    pub(crate) fn resolve(&self) -> anyhow::Result<(PackageKind, String)> {
        let name = the_name(&self.kind, self.name.as_deref())?;
        let name = name.ok_or_else(|| {
            let kind = self.kind.kind.kind().to_lowercase();
            Ending::usage(format!("which {kind}? write {kind} NAME, or {kind}/NAME"))
        })?;
        Ok((self.kind.kind, name))
    }
}

/// The name, which stands either behind the kind's slash or in a word of its own.
pub(crate) fn the_name(kind: &Kind, word: Option<&str>) -> anyhow::Result<Option<String>> {
    match (&kind.name, word) {
        (Some(name), Some(word)) => Err(Ending::usage(format!(
            "two names are given, {name:?} and {word:?}; write one"
        ))),
        (Some(name), None) => Ok(Some(name.clone())),
        (None, word) => Ok(word.map(str::to_owned)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_people_write_them() {
        for (text, kind, name) in [
            ("provider", PackageKind::Provider, None),
            ("Providers", PackageKind::Provider, None),
            ("PROVIDER.pkg.crossplane.io", PackageKind::Provider, None),
            (
                "functions.v1.pkg.crossplane.io/a",
                PackageKind::Function,
                Some("a"),
            ),
            ("configuration/b", PackageKind::Configuration, Some("b")),
            ("configurations/", PackageKind::Configuration, None),
        ] {
            let read: Kind = text.parse().unwrap();
            assert_eq!((read.kind, read.name.as_deref()), (kind, name), "{text}");
        }
        for wrong in [
            "",
            "providerrevision",
            "pod",
            "provider.example.org",
            "/x",
            "providerss",
        ] {
            let said = wrong.parse::<Kind>().unwrap_err();
            assert!(
                said.contains("write provider, configuration or function"),
                "{said}"
            );
        }
    }
}
