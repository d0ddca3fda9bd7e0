//! Schema of revisions (spec: API reference 1.5, 1.6).

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;

use super::{
    schema::{Field, integer, list, object, string},
    shared,
};
use crate::pkg::PackageKind;

/// Schema of the revisions of one package kind.
pub(super) fn schema(kind: PackageKind) -> JSONSchemaProps {
    let what = format!(
        "A {} is one content of a {kind}: what a reference stood for at some time, and what became of \
         it. Gantry makes and removes these.",
        kind.revision_kind()
    );
    object(
        &what,
        [("spec", spec(kind)), ("status", shared::status(status(kind)))],
    )
    .into_root()
}

fn spec(kind: PackageKind) -> Field {
    let spec = object(
        "What the package asks for.",
        [
            (
                "desiredState",
                string("Active: the revision controls its objects. Inactive: it touches nothing.").required(),
            ),
            (
                "image",
                string("Reference of the package as its spec spells it; the digest is an annotation.")
                    .required(),
            ),
            (
                "revision",
                integer("Number of the revision within its package. The highest is the wanted one.")
                    .required(),
            ),
        ],
    );
    let spec = shared::with_package_fields(spec, kind.has_runtime());
    if !kind.has_runtime() {
        return spec;
    }
    spec.with(
        "tlsServerSecretName",
        string("Secret for the server certificate of the package's runtime."),
    )
    .with(
        "tlsClientSecretName",
        string("Secret for the client certificate of the package's runtime."),
    )
}

fn status(kind: PackageKind) -> Field {
    let status = object(
        "What was seen last.",
        [
            ("observedGeneration", shared::observed_generation()),
            ("conditions", shared::conditions()),
            ("objectRefs", object_refs()),
            ("foundDependencies", integer("How many dependencies there are.")),
            (
                "installedDependencies",
                integer("How many of the dependencies are installed."),
            ),
            (
                "invalidDependencies",
                integer(
                    "How many direct dependencies are installed in a version that the constraint excludes.",
                ),
            ),
            ("appliedImageConfigRefs", shared::applied_image_config_refs()),
            (
                "resolvedImage",
                string("Reference after an ImageConfig rewrote it; the same as spec.image when none did."),
            ),
            (
                "capabilities",
                list(
                    "Capabilities that the package's metadata declares.",
                    string("A capability, for example composition."),
                ),
            ),
            ("declaredDependencies", declared_dependencies()),
            ("dependencies", dependencies()),
            (
                "warnings",
                list(
                    "What lint found in the package, the first few findings.",
                    string("A finding."),
                ),
            ),
            (
                "progress",
                object(
                    "How far establishing the package's objects has come.",
                    [
                        (
                            "established",
                            integer("How many objects are in place.").required(),
                        ),
                        (
                            "total",
                            integer("How many objects the package carries.").required(),
                        ),
                    ],
                ),
            ),
        ],
    );
    let status = if kind.has_runtime() {
        let server =
            "Secret with the server certificate of the package's runtime, once it is being provided.";
        let client =
            "Secret with the client certificate of the package's runtime, once it is being provided.";
        status
            .with("tlsServerSecretName", string(server))
            .with("tlsClientSecretName", string(client))
    } else {
        status
    };
    match kind {
        PackageKind::Function => status.with(
            "endpoint",
            string("gRPC target at which the function can be called."),
        ),
        PackageKind::Provider | PackageKind::Configuration => status,
    }
}

fn object_refs() -> Field {
    let item = object(
        "An object of the package.",
        [
            (
                "apiVersion",
                string("Group and version of the object.").required(),
            ),
            ("kind", string("Kind of the object.").required()),
            (
                "name",
                string("Name of the object, which has no namespace.").required(),
            ),
            (
                "uid",
                string("UID of the object, once the revision created it or took it over."),
            ),
            (
                "generation",
                integer("metadata.generation of the object when the revision wrote it last."),
            ),
        ],
    );
    list(
        "Objects that the revision established, in descending order.",
        item,
    )
}

fn declared_dependencies() -> Field {
    let item = object(
        "A package that this one needs.",
        [
            (
                "apiVersion",
                string("Group and version of the package kind.").required(),
            ),
            ("kind", string("Kind of the package.").required()),
            (
                "package",
                string("Registry and repository of the package, without tag or digest.").required(),
            ),
            (
                "constraints",
                string("Versions that fit, or a digest.").required(),
            ),
        ],
    );
    list("Dependencies as the package's metadata declares them.", item)
}

fn dependencies() -> Field {
    let item = object(
        "How it stands with a package that this one needs.",
        [
            (
                "package",
                string("Registry and repository of the package, without tag or digest.").required(),
            ),
            (
                "constraints",
                string("Versions that fit, or a digest.").required(),
            ),
            ("found", string("Version or digest that is installed.")),
            (
                "state",
                string("Satisfied, Missing, Incompatible, Unhealthy or Unknown.").required(),
            ),
            ("why", string("Why the state is not Satisfied, in a sentence.")),
        ],
    );
    list("How it stands with each direct dependency.", item)
}
