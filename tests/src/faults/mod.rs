//! What can go wrong, and in the middle of what: each fault happens while a package is installed, upgraded, rolled back or
//! while its old revisions are collected, and the cluster must end as it does without the fault.
//!
//! [`FAULTS`] is the table. Each row once, on a small package in the phase that it hurts most, is a test; `make faults` runs
//! every row in every phase that it has, on packages of several sizes, and writes `docs/reliability.md`.

mod api_server;
mod case;
mod machine;
mod objects;
mod phase;
mod registry;
mod report;
mod stage;
mod store;
mod table;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Parser;
use futures::FutureExt;

pub use case::{Done, Expected, run_case};
pub use phase::Phase;
pub use stage::Stage;
pub use table::{FAULTS, Fault, Row, Says};

/// How long what lasts goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Seconds: enough to be noticed and told.
    Short,
    /// Longer than every time-out and pause of the operator: a minute and more.
    Long,
}

/// Lets everything happen that the table has.
#[derive(Debug, Parser)]
#[command(name = "gantry-faults")]
struct Args {
    /// How many CRDs a package has.
    #[arg(long, value_delimiter = ',', default_values_t = [20, 100, 500])]
    sizes: Vec<usize>,
    /// Only these faults, by their keys.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only the phase that each fault hurts most.
    #[arg(long)]
    worst: bool,
    /// Seconds instead of minutes for what lasts.
    #[arg(long)]
    short: bool,
    /// Control planes side by side.
    #[arg(long, default_value_t = 2)]
    lanes: usize,
    /// The operator's binary; by default the one that was built beside this program.
    #[arg(long, env = "GANTRY_OPERATOR")]
    operator: Option<PathBuf>,
    /// Where the table is written; nowhere with --only.
    #[arg(long, default_value = "docs/reliability.md")]
    output: PathBuf,
}

/// Runs the matrix. The exit status is 0 only if every cell ended as it should.
pub fn main() -> ExitCode {
    let ran = testkit::run(matrix(Args::parse()));
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("the faults could not be run: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn say(text: &str) {
    // Nobody may be listening; the table is written all the same.
    writeln!(std::io::stdout(), "{text}").ok();
}

/// One cell of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// The fault.
    pub row: &'static Row,
    /// In the middle of what.
    pub phase: Phase,
    /// How many CRDs the package has.
    pub size: usize,
}

async fn matrix(args: Args) -> Result<bool> {
    let operator = match &args.operator {
        Some(given) => given.clone(),
        None => std::env::current_exe()?.with_file_name("gantry-operator"),
    };
    if !operator.exists() {
        bail!(
            "no operator at {}: run `make faults`, which builds it",
            operator.display()
        );
    }
    let mut cells = vec![];
    for &size in &args.sizes {
        for row in FAULTS
            .iter()
            .filter(|r| args.only.is_empty() || args.only.iter().any(|o| o == r.key))
        {
            let phases = if args.worst {
                std::slice::from_ref(&row.worst)
            } else {
                row.phases
            };
            cells.extend(phases.iter().map(|&phase| Cell { row, phase, size }));
        }
    }
    let pace = if args.short { Pace::Short } else { Pace::Long };
    let begun = Instant::now();
    let ended = run_all(&operator, &cells, args.lanes, pace).boxed_local().await?;
    let failed = ended.iter().filter(|(_, done)| done.is_err()).count();
    say(&format!(
        "{} cells in {:.0?}, {failed} did not end as they should",
        ended.len(),
        begun.elapsed()
    ));
    if args.only.is_empty() {
        report::write(&args.output, &operator, &ended, pace, begun.elapsed())?;
    }
    Ok(failed == 0)
}

/// Runs cells on so many control planes side by side; a cell that fails takes its control plane with it. In the order given.
pub async fn run_all(
    operator: &std::path::Path,
    cells: &[Cell],
    lanes: usize,
    pace: Pace,
) -> Result<Vec<(Cell, Result<Done>)>> {
    let (next, expected) = (AtomicUsize::new(0), Expected::default());
    let ended = Mutex::new(BTreeMap::new());
    let lane = async || -> Result<()> {
        let mut stage = None;
        loop {
            let number = next.fetch_add(1, Ordering::SeqCst);
            let Some(&cell) = cells.get(number) else {
                return Ok(());
            };
            let mut at = match stage.take() {
                Some(stage) => stage,
                None => Stage::start(operator).await?,
            };
            let begun = Instant::now();
            let done = run_case(&mut at, cell, pace, &expected).boxed_local().await;
            let took = begun.elapsed().as_secs_f64();
            let Cell { row, phase, size } = cell;
            match &done {
                Ok(done) => {
                    say(&format!(
                        "fault: {:22} {phase:9} {size:4} CRDs: {took:5.1} s; {}",
                        row.key,
                        done.line()
                    ));
                    // Where resource versions went back, or much was killed, nothing else is tried.
                    stage = (!row.ends_world).then_some(at);
                }
                Err(error) => {
                    say(&format!(
                        "fault: {:22} {phase:9} {size:4} CRDs: {took:5.1} s; FAILED: {error:#}",
                        row.key
                    ));
                }
            }
            ended
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .insert(number, (cell, done));
        }
    };
    let all = (0..lanes.max(1)).map(|_| lane().boxed_local());
    futures::future::try_join_all(all).await?;
    Ok(ended
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .into_values()
        .collect())
}
