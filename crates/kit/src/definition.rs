//! Whether the API server serves a CRD, asked in the way that costs it least.
//!
//! A CRD is large, and its conditions are not in its metadata. Read as JSON from the store it takes the API server some
//! ten milliseconds; as protobuf from its watch cache a tenth of that. A definition of a thousand kinds is asked for a
//! thousand times while the API server still works on it, so the difference shows.

use bytes::Bytes;
use kube::Client;

use crate::{
    read::{self, Condition, Conditions, OBJECT_BYTES, ReadError},
    resource::Target,
};

/// JSON is for servers in front of the API server that can't do the other.
const ACCEPT: &str = "application/vnd.kubernetes.protobuf,application/json";

/// What protobuf begins with at an API server.
const MAGIC: &[u8] = b"k8s\0";

/// Field numbers of the messages on the way to the conditions (`generated.proto` of each).
mod field {
    /// `runtime.Unknown`
    pub(super) const RAW: u64 = 2;
    /// `CustomResourceDefinition`
    pub(super) const METADATA: u64 = 1;
    pub(super) const STATUS: u64 = 3;
    /// `ObjectMeta`
    pub(super) const NAME: u64 = 1;
    pub(super) const UID: u64 = 5;
    pub(super) const RESOURCE_VERSION: u64 = 6;
    pub(super) const GENERATION: u64 = 7;
    /// `CustomResourceDefinitionStatus`
    pub(super) const CONDITIONS: u64 = 1;
    /// `CustomResourceDefinitionCondition`
    pub(super) const TYPE: u64 = 1;
    pub(super) const CONDITION_STATUS: u64 = 2;
    pub(super) const REASON: u64 = 4;
    pub(super) const MESSAGE: u64 = 5;
}

/// Conditions of the CRD `target`, in a state that is not older than `version`, and of its metadata the name, UID,
/// version and generation; `None` if it does not exist.
///
/// # Errors
/// As any read. An API server that has not seen `version` yet is late, which is transient.
pub async fn conditions(
    client: &Client,
    target: &Target,
    version: &str,
) -> Result<Option<Conditions>, ReadError> {
    let path = target.path().map_err(ReadError::Name)?;
    let query = format!("{path}?resourceVersion={}", read::escape(version));
    let what = target.to_string();
    match read::get(client, &what, &target.resource, query, ACCEPT, OBJECT_BYTES).await {
        Ok(Some(body)) => decode(&what, &body).map(Some),
        Ok(None) => Ok(None),
        Err(error) if error.is_transient() => Err(error),
        // Refusals come as protobuf too; what they say is read from JSON. They are rare.
        Err(_) => read::conditions(client, target).await,
    }
}

fn decode(what: &str, body: &Bytes) -> Result<Conditions, ReadError> {
    let Some(envelope) = body.strip_prefix(MAGIC) else {
        return read::decode_conditions(what, body);
    };
    definition(envelope).ok_or_else(|| ReadError::Unavailable {
        what: what.to_owned(),
        why: "its answer is not the protobuf of a CRD".to_owned(),
        retry_after: None,
    })
}

fn definition(envelope: &[u8]) -> Option<Conditions> {
    let mut found = Conditions::default();
    let object = Fields(envelope).messages(field::RAW)?.into_iter().next()?;
    for metadata in Fields(object).messages(field::METADATA)? {
        let mut fields = Fields(metadata);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (field::NAME, Value::Bytes(text)) => found.meta.name = string(text)?,
                (field::UID, Value::Bytes(text)) => found.meta.uid = string(text)?,
                (field::RESOURCE_VERSION, Value::Bytes(text)) => {
                    found.meta.resource_version = string(text)?;
                }
                (field::GENERATION, Value::Number(number)) => {
                    found.meta.generation = i64::try_from(number).ok()?;
                }
                _ => {}
            }
        }
    }
    for status in Fields(object).messages(field::STATUS)? {
        for condition in Fields(status).messages(field::CONDITIONS)? {
            found.conditions.push(self::condition(condition)?);
        }
    }
    Some(found)
}

