//! The OCI content model: references, digests, descriptors, manifests, indexes, image configs, media types
//! and the rule by which a child of an index is chosen. Pure: no I/O, no async, no clock.
//!
//! Everything here is built from bytes that a registry or a user sent, so nothing panics on bad input and
//! every length is bounded by a constant in [`limits`].

pub mod annotation;
pub mod config;
pub mod descriptor;
pub mod digest;
pub mod limit;
pub mod limits;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;

pub use config::Config;
pub use descriptor::{Descriptor, Platform};
pub use digest::{Algorithm, Digest, DigestError, Digester};
pub use limits::LIMITS;
pub use manifest::{Document, Index, Manifest, ManifestError};
pub use platform::{Choice, choose_child};
pub use reference::{Reference, ReferenceError};
