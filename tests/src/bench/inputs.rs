//! What is installed: the first CRDs of the corpus by file name, or made-up ones.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testkit::{Corpus, Image, PackageFixture, synthetic};

/// Size of made-up CRDs as YAML: the mean of those in the corpus.
const SYNTHETIC_BYTES: usize = 53_000;

/// CRDs in the order in which they are taken.
pub(super) struct Inputs {
    documents: Vec<String>,
    /// Whether they come from a corpus.
    pub(super) real: bool,
}

impl Inputs {
    /// The first `most` CRDs.
    pub(super) fn load(most: usize) -> Result<Self> {
        let corpus = Corpus::from_env()?;
        let documents = match &corpus {
            Some(corpus) => corpus.first(most)?,
            None => (0..most)
                .map(|n| {
                    let crd = synthetic::crd(
                        "bench.example.org",
                        &format!("Thing{n:04}"),
                        SYNTHETIC_BYTES,
                        None,
                    );
                    Ok(serde_saphyr::to_string(&crd)?)
                })
                .collect::<Result<_>>()?,
        };
        Ok(Self {
            documents,
            real: corpus.is_some(),
        })
    }

    /// One line about them.
    pub(super) fn describe(&self) -> String {
        let what = match self.real {
            true => "real CRDs, the first of the corpus by file name",
            false => "made-up CRDs, since GANTRY_CORPUS names no corpus; the targets are meant for real ones",
        };
        let count = self.documents.len();
        format!("inputs: {count} {what}, {:.1} MB of YAML", self.megabytes(count))
    }

    /// Size of the first `size` as YAML, in 10^6 bytes.
    pub(super) fn megabytes(&self, size: usize) -> f64 {
        let bytes: usize = self.documents.iter().take(size).map(String::len).sum();
        bytes as f64 / 1e6
    }

    /// The image of a package with the first `size` CRDs. Versions differ in nothing but the metadata object.
    pub(super) fn image(&self, size: usize, version: &str) -> Result<Image> {
        let fixture = PackageFixture::provider("provider-bench").annotation("example.org/version", version);
        self.documents
            .iter()
            .take(size)
            .fold(fixture, |fixture, text| fixture.document(strip(text)))
            .build()
    }

    /// The first `size` CRDs as values.
    pub(super) fn objects(&self, size: usize) -> Result<Vec<Value>> {
        self.documents
            .iter()
            .take(size)
            .map(|text| serde_saphyr::from_str(strip(text)).context("a CRD that cannot be read"))
            .collect()
    }
}

/// A file may start with a document marker; the package sets its own.
fn strip(text: &str) -> &str {
    text.strip_prefix("---\n").unwrap_or(text)
}

/// Names of objects.
pub(super) fn names(objects: &[Value]) -> Vec<String> {
    objects
        .iter()
        .filter_map(|o| o["metadata"]["name"].as_str().map(str::to_owned))
        .collect()
}

/// The bodies that create `objects`, with the metadata that a package manager has to add: which content it is, who owns
/// it.
pub(super) fn bodies(objects: &[Value], owners: &Value) -> Vec<Vec<u8>> {
    objects
        .iter()
        .map(|object| {
            let mut object = object.clone();
            let mark = json!("1-00000000000000000000000000000000");
            if !object["metadata"]["annotations"].is_object() {
                object["metadata"]["annotations"] = json!({});
            }
            object["metadata"]["annotations"]["example.org/content"] = mark;
            object["metadata"]["ownerReferences"] = owners.clone();
            object.to_string().into_bytes()
        })
        .collect()
}
