//! What is wanted, and what there is: the input of the plan. No private key is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use api::annotation;
use jiff::{SignedDuration, Timestamp};
use kit::certificate::{
    AUTHORITY_VALIDITY, Certificate, Contents, Fingerprint, Flaw, Leaf, Usage, VALIDITY, bundle,
};
use kit::meta::{Meta, Owner};

/// Writes of leaf secrets in one pass. The next pass follows at once, so this bounds what goes to the API server, and to
/// kubelets, in one moment.
pub const WRITES: usize = 20;
/// Pause between passes while there is more to write.
pub const PAUSE: Duration = Duration::from_secs(1);
/// How long after a secret changed all who mount it have read it: a kubelet looks once a minute, and asks the API server, or
/// its cache of a minute, and programs look again every ten seconds.
pub const SETTLE: Duration = Duration::from_secs(5 * 60);
/// Authorities that a bundle holds at most: one that signs, one that will, two that did.
pub const AUTHORITIES: usize = 4;
/// A stamp on a secret may be that much ahead of the clock before it counts for nothing.
pub const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// Durations and bounds; tests choose others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long a leaf is valid. It is renewed when a third of it is left.
    pub validity: Duration,
    /// How long an authority is valid. Another one is made when a third of it is left.
    pub authority_validity: Duration,
    /// See [`SETTLE`].
    pub settle: Duration,
    /// See [`WRITES`].
    pub writes: usize,
    /// See [`PAUSE`].
    pub pause: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            validity: VALIDITY,
            authority_validity: AUTHORITY_VALIDITY,
            settle: SETTLE,
            writes: WRITES,
            pause: PAUSE,
        }
    }
}

/// One certificate that somebody needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Name of the secret.
    pub secret: String,
    /// What for.
    pub usage: Usage,
    /// DNS names; those of the Service as it is in the cluster.
    pub names: Vec<String>,
    /// Owner references that the secret is to have, exactly.
    pub owners: Vec<Owner>,
    /// UIDs of others that may have controlled it before: earlier revisions of the package, and the package.
    pub siblings: BTreeSet<String>,
    /// Its peers trust the common bundle, so one that somebody else manages must verify by it. Functions are such: they and
    /// who calls them have certificates of one authority. Webhooks are not: their callers are told whom to trust.
    pub common: bool,
    /// Which certificate the pods have loaded, where they load it once; those that follow their mount don't need it.
    pub serving: Option<Fingerprint>,
    /// Which bundle its callers were given, where they were given one that is no mount (`caBundle` of webhooks): the
    /// fingerprint of [`super::Ensured::bundle`] or of [`super::LeafState::bundle`] that was written to all of them.
    pub callers: Option<Fingerprint>,
    /// Nothing is written to its secret for now: who wants it is paused, or what it is to say is not known. It counts all the
    /// same in who is trusted: a rotation waits for it.
    pub untouched: bool,
}

/// A secret as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its metadata.
    pub meta: Meta,
    /// What it holds.
    pub contents: Contents,
}

impl Held {
    /// The certificate, if there is one with its key.
    pub fn leaf(&self) -> Option<&Leaf> {
        match &self.contents {
            Contents::Whole(leaf) => Some(leaf),
            Contents::Empty | Contents::Half { .. } | Contents::Damaged(_) => None,
        }
    }
}

/// What a program finds in its secret when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loadable {
    /// The certificate.
    pub certificate: Fingerprint,
    /// Whom it trusts.
    pub bundle: Fingerprint,
}

impl Loadable {
    /// That of a secret's content.
    pub(crate) fn of(leaf: &Leaf) -> Option<Self> {
        Some(Self {
            certificate: leaf.certificate()?.fingerprint(),
            bundle: Fingerprint::of(&leaf.bundle),
        })
    }

    /// Reads what is displayed; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (certificate, bundle) = text.split_once('.')?;
        Some(Self {
            certificate: Fingerprint::parse(certificate)?,
            bundle: Fingerprint::parse(bundle)?,
        })
    }
}

impl fmt::Display for Loadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.certificate, self.bundle)
    }
}

