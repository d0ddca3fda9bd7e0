//! Leader election over one `Lease` object.
//!
//! # Guarantees
//! - While clocks run at the same speed (not: show the same time), no two processes pass their [`Fence`] at
//!   the same moment: a holder stops [`Timing::renew_deadline`] after it *sent* its last successful renewal,
//!   and a candidate takes over only after it has seen no change for [`Timing::lease_duration`]. Times that
//!   other machines wrote are never compared with this one's.
//! - Every write of the lease carries the `resourceVersion` it is based on.
//! - A holder that stops in an orderly way frees the lease at once.
//!
//! # Caveats
//! A process that lost the lease must exit: what it began cannot be told apart from what the next leader
//! does.

mod elector;
mod rival;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use elector::{Do, Elector, Record};
pub(crate) use rival::settle;
pub use rival::{Liveness, RIVAL_INTERVAL, Rival, RivalLease, Rivals, STALE_AFTER};

use crate::{answer, backoff, fence::Fence, span};

/// How long a lease is valid without renewal; candidates wait this long.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);

/// How long after its last successful renewal a holder may write.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// How often a holder renews; candidates look twice as often, so that a lease that was freed is taken within
/// 2 s.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// Longest lease duration of another holder that is respected: a mistyped year must not block for a year.
pub const LONGEST_LEASE: Duration = Duration::from_secs(600);

/// How long one request about the lease may take; two fit into the renew deadline.
pub const LEASE_TIMEOUT: Duration = Duration::from_secs(4);

/// Flags about leader election. All of them have defaults.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ElectionArgs {
    /// Work only while holding the lease, so that several replicas may run.
    #[arg(short = 'l', long, env = "LEADER_ELECTION", num_args = 0..=1, default_missing_value = "true")]
    pub leader_election: Option<bool>,
    /// How long a lease is valid without renewal [default: 15s].
    #[arg(long, value_name = "DURATION", value_parser = span::parse)]
    pub leader_election_lease_duration: Option<Duration>,
    /// How long after its last renewal a leader may write [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = span::parse)]
    pub leader_election_renew_deadline: Option<Duration>,
    /// How often a leader renews [default: 2s].
    #[arg(long, value_name = "DURATION", value_parser = span::parse)]
    pub leader_election_retry_period: Option<Duration>,
}

impl ElectionArgs {
    /// Whether there is an election, if the flag is not given.
    pub fn enabled(&self, default: bool) -> bool {
        self.leader_election.unwrap_or(default)
    }

    /// The times, if they fit together.
    pub fn timing(&self) -> Result<Timing, LeaseError> {
        let timing = Timing {
            lease_duration: self.leader_election_lease_duration.unwrap_or(LEASE_DURATION),
            renew_deadline: self.leader_election_renew_deadline.unwrap_or(RENEW_DEADLINE),
            retry_period: self.leader_election_retry_period.unwrap_or(RETRY_PERIOD),
        };
        let fits = timing.lease_duration > timing.renew_deadline
            && timing.renew_deadline > timing.retry_period
            && timing.retry_period > Duration::ZERO
            // The lease holds whole seconds.
            && timing.lease_duration >= Duration::from_secs(1)
            && timing.lease_duration <= LONGEST_LEASE;
        if fits {
            Ok(timing)
        } else {
            Err(LeaseError::Timing { timing })
        }
    }
}

/// The times of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// See [`LEASE_DURATION`].
    pub lease_duration: Duration,
    /// See [`RENEW_DEADLINE`].
    pub renew_deadline: Duration,
    /// See [`RETRY_PERIOD`].
    pub retry_period: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease_duration: LEASE_DURATION,
            renew_deadline: RENEW_DEADLINE,
            retry_period: RETRY_PERIOD,
        }
    }
}

/// Why an election ended or cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The times do not fit together.
    #[error(
        "the lease's times do not fit: lease duration {:?} must be longer than renew deadline {:?}, \
         that longer than retry period {:?}, and the first at least 1 s and at most {} s",
        timing.lease_duration, timing.renew_deadline, timing.retry_period, LONGEST_LEASE.as_secs()
    )]
    Timing {
        /// As given.
        timing: Timing,
    },
    /// The lease was lost; the process must exit.
    #[error(
        "lease {namespace}/{name} was lost: {why}; this process ends so as not to disturb the next leader"
    )]
    Lost {
        /// Namespace of the lease.
        namespace: String,
        /// Its name.
        name: String,
        /// How.
        why: String,
    },
}

