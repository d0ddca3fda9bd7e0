//! The table that people read.

use std::fmt::Write;

use super::figures::{Floor, HandOver, Many, Pair, Replicas, Run, mebibytes, median};
use super::inputs::Inputs;
use super::machine::Machine;

/// Size that the targets speak of.
const TARGET_SIZE: usize = 1000;
/// Figures of a bare client on another machine with 2 cores and the same CRDs: CRDs, written, all established, in
/// seconds. A floor much above them is a bad client and not a slow API server.
const KNOWN_FLOORS: [(usize, f64, f64); 3] = [(100, 1.0, 3.6), (500, 6.4, 30.7), (1000, 15.3, 75.4)];
/// The floor may be this many times slower than those.
const KNOWN_FLOOR_MARGIN: f64 = 1.3;

/// All that was measured but the image.
pub(super) struct All<'a> {
    pub(super) machine: &'a Machine,
    pub(super) inputs: &'a Inputs,
    pub(super) runs: &'a [Run],
    pub(super) many: Option<&'a Many>,
    pub(super) replicas: Option<&'a Replicas>,
}

/// The whole page.
pub(super) fn markdown(all: &All) -> String {
    let mut text = String::from("# Benchmarks\n\nWritten by `make bench`; don't edit.\n\n");
    // Writing to a string cannot fail.
    page(&mut text, all).ok();
    text
}

fn page(out: &mut String, all: &All) -> std::fmt::Result {
    let All {
        machine,
        inputs,
        runs,
        many,
        replicas,
    } = *all;
    writeln!(out, "- Machine and programs: {}", machine.line())?;
    writeln!(out, "- {}", upper(&inputs.describe()))?;
    writeln!(
        out,
        "- All processes run beside each other; etcd doesn't sync to disk. Each size starts with fresh control planes,\n  \
         one for the floor and one for Gantry (release build, empty store).\n\
         - **Floor**: a bare client that sends the requests that have to be sent (same verb, same bodies, 4 connections)\n  \
         and does nothing else. It shares no code with Gantry.\n\
         - Both are seen by one observer, the API server's audit log: writes by arrival and answer, *established* by the\n  \
         API server's own last write of a CRD's conditions. Times of writing and establishing count from the first write."
    )?;
    if machine.was_busy() {
        writeln!(
            out,
            "- Others were at work on this machine when the run began: the figures are worse than they could be."
        )?;
    }
    installation(out, inputs, runs)?;
    later(out, runs)?;
    small(out, many)?;
    two(out, replicas)?;
    targets(out, all)?;
    floors(out, machine, inputs, runs)
}

fn installation(out: &mut String, inputs: &Inputs, runs: &[Run]) -> std::fmt::Result {
    writeln!(
        out,
        "\n## Installing a package\n\n\
         | CRDs (package.yaml) | | first write | written | all established | healthy | operator CPU | VmHWM | API server CPU | RSS |\n\
         |---|---|---|---|---|---|---|---|---|---|"
    )?;
    for run in runs {
        let size = format!("{} ({:.1} MB)", run.size, inputs.megabytes(run.size));
        for (floor, gantry) in &run.rounds {
            if let Some(floor) = floor {
                writeln!(
                    out,
                    "| {size} | floor | – | {:.1} s | {:.1} s | – | – | – | {:.0} s | {:.0} MiB |",
                    floor.written,
                    floor.established,
                    floor.api_cpu,
                    mebibytes(floor.api_rss)
                )?;
            }
            let times = |ours: f64, theirs: fn(&Floor) -> f64| {
                let ratio = floor.as_ref().map(|floor| ours / theirs(floor));
                ratio.map(|ratio| format!(" ({ratio:.2}x)")).unwrap_or_default()
            };
            writeln!(
                out,
                "| {size} | Gantry | {:.1} s | {:.1} s{} | {:.1} s{} | {:.1} s | {:.1} s | {:.0} MiB | {:.0} s{} | {:.0} MiB |",
                gantry.first_write,
                gantry.written,
                times(gantry.written, |f| f.written),
                gantry.established,
                times(gantry.established, |f| f.established),
                gantry.healthy,
                gantry.cpu,
                mebibytes(gantry.hwm),
                gantry.api_cpu,
                times(gantry.api_cpu, |f| f.api_cpu),
                mebibytes(gantry.api_rss),
            )?;
        }
    }
    let requests = runs.iter().filter_map(|run| {
        let (_, gantry) = run.rounds.last()?;
        Some(format!("{} CRDs: {}", run.size, gantry.requests))
    });
    writeln!(
        out,
        "\n*First write* and *healthy* count from the creation of the Provider. Requests of the operator until healthy: {}.",
        requests.collect::<Vec<_>>().join("; ")
    )
}

