//! Renewals, bounds, and clocks that are set.

use super::*;

/// A year of time: every certificate is renewed in time, the authority is not touched, nobody is refused.
#[test]
fn two_hundred_renewals_are_spread() {
    let mut world = World::pairs(100);
    world.settled();
    // Traffic of all with all would take long; each with its own is enough here.
    let all = std::mem::take(&mut world.wants);
    world.wants.clone_from(&all);
    let end = start() + days(61);
    let mut passes: BTreeMap<Timestamp, usize> = BTreeMap::new();
    world.wants = all.iter().filter(|w| w.usage == Usage::Server).cloned().collect();
    assert!(world.run(end).is_empty());
    world.wants = all.iter().filter(|w| w.usage == Usage::Client).cloned().collect();
    world.now = start() + days(50);
    assert!(world.run(end).is_empty());
    for (at, _) in &world.writes {
        *passes.entry(*at).or_default() += 1;
    }
    assert_eq!(world.writes.len(), 200, "each once");
    let names: BTreeSet<_> = world.writes.iter().map(|(_, name)| name).collect();
    assert_eq!(names.len(), 200);
    let (first, last) = (
        world.writes.iter().min().unwrap().0,
        world.writes.iter().max().unwrap().0,
    );
    assert!(
        first >= start() + days(55) - SignedDuration::from_hours(1),
        "{first}"
    );
    assert!(
        last <= start() + days(60) + SignedDuration::from_hours(1),
        "{last}"
    );
    let hour = |at: &Timestamp| at.as_second() / 3600;
    let mut by_hour: BTreeMap<i64, usize> = BTreeMap::new();
    for (at, _) in &world.writes {
        *by_hour.entry(hour(at)).or_default() += 1;
    }
    let most = by_hour.values().max().unwrap();
    assert!(*most <= 10, "{most} within an hour");
    assert!(by_hour.len() > 60, "{} hours of 120", by_hour.len());
    assert!(passes.values().all(|count| *count <= 3), "{passes:?}");
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
