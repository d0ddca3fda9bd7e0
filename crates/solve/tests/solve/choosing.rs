//! Which versions are chosen, and what is asked to find that out.

use gantry_solve::{Action, Change, Dependency, Need, Options, State, solve};

use crate::lab::{Lab, dependencies, digest, picked, source};

fn state(plan: &gantry_solve::Plan, by: &str, on: &str) -> State {
    let pick = plan.picks.iter().find(|p| p.source == source(by)).unwrap();
    let edge = pick.dependencies.iter().find(|e| e.source == source(on));
    edge.unwrap().state
}

#[test]
fn a_whole_closure_is_found_level_by_level() {
    let mut lab = Lab::default();
    lab.install(
        "platform",
        "v1.0.0",
        &[("network", "^1"), ("database", ">=1.0.0")],
    );
    lab.publish("network", "v1.0.0", &[])
        .publish("network", "v1.2.0", &[("aws", ">=1, <3")]);
    lab.publish("network", "v2.0.0", &[]);
    lab.publish("database", "v1.0.0", &[("aws", "^2"), ("sql", "*")]);
    lab.versions("aws", &["v1.0.0", "v2.0.0", "v2.5.0", "v2.6.0-rc.1", "v3.0.0"]);
    lab.versions("sql", &["v0.1.0", "v0.2.0", "latest", "v0", "main"]);
    let (plan, rounds) = lab.lazily();
    for (name, version) in [
        ("network", "v1.2.0"),
        ("database", "v1.0.0"),
        ("aws", "v2.5.0"),
        ("sql", "v0.2.0"),
    ] {
        assert_eq!(picked(&plan, name), Some(version), "{name}");
    }
    assert!(plan.unmet.is_empty());
    assert!(
        plan.picks
            .iter()
            .all(|p| p.settled && (p.action == Action::Install) == p.name.is_none())
    );
    // Tags, digests and packages of a level, all of them at once.
    assert_eq!(
        rounds.iter().map(Vec::len).collect::<Vec<_>>(),
        [2, 2, 2, 2, 2, 2]
    );
    // Nothing is asked of versions that are not chosen.
    let asked: Vec<&Need> = rounds.iter().flatten().collect();
    assert!(!asked.contains(&&Lab::package_of("network", "v2.0.0")));
    // All the same with everything at hand.
    let at_hand = solve(&lab.facts, &lab.all(), &Options::default());
    assert_eq!(
        serde_json::to_value(&at_hand.picks).unwrap(),
        serde_json::to_value(&plan.picks).unwrap()
    );
}

#[test]
fn what_is_installed_and_satisfies_is_kept() {
    let mut lab = Lab::default();
    lab.versions("aws", &["v1.0.0", "v1.5.0", "v2.0.0"]);
    lab.install("network", "v1.0.0", &[("aws", ">=v1.0.0")]);
    lab.movable("aws", "v1.0.0", Change::Any).created = true;
    let (plan, rounds) = lab.lazily();
    assert_eq!(picked(&plan, "aws"), Some("v1.0.0"));
    assert!(
        !rounds.iter().flatten().any(|n| *n == Lab::tags_of("aws")),
        "no tag is needed: {rounds:?}"
    );
    // It no longer satisfies: the highest that does, and upwards only where nothing else is allowed.
    lab.facts.packages[0].dependencies = Some(dependencies(&[("aws", "<v2.0.0, >v1.0.0")]));
    assert_eq!(picked(&lab.plan(), "aws"), Some("v1.5.0"));
    lab.facts.packages[1].tag = Some("v2.0.0".to_owned());
    lab.facts.packages[1].digest = Some(digest(&source("aws"), "v2.0.0"));
    assert_eq!(picked(&lab.plan(), "aws"), Some("v1.5.0"));
    lab.facts.packages[1].change = Change::Up;
    let plan = lab.plan();
    assert_eq!(
        (picked(&plan, "aws"), state(&plan, "network", "aws")),
        (Some("v2.0.0"), State::Incompatible)
    );
    // What a person fixed is not moved for anybody.
    lab.facts.packages[1].change = Change::Never;
    let plan = lab.plan();
    assert_eq!(
        (picked(&plan, "aws"), state(&plan, "network", "aws")),
        (Some("v2.0.0"), State::Incompatible)
    );
}

