//! What a step changes in a secret. Pure but for new keys.

use std::collections::BTreeMap;

use api::annotation;
use jiff::Timestamp;
use kit::certificate::{self, Authority, Certificate, Contents, IssueError, Request, bundle};
use kit::meta::Owner;

use super::facts::{AuthorityHeld, Held, Rules, Want, stamp};
use super::leaf::LeafStep;
use super::observe::{Data, NEXT_CERTIFICATE, NEXT_KEY, PREVIOUS};
use super::trust::{AuthorityStep, Rotation};

/// Organisation in the subject of what we issue.
pub(crate) const ORGANISATION: &str = "Gantry";

/// What changes in a secret. Not for logs: there are private keys in it.
#[derive(Default)]
pub(crate) struct Change {
    /// Annotations to set.
    pub annotations: BTreeMap<&'static str, String>,
    /// Owner references, if they are ours to set.
    pub owners: Option<Vec<Owner>>,
    /// Values to set; `None` takes one away.
    pub values: BTreeMap<&'static str, Option<Vec<u8>>>,
}

impl Change {
    fn sign_by(&mut self, certificate: &Certificate, key: Vec<u8>) {
        let certificate = certificate.pem().into_bytes();
        self.values.insert(certificate::CERTIFICATE, Some(certificate));
        self.values.insert(certificate::KEY, Some(key));
    }

    fn announce(&mut self, next: Option<&Authority>) {
        let certificate = next.map(|next| next.certificate().pem().into_bytes());
        self.values.insert(NEXT_CERTIFICATE, certificate);
        self.values
            .insert(NEXT_KEY, next.map(|next| next.key_pem().into_bytes()));
    }

    fn remember(&mut self, previous: &[Certificate]) {
        let previous = (!previous.is_empty()).then(|| bundle(previous));
        self.values.insert(PREVIOUS, previous);
    }
}

/// Whether a step of the authority needs a new one.
pub(crate) fn needs_authority(step: &AuthorityStep) -> bool {
    matches!(
        step,
        AuthorityStep::Replace { .. } | AuthorityStep::Announce { .. }
    )
}

/// A step of the authority: what changes, and what its secret holds then but for metadata. `data` is what it holds now, `made`
/// a new authority if the step needs one. `None` if they don't fit the step.
pub(crate) fn authority(
    step: &AuthorityStep,
    held: &AuthorityHeld,
    data: &Data,
    made: Option<&Authority>,
) -> Option<(Change, AuthorityHeld)> {
    let mut change = Change::default();
    let mut after = held.clone();
    match step {
        AuthorityStep::Keep => {}
        AuthorityStep::Replace { previous, .. } => {
            let made = made?;
            change.sign_by(made.certificate(), made.key_pem().into_bytes());
            change.announce(None);
            change.remember(previous);
            after.current = Ok(made.certificate().clone());
            after.next = None;
            after.previous.clone_from(previous);
        }
        AuthorityStep::Announce { why } => {
            let made = made?;
            change.announce(Some(made));
            if let Rotation::Asked(value) = why {
                change.annotations.insert(annotation::ROTATED_FOR, value.clone());
            }
            after.next = Some(made.certificate().clone());
        }
        AuthorityStep::Switch { previous } => {
            let next = after.next.take()?;
            change.sign_by(&next, data.get(NEXT_KEY)?.clone());
            change.announce(None);
            change.remember(previous);
            after.current = Ok(next);
            after.previous.clone_from(previous);
        }
        AuthorityStep::Remember { previous } => {
            change.remember(previous);
            after.previous.clone_from(previous);
        }
        AuthorityStep::Retire => {
            change.remember(&[]);
            after.previous.clear();
        }
    }
    Some((change, after))
}

/// A step of a leaf: what changes. `Ok(None)` if nothing does, or if nobody can sign.
pub(crate) fn leaf(
    step: &LeafStep,
    want: &Want,
    held: Option<&Held>,
    trusted: &[Certificate],
    signer: Option<&Authority>,
    rules: &Rules,
    now: Timestamp,
) -> Result<Option<Change>, IssueError> {
    let mut change = Change {
        owners: Some(want.owners.clone()),
        ..Change::default()
    };
    let mut stamp_now = |key| change.annotations.insert(key, now.to_string());
    match (step, signer) {
        (LeafStep::Keep, _) | (LeafStep::Issue { .. }, None) => return Ok(None),
        (LeafStep::Owners, _) => {}
        (LeafStep::Bundle, _) => {
            stamp_now(annotation::CERTIFICATE_BUNDLED_AT);
            // One that is ahead of the clock says nothing any more.
            let issued = held.map(|held| stamp(&held.meta, annotation::CERTIFICATE_ISSUED_AT, now));
            if issued.is_some_and(|issued| issued.is_err()) {
                stamp_now(annotation::CERTIFICATE_ISSUED_AT);
            }
            change
                .values
                .insert(certificate::AUTHORITIES, Some(bundle(trusted)));
        }
        (LeafStep::Issue { stamp_bundle, .. }, Some(signer)) => {
            stamp_now(annotation::CERTIFICATE_ISSUED_AT);
            let bundled = held.map(|held| stamp(&held.meta, annotation::CERTIFICATE_BUNDLED_AT, now));
            if *stamp_bundle || bundled.is_some_and(|bundled| bundled.is_err()) {
                stamp_now(annotation::CERTIFICATE_BUNDLED_AT);
            }
            let request = Request {
                names: &want.names,
                usage: want.usage,
                organisation: ORGANISATION,
                validity: rules.validity,
            };
            let made = signer.issue(&request, now)?;
            change.sign_by(&made.certificate, made.key_pem.into_bytes());
            change
                .values
                .insert(certificate::AUTHORITIES, Some(bundle(trusted)));
        }
    }
    Ok(Some(change))
}

/// What a secret with a certificate holds after a change.
pub(crate) fn contents(change: &Change, held: Option<&Held>) -> Contents {
    let data: Data = change
        .values
        .iter()
        .filter_map(|(key, value)| Some(((*key).to_owned(), value.clone()?)))
        .collect();
    let before = held.map(|held| &held.contents);
    match (before, data.get(certificate::AUTHORITIES)) {
        (Some(before), None) => before.clone(),
        (Some(Contents::Whole(leaf)), Some(bundle)) if !data.contains_key(certificate::KEY) => {
            let mut leaf = leaf.clone();
            leaf.authorities =
                certificate::certificates(bundle, certificate::AUTHORITIES).unwrap_or_default();
            leaf.bundle.clone_from(bundle);
            Contents::Whole(leaf)
        }
        _ => certificate::read(&data),
    }
}