fn condition(message: &[u8]) -> Option<Condition> {
    let mut condition = Condition::default();
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next()? {
        let Value::Bytes(text) = value else { continue };
        match number {
            field::TYPE => condition.type_ = string(text)?,
            field::CONDITION_STATUS => condition.status = string(text)?,
            field::REASON => condition.reason = Some(string(text)?),
            field::MESSAGE => condition.message = Some(string(text)?),
            _ => {}
        }
    }
    Some(condition)
}

fn string(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// The fields of a protobuf message that are left. All answers are `None` where the bytes are no message.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a type that we don't ask for.
    Skipped,
}

impl<'a> Fields<'a> {
    /// The next field; `Some(None)` at the end.
    #[allow(clippy::option_option)]
    fn next(&mut self) -> Option<Option<(u64, Value<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => self.take(8).map(|_| Value::Skipped)?,
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Skipped)?,
            _ => return None,
        };
        Some(Some((tag >> 3, value)))
    }

    /// All messages with this number, in order.
    fn messages(mut self, wanted: u64) -> Option<Vec<&'a [u8]>> {
        let mut found = vec![];
        while let Some((number, value)) = self.next()? {
            if let (true, Value::Bytes(bytes)) = (number == wanted, value) {
                found.push(bytes);
            }
        }
        Some(found)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(length)?;
        self.0 = left;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, left) = self.0.split_first()?;
            self.0 = left;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(mut number: u64) -> Vec<u8> {
        let mut out = vec![];
        while number >= 0x80 {
            out.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
        out
    }

    fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
        [
            number(field << 3 | 2),
            number(content.len() as u64),
            content.to_vec(),
        ]
        .concat()
    }

    fn crd(status: &str) -> Vec<u8> {
        let condition = [
            bytes(1, b"Established"),
            bytes(2, status.as_bytes()),
            bytes(3, &[8, 1]),
            bytes(4, b"Installing"),
            bytes(5, b"the initial names have been accepted"),
        ]
        .concat();
        let status = [bytes(1, &condition), bytes(3, b"v1")].concat();
        let metadata = [
            bytes(1, b"a.x"),
            bytes(5, b"uid"),
            bytes(6, b"77"),
            number(7 << 3),
            number(300),
            number(9 << 3 | 1),
            vec![0; 8],
            number(10 << 3 | 5),
            vec![0; 4],
        ]
        .concat();
        let object = [bytes(1, &metadata), bytes(2, &[0xff; 5000]), bytes(3, &status)].concat();
        let mut answer = MAGIC.to_vec();
        answer.extend(bytes(1, &bytes(2, b"CustomResourceDefinition")));
        answer.extend(bytes(2, &object));
        answer
    }

    #[test]
    fn conditions_are_found_without_reading_the_rest() {
        let read = decode("a.x", &crd("True").into()).unwrap();
        assert!(read.is_true("Established"));
        let condition = read.get("Established").unwrap();
        assert_eq!(condition.reason.as_deref(), Some("Installing"));
        let meta = &read.meta;
        let found = (
            meta.name.as_str(),
            meta.uid.as_str(),
            meta.resource_version.as_str(),
        );
        assert_eq!(found, ("a.x", "uid", "77"));
        assert_eq!(meta.generation, 300);
        assert!(
            !decode("a.x", &crd("False").into())
                .unwrap()
                .is_true("Established")
        );
        let json =
            br#"{"metadata":{"uid":"u"},"status":{"conditions":[{"type":"Established","status":"True"}]}}"#;
        assert!(
            decode("a.x", &json.to_vec().into())
                .unwrap()
                .is_true("Established")
        );
    }

    #[test]
    fn what_is_cut_or_no_message_is_no_answer() {
        let whole = crd("True");
        for length in MAGIC.len()..whole.len() {
            let cut = Bytes::copy_from_slice(&whole[..length]);
            assert!(decode("a.x", &cut).unwrap_err().is_transient(), "{length}");
        }
        for bad in [
            &[0x0b][..],
            &[0xff; 11],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert!(definition(bad).is_none(), "{bad:?}");
        }
    }
}
