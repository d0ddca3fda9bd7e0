//! How long it takes to solve graphs of 10 to 10,000 packages with all answers of registries at hand, as a
//! section of BENCHMARKS.md: `cargo bench -p gantry-solve`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use gantry_solve::{Answer, Catalogue, Dependency, Facts, Metadata, Name, Options, Package, Plan, solve};
use oci::Digest;

/// How many packages a graph has.
const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
/// Versions of each package.
const VERSIONS: usize = 10;
/// How often each graph is solved; the median counts.
const ROUNDS: usize = 3;

/// Who asks what of whom: the number of a package and a constraint.
type Needs = Vec<(usize, String)>;

/// A graph: what each version of each package needs, and what is asked for.
struct Graph {
    packages: Vec<Vec<Needs>>,
    asked: Needs,
}

impl Graph {
    /// `needs` says what a version of a package needs.
    fn new(size: usize, asked: Needs, mut needs: impl FnMut(usize, usize) -> Needs) -> Self {
        let packages = (0..size)
            .map(|p| (0..VERSIONS).map(|v| needs(p, v)).collect())
            .collect();
        Self { packages, asked }
    }

    fn told(&self) -> (Facts, Catalogue) {
        let mut catalogue = Catalogue::new();
        for (number, versions) in self.packages.iter().enumerate() {
            let source = source(number);
            catalogue.set_tags(&source, Answer::Known((0..VERSIONS).map(tag).collect()));
            for (version, needs) in versions.iter().enumerate() {
                let digest = Digest::sha256(format!("{number} {version}").as_bytes());
                catalogue.set_digest(&source, &tag(version), Answer::Known(digest.clone()));
                let metadata = Metadata {
                    kind: "Provider".to_owned(),
                    dependencies: dependencies(needs),
                };
                catalogue.set_package(&source, &digest, Answer::Known(metadata));
            }
        }
        let package = Package {
            name: Name {
                kind: "Configuration".to_owned(),
                name: "platform".to_owned(),
            },
            source: "registry.example.org/platform".to_owned(),
            tag: Some("v1.0.0".to_owned()),
            dependencies: Some(dependencies(&self.asked)),
            ..Package::default()
        };
        let facts = Facts {
            packages: vec![package],
            ..Facts::default()
        };
        (facts, catalogue)
    }
}

fn source(number: usize) -> String {
    format!("registry.example.org/packages/package-{number:05}")
}

fn tag(version: usize) -> String {
    format!("v1.{version}.0")
}

fn dependencies(needs: &Needs) -> Vec<Dependency> {
    needs
        .iter()
        .map(|(to, text)| Dependency::new("Provider", &source(*to), text))
        .collect()
}

fn any() -> String {
    ">=v1.0.0, <v2.0.0".to_owned()
}

/// Each needs the next.
fn chain(size: usize) -> Graph {
    Graph::new(size, vec![(0, any())], |p, _| match p + 1 < size {
        true => vec![(p + 1, any())],
        false => vec![],
    })
}

/// Rows of ten, of which each needs two of the next row, and all the last.
fn diamond(size: usize) -> Graph {
    let asked = (0..size.min(10)).map(|p| (p, any())).collect();
    Graph::new(size, asked, |p, _| {
        let below = [p + 10 - p % 10 + p % 7, p + 10 - p % 10 + p % 9];
        let mut needs: Vec<usize> = below.into_iter().filter(|b| *b < size).collect();
        needs.push(size - 1);
        needs.retain(|n| *n != p);
        needs.sort_unstable();
        needs.dedup();
        needs
            .into_iter()
            .map(|n| (n, format!(">=v1.{}.0", p % 3)))
            .collect()
    })
}

/// All are asked for, and all need the last.
fn wide(size: usize) -> Graph {
    let asked = (0..size).map(|p| (p, any())).collect();
    Graph::new(size, asked, |p, _| match p + 1 < size {
        true => vec![(size - 1, format!("<v1.{}.0", 5 + p % 5))],
        false => vec![],
    })
}

/// Up to four of the next twenty each, at versions near to their own, as release trains have it. Of every
/// tenth package the newest versions can't be used, so that much of what is highest has to be taken back.
fn random(size: usize) -> Graph {
    let mut random = fastrand::Rng::with_seed(42);
    let asked = (0..size.min(10)).map(|p| (p, any())).collect();
    Graph::new(size, asked, |p, version| {
        let count = random.usize(0..=3).min(size - 1 - p);
        let mut needs: Vec<usize> = (0..count)
            .map(|_| random.usize(p + 1..size.min(p + 21)))
            .collect();
        // Nothing is left out of the graph.
        needs.extend((p + 1 < size).then_some(p + 1));
        needs.sort_unstable();
        needs.dedup();
        let near = |random: &mut fastrand::Rng| {
            let (below, above) = (random.usize(1..VERSIONS), random.usize(1..VERSIONS));
            format!(
                ">=v1.{}.0, <=v1.{}.0",
                version.saturating_sub(below),
                version + above
            )
        };
        let mut needs: Needs = needs.into_iter().map(|to| (to, near(&mut random))).collect();
        if p % 10 == 7 && version > 6 {
            needs.extend((p + 1 < size).then(|| (p + 1, ">=v2.0.0".to_owned())));
        }
        needs
    })
}

