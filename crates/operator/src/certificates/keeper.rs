//! Looks, plans and writes until there is nothing more to do now.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kit::backoff::Backoff;
use kit::certificate::{Authority, Contents, bundle};
use kit::live::Live;
use kit::meta::Meta;
use kit::read::ReadError;
use kit::write::Writer;
use tokio::sync::Mutex;

use super::act::{ActError, Hand};
use super::facts::{AuthorityHeld, Facts, Held, Loadable, Rules, Want};
use super::leaf::{LeafStep, Trouble};
use super::observe::{Memory, Observer};
use super::plan::{Plan, plan};
use super::trust::AuthorityStep;
use super::{AUTHORITY_SECRET, Manager};

/// Nothing is left alone for longer: a clock that was set does not put off what is due for long.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
/// Steps of the authority in one pass: made, announced, switched, retired; more is somebody who changes it all the time.
const STEPS: usize = 4;

/// What became of one want.
#[derive(Clone, Debug)]
pub struct LeafState {
    /// Name of the secret.
    pub secret: String,
    /// Whether pods can start with it.
    pub ready: bool,
    /// What is in it, if its key is there.
    pub loadable: Option<Loadable>,
    /// Whom its callers are to trust, PEM: the common bundle, or the secret's own where somebody else manages it.
    pub bundle: Vec<u8>,
    /// Who manages it, if we don't.
    pub manager: Option<Manager>,
    /// What is wrong and was not mended.
    pub trouble: Option<Trouble>,
}

/// What was written, for events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A step of the authority.
    Authority(AuthorityStep),
    /// A step of a secret.
    Leaf(String, LeafStep),
}

/// What is true after a pass.
#[derive(Clone, Debug)]
pub struct Ensured {
    /// Whom to trust, PEM.
    pub bundle: Vec<u8>,
    /// One for each want, in their order.
    pub leaves: Vec<LeafState>,
    /// Why the authority was not written, if it should have been.
    pub authority_trouble: Option<String>,
    /// Whether a rotation of the authority is under way.
    pub rotating: bool,
    /// What was written.
    pub done: Vec<Done>,
    /// When to look again without a change; at most [`LONGEST_WAIT`].
    pub look_again: Duration,
}

/// Looks after certificates.
pub struct Keeper {
    writer: Writer,
    secrets: Live<Meta>,
    namespace: String,
    rules: Rules,
    memory: Mutex<Remembered>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("namespace", &self.namespace)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

struct Remembered {
    authority: Memory<AuthorityHeld>,
    leaves: Memory<Contents>,
    refused: HashMap<String, Refused>,
}

/// A write that failed.
struct Refused {
    backoff: Backoff,
    until: Timestamp,
    why: String,
    transient: bool,
}

impl Keeper {
    /// For secrets in this namespace, whose metadata `secrets` follows.
    pub fn new(writer: Writer, secrets: Live<Meta>, namespace: impl Into<String>, rules: Rules) -> Self {
        Self {
            writer,
            secrets,
            namespace: namespace.into(),
            rules,
            memory: Mutex::new(Remembered {
                authority: Memory::new(),
                leaves: Memory::new(),
                refused: HashMap::new(),
            }),
        }
    }

    /// Makes what is wanted true as far as it can be now. Costs no request while nothing changes and nothing is due.
    ///
    /// `wants` is everything that is wanted in the namespace. `now` is the wall clock.
    ///
    /// # Errors
    /// If a secret could not be read, or this process may not write: nothing is known then, and what there is stays as it
    /// is. What a single write was refused with is told with its secret.
    pub async fn ensure(&self, wants: &[Want], now: Timestamp) -> Result<Ensured, EnsureError> {
        let memory = &mut *self.memory.lock().await;
        let names: BTreeSet<&str> = wants.iter().map(|want| want.secret.as_str()).collect();
        memory.leaves.retain(&names);
        memory
            .refused
            .retain(|name, _| names.contains(name.as_str()) || name == AUTHORITY_SECRET);
        let mut done = vec![];
        let mut steps = 0;
        let mut attempted = false;
        loop {
            let steady = kit::clock::steady();
            let observer = Observer {
                client: self.writer.client(),
                namespace: &self.namespace,
                cached: &|name| self.secrets.get(name),
                steady,
            };
            let authority = observer
                .authority(AUTHORITY_SECRET, &mut memory.authority)
                .await?;
            let held = observer.leaves(wants, &mut memory.leaves).await?;
            let waiting = memory.waiting(steady);
            let facts = Facts {
                now,
                rules: &self.rules,
                frozen: waiting.contains(AUTHORITY_SECRET) || steps == STEPS,
                authority: &authority,
                waiting: &waiting,
                wants,
                held: &held,
            };
            let plan = plan(&facts);
            let hand = Hand {
                writer: &self.writer,
                namespace: &self.namespace,
                rules: &self.rules,
                now,
            };
            if plan.authority != AuthorityStep::Keep {
                steps += 1;
                match hand.authority(&plan.authority, &authority).await {
                    Ok((meta, after)) => {
                        tracing::info!(secret = AUTHORITY_SECRET, step = ?plan.authority, "certificate authority");
                        memory.refused.remove(AUTHORITY_SECRET);
                        memory
                            .authority
                            .learn(AUTHORITY_SECRET, meta, after, Some(steady));
                        done.push(Done::Authority(plan.authority));
                    }
                    Err(error) if error.is_fenced() => return Err(EnsureError::Fenced(error.to_string())),
                    Err(error) => {
                        tracing::warn!(secret = AUTHORITY_SECRET, %error, "the certificate authority was not written");
                        memory.authority.forget(AUTHORITY_SECRET);
                        memory.refuse(AUTHORITY_SECRET, &error, steady);
                    }
                }
                continue;
            }
            if attempted || plan.order.is_empty() {
                return Ok(self.ensured(memory, wants, &held, plan, done, now, steady));
            }
            attempted = true;
            self.write(memory, &hand, &facts, &plan, &mut done).await?;
        }
    }

