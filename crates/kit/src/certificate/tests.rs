use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

const NOW: &str = "2026-11-28T00:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn days(count: i64) -> jiff::SignedDuration {
    jiff::SignedDuration::from_hours(24 * count)
}

/// Making one takes a moment, so tests share it.
fn authority() -> &'static Authority {
    static ONE: OnceLock<Authority> = OnceLock::new();
    ONE.get_or_init(|| Authority::new("test", now(), AUTHORITY_VALIDITY).unwrap())
}

fn other() -> &'static Authority {
    static ONE: OnceLock<Authority> = OnceLock::new();
    ONE.get_or_init(|| Authority::new("test", now(), AUTHORITY_VALIDITY).unwrap())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn issue(by: &Authority, named: &[&str], usage: Usage, at: Timestamp) -> Issued {
    let request = Request {
        names: &names(named),
        usage,
        organisation: "test",
        validity: VALIDITY,
    };
    by.issue(&request, at).unwrap()
}

fn data(certificate: &str, key: &str, authorities: &str) -> BTreeMap<String, Vec<u8>> {
    [(CERTIFICATE, certificate), (KEY, key), (AUTHORITIES, authorities)]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .into()
}

#[test]
fn what_is_issued_verifies_for_its_names_and_usage_only() {
    let made = issue(authority(), &["a", "a.ns", "a.ns.svc"], Usage::Server, now());
    let chain = [made.certificate.clone()];
    let anchors = [authority().certificate()];
    let judge = |asked: &[&str], usage, at| examine(&chain, &anchors, &names(asked), usage, at);
    assert_eq!(judge(&["a", "a.ns", "a.ns.svc"], Usage::Server, now()), []);
    assert_eq!(
        judge(&["a", "b.ns"], Usage::Server, now()),
        [Finding::Names(names(&["b.ns"]))]
    );
    assert_eq!(
        judge(&["a"], Usage::Client, now()),
        [Finding::Foreign(Usage::Client)]
    );
    let end = made.certificate.not_after();
    assert_eq!(end, now() + days(90));
    assert_eq!(judge(&["a"], Usage::Server, end), []);
    assert_eq!(
        judge(&["a"], Usage::Server, end + days(1)),
        [Finding::Expired(end)]
    );
    let foreign = examine(
        &chain,
        &[other().certificate()],
        &names(&["a"]),
        Usage::Server,
        now(),
    );
    assert_eq!(foreign, [Finding::Foreign(Usage::Server)]);
    assert_eq!(
        examine(&[], &anchors, &[], Usage::Server, now()),
        [Finding::Foreign(Usage::Server)]
    );
}

#[test]
fn an_authority_whose_time_is_over_vouches_for_nobody() {
    let short = Authority::new("test", now(), Duration::from_secs(60)).unwrap();
    let made = issue(&short, &["a"], Usage::Server, now());
    let chain = [made.certificate];
    assert!(verifies(&chain, &[short.certificate()], Usage::Server, now()));
    assert!(!verifies(
        &chain,
        &[short.certificate()],
        Usage::Server,
        now() + days(1)
    ));
}

#[test]
fn a_clock_that_was_wrong_by_less_than_a_year_makes_nothing_that_is_not_valid_yet() {
    let ahead = now() + days(365);
    let authority = Authority::new("test", ahead, AUTHORITY_VALIDITY).unwrap();
    let made = issue(&authority, &["a"], Usage::Server, ahead);
    let findings = examine(
        &[made.certificate],
        &[authority.certificate()],
        &names(&["a"]),
        Usage::Server,
        now(),
    );
    assert_eq!(findings, []);
}

#[test]
fn a_leaf_is_never_valid_before_its_authority() {
    let young = Authority::new("test", now() + days(300), AUTHORITY_VALIDITY).unwrap();
    let made = issue(&young, &["a"], Usage::Server, now());
    assert_eq!(made.certificate.not_before(), young.certificate().not_before());
    let epoch = Authority::new("test", Timestamp::UNIX_EPOCH, AUTHORITY_VALIDITY).unwrap();
    assert_eq!(epoch.certificate().not_before(), Timestamp::UNIX_EPOCH);
}

#[test]
fn serial_numbers_keys_and_subjects_are_never_shared() {
    let (a, b) = (
        issue(authority(), &["a"], Usage::Server, now()),
        issue(authority(), &["a"], Usage::Server, now()),
    );
    assert_ne!(a.certificate.serial(), b.certificate.serial());
    assert!(a.certificate.serial().len() > 40, "{}", a.certificate.serial());
    assert_ne!(a.key_pem, b.key_pem);
    let anchor = |a: &Authority| {
        let anchor = webpki::anchor_from_trusted_cert(a.certificate().der()).unwrap();
        anchor.subject.to_vec()
    };
    assert_ne!(anchor(authority()), anchor(other()));
}

