//! `gantry status`.

use std::fmt::Write as _;

use api::pkg::{Package, PackageKind, Revision, View};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::change::named;
use crate::clock;
use crate::cluster::{Cluster, Connection};
use crate::ending::Ending;
use crate::explain::{self, Event, Explanation, Facts, Finding, Operator, State, Weight, explain};
use crate::limits::MAX_EXPLAINED;
use crate::list::kinds;
use crate::output::{Output, Shape};
use crate::remote::runtime;
use crate::subject::{Kind, the_name};
use crate::surroundings::Surroundings;
use crate::table::Table;

/// Say how packages are: what is wrong, since when, why, and what to do.
#[derive(Args, Debug)]
pub(crate) struct Status {
    /// provider, configuration or function; the name may follow after a slash. Without it all packages.
    #[arg(value_name = "KIND")]
    kind: Option<Kind>,
    /// Name of one package.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Shape,
    #[command(flatten)]
    connection: Connection,
}

/// One package, explained.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    kind: &'static str,
    name: String,
    state: State,
    ready: bool,
    /// What the package asks for.
    package: String,
    activation: &'static str,
    pull_policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    serves: Option<RevisionLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted: Option<RevisionLine>,
    findings: Vec<Finding>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<EventLine>,
    #[serde(skip)]
    explanation: Explanation,
}

#[derive(Debug, PartialEq, Serialize)]
struct RevisionLine {
    name: String,
    number: i64,
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

#[derive(Debug, Serialize)]
struct EventLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Timestamp>,
    warning: bool,
    reason: String,
    message: String,
}

impl RevisionLine {
    fn new(view: View<'_>) -> Self {
        Self {
            name: view.name().to_owned(),
            number: view.number(),
            image: view.0.spec.image.clone(),
            digest: view.digest().map(|d| d.to_string()),
        }
    }
}

impl Report {
    fn new(facts: &Facts, events: Vec<Event>) -> Self {
        let explanation = explain(facts);
        let spec = &facts.package.spec;
        Self {
            kind: facts.kind.kind(),
            name: facts.name().to_owned(),
            state: explanation.state,
            ready: explanation.ready,
            package: spec.package.clone(),
            activation: match spec.activation() {
                api::pkg::ActivationPolicy::Automatic => "Automatic",
                api::pkg::ActivationPolicy::Manual => "Manual",
            },
            pull_policy: spec
                .package_pull_policy
                .clone()
                .unwrap_or_else(|| "IfNotPresent".to_owned()),
            serves: facts.serving().map(RevisionLine::new),
            wanted: facts.wanted().map(RevisionLine::new),
            findings: explanation.findings.clone(),
            events: events
                .into_iter()
                .map(|event| EventLine {
                    last: event.last,
                    warning: event.warning,
                    reason: event.reason,
                    message: event.message,
                })
                .collect(),
            explanation,
        }
    }
}

impl Status {
    pub(crate) fn run(&self, surroundings: &Surroundings, output: &mut Output<'_>) -> anyhow::Result<()> {
        let name = match &self.kind {
            Some(kind) => the_name(kind, self.name.as_deref())?,
            None => None,
        };
        runtime()?.block_on(async {
            let cluster = self.connection.open().await?;
            match (&self.kind, name) {
                (Some(kind), Some(name)) => self.one(&cluster, kind.kind, &name, surroundings, output).await,
                (kind, _) => {
                    self.all(&cluster, kinds(kind.as_ref()).0, surroundings, output)
                        .await
                }
            }
        })
    }

