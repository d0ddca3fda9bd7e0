//! Every bound of this crate, for the table that people read. A test compares the values with the constants.

use oci::limit::Limit;

/// All of them.
pub const LIMITS: &[Limit] = &[
    Limit::fixed(
        "condition message",
        "8 KiB",
        "room for ten named objects with their errors, small beside what etcd takes",
    ),
    Limit::fixed(
        "objects named in a refusal",
        "10",
        "ten name the pattern, a hundred hide it; the rest is counted",
    ),
    Limit::fixed(
        "status that only says what is being done",
        "after 1 s",
        "most work ends within moments, and each write costs everybody who watches",
    ),
    Limit::fixed(
        "wait for our own write to show in the cache",
        "5 s",
        "a later watch is in trouble, and what it shows is better than nothing",
    ),
    Limit::fixed(
        "lint warnings in status",
        "20",
        "enough to see what is wrong with a package",
    ),
    Limit::flag(
        "tag poll interval",
        "60 s",
        "as the reference; jitter of a tenth spreads packages",
        "--tag-poll-interval",
    ),
    Limit::fixed(
        "first retry of a check",
        "2 s",
        "a registry that hiccups is asked again soon",
    ),
    Limit::fixed(
        "longest pause between checks",
        "60 s",
        "a registry that comes back is noticed within it",
    ),
    Limit::fixed(
        "checks of one object that somebody changes meanwhile",
        "5",
        "with each change to one of a thousand objects the check of all would begin anew",
    ),
    Limit::fixed(
        "one check of a tag",
        "45 s",
        "a HEAD, perhaps a token before it, with retries",
    ),
    Limit::fixed("reading pull secrets", "10 s", "secrets are small and near"),
    Limit::fixed(
        "fetching one package",
        "15 min",
        "what is complete stays in the store, so slow registries progress over tries",
    ),
    Limit::fixed(
        "packages parsed at a time",
        "1",
        "a second one would slow the first down, and memory stays that of one",
    ),
    Limit::fixed(
        "CRDs read on suspicion at a time",
        "2 to 64",
        "most of these reads are in vain while the API server still works on them; more while they find served ones",
    ),
    Limit::fixed(
        "objects of a package",
        "5000",
        "the status names each in some 200 bytes, and the API server takes 1.5 MiB for a revision",
    ),
    Limit::fixed(
        "refusals that prove nothing",
        "10 s",
        "an API server that was just started has not read yet who may do what; it is asked again",
    ),
    Limit::fixed(
        "busy answers in a row",
        "20",
        "an API server in trouble is left alone, and the trouble is told",
    ),
    Limit::fixed(
        "requests per package",
        "4",
        "a large package leaves room for others",
    ),
    Limit::flag(
        "requests while establishing, all packages",
        "8",
        "the API server's own work stays the bottleneck, and it keeps time for others",
        "--max-concurrent-package-establishers",
    ),
    Limit::flag(
        "reconciles at a time",
        "16",
        "per controller; they do no slow work",
        "--max-concurrent-reconciles",
    ),
    Limit::fixed(
        "tries of one write",
        "5",
        "then the task is given up and started again later",
    ),
    Limit::fixed(
        "pause between tries of one write",
        "10 s",
        "a longer wish of the API server ends the task for now",
    ),
    Limit::fixed(
        "rounds of one task",
        "10",
        "each conflict with somebody needs one more look",
    ),
    Limit::fixed("first retry of a task", "1 s", "doubled each time"),
    Limit::fixed(
        "longest pause of a waiting task",
        "60 s",
        "changes that are seen start it at once; this is for the rest",
    ),
    Limit::fixed(
        "longest pause of a refused task",
        "300 s",
        "changes that are seen start it at once; this is for the rest",
    ),
    Limit::fixed(
        "pause after a refusal of what was active",
        "60 s",
        "checks that pass didn't foresee it, and each try takes objects from the revision that serves; doubled each time",
    ),
    Limit::fixed(
        "longest such pause",
        "3600 s",
        "what was mended meanwhile is noticed within it",
    ),
    Limit::fixed(
        "repairs without pause",
        "3",
        "somebody who edits twice sees both mended at once",
    ),
    Limit::fixed(
        "longest pause between repairs",
        "60 s",
        "two writers that fight don't burn the API server",
    ),
    Limit::fixed(
        "wait for CRDs without progress",
        "60 s",
        "the API server needs some 75 ms for each, one after the other",
    ),
    Limit::fixed(
        "unaccepted CRD names",
        "10 s",
        "the other CRD of that name may be just going",
    ),
    Limit::fixed(
        "status writes while establishing",
        "one in 5 s",
        "progress is for people",
    ),
    Limit::fixed(
        "caches behind writes",
        "10 s",
        "then the next look may write once more, which changes nothing",
    ),
    Limit::fixed(
        "our CRDs served",
        "60 s",
        "then it is said which are not, and tried again",
    ),
    Limit::fixed(
        "packages named in metrics",
        "1000",
        "each is a time series; those in trouble come first, and all are counted by kind and state",
    ),
    Limit::fixed(
        "our CRDs put back",
        "4 in 60 min",
        "somebody who starts anew is no fight, two who write in turns are one; for each CRD, then it is said who fights",
    ),
    Limit::fixed(
        "our CRDs looked at after a change",
        "2 s",
        "the reference applies a dozen in a row",
    ),
    Limit::fixed(
        "trying the admission policy",
        "5 s",
        "one small request that is refused",
    ),
    Limit::fixed(
        "pause before the admission policy is tried again",
        "1 s to 30 s",
        "API servers learn of a new policy within a second; doubled each time",
    ),
    Limit::fixed(
        "shortest interval that a flag takes",
        "1 s",
        "less is a mistake and not a wish",
    ),
    Limit::fixed(
        "registry hosts in metrics",
        "50",
        "hosts come from users; further ones are counted together",
    ),
    Limit::fixed(
        "first retry of a package that a flag names",
        "1 s",
        "caches follow a write within it",
    ),
    Limit::fixed(
        "longest pause of a package that a flag names",
        "300 s",
        "somebody may change what refuses it; other packages don't wait for it",
    ),
    Limit::flag(
        "time without a look at an object",
        "1 h",
        "as the reference",
        "--sync-interval",
    ),
    Limit::flag(
        "content store",
        "1 GiB",
        "least recently used goes first; what revisions need stays",
        "--cache-size",
    ),
    Limit::fixed(
        "certificates written in one pass",
        "20",
        "the next pass follows at once; the API server and kubelets get no burst",
    ),
    Limit::fixed(
        "pause between such passes",
        "1 s",
        "two hundred certificates are through within ten",
    ),
    Limit::fixed(
        "wait until all who mount a secret have read it",
        "300 s",
        "a kubelet looks once a minute at what may be a minute old; programs look again every ten seconds",
    ),
    Limit::fixed(
        "authorities in one bundle",
        "4",
        "one that signs, one that will, two that did",
    ),
    Limit::fixed(
        "longest time without a look at certificates",
        "3600 s",
        "a clock that was set puts nothing off for long",
    ),
    Limit::fixed("secrets read at a time", "8", "after a start each is read once"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::check;
    use crate::revision::{doubt, establish, job, plan, preflight, served, work};
    use crate::{beside, certificates, conditions, content, crds, definitions, images, metrics, preinstall};

    #[test]
    fn the_table_says_what_the_constants_are() {
        let seconds = |d: std::time::Duration| format!("{} s", d.as_secs());
        let signed = |d: jiff::SignedDuration| format!("{} s", d.as_secs());
        let constants = [
            (
                "condition message",
                format!("{} KiB", conditions::MAX_MESSAGE / 1024),
            ),
            ("objects named in a refusal", plan::NAMED_REFUSALS.to_string()),
            ("lint warnings in status", plan::MAX_WARNINGS.to_string()),
            ("tag poll interval", signed(check::POLL_INTERVAL)),
            ("first retry of a check", signed(check::RETRY_FIRST)),
            ("longest pause between checks", signed(check::RETRY_MAX)),
            (
                "checks of one object that somebody changes meanwhile",
                preflight::CHECK_TRIES.to_string(),
            ),
            ("one check of a tag", seconds(crate::manager::QUESTION_TIMEOUT)),
            ("reading pull secrets", seconds(images::SECRETS_TIMEOUT)),
            (
                "fetching one package",
                format!("{} min", content::FETCH_TIMEOUT.as_secs() / 60),
            ),
            ("requests per package", job::REQUESTS_PER_PACKAGE.to_string()),
            (
                "objects of a package",
                crate::revision::task::MAX_OBJECTS.to_string(),
            ),
            ("refusals that prove nothing", seconds(doubt::PROOF)),
            ("busy answers in a row", job::REFUSED_IN_A_ROW.to_string()),
            (
                "CRDs read on suspicion at a time",
                format!("{} to {}", served::SUSPECTS_MIN, served::SUSPECTS_MAX),
            ),
            ("tries of one write", job::WRITE_TRIES.to_string()),
            ("pause between tries of one write", seconds(job::WRITE_PAUSE_MAX)),
            ("rounds of one task", establish::ROUNDS.to_string()),
            ("first retry of a task", signed(work::RETRY_FIRST)),
            ("longest pause of a waiting task", signed(work::RETRY_WAITING)),
            ("longest pause of a refused task", signed(work::RETRY_REFUSED)),
            (
                "pause after a refusal of what was active",
                signed(work::SETBACK_FIRST),
            ),
            ("longest such pause", signed(work::SETBACK_MAX)),
            ("repairs without pause", work::REPAIRS_FREE.to_string()),
            ("longest pause between repairs", signed(work::REPAIR_MAX)),
            (
                "wait for CRDs without progress",
                seconds(establish::ESTABLISHED_STALL),
            ),
            ("unaccepted CRD names", seconds(establish::NAMES_GRACE)),
            (
                "status writes while establishing",
                format!("one in {}", seconds(establish::PROGRESS_INTERVAL)),
            ),
            ("caches behind writes", seconds(establish::CACHE_LAG)),
            ("our CRDs served", seconds(crds::SERVED_TIMEOUT)),
            (
                "first retry of a package that a flag names",
                seconds(preinstall::RETRY_FIRST),
            ),
            (
                "longest pause of a package that a flag names",
                seconds(preinstall::RETRY_MAX),
            ),
            (
                "our CRDs put back",
                format!(
                    "{} in {} min",
                    definitions::PUT_BACKS,
                    definitions::PUT_BACK_WINDOW.as_secs() / 60
                ),
            ),
            (
                "our CRDs looked at after a change",
                seconds(definitions::PUT_BACK_PAUSE),
            ),
            ("trying the admission policy", seconds(beside::PROBE_TIMEOUT)),
            (
                "pause before the admission policy is tried again",
                format!(
                    "{} to {}",
                    seconds(beside::PROBE_FIRST),
                    seconds(beside::PROBE_LONGEST)
                ),
            ),
            (
                "shortest interval that a flag takes",
                seconds(crate::args::SHORTEST_PAUSE),
            ),
            ("registry hosts in metrics", metrics::MAX_HOSTS.to_string()),
            (
                "packages named in metrics",
                metrics::MAX_NAMED_PACKAGES.to_string(),
            ),
            (
                "certificates written in one pass",
                certificates::WRITES.to_string(),
            ),
            ("pause between such passes", seconds(certificates::PAUSE)),
            (
                "wait until all who mount a secret have read it",
                seconds(certificates::SETTLE),
            ),
            ("authorities in one bundle", certificates::AUTHORITIES.to_string()),
            (
                "longest time without a look at certificates",
                seconds(certificates::LONGEST_WAIT),
            ),
            ("secrets read at a time", certificates::READS.to_string()),
        ];
        for (name, value) in constants {
            let row = LIMITS
                .iter()
                .find(|l| l.name == name)
                .unwrap_or_else(|| panic!("no row {name}"));
            assert_eq!(row.value, value, "{name}");
        }
    }
}
