//! `gantry list`.

use api::condition::{ConditionType, Conditions, Status};
use api::pkg::{Package, PackageKind};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::change::named;
use crate::clock;
use crate::cluster::Connection;
use crate::explain;
use crate::output::{Output, Shape};
use crate::remote::runtime;
use crate::subject::Kind;
use crate::table::Table;

/// List packages.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// provider, configuration or function; without it all.
    #[arg(value_name = "KIND")]
    kind: Option<Kind>,
    /// Form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Shape,
    #[command(flatten)]
    connection: Connection,
}

/// One package.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    kind: &'static str,
    name: String,
    package: String,
    version: Option<String>,
    installed: &'static str,
    healthy: &'static str,
    ready: &'static str,
    /// The revision that the package asks for.
    revision: Option<String>,
    serving_revision: Option<String>,
    digest: Option<String>,
    created: Option<Timestamp>,
}

impl Row {
    fn new(kind: PackageKind, package: &Package) -> Self {
        let status = package.status.clone().unwrap_or_default();
        let says = |type_| match status.conditions.get(type_) {
            Some(condition) => condition.status().as_str(),
            None => "",
        };
        // The reference writes no Ready.
        let ready = match (says(ConditionType::Ready), explain::is_ready(package)) {
            ("", true) | ("True", true) => Status::True.as_str(),
            ("", false) if status.conditions.is_empty() => "",
            ("Unknown", _) => Status::Unknown.as_str(),
            _ => Status::False.as_str(),
        };
        Self {
            kind: kind.kind(),
            name: package.metadata.name.clone().unwrap_or_default(),
            package: package.spec.package.clone(),
            version: explain::version(&package.spec.package),
            installed: says(ConditionType::Installed),
            healthy: says(ConditionType::Healthy),
            ready,
            revision: status.current_revision,
            serving_revision: status.serving_revision,
            digest: status.resolved_digest,
            created: package.metadata.creation_timestamp.as_ref().map(|t| t.0),
        }
    }
}

impl List {
    pub(crate) fn run(&self, output: &mut Output<'_>) -> anyhow::Result<()> {
        let (kinds, name) = kinds(self.kind.as_ref());
        let rows: anyhow::Result<Vec<Row>> = runtime()?.block_on(async {
            let cluster = self.connection.open().await?;
            let mut rows = vec![];
            for kind in kinds {
                let found = match &name {
                    Some(name) => vec![cluster.package(kind, name).await?],
                    None => cluster.packages(kind).await?,
                };
                rows.extend(found.iter().map(|package| Row::new(kind, package)));
            }
            Ok(rows)
        });
        let rows = rows?;
        if rows.is_empty() && matches!(self.output, Shape::Text | Shape::Wide) {
            output.aside("no packages\n");
            return Ok(());
        }
        let names = |rows: &Vec<Row>| rows.iter().map(|row| named(row.kind, &row.name)).collect();
        output.show(self.output, &rows, names, |rows, wide| {
            text(rows, wide, Timestamp::now())
        })
    }
}

/// The kinds, and the name if the word has one.
pub(crate) fn kinds(kind: Option<&Kind>) -> (Vec<PackageKind>, Option<String>) {
    match kind {
        Some(kind) => (vec![kind.kind], kind.name.clone()),
        None => (PackageKind::ALL.to_vec(), None),
    }
}

fn text(rows: &[Row], wide: bool, now: Timestamp) -> String {
    let head = ["KIND", "NAME", "VERSION", "INSTALLED", "HEALTHY", "READY", "AGE"];
    let more = ["REVISION", "DIGEST", "PACKAGE"];
    let all: Vec<&str> = head
        .into_iter()
        .chain(more.into_iter().filter(|_| wide))
        .collect();
    let mut table = Table::new(&all);
    for row in rows {
        let age = row.created.map(|at| clock::age(now, at)).unwrap_or_default();
        let mut cells = vec![
            row.kind.to_owned(),
            row.name.clone(),
            row.version.clone().unwrap_or_default(),
            row.installed.to_owned(),
            row.healthy.to_owned(),
            row.ready.to_owned(),
            age,
        ];
        if wide {
            cells.push(row.revision.clone().unwrap_or_default());
            cells.push(row.digest.clone().unwrap_or_default());
            cells.push(row.package.clone());
        }
        table.row(cells);
    }
    table.to_string()
}
