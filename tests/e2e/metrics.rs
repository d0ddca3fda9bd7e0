//! The metrics of a real operator: all that the docs list and no others, all that alerts and dashboard read, and what they
//! say of an operator in trouble.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::json;
use testkit::{
    Fault, Match, Operator, OperatorOptions, PackageFixture, Rule, TestRegistry, World, WorldOptions,
    eventually,
};

use crate::OPERATOR;
use crate::alerts::{Firing, Series, alerts, judge, queries};
use crate::leader::Renewing;

/// For one step on a busy machine.
const SOON: Duration = Duration::from_secs(120);
/// The minute at which all alerts have had their time.
const LATE: u32 = 100;
/// Of registries that say how many requests are left; those of the tests don't. A unit test shows it.
const NOT_SHOWN: &[&str] = &["gantry_registry_rate_limit_remaining"];

/// One line of `/metrics`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Sample {
    /// The series as promtool writes it.
    fn series(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
        format!("{}{{{}}}", self.name, labels.join(","))
    }
}

/// The samples of `/metrics`, and the names of the metrics with their types.
pub(crate) async fn scrape(operator: &Operator) -> Result<(Vec<Sample>, BTreeMap<String, String>)> {
    let (mut samples, mut types) = (vec![], BTreeMap::new());
    for line in operator.metrics().await?.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, type_) = typed.split_once(' ').context("a type")?;
            types.insert(name.to_owned(), type_.to_owned());
        }
        if line.starts_with('#') {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels
            .trim_end_matches('}')
            .split("\",")
            .filter(|l| !l.is_empty());
        let labels = labels.map(|label| {
            let (key, value) = label.split_once("=\"").with_context(|| line.to_owned())?;
            Ok((key.to_owned(), value.trim_end_matches('"').to_owned()))
        });
        samples.push(Sample {
            name: name.to_owned(),
            labels: labels.collect::<Result<_>>()?,
            value: value.parse()?,
        });
    }
    Ok((samples, types))
}

fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let has = |s: &&Sample| {
        labels
            .iter()
            .all(|(k, v)| s.labels.get(*k).is_some_and(|l| l == v))
    };
    let found = samples.iter().filter(|s| s.name == name).find(has);
    found.map(|s| s.value)
}

/// Waits until a metric is such.
async fn until(
    operator: &Operator,
    name: &str,
    labels: &[(&str, &str)],
    holds: impl Fn(f64) -> bool,
) -> Result<f64> {
    let look = async || {
        let (samples, _) = scrape(operator).await?;
        Ok(value(&samples, name, labels).filter(|v| holds(*v)))
    };
    let what = format!("{name} {labels:?}");
    let found = eventually(&what, SOON, look).await;
    found.with_context(|| operator.log_tail())
}

/// What the operator showed, over 100 minutes: counters grow from nothing to what they are in the last ten, the rest is
/// as it is. Times stand still (`frozen`), or go with the clock.
fn over_time(samples: &[Sample], types: &BTreeMap<String, String>, frozen: bool) -> Series {
    let now = Timestamp::now().as_duration().as_secs_f64();
    let pace = if frozen { 0 } else { 60 };
    let of = |s: &Sample| match types.get(s.name.trim_end_matches("_total")) {
        _ if s.name.ends_with("_timestamp_seconds") => format!("{:.0}+{pace}x{LATE}", s.value - now),
        Some(type_) if type_ == "counter" => format!("0x{} {}x10", LATE - 10, s.value),
        _ => format!("{}x{LATE}", s.value),
    };
    samples.iter().map(|s| (s.series(), of(s))).collect()
}

/// The metric names in a query, and the labels that it asks for by them.
fn read_by(expr: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut names, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for (at, _) in expr.match_indices("gantry_") {
        let rest = &expr[at..];
        let (name, rest) = rest.split_at(rest.find(|c| !word(c)).unwrap_or(rest.len()));
        names.insert(name.to_owned());
        let selectors = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        for part in selectors.iter().flat_map(|(inside, _)| inside.split("\",")) {
            let end = part.find(|c| !word(c)).unwrap_or(part.len());
            labels.insert(part[..end].to_owned());
        }
    }
    for by in ["by (", "on ("] {
        for part in expr.split(by).skip(1) {
            let list = part.split(')').next().unwrap_or_default();
            labels.extend(list.split(", ").map(str::to_owned));
        }
    }
    (names, labels)
}

