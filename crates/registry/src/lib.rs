//! Everything between Gantry and an OCI registry: the distribution client, credentials and the content store.

pub mod error;
pub mod keychain;
pub mod limits;
pub mod store;

pub use error::{At, Error, Reason};
pub use keychain::{Credential, Keychain, KeychainProblem, PullSecret, SecretKind};
pub use limits::LIMITS;
pub use store::{Blob, BlobReader, BlobWriter, Derived, Store, StoreConfig, StoreError};