    async fn one(
        &self,
        cluster: &Cluster,
        kind: PackageKind,
        name: &str,
        surroundings: &Surroundings,
        output: &mut Output<'_>,
    ) -> anyhow::Result<()> {
        let package = cluster.package(kind, name).await?;
        let uid = package.metadata.uid.clone().unwrap_or_default();
        let facts = cluster.facts(kind, package).await?;
        let mut events = cluster.events(&uid).await;
        if let Some(uid) = facts.wanted().and_then(|wanted| wanted.0.metadata.uid.as_deref()) {
            events.extend(cluster.events(uid).await);
            events.sort_by_key(|event| event.last);
        }
        let report = Report::new(&facts, events);
        let (ready, operator) = (report.ready, &facts.operator);
        let names = |report: &Report| vec![named(report.kind, &report.name)];
        let colour = surroundings.colour();
        output.show(self.output, &report, names, |report, wide| {
            detail(report, operator, wide, Timestamp::now(), colour)
        })?;
        verdict(ready)
    }

    async fn all(
        &self,
        cluster: &Cluster,
        kinds: Vec<PackageKind>,
        surroundings: &Surroundings,
        output: &mut Output<'_>,
    ) -> anyhow::Result<()> {
        let management = cluster.management().await;
        let mut reports = vec![];
        for kind in kinds {
            let packages = cluster.packages(kind).await?;
            if packages.is_empty() {
                continue;
            }
            let revisions = cluster
                .revisions(kind, None)
                .await
                .map_err(|error| format!("{error:#}"));
            for package in packages {
                let facts = Facts {
                    kind,
                    revisions: revisions
                        .as_ref()
                        .map(|all| of(&package, all))
                        .map_err(Clone::clone),
                    package,
                    operator: management.operator.clone(),
                    reference: management.reference.clone(),
                };
                reports.push(Report::new(&facts, vec![]));
            }
        }
        if reports.is_empty() && matches!(self.output, Shape::Text | Shape::Wide) {
            output.aside("no packages\n");
            return Ok(());
        }
        let ready = reports.iter().all(|report| report.ready);
        let names = |reports: &Vec<Report>| reports.iter().map(|r| named(r.kind, &r.name)).collect();
        let colour = surroundings.colour();
        output.show(self.output, &reports, names, |reports, wide| {
            overview(reports, wide, Timestamp::now(), colour)
        })?;
        verdict(ready)
    }
}

/// The exit status says whether all is ready; what is said stands there already.
fn verdict(ready: bool) -> anyhow::Result<()> {
    if ready { Ok(()) } else { Err(Ending::not_ready("")) }
}

/// The revisions of this package among all of its kind.
fn of(package: &Package, revisions: &[Revision]) -> Vec<Revision> {
    let name = package.metadata.name.as_deref();
    let mine = revisions
        .iter()
        .filter(|revision| revision.package_name() == name);
    mine.cloned().collect()
}

/// A state's words, in colour where that is wanted.
fn painted(state: State, colour: bool) -> String {
    let code = match state {
        State::Ready => "32",
        State::UpdateAvailable | State::Waiting | State::Paused => "33",
        State::Working => "36",
        State::NotReady | State::Deleting => "31",
    };
    match colour {
        true => format!("\x1b[{code}m{}\x1b[0m", state.words()),
        false => state.words().to_owned(),
    }
}

/// Findings as sentences, each with since, why and what to do.
pub(crate) fn sentences(explanation: &Explanation, now: Timestamp, indent: bool) -> String {
    let mut text = String::new();
    let margin = if indent { "  " } else { "" };
    for finding in &explanation.findings {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{margin}{}", finding.what);
        for (word, said) in [
            ("since", finding.since.map(|at| clock::both(now, at))),
            ("why", finding.why.clone()),
            ("do", finding.next.clone()),
        ] {
            if let Some(said) = said {
                let _ = writeln!(text, "{margin}  {word:<6} {}", said.replace('\n', " "));
            }
        }
    }
    text
}

