//! Each state of a secret, one by one.

use super::*;

#[test]
fn each_state_of_a_secret_gets_its_step() {
    let server = want("a", Usage::Server);
    let valid = certificate::VALIDITY;
    let good = leaf_of(ca(0), &server, start(), valid);
    let with = |key: &str, value: &[u8]| {
        let mut data = good.clone();
        data.insert(key.into(), value.to_vec());
        data
    };
    let named = |names: &[&str], usage| Want {
        names: names.iter().map(|&n| n.into()).collect(),
        usage,
        ..server.clone()
    };
    let long_ago = start() - days(200);
    let nearly = start() - days(66);
    let other = leaf_of(ca(1), &server, start(), valid);
    let table: Vec<(&str, Data, &str)> = vec![
        ("good", good.clone(), "keep"),
        ("made beforehand, empty", Data::new(), "there was none"),
        ("no key", with("tls.key", b""), "its tls.key was missing"),
        ("no certificate", with("tls.crt", b""), "its tls.crt was missing"),
        ("no authority", with("ca.crt", b""), "bundle"),
        ("authority damaged", with("ca.crt", b"x"), "bundle"),
        ("authority of another", with("ca.crt", &other["ca.crt"]), "bundle"),
        (
            "damaged",
            with("tls.crt", b"x"),
            "tls.crt holds no certificate in PEM",
        ),
        (
            "key damaged",
            with("tls.key", b"x"),
            "tls.key holds no private key in PEM",
        ),
        (
            "key of another",
            with("tls.key", &other["tls.key"]),
            "tls.key is not the key of the certificate in tls.crt",
        ),
        (
            "expired",
            leaf_of(ca(0), &server, long_ago, valid),
            "it expired at 2026-08-10T00:00:00Z",
        ),
        ("due", leaf_of(ca(0), &server, nearly, valid), "it was to expire"),
        (
            "of ten years, as the reference's",
            leaf_of(ca(0), &server, start(), valid * 40),
            "keep",
        ),
        (
            "foreign",
            with("tls.crt", &other["tls.crt"])
                .into_iter()
                .chain(other.clone())
                .collect(),
            "it is not one of a trusted authority for a server",
        ),
        (
            "for other names",
            leaf_of(ca(0), &named(&["a"], Usage::Server), start(), valid),
            "it is not for a.ns",
        ),
        (
            "for more names",
            leaf_of(
                ca(0),
                &named(&["a", "a.ns", "more"], Usage::Server),
                start(),
                valid,
            ),
            "keep",
        ),
        (
            "a client's",
            leaf_of(ca(0), &named(&["a", "a.ns"], Usage::Client), start(), valid),
            "it is not one of a trusted authority for a server",
        ),
    ];
    for (name, data, says) in table {
        // A second one shows that the authority is in use, so that a foreign one is somebody's mistake.
        let mut world = World::new(vec![server.clone(), want("b", Usage::Client)]);
        world.put_authority(ca(0));
        let fine = leaf_of(ca(0), &world.wants[1], start(), valid);
        world.put("b", fine, &[]);
        world.put("a", data, &[]);
        let plan = world.plan();
        assert_eq!(plan.authority, AuthorityStep::Keep, "{name}");
        let said = match &plan.leaves[0].step {
            LeafStep::Keep => "keep".to_owned(),
            LeafStep::Bundle => "bundle".to_owned(),
            LeafStep::Owners => "owners".to_owned(),
            LeafStep::Issue { why, .. } => why.to_string(),
        };
        assert_eq!(said, says, "{name}");
        assert_eq!(plan.leaves[1].step, LeafStep::Keep, "{name}");
        assert_eq!(plan.order.is_empty(), says == "keep", "{name}");
        world.silent = true;
        world.pass();
        let after = world.plan();
        assert!(
            after.order.is_empty() && after.leaves[0].ready,
            "{name}: {after:?}"
        );
        assert_eq!(after.bundle, [ca(0).certificate().clone()], "{name}");
    }
}

#[test]
fn what_somebody_manages_is_judged_and_not_touched() {
    let server = want("a", Usage::Server);
    let good = leaf_of(ca(1), &server, start(), certificate::VALIDITY);
    let old = leaf_of(ca(1), &server, start() - days(200), certificate::VALIDITY);
    let mut no_ca = good.clone();
    no_ca.remove("ca.crt");
    let external = [(annotation::CERTIFICATE, annotation::CERTIFICATE_EXTERNAL)];
    let manager = [("cert-manager.io/certificate-name", "mine")];
    let by_annotation = "somebody else (annotation gantry.dev/certificate: external)";
    let by_manager = "cert-manager (Certificate mine)";
    for (data, annotations, common, by, says) in [
        (&good, &external, false, by_annotation, None),
        (&good, &manager, false, by_manager, None),
        (
            &good,
            &manager,
            true,
            by_manager,
            Some("it is not one of a trusted authority for a server"),
        ),
        (
            &old,
            &external,
            false,
            by_annotation,
            Some("it expired at 2026-08-10T00:00:00Z"),
        ),
        (
            &Data::new(),
            &manager,
            false,
            by_manager,
            Some("there is no certificate in it"),
        ),
        (
            &no_ca,
            &manager,
            false,
            by_manager,
            Some("its ca.crt holds no certificate of an authority, and pods can't trust anybody by it"),
        ),
    ] {
        let mut world = World::new(vec![Want {
            common,
            ..server.clone()
        }]);
        world.put_authority(ca(0));
        world.put("a", data.clone(), annotations);
        let plan = world.plan();
        assert!(plan.order.is_empty() && plan.authority == AuthorityStep::Keep);
        let said = plan.leaves[0].trouble.as_ref().map(ToString::to_string);
        let whole = says.map(|says| format!("Secret a is managed by {by} and is left as it is: {says}"));
        assert_eq!(said, whole);
    }
    let mut world = World::new(vec![server]);
    world.put_authority(ca(0));
    world.put("a", Data::new(), &[(annotation::CERTIFICATE, "else")]);
    assert_eq!(world.plan().order, [0], "only the value that we name counts");
    let (meta, _) = world.secrets.get_mut("a").unwrap();
    meta.owner_references.push(Owner {
        api_version: "cert-manager.io/v1".into(),
        kind: "Certificate".into(),
        name: "mine".into(),
        ..Owner::default()
    });
    assert!(world.plan().order.is_empty());
}

