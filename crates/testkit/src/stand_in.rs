//! Stand-ins, written by us and named as such, for the kinds that the reference's core defines: enough for
//! packages that carry them to be installed. They keep unknown fields and do nothing.

use anyhow::{Context, Result};

use crate::control_plane::ControlPlane;

/// The YAML of all stand-ins: file name and text.
pub const ALL: &[(&str, &str)] = &[
    (
        "compositeresourcedefinitions",
        include_str!("../stand-in/compositeresourcedefinitions.yaml"),
    ),
    ("compositions", include_str!("../stand-in/compositions.yaml")),
    (
        "compositionrevisions",
        include_str!("../stand-in/compositionrevisions.yaml"),
    ),
    ("cronoperations", include_str!("../stand-in/cronoperations.yaml")),
    (
        "managedresourceactivationpolicies",
        include_str!("../stand-in/managedresourceactivationpolicies.yaml"),
    ),
    (
        "managedresourcedefinitions",
        include_str!("../stand-in/managedresourcedefinitions.yaml"),
    ),
    ("operations", include_str!("../stand-in/operations.yaml")),
    (
        "watchoperations",
        include_str!("../stand-in/watchoperations.yaml"),
    ),
];

/// All stand-ins as one stream of YAML documents.
pub fn yaml() -> String {
    ALL.iter().map(|(_, text)| format!("---\n{text}")).collect()
}

impl ControlPlane {
    /// Installs all stand-ins and waits until they are served.
    pub async fn install_stand_ins(&self) -> Result<()> {
        self.apply_yaml(&yaml())
            .await
            .context("cannot apply the stand-in CRDs")?;
        let selector = "gantry.dev/stand-in=true";
        self.kubectl(&[
            "wait",
            "crd",
            "-l",
            selector,
            "--for",
            "condition=Established",
            "--timeout",
            "30s",
        ])
        .await?;
        Ok(())
    }
}
