//! The CRDs against the spec (`fields.txt`, written by hand), and the Rust types against the CRDs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{
    Deserialize, Serialize,
    de::{self, DeserializeOwned, Visitor},
};
use serde_json::{Map, Value, json};

use super::*;
use crate::{image_config::ImageConfig, lock::Lock, pkg, runtime_config::DeploymentRuntimeConfig};

const KINDS: [(&str, &str); 9] = [
    ("P", "Provider"),
    ("C", "Configuration"),
    ("F", "Function"),
    ("PR", "ProviderRevision"),
    ("CR", "ConfigurationRevision"),
    ("FR", "FunctionRevision"),
    ("L", "Lock"),
    ("I", "ImageConfig"),
    ("D", "DeploymentRuntimeConfig"),
];

/// A field as a line: path, type, `R` or nothing, default, rules.
fn line(path: &str, schema: &Value, required: bool) -> String {
    let open = schema["x-kubernetes-preserve-unknown-fields"] == json!(true);
    let type_ = match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("integer"), Some("int64")) => "int64",
        (Some("boolean"), None) => "bool",
        (Some("array"), None) => "list",
        (Some("object"), None) if schema.get("additionalProperties").is_some() => "map",
        (Some("string"), Some("date-time")) => "date-time",
        (Some("string"), None) => "string",
        (Some("object"), None) => "object",
        other => panic!("{path}: unexpected type {other:?}"),
    };
    let mut rules = Vec::new();
    if open {
        rules.push("open".to_owned());
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
        rules.push(format!("one of {}", values.join(" ")));
    }
    match (
        schema["x-kubernetes-list-type"].as_str(),
        &schema["x-kubernetes-list-map-keys"],
    ) {
        (None, Value::Null) => {}
        (Some("map"), Value::Array(keys)) if keys.len() == 1 => {
            rules.push(format!("map by {}", keys[0].as_str().unwrap()));
        }
        other => panic!("{path}: unexpected list type {other:?}"),
    }
    if let Some(map_type) = schema["x-kubernetes-map-type"].as_str() {
        rules.push(map_type.to_owned());
    }
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let rule = rule["rule"].as_str().unwrap();
        rules.push(if rule == PACKAGE_RULE {
            "package-rule".to_owned()
        } else {
            rule.to_owned()
        });
    }
    let default = schema.get("default").map(Value::to_string).unwrap_or_default();
    [
        path,
        type_,
        if required { "R" } else { "" },
        &default,
        &rules.join(", "),
    ]
    .join(" | ")
}

/// The rule of the spec, before JSON or Rust escapes anything.
const PACKAGE_RULE: &str =
    r"self.matches('^[^\\.\\/]+(\\.[^\\.\\/]+)+(\\/[^\\/:@]+)+(:[^:@]+(@sha256.+)?|@sha256.+)$')";

/// What is in there is the API server's own schema, see `deployment_spec.json`.
const DEPLOYMENT: &str = "spec.deploymentTemplate.spec";

fn flatten(path: &str, schema: &Value, lines: &mut BTreeSet<String>) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        lines.insert(line(&path, field, required.contains(&json!(name))));
        if path != DEPLOYMENT {
            flatten(&path, field, lines);
        }
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(field) = schema.get(key) {
            let path = format!("{path}{mark}");
            lines.insert(line(&path, field, false));
            flatten(&path, field, lines);
        }
    }
}

/// Schemas by kind and version.
fn schemas() -> BTreeMap<(String, String), Value> {
    let mut schemas = BTreeMap::new();
    for crd in crds() {
        for version in crd.spec.versions {
            let schema = serde_json::to_value(version.schema.unwrap().open_api_v3_schema.unwrap()).unwrap();
            schemas.insert((crd.spec.names.kind.clone(), version.name), schema);
        }
    }
    schemas
}

