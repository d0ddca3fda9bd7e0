//! Whether the holder of somebody else's lease is alive.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::{sync::watch, time::Instant};

use super::{LONGEST_LEASE, Record, record};
use crate::{answer, client::HEADER_TIMEOUT, tasks::Tasks};

/// How often the leases of others are read.
pub const RIVAL_INTERVAL: Duration = Duration::from_secs(5);

/// A lease that was renewed so long ago, by the wall clock, belongs to nobody alive: clocks of machines in
/// one cluster differ by less. Spares waiting for the end of a lease that an uninstalled program left behind.
pub const STALE_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// Somebody else's lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RivalLease {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for RivalLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What is known of the holder of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rival {
    /// There is no such lease, or nobody holds it.
    Free,
    /// It has a holder, and it is too early to say whether it renews.
    Unproven {
        /// The holder.
        holder: String,
    },
    /// The holder renewed it lately.
    Alive {
        /// The holder.
        holder: String,
    },
    /// The holder has not renewed it for as long as it asked to be respected.
    Dead {
        /// The holder.
        holder: String,
    },
    /// The lease cannot be read.
    Unknown {
        /// What is wrong.
        why: String,
    },
}

impl Rival {
    /// Whether it is certain that nobody alive holds the lease.
    pub fn is_clear(&self) -> bool {
        matches!(self, Self::Free | Self::Dead { .. })
    }
}

/// Watches one lease for signs of life.
#[derive(Clone, Debug, Default)]
pub struct Liveness {
    seen: Option<(Record, Instant)>,
    renews: bool,
}

impl Liveness {
    /// The lease as read at `now`, which is `wall` on the clock; `None` if there is none.
    pub fn observe(&mut self, now: Instant, wall: Timestamp, record: Option<Record>) -> Rival {
        let Some(record) = record else {
            *self = Self::default();
            return Rival::Free;
        };
        let Some(holder) = record.holder.clone() else {
            *self = Self::default();
            return Rival::Free;
        };
        let since = match &self.seen {
            Some((known, since)) if *known == record => *since,
            // The first sight proves nothing, a change does.
            known => {
                self.renews = known.is_some();
                now
            }
        };
        let stale = record
            .renewed
            .is_some_and(|renewed| wall.duration_since(renewed) > STALE_AFTER);
        let patience = if record.duration.is_zero() {
            super::LEASE_DURATION
        } else {
            record.duration
        };
        let patience = patience.min(LONGEST_LEASE);
        self.seen = Some((record, since));
        if now.saturating_duration_since(since) >= patience || (stale && !self.renews) {
            self.renews = false;
            return Rival::Dead { holder };
        }
        if self.renews {
            Rival::Alive { holder }
        } else {
            Rival::Unproven { holder }
        }
    }
}

/// Reads the leases of others again and again.
#[derive(Clone, Debug)]
pub struct Rivals {
    states: watch::Receiver<BTreeMap<RivalLease, Rival>>,
}

impl Rivals {
    /// Starts reading. Until a lease has been read it is [`Rival::Unknown`].
    pub fn start(client: Client, tasks: &Tasks, leases: Vec<RivalLease>) -> Self {
        let unread = |lease: &RivalLease| {
            (
                lease.clone(),
                Rival::Unknown {
                    why: "not read yet".to_owned(),
                },
            )
        };
        let (send, states) = watch::channel(leases.iter().map(unread).collect::<BTreeMap<_, _>>());
        let stopping = tasks.stopping().clone();
        tasks.spawn("watch other leases", async move {
            let mut lives: BTreeMap<_, Liveness> = BTreeMap::new();
            let watching = async {
                loop {
                    for lease in &leases {
                        let rival = look(&client, lease, lives.entry(lease.clone()).or_default()).await;
                        send.send_if_modified(|states| {
                            let changed = states.get(lease) != Some(&rival);
                            states.insert(lease.clone(), rival);
                            changed
                        });
                    }
                    tokio::time::sleep(RIVAL_INTERVAL).await;
                }
            };
            stopping.run_until_cancelled(watching).await;
        });
        Self { states }
    }

    /// A sentence that says who is alive or cannot be ruled out; `None` if nobody is.
    pub fn obstacle(&self) -> Option<String> {
        obstacle(&self.states.borrow())
    }

    /// As [`Rivals::obstacle`], but only of those who are seen to hold their lease: for one who leads already, a read that
    /// failed says nothing about anybody.
    pub fn alive(&self) -> Option<String> {
        let states = self.states.borrow();
        let known = states
            .iter()
            .filter(|(_, rival)| !matches!(rival, Rival::Unknown { .. }));
        obstacle(
            &known
                .map(|(lease, rival)| (lease.clone(), rival.clone()))
                .collect(),
        )
    }