/// Takes part in the election for one lease.
pub struct Election {
    api: Api<Lease>,
    namespace: String,
    name: String,
    fence: Fence,
    elector: Elector,
    /// The object that the elector's record was read from: what is written is based on it.
    object: Option<Lease>,
}

/// An identity that no other process has, nor this one after a restart: host name and random digits.
pub fn identity() -> String {
    let host = std::env::var("POD_NAME")
        .or_else(|_| std::env::var("HOSTNAME"))
        .ok()
        .filter(|host| !host.is_empty())
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    (std::process::id(), backoff::random()).hash(&mut hasher);
    format!("{}_{:016x}", host.trim(), hasher.finish())
}

/// What one request about the lease brought.
enum Outcome {
    Done(Box<Lease>),
    Absent,
    /// Somebody else was faster.
    Conflict,
    Failed(String),
}

impl Election {
    /// A candidate. `fence` must be [`Fence::closed`] and is opened while this process leads.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        timing: Timing,
        fence: Fence,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            fence,
            elector: Elector::new(identity, timing, Instant::now()),
            object: None,
        }
    }

    /// Takes part until `stop`, then closes the fence and frees the lease. `stop` should be cancelled only
    /// when the last write is through. An error means that the lease was lost: exit.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), LeaseError> {
        let led = stop.run_until_cancelled(self.take_part()).await;
        match led {
            Some(why) => {
                self.fence.lose();
                Err(LeaseError::Lost {
                    namespace: self.namespace,
                    name: self.name,
                    why,
                })
            }
            None => {
                self.fence.follow(None);
                self.release().await;
                Ok(())
            }
        }
    }

    /// Returns only when the lease is lost, with the reason.
    async fn take_part(&mut self) -> String {
        let mut complained = String::new();
        loop {
            let now = Instant::now();
            let outcome = match self.elector.step(now) {
                Do::Wait(delay) => {
                    // Candidates must not march in step.
                    let spread = if self.elector.is_leading() {
                        delay
                    } else {
                        backoff::jitter(delay)
                    };
                    tokio::time::sleep(spread).await;
                    continue;
                }
                Do::Lost(why) => return why,
                Do::Read => {
                    let outcome = self.bounded(self.api.get(&self.name)).await;
                    match &outcome {
                        Outcome::Done(lease) => {
                            self.elector.read(Instant::now(), Some(record(lease)));
                            self.object = Some(Lease::clone(lease));
                        }
                        Outcome::Absent => {
                            self.elector.read(Instant::now(), None);
                            self.object = None;
                        }
                        Outcome::Conflict | Outcome::Failed(_) => self.elector.failed(Instant::now()),
                    }
                    outcome
                }
                Do::Write(wanted) => {
                    let outcome = self.write(&wanted).await;
                    match &outcome {
                        Outcome::Done(lease) => {
                            let was_leading = self.elector.is_leading();
                            self.elector.written(now, Instant::now(), record(lease));
                            self.object = Some(Lease::clone(lease));
                            if !was_leading {
                                let lease = format!("{}/{}", self.namespace, self.name);
                                tracing::info!(%lease, holder = self.elector.me(), "this process leads");
                            }
                        }
                        Outcome::Conflict | Outcome::Absent => self.elector.refused(Instant::now()),
                        Outcome::Failed(_) => self.elector.failed(Instant::now()),
                    }
                    outcome
                }
            };
            match self.elector.lead() {
                Some((deadline, epoch)) => self.fence.lead_until(deadline, epoch),
                None => self.fence.follow(self.elector.holder().map(str::to_owned)),
            }
            if let Outcome::Failed(why) = outcome {
                if why != complained {
                    let lease = format!("{}/{}", self.namespace, self.name);
                    tracing::warn!(%lease, %why, "lease request failed");
                }
                complained = why;
            }
        }
    }

    async fn write(&self, wanted: &Record) -> Outcome {
        match &self.object {
            Some(based_on) => {
                let lease = Lease {
                    metadata: based_on.metadata.clone(),
                    spec: Some(self.spec(based_on, wanted)),
                };
                self.bounded(self.api.replace(&self.name, &PostParams::default(), &lease))
                    .await
            }
            None => {
                let metadata = ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                };
                let lease = Lease {
                    metadata,
                    spec: Some(self.spec(&Lease::default(), wanted)),
                };
                self.bounded(self.api.create(&PostParams::default(), &lease))
                    .await
            }
        }
    }

    fn spec(&self, based_on: &Lease, wanted: &Record) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let before = based_on.spec.clone().unwrap_or_default();
        let same_holder = before.holder_identity == wanted.holder;
        LeaseSpec {
            holder_identity: wanted.holder.clone(),
            lease_duration_seconds: i32::try_from(wanted.duration.as_secs()).ok(),
            lease_transitions: i32::try_from(wanted.transitions).ok(),
            acquire_time: if same_holder {
                before.acquire_time
            } else {
                Some(now.clone())
            },
            renew_time: Some(now),
            ..LeaseSpec::default()
        }
    }

    async fn release(&mut self) {
        let Some(object) = self.elector.is_leading().then(|| self.object.take()).flatten() else {
            return;
        };
        let name = format!("{}/{}", self.namespace, self.name);
        let outcome = match self.replace_by_nobody(object).await {
            // A renewal was under way when the stop came: look once more.
            Outcome::Conflict => match self.bounded(self.api.get(&self.name)).await {
                Outcome::Done(lease) if record(&lease).holder.as_deref() == Some(self.elector.me()) => {
                    self.replace_by_nobody(*lease).await
                }
                Outcome::Done(_) => Outcome::Conflict,
                other => other,
            },
            outcome => outcome,
        };
        match outcome {
            Outcome::Done(_) => tracing::info!(lease = %name, "lease freed"),
            Outcome::Absent | Outcome::Conflict => {
                tracing::warn!(lease = %name, "lease is somebody else's already");
            }
            Outcome::Failed(why) => {
                tracing::warn!(lease = %name, %why, "lease could not be freed; it expires by itself");
            }
        }
    }

    async fn replace_by_nobody(&self, mut lease: Lease) -> Outcome {
        if let Some(spec) = &mut lease.spec {
            // As client-go does it: an empty holder may be followed at once.
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        self.bounded(self.api.replace(&self.name, &PostParams::default(), &lease))
            .await
    }

    /// Bounded by the deadline too: a leader must learn in time that it is none.
    async fn bounded(&self, request: impl Future<Output = kube::Result<Lease>>) -> Outcome {
        let now = Instant::now();
        let left = self.elector.lead().map_or(LEASE_TIMEOUT, |(deadline, _)| {
            deadline.saturating_duration_since(now)
        });
        match tokio::time::timeout(left.min(LEASE_TIMEOUT), request).await {
            Ok(Ok(lease)) => Outcome::Done(Box::new(lease)),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 && status.details.is_some() => {
                Outcome::Absent
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Outcome::Conflict,
            Ok(Err(error)) => Outcome::Failed(answer::causes(&error)),
            Err(_) => Outcome::Failed("no answer in time".to_owned()),
        }
    }
}

/// What the election reads from a lease.
pub fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: Duration::from_secs(
            spec.lease_duration_seconds
                .unwrap_or(0)
                .max(0)
                .unsigned_abs()
                .into(),
        ),
        transitions: spec.lease_transitions.unwrap_or(0).max(0).unsigned_abs().into(),
        renewed: spec.renew_time.map(|time| time.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_must_fit() {
        let args = |lease: u64, renew: u64, retry: u64| ElectionArgs {
            leader_election_lease_duration: Some(Duration::from_secs(lease)),
            leader_election_renew_deadline: Some(Duration::from_secs(renew)),
            leader_election_retry_period: Some(Duration::from_secs(retry)),
            ..ElectionArgs::default()
        };
        args(15, 10, 2).timing().unwrap();
        for (lease, renew, retry) in [(10, 10, 2), (15, 2, 2), (15, 10, 0), (3_600, 10, 2), (0, 0, 0)] {
            assert!(
                args(lease, renew, retry).timing().is_err(),
                "{lease} {renew} {retry}"
            );
        }
        assert_eq!(ElectionArgs::default().timing().unwrap(), Timing::default());
    }

    #[test]
    fn reads_leases_leniently() {
        assert_eq!(record(&Lease::default()), Record::default());
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(-5),
            lease_transitions: Some(-1),
            ..LeaseSpec::default()
        };
        let lease = Lease {
            metadata: ObjectMeta::default(),
            spec: Some(spec),
        };
        assert_eq!(record(&lease), Record::default());
    }

    #[test]
    fn identities_differ() {
        assert_ne!(identity(), identity());
    }
}
