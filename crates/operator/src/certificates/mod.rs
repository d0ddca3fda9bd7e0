//! Certificates of what packages run: the authority in Secret `crossplane-root-ca`, and a Secret for each server and client.
//!
//! [`plan`] decides, purely; [`Keeper::ensure`] reads what it needs and writes what was decided. It is for one caller at a
//! time, with everything that is wanted: who is trusted depends on all secrets together.
//!
//! Only writer of these secrets' `tls.crt`, `tls.key`, `ca.crt` and owner references, and of the authority's `next.crt`,
//! `next.key` and `previous.crt`. A secret that somebody manages is not written at all.

mod act;
mod change;
mod facts;
mod keeper;
mod leaf;
mod observe;
mod plan;
#[cfg(test)]
mod plan_tests;
mod trust;

pub use facts::{
    AUTHORITIES, AuthorityHeld, Facts, Held, Loadable, Manager, PAUSE, Rules, SETTLE, SKEW, Unusable, WRITES,
    Want,
};
pub use keeper::{Done, EnsureError, Ensured, Keeper, LONGEST_WAIT, LeafState};
pub use leaf::{LeafPlan, LeafStep, Trouble, Why};
pub use observe::READS;
pub use plan::{Plan, plan};
pub use trust::{AuthorityStep, Rotation};

/// Name of the authority's secret, as the reference's.
pub const AUTHORITY_SECRET: &str = "crossplane-root-ca";