#[test]
fn older_versions_are_tried_where_the_newest_will_not_do() {
    let mut lab = Lab::default();
    lab.install("aws", "v1.0.0", &[]);
    lab.publish("network", "v1.0.0", &[("aws", "^1")])
        .publish("network", "v2.0.0", &[("aws", "^2")]);
    lab.request("network", "*");
    let plan = lab.plan();
    assert_eq!(picked(&plan, "network"), Some("v1.0.0"));
    assert_eq!(plan.requested[0].state, State::Planned);
}

#[test]
fn digests_and_tags_are_dependencies_too() {
    let mut lab = Lab::default();
    lab.versions("aws", &["v1.0.0", "v1.1.0"])
        .versions("fn", &["main", "v1.0.0"]);
    let pinned = digest(&source("aws"), "v1.0.0").to_string();
    lab.install("network", "v1.0.0", &[("aws", &pinned), ("fn", "main")]);
    let (plan, rounds) = lab.lazily();
    assert_eq!(picked(&plan, "aws"), Some(pinned.as_str()));
    assert_eq!(picked(&plan, "fn"), Some("main"));
    assert!(
        !rounds.iter().flatten().any(|n| *n == Lab::tags_of("aws")),
        "a digest needs no list of tags"
    );

    // A version and the digest that is its content agree.
    lab.install("database", "v1.0.0", &[("aws", "^1.0.0")]);
    let plan = lab.plan();
    assert!(plan.unmet.is_empty(), "{:?}", plan.unmet);
    assert_eq!(picked(&plan, "aws"), Some(pinned.as_str()));
    // Those that are not its content do not.
    lab.facts.packages.pop();
    lab.install("database", "v1.0.0", &[("aws", ">v1.0.0")]);
    assert_eq!(lab.plan().unmet.len(), 1);
}

#[test]
fn installed_digests_and_moving_tags_are_known_by_their_content() {
    let mut lab = Lab::default();
    lab.versions("aws", &["v1.0.0", "v1.1.0", "v2.0.0"]);
    lab.install("network", "v1.0.0", &[("aws", "^1"), ("aws", "v1.1.0")]);
    let aws = lab.install("aws", "v1.1.0", &[]);
    aws.tag = None;
    let plan = lab.plan();
    assert_eq!(state(&plan, "network", "aws"), State::Found);
    // A moving tag with the same content.
    lab.facts.packages[1].tag = Some("stable".to_owned());
    assert_eq!(state(&lab.plan(), "network", "aws"), State::Found);
    // A digest that somebody needs, and a tag that has it.
    let pinned = digest(&source("aws"), "v1.1.0").to_string();
    lab.facts.packages[0].dependencies = Some(dependencies(&[("aws", &pinned)]));
    assert_eq!(state(&lab.plan(), "network", "aws"), State::Found);
    // Other content.
    lab.facts.packages[1].digest = Some(digest(&source("aws"), "v2.0.0"));
    assert_eq!(state(&lab.plan(), "network", "aws"), State::Incompatible);
}

#[test]
fn what_cannot_be_met_harms_only_those_who_need_it() {
    let mut lab = Lab::default();
    for number in 0..200 {
        lab.install(&format!("fine-{number:03}"), "v1.0.0", &[("shared", "^1")]);
    }
    lab.versions("shared", &["v1.0.0"]);
    let healthy = lab.plan();
    lab.install(
        "poisoned",
        "v1.0.0",
        &[("shared", "^9"), ("gone", "*"), ("broken", ">a1")],
    );
    lab.install("above", "v1.0.0", &[("poisoned", "*")]);
    let plan = lab.plan();
    assert_eq!(plan.unmet.len(), 3);
    for pick in &plan.picks {
        let concerned = pick.source == source("poisoned") || pick.source == source("above");
        assert_eq!(pick.unmet.len(), if concerned { 3 } else { 0 }, "{}", pick.source);
        if let Some(same) = healthy
            .picks
            .iter()
            .find(|p| p.source == pick.source && !concerned)
        {
            let mut expected = same.clone();
            if pick.source == source("shared") {
                expected.needed_by.push(source("poisoned"));
            }
            assert_eq!(
                serde_json::to_value(pick).unwrap(),
                serde_json::to_value(&expected).unwrap()
            );
        }
    }
}

