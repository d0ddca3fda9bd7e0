//! The package format: finding `package.yaml` in an image, reading it, checking it, and building packages.
//!
//! Nothing here does I/O of its own: callers bring readers, writers and lists of files. Reading streams, so
//! memory does not grow with the package: [`read`] inflates a layer, splits it into documents, and hands the
//! canonical JSON of each object to a [`Sink`]; what stays in memory is [`Parsed`], a short entry per object.

pub mod build;
pub mod error;
pub mod known;
pub mod layer;
pub mod limits;
pub mod lint;
pub mod meta;
pub mod object;
pub mod parse;
mod reserved;
pub mod sink;
mod stream;
mod text;
pub mod warning;
mod yaml;

pub use error::Error;
pub use layer::{Content, LayerError, read};
pub use limits::LIMITS;
pub use meta::{Dependency, Incompatible, Meta};
pub use object::{ObjectEntry, ObjectHeader};
pub use parse::{FORMAT, Options, Parsed, parse};
pub use sink::{Discard, Fields, JsonLines, ReadError, Sink, read_fields, read_object};
pub use warning::{Warning, WarningKind};
pub use yaml::{YamlError, from_yaml, to_yaml};