/// Every schema and sub-schema with its path.
fn walk<'a>(path: String, schema: &'a Value, all: &mut Vec<(String, &'a Value)>) {
    if path.ends_with(&format!(".{DEPLOYMENT}")) {
        all.push((path, schema));
        return;
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        walk(format!("{path}.{name}"), field, all);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(field) = schema.get(key) {
            walk(format!("{path}{mark}"), field, all);
        }
    }
    all.push((path, schema));
}

#[test]
fn fields_are_those_of_the_spec() {
    let mut expected: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for row in include_str!("fields.txt")
        .lines()
        .filter(|row| !row.starts_with('#'))
    {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [kinds, path, type_, required, default, rules] = cells[..] else {
            panic!("bad row: {row}")
        };
        for code in kinds.split_whitespace() {
            let (_, kind) = KINDS.iter().find(|(known, _)| *known == code).expect(row);
            let line = [path, type_, required, default, rules].join(" | ");
            assert!(expected.entry(kind).or_default().insert(line), "twice: {row}");
        }
    }
    let schemas = schemas();
    assert_eq!(schemas.len(), 11, "nine kinds, two of them in two versions");
    for ((kind, version), schema) in &schemas {
        let mut lines = BTreeSet::new();
        flatten("", schema, &mut lines);
        let expected = &expected[kind.as_str()];
        let missing: Vec<_> = expected.difference(&lines).collect();
        let surplus: Vec<_> = lines.difference(expected).collect();
        assert!(
            missing.is_empty() && surplus.is_empty(),
            "{kind} {version}: -{missing:#?} +{surplus:#?}"
        );
        assert_eq!(
            schema.get("required"),
            None,
            "{kind}: nothing is required at the root"
        );
    }
}

/// List maps and defaults that the spec names (API reference 1.10).
#[test]
fn a_deployments_schema_has_what_the_spec_names() {
    let schemas = schemas();
    let schema = &schemas[&("DeploymentRuntimeConfig".to_owned(), "v1beta1".to_owned())];
    let path = format!("/properties/{}", DEPLOYMENT.replace('.', "/properties/"));
    let spec = schema.pointer(&path).unwrap();
    assert_eq!(spec["required"], json!(["selector", "template"]));
    let pod = spec.pointer("/properties/template/properties/spec").unwrap();
    assert_eq!(pod["required"], json!(["containers"]));
    let container = &pod["properties"]["containers"]["items"]["properties"];
    for (list, keys) in [
        (&pod["properties"]["containers"], json!(["name"])),
        (&pod["properties"]["hostAliases"], json!(["ip"])),
        (&pod["properties"]["imagePullSecrets"], json!(["name"])),
        (
            &pod["properties"]["topologySpreadConstraints"],
            json!(["topologyKey", "whenUnsatisfiable"]),
        ),
        (&pod["properties"]["volumes"], json!(["name"])),
        (&container["env"], json!(["name"])),
        (&container["ports"], json!(["containerPort", "protocol"])),
        (&container["volumeMounts"], json!(["mountPath"])),
        (&container["volumeDevices"], json!(["devicePath"])),
        (&container["resources"]["properties"]["claims"], json!(["name"])),
    ] {
        assert_eq!(list["x-kubernetes-list-map-keys"], keys);
        let item = &list["items"];
        for key in keys.as_array().unwrap() {
            let required = item["required"].as_array().is_some_and(|all| all.contains(key));
            assert!(
                required || !item["properties"][key.as_str().unwrap()]["default"].is_null(),
                "{key}"
            );
        }
    }
    let volume = &pod["properties"]["volumes"]["items"]["properties"];
    for (place, default) in [
        (
            &container["ports"]["items"]["properties"]["protocol"],
            json!("TCP"),
        ),
        (
            &container["livenessProbe"]["properties"]["grpc"]["properties"]["service"],
            json!(""),
        ),
        (&volume["azureDisk"]["properties"]["fsType"], json!("ext4")),
        (&volume["azureDisk"]["properties"]["readOnly"], json!(false)),
        (&volume["iscsi"]["properties"]["iscsiInterface"], json!("default")),
        (&volume["rbd"]["properties"]["pool"], json!("rbd")),
        (
            &volume["scaleIO"]["properties"]["storageMode"],
            json!("ThinProvisioned"),
        ),
        (&volume["configMap"]["properties"]["name"], json!("")),
    ] {
        assert_eq!(place["default"], default);
    }
    let metadata = &spec["properties"]["template"]["properties"]["metadata"]["properties"];
    let fields: Vec<&String> = metadata.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        ["annotations", "finalizers", "labels", "name", "namespace"]
    );
}