/// Two chains, each half of it, that need different versions of the last package.
fn conflict(size: usize) -> Graph {
    let half = size / 2;
    Graph::new(size, vec![(0, any()), (half, any())], |p, _| match p {
        p if p + 1 == half => vec![(size - 1, "<v1.5.0".to_owned())],
        p if p + 2 == size => vec![(size - 1, ">=v1.5.0".to_owned())],
        p if p + 1 == size => vec![],
        p => vec![(p + 1, any())],
    })
}

/// How long this thread has been on a processor: the solver has one thread and waits for nothing, so on a quiet
/// machine this is the time it takes, and on a busy one what others do counts less.
fn on_processor() -> Duration {
    let figures = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = figures.split_whitespace().next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(first.unwrap_or_default())
}

/// The median time, and the last plan.
fn measure(graph: &Graph) -> (Duration, Plan) {
    let (facts, catalogue) = graph.told();
    let mut times = Vec::new();
    let mut plan = Plan::default();
    for _ in 0..ROUNDS {
        let started = on_processor();
        plan = solve(&facts, &catalogue, &Options::default());
        times.push(on_processor().saturating_sub(started));
    }
    times.sort();
    (times.get(ROUNDS / 2).copied().unwrap_or_default(), plan)
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn verdict(time: Duration, most: u64) -> String {
    let met = time <= Duration::from_millis(most);
    format!("{} | {} |", shown(time), if met { "met" } else { "**missed**" })
}

/// One shape alone, for a profiler.
fn one(name: &str) -> std::fmt::Result {
    let graph = match name {
        "chain" => chain(10_000),
        "diamond" => diamond(10_000),
        "wide" => wide(10_000),
        "random" => random(10_000),
        _ => conflict(1_000),
    };
    let (time, plan) = measure(&graph);
    writeln!(
        std::io::stdout(),
        "{name}: {}, {} decisions",
        shown(time),
        plan.decisions
    )
    .ok();
    Ok(())
}

type Shape = (&'static str, fn(usize) -> Graph);

fn main() -> std::fmt::Result {
    if let Some(name) = std::env::args().nth(1).filter(|arg| !arg.starts_with('-')) {
        return one(&name);
    }
    let shapes: [Shape; 4] = [
        ("chain", chain),
        ("diamond", diamond),
        ("wide", wide),
        ("random with conflicts", random),
    ];
    let mut out = format!(
        "## Choosing versions\n\n\
         Graphs with {VERSIONS} versions of each package and all answers of registries at hand; \
         processor time, the median of {ROUNDS}.\n\n\
         | packages | chain | diamond | wide | random with conflicts |\n|---|---|---|---|---|\n"
    );
    let mut worst = std::collections::BTreeMap::<usize, Duration>::new();
    for size in SIZES {
        write!(out, "| {size} |")?;
        for (name, shape) in shapes {
            let (time, plan) = measure(&shape(size));
            writeln!(std::io::stderr(), "{name} of {size}: {}", shown(time)).ok();
            assert!(
                plan.unmet.is_empty() && plan.gave_up.is_empty(),
                "{name} of {size} is not solved"
            );
            assert!(
                plan.picks.len() > size / 2,
                "{name} of {size} has only {}",
                plan.picks.len()
            );
            write!(out, " {} ({} decisions) |", shown(time), plan.decisions)?;
            let slot = worst.entry(size).or_default();
            *slot = time.max(*slot);
        }
        out.push('\n');
    }
    let (explained, plan) = measure(&conflict(1_000));
    assert_eq!(plan.unmet.len(), 1);
    let at = |size: usize| worst.get(&size).copied().unwrap_or_default();
    write!(
        out,
        "\n| target | at most | measured | |\n|---|---|---|---|\n\
         | 1,000 packages, the slowest shape | 50 ms | {}\n\
         | 10,000 packages, the slowest shape | 1,000 ms | {}\n\
         | a conflict in 1,000 packages, explained | 100 ms | {}\n\n",
        verdict(at(1_000), 50),
        verdict(at(10_000), 1_000),
        verdict(explained, 100),
    )?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(peak) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
        writeln!(
            out,
            "Most memory in use, all graphs and catalogues included: {}.",
            peak.trim()
        )?;
    }
    // Nobody may be listening.
    std::io::stdout().write_all(out.as_bytes()).ok();
    Ok(())
}
