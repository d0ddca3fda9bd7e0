//! `DeploymentRuntimeConfig`: how runtimes are deployed (spec: API reference 1.10).

use kube::core::{ObjectMeta, TypeMeta};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `kind` of the config.
pub const KIND: &str = "DeploymentRuntimeConfig";
/// Resource name of the config.
pub const PLURAL: &str = "deploymentruntimeconfigs";
/// Name of the config that packages use unless they name another.
pub const DEFAULT_NAME: &str = "default";

/// A runtime config. The templates are kept as they are: nothing interprets them before runtimes are
/// deployed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct DeploymentRuntimeConfig {
    /// `apiVersion` and `kind`, where the object carries them.
    #[serde(flatten, default)]
    pub types: Option<TypeMeta>,
    /// Name, labels, annotations.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// The templates.
    #[serde(default, deserialize_with = "crate::absent::null_as_default")]
    pub spec: DeploymentRuntimeConfigSpec,
}

impl_resource!(DeploymentRuntimeConfig, KIND, PLURAL);

/// Templates for what a runtime consists of.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentRuntimeConfigSpec {
    /// Metadata and spec of the Deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_template: Option<Value>,
    /// Metadata of the Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_template: Option<Value>,
    /// Metadata of the ServiceAccount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_template: Option<Value>,
}
