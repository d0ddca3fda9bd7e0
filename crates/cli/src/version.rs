//! `gantry version`, and what versions mean for a package.

use clap::Args;
use package::Meta;
use serde::Serialize;

use crate::output::{Form, Output};

const GANTRY: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// Show the version of Gantry, and the Crossplane version that it counts as for packages.
#[derive(Args, Debug)]
pub(crate) struct Version {
    /// Form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

#[derive(Serialize)]
struct Report {
    gantry: &'static str,
    crossplane: &'static str,
}

impl Version {
    pub(crate) fn run(&self, output: &mut Output<'_>) -> anyhow::Result<()> {
        let report = Report {
            gantry: GANTRY,
            crossplane: api::CROSSPLANE_VERSION,
        };
        output.result(self.output, &report, |_| format!("gantry {}\n", text()))
    }
}

/// Both versions in one line.
pub(crate) const fn text() -> &'static str {
    // `api::CROSSPLANE_VERSION` can't be part of a constant text; a test compares the two.
    concat!("v", env!("CARGO_PKG_VERSION"), " (counts as Crossplane v2.4.0)")
}

/// A sentence if the package asks for another Crossplane version than Gantry counts as.
pub(crate) fn compatibility(meta: &Meta) -> Option<String> {
    let error = meta.check_crossplane(api::CROSSPLANE_VERSION).err()?;
    Some(format!(
        "{error}; Gantry {GANTRY} counts as {} and will not install it",
        api::CROSSPLANE_VERSION
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_both_versions() {
        assert_eq!(
            text(),
            format!("{GANTRY} (counts as Crossplane {})", api::CROSSPLANE_VERSION)
        );
    }
}
