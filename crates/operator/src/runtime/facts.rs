//! What the decision about a runtime depends on: nothing but facts.

use std::sync::Arc;

use api::pkg::{Package, PackageKind, Revision};
use jiff::Timestamp;
use serde_json::Value;

use super::templates::Templates;
use crate::certificates::Loadable;

/// The runtime config that counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Name of the DeploymentRuntimeConfig.
    pub name: String,
    /// What it says.
    pub templates: Templates,
    /// The ImageConfig that chose it.
    pub chosen_by: Option<String>,
}

/// What the certificates of a runtime are at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// The server certificate can be used.
    pub server: bool,
    /// The client certificate can be used.
    pub client: bool,
    /// What a program finds as its server certificate when it starts.
    pub loaded: Option<Loadable>,
    /// Why not, or what is wrong with what others manage.
    pub trouble: Option<String>,
}

/// The last look at the pods of a Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodsSeen {
    /// UID and resourceVersion of the Deployment then.
    pub of: (String, String),
    /// What was wrong with them.
    pub trouble: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Looks in a row at a Deployment that was not well.
    pub looks: u32,
}

/// The last step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The step, by [`Step::key`].
    pub step: String,
    /// What the API server said.
    pub message: String,
    /// It is tried again then.
    pub until: Timestamp,
}

/// Everything that the decision depends on.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Provider or Function.
    pub kind: PackageKind,
    /// The revision.
    pub revision: Arc<Revision>,
    /// Its package, if it exists.
    pub package: Option<Arc<Package>>,
    /// The package's other revisions.
    pub siblings: Vec<Arc<Revision>>,
    /// Where runtimes live.
    pub namespace: String,
    /// The runtime config, or why there is none.
    pub config: Result<Config, String>,
    /// The image that runs, by digest, or why it is not known.
    pub image: Result<String, String>,
    /// Pull secrets of the package and of ImageConfigs.
    pub pull_secrets: Vec<String>,
    /// Pull secrets of the operator's own ServiceAccount.
    pub operator_pull_secrets: Vec<String>,
    /// Deployments that this package's revisions control, or that select its pods.
    pub deployments: Vec<Value>,
    /// The Deployment, Service and ServiceAccount that have the wanted names.
    pub named: Named,
    /// UIDs of controllers that exist no more, of those in `deployments` and `named`.
    pub gone: Vec<String>,
    /// The certificates; `None` before the first look.
    pub certificates: Option<Certificates>,
    /// The pods, as last looked at.
    pub pods: Option<PodsSeen>,
    /// The step that failed last.
    pub failure: Option<Failure>,
    /// Objects that were answered as they are now by our own apply of this hash: target's display, hash.
    pub answered: Vec<(String, String)>,
    /// The runtime awaits its first activated definition.
    pub awaiting: bool,
}

/// The live objects that have the wanted names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Named {
    /// Deployment.
    pub deployment: Option<Value>,
    /// Service.
    pub service: Option<Value>,
    /// ServiceAccount.
    pub account: Option<Value>,
}
