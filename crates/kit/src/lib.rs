//! Plumbing that any controller process needs, whatever it controls.
//!
//! | to … | use |
//! |---|---|
//! | connect | [`client`] |
//! | write | [`write`], which asks the [`fence`] |
//! | read | [`read`] for one object, [`watch`] and [`live`] for what changes |
//! | decide what to do next | [`queue`], [`backoff`] |
//! | run and supervise tasks | [`tasks`] |
//! | be observed | [`metrics`] |

pub mod answer;
pub mod backoff;
pub mod changes;
pub mod client;
pub mod fence;
pub mod live;
pub mod meta;
pub mod metrics;
pub mod queue;
pub mod read;
pub mod resource;
pub mod tasks;
pub mod watch;
pub mod write;
