//! From anything to something that works.

use proptest::prelude::*;

use super::*;

fn some_data() -> impl Strategy<Value = Data> {
    let value = prop_oneof![
        Just(vec![]),
        Just(b"x".to_vec()),
        (0usize..3).prop_map(|n| ca(n).certificate().pem().into_bytes()),
        (0usize..3).prop_map(|n| ca(n).key_pem().into_bytes()),
        (0usize..3, 0i64..400, any::<bool>()).prop_map(|(n, ago, key)| {
            let data = leaf_of(
                ca(n),
                &want("p0-tls-server", Usage::Server),
                start() - days(ago),
                certificate::VALIDITY,
            );
            data[if key { "tls.key" } else { "tls.crt" }].clone()
        }),
    ];
    let keys = prop::sample::select(vec![
        "tls.crt",
        "tls.key",
        "ca.crt",
        "next.crt",
        "next.key",
        "previous.crt",
    ]);
    prop_oneof![
        prop::collection::btree_map(keys.prop_map(str::to_owned), value, 0..6),
        (0usize..3).prop_map(|n| pair(ca(n).certificate(), &ca(n).key_pem(), None)),
        (0usize..3, 0i64..400).prop_map(|(n, ago)| {
            leaf_of(
                ca(n),
                &want("p0-tls-server", Usage::Server),
                start() - days(ago),
                certificate::VALIDITY,
            )
        }),
    ]
}

fn some_stamp() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("x".to_owned()),
        (-400i64..400).prop_map(|d| (start() + days(d)).to_string()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// From whatever there is, an hour leads to something that works, and then nothing more is written.
    #[test]
    fn it_settles(
        authority in prop::option::of(some_data()),
        leaves in prop::collection::vec(prop::option::of((some_data(), some_stamp(), some_stamp())), 4),
        asked in any::<bool>(),
    ) {
        let mut world = World::pairs(2);
        world.rules.writes = 3;
        if let Some(data) = authority {
            let annotations: &[(&str, &str)] = if asked { &[(annotation::ROTATE_REQUESTED_AT, "x")] } else { &[] };
            world.put(AUTHORITY_SECRET, data, annotations);
        }
        let names: Vec<String> = world.wants.iter().map(|w| w.secret.clone()).collect();
        for (name, leaf) in names.iter().zip(leaves) {
            if let Some((data, issued, bundled)) = leaf {
                world.put(name, data, &[
                    (annotation::CERTIFICATE_ISSUED_AT, &issued),
                    (annotation::CERTIFICATE_BUNDLED_AT, &bundled),
                ]);
            }
        }
        world.silent = true;
        world.run(start() + SignedDuration::from_hours(1));
        world.writes.clear();
        let (steps, plan) = world.pass();
        prop_assert!(steps.is_empty() && world.writes.is_empty(), "{steps:?} {:?}", world.writes);
        prop_assert!(plan.leaves.iter().all(|leaf| leaf.ready && leaf.trouble.is_none()), "{plan:?}");
        let current = world.current();
        prop_assert!(world.all_by(&current), "{plan:?}");
    }
}
