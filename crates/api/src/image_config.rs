//! `ImageConfig`: how references are rewritten and fetched, and which config applies to a reference
//! (spec: API reference 1.9, behaviour 5).

use std::{borrow::Borrow, cmp::Reverse};

use kube::core::{ObjectMeta, TypeMeta};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    absent::null_as_default,
    pkg::{AppliedReason, ImageConfigRef, LocalObjectReference, RuntimeConfigReference},
};

/// `kind` of the config.
pub const KIND: &str = "ImageConfig";
/// Resource name of the config.
pub const PLURAL: &str = "imageconfigs";

/// An image config.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ImageConfig {
    /// `apiVersion` and `kind`, where the object carries them.
    #[serde(flatten, default)]
    pub types: Option<TypeMeta>,
    /// Name, labels, annotations.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What applies to which references.
    #[serde(default, deserialize_with = "null_as_default")]
    pub spec: ImageConfigSpec,
}

impl_resource!(ImageConfig, KIND, PLURAL);

/// What applies to which references.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageConfigSpec {
    /// References that it applies to: any match counts.
    #[serde(deserialize_with = "null_as_default")]
    pub match_images: Vec<ImageMatch>,
    /// Credentials for the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistryConfig>,
    /// Signatures to demand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<ImageVerification>,
    /// Another prefix in place of the one that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite_image: Option<ImageRewrite>,
    /// Runtime config in place of the package's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<ImageRuntime>,
}

/// References that an image config applies to.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageMatch {
    /// Always `Prefix`; not looked at.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Prefix of the whole reference, as plain text: path segments mean nothing. An empty one never matches.
    pub prefix: String,
}

/// How the registry is talked to.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegistryConfig {
    /// Credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<RegistryAuthentication>,
}

/// Credentials for a registry.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegistryAuthentication {
    /// Secret in the operator's namespace; an empty name is none.
    pub pull_secret_ref: LocalObjectReference,
}

/// Which signatures are demanded.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageVerification {
    /// Always `Cosign`.
    pub provider: String,
    /// Authorities, any one of which suffices. Kept as it is: nothing verifies signatures yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosign: Option<Value>,
}

/// How a reference is rewritten.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageRewrite {
    /// Takes the place of the prefix that matched; must not be empty.
    pub prefix: String,
}

/// Runtime config for packages from matching images.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageRuntime {
    /// The runtime config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_ref: Option<RuntimeConfigReference>,
}

/// What an image config is looked up for. Each purpose is looked up on its own and may be served by another
/// config.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Purpose {
    /// Rewriting the reference: looked up by the original reference.
    Rewrite,
    /// A pull secret: looked up by the rewritten reference, as the rest.
    PullSecret,
    /// Signatures.
    Verification,
    /// A runtime config.
    Runtime,
}

impl ImageConfig {
    /// Name of the config.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The pull secret's name, unless there is none or it is empty.
    pub fn pull_secret(&self) -> Option<&str> {
        let authentication = self.spec.registry.as_ref()?.authentication.as_ref()?;
        Some(authentication.pull_secret_ref.name.as_str()).filter(|name| !name.is_empty())
    }

    /// Whether it says anything for that purpose.
    pub fn serves(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Rewrite => self.spec.rewrite_image.is_some(),
            Purpose::PullSecret => self.pull_secret().is_some(),
            Purpose::Verification => self.spec.verification.is_some(),
            Purpose::Runtime => self
                .spec
                .runtime
                .as_ref()
                .is_some_and(|runtime| runtime.config_ref.is_some()),
        }
    }

    /// The longest of its prefixes that `reference` starts with.
    pub fn matched_prefix(&self, reference: &str) -> Option<&str> {
        let prefixes = self.spec.match_images.iter().map(|image| image.prefix.as_str());
        prefixes
            .filter(|prefix| !prefix.is_empty() && reference.starts_with(prefix))
            .max_by_key(|prefix| prefix.len())
    }

    /// Whether a change of it may matter to something that comes from `reference` (original or rewritten).
    pub fn concerns(&self, reference: &str) -> bool {
        let purposes = [
            Purpose::Rewrite,
            Purpose::PullSecret,
            Purpose::Verification,
            Purpose::Runtime,
        ];
        purposes.into_iter().any(|purpose| self.serves(purpose)) && self.matched_prefix(reference).is_some()
    }
}

/// Why image configs can't be applied.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageConfigError {
    /// The config that matches rewrites to nothing.
    #[error("image config {config}: rewrite prefix is missing; set spec.rewriteImage.prefix")]
    RewritePrefixMissing {
        /// Name of the config.
        config: String,
    },
}

/// What image configs make of a reference.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Applied {
    /// The reference to use: rewritten, or the original.
    pub resolved: String,
    /// Pull secret to use beside the package's own.
    pub pull_secret: Option<String>,
    /// Name of the config whose signatures are demanded. Not among [`Applied::refs`] until it was acted on.
    pub verification: Option<String>,
    /// Configs that were used so far: rewrite first, then pull secret.
    pub refs: Vec<ImageConfigRef>,
}

/// All image configs of the cluster.
#[derive(Clone, Debug, Default)]
pub struct ImageConfigs<C = ImageConfig>(Vec<C>);

impl<C: Borrow<ImageConfig>> FromIterator<C> for ImageConfigs<C> {
    fn from_iter<I: IntoIterator<Item = C>>(configs: I) -> Self {
        Self(configs.into_iter().collect())
    }
}

impl<C: Borrow<ImageConfig>> ImageConfigs<C> {
    /// The config that serves `purpose` for `reference`: longest matching prefix, ties by name (in the
    /// reference: at random).
    pub fn best(&self, purpose: Purpose, reference: &str) -> Option<&ImageConfig> {
        let configs = self
            .0
            .iter()
            .map(Borrow::borrow)
            .filter(|config| config.serves(purpose));
        let matching = configs.filter_map(|config| Some((config.matched_prefix(reference)?.len(), config)));
        matching
            .max_by_key(|(length, config)| (*length, Reverse(config.name())))
            .map(|(_, config)| config)
    }

    /// Rewrites `reference` (once, not recursively) and looks up what goes with the result.
    ///
    /// # Errors
    /// If the config that rewrites has no new prefix.
    pub fn apply(&self, reference: &str) -> Result<Applied, ImageConfigError> {
        let mut applied = Applied {
            resolved: reference.to_owned(),
            ..Applied::default()
        };
        if let Some(config) = self.best(Purpose::Rewrite, reference)
            && let Some(rewrite) = &config.spec.rewrite_image
            && let Some(rest) = config
                .matched_prefix(reference)
                .and_then(|prefix| reference.strip_prefix(prefix))
        {
            if rewrite.prefix.is_empty() {
                return Err(ImageConfigError::RewritePrefixMissing {
                    config: config.name().to_owned(),
                });
            }
            applied.resolved = format!("{}{rest}", rewrite.prefix);
            applied
                .refs
                .push(ImageConfigRef::new(config.name(), AppliedReason::RewriteImage));
        }
        if let Some(config) = self.best(Purpose::PullSecret, &applied.resolved) {
            applied.pull_secret = config.pull_secret().map(str::to_owned);
            applied.refs.push(ImageConfigRef::new(
                config.name(),
                AppliedReason::SetImagePullSecret,
            ));
        }
        applied.verification = self
            .best(Purpose::Verification, &applied.resolved)
            .map(|config| config.name().to_owned());
        Ok(applied)
    }
}

#[cfg(test)]
#[path = "image_config_tests.rs"]
mod tests;