#[test]
fn names_versions_columns_and_subresources_are_those_of_the_spec() {
    let package = [
        "INSTALLED Installed",
        "HEALTHY Healthy",
        "PACKAGE .spec.package",
        "AGE",
    ];
    let runtime = [
        "HEALTHY RevisionHealthy",
        "RUNTIME-HEALTHY RuntimeHealthy",
        "RUNTIME-ACTIVE RuntimeActive",
    ];
    let revision = [
        "IMAGE .spec.image",
        "STATE .spec.desiredState",
        "AGE",
        "REVISION .spec.revision 1",
        "DEP-FOUND .status.foundDependencies 1",
        "DEP-INSTALLED .status.installedDependencies 1",
    ];
    let with_runtime: Vec<&str> = runtime.into_iter().chain(revision).collect();
    let without_runtime: Vec<&str> = runtime.into_iter().take(1).chain(revision).collect();
    let (pkg, pkgrev) = ("crossplane pkg packages", "crossplane pkgrev packagerevisions");
    type Row<'a> = (&'a str, &'a str, &'a str, &'a [&'a str], bool);
    let rows: [Row<'_>; 9] = [
        ("Provider providers provider", pkg, "v1", &package, true),
        (
            "ProviderRevision providerrevisions providerrevision",
            pkgrev,
            "v1",
            &with_runtime,
            true,
        ),
        (
            "Configuration configurations configuration",
            pkg,
            "v1",
            &package,
            true,
        ),
        (
            "ConfigurationRevision configurationrevisions configurationrevision",
            pkgrev,
            "v1",
            &without_runtime,
            true,
        ),
        ("Function functions function", pkg, "v1 v1beta1", &package, true),
        (
            "FunctionRevision functionrevisions functionrevision",
            pkgrev,
            "v1 v1beta1",
            &with_runtime,
            true,
        ),
        ("Lock locks lock", "", "v1beta1", &["AGE"], true),
        (
            "ImageConfig imageconfigs imageconfig",
            "crossplane",
            "v1beta1",
            &["AGE"],
            false,
        ),
        (
            "DeploymentRuntimeConfig deploymentruntimeconfigs deploymentruntimeconfig",
            "crossplane",
            "v1beta1",
            &["AGE"],
            false,
        ),
    ];
    let crds = crds();
    assert_eq!(crds.len(), rows.len());
    for (names, categories, versions, columns, has_status) in rows {
        let [kind, plural, singular] = names.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{names}")
        };
        let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).expect(kind);
        let crd = serde_json::to_value(crd).unwrap();
        assert_eq!(crd["metadata"]["name"], format!("{plural}.pkg.crossplane.io"));
        assert_eq!(
            crd["metadata"]["annotations"]["gantry.dev/version"],
            env!("CARGO_PKG_VERSION")
        );
        let mut names = json!({
            "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": singular,
        });
        if !categories.is_empty() {
            names["categories"] = categories.split(' ').collect();
        }
        assert_eq!(crd["spec"]["names"], names);
        assert_eq!(
            (&crd["spec"]["scope"], &crd["spec"]["group"]),
            (&json!("Cluster"), &json!("pkg.crossplane.io"))
        );
        assert_eq!(crd["spec"].get("conversion"), None);
        let written = crd["spec"]["versions"].as_array().unwrap();
        assert_eq!(
            written
                .iter()
                .map(|v| v["name"].as_str().unwrap())
                .collect::<Vec<_>>()
                .join(" "),
            versions
        );
        for (index, version) in written.iter().enumerate() {
            assert_eq!(
                (&version["served"], &version["storage"]),
                (&json!(true), &json!(index == 0))
            );
            let subresources = if has_status {
                json!({ "status": {} })
            } else {
                json!({})
            };
            assert_eq!(version["subresources"], subresources, "{kind}");
            let columns: Vec<Value> = columns.iter().map(|text| column_of(text)).collect();
            assert_eq!(
                version["additionalPrinterColumns"],
                Value::Array(columns),
                "{kind}"
            );
        }
    }
}

