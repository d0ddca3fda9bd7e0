//! The benchmark: for several sizes of a package, a bare client that sends the requests that have to be sent (the
//! floor), then Gantry, each on a fresh control plane, in one run, seen by one observer. It judges by ratios and never
//! fails because of a time.

mod bare;
mod figures;
mod floor;
mod gantry;
mod image;
mod inputs;
pub(crate) mod machine;
mod many;
mod observer;
mod replicas;
mod report;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use testkit::ControlPlane;

use figures::Run;
use inputs::Inputs;

/// Connections of the bare client: as many requests as the operator has under way for one package.
const CONNECTIONS: usize = 4;
/// How often the largest package is installed and upgraded, and the bare client measured beside it: single runs differ
/// by a third on a machine that others use too, so the medians are compared.
const ROUNDS: usize = 3;
/// How often the observer looks.
const LOOK: Duration = Duration::from_millis(250);
/// How long one phase may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(900);
/// An API server that uses less than this part of a core is quiet: its own work for what came before is done.
const QUIET_SHARE: f64 = 0.06;
/// Over how long that is measured.
const QUIET_WINDOW: Duration = Duration::from_secs(2);
/// After this long the run goes on, quiet or not.
const QUIET_PATIENCE: Duration = Duration::from_secs(120);

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A package is installed, of each size.
    Install,
    /// The largest is upgraded, the operator left idle and restarted. Needs `install`.
    Later,
    /// Many small packages at once.
    Many,
    /// Two replicas: idle, and one after the other.
    Replicas,
    /// The image on a node, which needs root.
    Image,
}

/// Measures Gantry beside a bare client.
#[derive(Debug, Parser)]
#[command(name = "gantry-bench")]
struct Args {
    /// How many CRDs a package has; the last one is also upgraded, restarted and left idle.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 500, 1000])]
    sizes: Vec<usize>,
    /// How often the largest size is installed; the medians count.
    #[arg(long, default_value_t = ROUNDS)]
    rounds: usize,
    /// How long the operator is watched doing nothing, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    idle: u64,
    /// How many small packages are installed at once.
    #[arg(long, default_value_t = 1000)]
    packages: usize,
    /// The operator's binary; by default the one that was built beside this program.
    #[arg(long, env = "GANTRY_OPERATOR")]
    operator: Option<PathBuf>,
    /// Where the table is written.
    #[arg(long, default_value = "BENCHMARKS.md")]
    output: PathBuf,
    /// Measure some of it only. Nothing is written then.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Leave the bare client out: for looking at Gantry alone. Nothing is written then.
    #[arg(long)]
    no_floor: bool,
}

impl Args {
    fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// Runs the benchmark.
pub fn main() -> ExitCode {
    match testkit::run(run(Args::parse())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("the benchmark failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    let operator = match &args.operator {
        Some(given) => given.clone(),
        None => std::env::current_exe()?.with_file_name("gantry-operator"),
    };
    if !operator.exists() {
        bail!(
            "no operator at {}: run `make bench`, which builds it",
            operator.display()
        );
    }
    let most = args.sizes.iter().copied().max().context("no sizes were given")?;
    let machine = machine::describe(&operator)?;
    say(&machine.line());
    let inputs = Inputs::load(if args.has(Part::Install) { most } else { 0 })?;
    let mut runs = Vec::new();
    if args.has(Part::Install) {
        say(&inputs.describe());
        for &size in &args.sizes {
            runs.push(install(&args, &inputs, size, &operator, size == most).await?);
        }
    }
    let mut many = None;
    if args.has(Part::Many) {
        let found = many::run(args.packages, &operator).await?;
        say(&format!("{} small packages: {found}", args.packages));
        many = Some(found);
    }
    let mut replicas = None;
    if args.has(Part::Replicas) {
        let found = replicas::run(&operator).await?;
        say(&format!("two replicas: {found}"));
        replicas = Some(found);
    }
    let all = report::All {
        machine: &machine,
        inputs: &inputs,
        runs: &runs,
        many: many.as_ref(),
        replicas: replicas.as_ref(),
    };
    let mut text = report::markdown(&all);
    if args.has(Part::Image) {
        text.push_str(&image::chapter(&image::run(&operator).await));
    }
    say(&text);
    if !args.no_floor && args.only.is_empty() {
        std::fs::write(&args.output, &text)
            .with_context(|| format!("cannot write {}", args.output.display()))?;
    }
    Ok(())
}

/// One size, the bare client and Gantry in turns.
async fn install(args: &Args, inputs: &Inputs, size: usize, operator: &Path, largest: bool) -> Result<Run> {
    let mut run = Run {
        size,
        rounds: vec![],
        later: None,
        patched: vec![],
    };
    for round in 0..if largest { args.rounds } else { 1 } {
        // What comes later is measured on what the last round installed.
        let later = largest && args.has(Part::Later) && round + 1 == args.rounds;
        let floor = if args.no_floor {
            None
        } else {
            let (floor, patched) = floor::run(inputs, size, later).await?;
            say(&format!("floor  {size}: {floor}, patched {patched:.1?} s"));
            run.patched.extend(patched);
            Some(floor)
        };
        let idle = later.then(|| Duration::from_secs(args.idle));
        let (gantry, later) = gantry::run(inputs, size, operator, idle).await?;
        say(&format!("gantry {size}: {gantry}"));
        if let Some(later) = later {
            say(&format!("{later}"));
            run.later = Some(later);
        }
        run.rounds.push((floor, gantry));
    }
    Ok(run)
}

fn say(text: &str) {
    // Nobody may be listening; the table is written all the same.
    writeln!(std::io::stdout(), "{text}").ok();
}

/// Waits until the API server has done its own work for what came before.
async fn quiet(plane: &ControlPlane) -> Result<()> {
    let deadline = std::time::Instant::now() + QUIET_PATIENCE;
    while std::time::Instant::now() < deadline {
        let before = plane.api_cpu_seconds()?;
        tokio::time::sleep(QUIET_WINDOW).await;
        let used = plane.api_cpu_seconds()? - before;
        if used < QUIET_SHARE * QUIET_WINDOW.as_secs_f64() {
            return Ok(());
        }
    }
    say("note: the API server did not become quiet; what follows is measured beside its own work");
    Ok(())
}
