//! `gantry uninstall`.

use std::fmt::Write as _;

use anyhow::{anyhow, bail};
use api::pkg::{Package, PackageKind};
use clap::Args;
use kit::read;
use kit::write::{Preconditions, Propagation, WriteError};

use crate::change::{Done, Way};
use crate::cluster::{
    CRDS, Cluster, Connection, Doomed, owner_of_reference, package_target, revision_target,
};
use crate::ending::Ending;
use crate::limits::{MAX_NAMED_KINDS, WAIT};
use crate::output::{Output, Shape};
use crate::remote::runtime;
use crate::subject::Subject;
use crate::surroundings::Surroundings;
use crate::table::Table;
use crate::wait::{Progress, WaitArgs, look_until};

/// Delete a package, and with it its CRDs and their custom resources.
///
/// Says what goes, and asks if custom resources are among it.
#[derive(Args, Debug)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    subject: Subject,
    /// Don't ask: the custom resources shall be deleted.
    #[arg(short, long)]
    yes: bool,
    /// Leave everything that the package installed where it is: CRDs, custom resources and all other objects.
    #[arg(long)]
    keep_objects: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    connection: Connection,
}

impl Uninstall {
    pub(crate) fn run(&self, surroundings: &Surroundings, output: &mut Output<'_>) -> anyhow::Result<()> {
        let (kind, name) = self.subject.resolve()?;
        runtime()?.block_on(async {
            let cluster = self.connection.open().await?;
            let package = cluster.package(kind, &name).await?;
            let doomed = cluster.doomed(kind, &package).await?;
            if let Some(owner) = owner_of_reference(&package) {
                output.warn(&format!(
                    "{kind} {name} is kept by {owner}, which may make it again: remove it \
                 there"
                ));
            }
            if !self.keep_objects {
                self.consent(kind, &name, &doomed, surroundings, output)?;
            }
            let writer = cluster.writer(self.way.dry_run);
            let uid = package.metadata.uid.clone().unwrap_or_default();
            let how = match self.keep_objects {
                true => Propagation::Orphan,
                false => Propagation::Background,
            };
            writer
                .delete(&package_target(kind, &name), &Preconditions::same(uid), how)
                .await?;
            if self.keep_objects && !self.way.dry_run {
                self.release(&cluster, kind, &package, &doomed).await?;
            }
            let done = Done {
                kind: kind.kind(),
                name: name.clone(),
                action: if self.keep_objects {
                    "deleted, its objects are kept"
                } else {
                    "deleted"
                },
                package: None,
                revision: None,
                dry_run: self.way.dry_run,
            };
            done.tell(self.way.output, output)?;
            match self.wait.wait {
                Some(limit) if !self.way.dry_run => {
                    let mut progress = Progress::new(surroundings, output);
                    let gone = look_until(limit, async || {
                        let left = left(&cluster, kind, &package, &doomed, self.keep_objects).await?;
                        if let Some(left) = &left {
                            progress.say(&format!("{kind} {name}: {left}"));
                        }
                        Ok(left.is_none().then_some(()))
                    })
                    .await;
                    progress.end();
                    gone?.ok_or_else(|| {
                        Ending::not_ready(format!(
                            "{kind} {name} is not gone within {} s; finalizers of its custom resources may \
                             hold it",
                            limit.as_secs()
                        ))
                    })
                }
                _ => Ok(()),
            }
        })
    }

    /// Says what goes, and has it confirmed if it can't be had back.
    fn consent(
        &self,
        kind: PackageKind,
        name: &str,
        doomed: &Doomed,
        surroundings: &Surroundings,
        output: &mut Output<'_>,
    ) -> anyhow::Result<()> {
        let text = told(kind, name, doomed);
        match (self.way.dry_run, self.way.output) {
            (true, shape @ (Shape::Json | Shape::Yaml)) => {
                output.show(shape, doomed, |_| vec![], |_, _| String::new())?;
            }
            _ => output.aside(&text),
        }
        if self.yes || self.way.dry_run || doomed.resources() == Some(0) {
            return Ok(());
        }
        let lost = match doomed.resources() {
            Some(1) => "1 custom resource".to_owned(),
            Some(n) => format!("{n} custom resources"),
            None => "custom resources that can't be counted".to_owned(),
        };
        if !surroundings.is_attended() {
            bail!(
                "{kind} {name} is not deleted: {lost} would go with it; say --yes if that is meant, or \
                 --keep-objects \
                 to leave CRDs and custom resources where they are"
            );
        }
        output.aside(&format!(
            "Delete {kind} {name} and {lost}? Write its name to confirm: "
        ));
        match surroundings.answer() {
            Some(answer) if answer.trim() == name => Ok(()),
            _ => Err(anyhow!("{kind} {name} is not deleted: that was not its name")),
        }
    }

