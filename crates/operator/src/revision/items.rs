//! The objects of one revision as they should be in this cluster. Pure.

use std::collections::BTreeMap;

use api::pkg::{PackageKind, RevisionSpec};
use package::{ObjectEntry, Parsed};
use serde_json::{Value, json};

use super::diff::Item;
use crate::kinds;

/// Port that webhooks are served on (api.md 4.6).
const WEBHOOK_PORT: u16 = 9443;

/// How webhooks of a package are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookService {
    /// The Service: named like the package.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// PEM certificates, base64, to trust when calling it.
    pub ca_bundle: String,
}

/// What the package's objects become in this cluster.
#[must_use]
pub fn items(
    parsed: &Parsed,
    kind: PackageKind,
    package: &str,
    spec: &RevisionSpec,
    webhooks: Option<&WebhookService>,
) -> Vec<Item> {
    let mut renamed: BTreeMap<usize, u32> = BTreeMap::new();
    let mut items: Vec<Item> = parsed
        .objects
        .iter()
        .enumerate()
        .filter_map(|(entry, object)| {
            let place = kinds::find(&object.group, &object.kind)?;
            let mut name = object.name.clone();
            if object.is_webhook_configuration() {
                // A second configuration of one type would fight with the first for the reference's name.
                let count = renamed.entry(place).or_default();
                name = webhook_configuration_name(kind, package, *count);
                *count += 1;
            }
            Some(item(object, entry, place, name, spec, webhooks))
        })
        .collect();
    items.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    items
}

fn item(
    object: &ObjectEntry,
    entry: usize,
    kind: usize,
    name: String,
    spec: &RevisionSpec,
    webhooks: Option<&WebhookService>,
) -> Item {
    let mut labels = object.labels.clone();
    let mut annotations = object.annotations.clone();
    labels.extend(spec.common_labels.clone().unwrap_or_default());
    annotations.extend(spec.common_annotations.clone().unwrap_or_default());
    let wired = webhooks.filter(|_| object.needs_webhook());
    let plain = labels == object.labels && annotations == object.annotations && wired.is_none();
    let hash = match plain {
        true => object.content_hash.clone(),
        false => package::object::content_hash(
            json!([
                object.content_hash,
                labels,
                annotations,
                wired.map(|w| json!([w.name, w.namespace, w.ca_bundle]))
            ])
            .to_string()
            .as_bytes(),
        ),
    };
    Item {
        kind,
        version: object.version.clone(),
        name,
        hash,
        labels,
        annotations,
        entry,
    }
}

/// The reference's name of a package's webhook configuration (api.md 4.5); further ones of the same type are numbered.
fn webhook_configuration_name(kind: PackageKind, package: &str, count: u32) -> String {
    let name = format!("crossplane-{}-{package}", kind.kind().to_lowercase());
    match count {
        0 => name,
        n => format!("{name}-{}", n + 1),
    }
}

/// Points the webhooks of an object to their service. Objects without webhooks stay as they are.
#[must_use]
pub fn wire(mut object: Value, webhooks: &WebhookService) -> Value {
    let config = |path: Option<&Value>| {
        let mut config = json!({
            "caBundle": webhooks.ca_bundle,
            "service": {"name": webhooks.name, "namespace": webhooks.namespace, "port": WEBHOOK_PORT},
        });
        if let Some(path) = path {
            config["service"]["path"] = path.clone();
        }
        config
    };
    for webhook in object
        .get_mut("webhooks")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let wired = config(webhook.pointer("/clientConfig/service/path"));
        if let Some(webhook) = webhook.as_object_mut() {
            webhook.insert("clientConfig".to_owned(), wired);
        }
    }
    if object
        .pointer("/spec/conversion/strategy")
        .and_then(Value::as_str)
        == Some("Webhook")
    {
        let wired = config(object.pointer("/spec/conversion/webhook/clientConfig/service/path"));
        if let Some(webhook) = object
            .pointer_mut("/spec/conversion/webhook")
            .and_then(Value::as_object_mut)
        {
            webhook.insert("clientConfig".to_owned(), wired);
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_are_wired_and_keep_their_path() {
        let service = WebhookService {
            name: "p".into(),
            namespace: "gantry-system".into(),
            ca_bundle: "Y2E=".into(),
        };
        let crd = json!({"spec": {"conversion": {"strategy": "Webhook",
            "webhook": {"clientConfig": {"service": {"path": "/convert"}}, "conversionReviewVersions": ["v1"]}}}});
        let wired = wire(crd, &service);
        assert_eq!(
            wired["spec"]["conversion"]["webhook"],
            json!({"clientConfig": {"caBundle": "Y2E=",
                "service": {"name": "p", "namespace": "gantry-system", "port": 9443, "path": "/convert"}},
                "conversionReviewVersions": ["v1"]})
        );
        let configuration = wire(json!({"webhooks": [{"name": "a"}, {"name": "b"}]}), &service);
        assert_eq!(
            configuration["webhooks"][1]["clientConfig"]["service"]["name"],
            "p"
        );
        let plain = json!({"spec": {"conversion": {"strategy": "None"}}});
        assert_eq!(wire(plain.clone(), &service), plain);
    }

    fn entry() -> ObjectEntry {
        ObjectEntry {
            document: 2,
            group: "apiextensions.k8s.io".into(),
            version: "v1".into(),
            kind: "CustomResourceDefinition".into(),
            name: "x.example.org".into(),
            content_hash: "1-h".into(),
            offset: 0,
            len: 0,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            conversion_webhook: false,
        }
    }

    #[test]
    fn common_labels_and_annotations_are_added_and_win() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let owned = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            owned.collect()
        };
        // Scenarios 8.A7: those of the object, the common ones, both together.
        for (own, common, together) in [
            (map(&[("a", "1")]), None, map(&[("a", "1")])),
            (map(&[]), Some(map(&[("b", "2")])), map(&[("b", "2")])),
            (
                map(&[("a", "1")]),
                Some(map(&[("b", "2")])),
                map(&[("a", "1"), ("b", "2")]),
            ),
            (map(&[("a", "1")]), Some(map(&[("a", "2")])), map(&[("a", "2")])),
        ] {
            let mut object = entry();
            object.labels = own.clone();
            object.annotations = own;
            let spec = RevisionSpec {
                common_labels: common.clone(),
                common_annotations: common.clone(),
                ..RevisionSpec::default()
            };
            let item = item(&object, 0, kinds::CRD, object.name.clone(), &spec, None);
            assert_eq!((&item.labels, &item.annotations), (&together, &together));
            assert_eq!(
                item.hash == object.content_hash,
                common.is_none(),
                "the hash says whether they were added"
            );
        }
    }

    #[test]
    fn names_of_webhook_configurations() {
        assert_eq!(
            webhook_configuration_name(PackageKind::Provider, "p", 0),
            "crossplane-provider-p"
        );
        assert_eq!(
            webhook_configuration_name(PackageKind::Provider, "p", 1),
            "crossplane-provider-p-2"
        );
    }
}