    /// Waits for a change of [`Rivals::obstacle`] or of what is behind it; `false` once the process stops.
    pub async fn changed(&mut self) -> bool {
        self.states.changed().await.is_ok()
    }

    /// Waits until nobody is alive.
    pub async fn clear(&mut self) {
        // If the sender is gone, the process stops.
        let _ = self.states.wait_for(|states| obstacle(states).is_none()).await;
    }
}

fn obstacle(states: &BTreeMap<RivalLease, Rival>) -> Option<String> {
    states.iter().find_map(|(lease, rival)| match rival {
        Rival::Free | Rival::Dead { .. } => None,
        Rival::Alive { holder } => Some(format!("{holder} is alive: it renews lease {lease}")),
        Rival::Unproven { holder } => Some(format!("{holder} may be alive: it holds lease {lease}")),
        Rival::Unknown { why } => Some(format!("lease {lease} cannot be read: {why}")),
    })
}

async fn look(client: &Client, lease: &RivalLease, liveness: &mut Liveness) -> Rival {
    let api: Api<Lease> = Api::namespaced(client.clone(), &lease.namespace);
    let read = match tokio::time::timeout(HEADER_TIMEOUT, api.get_opt(&lease.name)).await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => {
            return Rival::Unknown {
                why: answer::causes(&error),
            };
        }
        Err(_) => {
            return Rival::Unknown {
                why: "no answer in time".to_owned(),
            };
        }
    };
    liveness.observe(Instant::now(), Timestamp::now(), read.as_ref().map(record))
}

/// Reads one lease until it is certain whether its holder is alive.
pub(crate) async fn settle(client: &Client, lease: &RivalLease) -> Rival {
    /// A minute-long lease is settled after a minute; reading it often costs little.
    const PAUSE: Duration = Duration::from_secs(2);
    let mut liveness = Liveness::default();
    loop {
        match look(client, lease, &mut liveness).await {
            Rival::Unproven { .. } => tokio::time::sleep(PAUSE).await,
            settled => return settled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(renewed: i64) -> Option<Record> {
        let renewed = Timestamp::from_second(renewed).ok();
        Some(Record {
            holder: Some("x".into()),
            duration: Duration::from_secs(60),
            transitions: 0,
            renewed,
        })
    }

    #[test]
    fn life_is_change() {
        let (start, wall) = (Instant::now(), Timestamp::from_second(1_000).unwrap());
        let at = |secs| start + Duration::from_secs(secs);
        let mut liveness = Liveness::default();
        assert!(matches!(
            liveness.observe(at(0), wall, held(990)),
            Rival::Unproven { .. }
        ));
        assert!(matches!(
            liveness.observe(at(30), wall, held(990)),
            Rival::Unproven { .. }
        ));
        assert!(matches!(
            liveness.observe(at(59), wall, held(991)),
            Rival::Alive { .. }
        ));
        assert!(matches!(
            liveness.observe(at(118), wall, held(991)),
            Rival::Alive { .. }
        ));
        assert!(matches!(
            liveness.observe(at(119), wall, held(991)),
            Rival::Dead { .. }
        ));
        assert!(matches!(
            liveness.observe(at(120), wall, held(992)),
            Rival::Alive { .. }
        ));
        assert_eq!(liveness.observe(at(121), wall, None), Rival::Free);
        assert!(matches!(
            liveness.observe(at(122), wall, held(992)),
            Rival::Unproven { .. }
        ));
    }

    #[test]
    fn what_was_left_behind_is_dead_at_once() {
        let wall = Timestamp::from_second(1_000_000).unwrap();
        let mut liveness = Liveness::default();
        assert!(liveness.observe(Instant::now(), wall, held(1_000)).is_clear());
        // A holder whose clock is wrong, but that renews, is alive all the same.
        assert!(matches!(
            liveness.observe(Instant::now(), wall, held(1_001)),
            Rival::Alive { .. }
        ));
        assert!(matches!(
            liveness.observe(Instant::now(), wall, held(1_001)),
            Rival::Alive { .. }
        ));
    }

    #[test]
    fn says_who_is_in_the_way() {
        let lease = RivalLease {
            namespace: "ns".into(),
            name: "l".into(),
        };
        let state = |rival| BTreeMap::from([(lease.clone(), rival)]);
        assert_eq!(obstacle(&state(Rival::Free)), None);
        let alive = obstacle(&state(Rival::Alive { holder: "x".into() }));
        assert_eq!(alive.as_deref(), Some("x is alive: it renews lease ns/l"));
    }
}
