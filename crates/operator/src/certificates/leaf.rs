//! What becomes of one secret with a certificate.

use std::fmt;

use api::annotation;
use jiff::{SignedDuration, Timestamp};
use kit::certificate::{
    AUTHORITIES, Certificate, Contents, Finding, Fingerprint, Flaw, Leaf, bundle, examine, verifies,
};
use kit::meta::Meta;

use super::facts::{Facts, Held, Manager, Want, earlier, signed, stamp};
use super::trust::Trust;

/// Why a certificate is issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is none.
    Missing,
    /// Certificate or key is missing.
    Half(&'static str),
    /// What is there can't be read.
    Damaged(Flaw),
    /// What is there is not accepted by those who should.
    Unfit(Vec<Finding>),
    /// Its authority was followed by another.
    Rotated,
    /// Its time is over soon.
    Due,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there was none"),
            Self::Half(missing) => write!(f, "its {missing} was missing"),
            Self::Damaged(flaw) => write!(f, "{flaw}"),
            Self::Unfit(findings) => f.write_str(&list(findings)),
            Self::Rotated => f.write_str("it was by an earlier authority"),
            Self::Due => f.write_str("it was to expire"),
        }
    }
}

/// What to do with one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafStep {
    /// Nothing.
    Keep,
    /// A new certificate, with whom to trust and owners.
    Issue {
        /// Why.
        why: Why,
        /// Whether those who trust by it must be waited for.
        stamp_bundle: bool,
    },
    /// Whom to trust, and owners.
    Bundle,
    /// Only owners.
    Owners,
}

/// What is wrong with a secret and is not mended by the plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It is somebody else's to mend.
    #[error("Secret {secret} is managed by {manager} and is left as it is: {what}")]
    Managed {
        /// Its name.
        secret: String,
        /// By whom.
        manager: Manager,
        /// What is wrong with it.
        what: String,
    },
    /// It belongs to another object.
    #[error("Secret {secret} belongs to {owner} and is not touched; delete or rename one of the two")]
    Stranger {
        /// Its name.
        secret: String,
        /// Kind and name.
        owner: String,
    },
    /// Two want one secret.
    #[error("Secret {secret} is wanted twice, for {first} and for {second}; rename one of the two")]
    Shared {
        /// Its name.
        secret: String,
        /// Who has it.
        first: String,
        /// Who doesn't.
        second: String,
    },
    /// Somebody deleted it and something keeps it.
    #[error("Secret {secret} is being deleted; waiting until it is gone")]
    Terminating {
        /// Its name.
        secret: String,
    },
    /// Nobody can sign.
    #[error("Secret {secret} needs a certificate, which can't be issued: Secret {authority}{by}: {why}")]
    NoAuthority {
        /// Its name.
        secret: String,
        /// Name of the authority's secret.
        authority: &'static str,
        /// Who looks after it, in words.
        by: String,
        /// What is wrong with it.
        why: String,
    },
    /// The API server said no.
    #[error("Secret {secret} was not written: {why}")]
    NotWritten {
        /// Its name.
        secret: String,
        /// The server's words.
        why: String,
        /// Whether it may help to try again.
        transient: bool,
    },
}

/// The plan for one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafPlan {
    /// Which of the wants.
    pub want: usize,
    /// What to do.
    pub step: LeafStep,
    /// What is not mended.
    pub trouble: Option<Trouble>,
    /// Whether pods can start with it as it is: all three keys are there and are accepted.
    pub ready: bool,
    /// When to look at it again.
    pub at: Option<Timestamp>,
}

impl LeafPlan {
    /// The order in which secrets are written: what doesn't work first.
    pub(crate) fn urgency(&self) -> Option<u8> {
        match &self.step {
            LeafStep::Keep => None,
            LeafStep::Issue { why, .. } => Some(match why {
                Why::Missing | Why::Half(_) | Why::Damaged(_) | Why::Unfit(_) => 0,
                Why::Rotated => 3,
                Why::Due => 4,
            }),
            LeafStep::Bundle => Some(1),
            LeafStep::Owners => Some(2),
        }
    }
}

fn list(findings: &[Finding]) -> String {
    let words: Vec<String> = findings.iter().map(ToString::to_string).collect();
    words.join("; ")
}

/// The plan for one of the wants, whose secret no other wants.
pub(crate) fn plan(facts: &Facts<'_>, trust: &Trust, index: usize, want: &Want) -> LeafPlan {
    let plan = judged(facts, trust, index, want);
    match want.untouched {
        true => LeafPlan {
            step: LeafStep::Keep,
            ..plan
        },
        false => plan,
    }
}

