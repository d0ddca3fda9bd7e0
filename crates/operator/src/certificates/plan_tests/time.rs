//! Renewals, bounds, and clocks that are set.

use super::*;

#[test]
fn two_hundred_renewals_are_spread() {
    let world = World::pairs(100);
    let made = leaf_of(ca(0), &world.wants[0], start(), certificate::VALIDITY);
    let Contents::Whole(leaf) = certificate::read(&made) else {
        panic!("a whole one");
    };
    let due: Vec<Timestamp> = world.facts(|facts| {
        let names = facts.wants.iter().map(|want| &want.secret);
        names
            .map(|name| leaf::renewal(facts, name, &leaf.chain[0]))
            .collect()
    });
    assert!(
        due.iter()
            .all(|at| (start() + days(55)..=start() + days(60)).contains(at))
    );
    let most = |seconds: i64| {
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        for at in &due {
            *counts.entry(at.as_second() / seconds).or_default() += 1;
        }
        (counts.len(), counts.into_values().max().unwrap())
    };
    let (hours, in_an_hour) = most(60 * 60);
    assert!(
        hours > 60 && in_an_hour <= 10,
        "{in_an_hour} in one of {hours} hours"
    );
    assert!(most(1).1 <= 2);
}

#[test]
fn each_is_renewed_once_and_in_time_and_nobody_is_refused() {
    let mut world = World::pairs(3);
    world.settled();
    assert!(world.run(start() + days(61)).is_empty(), "the authority stays");
    let mut names: Vec<&String> = world.writes.iter().map(|(_, name)| name).collect();
    names.sort_unstable();
    let wanted: BTreeSet<&String> = world.wants.iter().map(|want| &want.secret).collect();
    assert_eq!(names, wanted.into_iter().collect::<Vec<_>>());
}

#[test]
fn what_is_broken_at_once_is_mended_in_bounded_passes_the_worst_first() {
    let mut world = World::pairs(30);
    let (_, plan) = world.pass();
    assert_eq!(
        (world.writes.len(), plan.order.len()),
        (21, 20),
        "the authority, and 20 secrets"
    );
    assert_eq!(plan.at, Some(world.now + SignedDuration::from_secs(1)));
    world.settled();
    world.put("p29-tls-client", Data::new(), &[]);
    world.now += days(61);
    let plan = world.plan();
    let of = |index: &usize| &world.wants[*index].secret;
    assert_eq!(
        of(plan.order.first().unwrap()),
        "p29-tls-client",
        "before 59 that are due"
    );
    assert_eq!(plan.order.len(), 20);
}

/// The operator's clock is set, everybody else's stays right.
#[test]
fn a_clock_that_jumps_costs_no_call() {
    for jump in [days(100), days(365), days(-100), days(-365), days(2000)] {
        let mut world = World::pairs(2);
        world.settled();
        world.now += jump;
        world.truth = -jump;
        let end = world.now + SignedDuration::from_hours(2);
        assert!(world.run(end).is_empty(), "the authority stays at {jump:#}");
        if jump > days(0) {
            assert_eq!(world.writes.len(), 4, "renewed once at {jump:#}");
        }
        let before = world.writes.len();
        world.now -= jump;
        world.truth = SignedDuration::ZERO;
        let end = world.now + SignedDuration::from_hours(2);
        world.run(end);
        for (_, name) in &world.writes[before..] {
            assert!(world.leaf(name).chain[0].is_valid(world.now), "{name}");
        }
        world.writes.clear();
        let end = world.now + SignedDuration::from_hours(2);
        world.run(end);
        assert_eq!(world.writes, [], "quiet again after {jump:#}");
    }
}

#[test]
fn an_authority_made_by_a_clock_far_ahead_is_rotated_when_the_clock_is_right_again() {
    let mut world = World::pairs(2);
    world.now += days(800);
    world.settled();
    let first = world.current();
    // Nobody whose clock is right accepts any of it, so there is no call to lose.
    world.silent = true;
    world.now = start();
    let steps = world.run(start() + SignedDuration::from_hours(1));
    assert_eq!(names_of(&steps), ["announce", "switch", "retire"]);
    let second = world.current();
    assert!(first != second && second.is_valid(start()) && world.all_by(&second));
}

#[test]
fn an_expired_authority_is_followed_at_once_by_the_announced_one() {
    let mut world = World::pairs(1);
    world.rules.authority_validity = Duration::from_secs(30 * 24 * 60 * 60);
    world.settled();
    let (meta, _) = world.secrets.get_mut(AUTHORITY_SECRET).unwrap();
    meta.annotations
        .insert(annotation::ROTATE_REQUESTED_AT.into(), "now".into());
    let (steps, _) = world.pass();
    assert_eq!(names_of(&steps), ["announce"]);
    // The next one lives longer than the first.
    let (_, data) = world.secrets.get_mut(AUTHORITY_SECRET).unwrap();
    data.insert("next.crt".into(), ca(3).certificate().pem().into_bytes());
    data.insert("next.key".into(), ca(3).key_pem().into_bytes());
    world.now += days(31);
    world.silent = true;
    let (steps, _) = world.pass();
    assert_eq!(names_of(&steps), ["switch"]);
    assert!(world.all_by(ca(3).certificate()));
}