/// A column from `NAME path-or-condition priority`.
fn column_of(text: &str) -> Value {
    let mut words = text.split(' ');
    let name = words.next().unwrap();
    let path = match words.next() {
        None => return json!({ "name": name, "type": "date", "jsonPath": ".metadata.creationTimestamp" }),
        Some(path) if path.starts_with('.') => path.to_owned(),
        Some(condition) => format!(".status.conditions[?(@.type=='{condition}')].status"),
    };
    let mut column = json!({ "name": name, "type": "string", "jsonPath": path });
    if let Some(priority) = words.next() {
        column["priority"] = priority.parse::<i32>().unwrap().into();
    }
    column
}

#[test]
fn every_field_is_described_and_none_has_what_the_api_server_dislikes() {
    for ((kind, version), schema) in &schemas() {
        let mut all = Vec::new();
        walk(format!("{kind}/{version}"), schema, &mut all);
        for (path, schema) in all {
            let described = schema["description"].as_str().is_some_and(|text| text.len() > 3);
            // the API server describes metadata itself; the values of free-form maps speak for themselves
            assert!(
                described
                    || path.ends_with("/v1.metadata")
                    || path.ends_with("/v1beta1.metadata")
                    || path.ends_with("{}"),
                "{path}"
            );
            for key in ["nullable", "title", "minimum", "maximum", "$ref", "anyOf"] {
                assert_eq!(schema.get(key), None, "{path}: {key}");
            }
            if let Some(text) = schema["description"].as_str() {
                assert!(!text.contains("  ") && text == text.trim(), "{path}: {text:?}");
            }
        }
        let rules = schema.pointer("/properties/spec/properties/package/x-kubernetes-validations/0/message");
        let start =
            "must be a fully qualified image name, including the registry, repository, and tag or digest. ";
        assert!(rules.is_none_or(|message| message.as_str().unwrap().starts_with(start)));
    }
}

/// An object in which every field of the schema has a value.
fn full(schema: &Value) -> Value {
    if schema["x-kubernetes-int-or-string"] == json!(true) {
        return json!("1");
    }
    match schema["type"].as_str().unwrap() {
        "string" if schema["format"] == json!("date-time") => json!("2026-01-02T03:04:05Z"),
        "string" => schema
            .pointer("/enum/0")
            .cloned()
            .unwrap_or_else(|| json!("text")),
        "integer" => json!(7),
        "boolean" => json!(true),
        "array" => json!([full(&schema["items"])]),
        "object" => match schema.get("additionalProperties") {
            Some(value) => json!({ "key": full(value) }),
            None if schema.get("properties").is_none() => json!({}),
            None => {
                let fields = schema["properties"].as_object().unwrap();
                fields
                    .iter()
                    .map(|(name, field)| (name.clone(), full(field)))
                    .collect::<Map<_, _>>()
                    .into()
            }
        },
        other => panic!("{other}"),
    }
}

fn round_trip<T: DeserializeOwned + Serialize>(object: &Value) {
    let typed: T = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(serde_json::to_value(&typed).unwrap(), *object);
}

/// Decodes as the type of that kind, encodes again, and compares.
fn round_trip_as(kind: &str, object: &Value) {
    match kind {
        "Lock" => round_trip::<Lock>(object),
        "ImageConfig" => round_trip::<ImageConfig>(object),
        "DeploymentRuntimeConfig" => round_trip::<DeploymentRuntimeConfig>(object),
        kind if kind.ends_with("Revision") => round_trip::<pkg::Revision>(object),
        _ => round_trip::<pkg::Package>(object),
    }
}

