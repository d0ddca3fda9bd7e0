//! What the operator shows at `/metrics` beside the figures of `kit`. What follows from caches is computed at scrape.

mod memory;
mod packages;
mod ready;
mod registry;
mod store;
mod work;

pub(crate) use memory::InMemory;
pub(crate) use packages::PackageFigures;
pub use packages::{MAX_NAMED_PACKAGES, PackageState, RevisionState};
pub(crate) use ready::ReadyTimes;
pub use registry::{MAX_HOSTS, RegistryMetrics};
pub(crate) use store::StoreFigures;
pub(crate) use work::WorkFigures;
