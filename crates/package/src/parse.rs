//! From the text of `package.yaml` to metadata and objects.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

use api::pkg::PackageKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
use crate::known::{self, Fate, Known};
use crate::limits::MAX_WARNINGS;
use crate::meta::Meta;
use crate::object::{self, ObjectEntry, ObjectHeader};
use crate::reserved::is_dns_subdomain;
use crate::sink::Sink;
use crate::stream::{Document, Documents};
use crate::text;
use crate::warning::{Warning, WarningKind};
use crate::yaml::from_yaml;

/// Version of the derived form ([`Parsed`] and JSON lines). It changes whenever the same `package.yaml` gives
/// another result, so that a stored result of an older version is not used.
pub const FORMAT: u32 = 1;

/// How to treat a package.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The kind it must be; `None` takes any.
    pub kind: Option<PackageKind>,
    /// Refuse objects that its kind may not have instead of leaving them out with a warning.
    pub refuse_disallowed: bool,
}

/// A package that was read: everything but the content of its objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parsed {
    /// [`FORMAT`] of the code that wrote it.
    pub format: u32,
    /// The package's metadata.
    pub meta: Meta,
    /// What the package establishes, in the order of the documents. Empty for a Function.
    pub objects: Vec<ObjectEntry>,
    /// Findings that don't stop the package, at most [`MAX_WARNINGS`].
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// How many more findings there were.
    #[serde(default)]
    pub omitted_warnings: usize,
}

impl Parsed {
    /// The objects that need a webhook server, which only a runtime has.
    pub fn webhook_objects(&self) -> impl Iterator<Item = &ObjectEntry> {
        self.objects.iter().filter(|object| object.needs_webhook())
    }
}

/// Reads a package from the text of its `package.yaml`.
///
/// Every object is handed to `sink` as canonical JSON as soon as it is read, so memory does not grow with the
/// package.
///
/// # Errors
/// If any document can't be read, is of an unknown type or occurs twice, or if there is not exactly one
/// metadata object. What the sink got is then void.
pub fn parse(reader: impl BufRead, sink: &mut dyn Sink, options: &Options) -> Result<Parsed, Error> {
    let mut documents = Documents::new(reader);
    let mut pass = Pass::new(sink);
    while let Some(document) = documents.next()? {
        pass.document(&document)?;
    }
    pass.finish(options)
}

/// State while the documents come by.
struct Pass<'a> {
    sink: &'a mut dyn Sink,
    metas: Vec<u32>,
    meta: Option<Meta>,
    warnings: Vec<Warning>,
    objects: Vec<ObjectEntry>,
    /// Group, kind and name of each object, and its document.
    seen: HashMap<(String, String, String), u32>,
    offset: u64,
    json: Vec<u8>,
}

impl<'a> Pass<'a> {
    fn new(sink: &'a mut dyn Sink) -> Self {
        Self {
            sink,
            metas: Vec::new(),
            meta: None,
            warnings: Vec::new(),
            objects: Vec::new(),
            seen: HashMap::new(),
            offset: 0,
            json: Vec::new(),
        }
    }

