//! What is measured.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

/// One size: the floor and Gantry.
pub(super) struct Run {
    pub(super) size: usize,
    pub(super) floor: Option<Floor>,
    pub(super) gantry: Gantry,
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
    /// First to last of as many bare metadata patches, seconds, for each round.
    pub(super) patched: Vec<f64>,
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
    /// The rest, for one size.
    pub(super) later: Option<Later>,
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
}

/// Nothing happens.
pub(super) struct Idle {
    pub(super) seconds: f64,
    /// Requests, Leases aside.
    pub(super) requests: Requests,
    /// Writes of the Lease.
    pub(super) lease_writes: usize,
    /// CPU of the operator, seconds.
    pub(super) cpu: f64,
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
        )?;
        for patched in &self.patched {
            write!(f, ", patched {patched:.1} s")?;
        }
        Ok(())
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
        )?;
        let Some(Later {
            upgrades,
            restart,
            idle,
        }) = &self.later
        else {
            return Ok(());
        };
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
            "\n  restart: ready {:.1} s, settled {:.1} s, {:.2} CPU s, {:.0} MiB, {}",
            restart.ready,
            restart.settled,
            restart.cpu,
            mebibytes(restart.hwm),
            restart.requests
        )?;
        write!(
            f,
            "\n  idle {:.0} s: {:.2} CPU s, {}, {} of the Lease",
            idle.seconds, idle.cpu, idle.requests, idle.lease_writes
        )
    }
}
