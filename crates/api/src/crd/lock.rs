//! Schema of the lock (spec: API reference 1.7).

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;

use super::{
    schema::{Field, list, object, string},
    shared,
};

const TYPES: &[&str] = &["Configuration", "Provider", "Function"];

/// Schema of the lock.
pub(super) fn schema() -> JSONSchemaProps {
    object(
        "The Lock lists the active revisions and what they need. It is kept for tools that read it; \
         nothing is decided by it.",
        [
            ("packages", list("One row per active revision.", package())),
            (
                "status",
                object("What was seen last.", [("conditions", shared::conditions())]),
            ),
        ],
    )
    .into_root()
}

fn package() -> Field {
    object(
        "An active revision.",
        [
            ("name", string("Name of the revision.").required()),
            ("apiVersion", string("Group and version of the package kind.")),
            ("kind", string("Kind of the package.")),
            ("type", string("Older form of apiVersion and kind.").one_of(TYPES)),
            (
                "source",
                string("Registry and repository of the package, without tag or digest.").required(),
            ),
            ("version", string("Tag or digest of the revision.").required()),
            (
                "dependencies",
                list("What the revision needs.", dependency()).required(),
            ),
        ],
    )
}

fn dependency() -> Field {
    object(
        "A package that is needed.",
        [
            (
                "package",
                string("Registry and repository of the package, without tag or digest.").required(),
            ),
            ("apiVersion", string("Group and version of the package kind.")),
            ("kind", string("Kind of the package.")),
            ("type", string("Older form of apiVersion and kind.").one_of(TYPES)),
            (
                "constraints",
                string("Versions that fit, or a digest.").required(),
            ),
        ],
    )
}
