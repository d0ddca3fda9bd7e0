//! Our nine CRDs, as the API server gets them.
//!
//! The schemas are written out, not derived from the Rust types: the API server shall be as strict as the
//! reference's schemas (required fields, defaults, list types), the types as lenient as stored objects need.
//! Tests hold the two, and a table from the spec, together.

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
        CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceSubresourceStatus,
        CustomResourceSubresources, CustomResourceValidation, JSONSchemaProps,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::json;

use crate::{annotation, pkg::PackageKind};

mod image_config;
mod lock;
mod package;
mod revision;
mod runtime_config;
mod schema;
mod shared;

/// All CRDs of `pkg.crossplane.io`, in the order of their names. Each carries the version of Gantry as
/// annotation.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut all = Vec::new();
    for kind in PackageKind::ALL {
        // the reference used to store functions as v1beta1 and still serves that version; the schemas are the
        // same
        let served: &[&str] = if kind == PackageKind::Function {
            &["v1", "v1beta1"]
        } else {
            &["v1"]
        };
        all.push(crd(Kind {
            kind: kind.kind(),
            plural: kind.plural(),
            categories: &["crossplane", "pkg", "packages"],
            versions: served,
            schema: package::schema(kind),
            columns: package_columns(),
            has_status: true,
        }));
        all.push(crd(Kind {
            kind: kind.revision_kind(),
            plural: kind.revision_plural(),
            categories: &["crossplane", "pkgrev", "packagerevisions"],
            versions: served,
            schema: revision::schema(kind),
            columns: revision_columns(kind),
            has_status: true,
        }));
    }
    all.push(crd(Kind {
        kind: crate::lock::KIND,
        plural: crate::lock::PLURAL,
        categories: &[],
        versions: &["v1beta1"],
        schema: lock::schema(),
        columns: vec![age()],
        has_status: true,
    }));
    all.push(crd(Kind {
        kind: crate::image_config::KIND,
        plural: crate::image_config::PLURAL,
        categories: &["crossplane"],
        versions: &["v1beta1"],
        schema: image_config::schema(),
        columns: vec![age()],
        has_status: false,
    }));
    all.push(crd(Kind {
        kind: crate::runtime_config::KIND,
        plural: crate::runtime_config::PLURAL,
        categories: &["crossplane"],
        versions: &["v1beta1"],
        schema: runtime_config::schema(),
        columns: vec![age()],
        has_status: false,
    }));
    all.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    all
}

/// What makes one CRD differ from the next. The first version is the stored one.
struct Kind {
    kind: &'static str,
    plural: &'static str,
    categories: &'static [&'static str],
    versions: &'static [&'static str],
    schema: JSONSchemaProps,
    columns: Vec<CustomResourceColumnDefinition>,
    has_status: bool,
}

fn crd(kind: Kind) -> CustomResourceDefinition {
    // declared even when empty, as in the reference
    let subresources = CustomResourceSubresources {
        status: kind
            .has_status
            .then(|| CustomResourceSubresourceStatus(json!({}))),
        ..CustomResourceSubresources::default()
    };
    let version = |(index, name): (usize, &&str)| CustomResourceDefinitionVersion {
        name: (*name).to_owned(),
        served: true,
        storage: index == 0,
        additional_printer_columns: Some(kind.columns.clone()),
        schema: Some(CustomResourceValidation {
            open_api_v3_schema: Some(kind.schema.clone()),
        }),
        subresources: Some(subresources.clone()),
        ..CustomResourceDefinitionVersion::default()
    };
    let categories: Vec<String> = kind.categories.iter().map(|name| (*name).to_owned()).collect();
    let version_note = (
        annotation::VERSION.to_owned(),
        env!("CARGO_PKG_VERSION").to_owned(),
    );
    CustomResourceDefinition {
        metadata: ObjectMeta {
            name: Some(format!("{}.{}", kind.plural, crate::GROUP)),
            annotations: Some([version_note].into()),
            ..ObjectMeta::default()
        },
        spec: CustomResourceDefinitionSpec {
            group: crate::GROUP.to_owned(),
            names: CustomResourceDefinitionNames {
                categories: (!categories.is_empty()).then_some(categories),
                kind: kind.kind.to_owned(),
                list_kind: Some(format!("{}List", kind.kind)),
                plural: kind.plural.to_owned(),
                singular: Some(kind.kind.to_lowercase()),
                ..CustomResourceDefinitionNames::default()
            },
            scope: "Cluster".to_owned(),
            versions: kind.versions.iter().enumerate().map(version).collect(),
            ..CustomResourceDefinitionSpec::default()
        },
        status: None,
    }
}

fn column(name: &str, type_: &str, json_path: &str, priority: i32) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: name.to_owned(),
        type_: type_.to_owned(),
        json_path: json_path.to_owned(),
        priority: (priority != 0).then_some(priority),
        ..CustomResourceColumnDefinition::default()
    }
}

fn condition_column(name: &str, condition: &str) -> CustomResourceColumnDefinition {
    column(
        name,
        "string",
        &format!(".status.conditions[?(@.type=='{condition}')].status"),
        0,
    )
}

fn age() -> CustomResourceColumnDefinition {
    column("AGE", "date", ".metadata.creationTimestamp", 0)
}

fn package_columns() -> Vec<CustomResourceColumnDefinition> {
    vec![
        condition_column("INSTALLED", "Installed"),
        condition_column("HEALTHY", "Healthy"),
        column("PACKAGE", "string", ".spec.package", 0),
        age(),
    ]
}

fn revision_columns(kind: PackageKind) -> Vec<CustomResourceColumnDefinition> {
    let mut columns = vec![condition_column("HEALTHY", "RevisionHealthy")];
    if kind.has_runtime() {
        columns.push(condition_column("RUNTIME-HEALTHY", "RuntimeHealthy"));
        columns.push(condition_column("RUNTIME-ACTIVE", "RuntimeActive"));
    }
    // numbers in string columns, as in the reference: scripts read this output
    columns.extend([
        column("IMAGE", "string", ".spec.image", 0),
        column("STATE", "string", ".spec.desiredState", 0),
        age(),
        column("REVISION", "string", ".spec.revision", 1),
        column("DEP-FOUND", "string", ".status.foundDependencies", 1),
        column("DEP-INSTALLED", "string", ".status.installedDependencies", 1),
    ]);
    columns
}

#[cfg(test)]
mod tests;
