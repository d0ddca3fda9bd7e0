//! Good or bad.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::churn::Churn;
use super::sample::Sample;
use super::say;

/// Growth of resident memory, along the line that fits best, which is taken for noise: the allocator keeps pages of each
/// worker thread for the next burst, and which thread had the largest one changes from round to round. A leak of 1 KiB per
/// reconcile is ten times as much within half an hour.
const NOISE: f64 = 12.0 * 1024.0 * 1024.0;
/// Descriptors and tasks may differ by so many between two looks: eight connections of pools with three tasks each, and
/// requests under way. What leaks once per reconcile is a hundred times as much.
const UNDER_WAY: f64 = 40.0;

/// Objects with credentials that one question to a registry may need here: those of the operator's service account.
const CREDENTIALS: usize = 2;

/// What was seen after warming up, and while idle.
#[derive(Default)]
pub(super) struct Verdict {
    settled: Vec<(f64, Sample)>,
    bad: Vec<String>,
    good: Vec<String>,
}

impl Verdict {
    /// A look when everything had settled.
    pub(super) fn settled(&mut self, at: Duration, sample: &Sample) {
        self.settled.push((at.as_secs_f64(), *sample));
    }

    /// Two looks with nothing between them.
    pub(super) fn idle(&mut self, before: &Sample, after: &Sample) {
        for (what, count) in [
            (
                "requests to the API server, but for the lease, watches and credentials",
                after.requests - before.requests,
            ),
            ("writes", after.writes - before.writes),
            ("log lines", after.lines - before.lines),
        ] {
            self.judge(count == 0, format!("while idle: {count} {what}"));
        }
        let (polls, reads) = (
            after.registry - before.registry,
            after.credentials - before.credentials,
        );
        self.judge(
            reads <= polls * CREDENTIALS,
            format!(
                "while idle: {polls} requests to the registry follow tags, {reads} read credentials for them"
            ),
        );
    }

    /// The operator must be the one that was started.
    pub(super) fn alive(&mut self, churn: &Churn) -> Result<()> {
        let operator = churn.world.operator()?;
        let alive = operator.process().is_running() && !operator.log()?.contains("panicked");
        self.judge(alive, "the operator ran all the time, without a panic".to_owned());
        ensure!(alive, "the operator ended: {}", operator.log_tail());
        Ok(())
    }

    fn judge(&mut self, good: bool, text: String) {
        if good { &mut self.good } else { &mut self.bad }.push(text);
    }

    /// Says it; whether all is well.
    pub(super) fn say(mut self) -> bool {
        let took = self.settled.last().map_or(0.0, |l| l.0) - self.settled.first().map_or(0.0, |f| f.0);
        let hours = took / 3600.0;
        for (what, unit, bound, value) in [
            (
                "resident memory",
                "MiB",
                NOISE,
                (|s| s.rss as f64) as fn(&Sample) -> f64,
            ),
            ("open files", "", UNDER_WAY, |s| s.files as f64),
            ("tasks", "", UNDER_WAY, |s| s.tasks as f64),
        ] {
            let points: Vec<(f64, f64)> = self.settled.iter().map(|(at, s)| (*at, value(s))).collect();
            let growth = slope(&points) * took;
            let scale = if unit == "MiB" { f64::from(1 << 20) } else { 1.0 };
            let text = format!(
                "{what}: {:+.1} {unit} along the best line over {took:.0} s and {} looks ({:+.1} {unit} an hour; at most {:+.1})",
                growth / scale,
                points.len(),
                if hours > 0.0 { growth / scale / hours } else { 0.0 },
                bound / scale,
            );
            self.judge(points.len() > 2 && growth <= bound, text);
        }
        for text in &self.good {
            say(&format!("soak: good: {text}"));
        }
        for text in &self.bad {
            say(&format!("soak: BAD:  {text}"));
        }
        say(if self.bad.is_empty() {
            "soak: verdict: good"
        } else {
            "soak: verdict: BAD"
        });
        self.bad.is_empty()
    }
}

/// Slope of the line with the least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (x, y) = points
        .iter()
        .fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let (over, under) = points.iter().fold((0.0, 0.0), |(o, u), p| {
        (o + (p.0 - x) * (p.1 - y), u + (p.0 - x) * (p.0 - x))
    });
    if under > 0.0 { over / under } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(step: u64) -> Verdict {
        let mut verdict = Verdict::default();
        for n in 0..6 {
            let sample = Sample {
                rss: (40 << 20) + n * step,
                files: 30,
                tasks: 50,
                ..Sample::default()
            };
            verdict.settled(Duration::from_secs(20 * n), &sample);
        }
        verdict
    }

    #[test]
    fn growth_is_bad_and_noise_is_not() {
        assert!(verdict(1 << 20).say());
        assert!(!verdict(4 << 20).say());
    }

    #[test]
    fn idle_means_silent() {
        let before = Sample::default();
        for after in [
            Sample { lines: 1, ..before },
            Sample {
                writes: 1,
                requests: 1,
                ..before
            },
            Sample {
                requests: 1,
                ..before
            },
        ] {
            let mut verdict = verdict(0);
            verdict.idle(&before, &after);
            assert!(!verdict.say());
        }
        let mut verdict = verdict(0);
        verdict.idle(
            &before,
            &Sample {
                registry: 7,
                ..before
            },
        );
        assert!(verdict.say());
    }
}