#[test]
fn an_authority_comes_back_from_its_secret() {
    let pem = authority().certificate().pem();
    let key = authority().key_pem();
    // What the programs that share the secret parse.
    assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"), "not shown");
    let block = rustls_pki_types::PrivatePkcs1KeyDer::from_pem_slice(key.as_bytes()).unwrap();
    assert!(is_pkcs1(&block), "the block is PKCS #1");
    let back = Authority::read(pem.as_bytes(), key.as_bytes()).unwrap();
    assert!(back.key_pem() == key, "the key stays as it is");
    let made = issue(&back, &["a"], Usage::Client, now());
    let chain = [made.certificate];
    assert!(verifies(
        &chain,
        &[authority().certificate()],
        Usage::Client,
        now()
    ));
}

use rustls_pki_types::pem::PemObject as _;

/// PKCS #1 begins with version and modulus, PKCS #8 with version and an algorithm.
fn is_pkcs1(key: &rustls_pki_types::PrivatePkcs1KeyDer<'_>) -> bool {
    let der = key.secret_pkcs1_der();
    // 30 82 LL LL, 02 01 00, then 02 for the modulus
    der.first() == Some(&0x30) && der.get(4..8) == Some(&[0x02, 0x01, 0x00, 0x02])
}

#[test]
fn authorities_of_other_sorts_are_used_too() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        let read = Authority::read(pem.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let made = issue(&read, &["a"], Usage::Server, now());
        let chain = [made.certificate];
        assert!(verifies(&chain, &[read.certificate()], Usage::Server, now()));
        let again = Authority::read(pem.as_bytes(), read.key_pem().as_bytes());
        assert!(again.is_ok(), "{again:?}");
    }
}

#[test]
fn only_an_authority_signs() {
    let leaf = issue(authority(), &["a"], Usage::Server, now());
    let read = Authority::read(leaf.certificate.pem().as_bytes(), leaf.key_pem.as_bytes());
    assert_eq!(read.unwrap_err(), Flaw::NoAuthority);
}

#[test]
fn names_that_cannot_be_are_refused() {
    let issue = |named: &[&str]| {
        let request = Request {
            names: &names(named),
            usage: Usage::Server,
            organisation: "test",
            validity: VALIDITY,
        };
        authority().issue(&request, now()).map(drop)
    };
    assert_eq!(issue(&[]), Err(IssueError::Nameless));
    for bad in [
        "",
        "a..b",
        "A",
        "a b",
        "ä",
        "*.a",
        "a\0",
        &"a".repeat(64),
        &"a.".repeat(130),
    ] {
        assert_eq!(issue(&[bad]), Err(IssueError::BadName(bad.to_owned())), "{bad}");
    }
    assert_eq!(issue(&["a"; NAMES + 1]), Err(IssueError::TooManyNames));
    let long = format!("{}.{}.svc", "a".repeat(63), "b".repeat(63));
    assert_eq!(issue(&[&long]), Ok(()), "longer than a common name may be");
}

