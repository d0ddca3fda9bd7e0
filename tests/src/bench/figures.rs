//! What is measured.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

/// One size.
pub(super) struct Run {
    pub(super) size: usize,
    /// The floor and Gantry, in turns.
    pub(super) rounds: Vec<(Option<Floor>, Gantry)>,
    /// What comes after the last round, for one size.
    pub(super) later: Option<Later>,
    /// First to last of as many bare metadata patches, seconds, for each round of them.
    pub(super) patched: Vec<f64>,
}

impl Run {
    /// The median of what Gantry took, of all rounds.
    pub(super) fn ours(&self, figure: impl Fn(&Gantry) -> f64) -> Option<f64> {
        median(self.rounds.iter().map(|(_, gantry)| figure(gantry)))
    }

    /// The median in multiples of that of the bare client, of the rounds that have both.
    pub(super) fn times(&self, ours: impl Fn(&Gantry) -> f64, theirs: impl Fn(&Floor) -> f64) -> Option<f64> {
        let both = self
            .rounds
            .iter()
            .filter_map(|(floor, gantry)| Some((floor.as_ref()?, gantry)));
        let all: Vec<_> = both.collect();
        let ours = median(all.iter().map(|(_, gantry)| ours(gantry)))?;
        Some(ours / median(all.iter().map(|(floor, _)| theirs(floor)))?)
    }
}

/// What the bare client took.
pub(super) struct Floor {
    /// First write to last answer, seconds.
    pub(super) written: f64,
    /// First write until all were established, seconds.
    pub(super) established: f64,
    /// CPU of the API server until then, seconds.
    pub(super) api_cpu: f64,
    /// Its resident memory then, bytes.
    pub(super) api_rss: u64,
}

/// What Gantry took.
pub(super) struct Gantry {
    /// From the creation of the Provider to the first write of a CRD, seconds.
    pub(super) first_write: f64,
    /// First write to last answer, seconds.
    pub(super) written: f64,
    /// First write until all were established, seconds.
    pub(super) established: f64,
    /// From the creation of the Provider until it is healthy and ready, seconds.
    pub(super) healthy: f64,
    /// CPU of the operator from the creation of the Provider until it is healthy, seconds.
    pub(super) cpu: f64,
    /// The most memory the operator ever had, bytes.
    pub(super) hwm: u64,
    /// CPU of the API server until all were established, seconds.
    pub(super) api_cpu: f64,
    /// Its resident memory then, bytes.
    pub(super) api_rss: u64,
    /// Requests of the operator from the creation of the Provider until it is healthy, Leases aside.
    pub(super) requests: Requests,
}

/// What comes after the installation.
pub(super) struct Later {
    /// One for each round.
    pub(super) upgrades: Vec<Upgrade>,
    pub(super) restart: Restart,
    pub(super) idle: Idle,
}

/// A new version with the same CRDs.
pub(super) struct Upgrade {
    /// From the change of the Provider to the first write of a CRD, seconds.
    pub(super) first_write: f64,
    /// First to last write of a CRD, seconds.
    pub(super) written: f64,
    /// From the change of the Provider until the new revision is healthy, seconds.
    pub(super) healthy: f64,
    /// CPU of the operator, seconds.
    pub(super) cpu: f64,
    /// The most memory the operator ever had, bytes.
    pub(super) hwm: u64,
    /// Requests of the operator, Leases aside.
    pub(super) requests: Requests,
}

/// The operator is stopped and started.
pub(super) struct Restart {
    /// From its start until it is ready, seconds.
    pub(super) ready: f64,
    /// From its start to the end of its last request before it falls silent, seconds.
    pub(super) settled: f64,
    /// Requests until then, Leases aside.
    pub(super) requests: Requests,
    /// CPU until then, seconds.
    pub(super) cpu: f64,
    /// The most memory it had until then, bytes.
    pub(super) hwm: u64,
    /// What is resident then, bytes.
    pub(super) rss: u64,
}

/// Nothing happens.
pub(super) struct Idle {
    pub(super) seconds: f64,
    /// Requests of both replicas, Leases aside.
    pub(super) requests: Requests,
    /// Writes of the Lease.
    pub(super) lease_writes: usize,
    /// What the replicas take meanwhile; the leader did all the work before.
    pub(super) pair: Pair,
}