#[test]
fn a_package_is_there_even_if_what_it_needs_cannot_be() {
    let mut lab = Lab::default();
    lab.install("platform", "v1.0.0", &[("network", "^1")]);
    lab.publish("network", "v1.0.0", &[("aws", "^2")])
        .publish("network", "v1.1.0", &[("aws", "^2")]);
    lab.versions("aws", &["v1.0.0"]);
    let plan = lab.plan();
    assert_eq!(picked(&plan, "network"), Some("v1.1.0"));
    assert_eq!(picked(&plan, "aws"), None);
    assert_eq!(
        (
            state(&plan, "platform", "network"),
            state(&plan, "network", "aws")
        ),
        (State::Planned, State::Missing)
    );
    assert!(
        plan.picks.iter().all(|p| p.unmet == [0]),
        "reported on it and on who needs it"
    );
}

#[test]
fn a_registry_that_does_not_answer_makes_its_dependents_wait() {
    let mut lab = Lab::default();
    lab.install("network", "v1.0.0", &[("aws", "^1"), ("sql", "*")]);
    lab.versions("aws", &["v1.0.0"])
        .versions("sql", &["v1.0.0", "v1.1.0"]);
    lab.fail(Lab::tags_of("aws"), false, "timeout");
    let plan = lab.plan();
    assert_eq!(
        (state(&plan, "network", "aws"), state(&plan, "network", "sql")),
        (State::Unknown, State::Planned)
    );
    // A version whose content can't be had now is not passed over for an older one; broken content is.
    lab.fail(Lab::package_of("sql", "v1.1.0"), false, "timeout");
    assert_eq!(state(&lab.plan(), "network", "sql"), State::Unknown);
    lab.fail(Lab::package_of("sql", "v1.1.0"), true, "not a package");
    assert_eq!(picked(&lab.plan(), "sql"), Some("v1.0.0"));
}

#[test]
fn cycles_hold_where_versions_agree() {
    let mut lab = Lab::default();
    lab.request("a", "*");
    lab.publish("a", "v1.0.0", &[("b", "^1")])
        .publish("b", "v1.0.0", &[("c", "*")]);
    lab.publish("c", "v1.0.0", &[("a", "^1")]);
    let plan = lab.plan();
    assert!(plan.unmet.is_empty() && plan.picks.len() == 3);
    lab.publish("c", "v1.0.0", &[("a", "^2")]);
    assert_eq!(lab.plan().unmet.len(), 1);
    // On itself.
    lab.publish("a", "v1.0.0", &[("a", "v1.0.0")]);
    assert!(lab.plan().unmet.is_empty());
    lab.publish("a", "v1.0.0", &[("a", "v2.0.0")]);
    assert_eq!(lab.plan().unmet.len(), 1);
}

#[test]
fn duplicates_are_tolerated_and_reported() {
    let mut lab = Lab::default();
    lab.install("network", "v1.0.0", &[("aws", "^2"), ("aws", "^1")]);
    lab.install("aws", "v1.0.0", &[]);
    let second = lab.install("aws", "v2.0.0", &[]);
    second.name.name = "aws-again".to_owned();
    lab.install("mirrored", "v1.0.0", &[]).effective = Some(source("aws"));
    let plan = lab.plan();
    assert!(plan.unmet.is_empty());
    let names: Vec<String> = plan.duplicates[0]
        .packages
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["Provider/aws", "Provider/aws-again", "Provider/mirrored"]);
}

