//! Schemas of what several kinds share (spec: API reference 1.8).

use serde_json::json;

use super::schema::{Field, boolean, integer, list, list_map, object, string, string_map, time};

/// `status.conditions`.
pub(super) fn conditions() -> Field {
    let item = object(
        "One thing that can be said about the object.",
        [
            (
                "type",
                string("What is spoken of, for example Healthy. There is one condition per type.").required(),
            ),
            (
                "status",
                string("Whether it holds: True, False or Unknown.").required(),
            ),
            ("lastTransitionTime", time("When status changed last.").required()),
            ("reason", string("Why, in one word.").required()),
            (
                "message",
                string("Why, in a sentence: what is wrong and what to do next."),
            ),
            (
                "observedGeneration",
                integer("metadata.generation of the object that this speaks of."),
            ),
        ],
    );
    list_map("What can be said about the object at present.", "type", item)
}

/// The status of an object that nobody has looked at yet. Without it, tools that follow kstatus take a fresh object for
/// one that needs no work.
pub(super) fn status(status: Field) -> Field {
    status.default(json!({"observedGeneration": -1}))
}

/// `status.observedGeneration` (ours).
pub(super) fn observed_generation() -> Field {
    integer("metadata.generation of the object that this status speaks of.")
}

/// `status.appliedImageConfigRefs`. A list-map, so that two controllers can each own their reasons (design
/// 3).
pub(super) fn applied_image_config_refs() -> Field {
    let item = object(
        "An ImageConfig that was used.",
        [
            ("name", string("Name of the ImageConfig.").required()),
            (
                "reason",
                string(
                    "What it was used for: RewriteImage, SetImagePullSecret, VerifyImage or \
                     ConfigureRuntime.",
                )
                .required(),
            ),
        ],
    );
    list_map(
        "ImageConfigs that were used, at most one per reason.",
        "reason",
        item,
    )
}

/// A reference to a Secret in the operator's namespace.
pub(super) fn secret_ref(description: &str) -> Field {
    object(
        description,
        [(
            "name",
            string("Name of the Secret; empty means none.").default(""),
        )],
    )
    .atomic()
}

/// A reference to a runtime config, without a default for the whole.
pub(super) fn runtime_config_ref(description: &str) -> Field {
    object(
        description,
        [
            (
                "apiVersion",
                string("Group and version of the runtime config.").default(crate::API_VERSION_BETA),
            ),
            (
                "kind",
                string("Kind of the runtime config.").default(crate::runtime_config::KIND),
            ),
            ("name", string("Name of the runtime config.").required()),
        ],
    )
}

/// The fields that a package's spec and its revisions' specs have in common.
pub(super) fn with_package_fields(spec: Field, has_runtime: bool) -> Field {
    let spec = spec
        .with(
            "packagePullSecrets",
            list(
                "Secrets with credentials for the registry, in the namespace that Gantry runs in.",
                secret_ref("A Secret of type kubernetes.io/dockerconfigjson."),
            ),
        )
        .with(
            "packagePullPolicy",
            string(
                "When the registry is asked: Always at each poll, IfNotPresent when the reference \
                 changes, Never only what is in the content store. Any other value acts as IfNotPresent.",
            )
            .default("IfNotPresent"),
        )
        .with(
            "ignoreCrossplaneConstraints",
            boolean("Whether the Crossplane version that the package demands is ignored.").default(false),
        )
        .with(
            "skipDependencyResolution",
            boolean("Whether the package's dependencies are left alone.").default(false),
        )
        .with(
            "commonLabels",
            string_map(
                "Labels for every object that the package establishes. They win over the \
             package's own.",
            ),
        )
        .with(
            "commonAnnotations",
            string_map(
                "Annotations for every object that the package establishes. They win over the package's own.",
            ),
        );
    if !has_runtime {
        return spec;
    }
    let reference = runtime_config_ref("Which runtime config the package's runtime is deployed with.");
    spec.with(
        "runtimeConfigRef",
        reference.default(json!({ "name": crate::runtime_config::DEFAULT_NAME })),
    )
}