#[test]
fn a_secret_of_somebody_else_is_not_touched() {
    let mut world = World::new(vec![want("a", Usage::Server), want("a", Usage::Client)]);
    world.put_authority(ca(0));
    world.put("a", Data::new(), &[]);
    let said = |world: &World, n: usize| world.plan().leaves[n].trouble.as_ref().map(ToString::to_string);
    assert_eq!(said(&world, 0), None);
    world.wants[1].owners = vec![owner("r9")];
    assert_eq!(
        said(&world, 1).unwrap(),
        "Secret a is wanted twice, for ProviderRevision revision-r1 and for ProviderRevision revision-r9; \
         rename one of the two"
    );
    world.wants.truncate(1);
    world.secrets.get_mut("a").unwrap().0.owner_references = vec![owner("r0")];
    assert_eq!(
        said(&world, 0).unwrap(),
        "Secret a belongs to ProviderRevision revision-r0 and is not touched; delete or rename one of the two"
    );
    assert!(world.plan().order.is_empty());
    world.wants[0].siblings.insert("r0".into());
    world.pass();
    assert_eq!(
        world.secrets["a"].0.owner_references,
        [owner("r1")],
        "an earlier revision's"
    );
    world.secrets.get_mut("a").unwrap().0.owner_references.clear();
    assert_eq!(world.plan().leaves[0].step, LeafStep::Owners);
    world.secrets.get_mut("a").unwrap().0.deletion_timestamp = Some(start());
    assert_eq!(
        said(&world, 0).unwrap(),
        "Secret a is being deleted; waiting until it is gone"
    );
}

#[test]
fn each_state_of_the_authority_gets_its_step() {
    let year = Duration::from_secs(366 * 24 * 60 * 60);
    let old = authority(0, start() - days(400), Duration::from_secs(300 * 24 * 60 * 60));
    let ahead = authority(0, start() + days(800), certificate::AUTHORITY_VALIDITY);
    let due = authority(0, start(), year / 12);
    let key = ca(0).key_pem();
    let client = leaf_of(ca(0), &want("x", Usage::Client), start(), year);
    let good = pair(ca(0).certificate(), &key, None);
    let without = |key: &str| {
        let mut data = good.clone();
        data.remove(key);
        data
    };
    let mut reference = good.clone();
    reference.insert("more".into(), b"x".to_vec());
    for (name, data, steps) in [
        ("absent", None, vec!["replace"]),
        ("empty", Some(Data::new()), vec!["replace"]),
        ("no key", Some(without("tls.key")), vec!["replace"]),
        ("no certificate", Some(without("tls.crt")), vec!["replace"]),
        ("no authority", Some(client), vec!["replace"]),
        (
            "other key",
            Some(pair(ca(0).certificate(), &ca(1).key_pem(), None)),
            vec!["replace"],
        ),
        (
            "expired",
            Some(pair(old.certificate(), &old.key_pem(), None)),
            vec!["replace"],
        ),
        ("good", Some(reference), vec![]),
        (
            "due",
            Some(pair(due.certificate(), &due.key_pem(), None)),
            vec!["announce"],
        ),
        (
            "not yet",
            Some(pair(ahead.certificate(), &ahead.key_pem(), None)),
            vec!["announce"],
        ),
    ] {
        let mut world = World::new(vec![]);
        if name == "due" {
            world.now += days(25);
        }
        if let Some(data) = data {
            world.put(AUTHORITY_SECRET, data, &[]);
        }
        let plan = world.plan();
        let step = names_of(std::slice::from_ref(&plan.authority));
        assert_eq!(step.first().filter(|s| **s != "keep"), steps.first(), "{name}");
        let end = world.now + SignedDuration::from_mins(30);
        world.run(end);
        let (_, plan) = world.pass();
        assert_eq!(plan.authority, AuthorityStep::Keep, "{name}");
        assert!(world.current().is_valid(world.now), "{name}");
    }
    // What somebody else manages is not written.
    let mut world = World::new(vec![want("a", Usage::Server)]);
    world.put(
        AUTHORITY_SECRET,
        Data::new(),
        &[(annotation::CERTIFICATE, "external")],
    );
    let plan = world.plan();
    assert!(plan.order.is_empty() && plan.authority == AuthorityStep::Keep);
    assert_eq!(
        plan.leaves[0].trouble.as_ref().unwrap().to_string(),
        "Secret a needs a certificate, which can't be issued: Secret crossplane-root-ca, managed by somebody else \
         (annotation gantry.dev/certificate: external): it is empty"
    );
}
