//! The metadata object of a package, in the one form that all its API versions convert to.

use std::collections::BTreeMap;

use api::pkg::PackageKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use solve::{Constraint, Version};

use crate::error::Error;
use crate::parse::Fields;
use crate::reserved;
use crate::text::shorten;
use crate::warning::{Warning, WarningKind};

/// A package's metadata (`meta.pkg.crossplane.io`, converted to v1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Number of its document.
    pub document: u32,
    /// The API version it is written in: `v1`, `v1beta1` or `v1alpha1`.
    pub version: String,
    /// Kind of the package.
    #[serde(with = "kind_as_text")]
    pub kind: PackageKind,
    /// `metadata.name`: informational, may be empty.
    pub name: String,
    /// Labels for the revision; reserved ones are left out.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations for the revision; reserved ones are left out.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Constraint on the Crossplane version, as written and known to parse.
    pub crossplane: Option<String>,
    /// Dependencies in the order of the file.
    #[serde(default)]
    pub depends_on: Vec<Dependency>,
    /// Capabilities; `None` (not said) differs from an empty list, see [`Meta::has_capability`].
    pub capabilities: Option<Vec<String>>,
}

/// A package that must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// `apiVersion` of the package object; of the legacy forms, `pkg.crossplane.io/v1`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Image without tag and digest.
    pub package: String,
    /// Version constraint or digest, as written.
    pub constraints: String,
    /// Whether it is written in one of the forms `provider:`, `configuration:`, `function:`, which the Lock
    /// shows as `type` instead of `apiVersion` and `kind`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub legacy: bool,
}

/// The running version is outside of what the package asks for. The wording is the reference's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("package is not compatible with Crossplane version ({running}): it needs {constraint}")]
pub struct Incompatible {
    /// The version that Gantry counts as.
    pub running: String,
    /// The package's constraint.
    pub constraint: String,
}

/// Assumed for a Function that does not list its capabilities (spec: API reference 2.4).
pub const CAPABILITY_COMPOSITION: &str = "composition";

impl Meta {
    /// Checks the package's constraint on the Crossplane version; without one all versions are fine.
    ///
    /// # Errors
    /// If `running` is outside, or is not a version, as in the reference.
    pub fn check_crossplane(&self, running: &str) -> Result<(), Incompatible> {
        let Some(constraint) = &self.crossplane else {
            return Ok(());
        };
        let fits = match (Constraint::parse(constraint), Version::parse(running)) {
            (Ok(constraint), Ok(version)) => constraint.matches(&version),
            _ => false,
        };
        if fits {
            Ok(())
        } else {
            Err(Incompatible {
                running: running.to_owned(),
                constraint: constraint.clone(),
            })
        }
    }

    /// Whether the package is of kind `wanted`.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if not.
    pub fn check_kind(&self, wanted: PackageKind) -> Result<(), Error> {
        if self.kind == wanted {
            Ok(())
        } else {
            Err(Error::WrongKind {
                wanted,
                found: self.kind,
                document: self.document,
            })
        }
    }

    /// Whether the package has a capability. Only letters and digits count, in any case: `safe-start` is
    /// `SafeStart`. A Function that says nothing has [`CAPABILITY_COMPOSITION`].
    pub fn has_capability(&self, wanted: &str) -> bool {
        match &self.capabilities {
            Some(all) => all.iter().any(|capability| same_capability(capability, wanted)),
            None => self.kind == PackageKind::Function && same_capability(CAPABILITY_COMPOSITION, wanted),
        }
    }

