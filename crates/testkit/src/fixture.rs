//! Packages to install.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::corpus::Corpus;
use crate::image::{Blob, Image};
use crate::synthetic;

/// Size of a fixture's CRDs unless [`PackageFixture::crd_bytes`] says otherwise: small, so that tests are
/// fast.
const SMALL: usize = 2_000;

/// Builds the image of a package, step by step.
#[derive(Clone, Debug)]
pub struct PackageFixture {
    kind: String,
    name: String,
    version: String,
    annotations: Map<String, Value>,
    labels: Map<String, Value>,
    crossplane: Option<String>,
    capabilities: Option<Vec<String>>,
    depends_on: Vec<Value>,
    crd_bytes: usize,
    version_label: Option<String>,
    crds: Vec<(String, String)>,
    objects: Vec<Value>,
    documents: Vec<String>,
}

impl PackageFixture {
    /// A Provider without content.
    pub fn provider(name: &str) -> Self {
        Self::new("Provider", name)
    }

    /// A Configuration without content.
    pub fn configuration(name: &str) -> Self {
        Self::new("Configuration", name)
    }

    /// A Function without content.
    pub fn function(name: &str) -> Self {
        Self::new("Function", name)
    }

    /// A package whose metadata object has this kind.
    pub fn new(kind: &str, name: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            version: "v1".to_owned(),
            annotations: Map::new(),
            labels: Map::new(),
            crossplane: None,
            capabilities: None,
            depends_on: Vec::new(),
            crd_bytes: SMALL,
            version_label: None,
            crds: Vec::new(),
            objects: Vec::new(),
            documents: Vec::new(),
        }
    }

    /// The version of `meta.pkg.crossplane.io` of the metadata object; `v1` by default.
    pub fn meta_version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// An annotation of the metadata object. Packages that differ only here have different digests and equal
    /// content.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), json!(value));
        self
    }

    /// A label of the metadata object.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), json!(value));
        self
    }

    /// `spec.crossplane.version`.
    pub fn crossplane(mut self, constraint: &str) -> Self {
        self.crossplane = Some(constraint.to_owned());
        self
    }

    /// `spec.capabilities`; several calls: all of them.
    pub fn capability(mut self, name: &str) -> Self {
        self.capabilities.get_or_insert_default().push(name.to_owned());
        self
    }

    /// A dependency: `kind` is `Provider`, `Configuration` or `Function`, `package` a repository without tag.
    pub fn depends_on(mut self, kind: &str, package: &str, constraint: &str) -> Self {
        self.depends_on
            .push(json!({ kind.to_lowercase(): package, "version": constraint }));
        self
    }

    /// A dependency in the form with `apiVersion` and `kind`.
    pub fn depends_on_kind(mut self, api_version: &str, kind: &str, package: &str, constraint: &str) -> Self {
        let form =
            json!({ "apiVersion": api_version, "kind": kind, "package": package, "version": constraint });
        self.depends_on.push(form);
        self
    }

    /// About how long the YAML of each CRD added by [`Self::crd`] and [`Self::crds`] is; real ones have
    /// 50,000 bytes.
    pub fn crd_bytes(mut self, bytes: usize) -> Self {
        self.crd_bytes = bytes;
        self
    }

    /// Changes the content of every CRD added by [`Self::crd`] and [`Self::crds`], as a new version of a
    /// package does.
    pub fn version_label(mut self, version: &str) -> Self {
        self.version_label = Some(version.to_owned());
        self
    }

    /// A CRD `<kind in lower case>s.<group>`.
    pub fn crd(mut self, group: &str, kind: &str) -> Self {
        self.crds.push((group.to_owned(), kind.to_owned()));
        self
    }

    /// `n` CRDs `thing0s.<group>`, `thing1s.<group>`…
    pub fn crds(mut self, group: &str, n: usize) -> Self {
        self.crds
            .extend((0..n).map(|i| (group.to_owned(), format!("Thing{i}"))));
        self
    }

    /// The first `n` files of a corpus, as they are.
    pub fn corpus(mut self, corpus: &Corpus, n: usize) -> Result<Self> {
        self.documents.extend(corpus.first(n)?);
        Ok(self)
    }

    /// Any object.
    pub fn object(mut self, object: Value) -> Self {
        self.objects.push(object);
        self
    }

    /// A text that is put into the stream as a document, whatever it is.
    pub fn document(mut self, text: &str) -> Self {
        self.documents.push(text.to_owned());
        self
    }

    /// A CompositeResourceDefinition (v1) `x<kind in lower case>s.<group>` of kind `X<kind>`.
    pub fn xrd(self, group: &str, kind: &str) -> Self {
        let plural = format!("x{}s", kind.to_lowercase());
        self.object(json!({
            "apiVersion": "apiextensions.crossplane.io/v1",
            "kind": "CompositeResourceDefinition",
            "metadata": { "name": format!("{plural}.{group}") },
            "spec": {
                "group": group,
                "names": { "kind": format!("X{kind}"), "plural": plural },
                "versions": [{
                    "name": "v1alpha1", "served": true, "referenceable": true,
                    "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": {
                        "type": "object", "properties": { "size": { "type": "integer" } },
                    } } } },
                }],
            },
        }))
    }

    /// A Composition for the composite `X<kind>` of `group`.
    pub fn composition(self, name: &str, group: &str, kind: &str) -> Self {
        self.object(json!({
            "apiVersion": "apiextensions.crossplane.io/v1",
            "kind": "Composition",
            "metadata": { "name": name },
            "spec": {
                "compositeTypeRef": { "apiVersion": format!("{group}/v1alpha1"), "kind": format!("X{kind}") },
                "mode": "Pipeline",
                "pipeline": [{ "step": "compose", "functionRef": { "name": "function-made-up" } }],
            },
        }))
    }

    /// The metadata object.
    pub fn meta(&self) -> Value {
        let mut spec = Map::new();
        if let Some(version) = &self.crossplane {
            spec.insert("crossplane".to_owned(), json!({ "version": version }));
        }
        if let Some(capabilities) = &self.capabilities {
            spec.insert("capabilities".to_owned(), json!(capabilities));
        }
        if !self.depends_on.is_empty() {
            spec.insert("dependsOn".to_owned(), json!(self.depends_on));
        }
        let mut metadata = Map::from_iter([("name".to_owned(), json!(self.name))]);
        for (key, values) in [("annotations", &self.annotations), ("labels", &self.labels)] {
            if !values.is_empty() {
                metadata.insert(key.to_owned(), json!(values));
            }
        }
        json!({
            "apiVersion": format!("meta.pkg.crossplane.io/{}", self.version),
            "kind": self.kind, "metadata": metadata, "spec": spec,
        })
    }

    /// Names of the CRDs added by [`Self::crd`] and [`Self::crds`].
    pub fn crd_names(&self) -> Vec<String> {
        self.crds
            .iter()
            .map(|(group, kind)| format!("{}.{group}", synthetic::plural(kind)))
            .collect()
    }

    /// The text of `package.yaml`.
    pub fn yaml(&self) -> Result<String> {
        let mut text = String::from("---\n");
        text.push_str(&serde_saphyr::to_string(&self.meta())?);
        let label = self.version_label.as_deref();
        let crds = self
            .crds
            .iter()
            .map(|(group, kind)| synthetic::crd(group, kind, self.crd_bytes, label));
        for object in crds.chain(self.objects.iter().cloned()) {
            separate(&mut text);
            text.push_str(&serde_saphyr::to_string(&object)?);
        }
        for document in &self.documents {
            separate(&mut text);
            text.push_str(document);
        }
        separate(&mut text);
        Ok(text)
    }

    /// The image as the reference's tools build it: one annotated layer, Docker media types.
    pub fn build(&self) -> Result<Image> {
        Image::docker(vec![Blob::package(&self.yaml()?)?])
    }
}

fn separate(text: &mut String) {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str("---\n");
}