/// Each state that a secret may be in.
#[test]
fn a_secret_says_what_is_wrong_with_it() {
    let made = issue(authority(), &["a"], Usage::Server, now());
    let (cert, key) = (made.certificate.pem(), made.key_pem.clone());
    let ca = authority().certificate().pem();
    let stranger = issue(authority(), &["a"], Usage::Server, now());
    let cut = cert.get(..cert.len() / 2).unwrap().to_owned();
    let garbled = cert.replacen("MII", "MIX", 1);
    let damaged = |contents: Contents| match contents {
        Contents::Damaged(flaw) => flaw.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(read(&BTreeMap::new()), Contents::Empty);
    assert_eq!(read(&data("", "", &ca)), Contents::Empty);
    assert_eq!(read(&data(&cert, "", &ca)), Contents::Half { missing: KEY });
    assert_eq!(
        read(&data("", &key, &ca)),
        Contents::Half { missing: CERTIFICATE }
    );
    for (cert, key, says) in [
        (
            cert.as_str(),
            stranger.key_pem.as_str(),
            "tls.key is not the key of the certificate in tls.crt",
        ),
        (&cert, &cert, "tls.key holds no private key in PEM"),
        (&key, &key, "tls.crt holds no certificate in PEM"),
        ("x", &key, "tls.crt holds no certificate in PEM"),
        (
            &cert,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "tls.key can't be read: it is no private key of a known sort",
        ),
        (
            &cert,
            "-----BEGIN PRIVATE KEY-----\nSECRET!\n-----END PRIVATE KEY-----\n",
            "tls.key can't be read: its PEM is damaged",
        ),
        (
            &cert,
            "-----BEGIN PRIVATE KEY-----\nAAAA",
            "tls.key can't be read: its PEM is damaged",
        ),
        (&cut, &key, "tls.crt can't be read: its PEM is damaged"),
        (&"x".repeat(PEM_BYTES + 1), &key, "tls.crt is larger than 256 KiB"),
        (
            &cert.repeat(CERTIFICATES + 1),
            &key,
            "tls.crt holds more than 16 certificates",
        ),
    ] {
        assert_eq!(damaged(read(&data(cert, key, &ca))), says);
    }
    assert!(damaged(read(&data(&garbled, &key, &ca))).starts_with("tls.crt can't be read: "));
    let Contents::Whole(leaf) = read(&data(&cert, &key, &ca)) else {
        panic!("a whole one");
    };
    assert_eq!(leaf.certificate(), Some(&made.certificate));
    assert!(leaf.trusts(authority().certificate()) && !leaf.trusts(other().certificate()));
    for bundle in ["", "x", &cut] {
        let Contents::Whole(leaf) = read(&data(&cert, &key, bundle)) else {
            panic!("whole but for {bundle:?}");
        };
        assert_eq!(
            (leaf.bundle, leaf.authorities),
            (bundle.as_bytes().to_vec(), vec![])
        );
    }
    let both = bundle(&[authority().certificate().clone(), other().certificate().clone()]);
    assert_eq!(certificates(&both, AUTHORITIES).unwrap().len(), 2);
}

#[test]
fn text_around_certificates_is_passed_over() {
    let made = issue(authority(), &["a"], Usage::Server, now());
    let text = format!("subject: a\n\n{}\nissuer: b\n", made.certificate.pem());
    assert!(pair(text.as_bytes(), format!("# key\n{}", made.key_pem).as_bytes()).is_ok());
}

#[test]
fn keys_are_never_shown() {
    let made = issue(authority(), &["a"], Usage::Server, now());
    let (chain, key) = pair(made.certificate.pem().as_bytes(), made.key_pem.as_bytes()).unwrap();
    let shown = format!("{made:?} {key:?} {chain:?} {:?} {made:#?}", authority());
    for line in made.key_pem.lines().chain(authority().key_pem().lines()) {
        assert!(!shown.contains(line), "{line}");
    }
    assert!(shown.contains("PrivateKey(…)"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let all = [CERTIFICATE, KEY, AUTHORITIES].map(|key| (key.to_owned(), bytes.clone()));
        let _ = read(&all.into());
        let _ = Authority::read(&bytes, &bytes);
    }

    /// Bytes that look like PEM, and certificates with something wrong in the middle.
    #[test]
    fn no_damage_makes_it_panic(at in 0usize..2000, with in any::<u8>(), cut in 0usize..2000, der in any::<bool>()) {
        let made = issue(authority(), &["a"], Usage::Server, now());
        let damage = |text: &[u8]| {
            let mut bytes = text.to_vec();
            let length = bytes.len();
            if let Some(byte) = bytes.get_mut(at % length) {
                *byte = with;
            }
            bytes.truncate(length - if cut % 4 == 0 { cut % length } else { 0 });
            bytes
        };
        let (cert, key) = if der {
            let key = rustls_pki_types::PrivatePkcs8KeyDer::from_pem_slice(made.key_pem.as_bytes()).unwrap();
            (
                parse::pem("CERTIFICATE", &damage(made.certificate.der())).into_bytes(),
                parse::pem("PRIVATE KEY", &damage(key.secret_pkcs8_der())).into_bytes(),
            )
        } else {
            (damage(made.certificate.pem().as_bytes()), damage(made.key_pem.as_bytes()))
        };
        for (cert, key) in [
            (cert.clone(), made.key_pem.clone().into_bytes()),
            (made.certificate.pem().into_bytes(), key.clone()),
            (cert, key),
        ] {
            if let Contents::Whole(leaf) = read(&[
                (CERTIFICATE.to_owned(), cert.clone()),
                (KEY.to_owned(), key.clone()),
                (AUTHORITIES.to_owned(), cert.clone()),
            ].into()) {
                let anchors = [authority().certificate()];
                let _ = examine(&leaf.chain, &anchors, &names(&["a"]), Usage::Server, now());
            }
            if let Ok(authority) = Authority::read(&cert, &key) {
                let request = Request {
                    names: &names(&["a"]), usage: Usage::Client, organisation: "test", validity: VALIDITY,
                };
                let _ = authority.issue(&request, now());
            }
        }
    }

    #[test]
    fn no_time_makes_it_panic(second in -377_705_023_201i64..253_402_207_200) {
        let at = Timestamp::from_second(second).unwrap();
        let request = Request { names: &names(&["a"]), usage: Usage::Server, organisation: "test", validity: VALIDITY };
        if let Ok(made) = authority().issue(&request, at) {
            let _ = examine(&[made.certificate], &[authority().certificate()], &names(&["a"]), Usage::Server, at);
        }
    }
}
