//! Schema of packages (spec: API reference 1.3, 1.4).

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;

use super::{
    schema::{Field, integer, object, string},
    shared,
};
use crate::pkg::PackageKind;

/// The rule for `spec.package`, as the API server compiles it. Same as the reference's.
pub(super) const PACKAGE_RULE: &str =
    r"self.matches('^[^\\.\\/]+(\\.[^\\.\\/]+)+(\\/[^\\/:@]+)+(:[^:@]+(@sha256.+)?|@sha256.+)$')";
const PACKAGE_MESSAGE: &str = "must be a fully qualified image name, including the registry, \
     repository, and tag or digest. For example: 'registry.example.org/acme/provider-x:v1.2.0' or \
     'registry.example.org/acme/provider-x:v1.2.0@sha256:<64 hex digits>', where the tag may be left out.";

/// Schema of one package kind.
pub(super) fn schema(kind: PackageKind) -> JSONSchemaProps {
    let what = match kind {
        PackageKind::Provider => {
            "A Provider installs a package that brings managed resources and a controller for them."
        }
        PackageKind::Configuration => {
            "A Configuration installs a package that brings composite resource definitions and compositions."
        }
        PackageKind::Function => "A Function installs a package that brings a composition function.",
    };
    object(what, [("spec", spec(kind)), ("status", shared::status(status()))]).into_root()
}

fn spec(kind: PackageKind) -> Field {
    let spec = object(
        "What shall be installed, and how.",
        [
            (
                "package",
                string(
                    "OCI reference of the package: registry, repository, and tag or digest. It stays as \
                     it is when an ImageConfig rewrites it.",
                )
                .rule(PACKAGE_RULE, PACKAGE_MESSAGE)
                .required(),
            ),
            (
                "revisionActivationPolicy",
                string(
                    "Automatic: a new revision serves as soon as it was checked. Manual: a person sets \
                     desiredState of the revision to Active. Any other value acts as Manual.",
                )
                .default("Automatic"),
            ),
            (
                "revisionHistoryLimit",
                integer("How many revisions that have served are kept beside the active one; 0 keeps all.")
                    .default(1),
            ),
        ],
    );
    shared::with_package_fields(spec, kind.has_runtime())
}

fn status() -> Field {
    object(
        "What was seen last.",
        [
            ("observedGeneration", shared::observed_generation()),
            ("conditions", shared::conditions()),
            (
                "currentRevision",
                string("Name of the revision that spec.package asks for now, active or not."),
            ),
            (
                "currentIdentifier",
                string("Value of spec.package that the current revision was made for."),
            ),
            ("appliedImageConfigRefs", shared::applied_image_config_refs()),
            (
                "resolvedPackage",
                string("Reference after an ImageConfig rewrote it; the same as spec.package when none did."),
            ),
            (
                "resolvedDigest",
                string("Digest that the reference had when the registry was asked last."),
            ),
            (
                "lastCheckRequest",
                string("Value of the annotation gantry.dev/check-requested-at that was answered last."),
            ),
            (
                "servingRevision",
                string(
                    "Name of the revision whose health the package shows: the active one once its \
                     objects are in place, until then the one before.",
                ),
            ),
            (
                "releasedObjects",
                integer("How many objects of former revisions are still there that no revision carries now."),
            ),
        ],
    )
}
