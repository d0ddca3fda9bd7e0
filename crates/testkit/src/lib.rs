//! What the tests, the demo and the benchmarks stand on: real etcd, kube-apiserver and
//! kube-controller-manager, real registries, a fault proxy between any two of them, the operator as a child
//! process, and packages to install.
//!
//! Rules of the house:
//!
//! - Run the body of a test by [`run`]: servers, clients and control planes then share one runtime that
//!   outlives every single test, so that tests can share them.
//! - Everything listens on 127.0.0.1 only, or inside the network of a [`Node`]. Children are stopped by handle; those of a process that dies are
//!   killed by the kernel, and its scratch folder is removed. `GANTRY_KEEP=1` keeps the folder to look at.
//! - What is missing (a tool, a file) is an error with a sentence, never a skipped test.

pub mod clock;
pub mod control_plane;
pub mod corpus;
pub mod fault;
pub mod fixture;
pub mod health;
pub mod helm;
pub mod image;
pub mod kill;
pub mod malformed;
pub mod node;
pub mod operator;
pub mod pki;
pub mod process;
pub mod proxy;
pub mod registry;
pub mod stand_in;
pub mod synthetic;
pub mod tools;
pub mod wait;
pub mod world;

mod http_client;
mod port;
mod program;
mod runtime;
mod scratch;
mod serve;

pub use clock::WallClock;
pub use control_plane::{AuditEvent, AuditMark, ControlPlane, ControlPlaneOptions, Output, Snapshot};
pub use corpus::Corpus;
pub use fault::{Fault, Faults, Match, Rule, Seen, Verdict};
pub use fixture::PackageFixture;
pub use helm::Helm;
pub use image::{Blob, Image};
pub use kill::KillSwitch;
pub use node::{Node, NodeOptions};
pub use operator::{Operator, OperatorOptions};
pub use process::Process;
pub use proxy::FaultProxy;
pub use registry::{Auth, Registry, RegistryOptions, TestRegistry};
pub use runtime::run;
pub use scratch::folder;
pub use tools::Tools;
pub use wait::eventually;
pub use world::{World, WorldOptions};