fn judged(facts: &Facts<'_>, trust: &Trust, index: usize, want: &Want) -> LeafPlan {
    let mut plan = LeafPlan {
        want: index,
        step: LeafStep::Keep,
        trouble: None,
        ready: false,
        at: None,
    };
    let secret = want.secret.clone();
    let Some(held) = facts.held.get(&want.secret) else {
        return issue(plan, facts, trust, want, None, Why::Missing);
    };
    if let Some(manager) = Manager::of(&held.meta) {
        return managed(plan, facts, trust, want, held, manager);
    }
    if let Some(owner) = stranger(&held.meta, want) {
        plan.trouble = Some(Trouble::Stranger { secret, owner });
        return plan;
    }
    if held.meta.is_terminating() {
        plan.trouble = Some(Trouble::Terminating { secret });
        return plan;
    }
    let leaf = match &held.contents {
        Contents::Empty => return issue(plan, facts, trust, want, None, Why::Missing),
        Contents::Half { missing } => return issue(plan, facts, trust, want, None, Why::Half(missing)),
        Contents::Damaged(flaw) => return issue(plan, facts, trust, want, None, Why::Damaged(flaw.clone())),
        Contents::Whole(leaf) => leaf,
    };
    let all: Vec<&Certificate> = trust.bundle.iter().collect();
    let findings = examine(&leaf.chain, &all, &want.names, want.usage, trust.judged_at);
    if !findings.is_empty() {
        return issue(plan, facts, trust, want, Some(leaf), Why::Unfit(findings));
    }
    plan.ready = !leaf.authorities.is_empty();
    let current: Vec<&Certificate> = trust.current.iter().collect();
    let is_current = verifies(&leaf.chain, &current, want.usage, trust.judged_at);
    let due = leaf.certificate().map(|c| renewal(facts, &want.secret, c));
    if trust.current.is_some() && !is_current && trust.announced {
        return issue(plan, facts, trust, want, Some(leaf), Why::Rotated);
    }
    // While nobody can sign, or not everybody trusts who does, the old one is better than none, and it is only due.
    if is_current && due.is_some_and(|due| due <= facts.now) {
        return issue(plan, facts, trust, want, Some(leaf), Why::Due);
    }
    let end = leaf.certificate().map(Certificate::not_after);
    plan.at = [due, end]
        .into_iter()
        .flatten()
        .filter(|at| *at > facts.now)
        .min();
    let stamps = [
        annotation::CERTIFICATE_ISSUED_AT,
        annotation::CERTIFICATE_BUNDLED_AT,
    ];
    let odd = stamps
        .iter()
        .any(|key| stamp(&held.meta, key, facts.now).is_err());
    let told = leaf.bundle == bundle(&trust.bundle);
    plan.step = if trust.current.is_some() && (odd || !told) {
        LeafStep::Bundle
    } else if held.meta.owner_references != want.owners {
        LeafStep::Owners
    } else {
        LeafStep::Keep
    };
    plan
}

fn issue(
    mut plan: LeafPlan,
    facts: &Facts<'_>,
    trust: &Trust,
    want: &Want,
    before: Option<&Leaf>,
    why: Why,
) -> LeafPlan {
    if trust.current.is_some() {
        let known = before.is_some_and(|leaf| !leaf.authorities.is_empty());
        let changes = before.is_none_or(|leaf| leaf.bundle != bundle(&trust.bundle));
        plan.step = LeafStep::Issue {
            why,
            stamp_bundle: changes && (known || trust.rotating),
        };
    } else {
        let authority = super::AUTHORITY_SECRET;
        let by = trust
            .manager
            .as_ref()
            .map(|manager| format!(", managed by {manager}"));
        let why = match &facts.authority.current {
            Err(why) => why.to_string(),
            Ok(current) => format!("its certificate expired at {}", current.not_after()),
        };
        plan.trouble = Some(Trouble::NoAuthority {
            secret: want.secret.clone(),
            authority,
            by: by.unwrap_or_default(),
            why,
        });
    }
    plan
}

/// A secret that somebody else looks after: judged, not touched.
fn managed(
    mut plan: LeafPlan,
    facts: &Facts<'_>,
    trust: &Trust,
    want: &Want,
    held: &Held,
    manager: Manager,
) -> LeafPlan {
    let what = match &held.contents {
        Contents::Empty => Some("there is no certificate in it".to_owned()),
        Contents::Half { missing } => Some(format!("its {missing} is missing")),
        Contents::Damaged(flaw) => Some(flaw.to_string()),
        Contents::Whole(leaf) if leaf.authorities.is_empty() => Some(format!(
            "its {AUTHORITIES} holds no certificate of an authority, and pods can't trust anybody by it"
        )),
        Contents::Whole(leaf) => {
            let trusted = match want.common {
                true => trust.bundle.iter(),
                false => leaf.authorities.iter(),
            };
            let trusted: Vec<&Certificate> = trusted.collect();
            let findings = examine(&leaf.chain, &trusted, &want.names, want.usage, facts.now);
            let times = leaf.chain.iter().flat_map(|c| [c.not_before(), c.not_after()]);
            plan.at = times.filter(|at| *at > facts.now).min();
            // Pods start with it, well or badly: that is not ours to stop.
            plan.ready = true;
            (!findings.is_empty()).then(|| list(&findings))
        }
    };
    plan.trouble = what.map(|what| Trouble::Managed {
        secret: want.secret.clone(),
        manager,
        what,
    });
    plan
}

/// Who controls the secret, if that is neither an owner that is wanted nor one of the same family.
pub(crate) fn stranger(meta: &Meta, want: &Want) -> Option<String> {
    let controller = meta.controller()?;
    let known =
        want.siblings.contains(&controller.uid) || want.owners.iter().any(|o| o.uid == controller.uid);
    (!known).then(|| format!("{} {}", controller.kind, controller.name))
}

/// When a certificate is renewed: when a third of what we give is left, or up to an eighteenth (five days of ninety) before,
/// by its secret's name, so that what was issued together is not renewed together.
pub(crate) fn renewal(facts: &Facts<'_>, secret: &str, certificate: &Certificate) -> Timestamp {
    let validity = signed(facts.rules.validity);
    let spread = (validity / 18).as_millis();
    let share = i128::from(share(secret));
    let early = spread * share / (i128::from(u32::MAX) + 1);
    let early = SignedDuration::from_millis(i64::try_from(early).unwrap_or(0));
    earlier(certificate.not_after(), (validity / 3).saturating_add(early))
}

/// A steady number per name, even over all of them.
fn share(name: &str) -> u32 {
    let hash = Fingerprint::of(name.as_bytes()).to_string();
    u32::from_str_radix(hash.get(..8).unwrap_or("0"), 16).unwrap_or(0)
}
