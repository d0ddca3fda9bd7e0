//! One cluster, one manager: a claim is an annotation on a well-known object that names the claimer's lease.
//!
//! Leases keep replicas of one installation apart; the claim keeps installations in different namespaces
//! apart. A claim counts as long as its lease has a living holder.

use serde_json::json;

use crate::{
    lease::{Rival, RivalLease},
    meta::Meta,
    read::{self, ReadError},
    resource::Target,
    write::{WriteError, Writer},
};

/// Attempts to write a claim while the object changes under it.
pub const CLAIM_ATTEMPTS: usize = 5;

/// A claim on a cluster.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The object that carries it.
    pub target: Target,
    /// Key of the annotation; its value is `<namespace>/<lease>`.
    pub annotation: String,
    /// The claimer's own lease.
    pub mine: RivalLease,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The claim is ours.
    Mine,
    /// There is no object to carry it yet; create it and claim again.
    NoTarget,
    /// Somebody else's claim is alive, or cannot be ruled out.
    Theirs {
        /// Their lease, as annotated.
        lease: String,
        /// What is known of its holder.
        why: String,
    },
}

/// A claim could not be made or checked.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The object cannot be read.
    #[error("the claim on this cluster cannot be read")]
    Read(#[source] ReadError),
    /// The object cannot be written.
    #[error("the claim on this cluster cannot be written")]
    Write(#[source] WriteError),
}

impl Claim {
    /// The claim that an object carries.
    pub fn on<'a>(&self, meta: &'a Meta) -> Option<&'a str> {
        meta.annotations
            .get(&self.annotation)
            .map(String::as_str)
            .filter(|claim| !claim.is_empty())
    }

    /// Claims the cluster unless somebody alive has. Takes as long as it needs to find that out: up to the
    /// duration of their lease.
    pub async fn acquire(&self, writer: &Writer, manager: &str) -> Result<Claimed, ClaimError> {
        let mine = self.mine.to_string();
        let mut attempt = 1;
        loop {
            let meta = read::meta(writer.client(), &self.target).await;
            let meta = match meta {
                Ok(Some(meta)) => meta,
                Ok(None) | Err(ReadError::NotServed { .. }) => return Ok(Claimed::NoTarget),
                Err(error) => return Err(ClaimError::Read(error)),
            };
            match self.on(&meta) {
                Some(claim) if claim == mine => return Ok(Claimed::Mine),
                // What is not the name of a lease protects nobody.
                Some(claim) => {
                    if let Some(lease) = parse(claim)
                        && let Some(why) = alive(crate::lease::settle(writer.client(), &lease).await)
                    {
                        return Ok(Claimed::Theirs {
                            lease: claim.to_owned(),
                            why,
                        });
                    }
                    tracing::info!(claim, "taking over a claim whose lease is not held");
                }
                None => {}
            }
            let body = json!({"metadata": {
                "uid": meta.uid, "resourceVersion": meta.resource_version,
                "annotations": {&self.annotation: mine},
            }});
            match writer.merge_patch(manager, &self.target, body).await {
                Ok(_) => return Ok(Claimed::Mine),
                // Somebody changed the object, perhaps claimed it: look again.
                Err(WriteError::Conflict { .. }) if attempt < CLAIM_ATTEMPTS => attempt += 1,
                Err(WriteError::NotFound { .. }) => return Ok(Claimed::NoTarget),
                Err(error) => return Err(ClaimError::Write(error)),
            }
        }
    }
}

fn alive(rival: Rival) -> Option<String> {
    match rival {
        Rival::Free | Rival::Dead { .. } => None,
        Rival::Alive { holder } | Rival::Unproven { holder } => Some(format!("{holder} renews it")),
        Rival::Unknown { why } => Some(format!("it cannot be read: {why}")),
    }
}

fn parse(claim: &str) -> Option<RivalLease> {
    let (namespace, name) = claim.split_once('/')?;
    let sound = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
    };
    (sound(namespace) && sound(name)).then(|| RivalLease {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_claims() {
        let lease = parse("gantry-system/gantry-operator").unwrap();
        assert_eq!(lease.to_string(), "gantry-system/gantry-operator");
        for bad in ["", "x", "/", "a/", "/b", "a/b/c", "a/../b", "a/b?c"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
