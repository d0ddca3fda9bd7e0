//! `deploy/crds/`: our CRDs, one file each.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context as _;

use super::YAML_HEADER;

/// The files, named `<group>_<plural>.yaml`.
pub(super) fn files() -> anyhow::Result<BTreeMap<PathBuf, String>> {
    api::crds()
        .iter()
        .map(|crd| {
            let path = format!("deploy/crds/{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
            let yaml = serde_saphyr::to_string(&serde_json::to_value(crd)?).context("write a CRD as YAML")?;
            Ok((path.into(), format!("{YAML_HEADER}{yaml}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    #[test]
    fn the_files_say_what_the_code_says() {
        let mut files = super::files().unwrap().into_values();
        for crd in api::crds() {
            let written: Value = serde_saphyr::from_str(&files.next().unwrap()).unwrap();
            assert_eq!(written, serde_json::to_value(&crd).unwrap());
        }
        assert_eq!(files.next(), None);
    }
}
