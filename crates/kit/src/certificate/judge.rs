//! Whether a certificate is what it should be.

use std::fmt;

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::parse::Certificate;

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Who is connected to.
    Server,
    /// Who connects.
    Client,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

/// What is wrong with a certificate that could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// Its time is over.
    #[error("it expired at {0}")]
    Expired(Timestamp),
    /// Its time has not come.
    #[error("it is not valid before {0}")]
    NotYet(Timestamp),
    /// No trusted authority signed it, or it may not be used so.
    #[error("it is not one of a trusted authority for a {0}")]
    Foreign(Usage),
    /// It is for others.
    #[error("it is not for {}", .0.join(", "))]
    Names(Vec<String>),
}

/// All that is wrong with the first of `chain` (the others lead to an authority): nothing if peers that trust
/// `authorities` and call it by any of `names` accept it at `now`.
pub fn examine(
    chain: &[Certificate],
    authorities: &[&Certificate],
    names: &[String],
    usage: Usage,
    now: Timestamp,
) -> Vec<Finding> {
    let Some(leaf) = chain.first() else {
        return vec![Finding::Foreign(usage)];
    };
    let mut found = vec![];
    if now > leaf.not_after() {
        found.push(Finding::Expired(leaf.not_after()));
    }
    if now < leaf.not_before() {
        found.push(Finding::NotYet(leaf.not_before()));
    }
    if !verifies(chain, authorities, usage, now) {
        found.push(Finding::Foreign(usage));
    }
    let missing: Vec<String> = names.iter().filter(|name| !covers(leaf, name)).cloned().collect();
    if !missing.is_empty() {
        found.push(Finding::Names(missing));
    }
    found
}

/// Whether one of the authorities that are valid at `now` signed the first of `chain`, for that usage. Whether that
/// one is valid itself at `now` doesn't matter.
pub fn verifies(chain: &[Certificate], authorities: &[&Certificate], usage: Usage, now: Timestamp) -> bool {
    let valid: Vec<&Certificate> = authorities.iter().copied().filter(|a| a.is_valid(now)).collect();
    let Some(leaf) = chain.first() else {
        return false;
    };
    let at = now.max(leaf.not_before()).min(leaf.not_after());
    leads_to(chain, &valid, usage, at)
}

/// The same at a time at which all are valid, without looking at the authorities' own time.
pub(super) fn leads_to(
    chain: &[Certificate],
    authorities: &[&Certificate],
    usage: Usage,
    at: Timestamp,
) -> bool {
    let Some((leaf, between)) = chain.split_first() else {
        return false;
    };
    let anchors: Vec<TrustAnchor<'_>> = authorities
        .iter()
        .filter_map(|authority| anchor_from_trusted_cert(authority.der()).ok())
        .collect();
    let between: Vec<CertificateDer<'_>> = between.iter().map(|c| c.der().clone()).collect();
    let at = std::time::Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0));
    let usage = match usage {
        Usage::Server => KeyUsage::server_auth(),
        Usage::Client => KeyUsage::client_auth(),
    };
    let Ok(leaf) = EndEntityCert::try_from(leaf.der()) else {
        return false;
    };
    leaf.verify_for_usage(
        ALL_VERIFICATION_ALGS,
        &anchors,
        &between,
        UnixTime::since_unix_epoch(at),
        usage,
        None,
        None,
    )
    .is_ok()
}

fn covers(leaf: &Certificate, name: &str) -> bool {
    if leaf.names().iter().any(|own| own == name) {
        return true;
    }
    // Wildcards.
    let (Ok(end), Ok(name)) = (EndEntityCert::try_from(leaf.der()), ServerName::try_from(name)) else {
        return false;
    };
    end.verify_is_valid_for_subject_name(&name).is_ok()
}
