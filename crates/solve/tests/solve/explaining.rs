//! What people read when something can't be met: golden files.

use gantry_solve::{Change, Dependency, limits};

use crate::lab::{Lab, dependencies, digest, source};

/// All explanations of a plan.
fn text(lab: &Lab) -> String {
    let plan = lab.plan();
    let all: Vec<String> = plan.unmet.iter().map(ToString::to_string).collect();
    for one in &all {
        assert!(one.lines().count() <= limits::MAX_EXPLANATION_LINES, "{one}");
    }
    all.join("\n\n")
}

#[test]
fn two_packages_disagree() {
    let mut lab = Lab::default();
    lab.versions("aws", &["v1.0.0", "v1.5.0", "v2.0.0", "v2.1.0"]);
    lab.install("network", "v1.2.0", &[("aws", ">=v1.0.0, <v2.0.0")]);
    lab.install("database", "v3.0.0", &[("aws", ">=v2.0.0")]);
    insta::assert_snapshot!(text(&lab));
}

#[test]
fn far_below_two_packages_disagree() {
    let mut lab = Lab::default();
    lab.install("platform", "v1.0.0", &[("network", "^1"), ("database", "^1")]);
    lab.publish("network", "v1.0.0", &[("vpc", "*")])
        .publish("vpc", "v1.0.0", &[("aws", "^1")]);
    lab.publish("database", "v1.0.0", &[("rds", "*")])
        .publish("rds", "v1.0.0", &[("aws", "^2")]);
    lab.versions("aws", &["v1.0.0", "v2.0.0"]);
    insta::assert_snapshot!(text(&lab));
}

#[test]
fn what_is_needed_is_fixed() {
    let mut lab = Lab::default();
    lab.versions("aws", &["v1.0.0", "v1.5.0", "v2.0.0", "v2.1.0"]);
    lab.install("aws", "v1.0.0", &[]);
    lab.install("network", "v1.2.0", &[("aws", "<v2.1.0")]);
    lab.install("database", "v3.0.0", &[("aws", ">=v2.0.0")]);
    // Its tags are only a hint, which nothing waits for; with them the advice is better.
    let without = text(&lab);
    let mut catalogue = lab.all();
    let with = gantry_solve::solve(&lab.facts, &catalogue, &gantry_solve::Options::default());
    catalogue.forget(&Lab::tags_of("aws"));
    let hints = gantry_solve::solve(&lab.facts, &catalogue, &gantry_solve::Options::default()).hints;
    assert_eq!(hints, [Lab::tags_of("aws")]);
    insta::assert_snapshot!(format!("{without}\n\n{}", with.unmet[0]));
}

#[test]
fn no_version_will_do() {
    let mut lab = Lab::default();
    lab.versions(
        "aws",
        &[
            "v1.0.0",
            "v1.1.0",
            "v1.2.0",
            "v1.3.0",
            "v1.4.0",
            "v1.5.0",
            "v2.0.0-rc.1",
            "main",
        ],
    );
    lab.install("network", "v1.2.0", &[("aws", "^2")]);
    lab.request("aws", "^3");
    insta::assert_snapshot!(text(&lab));
}

#[test]
fn a_constraint_cannot_be_read() {
    let mut lab = Lab::default();
    lab.versions("aws", &["v1.0.0"]);
    lab.install(
        "network",
        "v1.2.0",
        &[("aws", ">=v1.0.0, <a2"), ("sql", ""), ("net", ">=1 ||")],
    );
    lab.facts.packages[0]
        .dependencies
        .get_or_insert_default()
        .extend([
            Dependency::new("", "no registry", "*"),
            Dependency::new("", "x.io/aws:v1", "*"),
        ]);
    insta::assert_snapshot!(text(&lab));
}

#[test]
fn registries_and_packages_are_broken() {
    let mut lab = Lab::default();
    lab.install(
        "network",
        "v1.2.0",
        &[("gone", "*"), ("down", "*"), ("bad", "*"), ("main", "nightly")],
    );
    lab.fail(Lab::tags_of("down"), false, "connection refused")
        .versions("bad", &["v1.0.0"]);
    lab.fail(
        Lab::package_of("bad", "v1.0.0"),
        true,
        "package.yaml is not in it",
    )
    .versions("main", &["v1.0.0"]);
    insta::assert_snapshot!(text(&lab));
}

#[test]
fn kinds_and_selves_are_wrong() {
    let mut lab = Lab::default();
    lab.publish_kind("Function", "fn", "v1.0.0", vec![]);
    lab.publish("self", "v1.0.0", &[("self", "v2.0.0")]);
    lab.install("network", "v1.0.0", &[]).dependencies = Some(vec![
        Dependency::new("Provider", &source("fn"), "*"),
        Dependency::new("Provider", &source("self"), "*"),
    ]);
    insta::assert_snapshot!(text(&lab));
}

#[test]
fn digests_disagree() {
    let mut lab = Lab::default();
    lab.versions("aws", &["v1.0.0", "v2.0.0"]);
    let pinned = [
        digest(&source("aws"), "v1.0.0").to_string(),
        digest(&source("aws"), "v2.0.0").to_string(),
    ];
    lab.install("network", "v1.0.0", &[("aws", &pinned[0])]);
    lab.install("database", "v1.0.0", &[("aws", &pinned[1])]);
    insta::assert_snapshot!(text(&lab));
}

#[test]
fn many_need_what_one_does_not_want() {
    let mut lab = Lab::default();
    lab.versions("aws", &["v1.0.0", "v2.0.0"]);
    for number in 0..9 {
        lab.install(&format!("team-{number}"), "v1.0.0", &[("aws", "^2")]);
    }
    lab.install("old", "v0.9.0", &[("aws", "^1")]);
    insta::assert_snapshot!(text(&lab));
}

#[test]
fn a_cycle_does_not_close() {
    let mut lab = Lab::default();
    lab.request("a", "*");
    lab.publish("a", "v1.0.0", &[("b", "^1")])
        .publish("b", "v1.0.0", &[("a", "^2")]);
    insta::assert_snapshot!(text(&lab));
}

#[test]
fn an_upgrade_is_not_allowed_downwards() {
    let mut lab = Lab::default();
    lab.versions("aws", &["v1.0.0", "v2.0.0"]);
    lab.movable("aws", "v2.0.0", Change::Up);
    lab.install("network", "v1.0.0", &[("aws", "^1")]);
    insta::assert_snapshot!(text(&lab));
}

#[test]
fn as_data() {
    let mut lab = Lab::default();
    lab.versions("aws", &["v1.0.0", "v2.0.0"]);
    lab.install("network", "v1.2.0", &[]).dependencies = Some(dependencies(&[("aws", "^1")]));
    lab.install("database", "v3.0.0", &[("aws", "^2")]);
    insta::assert_json_snapshot!(lab.plan());
}
