//! What is seen of the operator from outside.

use std::time::Duration;

use anyhow::{Context, Result};
use testkit::world::USER;
use testkit::{AuditEvent, AuditMark, FaultProxy, World};

/// Over the lines of [`Sample::line`].
pub(super) const HEADER: &str =
    "soak:    time  resident   files tasks  requests  writes  registry  log lines  what happened";

/// Counts so far, and sizes now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Resident memory, in bytes.
    pub(super) rss: u64,
    /// Open file descriptors.
    pub(super) files: usize,
    /// Tasks of the operator's runtime.
    pub(super) tasks: u64,
    /// Requests to the API server, without those about its lease, without watches, and without the next.
    pub(super) requests: usize,
    /// Reads of credentials: they are never remembered, so each question to the registry reads them.
    pub(super) credentials: usize,
    /// Of these, requests for a change.
    pub(super) writes: usize,
    /// Requests to the registry.
    pub(super) registry: usize,
    /// Lines of its log.
    pub(super) lines: usize,
}

/// Follows the audit log, and counts.
#[derive(Default)]
pub(super) struct Counter {
    mark: AuditMark,
    requests: usize,
    credentials: usize,
    writes: usize,
}

impl Counter {
    pub(super) async fn look(&mut self, world: &World, registry: &FaultProxy) -> Result<Sample> {
        let events = world.plane().audit_next(&mut self.mark)?;
        let ours = |e: &&AuditEvent| e.user == USER && !e.is_lease() && e.verb != "watch";
        let reads = |e: &&AuditEvent| {
            e.verb == "get" && ["secrets", "serviceaccounts"].contains(&e.resource.as_str())
        };
        let credentials = events.iter().filter(ours).filter(reads).count();
        self.credentials += credentials;
        self.requests += events.iter().filter(ours).count() - credentials;
        self.writes += events.iter().filter(ours).filter(|e| e.is_write()).count();
        let operator = world.operator()?;
        let process = operator.process();
        let metrics = operator.metrics().await?;
        let tasks = metrics
            .lines()
            .find_map(|l| l.strip_prefix("gantry_process_tasks "));
        Ok(Sample {
            rss: process.rss()?,
            files: std::fs::read_dir(format!("/proc/{}/fd", process.pid()))?.count(),
            tasks: tasks.context("the operator does not count its tasks")?.parse()?,
            requests: self.requests,
            credentials: self.credentials,
            writes: self.writes,
            registry: registry.faults().count(&testkit::Match::any()),
            lines: operator.log()?.lines().count(),
        })
    }
}

impl Sample {
    /// For a person who watches: sizes, and what was added since.
    pub(super) fn line(&self, since: &Self, at: Duration, warm: bool, happened: &str) -> String {
        format!(
            "soak: {:6.0} s {:5.1} MiB {:7} {:5} {:9} {:7} {:9} {:10}  {happened}{}",
            at.as_secs_f64(),
            self.rss as f64 / f64::from(1 << 20),
            self.files,
            self.tasks,
            self.requests - since.requests,
            self.writes - since.writes,
            self.registry - since.registry,
            self.lines - since.lines,
            if warm { "" } else { " (warming up)" },
        )
    }
}
