//! Another authority, step by step.

use super::*;

/// Who asked for a rotation sees each step, and nobody is refused at any of them.
#[test]
fn a_rotation_goes_step_by_step_under_traffic() {
    let mut world = World::pairs(3);
    world.rules.writes = 2;
    world.settled();
    let first = world.current();
    assert!(world.all_by(&first));
    let (meta, _) = world.secrets.get_mut(AUTHORITY_SECRET).unwrap();
    meta.annotations
        .insert(annotation::ROTATE_REQUESTED_AT.into(), "now".into());

    let (steps, plan) = world.pass();
    assert_eq!(names_of(&steps), ["announce"]);
    assert_eq!(
        (world.current(), plan.bundle.len(), plan.order.len()),
        (first.clone(), 2, 2)
    );
    assert!(plan.rotating);
    while !world.plan().order.is_empty() {
        world.now += SignedDuration::from_secs(1);
        let (steps, _) = world.pass();
        assert!(steps.is_empty(), "{steps:?}");
    }
    for want in &world.wants {
        let leaf = world.leaf(&want.secret);
        assert!(leaf.authorities.len() == 2 && verifies(&leaf.chain, &[&first], want.usage, world.now));
    }
    // The last of them was written just now, and has to be read everywhere.
    let plan = world.plan();
    assert_eq!(plan.at, Some(world.now + SignedDuration::from_mins(5)));
    world.now = plan.at.unwrap() - SignedDuration::from_secs(1);
    assert!(world.pass().0.is_empty(), "a second too soon");
    world.now = plan.at.unwrap();
    let (steps, _) = world.pass();
    assert_eq!(names_of(&steps), ["switch"]);
    let second = world.current();
    assert_ne!(first, second);
    // A restart at any moment finds all of it in the secrets: the plan has no other memory.
    while !world.plan().order.is_empty() {
        world.now += SignedDuration::from_secs(1);
        assert!(world.pass().0.is_empty());
    }
    let by_second = |world: &World| {
        let by = |w: &Want| verifies(&world.leaf(&w.secret).chain, &[&second], w.usage, world.now);
        world.wants.iter().filter(|w| by(w)).count()
    };
    assert_eq!(by_second(&world), 6);
    assert!(!world.all_by(&second), "the first is still trusted");
    let end = world.now + SignedDuration::from_mins(30);
    let steps = world.run(end);
    assert_eq!(names_of(&steps), ["retire"]);
    assert!(world.all_by(&second));
    let (_, data) = &world.secrets[AUTHORITY_SECRET];
    assert_eq!(data.keys().collect::<Vec<_>>(), ["tls.crt", "tls.key"]);
    let (steps, plan) = world.pass();
    assert!(
        steps.is_empty() && plan.order.is_empty() && !plan.rotating,
        "once asked, once done"
    );
}

#[test]
fn what_may_not_be_touched_is_waited_for() {
    let mut world = World::pairs(2);
    world.settled();
    let first = world.current();
    world.wants[0].untouched = true;
    let (meta, _) = world.secrets.get_mut(AUTHORITY_SECRET).unwrap();
    meta.annotations
        .insert(annotation::ROTATE_REQUESTED_AT.into(), "now".into());
    let before = world.secrets[&world.wants[0].secret].clone();
    let steps = world.run(start() + SignedDuration::from_hours(5));
    assert_eq!(names_of(&steps), ["announce"], "it does not trust the next one");
    assert_eq!(world.secrets[&world.wants[0].secret], before);
    assert_eq!(world.current(), first);
    world.wants[0].untouched = false;
    let steps = world.run(start() + SignedDuration::from_hours(10));
    assert_eq!(names_of(&steps), ["switch", "retire"]);
    let second = world.current();
    assert!(first != second && world.all_by(&second));
}