#[test]
fn kinds_are_looked_at() {
    let mut lab = Lab::default();
    let on = |kind: &str, name: &str| Dependency::new(kind, &source(name), "*");
    lab.publish_kind("Function", "fn", "v1.0.0", vec![]);
    lab.versions("aws", &["v1.0.0"]);
    lab.install("network", "v1.0.0", &[]).dependencies = Some(vec![
        on("Provider", "fn"),
        on("Provider", "aws"),
        on("Function", "platform"),
    ]);
    lab.install("platform", "v1.0.0", &[]);
    let plan = lab.plan();
    assert_eq!(state(&plan, "network", "fn"), State::OtherKind);
    assert_eq!(state(&plan, "network", "platform"), State::OtherKind);
    assert_eq!(state(&plan, "network", "aws"), State::Planned);
    assert_eq!(picked(&plan, "fn"), None, "nobody needs it as it is");
}

#[test]
fn what_is_not_needed_any_more_is_named() {
    let mut lab = Lab::default();
    lab.install("network", "v1.0.0", &[("aws", "*")]);
    lab.install("aws", "v1.0.0", &[]).created = true;
    // Two that only need each other.
    lab.install("left", "v1.0.0", &[("right", "*")]).created = true;
    lab.install("right", "v1.0.0", &[("left", "*")]).created = true;
    let unneeded: Vec<String> = lab.plan().unneeded.iter().map(ToString::to_string).collect();
    assert_eq!(unneeded, ["Provider/left", "Provider/right"]);
}

#[test]
fn a_package_that_skips_its_dependencies_serves_others() {
    let mut lab = Lab::default();
    lab.install("network", "v1.0.0", &[("aws", "*")]);
    lab.install("aws", "v1.0.0", &[("nothing", "*")])
        .skip_dependencies = true;
    let plan = lab.plan();
    assert!(plan.unmet.is_empty());
    assert_eq!(state(&plan, "network", "aws"), State::Found);
}

#[test]
fn a_search_without_end_is_given_up() {
    let mut lab = Lab::default();
    lab.install("network", "v1.0.0", &[("aws", "*"), ("sql", "*")]);
    lab.install("other", "v1.0.0", &[("alone", "*")]);
    lab.publish("aws", "v1.0.0", &[("sql", "*")])
        .versions("sql", &["v1.0.0"])
        .versions("alone", &["v1.0.0"]);
    let options = Options {
        decisions: 1,
        ..Options::default()
    };
    let plan = solve(&lab.facts, &lab.all(), &options);
    assert_eq!(plan.gave_up.len(), 1);
    assert_eq!(plan.gave_up[0].sources, [source("aws"), source("sql")]);
    assert!(
        plan.unmet[0].to_string().contains("gave up after 1 decisions"),
        "{}",
        plan.unmet[0]
    );
    assert_eq!(picked(&plan, "alone"), Some("v1.0.0"), "the rest is not harmed");
}

#[test]
fn the_order_of_the_input_does_not_matter() {
    let mut lab = Lab::default();
    lab.versions("aws", &["v1.0.0", "v2.0.0", "v3.0.0"]);
    lab.publish("sql", "v1.0.0", &[("aws", "^3")])
        .publish("sql", "v2.0.0", &[("aws", "^1")]);
    lab.install("a", "v1.0.0", &[("aws", "^1"), ("sql", "*")]);
    lab.install("b", "v1.0.0", &[("sql", ">=2"), ("aws", "^2")]);
    lab.install("c", "v1.0.0", &[("aws", "^2")]);
    lab.install("d", "v1.0.0", &[("aws", ">=1")]);
    lab.movable("sql", "v1.0.0", Change::Any).created = true;
    let catalogue = lab.all();
    let expected = serde_json::to_value(solve(&lab.facts, &catalogue, &Options::default())).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..120 {
        random.shuffle(&mut lab.facts.packages);
        for package in &mut lab.facts.packages {
            random.shuffle(package.dependencies.get_or_insert_default());
        }
        lab.facts
            .packages
            .iter_mut()
            .filter(|p| p.created)
            .for_each(|p| p.dependencies = None);
        let plan = solve(&lab.facts, &catalogue, &Options::default());
        assert_eq!(serde_json::to_value(plan).unwrap(), expected);
    }
}
