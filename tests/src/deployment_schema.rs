//! The schema of a Deployment's spec as a CRD can have it, made of what an API server publishes.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

const SPEC: &str = "io.k8s.api.apps.v1.DeploymentSpec";
/// What a schema says of a value and a CRD may say, too. Values of enumerations are left to the API server, which judges the
/// Deployment itself.
const KEPT: [&str; 5] = [
    "description",
    "format",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
];
/// No schema of Kubernetes is deeper, so that more is a circle.
const DEEPEST: usize = 40;

/// The schema of `spec`, from the document `/openapi/v3/apis/apps/v1`.
///
/// # Errors
/// If the document lacks something or goes in a circle.
pub fn structural(document: &Value) -> Result<Value> {
    let schemas = document.pointer("/components/schemas").context("no schemas")?;
    let all = Schemas(schemas.as_object().context("schemas are no object")?);
    all.of(all.0.get(SPEC).context("no Deployment")?, 0)
}

struct Schemas<'a>(&'a Map<String, Value>);

impl Schemas<'_> {
    fn of(&self, schema: &Value, depth: usize) -> Result<Value> {
        ensure!(depth < DEEPEST, "deeper than {DEEPEST}: {schema}");
        let reference = schema
            .get("$ref")
            .or_else(|| schema.pointer("/allOf/0/$ref"))
            .and_then(Value::as_str);
        let mut made = match reference.and_then(|r| r.strip_prefix("#/components/schemas/")) {
            Some(name) => self.named(name, depth)?,
            None => self.plain(schema, depth)?,
        };
        if let Some(description) = schema.get("description") {
            made["description"] = description.clone();
        }
        for key in KEPT.into_iter().filter(|key| key.starts_with("x-")) {
            if let Some(value) = schema.get(key) {
                made[key] = value.clone();
            }
        }
        Ok(made)
    }

    fn named(&self, name: &str, depth: usize) -> Result<Value> {
        let text = json!({"type": "string"});
        let texts = json!({"type": "object", "additionalProperties": text});
        let number_or_text = json!([{"type": "integer"}, {"type": "string"}]);
        Ok(match name.rsplit('.').next().unwrap_or_default() {
            "Quantity" => json!({
                "anyOf": number_or_text, "x-kubernetes-int-or-string": true,
                "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
            }),
            "IntOrString" => json!({"anyOf": number_or_text, "x-kubernetes-int-or-string": true}),
            "Time" => json!({"type": "string", "format": "date-time"}),
            // What a template may say of its objects; a CRD's own metadata is another.
            "ObjectMeta" => json!({"type": "object", "properties": {
                "annotations": texts, "labels": texts, "name": text, "namespace": text,
                "finalizers": {"type": "array", "items": text},
            }}),
            _ => {
                let schema = self.0.get(name).with_context(|| format!("no schema {name}"))?;
                self.plain(schema, depth + 1)?
            }
        })
    }

    fn plain(&self, schema: &Value, depth: usize) -> Result<Value> {
        let mut made = Map::new();
        let type_ = schema.get("type").with_context(|| format!("no type: {schema}"))?;
        made.insert("type".to_owned(), type_.clone());
        for key in KEPT {
            if let Some(value) = schema.get(key) {
                made.insert(key.to_owned(), value.clone());
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        if let Some(required) = required {
            made.insert("required".to_owned(), json!(required));
        }
        let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|r| r == name));
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            let mut fields = Map::new();
            for (name, field) in properties {
                let mut of = self.of(field, depth + 1)?;
                // Of what is required, and of objects, defaults only say what Go makes of nothing.
                let default = field
                    .get("default")
                    .filter(|d| !d.is_object() && !is_required(name));
                if let Some(default) = default {
                    of["default"] = default.clone();
                }
                fields.insert(name.clone(), of);
            }
            made.insert("properties".to_owned(), Value::Object(fields));
        }
        if let Some(items) = schema.get("items") {
            let mut items = self.of(items, depth + 1)?;
            // A CRD asks for the keys of a list in each of its entries, or for their defaults.
            for key in schema["x-kubernetes-list-map-keys"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let key = key.as_str().unwrap_or_default();
                let has_default = items["properties"][key].get("default").is_some_and(|d| d != "");
                let required = items["required"].as_array().cloned().unwrap_or_default();
                if !has_default && !required.iter().any(|r| r == key) {
                    items["required"] = required.into_iter().chain([json!(key)]).collect();
                }
            }
            made.insert("items".to_owned(), items);
        }
        if let Some(values) = schema.get("additionalProperties") {
            made.insert("additionalProperties".to_owned(), self.of(values, depth + 1)?);
        }
        Ok(Value::Object(made))
    }
}