/// One package with everything.
fn detail(report: &Report, operator: &Operator, wide: bool, now: Timestamp, colour: bool) -> String {
    let mut text = format!(
        "{} {}: {}\n",
        report.kind,
        report.name,
        painted(report.state, colour)
    );
    let mut line = |word: &str, said: &str| {
        let _ = writeln!(text, "  {word:<9} {said}");
    };
    line(
        "asks for",
        &format!(
            "{} ({}, {})",
            report.package, report.activation, report.pull_policy
        ),
    );
    let shown = |revision: &RevisionLine| {
        let digest = revision.digest.as_deref().unwrap_or("digest not recorded");
        let digest = if wide {
            digest.to_owned()
        } else {
            digest.chars().take(19).collect()
        };
        format!("revision {}, {}, {digest}", revision.number, revision.name)
    };
    if let Some(serves) = &report.serves {
        line("serves", &shown(serves));
    }
    if let Some(wanted) = report
        .wanted
        .as_ref()
        .filter(|wanted| Some(*wanted) != report.serves.as_ref())
    {
        line("wanted", &shown(wanted));
    }
    if let Operator::Leads { lease, holder } = operator {
        line("operator", &format!("{holder} (Lease {lease})"));
    }
    if !report.findings.is_empty() {
        text.push('\n');
        text.push_str(&sentences(&report.explanation, now, false));
    }
    if !report.events.is_empty() {
        text.push_str("\nEvents\n");
        for event in &report.events {
            let ago = event.last.map(|at| clock::ago(now, at)).unwrap_or_default();
            let mark = if event.warning { "Warning " } else { "" };
            let _ = writeln!(
                text,
                "  {ago:<12} {mark}{}: {}",
                event.reason,
                event.message.replace('\n', " ")
            );
        }
    }
    text
}

/// A line for each package, then sentences for those that somebody should look at.
fn overview(reports: &[Report], wide: bool, now: Timestamp, colour: bool) -> String {
    let head = ["KIND", "NAME", "VERSION", "STATE", "SINCE"];
    let all: Vec<&str> = head
        .into_iter()
        .chain(["PACKAGE"].into_iter().filter(|_| wide))
        .collect();
    let mut table = Table::new(&all);
    for report in reports {
        let since = report.explanation.since().map(|at| clock::age(now, at));
        let mut cells = vec![
            report.kind.to_owned(),
            report.name.clone(),
            explain::version(&report.package).unwrap_or_default(),
            report.state.words().to_owned(),
            since.unwrap_or_default(),
        ];
        if wide {
            cells.push(report.package.clone());
        }
        table.row(cells);
    }
    let mut text = table.to_string();
    // What is so for all is said once.
    let common: Vec<&Finding> = match reports {
        [first, rest @ ..] if !rest.is_empty() => {
            let everywhere = |finding: &&Finding| rest.iter().all(|report| report.findings.contains(finding));
            first.findings.iter().filter(everywhere).collect()
        }
        _ => vec![],
    };
    let part = |findings: Vec<&Finding>| Explanation {
        state: State::NotReady,
        ready: false,
        findings: findings
            .into_iter()
            .filter(|f| f.weight != Weight::Note)
            .cloned()
            .collect(),
    };
    let shared = part(common.clone());
    if !shared.findings.is_empty() {
        text.push('\n');
        text.push_str(&sentences(&shared, now, false));
    }
    let mut unsaid = 0;
    let mut said = 0;
    for report in reports.iter().filter(|report| !report.explanation.is_fine()) {
        let own = part(report.findings.iter().filter(|f| !common.contains(f)).collect());
        if own.findings.is_empty() {
            continue;
        }
        if said == MAX_EXPLAINED {
            unsaid += 1;
            continue;
        }
        said += 1;
        let _ = write!(
            text,
            "\n{} {}: {}\n{}",
            report.kind,
            report.name,
            painted(report.state, colour),
            sentences(&own, now, true)
        );
    }
    if unsaid > 0 {
        let _ = writeln!(
            text,
            "\n… and {unsaid} more; gantry status KIND NAME explains one of them"
        );
    }
    text
}
