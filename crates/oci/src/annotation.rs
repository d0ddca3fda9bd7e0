//! Annotation keys and values that decide how an image is read.

/// Marks layers and index children of a package; see [`XPKG_BASE`] and [`XPKG_EXTENSIONS`].
pub const XPKG: &str = "io.crossplane.xpkg";

/// Value of [`XPKG`] on the layer that holds `package.yaml`.
pub const XPKG_BASE: &str = "base";

/// Value of [`XPKG`] on an index child that holds extensions, not a package.
pub const XPKG_EXTENSIONS: &str = "xpkg-extensions";

/// Says what an index child is with respect to another one, as build tools write it.
pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// Value of [`REFERENCE_TYPE`] on a child that holds attestations.
pub const REFERENCE_ATTESTATION: &str = "attestation-manifest";