/// A leader and a standby that have nothing to do.
pub(super) struct Pair {
    pub(super) leader: Rest,
    pub(super) standby: Rest,
}

/// A process that has nothing to do.
pub(super) struct Rest {
    /// CPU, percent of a core.
    pub(super) percent: f64,
    /// Resident memory, bytes.
    pub(super) rss: u64,
}

/// Two replicas.
pub(super) struct Replicas {
    /// Idle, by number of packages.
    pub(super) rest: Vec<(usize, Pair)>,
    /// Leaders that were killed.
    pub(super) killed: Vec<HandOver>,
    /// Leaders that were asked to stop.
    pub(super) stopped: Vec<HandOver>,
}

/// From the end of a leader, seconds.
pub(super) struct HandOver {
    /// Until another replica holds the Lease.
    pub(super) lease: f64,
    /// Until a package that was applied at that moment is ready.
    pub(super) ready: f64,
}

/// Many small packages at once.
pub(super) struct Many {
    pub(super) count: usize,
    /// From the first apply until all are ready, seconds.
    pub(super) ready: f64,
    /// CPU of the operator until then, seconds.
    pub(super) cpu: f64,
    /// The most memory it ever had, bytes.
    pub(super) hwm: u64,
    /// Its writes by verb and resource, the Lease aside.
    pub(super) writes: BTreeMap<String, usize>,
    /// The same for a bare client, seconds.
    pub(super) floor: f64,
}

/// Requests of the operator, Leases aside.
#[derive(Clone, Copy, Default)]
pub(super) struct Requests {
    pub(super) reads: usize,
    pub(super) writes: usize,
    pub(super) watches: usize,
}

/// The figure in the middle; of an even number the lower of the two.
pub(super) fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len().checked_sub(1)? / 2).copied()
}

/// Seconds from one time to another.
pub(super) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// Bytes in MiB.
pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            reads,
            writes,
            watches,
        } = self;
        write!(f, "{reads} reads, {watches} watches, {writes} writes")
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "written {:.1} s, established {:.1} s, API server {:.0} CPU s, {:.0} MiB",
            self.written,
            self.established,
            self.api_cpu,
            mebibytes(self.api_rss)
        )
    }
}

impl fmt::Display for Many {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ready {:.1} s, bare client {:.1} s, {:.1} CPU s, {:.0} MiB, writes: {:?}",
            self.ready,
            self.floor,
            self.cpu,
            mebibytes(self.hwm),
            self.writes
        )
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} % and {:.0} MiB", self.percent, mebibytes(self.rss))
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leader {}, standby {}", self.leader, self.standby)
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (packages, pair) in &self.rest {
            write!(f, "\n  {packages} packages: {pair}")?;
        }
        for (what, all) in [("killed", &self.killed), ("stopped", &self.stopped)] {
            for HandOver { lease, ready } in all {
                write!(
                    f,
                    "\n  {what}: another leads after {lease:.2} s, ready after {ready:.2} s"
                )?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Gantry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "first write {:.1} s, written {:.1} s, established {:.1} s, healthy {:.1} s, {:.1} CPU s, {:.0} MiB, \
             API server {:.0} CPU s, {:.0} MiB, {}",
            self.first_write,
            self.written,
            self.established,
            self.healthy,
            self.cpu,
            mebibytes(self.hwm),
            self.api_cpu,
            mebibytes(self.api_rss),
            self.requests
        )
    }
}

impl fmt::Display for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            upgrades,
            restart,
            idle,
        } = self;
        for upgrade in upgrades {
            write!(
                f,
                "\n  upgrade: first write {:.1} s, written {:.1} s, healthy {:.1} s, {:.1} CPU s, {:.0} MiB, {}",
                upgrade.first_write,
                upgrade.written,
                upgrade.healthy,
                upgrade.cpu,
                mebibytes(upgrade.hwm),
                upgrade.requests
            )?;
        }
        write!(
            f,
            "\n  restart: ready {:.1} s, settled {:.1} s, {:.2} CPU s, {:.0} MiB, then {:.0} MiB, {}",
            restart.ready,
            restart.settled,
            restart.cpu,
            mebibytes(restart.hwm),
            mebibytes(restart.rss),
            restart.requests
        )?;
        write!(
            f,
            "\n  idle {:.0} s: {}, {}, {} of the Lease",
            idle.seconds, idle.pair, idle.requests, idle.lease_writes
        )
    }
}
