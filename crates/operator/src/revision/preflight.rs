//! Whether a candidate would work here, found out without changing anything (design §3.1.2).

use std::collections::BTreeSet;

use kit::live::Phase;
use kit::read;
use kit::resource::{Resource, Target};

use super::body;
use super::establish::ROUND_PAUSE;
use super::job::{Failure, Job, malformed};
use super::ownership::Claim;
use super::plan::Ending;
use super::survey::named;
use crate::kinds;
use crate::runtime_mode::RuntimeMode;

/// How often one object is checked that somebody else changes meanwhile: with each change that hits one of a thousand
/// objects the check of all would begin anew.
pub(crate) const CHECK_TRIES: usize = 5;

/// Checks everything and reports all problems together; also answers whether the store lost the content meanwhile.
pub(crate) async fn preflight(job: &Job) -> (Ending, bool) {
    let survey = job.survey();
    let mut problems = survey.refused.clone();
    problems.extend(survey.terminating.iter().cloned());
    problems.extend(unrunnable(job));
    match unserved(job).await {
        Ok(unserved) => problems.extend(unserved),
        Err(waiting) => return (Ending::Waiting(vec![waiting]), false),
    }
    let mut waiting = vec![];
    let mut lost = false;
    if problems.is_empty() && job.siblings().iter().any(|r| r.spec.desired_state == "Active") {
        for failure in dry_run(job, &survey).await {
            match failure {
                Failure::Refused(text) => problems.push(text),
                Failure::Waiting(text) => waiting.push(text),
                Failure::Redo => waiting.push("an object changed while it was checked".to_owned()),
                Failure::Stopped => waiting.push("the check was stopped".to_owned()),
                Failure::Lost(text) => {
                    lost = true;
                    waiting.push(format!("the store lost the content of {text}"));
                }
            }
        }
    }
    problems.sort();
    waiting.sort();
    waiting.dedup();
    let ending = match (problems.is_empty(), waiting.is_empty()) {
        (false, _) => Ending::Refused(problems),
        (true, false) => Ending::Waiting(waiting),
        (true, true) => Ending::Done,
    };
    (ending, lost)
}

/// Objects that need a webhook server where nobody runs one.
pub(crate) fn unrunnable(job: &Job) -> Vec<String> {
    if job.cx.options.runtime.of(job.key.kind) != RuntimeMode::None {
        return vec![];
    }
    let entries = job.content.iter().flat_map(|content| &content.parsed.objects);
    let entries: Vec<&package::ObjectEntry> = entries.collect();
    let objects = job
        .items
        .iter()
        .filter_map(|item| Some((item, *entries.get(item.entry)?)));
    objects
        .filter(|(_, entry)| entry.needs_webhook())
        .map(|(item, entry)| match entry.conversion_webhook {
            true => format!(
                "{} converts between versions by webhook, which nobody serves while the package runtime is None",
                named(item)
            ),
            false => format!("{} is called by webhook, which nobody serves while the package runtime is None", named(item)),
        })
        .collect()
}

/// Kinds that this cluster doesn't serve.
pub(crate) async fn unserved(job: &Job) -> Result<Vec<String>, String> {
    let wanted: BTreeSet<(usize, String)> = job
        .items
        .iter()
        .map(|item| (item.kind, item.version.clone()))
        .collect();
    let mut missing = vec![];
    for (kind, version) in wanted {
        let (Some(carried), Some(live)) = (kinds::ALL.get(kind), job.cx.caches.objects.get(kind)) else {
            continue;
        };
        if carried.built_in {
            continue;
        }
        let absent = live.phase() == Phase::Absent;
        let resource = Resource {
            version: version.clone().into(),
            ..carried.resource.clone()
        };
        let served = match carried.resource.version == version {
            true => !absent,
            false => serves(job, &resource).await?,
        };
        if !served {
            missing.push(format!(
                "kind {} ({}) is not served by this cluster; install what defines it",
                resource.kind,
                resource.api_version()
            ));
        }
    }
    Ok(missing)
}

async fn serves(job: &Job, resource: &Resource) -> Result<bool, String> {
    // A resource of the name "" is the group version itself; its discovery document lists the resources.
    let list = Resource {
        plural: "".into(),
        ..resource.clone()
    };
    let path = format!("/apis/{}", list.api_version());
    let request = http::Request::get(path)
        .body(vec![])
        .map_err(|error| error.to_string())?;
    let document: Result<serde_json::Value, kube::Error> =
        tokio::time::timeout(read::READ_TIMEOUT, job.cx.client.request(request))
            .await
            .map_err(|_| "the API server did not say in time which kinds it serves".to_owned())?;
    match document {
        Ok(document) => {
            let resources = document.get("resources").and_then(serde_json::Value::as_array);
            Ok(resources
                .into_iter()
                .flatten()
                .any(|r| r.get("name").and_then(|n| n.as_str()) == Some(&resource.plural)))
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(format!(
            "the API server did not say which kinds it serves: {error}"
        )),
    }
}

/// Lets the API server judge every object that would be created or changed, without writing.
async fn dry_run(job: &Job, survey: &super::survey::Survey) -> Vec<Failure> {
    let writer = job.cx.writer.dry_run();
    let parties = job.parties();
    let mut places: Vec<(usize, Vec<kit::meta::Owner>)> = survey.replace.clone();
    places.extend(survey.create.iter().map(|place| {
        let owners = match parties.claim(Some(&kit::meta::Meta::default())) {
            Claim::Take(owners) => owners,
            _ => vec![],
        };
        (*place, owners)
    }));
    job.each(places, |(place, owners)| {
        let writer = writer.clone();
        async move {
            let Some(item) = job.items.get(place) else {
                return Ok(());
            };
            let Some(target): Option<Target> = job.target(item) else {
                return Ok(());
            };
            let content = match job.live(item) {
                Some(_) => job.body_over(item, &target).await?,
                None => job.body(item)?,
            };
            let mut tries = 1;
            loop {
                let live = job.live(item);
                let payload = match &live {
                    Some(live) => body::replace(&content, item, &owners, live),
                    None => body::create(content.clone(), item, &owners),
                };
                let payload = payload.map_err(|error| malformed(item, &error))?;
                let checked = job
                    .send(&writer, item, |writer| {
                        let (target, payload, exists) = (target.clone(), payload.clone(), live.is_some());
                        async move {
                            let manager = api::FIELD_MANAGER_REVISION;
                            let answer = match exists {
                                true => writer.json_patch(manager, &target, payload).await,
                                false => writer.create(manager, &target, payload).await,
                            };
                            match answer {
                                // A webhook that can't take part in a dry run says nothing about the object.
                                Err(error) if error.is_dry_run_unsupported() => {
                                    Ok(kit::meta::Meta::default())
                                }
                                other => other,
                            }
                        }
                    })
                    .await;
                match checked {
                    // Somebody writes it too: the cache has their version soon.
                    Err(Failure::Redo) if tries < CHECK_TRIES => tries += 1,
                    checked => return checked.map(drop),
                }
                tokio::time::sleep(ROUND_PAUSE).await;
            }
        }
    })
    .await
}