    /// Takes the owners off what the package's revisions own, by deleting these the same way
    /// (docs/uninstall.md).
    async fn release(
        &self,
        cluster: &Cluster,
        kind: PackageKind,
        package: &Package,
        doomed: &Doomed,
    ) -> anyhow::Result<()> {
        let name = package.metadata.name.as_deref().unwrap_or_default();
        let limit = self.wait.wait.unwrap_or(WAIT);
        let gone = look_until(limit, async || {
            Ok(cluster.find(kind, name).await?.is_none().then_some(()))
        })
        .await?;
        if gone.is_none() {
            return Err(Ending::not_ready(format!(
                "{kind} {name} is being deleted, but not gone within {} s; then delete its revisions with \
                 kubectl delete {} -l {}={name} --cascade=orphan",
                limit.as_secs(),
                kind.revision_kind().to_lowercase(),
                api::label::PACKAGE
            )));
        }
        let writer = cluster.writer(false);
        for revision in &doomed.revisions {
            let target = revision_target(kind, revision);
            match writer
                .delete(&target, &Preconditions::default(), Propagation::Orphan)
                .await
            {
                Ok(()) | Err(WriteError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// What goes, in sentences.
fn told(kind: PackageKind, name: &str, doomed: &Doomed) -> String {
    let mut text = format!("With {kind} {name} goes:");
    let mut parts = vec![];
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    if !doomed.crds.is_empty() {
        let resources = match doomed.resources() {
            Some(1) => "1 custom resource".to_owned(),
            Some(n) => format!("{n} custom resources"),
            None => "an unknown number of custom resources".to_owned(),
        };
        parts.push(format!("{} with {resources}", count(doomed.crds.len(), "CRD")));
    }
    parts.extend(doomed.others.iter().map(|(kind, n)| count(*n, kind)));
    parts.push(count(doomed.revisions.len(), "revision"));
    // Writing to a String can't fail.
    let _ = writeln!(text, " {}.", parts.join(", "));
    let mut used: Vec<_> = doomed
        .crds
        .iter()
        .filter(|loss| loss.resources != Some(0))
        .collect();
    used.sort_by_key(|loss| std::cmp::Reverse(loss.resources.unwrap_or(u64::MAX)));
    if used.is_empty() {
        return text;
    }
    let mut table = Table::new(&["CRD", "CUSTOM RESOURCES"]);
    for loss in used.iter().take(MAX_NAMED_KINDS) {
        let resources = loss
            .resources
            .map_or_else(|| "unknown".to_owned(), |n| n.to_string());
        table.row([loss.crd.clone(), resources]);
    }
    text.push_str(&table.to_string());
    if used.len() > MAX_NAMED_KINDS {
        let _ = writeln!(text, "… and {} more CRDs in use", used.len() - MAX_NAMED_KINDS);
    }
    text
}

/// What is still there; nothing when all is gone.
async fn left(
    cluster: &Cluster,
    kind: PackageKind,
    package: &Package,
    doomed: &Doomed,
    keep: bool,
) -> anyhow::Result<Option<String>> {
    let name = package.metadata.name.as_deref().unwrap_or_default();
    let same = cluster
        .find(kind, name)
        .await?
        .is_some_and(|now| now.metadata.uid == package.metadata.uid);
    if same {
        return Ok(Some("waiting until it is gone".to_owned()));
    }
    let revisions = cluster.revisions(kind, Some(name)).await?;
    let revisions = revisions
        .iter()
        .filter(|r| {
            r.metadata
                .name
                .as_ref()
                .is_some_and(|name| doomed.revisions.contains(name))
        })
        .count();
    if revisions > 0 {
        return Ok(Some(format!("{revisions} revisions left")));
    }
    if keep || doomed.crds.is_empty() {
        return Ok(None);
    }
    let crds = read::list_meta(cluster.client(), &CRDS, None, None)
        .await?
        .unwrap_or_default();
    let crds = doomed
        .crds
        .iter()
        .filter(|loss| crds.contains_key(&loss.crd))
        .count();
    Ok((crds > 0).then(|| format!("{crds} of {} CRDs left", doomed.crds.len())))
}
