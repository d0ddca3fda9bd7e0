//! Plumbing that any controller process needs, whatever it controls.
//!
//! | to … | use |
//! |---|---|
//! | connect | [`client`] |
//! | write | [`write`], which asks the [`fence`] |
//! | read | [`read`] for one object, [`watch`] and [`live`] for what changes |
//! | decide what to do next | [`queue`], [`backoff`], [`clock`] |
//! | do what keeps a core busy | [`work`] |
//! | lead | [`lease`] among replicas, [`claim`] among installations |
//! | run and stop | [`tasks`], [`shutdown`] |
//! | be observed | [`admin`], [`ready`], [`metrics`], [`telemetry`], [`events`] |
//!
//! All bounds are in [`limits`].

pub mod admin;
pub mod answer;
pub mod backoff;
pub mod changes;
pub mod claim;
pub mod client;
pub mod clock;
pub mod events;
pub mod fence;
pub mod lease;
pub mod limits;
pub mod live;
pub mod meta;
pub mod metrics;
pub mod queue;
pub mod read;
pub mod ready;
pub mod resource;
pub mod shutdown;
pub mod span;
pub mod tasks;
pub mod telemetry;
pub mod watch;
pub mod work;
pub mod write;
