//! Certificates and keys as bytes.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rcgen::KeyPair;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{CERTIFICATE, CERTIFICATES, Flaw, KEY, PEM_BYTES};

/// SHA-256 of something public: which one it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads what [`fmt::Display`] writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() || !text.is_ascii() {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One certificate, read once. Clones share it.
#[derive(Clone)]
pub struct Certificate(Arc<Read>);

struct Read {
    der: CertificateDer<'static>,
    fingerprint: Fingerprint,
    not_before: Timestamp,
    not_after: Timestamp,
    serial: String,
    names: Vec<String>,
    signs: bool,
    public_key: Vec<u8>,
}

impl Certificate {
    /// Reads DER; `what` is for the error.
    ///
    /// # Errors
    /// [`Flaw::Unreadable`].
    pub fn from_der(der: CertificateDer<'static>, what: &'static str) -> Result<Self, Flaw> {
        let unreadable = |why: String| Flaw::Unreadable { what, why };
        let (rest, parsed) =
            X509Certificate::from_der(&der).map_err(|error| unreadable(error.to_string()))?;
        if !rest.is_empty() {
            return Err(unreadable("there is something behind the certificate".to_owned()));
        }
        let time = |seconds: i64| {
            Timestamp::from_second(seconds)
                .map_err(|_| unreadable("its validity is beyond all calendars".to_owned()))
        };
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        // As Go's verifier asks of an authority: version 3 with the mark, and the usage if any is given.
        let marked = parsed
            .basic_constraints()
            .ok()
            .flatten()
            .is_some_and(|c| c.value.ca);
        let may_sign = match parsed.key_usage() {
            Ok(Some(usage)) => usage.value.key_cert_sign(),
            Ok(None) => true,
            Err(_) => false,
        };
        let read = Read {
            fingerprint: Fingerprint::of(&der),
            not_before: time(parsed.validity().not_before.timestamp())?,
            not_after: time(parsed.validity().not_after.timestamp())?,
            serial: parsed.raw_serial_as_string(),
            names: names.collect(),
            signs: marked && may_sign,
            public_key: parsed.public_key().subject_public_key.data.to_vec(),
            der: der.clone(),
        };
        Ok(Self(Arc::new(read)))
    }

    /// The bytes.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.0.der
    }

    /// PEM.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.0.der)
    }

    /// Which one it is.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// Valid from then on.
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// Valid until then.
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// Whether it is valid at that time.
    pub fn is_valid(&self, at: Timestamp) -> bool {
        (self.0.not_before..=self.0.not_after).contains(&at)
    }

    /// Serial number, in hex digits with colons.
    pub fn serial(&self) -> &str {
        &self.0.serial
    }

    /// DNS names that it is for, as they are written in it.
    pub fn names(&self) -> &[String] {
        &self.0.names
    }

    /// Whether it is an authority's, so that it may sign others.
    pub fn signs(&self) -> bool {
        self.0.signs
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.fingerprint == other.0.fingerprint
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("serial", &self.0.serial)
            .field("not_before", &self.0.not_before)
            .field("not_after", &self.0.not_after)
            .field("names", &self.0.names)
            .finish_non_exhaustive()
    }
}

/// A private key. Never shown.
pub struct PrivateKey(KeyPair);

impl PrivateKey {
    pub(super) fn new(pair: KeyPair) -> Self {
        Self(pair)
    }

    /// Reads the first private key of a PEM text.
    ///
    /// # Errors
    /// A [`Flaw`] that says nothing of the key itself.
    pub fn read(text: &[u8]) -> Result<Self, Flaw> {
        if text.len() > PEM_BYTES {
            return Err(Flaw::TooLarge { what: KEY });
        }
        let key = PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
            rustls_pki_types::pem::Error::NoItemsFound => Flaw::Nothing {
                what: KEY,
                sort: "private key",
            },
            // The reader's errors quote lines of the text.
            _ => Flaw::Unreadable {
                what: KEY,
                why: "its PEM is damaged".to_owned(),
            },
        })?;
        let pair = KeyPair::try_from(&key).map_err(|_| Flaw::Unreadable {
            what: KEY,
            why: "it is no private key of a known sort".to_owned(),
        })?;
        Ok(Self(pair))
    }

    /// Whether this is the key of the certificate.
    pub fn is_of(&self, certificate: &Certificate) -> bool {
        self.0.public_key_raw() == certificate.0.public_key
    }

    pub(super) fn pair(&self) -> &KeyPair {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// All certificates of a PEM text, at least one; `what` is for errors.
///
/// # Errors
/// [`Flaw`].
pub fn certificates(text: &[u8], what: &'static str) -> Result<Vec<Certificate>, Flaw> {
    if text.len() > PEM_BYTES {
        return Err(Flaw::TooLarge { what });
    }
    let mut found = vec![];
    for der in CertificateDer::pem_slice_iter(text) {
        if found.len() == CERTIFICATES {
            return Err(Flaw::TooMany { what });
        }
        // Somebody may have put a key here: its lines are not quoted.
        let der = der.map_err(|_| Flaw::Unreadable {
            what,
            why: "its PEM is damaged".to_owned(),
        })?;
        found.push(Certificate::from_der(der, what)?);
    }
    match found.is_empty() {
        true => Err(Flaw::Nothing {
            what,
            sort: "certificate",
        }),
        false => Ok(found),
    }
}

/// A certificate with what links it to an authority, and its key.
///
/// # Errors
/// [`Flaw`], also if they don't belong together.
pub fn pair(certificate: &[u8], key: &[u8]) -> Result<(Vec<Certificate>, PrivateKey), Flaw> {
    let chain = certificates(certificate, CERTIFICATE)?;
    let key = PrivateKey::read(key)?;
    match chain.first().is_some_and(|leaf| key.is_of(leaf)) {
        true => Ok((chain, key)),
        false => Err(Flaw::OtherKey),
    }
}

/// Certificates as one PEM text.
pub fn bundle(certificates: &[Certificate]) -> Vec<u8> {
    certificates
        .iter()
        .flat_map(|certificate| certificate.pem().into_bytes())
        .collect()
}

/// PEM with lines of 64, as everybody writes it.
pub(super) fn pem(sort: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {sort}-----\n");
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            out.push('\n');
        }
        out.push(character);
    }
    out.push_str(&format!("\n-----END {sort}-----\n"));
    out
}
