//! Pieces that CRD schemas are put together from. Each carries its description: `kubectl explain` shows it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use serde_json::Value;

/// Schema of one field, and whether the object around it must have it.
pub(super) struct Field {
    schema: JSONSchemaProps,
    required: bool,
}

fn field(type_: &str, description: &str) -> Field {
    let schema = JSONSchemaProps {
        type_: Some(type_.to_owned()),
        description: Some(description.to_owned()),
        ..JSONSchemaProps::default()
    };
    Field {
        schema,
        required: false,
    }
}

/// A string.
pub(super) fn string(description: &str) -> Field {
    field("string", description)
}

/// A 64-bit integer.
pub(super) fn integer(description: &str) -> Field {
    field("integer", description).format("int64")
}

/// A truth value.
pub(super) fn boolean(description: &str) -> Field {
    field("boolean", description)
}

/// An RFC 3339 time.
pub(super) fn time(description: &str) -> Field {
    field("string", description).format("date-time")
}

/// An object with these fields.
pub(super) fn object<const N: usize>(description: &str, fields: [(&str, Field); N]) -> Field {
    let mut object = field("object", description);
    for (name, field) in fields {
        object = object.with(name, field);
    }
    object
}

/// An object whose keys are free and whose values are strings.
pub(super) fn string_map(description: &str) -> Field {
    let mut map = field("object", description);
    let value = JSONSchemaProps {
        type_: Some("string".to_owned()),
        ..JSONSchemaProps::default()
    };
    map.schema.additional_properties = Some(JSONSchemaPropsOrBool::Schema(Box::new(value)));
    map
}

/// An object that may hold anything.
pub(super) fn open(description: &str) -> Field {
    let mut open = field("object", description);
    open.schema.x_kubernetes_preserve_unknown_fields = Some(true);
    open
}

/// A schema that somebody else wrote.
pub(super) fn given(schema: JSONSchemaProps) -> Field {
    Field {
        schema,
        required: false,
    }
}

/// A list that is written as a whole.
pub(super) fn list(description: &str, item: Field) -> Field {
    let mut list = field("array", description);
    list.schema.items = Some(JSONSchemaPropsOrArray::Schema(Box::new(item.schema)));
    list
}

/// A list with at most one item per value of `key`; several writers may each own some of the items.
pub(super) fn list_map(description: &str, key: &str, item: Field) -> Field {
    let mut list = list(description, item);
    list.schema.x_kubernetes_list_type = Some("map".to_owned());
    list.schema.x_kubernetes_list_map_keys = Some(vec![key.to_owned()]);
    list
}

impl Field {
    /// The object around it must have it.
    pub(super) fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The API server fills in that value.
    pub(super) fn default(mut self, value: impl Into<Value>) -> Self {
        self.schema.default = Some(JSON(value.into()));
        self
    }

    /// No other values.
    pub(super) fn one_of(mut self, values: &[&str]) -> Self {
        self.schema.enum_ = Some(values.iter().map(|value| JSON((*value).into())).collect());
        self
    }

    /// A CEL rule, and what is said when it does not hold.
    pub(super) fn rule(mut self, rule: &str, message: &str) -> Self {
        let rule = ValidationRule {
            rule: rule.to_owned(),
            message: Some(message.to_owned()),
            ..ValidationRule::default()
        };
        self.schema
            .x_kubernetes_validations
            .get_or_insert_default()
            .push(rule);
        self
    }

    /// The object is written as a whole.
    pub(super) fn atomic(mut self) -> Self {
        self.schema.x_kubernetes_map_type = Some("atomic".to_owned());
        self
    }

    /// The object also has that field.
    pub(super) fn with(mut self, name: &str, field: Self) -> Self {
        if field.required {
            self.schema.required.get_or_insert_default().push(name.to_owned());
        }
        self.schema
            .properties
            .get_or_insert_default()
            .insert(name.to_owned(), field.schema);
        self
    }

    fn format(mut self, format: &str) -> Self {
        self.schema.format = Some(format.to_owned());
        self
    }

    /// Schema of a whole object of the API: with `apiVersion`, `kind` and `metadata`.
    pub(super) fn into_root(self) -> JSONSchemaProps {
        let mut root = self
            .with("apiVersion", string("Group and version of this object's schema."))
            .with("kind", string("Kind of this object."));
        // a bare object: the API server refuses anything else here and publishes its own description
        let metadata = JSONSchemaProps {
            type_: Some("object".to_owned()),
            ..JSONSchemaProps::default()
        };
        root.schema
            .properties
            .get_or_insert_default()
            .insert("metadata".to_owned(), metadata);
        root.schema
    }
}
