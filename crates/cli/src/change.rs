//! What commands that change a package share: naming it, telling what was done, and setting what it asks for.

use anyhow::{Context as _, bail};
use api::pkg::{Package, PackageKind};
use clap::Args;
use oci::Reference;
use serde::Serialize;
use serde_json::json;

use crate::cluster::{Cluster, FIELD_MANAGER, owner_of_reference, package_target};
use crate::output::{Output, Shape};

/// How the result is shown, and whether anything is changed at all.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Let the API server check it, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Shape,
}

/// What was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Done {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// `created`, `updated`, `unchanged`, `rolled back`, `deleted`.
    pub(crate) action: &'static str,
    /// What the package asks for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) package: Option<String>,
    /// The revision that is to serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<String>,
    pub(crate) dry_run: bool,
}

impl Done {
    /// Tells it.
    pub(crate) fn tell(&self, shape: Shape, output: &mut Output<'_>) -> anyhow::Result<()> {
        output.show(
            shape,
            self,
            |done| vec![done.subject()],
            |done, _| {
                let dry = if done.dry_run { " (dry run)" } else { "" };
                let to = match (&done.package, &done.revision) {
                    (_, Some(revision)) => format!(": {revision}"),
                    (Some(package), None) => format!(": {package}"),
                    (None, None) => String::new(),
                };
                format!("{} {}{to}{dry}\n", done.subject(), done.action)
            },
        )
    }

    fn subject(&self) -> String {
        named(self.kind, &self.name)
    }
}

/// `provider.pkg.crossplane.io/nimbus`, as kubectl has it.
pub(crate) fn named(kind: &str, name: &str) -> String {
    format!("{}.{}/{name}", kind.to_lowercase(), api::GROUP)
}

/// Reads what shall be installed. The API server takes less than is a reference, and says it in a regular
/// expression.
pub(crate) fn reference(text: &str) -> anyhow::Result<Reference> {
    let reference =
        Reference::parse(text).with_context(|| format!("{text:?} is not a reference of a package"))?;
    if !Reference::package_rule(text) {
        bail!(
            "{text:?} must be written out: registry with a dot in its name, repository, and tag or digest, \
             as in \
             registry.example.org/team/name:v1.0.0"
        );
    }
    Ok(reference)
}

/// Sets `spec.package`, and warns if somebody else may set it back.
pub(crate) async fn set_reference(
    cluster: &Cluster,
    kind: PackageKind,
    package: &Package,
    reference: &str,
    dry_run: bool,
    output: &mut Output<'_>,
) -> anyhow::Result<()> {
    let name = package.metadata.name.as_deref().unwrap_or_default();
    if let Some(owner) = owner_of_reference(package) {
        output.warn(&format!(
            "spec.package of {kind} {name} is set by {owner} too, which may set it back: change it there as \
             well"
        ));
    }
    warn_of_pause(kind, package, output);
    // One field of this very object, whatever else changes meanwhile.
    let patch = json!({ "metadata": { "uid": package.metadata.uid }, "spec": { "package": reference } });
    let target = package_target(kind, name);
    cluster
        .writer(dry_run)
        .merge_patch(FIELD_MANAGER, &target, patch)
        .await?;
    Ok(())
}

/// Says that a change will have no effect yet.
pub(crate) fn warn_of_pause(kind: PackageKind, package: &Package, output: &mut Output<'_>) {
    if api::annotation::is_paused(&package.metadata) {
        let name = package.metadata.name.as_deref().unwrap_or_default();
        output.warn(&format!(
            "{kind} {name} is paused: nothing happens until annotation {} is taken off",
            api::annotation::PAUSED
        ));
    }
}
