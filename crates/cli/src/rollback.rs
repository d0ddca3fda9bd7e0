//! `gantry rollback`.

use anyhow::anyhow;
use api::pkg::{ActivationPolicy, Package, Revision, View};
use clap::Args;
use kit::resource::Target;
use serde_json::json;

use crate::change::{Done, Way, set_reference, warn_of_pause};
use crate::cluster::{Connection, FIELD_MANAGER, revision_target};
use crate::explain::{called, serving};
use crate::output::Output;
use crate::remote::runtime;
use crate::subject::Subject;
use crate::surroundings::Surroundings;
use crate::wait::{Goal, WaitArgs, until_ready};

/// Go back to a revision that is kept. The registry is not needed.
///
/// Sets spec.package to the revision's digest; with activation by hand (Manual) it activates the revision
/// instead. Without --to: if what the package asks for does not serve, because it is refused or not ready
/// yet, back to what serves; else back to the revision that served before.
#[derive(Args, Debug)]
pub(crate) struct Rollback {
    #[command(flatten)]
    subject: Subject,
    /// Number of the revision, as gantry history shows it.
    #[arg(long, value_name = "N")]
    to: Option<i64>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    connection: Connection,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// It is so already.
    Nothing,
    /// Make the package ask for this.
    Ask {
        reference: String,
        /// The digest is not known, so that the tag decides, which may have moved.
        unpinned: bool,
    },
    /// Activate the revision.
    Activate,
}

/// The revision to go back to.
fn choose<'a>(package: &'a Package, revisions: &'a [Revision], to: Option<i64>) -> Result<View<'a>, String> {
    let living = || revisions.iter().map(View).filter(|r| !r.is_deleting());
    if let Some(number) = to {
        let kept: Vec<String> = living().map(|r| r.number().to_string()).collect();
        let found = living().find(|r| r.number() == number);
        return found.ok_or_else(|| match kept.len() {
            0 => "it has no revisions".to_owned(),
            _ => format!("it has no revision {number}; kept are {}", kept.join(", ")),
        });
    }
    let now = serving(package, revisions);
    let wanted = package
        .status
        .as_ref()
        .and_then(|s| s.current_revision.as_deref());
    if let (Some(now), Some(wanted)) = (now, wanted)
        && now.name() != wanted
        && package.spec.activation() == ActivationPolicy::Automatic
    {
        return Ok(now);
    }
    let before = living()
        .filter(|r| {
            r.has_served() && now.is_none_or(|now| r.number() < now.number() && r.name() != now.name())
        })
        .max_by_key(|r| r.number());
    before.ok_or_else(|| {
        "no earlier revision that has served is kept (spec.revisionHistoryLimit says how many are)".to_owned()
    })
}

fn plan(package: &Package, revisions: &[Revision], back: View<'_>) -> Result<Plan, String> {
    let serves = serving(package, revisions).is_some_and(|now| now.name() == back.name());
    if package.spec.activation() == ActivationPolicy::Manual {
        return Ok(if back.is_active() && serves {
            Plan::Nothing
        } else {
            Plan::Activate
        });
    }
    let image = &back.0.spec.image;
    let Some(digest) = back.digest() else {
        return match *image == package.spec.package {
            true if serves => Ok(Plan::Nothing),
            true => Err(format!(
                "{} has no recorded digest, and its tag is what the package asks for already: set \
                 spec.package to a digest",
                called(back)
            )),
            false => Ok(Plan::Ask {
                reference: image.clone(),
                unpinned: true,
            }),
        };
    };
    let wanted = package
        .status
        .as_ref()
        .and_then(|s| s.current_revision.as_deref());
    if serves && wanted == Some(back.name()) {
        return Ok(Plan::Nothing);
    }
    let reference = oci::Reference::parse(image)
        .map_err(|error| format!("the image of {} can't be read: {error}", called(back)))?;
    Ok(Plan::Ask {
        reference: reference.with_digest(&digest).to_string(),
        unpinned: false,
    })
}

