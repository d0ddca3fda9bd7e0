//! `gantry history`.

use api::condition::ConditionType;
use api::pkg::{Package, Revision, View};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::change::named;
use crate::clock;
use crate::cluster::Connection;
use crate::explain;
use crate::output::{Output, Shape};
use crate::remote::runtime;
use crate::subject::Subject;
use crate::table::Table;

/// List the revisions of a package that are kept, oldest first.
#[derive(Args, Debug)]
pub(crate) struct History {
    #[command(flatten)]
    subject: Subject,
    /// Form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Shape,
    #[command(flatten)]
    connection: Connection,
}

/// One revision.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    number: i64,
    kind: &'static str,
    name: String,
    digest: Option<String>,
    image: String,
    state: String,
    created: Option<Timestamp>,
    /// It has been the one that serves, at some time.
    served: bool,
    healthy: &'static str,
    /// It serves now.
    serving: bool,
    /// It is the one that the package asks for.
    wanted: bool,
}

fn rows(kind: api::pkg::PackageKind, package: &Package, revisions: &[Revision]) -> Vec<Row> {
    let serving = explain::serving(package, revisions).map(View::name);
    let wanted = package
        .status
        .as_ref()
        .and_then(|s| s.current_revision.as_deref());
    let row = |view: View<'_>| Row {
        number: view.number(),
        kind: kind.revision_kind(),
        name: view.name().to_owned(),
        digest: view.digest().map(|digest| digest.to_string()),
        image: view.0.spec.image.clone(),
        state: view.0.spec.desired_state.clone(),
        created: view.0.metadata.creation_timestamp.as_ref().map(|t| t.0),
        served: view.has_served(),
        healthy: view
            .condition(ConditionType::RevisionHealthy)
            .map_or("", |condition| condition.status().as_str()),
        serving: Some(view.name()) == serving,
        wanted: Some(view.name()) == wanted,
    };
    revisions.iter().map(View).map(row).collect()
}

impl History {
    pub(crate) fn run(&self, output: &mut Output<'_>) -> anyhow::Result<()> {
        let (kind, name) = self.subject.resolve()?;
        let rows: anyhow::Result<Vec<Row>> = runtime()?.block_on(async {
            let cluster = self.connection.open().await?;
            let package = cluster.package(kind, &name).await?;
            let revisions = cluster.revisions(kind, Some(&name)).await?;
            Ok(rows(kind, &package, &revisions))
        });
        let rows = rows?;
        if rows.is_empty() && matches!(self.output, Shape::Text | Shape::Wide) {
            output.aside(&format!("{kind} {name} has no revisions yet\n"));
            return Ok(());
        }
        let names = |rows: &Vec<Row>| rows.iter().map(|row| named(row.kind, &row.name)).collect();
        output.show(self.output, &rows, names, |rows, wide| {
            text(rows, wide, Timestamp::now())
        })
    }
}

fn text(rows: &[Row], wide: bool, now: Timestamp) -> String {
    let created = if wide { "CREATED" } else { "AGE" };
    let head = [
        "REVISION", "NAME", "DIGEST", "IMAGE", "STATE", "SERVED", "HEALTHY", created, "NOW",
    ];
    let mut table = Table::new(&head);
    for row in rows {
        let digest = row.digest.as_deref().unwrap_or_default();
        let digest = match wide {
            true => digest.to_owned(),
            false => explain::short(digest.strip_prefix("sha256:").unwrap_or(digest)),
        };
        let created = row.created.map(|at| match wide {
            true => clock::absolute(at),
            false => clock::age(now, at),
        });
        let mark = match (row.serving, row.wanted) {
            (true, true) => "serves",
            (true, false) => "serves, not wanted",
            (false, true) => "wanted",
            (false, false) => "",
        };
        table.row([
            row.number.to_string(),
            row.name.clone(),
            digest,
            row.image.clone(),
            row.state.clone(),
            if row.served { "yes" } else { "no" }.to_owned(),
            row.healthy.to_owned(),
            created.unwrap_or_default(),
            mark.to_owned(),
        ]);
    }
    table.to_string()
}
