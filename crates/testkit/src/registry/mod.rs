//! Registries: the real one (distribution) as a process, and one in this process whose every answer can be
//! changed.

mod distribution;
mod memory;

pub use distribution::{PASSWORD, Registry, RegistryOptions, USER};
pub use memory::{Auth, TestRegistry};