    fn document(&mut self, document: &Document) -> Result<(), Error> {
        let (number, line) = (document.number, document.line);
        let value = from_yaml(&document.text).map_err(|error| Error::yaml(number, line, &error))?;
        let (api_version, kind, name) = identity(&value, number, line)?;
        let fields = Fields {
            document: number,
            line,
            kind: &kind,
            name: &name,
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        match known::lookup(group, version, &kind) {
            Some(Known::Meta(package)) => {
                let meta = Meta::read(package, version, &value, &fields, &mut self.warnings)?;
                self.metas.push(number);
                self.meta = Some(meta);
                Ok(())
            }
            Some(Known::Object) => self.object(value, group, version, &fields),
            None => Err(Error::UnknownKind {
                document: number,
                line,
                api_version: text::shorten(&api_version),
                object: text::object(&kind, &name),
            }),
        }
    }

    fn object(
        &mut self,
        mut value: Value,
        group: &str,
        version: &str,
        fields: &Fields<'_>,
    ) -> Result<(), Error> {
        let (document, kind, name) = (fields.document, fields.kind, fields.name);
        // Lists have no name of their own; they are never applied.
        if !kind.ends_with("List") {
            fields.check_metadata(&value)?;
            let identity = (group.to_owned(), kind.to_owned(), name.to_owned());
            if let Some(first) = self.seen.insert(identity, document) {
                let (object, group) = (text::object(kind, name), group.to_owned());
                return Err(Error::Duplicate {
                    first,
                    second: document,
                    object,
                    group,
                });
            }
        }
        object::strip(&mut value);
        self.json.clear();
        object::write_canonical(&value, &mut self.json);
        let header = ObjectHeader {
            document,
            api_version: format!("{group}/{version}"),
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        self.sink.object(&header, &self.json).map_err(Error::Sink)?;
        let len = self.json.len() as u64;
        self.objects.push(ObjectEntry {
            document,
            group: group.to_owned(),
            version: version.to_owned(),
            kind: header.kind,
            name: header.name,
            content_hash: object::content_hash(&self.json),
            offset: self.offset,
            len,
            labels: texts_of(&value, "labels"),
            annotations: texts_of(&value, "annotations"),
            conversion_webhook: converts_by_webhook(&value),
        });
        self.offset += len + 1;
        Ok(())
    }

    fn finish(self, options: &Options) -> Result<Parsed, Error> {
        let Self {
            metas,
            meta,
            mut warnings,
            mut objects,
            ..
        } = self;
        let meta = match (meta, metas.as_slice()) {
            (Some(meta), [_]) => meta,
            _ => return Err(Error::NotOneMeta { documents: metas }),
        };
        if let Some(wanted) = options.kind {
            meta.check_kind(wanted)?;
        }
        let package = meta.kind;
        objects.retain(|object| {
            let fate = known::fate(package, &object.group, &object.version, &object.kind);
            if let Some((kind, message)) = left_out(package, object, fate) {
                let (document, object) = (object.document, text::object(&object.kind, &object.name));
                warnings.push(Warning {
                    document,
                    object,
                    kind,
                    message,
                });
            }
            fate == Fate::Established
        });
        if options.refuse_disallowed {
            let refused =
                |warning: &Warning| matches!(warning.kind, WarningKind::NotAllowed | WarningKind::NotServed);
            let refused: Vec<Warning> = warnings
                .iter()
                .filter(|warning| refused(warning))
                .cloned()
                .collect();
            if !refused.is_empty() {
                return Err(Error::NotAllowed {
                    kind: package,
                    objects: refused,
                });
            }
        }
        let omitted_warnings = warnings.len().saturating_sub(MAX_WARNINGS);
        warnings.truncate(MAX_WARNINGS);
        Ok(Parsed {
            format: FORMAT,
            meta,
            objects,
            warnings,
            omitted_warnings,
        })
    }
}

/// Why an object is not applied, if it isn't and somebody should know.
fn left_out(package: PackageKind, object: &ObjectEntry, fate: Fate) -> Option<(WarningKind, String)> {
    match fate {
        Fate::Established | Fate::SchemaOnly => None,
        Fate::NotServed => Some((
            WarningKind::NotServed,
            format!(
                "not applied, since no supported API server serves {}; write it as v1",
                object.api_version()
            ),
        )),
        Fate::NotAllowed if object.kind.ends_with("List") => Some((
            WarningKind::NotAllowed,
            "not applied, since lists are not installed; write each object as a document of its own"
                .to_owned(),
        )),
        Fate::NotAllowed => Some((
            WarningKind::NotAllowed,
            format!(
                "not applied, since a {package} may only contain {}",
                known::allowed(package).join(", ")
            ),
        )),
    }
}

/// Labels or annotations of an object whose metadata was checked.
fn texts_of(object: &Value, field: &str) -> BTreeMap<String, String> {
    let entries = object
        .pointer("/metadata")
        .and_then(|metadata| metadata.get(field))
        .and_then(Value::as_object);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

fn converts_by_webhook(object: &Value) -> bool {
    object.get("kind").and_then(Value::as_str) == Some("CustomResourceDefinition")
        && object
            .pointer("/spec/conversion/strategy")
            .and_then(Value::as_str)
            == Some("Webhook")
}

/// `apiVersion`, `kind` and name (empty if there is none) of a document.
fn identity(value: &Value, document: u32, line: u64) -> Result<(String, String, String), Error> {
    let found = match value {
        Value::Object(_) => None,
        Value::Null => Some("null"),
        Value::Array(_) => Some("a list"),
        Value::String(_) => Some("a text"),
        Value::Bool(_) | Value::Number(_) => Some("a scalar"),
    };
    if let Some(found) = found {
        return Err(Error::NotAnObject {
            document,
            line,
            found,
        });
    }
    let text = |field: &str| {
        value
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let name = value
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    for (field, found) in [("apiVersion", &api_version), ("kind", &kind)] {
        let fields = Fields {
            document,
            line,
            kind: &kind,
            name: &name,
        };
        if value
            .get(field)
            .is_some_and(|value| !value.is_null() && !value.is_string())
        {
            return Err(fields.wrong(field, "must be a string"));
        }
        if found.is_empty() {
            let known = [&kind, &name].map(|part| text::shorten(part)).join(" ");
            return Err(Error::MissingType {
                document,
                line,
                object: format!("{:?}", known.trim()),
                field,
            });
        }
    }
    Ok((api_version, kind, name))
}

/// Reads fields of one document; errors and warnings name it.
pub(crate) struct Fields<'a> {
    document: u32,
    line: u64,
    kind: &'a str,
    name: &'a str,
}

impl Fields<'_> {
    pub(crate) fn document(&self) -> u32 {
        self.document
    }

    pub(crate) fn wrong(&self, path: &str, problem: &str) -> Error {
        Error::Field {
            document: self.document,
            line: self.line,
            object: text::object(self.kind, self.name),
            path: text::shorten(path),
            problem: problem.to_owned(),
        }
    }

    pub(crate) fn warning(&self, kind: WarningKind, message: String) -> Warning {
        Warning {
            document: self.document,
            object: text::object(self.kind, self.name),
            kind,
            message,
        }
    }

    /// The object at `key` of the document; null counts as absent.
    pub(crate) fn object<'v>(&self, value: &'v Value, key: &str) -> Result<Option<&'v Value>, Error> {
        self.checked(value, "", key, Value::is_object, "must be an object")
    }

