//! `make soak`: packages come, change and go, tags move, objects are deleted by hand, connections break; for as long as one
//! likes, by a seed. It ends with a verdict: does memory grow, does anything leak, is the operator silent when idle?

mod churn;
mod sample;
mod verdict;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Parser;

use churn::Churn;
use verdict::Verdict;

/// This part of the time is for warming up: caches, pools and the allocator reach the size that they keep.
const WARM_UP: f64 = 0.35;
/// How long a round of churn takes, before everything settles and is looked at.
const ROUND: Duration = Duration::from_secs(12);
/// Part of the time in which nothing happens, at the end.
const IDLE: f64 = 0.17;
/// The idle part is at least so long: polls of tags and renewals of the lease happen in it.
const IDLE_LEAST: Duration = Duration::from_secs(25);

/// Stirs, and looks whether the operator stays as it was.
#[derive(Debug, Parser)]
#[command(name = "gantry-soak")]
struct Args {
    /// How long, in minutes.
    #[arg(long, env = "SOAK_MINUTES", default_value_t = 30.0)]
    minutes: f64,
    /// What happens follows from this number; by default another one each time.
    #[arg(long, env = "SOAK_SEED")]
    seed: Option<u64>,
    /// The operator's binary; by default the one that was built beside this program.
    #[arg(long, env = "GANTRY_OPERATOR")]
    operator: Option<PathBuf>,
}

/// Runs the soak. The exit status is 0 only if the verdict is good.
pub fn main() -> ExitCode {
    match testkit::run(run(Args::parse())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("the soak failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    // Nobody may be listening; the exit status says it too.
    writeln!(std::io::stdout(), "{text}").ok();
}

async fn run(args: Args) -> Result<bool> {
    let operator = match &args.operator {
        Some(given) => given.clone(),
        None => std::env::current_exe()?.with_file_name("gantry-operator"),
    };
    if !operator.exists() {
        bail!(
            "no operator at {}: run `make soak`, which builds it",
            operator.display()
        );
    }
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    say(&format!(
        "soak: {} minutes, seed {seed} (SOAK_SEED={seed} repeats it)",
        args.minutes
    ));
    let whole = Duration::from_secs_f64(args.minutes.max(1.0) * 60.0);
    let idle = whole.mul_f64(IDLE).max(IDLE_LEAST);
    let begun = Instant::now();
    let mut churn = Churn::start(&operator, seed).await?;
    let mut verdict = Verdict::default();
    let mut last = churn.look().await?;
    say(sample::HEADER);
    while begun.elapsed() + idle < whole {
        let warm = begun.elapsed() > whole.mul_f64(WARM_UP);
        let counted = churn.round(ROUND).await?;
        let now = churn.look().await?;
        say(&now.line(&last, begun.elapsed(), warm, &counted));
        if warm {
            verdict.settled(begun.elapsed(), &now);
        }
        last = now;
    }
    say(&format!(
        "soak: {} things happened; idle for {idle:.0?}",
        churn.done()
    ));
    let before = churn.look().await?;
    tokio::time::sleep(idle).await;
    let after = churn.look().await?;
    verdict.idle(&before, &after);
    verdict.alive(&churn)?;
    Ok(verdict.say())
}