    async fn write(
        &self,
        memory: &mut Remembered,
        hand: &Hand<'_>,
        facts: &Facts<'_>,
        plan: &Plan,
        done: &mut Vec<Done>,
    ) -> Result<(), EnsureError> {
        let mut signer: Option<Authority> = None;
        for index in &plan.order {
            let (Some(want), Some(leaf)) = (facts.wants.get(*index), plan.leaves.get(*index)) else {
                continue;
            };
            let steady = kit::clock::steady();
            if matches!(leaf.step, LeafStep::Issue { .. }) && signer.is_none() {
                match hand.signer(facts.authority).await {
                    Ok(read) => signer = Some(read),
                    Err(error) => {
                        // Somebody changed it since; the cache will have it in a moment.
                        memory.authority.forget(AUTHORITY_SECRET);
                        memory.refuse(&want.secret, &error, steady);
                        continue;
                    }
                }
            }
            let held = facts.held.get(&want.secret);
            match hand
                .leaf(&leaf.step, want, held, &plan.bundle, signer.as_ref())
                .await
            {
                Ok(None) => {}
                Ok(Some((meta, contents))) => {
                    if let LeafStep::Issue { why, .. } = &leaf.step {
                        tracing::info!(secret = %want.secret, %why, "issued a certificate");
                    }
                    memory.refused.remove(&want.secret);
                    memory.leaves.learn(&want.secret, meta, contents, Some(steady));
                    done.push(Done::Leaf(want.secret.clone(), leaf.step.clone()));
                }
                Err(error) if error.is_fenced() => return Err(EnsureError::Fenced(error.to_string())),
                Err(error) => {
                    tracing::warn!(secret = %want.secret, %error, "a certificate was not written");
                    memory.leaves.forget(&want.secret);
                    memory.refuse(&want.secret, &error, steady);
                }
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "private: the end of one function")]
    fn ensured(
        &self,
        memory: &Remembered,
        wants: &[Want],
        held: &BTreeMap<String, Held>,
        plan: Plan,
        done: Vec<Done>,
        now: Timestamp,
        steady: Timestamp,
    ) -> Ensured {
        let common = bundle(&plan.bundle);
        let leaves = wants
            .iter()
            .zip(plan.leaves)
            .map(|(want, leaf)| {
                let held = held.get(&want.secret);
                let manager = held.and_then(|held| Manager::of(&held.meta));
                let own = held.and_then(Held::leaf);
                let refused = memory
                    .refused
                    .get(&want.secret)
                    .map(|refused| Trouble::NotWritten {
                        secret: want.secret.clone(),
                        why: refused.why.clone(),
                        transient: refused.transient,
                    });
                LeafState {
                    secret: want.secret.clone(),
                    ready: leaf.ready,
                    loadable: own.and_then(Loadable::of),
                    bundle: match (&manager, own) {
                        (Some(_), Some(own)) => own.bundle.clone(),
                        _ => common.clone(),
                    },
                    manager,
                    trouble: leaf.trouble.or(refused),
                }
            })
            .collect();
        let wait = |at: Timestamp, from: Timestamp| {
            let wait = at.duration_since(from).max(SignedDuration::ZERO);
            Duration::try_from(wait).unwrap_or(LONGEST_WAIT)
        };
        let mut look_again = plan.at.map_or(LONGEST_WAIT, |at| wait(at, now)).min(LONGEST_WAIT);
        if !plan.order.is_empty() {
            look_again = look_again.min(self.rules.pause);
        }
        for refused in memory.refused.values() {
            look_again = look_again.min(wait(refused.until, steady));
        }
        Ensured {
            bundle: common,
            leaves,
            authority_trouble: memory.refused.get(AUTHORITY_SECRET).map(|r| r.why.clone()),
            rotating: plan.rotating,
            done,
            look_again,
        }
    }
}

impl Remembered {
    fn waiting(&self, steady: Timestamp) -> BTreeSet<String> {
        let waiting = self.refused.iter().filter(|(_, refused)| refused.until > steady);
        waiting.map(|(name, _)| name.clone()).collect()
    }

    fn refuse(&mut self, name: &str, error: &ActError, steady: Timestamp) {
        let refused = self.refused.entry(name.to_owned()).or_insert_with(|| Refused {
            backoff: Backoff::default(),
            until: steady,
            why: String::new(),
            transient: true,
        });
        let delay = SignedDuration::try_from(refused.backoff.next_delay()).unwrap_or(SignedDuration::ZERO);
        refused.until = steady.saturating_add(delay).unwrap_or(Timestamp::MAX);
        refused.why = error.to_string();
        refused.transient = error.is_transient();
    }
}

/// Nothing could be found out, or nothing may be written.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// A secret could not be read.
    #[error("certificates are not looked after: {0}")]
    Read(#[from] ReadError),
    /// This process may not write.
    #[error("{0}")]
    Fenced(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Controllers run it in tasks.
    #[allow(dead_code, reason = "compiled, not run")]
    fn can_be_spawned(keeper: &'static Keeper, wants: &'static [Want], now: Timestamp) {
        fn takes(_: impl Send + 'static) {}
        takes(keeper.ensure(wants, now));
    }
}