fn later(out: &mut String, runs: &[Run]) -> std::fmt::Result {
    for run in runs {
        let Some(later) = &run.later else { continue };
        let size = run.size;
        writeln!(
            out,
            "\n## With {size} CRDs installed\n\n\
             | | time | operator CPU | VmHWM | requests, Leases aside |\n|---|---|---|---|---|"
        )?;
        for patched in &run.patched {
            writeln!(
                out,
                "| floor: {size} bare metadata patches, 4 connections | {patched:.1} s | – | – | {size} writes |"
            )?;
        }
        for upgrade in &later.upgrades {
            writeln!(
                out,
                "| upgrade, all objects unchanged: taken over | first write {:.1} s after the change; {:.1} s; healthy \
                 after {:.1} s | {:.1} s | {:.0} MiB | {} |",
                upgrade.first_write,
                upgrade.written,
                upgrade.healthy,
                upgrade.cpu,
                mebibytes(upgrade.hwm),
                upgrade.requests
            )?;
        }
        let restart = &later.restart;
        writeln!(
            out,
            "| restart | ready after {:.1} s, silent after {:.1} s | {:.2} s | {:.0} MiB, then {:.0} MiB | {} |",
            restart.ready,
            restart.settled,
            restart.cpu,
            mebibytes(restart.hwm),
            mebibytes(restart.rss),
            restart.requests
        )?;
        let idle = &later.idle;
        writeln!(
            out,
            "| idle, two replicas | {:.0} s | see below | – | {}; {} writes of the Lease |\n\n\
             Idle, of a core and resident: {}. The leader did all of the above before.",
            idle.seconds, idle.requests, idle.lease_writes, idle.pair
        )?;
    }
    Ok(())
}

fn small(out: &mut String, many: Option<&Many>) -> std::fmt::Result {
    let Some(many) = many else { return Ok(()) };
    writeln!(
        out,
        "\n## Many small packages\n\n\
         {} Configurations by digest, each with one XRD and one Composition, applied at once; all content is in the store.\n\
         The bare client does as many writes of each kind, with the same bodies, on a control plane of its own.\n\n\
         | | time | operator CPU | VmHWM | writes |\n|---|---|---|---|---|\n\
         | floor: bare client, 8 connections | {:.1} s | – | – | – |\n\
         | Gantry, until all are ready | {:.1} s ({:.2}x) | {:.1} s | {:.0} MiB | {} |",
        many.count,
        many.floor,
        many.ready,
        many.ready / many.floor,
        many.cpu,
        mebibytes(many.hwm),
        many.writes.values().sum::<usize>()
    )?;
    let each = many
        .writes
        .iter()
        .map(|(what, n)| format!("{:.1} {what}", *n as f64 / many.count as f64));
    writeln!(
        out,
        "\nWrites for each package: {}.",
        each.collect::<Vec<_>>().join(", ")
    )
}

fn two(out: &mut String, replicas: Option<&Replicas>) -> std::fmt::Result {
    let Some(replicas) = replicas else { return Ok(()) };
    writeln!(
        out,
        "\n## Two replicas\n\n\
         Nothing to do, with small packages as above (one XRD, one Composition each):\n\n\
         | packages | leader: of a core | resident | standby: of a core | resident |\n|---|---|---|---|---|"
    )?;
    for (packages, Pair { leader, standby }) in &replicas.rest {
        writeln!(
            out,
            "| {packages} | {:.2} % | {:.0} MiB | {:.2} % | {:.0} MiB |",
            leader.percent,
            mebibytes(leader.rss),
            standby.percent,
            mebibytes(standby.rss)
        )?;
    }
    writeln!(
        out,
        "\nThe leader ends, and at that moment a package is applied. Durations of the Lease are the defaults: others respect a\n\
         leader that they don't hear of for 15 s.\n\n\
         | | another leads after | the package is ready after |\n|---|---|---|"
    )?;
    for (what, all) in [
        ("killed", &replicas.killed),
        ("stopped in good order", &replicas.stopped),
    ] {
        for HandOver { lease, ready } in all {
            writeln!(out, "| {what} | {lease:.2} s | {ready:.2} s |")?;
        }
    }
    Ok(())
}

/// One target: what, at most, and what it was.
struct Target {
    what: &'static str,
    most: f64,
    was: Option<f64>,
    unit: &'static str,
}

