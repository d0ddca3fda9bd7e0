//! `gantry update`.

use clap::Args;

use crate::change::{Done, Way, reference, set_reference};
use crate::cluster::Connection;
use crate::ending::Ending;
use crate::output::Output;
use crate::remote::runtime;
use crate::subject::{Kind, the_name};
use crate::surroundings::Surroundings;
use crate::wait::{Goal, WaitArgs, until_ready};

/// Make a package ask for another version: gantry update provider nimbus REF.
#[derive(Args, Debug)]
pub(crate) struct Update {
    /// provider, configuration or function; the name may follow after a slash.
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Name of the package, and what it shall ask for, in either order; without a name the one that install
    /// makes.
    #[arg(value_name = "NAME> <REF", num_args = 1..=2, required = true)]
    words: Vec<String>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    connection: Connection,
}

/// The reference and the name among the words: a reference has a slash, which a name can't have.
fn sort(words: &[String]) -> anyhow::Result<(&str, Option<&str>)> {
    let (references, names): (Vec<&str>, Vec<&str>) = words
        .iter()
        .map(String::as_str)
        .partition(|word| word.contains('/'));
    match (references.as_slice(), names.as_slice()) {
        ([reference], []) => Ok((reference, None)),
        ([reference], [name]) => Ok((reference, Some(name))),
        ([], _) => Err(Ending::usage(
            "which version? write registry, repository and tag: registry.example.org/team/name:v1.1.0",
        )),
        _ => Err(Ending::usage(
            "two references are given; write a name and a reference",
        )),
    }
}

impl Update {
    pub(crate) fn run(&self, surroundings: &Surroundings, output: &mut Output<'_>) -> anyhow::Result<()> {
        let kind = self.kind.kind;
        let (text, name) = sort(&self.words)?;
        let wanted = reference(text)?;
        let name =
            the_name(&self.kind, name)?.unwrap_or_else(|| api::names::to_dns_label(wanted.repository()));
        runtime()?.block_on(async {
            let cluster = self.connection.open().await?;
            let package = cluster.package(kind, &name).await?;
            let same = package.spec.package == text;
            if !same {
                set_reference(&cluster, kind, &package, text, self.way.dry_run, output).await?;
            }
            let done = Done {
                kind: kind.kind(),
                name: name.clone(),
                action: if same { "unchanged" } else { "updated" },
                package: Some(text.to_owned()),
                revision: None,
                dry_run: self.way.dry_run,
            };
            done.tell(self.way.output, output)?;
            match self.wait.wait {
                Some(limit) if !self.way.dry_run => {
                    until_ready(&cluster, (kind, &name), &Goal::Ready, limit, surroundings, output).await
                }
                _ => Ok(()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_reference_are_told_apart() {
        let sorted = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            sort(&words).map(|(reference, name)| format!("{reference} {name:?}"))
        };
        let expected = "r.example.org/a:v1 Some(\"nimbus\")";
        assert_eq!(sorted("nimbus r.example.org/a:v1").unwrap(), expected);
        assert_eq!(sorted("r.example.org/a:v1 nimbus").unwrap(), expected);
        assert_eq!(sorted("r.example.org/a:v1").unwrap(), "r.example.org/a:v1 None");
        for wrong in ["nimbus", "nimbus v2", "a/b:v1 a/b:v2"] {
            let error = sorted(wrong).unwrap_err();
            assert_eq!(
                crate::ending::status(&error),
                (crate::ending::USAGE, true),
                "{wrong}"
            );
        }
    }
}
