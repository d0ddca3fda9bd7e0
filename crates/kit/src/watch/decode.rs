//! What a watch decodes of an object.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicResourceScope};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{
    live::Seen,
    meta::{Bare, LAST_APPLIED, Meta},
};

/// An object of which only the compact metadata is decoded.
#[derive(Clone, Debug)]
pub(super) struct Slim {
    /// What the watcher itself reads.
    object: ObjectMeta,
    meta: Meta,
}

impl<'de> Deserialize<'de> for Slim {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let meta = Bare::deserialize(from)?.metadata;
        Ok(Self {
            object: shadow(&meta),
            meta,
        })
    }
}

impl From<Slim> for Seen<Meta> {
    fn from(slim: Slim) -> Self {
        let meta = slim.meta;
        Self {
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            version: meta.resource_version.clone(),
            value: Ok(meta),
        }
    }
}

/// The little of the metadata that the watcher reads.
fn shadow(meta: &Meta) -> ObjectMeta {
    ObjectMeta {
        name: Some(meta.name.clone()),
        resource_version: Some(meta.resource_version.clone()).filter(|version| !version.is_empty()),
        ..ObjectMeta::default()
    }
}

impl kube::Resource for Slim {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.kind)
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.group)
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.version)
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.plural)
    }

    fn metadata_api() -> bool {
        true
    }

    fn meta(&self) -> &ObjectMeta {
        &self.object
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.object
    }
}

/// A whole object, or what can be said of one that cannot be decoded: without it one bad object would fail
/// every list for good.
#[derive(Clone, Debug)]
pub(super) enum Guard<K> {
    Good(K),
    Bad(Box<Bad>),
}

#[derive(Clone, Debug)]
pub(super) struct Bad {
    object: ObjectMeta,
    uid: String,
    why: String,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guard<K> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        match K::deserialize(&value) {
            Ok(object) => Ok(Self::Good(object)),
            Err(error) => {
                let meta = Bare::deserialize(&value)
                    .map_err(serde::de::Error::custom)?
                    .metadata;
                Ok(Self::Bad(Box::new(Bad {
                    object: shadow(&meta),
                    uid: meta.uid,
                    why: error.to_string(),
                })))
            }
        }
    }
}

impl<K: kube::Resource> From<Guard<K>> for Seen<K> {
    fn from(guard: Guard<K>) -> Self {
        match guard {
            Guard::Good(mut object) => {
                let meta = object.meta_mut();
                meta.managed_fields = None;
                if let Some(annotations) = &mut meta.annotations {
                    annotations.remove(LAST_APPLIED);
                }
                Self {
                    name: meta.name.clone().unwrap_or_default(),
                    uid: meta.uid.clone().unwrap_or_default(),
                    version: meta.resource_version.clone().unwrap_or_default(),
                    value: Ok(object),
                }
            }
            Guard::Bad(bad) => Self {
                name: bad.object.name.unwrap_or_default(),
                uid: bad.uid,
                version: bad.object.resource_version.unwrap_or_default(),
                value: Err(bad.why),
            },
        }
    }
}

impl<K: kube::Resource> kube::Resource for Guard<K> {
    type DynamicType = K::DynamicType;
    type Scope = DynamicResourceScope;

    fn kind(dynamic_type: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dynamic_type)
    }

    fn group(dynamic_type: &K::DynamicType) -> Cow<'_, str> {
        K::group(dynamic_type)
    }

    fn version(dynamic_type: &K::DynamicType) -> Cow<'_, str> {
        K::version(dynamic_type)
    }

    fn plural(dynamic_type: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dynamic_type)
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Good(object) => object.meta(),
            Self::Bad(bad) => &bad.object,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Good(object) => object.meta_mut(),
            Self::Bad(bad) => &mut bad.object,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::WatchEvent;
    use serde_json::json;

    use super::*;

    #[test]
    fn slim_decodes_from_watch_events() {
        let event = json!({"type": "ADDED", "object": {"metadata": {
            "name": "a", "uid": "u", "resourceVersion": "5", "managedFields": [{"manager": "m"}]}}});
        let WatchEvent::Added(slim) = serde_json::from_value::<WatchEvent<Slim>>(event).unwrap() else {
            panic!("not an addition")
        };
        assert_eq!(kube::Resource::meta(&slim).resource_version.as_deref(), Some("5"));
        let seen = Seen::from(slim);
        assert_eq!(
            (seen.name.as_str(), seen.uid.as_str(), seen.version.as_str()),
            ("a", "u", "5")
        );
    }

    #[test]
    fn guard_lets_a_bad_object_through_as_bad() {
        let object = |data: serde_json::Value| {
            let annotations = json!({LAST_APPLIED: "{}", "keep": "1"});
            let metadata = json!({"name": "a", "uid": "u", "resourceVersion": "5", "annotations": annotations,
                "managedFields": [{"manager": "m"}]});
            serde_json::from_value::<Guard<ConfigMap>>(json!({"metadata": metadata, "data": data})).unwrap()
        };
        let good = Seen::from(object(json!({"k": "v"})));
        let metadata = good.value.unwrap().metadata;
        assert_eq!(metadata.annotations.unwrap().len(), 1);
        assert!(metadata.managed_fields.is_none());
        let bad = Seen::from(object(json!([1])));
        assert_eq!((bad.name.as_str(), bad.version.as_str()), ("a", "5"));
        assert!(bad.value.unwrap_err().contains("invalid type"));
    }
}