    pub(crate) fn object_at<'v>(
        &self,
        value: &'v Value,
        path: &str,
        key: &str,
    ) -> Result<Option<&'v Value>, Error> {
        self.checked(value, path, key, Value::is_object, "must be an object")
    }

    pub(crate) fn string(&self, value: &Value, path: &str, key: &str) -> Result<Option<String>, Error> {
        let found = self.checked(
            value,
            path,
            key,
            Value::is_string,
            "must be a string; put it in quotes",
        )?;
        Ok(found.and_then(Value::as_str).map(str::to_owned))
    }

    pub(crate) fn array<'v>(&self, value: &'v Value, path: &str, key: &str) -> Result<&'v [Value], Error> {
        let found = self.checked(value, path, key, Value::is_array, "must be a list")?;
        Ok(found.and_then(Value::as_array).map_or(&[], Vec::as_slice))
    }

    /// A map of texts, such as labels.
    pub(crate) fn strings(
        &self,
        value: &Value,
        path: &str,
        key: &str,
    ) -> Result<BTreeMap<String, String>, Error> {
        let found = self.checked(value, path, key, Value::is_object, "must be an object")?;
        let Some(entries) = found.and_then(Value::as_object) else {
            return Ok(BTreeMap::new());
        };
        let texts = entries.iter().map(|(name, value)| match value {
            Value::String(text) => Ok((name.clone(), text.clone())),
            // Go decodes null into the empty text.
            Value::Null => Ok((name.clone(), String::new())),
            _ => Err(self.wrong(
                &format!("{path}.{key}[{name:?}]"),
                "must be a string; put it in quotes",
            )),
        });
        texts.collect()
    }

    fn checked<'v>(
        &self,
        value: &'v Value,
        path: &str,
        key: &str,
        is: fn(&Value) -> bool,
        problem: &str,
    ) -> Result<Option<&'v Value>, Error> {
        match value.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(found) if is(found) => Ok(Some(found)),
            Some(_) if path.is_empty() => Err(self.wrong(key, problem)),
            Some(_) => Err(self.wrong(&format!("{path}.{key}"), problem)),
        }
    }

    /// What every object must have: a name that a server takes, and labels and annotations that are texts.
    fn check_metadata(&self, value: &Value) -> Result<(), Error> {
        let Some(metadata) = self.object(value, "metadata")? else {
            return Err(self.wrong("metadata.name", "is missing; every object needs a name"));
        };
        match self.string(metadata, "metadata", "name")?.as_deref() {
            None | Some("") => {
                return Err(self.wrong("metadata.name", "is missing; every object needs a name"));
            }
            Some(name) if !is_dns_subdomain(name) => {
                let problem = "is no valid name; use lower-case letters, digits, '-' and '.'";
                return Err(self.wrong("metadata.name", problem));
            }
            Some(_) => {}
        }
        for key in ["labels", "annotations"] {
            self.strings(metadata, "metadata", key)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
