//! Media types of manifests, indexes, configs and layers, in their OCI and Docker spellings.

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// OCI layer, not compressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// The empty descriptor: two bytes, `{}`.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Docker schema 2 manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list, the counterpart of the OCI index.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker schema 1 manifest; refused, since its content cannot be verified by digest.
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// Docker schema 1 manifest with signatures; refused like [`DOCKER_SCHEMA1`].
pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// Every manifest type that this crate reads, in the order in which a client should ask for them.
pub const ACCEPTED: [&str; 4] = [DOCKER_MANIFEST, OCI_MANIFEST, DOCKER_LIST, OCI_INDEX];

/// The type without its parameters and surrounding space: `a/b; charset=utf-8` gives `a/b`.
/// Registries add a charset to JSON types, which says nothing about the content.
#[must_use]
pub fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Whether this is the type of an image manifest (OCI or Docker schema 2).
#[must_use]
pub fn is_manifest(media_type: &str) -> bool {
    let essence = essence(media_type);
    essence.eq_ignore_ascii_case(OCI_MANIFEST) || essence.eq_ignore_ascii_case(DOCKER_MANIFEST)
}

/// Whether this is the type of an index (OCI) or manifest list (Docker).
#[must_use]
pub fn is_index(media_type: &str) -> bool {
    let essence = essence(media_type);
    essence.eq_ignore_ascii_case(OCI_INDEX) || essence.eq_ignore_ascii_case(DOCKER_LIST)
}

/// Whether this is one of the Docker schema 1 types.
#[must_use]
pub fn is_schema1(media_type: &str) -> bool {
    let essence = essence(media_type);
    essence.eq_ignore_ascii_case(DOCKER_SCHEMA1) || essence.eq_ignore_ascii_case(DOCKER_SCHEMA1_SIGNED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_do_not_matter() {
        assert_eq!(essence(" a/b ; charset=utf-8"), "a/b");
        assert!(is_manifest(
            "application/vnd.OCI.image.manifest.v1+json; charset=utf-8"
        ));
        assert!(is_index(DOCKER_LIST) && is_index(OCI_INDEX) && !is_index(OCI_MANIFEST));
        assert!(is_schema1(DOCKER_SCHEMA1_SIGNED) && !is_manifest(DOCKER_SCHEMA1));
    }
}
