//! The operator: its controllers and their wiring.
//!
//! Each controller is `observe → plan → act`: facts from caches, a pure decision, writes. What takes long (asking a
//! registry, loading content, establishing a thousand objects) runs beside the reconcile loops and brings its object back
//! when it ends.

pub mod args;
mod beside;
pub mod certificates;
pub mod conditions;
mod content;
mod context;
pub mod crds;
mod definitions;
pub mod dependencies;
pub mod freshness;
mod images;
pub mod key;
pub mod kinds;
mod lead;
pub mod limits;
pub mod manager;
pub mod metrics;
pub mod note;
pub mod pace;
pub mod preinstall;
mod process;
mod quantity;
pub mod revision;
mod rights;
pub mod runtime;
pub mod runtime_mode;
mod status;
mod wiring;

pub use limits::LIMITS;
pub use process::main;
