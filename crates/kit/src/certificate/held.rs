//! What a secret holds, without its private key.

use std::collections::BTreeMap;

use super::parse::{self, Certificate};
use super::{AUTHORITIES, CERTIFICATE, Flaw, KEY, PEM_BYTES};

/// What a secret holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Neither certificate nor key, as secrets are that somebody made beforehand.
    Empty,
    /// One of the two.
    Half {
        /// Key of the secret that is missing or empty.
        missing: &'static str,
    },
    /// Something that can't be used.
    Damaged(Flaw),
    /// A certificate and its key.
    Whole(Leaf),
}

/// A certificate whose key is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The certificate, and what links it to an authority.
    pub chain: Vec<Certificate>,
    /// Whom its holder is to trust: as text, since nobody compares anything else.
    pub bundle: Vec<u8>,
    /// The same, read; empty if it can't be.
    pub authorities: Vec<Certificate>,
}

impl Leaf {
    /// The certificate. `None` never happens: what has none is damaged.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.chain.first()
    }

    /// Whether its holder trusts this authority.
    pub fn trusts(&self, authority: &Certificate) -> bool {
        self.authorities.contains(authority)
    }
}

/// Reads the values of a secret. Total: whatever they are.
pub fn read(data: &BTreeMap<String, Vec<u8>>) -> Contents {
    let value = |key: &str| data.get(key).map(Vec::as_slice).unwrap_or_default();
    match (value(CERTIFICATE), value(KEY)) {
        ([], []) => Contents::Empty,
        ([], _) => Contents::Half { missing: CERTIFICATE },
        (_, []) => Contents::Half { missing: KEY },
        (certificate, key) => match parse::pair(certificate, key) {
            Err(flaw) => Contents::Damaged(flaw),
            Ok((chain, _)) => {
                let bundle = value(AUTHORITIES);
                Contents::Whole(Leaf {
                    chain,
                    // A longer one is not what anybody wants, whatever follows.
                    bundle: bundle.get(..PEM_BYTES).unwrap_or(bundle).to_vec(),
                    authorities: parse::certificates(bundle, AUTHORITIES).unwrap_or_default(),
                })
            }
        },
    }
}
