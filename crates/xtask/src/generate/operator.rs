//! `deploy/operator.yaml`: what the chart makes of its defaults, for those who don't use Helm. A test compares the two.

use super::YAML_HEADER;

const MANIFESTS: &str = include_str!("operator.yaml");

/// The file, with the image of this version.
pub(super) fn file() -> String {
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    format!("{YAML_HEADER}{}", MANIFESTS.replace("VERSION", version))
}