fn targets(out: &mut String, all: &All) -> std::fmt::Result {
    let (many, replicas) = (all.many, all.replicas);
    let Some(run) = all.runs.iter().find(|run| run.size == TARGET_SIZE) else {
        return writeln!(
            out,
            "\nThe targets speak of {TARGET_SIZE} CRDs, which were not part of this run."
        );
    };
    let later = run.later.as_ref();
    let taken_over = median(later.iter().flat_map(|l| &l.upgrades).map(|u| u.written));
    let patched = median(run.patched.iter().copied());
    let target = |what, most, was, unit| Target {
        what,
        most,
        was,
        unit,
    };
    let writes = |writes: Option<usize>| writes.map(|writes| writes as f64);
    let longest = |all: fn(&Replicas) -> &Vec<HandOver>, figure: fn(&HandOver) -> f64| {
        replicas.and_then(|replicas| all(replicas).iter().map(figure).max_by(f64::total_cmp))
    };
    let pair = later.map(|later| &later.idle.pair);
    let all = [
        target(
            "first write after the apply",
            5.0,
            run.ours(|g| g.first_write),
            " s",
        ),
        target(
            "first to last write, of the floor",
            1.25,
            run.times(|g| g.written, |f| f.written),
            "x",
        ),
        target(
            "all established, of the floor",
            1.15,
            run.times(|g| g.established, |f| f.established),
            "x",
        ),
        target("operator CPU", 5.0, run.ours(|g| g.cpu), " s"),
        target("VmHWM", 128.0, run.ours(|g| mebibytes(g.hwm)), " MiB"),
        target(
            "taking over unchanged objects, of bare patches",
            1.25,
            taken_over.zip(patched).map(|(ours, theirs)| ours / theirs),
            "x",
        ),
        target(
            "writes of a restart, Leases aside",
            0.0,
            writes(later.map(|l| l.restart.requests.writes)),
            "",
        ),
        target(
            "writes while idle, Leases aside",
            0.0,
            writes(later.map(|l| l.idle.requests.writes)),
            "",
        ),
        target(
            "idle leader, of a core",
            0.2,
            pair.map(|p| p.leader.percent),
            " %",
        ),
        target(
            "idle leader, resident",
            64.0,
            pair.map(|p| mebibytes(p.leader.rss)),
            " MiB",
        ),
        target(
            "idle standby, resident",
            48.0,
            pair.map(|p| mebibytes(p.standby.rss)),
            " MiB",
        ),
        target(
            "1,000 small packages ready, of a bare client",
            1.5,
            many.map(|m| m.ready / m.floor),
            "x",
        ),
        target("1,000 small packages ready", 60.0, many.map(|m| m.ready), " s"),
        target(
            "work goes on after a leader was killed, longest",
            20.0,
            longest(|r| &r.killed, |h| h.ready),
            " s",
        ),
        target(
            "another leads after a leader was stopped, longest",
            2.0,
            longest(|r| &r.stopped, |h| h.lease),
            " s",
        ),
    ];
    writeln!(
        out,
        "\n## Targets at {TARGET_SIZE} CRDs\n\nOf several rounds the medians are compared.\n\n| target | at most | measured | |\n|---|---|---|---|"
    )?;
    for Target {
        what,
        most,
        was,
        unit,
    } in all
    {
        let (measured, verdict) = match was {
            None => ("not measured".to_owned(), String::new()),
            Some(was) if was <= most => (number(was, unit), "met".to_owned()),
            Some(was) if most > 0.0 => (number(was, unit), format!("**missed**, {:.2}x of it", was / most)),
            Some(was) => (number(was, unit), "**missed**".to_owned()),
        };
        writeln!(
            out,
            "| {what} | {} | {measured} | {verdict} |",
            number(most, unit)
        )?;
    }
    Ok(())
}

fn number(value: f64, unit: &str) -> String {
    match unit {
        "x" => format!("{value:.2}x"),
        " s" => format!("{value:.1} s"),
        " %" => format!("{value:.2} %"),
        _ => format!("{value:.0}{unit}"),
    }
}

fn floors(out: &mut String, machine: &Machine, inputs: &Inputs, runs: &[Run]) -> std::fmt::Result {
    if !inputs.real
        || runs
            .iter()
            .flat_map(|run| &run.rounds)
            .all(|(floor, _)| floor.is_none())
    {
        return Ok(());
    }
    writeln!(
        out,
        "\n## Is the floor a good one?\n\n\
         A slow bare client would make Gantry look good. Beside it, what a bare client took on another machine with 2 cores\n\
         (no audit log, same CRDs). At most {KNOWN_FLOOR_MARGIN}x of it is expected on a machine like that one{}.\n\n\
         | CRDs | written, here / there | all established, here / there | |\n|---|---|---|---|",
        match machine.is_like_reference() {
            true => ", and this one is",
            false => "; this one is not, so it says little",
        }
    )?;
    for run in runs {
        let known = KNOWN_FLOORS.iter().find(|(size, ..)| *size == run.size);
        let floors = || run.rounds.iter().filter_map(|(floor, _)| floor.as_ref());
        let (wrote, served) = (
            median(floors().map(|f| f.written)),
            median(floors().map(|f| f.established)),
        );
        let (Some(wrote), Some(served), Some((size, written, established))) = (wrote, served, known) else {
            continue;
        };
        let good = wrote <= written * KNOWN_FLOOR_MARGIN && served <= established * KNOWN_FLOOR_MARGIN;
        writeln!(
            out,
            "| {size} | {:.1} s / {written:.1} s = {:.2}x | {:.1} s / {established:.1} s = {:.2}x | {} |",
            wrote,
            wrote / written,
            served,
            served / established,
            match good {
                true => "as expected",
                false => "**slower than expected**",
            }
        )?;
    }
    Ok(())
}

fn upper(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    format!("{}{}", first.unwrap_or_default(), chars.as_str())
}
