//! Who issues certificates.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, SanType,
};
use x509_parser::asn1_rs::{Any, FromDer as _, OctetString, Sequence};

use super::parse::{self, Certificate, PrivateKey};
use super::{BACKDATE, CERTIFICATE, Flaw, NAME_BYTES, NAMES, Usage, judge};

/// Longest common name (RFC 5280, upper bounds).
const COMMON_NAME_BYTES: usize = 64;

/// Why a certificate was not issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// A certificate without a name is for nobody.
    #[error("a certificate needs at least one name")]
    Nameless,
    /// More than [`NAMES`].
    #[error("a certificate is for at most {NAMES} names")]
    TooManyNames,
    /// Not a DNS name.
    #[error("{0:?} is not a DNS name")]
    BadName(String),
    /// The authority's own certificate does not verify what it issues.
    #[error("what the authority issues does not verify by its own certificate")]
    NotVerified,
    /// Anything else.
    #[error("the certificate could not be made: {0}")]
    Failed(String),
}

fn failed(error: impl fmt::Display) -> IssueError {
    IssueError::Failed(error.to_string())
}

/// What a certificate is wanted for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// DNS names, the first one is shown.
    pub names: &'a [String],
    /// What for.
    pub usage: Usage,
    /// Organisation in its subject: who issued it.
    pub organisation: &'a str,
    /// How long it is valid.
    pub validity: Duration,
}

/// A certificate with its key.
pub struct Issued {
    /// The certificate.
    pub certificate: Certificate,
    /// The key, PKCS #8 PEM.
    pub key_pem: String,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// A certificate authority with its key.
#[derive(Debug)]
pub struct Authority {
    certificate: Certificate,
    key: PrivateKey,
}

impl Authority {
    /// A new one, with a subject of its own.
    ///
    /// # Errors
    /// If the machine can't make keys.
    pub fn new(organisation: &str, now: Timestamp, validity: Duration) -> Result<Self, IssueError> {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).map_err(failed)?;
        let mark = parse::Fingerprint::of(key.public_key_raw()).to_string();
        let mark = mark.get(..16).unwrap_or_default();
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(organisation, &format!("{organisation} authority {mark}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        validity_of(&mut params, earlier(now, BACKDATE), later(now, validity));
        let made = params.self_signed(&key).map_err(failed)?;
        let certificate = Certificate::from_der(made.der().clone(), CERTIFICATE).map_err(failed)?;
        Ok(Self {
            certificate,
            key: PrivateKey::new(key),
        })
    }

    /// The one that a secret holds. Of several certificates the first counts.
    ///
    /// # Errors
    /// [`Flaw`]; whether it is valid now is not looked at.
    pub fn read(certificate: &[u8], key: &[u8]) -> Result<Self, Flaw> {
        let (chain, key) = parse::pair(certificate, key)?;
        match chain.into_iter().next() {
            Some(certificate) if certificate.signs() => Ok(Self { certificate, key }),
            _ => Err(Flaw::NoAuthority),
        }
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its key as PEM: PKCS #1 for RSA (see the module), PKCS #8 otherwise.
    pub fn key_pem(&self) -> String {
        let der = self.key.pair().serialized_der();
        match self.key.pair().is_compatible(&PKCS_RSA_SHA256) {
            // A key that was read from PKCS #1 is kept as such.
            true => parse::pem("RSA PRIVATE KEY", inner(der).as_deref().unwrap_or(der)),
            false => self.key.pair().serialize_pem(),
        }
    }

    /// Issues a certificate with a new key.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue(&self, request: &Request<'_>, now: Timestamp) -> Result<Issued, IssueError> {
        let first = request.names.first().ok_or(IssueError::Nameless)?;
        if request.names.len() > NAMES {
            return Err(IssueError::TooManyNames);
        }
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        let shown = match first.len() <= COMMON_NAME_BYTES {
            true => first,
            false => request.organisation,
        };
        params.distinguished_name = subject(request.organisation, shown);
        params.subject_alt_names = request
            .names
            .iter()
            .map(|name| dns_name(name))
            .collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match request.usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let from = self.certificate.not_before();
        validity_of(&mut params, from, later(now, request.validity));
        let issuer = Issuer::from_ca_cert_der(self.certificate.der(), self.key.pair()).map_err(failed)?;
        let made = params.signed_by(&key, &issuer).map_err(failed)?;
        let certificate = Certificate::from_der(made.der().clone(), CERTIFICATE).map_err(failed)?;
        // An authority made elsewhere may have a subject that does not come back byte by byte.
        let chain = std::slice::from_ref(&certificate);
        if !judge::leads_to(
            chain,
            &[&self.certificate],
            request.usage,
            certificate.not_after(),
        ) {
            return Err(IssueError::NotVerified);
        }
        Ok(Issued {
            certificate,
            key_pem: key.serialize_pem(),
        })
    }
}

fn subject(organisation: &str, name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, organisation);
    subject.push(DnType::CommonName, name);
    subject
}

fn dns_name(name: &str) -> Result<SanType, IssueError> {
    let bad = || IssueError::BadName(name.to_owned());
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if name.len() > NAME_BYTES || !name.split('.').all(fits) {
        return Err(bad());
    }
    Ok(SanType::DnsName(name.try_into().map_err(|_| bad())?))
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Times of a certificate: not before 1970, as nothing that anybody reads is.
fn validity_of(params: &mut CertificateParams, from: Timestamp, until: Timestamp) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // Both calendars end in the same year, and a timestamp is within it.
    let since = |at: Timestamp| Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0));
    params.not_before = epoch + since(from);
    params.not_after = epoch + since(until);
}

/// The key within PKCS #8: version, algorithm, and the key as an octet string. `None` if it is no PKCS #8.
fn inner(pkcs8: &[u8]) -> Option<Vec<u8>> {
    let (_, sequence) = Sequence::from_der(pkcs8).ok()?;
    let (rest, _version) = Any::from_der(&sequence.content).ok()?;
    let (rest, _algorithm) = Sequence::from_der(rest).ok()?;
    let (_, key) = OctetString::from_der(rest).ok()?;
    Some(key.as_ref().to_vec())
}
