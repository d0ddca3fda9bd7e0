//! Schema of runtime configs (spec: API reference 1.10).

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;

use super::schema::{Field, given, object, open, string, string_map};

/// The Deployment's own schema, as the API server of the tests publishes it; a test on it keeps the file.
const DEPLOYMENT_SPEC: &str = include_str!("deployment_spec.json");

fn deployment_spec() -> Field {
    let description = "Spec of the Deployment, as of apps/v1; the container is named package-runtime.";
    match serde_json::from_str::<JSONSchemaProps>(DEPLOYMENT_SPEC) {
        Ok(schema) => given(JSONSchemaProps {
            description: Some(description.to_owned()),
            ..schema
        }),
        // The file is ours, and a test reads it.
        Err(_) => open(description),
    }
}

/// Schema of runtime configs.
pub(super) fn schema() -> JSONSchemaProps {
    let deployment = object(
        "Deployment of the runtime.",
        [
            ("metadata", metadata("Metadata of the Deployment.")),
            ("spec", deployment_spec()),
        ],
    );
    let service = object(
        "Service of the runtime.",
        [("metadata", metadata("Metadata of the Service."))],
    );
    let account = object(
        "ServiceAccount of the runtime.",
        [("metadata", metadata("Metadata of the ServiceAccount."))],
    );
    let spec = object(
        "What the parts of a runtime look like. What is left out is filled in.",
        [
            ("deploymentTemplate", deployment),
            ("serviceTemplate", service),
            ("serviceAccountTemplate", account),
        ],
    );
    object(
        "A DeploymentRuntimeConfig says how the runtimes of packages are deployed.",
        [("spec", spec)],
    )
    .into_root()
}

fn metadata(description: &str) -> Field {
    object(
        description,
        [
            ("name", string("Name of the object.")),
            ("labels", string_map("Labels of the object.")),
            ("annotations", string_map("Annotations of the object.")),
        ],
    )
}