    /// Reads metadata from a document whose type is known.
    pub(crate) fn read(
        kind: PackageKind,
        version: &str,
        value: &Value,
        fields: &Fields<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, Error> {
        let metadata = fields.object(value, "metadata")?;
        let name = metadata
            .map_or(Ok(None), |m| fields.string(m, "metadata", "name"))?
            .unwrap_or_default();
        let mut labels = metadata.map_or_else(
            || Ok(BTreeMap::new()),
            |m| fields.strings(m, "metadata", "labels"),
        )?;
        let mut annotations = metadata.map_or_else(
            || Ok(BTreeMap::new()),
            |m| fields.strings(m, "metadata", "annotations"),
        )?;
        let mut warn = |kind, message| warnings.push(fields.warning(kind, message));
        drop_reserved("label", &mut labels, &mut warn);
        labels.retain(|key, value| {
            let good = reserved::is_label_value(value);
            if !good {
                warn(
                    WarningKind::InvalidKey,
                    format!(
                        "label {:?} is dropped: no label can have the value {:?}",
                        shorten(key),
                        shorten(value)
                    ),
                );
            }
            good
        });
        drop_reserved("annotation", &mut annotations, &mut warn);

        let spec = fields.object(value, "spec")?;
        let crossplane = spec.map_or(Ok(None), |spec| crossplane(spec, fields))?;
        let depends_on = spec.map_or(Ok(Vec::new()), |spec| dependencies(spec, fields))?;
        let capabilities = spec.map_or(Ok(None), |spec| capabilities(spec, fields))?;
        Ok(Self {
            document: fields.document(),
            version: version.to_owned(),
            kind,
            name,
            labels,
            annotations,
            crossplane,
            depends_on,
            capabilities,
        })
    }
}

fn drop_reserved(
    what: &str,
    entries: &mut BTreeMap<String, String>,
    warn: &mut impl FnMut(WarningKind, String),
) {
    entries.retain(|key, _| {
        let reserved = reserved::is_reserved(key);
        let good = reserved::is_key(key);
        if reserved {
            warn(
                WarningKind::ReservedKey,
                format!("{what} {:?} is reserved and dropped", shorten(key)),
            );
        } else if !good {
            warn(
                WarningKind::InvalidKey,
                format!("{what} {:?} is dropped: the key is not valid", shorten(key)),
            );
        }
        good && !reserved
    });
}

fn crossplane(spec: &Value, fields: &Fields<'_>) -> Result<Option<String>, Error> {
    let Some(crossplane) = fields.object_at(spec, "spec", "crossplane")? else {
        return Ok(None);
    };
    // The field is required inside of `crossplane`; absent it is the empty text, which is no constraint.
    let constraint = fields
        .string(crossplane, "spec.crossplane", "version")?
        .unwrap_or_default();
    Constraint::parse(&constraint).map_err(|source| Error::Constraint {
        document: fields.document(),
        source,
    })?;
    Ok(Some(constraint))
}

fn dependencies(spec: &Value, fields: &Fields<'_>) -> Result<Vec<Dependency>, Error> {
    let items = fields.array(spec, "spec", "dependsOn")?;
    items
        .iter()
        .enumerate()
        .map(|(index, item)| dependency(index, item, fields))
        .collect()
}

fn dependency(index: usize, item: &Value, fields: &Fields<'_>) -> Result<Dependency, Error> {
    let path = format!("spec.dependsOn[{index}]");
    if !item.is_object() {
        return Err(fields.wrong(&path, "must be an object"));
    }
    let text = |key| Ok::<_, Error>(fields.string(item, &path, key)?.filter(|text| !text.is_empty()));
    let constraints = text("version")?.unwrap_or_default();
    let (api_version, kind, package) = (text("apiVersion")?, text("kind")?, text("package")?);
    let legacy = [
        (PackageKind::Configuration, text("configuration")?),
        (PackageKind::Provider, text("provider")?),
        (PackageKind::Function, text("function")?),
    ];
    // The order is the reference's (spec: API reference 2.3): the explicit form wins.
    if let (Some(api_version), Some(kind), Some(package)) = (api_version, kind, package) {
        return Ok(Dependency {
            api_version,
            kind,
            package,
            constraints,
            legacy: false,
        });
    }
    for (kind, package) in legacy {
        if let Some(package) = package {
            let (api_version, kind) = (api::API_VERSION.to_owned(), kind.kind().to_owned());
            return Ok(Dependency {
                api_version,
                kind,
                package,
                constraints,
                legacy: true,
            });
        }
    }
    Err(Error::Dependency {
        document: fields.document(),
        index,
    })
}

fn capabilities(spec: &Value, fields: &Fields<'_>) -> Result<Option<Vec<String>>, Error> {
    if spec.get("capabilities").is_none_or(Value::is_null) {
        return Ok(None);
    }
    let items = fields.array(spec, "spec", "capabilities")?;
    let texts = items.iter().enumerate().map(|(index, item)| {
        item.as_str()
            .map(str::to_owned)
            .ok_or_else(|| fields.wrong(&format!("spec.capabilities[{index}]"), "must be a string"))
    });
    texts.collect::<Result<_, _>>().map(Some)
}

/// Whether two capabilities are the same: letters and digits, in any case (spec: API reference 2.4).
pub fn same_capability(a: &str, b: &str) -> bool {
    let significant = |text: &str| -> Vec<u8> {
        text.bytes()
            .filter(u8::is_ascii_alphanumeric)
            .map(|b| b.to_ascii_lowercase())
            .collect()
    };
    significant(a) == significant(b)
}

/// Serialises a package kind as its name.
mod kind_as_text {
    use api::pkg::PackageKind;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    pub(super) fn serialize<S: Serializer>(kind: &PackageKind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(kind.kind())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PackageKind, D::Error> {
        let text = String::deserialize(deserializer)?;
        PackageKind::from_kind(&text).ok_or_else(|| D::Error::custom("not a package kind"))
    }
}

#[cfg(test)]
#[path = "meta_tests.rs"]
mod tests;