impl Rollback {
    pub(crate) fn run(&self, surroundings: &Surroundings, output: &mut Output<'_>) -> anyhow::Result<()> {
        let (kind, name) = self.subject.resolve()?;
        let dry_run = self.way.dry_run;
        runtime()?.block_on(async {
            let cluster = self.connection.open().await?;
            let package = cluster.package(kind, &name).await?;
            let revisions = cluster.revisions(kind, Some(&name)).await?;
            let cannot = |why: String| anyhow!("{kind} {name} can't be rolled back: {why}");
            let back = choose(&package, &revisions, self.to).map_err(cannot)?;
            let plan = plan(&package, &revisions, back).map_err(cannot)?;
            match &plan {
                Plan::Nothing => {}
                Plan::Ask { reference, unpinned } => {
                    if *unpinned {
                        output.warn(&format!(
                            "the digest of {} is not recorded: its tag decides, which may have moved",
                            called(back)
                        ));
                    }
                    set_reference(&cluster, kind, &package, reference, dry_run, output).await?;
                }
                Plan::Activate => {
                    warn_of_pause(kind, &package, output);
                    let target: Target = revision_target(kind, back.name());
                    let patch = json!({
                        "metadata": { "uid": back.0.metadata.uid }, "spec": { "desiredState": "Active" },
                    });
                    cluster
                        .writer(dry_run)
                        .merge_patch(FIELD_MANAGER, &target, patch)
                        .await?;
                }
            }
            let done = Done {
                kind: kind.kind(),
                name: name.clone(),
                action: match plan {
                    Plan::Nothing => "unchanged",
                    _ => "rolled back",
                },
                package: match &plan {
                    Plan::Ask { reference, .. } => Some(reference.clone()),
                    _ => None,
                },
                revision: Some(called(back)),
                dry_run,
            };
            done.tell(self.way.output, output)?;
            let goal = match plan {
                Plan::Activate => Goal::Serving(back.name().to_owned()),
                _ => Goal::Ready,
            };
            match self.wait.wait {
                Some(limit) if !dry_run => {
                    until_ready(&cluster, (kind, &name), &goal, limit, surroundings, output).await
                }
                _ => Ok(()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const DIGESTS: [&str; 3] = ["aa", "bb", "cc"];

    fn digest(n: usize) -> String {
        format!("sha256:{}", DIGESTS[n].repeat(32))
    }

    /// Revision `n` (from 0) with number, state and annotations.
    fn revision(n: usize, number: i64, state: &str, annotations: Value) -> Revision {
        serde_json::from_value(json!({
            "metadata": { "name": format!("x-{n}"), "uid": format!("u{n}"), "annotations": annotations },
            "spec": {
                "desiredState": state, "image": format!("r.example.org:5000/a/x:v{n}"), "revision": number,
            },
            "status": { "objectRefs": [{ "apiVersion": "v1", "kind": "K", "name": "o" }] },
        }))
        .unwrap()
    }

    fn served(n: usize, number: i64, state: &str) -> Revision {
        let annotations = json!({ "gantry.dev/digest": digest(n), "gantry.dev/served": "true" });
        revision(n, number, state, annotations)
    }

    fn candidate(n: usize, number: i64) -> Revision {
        revision(n, number, "Inactive", json!({ "gantry.dev/digest": digest(n) }))
    }

    fn package(asks: &str, serving: Option<usize>, wanted: usize, policy: &str) -> Package {
        serde_json::from_value(json!({
            "metadata": { "name": "x" },
            "spec": { "package": asks, "revisionActivationPolicy": policy },
            "status": {
                "currentRevision": format!("x-{wanted}"), "servingRevision": serving.map(|n| format!("x-{n}")),
            },
        }))
        .unwrap()
    }

    fn decide(package: &Package, revisions: &[Revision], to: Option<i64>) -> Result<(String, Plan), String> {
        let back = choose(package, revisions, to)?;
        Ok((back.name().to_owned(), plan(package, revisions, back)?))
    }

    fn pin(n: usize) -> Plan {
        let reference = format!("r.example.org:5000/a/x@{}", digest(n));
        Plan::Ask {
            reference,
            unpinned: false,
        }
    }

    #[test]
    fn back_is_the_one_that_served_before() {
        let revisions = [
            served(0, 1, "Inactive"),
            served(1, 2, "Inactive"),
            served(2, 3, "Active"),
        ];
        let automatic = package("r.example.org:5000/a/x:v2", Some(2), 2, "Automatic");
        assert_eq!(
            decide(&automatic, &revisions, None).unwrap(),
            ("x-1".into(), pin(1))
        );
        assert_eq!(
            decide(&automatic, &revisions, Some(1)).unwrap(),
            ("x-0".into(), pin(0))
        );
        assert_eq!(decide(&automatic, &revisions, Some(3)).unwrap().1, Plan::Nothing);
        let none = decide(&automatic, &revisions, Some(7)).unwrap_err();
        assert_eq!(none, "it has no revision 7; kept are 1, 2, 3");
        let only = [served(2, 3, "Active")];
        assert!(
            decide(&automatic, &only, None)
                .unwrap_err()
                .contains("no earlier revision")
        );
        assert_eq!(
            decide(&automatic, &[], Some(1)).unwrap_err(),
            "it has no revisions"
        );
    }

    #[test]
    fn a_candidate_that_does_not_serve_is_given_up_first() {
        let revisions = [served(0, 1, "Inactive"), served(1, 2, "Active"), candidate(2, 3)];
        let refused = package("r.example.org:5000/a/x:v2", Some(1), 2, "Automatic");
        assert_eq!(
            decide(&refused, &revisions, None).unwrap(),
            ("x-1".into(), pin(1))
        );
        // And one that never served is nothing to go back to.
        let fine = package("r.example.org:5000/a/x:v1", Some(1), 1, "Automatic");
        let revisions = [candidate(0, 1), served(1, 2, "Active")];
        assert!(decide(&fine, &revisions, None).is_err());
    }

    #[test]
    fn by_hand_the_revision_is_activated() {
        let revisions = [served(0, 1, "Inactive"), served(1, 2, "Active"), candidate(2, 3)];
        let manual = package("r.example.org:5000/a/x:v2", Some(1), 2, "Manual");
        assert_eq!(
            decide(&manual, &revisions, None).unwrap(),
            ("x-0".into(), Plan::Activate)
        );
        assert_eq!(
            decide(&manual, &revisions, Some(3)).unwrap(),
            ("x-2".into(), Plan::Activate)
        );
        assert_eq!(
            decide(&manual, &revisions, Some(2)).unwrap(),
            ("x-1".into(), Plan::Nothing)
        );
    }

    #[test]
    fn without_a_digest_the_tag_has_to_do() {
        let theirs = [
            revision(0, 1, "Inactive", json!({})),
            revision(1, 2, "Active", json!({})),
        ];
        // Made by the reference: nothing says which revision serves, but the active one does.
        let asks = package("r.example.org:5000/a/x:v1", None, 1, "Automatic");
        let unpinned = Plan::Ask {
            reference: "r.example.org:5000/a/x:v0".into(),
            unpinned: true,
        };
        assert_eq!(decide(&asks, &theirs, None).unwrap(), ("x-0".into(), unpinned));
        assert_eq!(decide(&asks, &theirs, Some(2)).unwrap().1, Plan::Nothing);
        let moved = package("r.example.org:5000/a/x:v0", None, 1, "Automatic");
        assert!(
            decide(&moved, &theirs, Some(1))
                .unwrap_err()
                .contains("no recorded digest")
        );
    }
}