/// Why the authority's secret can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// There is none.
    #[error("it does not exist")]
    Absent,
    /// There is nothing in it, as in one that a chart made beforehand.
    #[error("it is empty")]
    Empty,
    /// One of the two keys is empty.
    #[error("its {0} is missing")]
    Half(&'static str),
    /// What is in it is no authority.
    #[error("{0}")]
    Damaged(Flaw),
    /// It was one.
    #[error("its certificate expired at {0}")]
    Expired(Timestamp),
}

/// The authority's secret as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityHeld {
    /// Its metadata, if it exists.
    pub meta: Option<Meta>,
    /// The one that signs.
    pub current: Result<Certificate, Unusable>,
    /// The one that will sign, if its key is there.
    pub next: Option<Certificate>,
    /// Those that did.
    pub previous: Vec<Certificate>,
}

impl AuthorityHeld {
    /// That of a secret that does not exist.
    pub fn absent() -> Self {
        Self {
            meta: None,
            current: Err(Unusable::Absent),
            next: None,
            previous: vec![],
        }
    }
}

/// Everything that the plan looks at.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Wall-clock time: that which certificates are judged by.
    pub now: Timestamp,
    /// Durations and bounds.
    pub rules: &'a Rules,
    /// The authority.
    pub authority: &'a AuthorityHeld,
    /// Whether writing the authority was refused: leaves are looked after all the same.
    pub frozen: bool,
    /// Secrets whose last write was refused and that have to wait.
    pub waiting: &'a BTreeSet<String>,
    /// What is wanted.
    pub wants: &'a [Want],
    /// The secrets of those names that exist.
    pub held: &'a BTreeMap<String, Held>,
}

/// Who looks after a secret that we leave alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manager {
    /// cert-manager, by this Certificate.
    CertManager(String),
    /// Somebody, as our annotation says.
    External,
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CertManager(name) => write!(f, "cert-manager (Certificate {name})"),
            Self::External => write!(
                f,
                "somebody else (annotation {}: {})",
                annotation::CERTIFICATE,
                annotation::CERTIFICATE_EXTERNAL
            ),
        }
    }
}

/// cert-manager's annotation on secrets that it writes.
const CERT_MANAGER_NAME: &str = "cert-manager.io/certificate-name";
/// cert-manager's API group.
const CERT_MANAGER_GROUP: &str = "cert-manager.io/";

impl Manager {
    /// The one that the metadata names.
    pub fn of(meta: &Meta) -> Option<Self> {
        if meta.annotations.get(annotation::CERTIFICATE).map(String::as_str)
            == Some(annotation::CERTIFICATE_EXTERNAL)
        {
            return Some(Self::External);
        }
        let owner = meta
            .owner_references
            .iter()
            .find(|owner| owner.kind == "Certificate" && owner.api_version.starts_with(CERT_MANAGER_GROUP));
        let name = meta.annotations.get(CERT_MANAGER_NAME);
        name.or(owner.map(|owner| &owner.name))
            .map(|name| Self::CertManager(name.clone()))
    }
}

/// A set of authorities, in an order that does not depend on which of them signs: a rotation changes a bundle only when one
/// comes or goes.
pub(crate) fn ordered(mut all: Vec<Certificate>) -> Vec<Certificate> {
    all.sort_by_key(|certificate| (certificate.not_before(), certificate.fingerprint()));
    all.dedup();
    all
}

/// The fingerprint of these authorities as a bundle.
pub(crate) fn bundle_fingerprint(all: &[Certificate]) -> Fingerprint {
    Fingerprint::of(&bundle(all))
}

/// A time that a stamp of ours on a secret says. `Err` where it is ahead of the clock: it can't be right.
pub(crate) fn stamp(meta: &Meta, key: &str, now: Timestamp) -> Result<Option<Timestamp>, ()> {
    let Some(text) = meta.annotations.get(key) else {
        return Ok(None);
    };
    match text.parse::<Timestamp>() {
        Ok(at) if at.duration_since(now) <= SKEW => Ok(Some(at)),
        _ => Err(()),
    }
}

pub(crate) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

pub(crate) fn earlier(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

pub(crate) fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}