/// All that alerts and dashboard read is there.
fn all_that_is_read_exists(samples: &[Sample]) -> Result<()> {
    let names: BTreeSet<&str> = samples.iter().map(|s| s.name.as_str()).collect();
    let read = alerts()?.into_iter().map(|alert| alert.expr).chain(queries()?);
    for expr in read {
        let (wanted, labels) = read_by(&expr);
        let mut known: BTreeSet<&str> = ["instance"].into();
        for name in &wanted {
            let shown = names.contains(name.as_str()) || NOT_SHOWN.contains(&name.as_str());
            ensure!(
                shown,
                "{name} is read by {expr}, and the operator doesn't show it: {names:?}"
            );
            let of_name = samples.iter().filter(|s| s.name == *name);
            known.extend(of_name.flat_map(|s| s.labels.keys().map(String::as_str)));
            if NOT_SHOWN.contains(&name.as_str()) {
                known.insert("host");
            }
        }
        for label in labels {
            ensure!(
                known.contains(label.as_str()),
                "{expr}: nothing has a label {label}"
            );
        }
    }
    Ok(())
}

/// The table in the docs is what the operator shows.
fn the_docs_list(types: &BTreeMap<String, String>) -> Result<()> {
    let path = testkit::tools::workspace().join("docs/observability.md");
    let text = std::fs::read_to_string(path)?;
    let table = text
        .split("\n## ")
        .find(|s| s.starts_with("Metrics\n"))
        .context("a section Metrics")?;
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = cells.filter_map(|line| line.split(" |").next());
    let names = cells.flat_map(|cell| cell.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')));
    let family = |name: &str| {
        let name = name.strip_suffix("_total").unwrap_or(name);
        name.strip_suffix("_info").unwrap_or(name).to_owned()
    };
    let documented: BTreeSet<String> = names.filter(|n| n.starts_with("gantry_")).map(family).collect();
    let mut real: BTreeSet<String> = types.keys().cloned().collect();
    real.extend(NOT_SHOWN.iter().map(|name| (*name).to_owned()));
    assert_eq!(documented, real);
    Ok(())
}

async fn create(world: &World, name: &str, reference: &str) -> Result<()> {
    let spec = json!({"packagePullPolicy": "Always"});
    world
        .create_package("Provider", name, reference, spec)
        .await
        .map(drop)
}

async fn is(world: &World, name: &str, condition: &str, status: &str) -> Result<()> {
    let reached = world
        .wait_condition("Provider", name, condition, status, SOON)
        .await;
    reached.map(drop)
}

#[test]
fn all_metrics_move_and_alerts_fire_on_those_of_an_operator_in_trouble() -> Result<()> {
    testkit::run(async {
        let mut world = World::start(WorldOptions::default()).await?;
        let registry = TestRegistry::start().await?;
        let fixture = |name: &str| PackageFixture::provider(name).crds(&format!("{name}.example.org"), 3);
        let options = OperatorOptions::new(OPERATOR, world.operator_kubeconfig()).args([
            "--tag-poll-interval=1s",
            "--leader-election-lease-duration=60s",
            "--leader-election-renew-deadline=50s",
        ]);

        // All is well: no alert fires, however long it lasts.
        world.replace_operator(Some(options.clone())).await?;
        let good = world.push("good", "v1", &fixture("good").build()?).await?;
        create(&world, "good", &good).await?;
        is(&world, "good", "Ready", "True").await?;
        let provider = ("kind", "Provider");
        let operator = world.operator()?;
        let ready = [provider, ("state", "Ready")];
        until(operator, "gantry_packages", &ready, |n| n == 1.0).await?;
        until(operator, "gantry_package_ready_seconds_count", &[provider], |n| {
            n == 1.0
        })
        .await?;
        let (samples, types) = scrape(operator).await?;
        let crds = ("kind", "CustomResourceDefinition");
        let shows = |name: &str, labels: &[(&str, &str)]| value(&samples, name, labels);
        assert_eq!(
            shows("gantry_objects_total", &[crds, ("outcome", "written")]),
            Some(3.0)
        );
        assert_eq!(shows("gantry_leader", &[]), Some(1.0));
        assert_eq!(shows("gantry_watch_objects", &[provider]), Some(1.0));
        assert!(shows("gantry_reconciles_total", &[("controller", "manager")]) > Some(0.0));
        assert_eq!(shows("gantry_controllers_running", &[]), Some(1.0));
        assert_eq!(shows("gantry_store_writable", &[]), Some(1.0));
        assert!(shows("gantry_store_bytes", &[]) > Some(0.0));
        let established = [("kind", "ProviderRevision"), ("state", "Established")];
        assert_eq!(shows("gantry_package_revisions", &established), Some(1.0));
        let named = alerts()?;
        let named: Vec<&str> = named.iter().map(|alert| alert.alert.as_str()).collect();
        judge(&over_time(&samples, &types, false), LATE, &named, &[]).context("all is well")?;

        // A newer version wrote a CRD, and the store's folder can't be made.
        let newer = json!({"metadata": {"annotations": {"gantry.dev/version": "v99.0.0"}}});
        world
            .patch("CustomResourceDefinition", "locks.pkg.crossplane.io", newer)
            .await?;
        let folder = testkit::folder("store")?;
        let file = folder.path().join("file");
        std::fs::write(&file, "in the way")?;
        world
            .replace_operator(Some(options.store(file.join("store"))))
            .await?;
        let operator = world.operator()?;
        until(operator, "gantry_definitions", &[("state", "newer")], |n| {
            n == 1.0
        })
        .await?;
        let skipped = [crds, ("outcome", "skipped")];
        until(operator, "gantry_objects_total", &skipped, |n| n >= 3.0).await?;

        // Somebody changes an object; a package wants another's; registries go away or ask for patience.
        let spec = json!({"spec": {"names": {"shortNames": ["mine"]}}});
        world
            .patch("CustomResourceDefinition", "thing0s.good.example.org", spec)
            .await?;
        until(operator, "gantry_repairs_total", &[crds], |n| n == 1.0).await?;
        let thief = PackageFixture::provider("thief").crds("good.example.org", 1);
        let thief = world.push("thief", "v1", &thief.build()?).await?;
        create(&world, "thief", &thief).await?;
        is(&world, "thief", "Stalled", "True").await?;
        registry.push("away", "v1", &fixture("away").build()?);
        create(&world, "away", &registry.reference("away", "v1")).await?;
        is(&world, "away", "Ready", "True").await?;
        let age = [provider, ("name", "away")];
        let name = "gantry_package_last_check_timestamp_seconds";
        let first = until(operator, name, &age, |_| true).await?;
        until(operator, name, &age, |at| at > first)
            .await
            .context("it is asked again")?;
        let patience = Fault::retry_after(429, "1");
        registry.faults().add(Rule::new(Match::any(), patience));
        is(&world, "away", "UpToDate", "Unknown").await?;
        let stale = until(operator, name, &age, |_| true).await?;
        assert!(stale >= first, "the last success is remembered");
        let host = registry.host();
        until(
            operator,
            "gantry_registry_throttled_total",
            &[("host", &host)],
            |n| n > 0.0,
        )
        .await?;
        // The operator may not write events any more.
        let args = ["delete", "rolebinding", "gantry-operator", "-n", "default"];
        world.plane().kubectl(&args).await?;
        let gone = TestRegistry::start().await?;
        gone.stop();
        create(&world, "gone", &gone.reference("gone", "v1")).await?;
        is(&world, "gone", "UpToDate", "Unknown").await?;
        let forbidden = [
            ("kind", "Event"),
            ("operation", "create"),
            ("outcome", "Forbidden"),
        ];
        // The API server learns of rights with a delay.
        for n in 0.. {
            let (samples, _) = scrape(operator).await?;
            if value(&samples, "gantry_writes_total", &forbidden).is_some() {
                break;
            }
            ensure!(n < 60, "events are still written: {}", operator.log_tail());
            create(&world, &format!("passing-{n}"), &gone.reference("passing", "v1")).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.delete("Provider", &format!("passing-{n}")).await?;
        }
        world.plane().restart_api_server().await?;
        let (provider_kind, errors) = (("kind", "Provider"), "gantry_watch_errors_total");
        until(operator, errors, &[provider_kind], |n| n > 0.0).await?;
        let rival = Renewing::start(&world, "crossplane-system", "crossplane-leader-election-core").await?;
        until(operator, "gantry_writes_suspended", &[], |n| n == 1.0).await?;

        let (samples, types) = scrape(operator).await?;
        drop(rival);
        the_docs_list(&types)?;
        all_that_is_read_exists(&samples)?;
        let (a, b, c, d) = (
            [provider, ("name", "thief")],
            [provider, ("name", "gone")],
            [provider, ("name", "away")],
            [provider, ("name", "good")],
        );
        let firing: [Firing<'_>; 10] = [
            ("GantryWritesSuspended", &[]),
            ("GantryPackageStalled", &a),
            ("GantryPackageNotReady", &b),
            ("GantryChecksStale", &b),
            ("GantryChecksStale", &c),
            ("GantryChecksStale", &d),
            ("GantryChecksStale", &a),
            ("GantryWritesForbidden", &forbidden[..2]),
            ("GantryStoreNotKept", &[]),
            ("GantryCrdsNewer", &[]),
        ];
        judge(&over_time(&samples, &types, true), LATE, &named, &firing).context("it is in trouble")
    })
}
