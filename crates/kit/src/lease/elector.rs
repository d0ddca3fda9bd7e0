//! The decisions of an election: no clock, no connection.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{LONGEST_LEASE, Timing};

/// What a lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Identity of the holder; absent if it is free.
    pub holder: Option<String>,
    /// How long the holder asks to be respected after a renewal; zero if it does not say.
    pub duration: Duration,
    /// How often the holder changed.
    pub transitions: u64,
    /// When it was last renewed, by the holder's clock: only ever compared with itself.
    pub renewed: Option<Timestamp>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// Read the lease and call [`Elector::read`] or [`Elector::failed`].
    Read,
    /// Create or replace the lease, based on what was read last, and call [`Elector::written`],
    /// [`Elector::refused`] or [`Elector::failed`].
    Write(Record),
    /// Nothing for so long.
    Wait(Duration),
    /// This process led and does not any more, with the reason.
    Lost(String),
}

/// One candidate's view.
#[derive(Clone, Debug)]
pub struct Elector {
    me: String,
    timing: Timing,
    /// What was read last and when it was first seen like that; absent if there is no lease.
    seen: Option<(Record, Instant)>,
    /// Whether `seen` may be acted upon: it is the latest that is known.
    fresh: bool,
    /// When the last successful renewal was sent, and the epoch; absent while not leading.
    leading: Option<(Instant, u64)>,
    next: Instant,
}

impl Elector {
    /// A candidate that knows nothing yet.
    pub fn new(me: String, timing: Timing, now: Instant) -> Self {
        Self {
            me,
            timing,
            seen: None,
            fresh: false,
            leading: None,
            next: now,
        }
    }

    /// This candidate's identity.
    pub fn me(&self) -> &str {
        &self.me
    }

    /// Whether this candidate holds the lease, as far as it knows.
    pub fn is_leading(&self) -> bool {
        self.leading.is_some()
    }

    /// Until when this process may write, and the epoch, while it leads.
    pub fn lead(&self) -> Option<(Instant, u64)> {
        self.leading
            .map(|(sent, epoch)| (sent + self.timing.renew_deadline, epoch))
    }

    /// The holder that was seen last.
    pub fn holder(&self) -> Option<&str> {
        self.seen
            .as_ref()
            .and_then(|(record, _)| record.holder.as_deref())
    }

    /// What to do at `now`.
    pub fn step(&self, now: Instant) -> Do {
        if let Some((deadline, _)) = self.lead() {
            if now >= deadline {
                return Do::Lost(format!(
                    "it was not renewed for {} s",
                    self.timing.renew_deadline.as_secs()
                ));
            }
            if self.fresh && self.holder() != Some(&self.me) {
                let holder = self.holder().unwrap_or("nobody");
                return Do::Lost(format!("it is held by {holder}"));
            }
            if now < self.next {
                return Do::Wait(self.next.min(deadline) - now);
            }
            return if self.fresh {
                Do::Write(self.wanted())
            } else {
                Do::Read
            };
        }
        if self.fresh && self.may_take(now) {
            return Do::Write(self.wanted());
        }
        if now < self.next {
            Do::Wait(self.next - now)
        } else {
            Do::Read
        }
    }

    /// The lease was read.
    pub fn read(&mut self, now: Instant, record: Option<Record>) {
        self.seen = record.map(|record| match self.seen.take() {
            Some((known, since)) if known == record => (record, since),
            _ => (record, now),
        });
        self.fresh = true;
        if self.leading.is_none() {
            self.next = now + self.timing.retry_period / 2;
        }
    }

    /// The lease was created or replaced; the request was sent at `sent`.
    pub fn written(&mut self, sent: Instant, now: Instant, record: Record) {
        self.leading = Some((sent, record.transitions));
        self.seen = Some((record, now));
        self.fresh = true;
        self.next = sent + self.timing.retry_period;
    }

    /// Somebody else changed the lease first: look again at once.
    pub fn refused(&mut self, now: Instant) {
        self.fresh = false;
        self.next = now;
    }

    /// A request failed and perhaps took place nevertheless: look again soon.
    pub fn failed(&mut self, now: Instant) {
        self.fresh = false;
        self.next = now + self.timing.retry_period / 2;
    }

    fn may_take(&self, now: Instant) -> bool {
        let Some((record, since)) = &self.seen else {
            return true;
        };
        match &record.holder {
            None => true,
            // A write of ours that seemed to fail took place.
            Some(holder) if *holder == self.me => true,
            Some(_) => {
                let asked = if record.duration.is_zero() {
                    self.timing.lease_duration
                } else {
                    record.duration
                };
                // Never shorter than our own: holders of this kind stop by their deadline, not by their
                // lease.
                let patience = asked.max(self.timing.lease_duration).min(LONGEST_LEASE);
                now.saturating_duration_since(*since) >= patience
            }
        }
    }

    fn wanted(&self) -> Record {
        let (before, transitions) = match &self.seen {
            Some((record, _)) => (record.holder.as_deref(), record.transitions),
            None => (Some(self.me.as_str()), 0),
        };
        Record {
            holder: Some(self.me.clone()),
            duration: self.timing.lease_duration,
            transitions: transitions + u64::from(before != Some(&self.me)),
            renewed: None,
        }
    }
}

#[cfg(test)]
mod tests;
