//! Content digests.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// A hash function that a digest may use: the two that the image specification registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, written `sha256`.
    Sha256,
    /// SHA-512, written `sha512`.
    Sha512,
}

impl Algorithm {
    /// The name in front of the colon of a digest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hex digits a digest of this algorithm has.
    #[must_use]
    pub const fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A digest such as `sha256:…`, always valid and lower-case. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    text: Arc<str>,
    algorithm: Algorithm,
}

impl Digest {
    /// Reads `algorithm:hex`.
    ///
    /// # Errors
    /// If the algorithm is neither sha256 nor sha512, or the rest isn't exactly as many lower-case hex digits
    /// as it needs.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let shown = || shorten(text);
        let (name, hex) = text
            .split_once(':')
            .ok_or_else(|| DigestError::NoAlgorithm(shown()))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => {
                return Err(DigestError::UnknownAlgorithm {
                    digest: shown(),
                    algorithm: shorten(name),
                });
            }
        };
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if hex.len() != algorithm.hex_len() || !hex.bytes().all(lower_hex) {
            return Err(DigestError::Hex {
                digest: shown(),
                algorithm,
                digits: algorithm.hex_len(),
            });
        }
        Ok(Self {
            text: Arc::from(text),
            algorithm,
        })
    }

    /// The SHA-256 digest of `bytes`.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, bytes)
    }

    /// The digest of `bytes`.
    #[must_use]
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut digester = Digester::new(algorithm);
        digester.update(bytes);
        digester.finish()
    }

    /// The hash function.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hex digits behind the colon.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.text.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The whole text, `sha256:…`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Hashes bytes as they pass.
#[derive(Clone)]
pub struct Digester {
    state: State,
}

#[derive(Clone)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(Box<sha2::Sha512>),
}

impl Digester {
    /// Starts with no bytes.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Box::default()),
        };
        Self { state }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of all bytes added.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self.state {
            State::Sha256(hash) => assemble(Algorithm::Sha256, &hash.finalize()),
            State::Sha512(hash) => assemble(Algorithm::Sha512, &hash.finalize()),
        }
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digester").finish_non_exhaustive()
    }
}

impl std::io::Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn assemble(algorithm: Algorithm, hash: &[u8]) -> Digest {
    let mut text = String::with_capacity(algorithm.as_str().len() + 1 + hash.len() * 2);
    text.push_str(algorithm.as_str());
    text.push(':');
    for byte in hash {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    Digest {
        text: Arc::from(text),
        algorithm,
    }
}

/// Why a text is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no colon.
    #[error("digest {0:?} does not name its algorithm: write it as sha256:<64 hex digits>")]
    NoAlgorithm(String),
    /// The algorithm is none that Gantry can check.
    #[error("digest {digest:?} uses algorithm {algorithm:?}: only sha256 and sha512 can be checked")]
    UnknownAlgorithm {
        /// The text, shortened.
        digest: String,
        /// Its part in front of the colon, shortened.
        algorithm: String,
    },
    /// Not the right number of lower-case hex digits.
    #[error("digest {digest:?} is not {algorithm} followed by {digits} lower-case hex digits")]
    Hex {
        /// The text, shortened.
        digest: String,
        /// The algorithm that it names.
        algorithm: Algorithm,
        /// How many digits that algorithm has.
        digits: usize,
    },
}

/// The text, or its first 160 characters: it came from outside and goes into a message.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN: usize = 160;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn hashes_known_vectors() {
        assert_eq!(Digest::sha256(b"").as_str(), format!("sha256:{EMPTY}"));
        let sha512 = Digest::of(Algorithm::Sha512, b"abc");
        assert!(
            sha512.hex().starts_with("ddaf35a193617abacc417349ae204131"),
            "{sha512}"
        );
        assert_eq!(sha512.hex().len(), 128);
    }

    #[test]
    fn refuses_what_is_no_digest() {
        let upper = format!("sha256:{}", EMPTY.to_uppercase());
        let short = format!("sha256:{}", &EMPTY[1..]);
        let wrong_length = format!("sha512:{EMPTY}");
        for text in [
            "",
            "sha256",
            "sha256:",
            "md5:00",
            &upper,
            &short,
            &wrong_length,
            &format!(":{EMPTY}"),
        ] {
            assert!(Digest::parse(text).is_err(), "{text:?} passed");
        }
        let message = Digest::parse("md5:00").unwrap_err().to_string();
        assert!(message.contains("md5") && message.contains("sha256"), "{message}");
    }

    proptest! {
        #[test]
        fn never_panics_and_round_trips(text in ".{0,200}", bytes in vec(any::<u8>(), 0..64)) {
            let _ = Digest::parse(&text);
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let digest = Digest::of(algorithm, &bytes);
                prop_assert_eq!(&Digest::parse(&digest.to_string()).unwrap(), &digest);
                let json = serde_json::to_string(&digest).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Digest>(&json).unwrap(), &digest);
            }
        }

        #[test]
        fn pieces_hash_like_the_whole(bytes in vec(any::<u8>(), 0..300), cut in 0_usize..300) {
            let cut = cut.min(bytes.len());
            let mut digester = Digester::new(Algorithm::Sha256);
            digester.update(&bytes[..cut]);
            digester.update(&bytes[cut..]);
            prop_assert_eq!(digester.finish(), Digest::sha256(&bytes));
        }
    }
}
