//! What a runtime config says about the objects of a runtime (spec: API reference 1.10), read once.

use std::collections::BTreeMap;

use api::runtime_config::DeploymentRuntimeConfigSpec;
use serde_json::{Map, Value};

/// Name, labels and annotations that a template asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Another name than the default.
    pub name: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Head {
    fn read(template: Option<&Value>) -> Self {
        let texts = |key: &str| {
            let map = template.and_then(|t| t.get("metadata")?.get(key)?.as_object());
            map.into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect()
        };
        let name = template.and_then(|t| t.get("metadata")?.get("name")?.as_str());
        Self {
            name: name.filter(|name| !name.is_empty()).map(str::to_owned),
            labels: texts("labels"),
            annotations: texts("annotations"),
        }
    }
}

/// The three templates of a runtime config. All are empty where nothing was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Templates {
    /// Of the Deployment.
    pub deployment: Head,
    /// `spec` of the Deployment, as it was written.
    pub spec: Map<String, Value>,
    /// Of the Service.
    pub service: Head,
    /// Of the ServiceAccount.
    pub account: Head,
}

impl From<&DeploymentRuntimeConfigSpec> for Templates {
    fn from(spec: &DeploymentRuntimeConfigSpec) -> Self {
        let deployment = spec.deployment_template.as_ref();
        Self {
            deployment: Head::read(deployment),
            spec: deployment
                .and_then(|t| t.get("spec")?.as_object())
                .cloned()
                .unwrap_or_default(),
            service: Head::read(spec.service_template.as_ref()),
            account: Head::read(spec.service_account_template.as_ref()),
        }
    }
}

/// What the objects of a runtime are called (spec: API reference 4.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Deployment.
    pub deployment: String,
    /// Service: one for all revisions of the package.
    pub service: String,
    /// ServiceAccount that the template asks for, or ours.
    pub account: String,
    /// ServiceAccount that the pods run as. Another than `account` is somebody else's.
    pub runs_as: String,
}

impl Names {
    /// The names for one revision.
    #[must_use]
    pub fn of(templates: &Templates, package: &str, revision: &str) -> Self {
        let or = |name: &Option<String>, default: &str| name.clone().unwrap_or_else(|| default.to_owned());
        let account = or(&templates.account.name, revision);
        let pod = templates.spec.get("template").and_then(|t| t.get("spec"));
        let runs_as = pod
            .and_then(|pod| pod.get("serviceAccountName")?.as_str())
            .filter(|name| !name.is_empty())
            .map_or_else(|| account.clone(), str::to_owned);
        Self {
            deployment: or(&templates.deployment.name, revision),
            service: or(&templates.service.name, package),
            account,
            runs_as,
        }
    }

    /// Whether the ServiceAccount is ours to make.
    #[must_use]
    pub fn has_account(&self) -> bool {
        self.account == self.runs_as
    }
}
