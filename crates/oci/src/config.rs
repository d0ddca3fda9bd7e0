//! The image config, as far as a package needs it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::descriptor::null_as_default;

/// The parts of an image config that Gantry reads. Anything may be missing: `{}` is a valid config of an
/// artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// CPU architecture; often empty for packages.
    #[serde(default)]
    pub architecture: String,
    /// Operating system; often empty for packages.
    #[serde(default)]
    pub os: String,
    /// Settings for running the image.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: RunConfig,
    /// The layers' uncompressed digests.
    #[serde(default, deserialize_with = "null_as_default")]
    pub rootfs: RootFs,
}

impl Config {
    /// Reads a config.
    ///
    /// # Errors
    /// If the bytes aren't JSON of the right shape.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The image's labels.
    #[must_use]
    pub const fn labels(&self) -> &BTreeMap<String, String> {
        &self.config.labels
    }
}

/// The part of a config that containers get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunConfig {
    /// Labels.
    #[serde(default, rename = "Labels", deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
}

/// The uncompressed layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// One digest per layer, in the manifest's order. Kept as text: nothing is fetched by them.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerates_what_registries_hold() {
        for text in [
            "{}",
            r#"{"architecture":"","os":"","config":null,"rootfs":null}"#,
            r#"{"config":{"Labels":null}}"#,
        ] {
            assert!(
                Config::parse(text.as_bytes()).unwrap().labels().is_empty(),
                "{text}"
            );
        }
        let config =
            Config::parse(br#"{"config":{"Labels":{"a":"b"}},"rootfs":{"type":"layers","diff_ids":["x"]}}"#);
        let config = config.unwrap();
        assert_eq!(config.labels().get("a").map(String::as_str), Some("b"));
        assert_eq!(config.rootfs.diff_ids, ["x"]);
        assert!(Config::parse(b"3").is_err());
    }
}
