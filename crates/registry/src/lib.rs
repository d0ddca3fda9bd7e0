//! Everything between Gantry and an OCI registry: the distribution client, credentials and the content store.
//!
//! [`Registry`] is the way in: it resolves a [`oci::Reference`] to a digest and fetches the verified content
//! of a digest, from the [`Store`] where that has it, else by the [`Client`]. Credentials are a [`Keychain`]
//! that belongs to each call. What goes wrong is an [`Error`] with a [`Reason`].

mod address;
mod challenge;
pub mod client;
pub mod config;
mod deadline;
mod download;
pub mod error;
mod exchange;
pub mod fetch;
mod host;
pub mod keychain;
pub mod limits;
pub mod metrics;
mod proxy;
mod push;
mod reason;
mod retry;
mod session;
pub mod store;
mod tags;
mod token;
mod transport;

pub use client::{Client, Described, RawManifest};
pub use config::{ClientConfig, Clock, ConfigError, RetryPolicy, Timeouts};
pub use deadline::Deadline;
pub use error::{At, Error};
pub use fetch::{Content, FetchedLayer, Registry};
pub use keychain::{Credential, Keychain, KeychainProblem, PullSecret, SecretKind};
pub use limits::LIMITS;
pub use metrics::{Metrics, NoMetrics, Operation};
pub use proxy::Proxies;
pub use push::Pushed;
pub use reason::Reason;
pub use store::{Blob, BlobReader, BlobWriter, Derived, Figures, Lookups, Store, StoreConfig, StoreError};