#[test]
fn who_loads_a_certificate_once_or_is_told_whom_to_trust_is_waited_for() {
    let mut world = World::pairs(1);
    world.settled();
    let first = world.current();
    let fingerprint = |world: &World| world.leaf("p0-tls-server").chain[0].fingerprint();
    world.wants[0].serving = Some(fingerprint(&world));
    world.wants[0].callers = Some(bundle_fingerprint(&world.plan().bundle));
    let (meta, _) = world.secrets.get_mut(AUTHORITY_SECRET).unwrap();
    meta.annotations
        .insert(annotation::ROTATE_REQUESTED_AT.into(), "now".into());
    let hour = SignedDuration::from_hours(1);
    let mut steps = world.run(start() + hour);
    assert_eq!(names_of(&steps), ["announce"], "callers don't trust the next one");
    world.wants[0].callers = Some(bundle_fingerprint(&world.plan().bundle));
    steps.extend(world.run(start() + hour * 2));
    assert_eq!(
        names_of(&steps),
        ["announce", "switch"],
        "the pods hold the old one"
    );
    assert!(world.leaf("p0-tls-server").trusts(&first));
    world.wants[0].serving = Some(fingerprint(&world));
    steps.extend(world.run(start() + hour * 3));
    assert_eq!(names_of(&steps), ["announce", "switch", "retire"]);
    assert!(!world.leaf("p0-tls-server").trusts(&first));
}

#[test]
fn a_deleted_authority_is_followed_without_a_refused_call() {
    for damage in ["absent", "empty", "half", "damaged", "other key"] {
        let mut world = World::pairs(3);
        world.rules.writes = 2;
        world.settled();
        let first = world.current();
        let (_, data) = world.secrets.get_mut(AUTHORITY_SECRET).unwrap();
        match damage {
            "absent" => drop(world.secrets.remove(AUTHORITY_SECRET)),
            "empty" => data.clear(),
            "half" => drop(data.remove("tls.key")),
            "damaged" => drop(data.insert("tls.crt".into(), b"x".to_vec())),
            _ => drop(data.insert("tls.key".into(), ca(0).key_pem().into_bytes())),
        }
        let (steps, plan) = world.pass();
        assert_eq!(names_of(&steps), ["replace"], "{damage}");
        assert!(plan.bundle.contains(&first), "{damage}");
        let second = world.current();
        let end = world.now + SignedDuration::from_hours(1);
        let steps = world.run(end);
        assert_eq!(names_of(&steps), ["retire"], "{damage}");
        assert!(world.all_by(&second), "{damage}");
        assert_ne!(first, second);
    }
}

#[test]
fn another_authority_in_its_place_is_followed_without_a_refused_call() {
    for managed in [false, true] {
        let mut world = World::pairs(3);
        world.rules.writes = 2;
        world.settled();
        let first = world.current();
        let annotations: &[(&str, &str)] = match managed {
            true => &[("cert-manager.io/certificate-name", "ca")],
            false => &[],
        };
        world.put(
            AUTHORITY_SECRET,
            pair(ca(7).certificate(), &ca(7).key_pem(), None),
            annotations,
        );
        let before = world.secrets[AUTHORITY_SECRET].clone();
        let (steps, plan) = world.pass();
        assert_eq!(names_of(&steps), if managed { vec![] } else { vec!["remember"] });
        assert!(plan.bundle.contains(&first), "{managed}");
        let end = world.now + SignedDuration::from_hours(1);
        let steps = world.run(end);
        assert_eq!(names_of(&steps), if managed { vec![] } else { vec!["retire"] });
        assert!(world.all_by(ca(7).certificate()), "{managed}");
        if managed {
            assert!(before == world.secrets[AUTHORITY_SECRET], "left as it was");
        }
        let (_, plan) = world.pass();
        assert!(plan.order.is_empty() && !plan.rotating);
    }
}

#[test]
fn one_foreign_leaf_does_not_make_its_authority_everybodys() {
    let mut world = World::pairs(2);
    world.settled();
    let evil = leaf_of(ca(9), &world.wants[0], start(), certificate::VALIDITY);
    world.put("p0-tls-server", evil, &[]);
    world.silent = true;
    let (steps, plan) = world.pass();
    assert!(steps.is_empty() && plan.order.is_empty());
    assert!(!plan.bundle.contains(ca(9).certificate()));
    let current = world.current();
    assert!(world.all_by(&current));
}