#[test]
fn types_have_every_field_of_the_schemas() {
    for ((kind, version), schema) in &schemas() {
        let mut object = full(schema);
        object["apiVersion"] = format!("pkg.crossplane.io/{version}").into();
        object["kind"] = json!(kind);
        round_trip_as(kind, &object);
    }
}

#[test]
fn types_decode_objects_that_lack_everything() {
    let poor = [
        json!({}),
        json!({ "metadata": { "name": "x" } }),
        json!({ "metadata": {}, "spec": {}, "status": {} }),
        json!({ "metadata": {}, "spec": null, "status": { "conditions": null, "objectRefs": null } }),
        json!({ "metadata": {}, "spec": { "new": 1 }, "status": { "conditions": [{}], "old": true } }),
        json!({ "metadata": {}, "packages": [{ "type": null, "dependencies": null }] }),
    ];
    for object in poor {
        serde_json::from_value::<pkg::Package>(object.clone()).unwrap();
        serde_json::from_value::<pkg::Revision>(object.clone()).unwrap();
        serde_json::from_value::<Lock>(object.clone()).unwrap();
        serde_json::from_value::<ImageConfig>(object.clone()).unwrap();
        serde_json::from_value::<DeploymentRuntimeConfig>(object).unwrap();
    }
}

/// Asks a type for the names of its fields: serde passes them to the deserializer.
struct FieldNames<'a>(&'a mut BTreeSet<String>);

impl<'de> de::Deserializer<'de> for FieldNames<'_> {
    type Error = de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.extend(fields.iter().map(|name| (*name).to_owned()));
        Err(de::Error::custom("only asked for the names"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("not a struct"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Fields of `T` that none of the kinds has at `pointer`.
fn surplus<'de, T: Deserialize<'de>>(kinds: &[&str], pointer: &str) -> Vec<String> {
    let mut names = BTreeSet::new();
    assert!(T::deserialize(FieldNames(&mut names)).is_err() && !names.is_empty());
    for ((kind, _), schema) in &schemas() {
        if kinds.contains(&kind.as_str()) {
            let fields = schema.pointer(pointer).expect(pointer).as_object().unwrap();
            names.retain(|name| !fields.contains_key(name));
        }
    }
    names.into_iter().collect()
}

#[test]
fn types_have_no_field_that_the_schemas_lack() {
    let packages = ["Provider", "Configuration", "Function"];
    let revisions = ["ProviderRevision", "ConfigurationRevision", "FunctionRevision"];
    let (spec, status) = ("/properties/spec/properties", "/properties/status/properties");
    let item = |list: &str| format!("/properties/status/properties/{list}/items/properties");
    let rows = [
        surplus::<pkg::PackageSpec>(&packages, spec),
        surplus::<pkg::PackageStatus>(&packages, status),
        surplus::<pkg::RevisionSpec>(&revisions, spec),
        surplus::<pkg::RevisionStatus>(&revisions, status),
        surplus::<pkg::Condition>(&packages, &item("conditions")),
        surplus::<pkg::ImageConfigRef>(&packages, &item("appliedImageConfigRefs")),
        surplus::<pkg::ObjectRef>(&revisions, &item("objectRefs")),
        surplus::<pkg::DeclaredDependency>(&revisions, &item("declaredDependencies")),
        surplus::<pkg::DependencyState>(&revisions, &item("dependencies")),
        surplus::<pkg::Progress>(&revisions, &format!("{status}/progress/properties")),
        surplus::<pkg::RuntimeConfigReference>(
            &["Provider", "ProviderRevision"],
            &format!("{spec}/runtimeConfigRef/properties"),
        ),
        surplus::<crate::lock::LockPackage>(&["Lock"], "/properties/packages/items/properties"),
        surplus::<crate::image_config::ImageConfigSpec>(&["ImageConfig"], spec),
        surplus::<crate::runtime_config::DeploymentRuntimeConfigSpec>(&["DeploymentRuntimeConfig"], spec),
    ];
    assert_eq!(rows.concat(), Vec::<String>::new());
}
