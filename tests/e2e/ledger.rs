//! Who began which write, and when: seen at the network of each replica, and compared with the API server's audit log.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use testkit::{AuditEvent, FaultProxy, Seen, World};

/// A request may be so long on its way to where it is seen, in a busy test process.
const TRANSIT: Duration = Duration::from_millis(100);
/// Of what passed the check of the deadline, one request may not be sent yet when its process is stopped.
const STOPPED: usize = 1;

/// A request for a change.
struct Begun {
    agent: String,
    at: Timestamp,
    path: String,
}

/// Requests for changes, by their ids in the audit log.
#[derive(Default)]
pub(crate) struct Ledger {
    begun: BTreeMap<String, Begun>,
    stopped: Vec<String>,
}

/// A successful write of the operator's lease.
pub(crate) fn renews(event: &AuditEvent) -> bool {
    event.is_lease() && event.is_write() && event.code < 300 && event.name == api::OPERATOR
}

impl Ledger {
    /// Notes what a replica has begun so far.
    pub(crate) fn note(&mut self, agent: &str, network: &FaultProxy) {
        let changes = |seen: &Seen| {
            seen.is_mutating()
                && !seen.path.starts_with("/apis/authorization.k8s.io/")
                && !seen.query.contains("dryRun=All")
        };
        for seen in network.faults().seen().into_iter().filter(changes) {
            let begun = Begun {
                agent: agent.to_owned(),
                at: seen.at,
                path: seen.path.clone(),
            };
            self.begun.insert(network.audit_id(&seen), begun);
        }
    }

    /// The process of this replica was stopped, and goes on.
    pub(crate) fn stopped(&mut self, agent: &str) {
        self.stopped.push(agent.to_owned());
    }

    /// That nothing had an effect that came when another one led, or nobody; and that each write was begun before the
    /// deadline of its writer's lease, but for one of each that was stopped.
    pub(crate) fn one_writer_at_a_time(
        &self,
        world: &World,
        lease: Duration,
        deadline: Duration,
    ) -> Result<()> {
        let mut events = world.plane().audit()?;
        events.retain(|e| e.agent.starts_with("replica-") && e.is_write());
        events.sort_by_key(|e| e.received);
        // Who renewed last, and when each renewed last.
        let mut holder: Option<&str> = None;
        let mut renewed: BTreeMap<&str, Timestamp> = BTreeMap::new();
        let mut late = vec![];
        for event in &events {
            if renews(event) {
                holder = Some(&event.agent);
                renewed.insert(&event.agent, event.received);
            } else if !event.is_lease() {
                let at = renewed.get(event.agent.as_str());
                let valid = at.is_some_and(|at| event.received.duration_since(*at).unsigned_abs() < lease);
                if !valid || holder != Some(event.agent.as_str()) {
                    late.push(event);
                }
            }
        }
        let came = late.len();
        late.retain(|e| e.code < 400 && e.code != 0);
        ensure!(
            late.is_empty(),
            "written without the lease, with effect: {late:#?}"
        );
        ensure!(renewed.len() > 1, "nobody took over");
        let after = self.begun_after_the_deadline(&events, deadline)?;
        println!(
            "{} requests by {} leaders; {came} came after the lease, {after} were begun after its deadline",
            events.len(),
            renewed.len()
        );
        Ok(())
    }

    /// How many writes were begun after the deadline of their writer's lease, if no more than there may be.
    fn begun_after_the_deadline(&self, events: &[AuditEvent], deadline: Duration) -> Result<usize> {
        let by_id: BTreeMap<&str, &AuditEvent> = events.iter().map(|e| (e.id.as_str(), e)).collect();
        let unseen = events.iter().find(|e| !self.begun.contains_key(&e.id));
        ensure!(unseen.is_none(), "no replica's network saw {unseen:?}");
        // When each began the renewals that were successful.
        let mut renewals: BTreeMap<&str, Vec<Timestamp>> = BTreeMap::new();
        for (id, begun) in &self.begun {
            if by_id.get(id.as_str()).is_some_and(|event| renews(event)) {
                renewals.entry(&begun.agent).or_default().push(begun.at);
            }
        }
        let mut late: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (id, begun) in self.begun.iter().filter(|(_, b)| !b.path.contains("/leases")) {
            let own = renewals.get(begun.agent.as_str()).into_iter().flatten();
            let renewed = own.filter(|renewal| **renewal <= begun.at).max();
            let age = renewed.map(|renewed| begun.at.duration_since(*renewed).unsigned_abs());
            if age.is_none_or(|age| age >= deadline + TRANSIT) {
                let what = format!(
                    "{} {age:?} after the renewal: {:?}",
                    begun.path,
                    by_id.get(id.as_str())
                );
                late.entry(&begun.agent).or_default().push(what);
            }
        }
        for (agent, late) in &late {
            let stopped = self.stopped.iter().any(|s| s == agent);
            let most = if stopped { STOPPED } else { 0 };
            ensure!(
                late.len() <= most,
                "{agent} began writes after the deadline: {late:#?}"
            );
        }
        Ok(late.values().flatten().count())
    }
}
