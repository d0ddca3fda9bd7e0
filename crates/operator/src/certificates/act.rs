//! Writes secrets: creates, or merges into exactly the object and state that was judged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kit::certificate::{self, Authority, Certificate, Contents, IssueError};
use kit::meta::Meta;
use kit::write::{WriteError, Writer};
use serde_json::{Map, Value, json};

use super::AUTHORITY_SECRET;
use super::change::{self, Change};
use super::facts::{AuthorityHeld, Held, Rules, Want};
use super::leaf::LeafStep;
use super::observe::{self, Data};
use super::trust::AuthorityStep;

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActError {
    #[error("{0}")]
    Write(#[from] WriteError),
    #[error("{0}")]
    Read(#[from] kit::read::ReadError),
    #[error("{0}")]
    Issue(#[from] IssueError),
    #[error("Secret {AUTHORITY_SECRET} changed meanwhile")]
    Changed,
}

impl ActError {
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Write(WriteError::Conflict { .. } | WriteError::AlreadyExists { .. }) | Self::Changed => {
                true
            }
            Self::Write(error) => error.is_transient(),
            Self::Read(error) => error.is_transient(),
            Self::Issue(_) => false,
        }
    }

    /// Whether this process may not write at all now.
    pub(crate) fn is_fenced(&self) -> bool {
        matches!(self, Self::Write(WriteError::Fenced(_)))
    }
}

/// Where and how to write.
pub(crate) struct Hand<'a> {
    pub writer: &'a Writer,
    pub namespace: &'a str,
    pub rules: &'a Rules,
    pub now: Timestamp,
}

impl Hand<'_> {
    /// Creates the secret, or merges into it.
    async fn write(&self, name: &str, live: Option<&Meta>, change: &Change) -> Result<Meta, WriteError> {
        let target = observe::target(self.namespace, name);
        let manager = api::FIELD_MANAGER_RUNTIME;
        let body = body(self.namespace, name, live, change);
        match live {
            None => self.writer.create(manager, &target, body).await,
            Some(_) => self.writer.merge_patch(manager, &target, body).await,
        }
    }

    /// The authority's values, if its secret is as it was planned with.
    async fn values(&self, planned: &AuthorityHeld) -> Result<Data, ActError> {
        let secret = observe::get(self.writer.client(), self.namespace, AUTHORITY_SECRET).await?;
        match (secret, &planned.meta) {
            (Some(secret), Some(meta))
                if secret.meta.uid == meta.uid && secret.meta.resource_version == meta.resource_version =>
            {
                Ok(secret.data)
            }
            _ => Err(ActError::Changed),
        }
    }

    /// The authority that signs, as it was planned with.
    pub(crate) async fn signer(&self, planned: &AuthorityHeld) -> Result<Authority, ActError> {
        let data = self.values(planned).await?;
        let value = |key: &str| data.get(key).map(Vec::as_slice).unwrap_or_default();
        Authority::read(value(certificate::CERTIFICATE), value(certificate::KEY))
            .map_err(|_| ActError::Changed)
    }

    /// Does a step of the authority, and says what its secret holds then.
    pub(crate) async fn authority(
        &self,
        step: &AuthorityStep,
        held: &AuthorityHeld,
    ) -> Result<(Meta, AuthorityHeld), ActError> {
        let made = match change::needs_authority(step) {
            true => Some(self.made().await?),
            false => None,
        };
        let data = match step {
            AuthorityStep::Switch { .. } => self.values(held).await?,
            _ => Data::new(),
        };
        let (change, mut after) =
            change::authority(step, held, &data, made.as_ref()).ok_or(ActError::Changed)?;
        let meta = self.write(AUTHORITY_SECRET, held.meta.as_ref(), &change).await?;
        after.meta = Some(meta.clone());
        Ok((meta, after))
    }

    /// Searching for primes keeps a core busy for a moment.
    async fn made(&self) -> Result<Authority, ActError> {
        let (now, validity) = (self.now, self.rules.authority_validity);
        let made = move || Authority::new(change::ORGANISATION, now, validity);
        let made = tokio::task::spawn_blocking(made).await;
        Ok(made.map_err(|error| IssueError::Failed(error.to_string()))??)
    }

    /// Does a step of a leaf, and says what its secret holds then.
    pub(crate) async fn leaf(
        &self,
        step: &LeafStep,
        want: &Want,
        held: Option<&Held>,
        trusted: &[Certificate],
        signer: Option<&Authority>,
    ) -> Result<Option<(Meta, Contents)>, ActError> {
        let change = change::leaf(step, want, held, trusted, signer, self.rules, self.now)?;
        let Some(change) = change else {
            return Ok(None);
        };
        let live = held.map(|held| &held.meta);
        let meta = self.write(&want.secret, live, &change).await?;
        Ok(Some((meta, change::contents(&change, held))))
    }
}

/// The body of a create, or of a merge patch that fails where the object is another or has changed.
fn body(namespace: &str, name: &str, live: Option<&Meta>, change: &Change) -> Value {
    let mut metadata = Map::new();
    if !change.annotations.is_empty() {
        metadata.insert("annotations".to_owned(), json!(change.annotations));
    }
    if let Some(owners) = &change.owners {
        metadata.insert("ownerReferences".to_owned(), json!(owners));
    }
    let values = change.values.iter();
    let data: Map<String, Value> = values
        .filter(|(_, value)| live.is_some() || value.is_some())
        .map(|(key, value)| {
            (
                (*key).to_owned(),
                json!(value.as_ref().map(|v| STANDARD.encode(v))),
            )
        })
        .collect();
    match live {
        None => {
            metadata.insert("name".to_owned(), json!(name));
            metadata.insert("namespace".to_owned(), json!(namespace));
            // Without a type: Opaque, as the reference's.
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
        }
        Some(live) => {
            metadata.insert("uid".to_owned(), json!(live.uid));
            metadata.insert("resourceVersion".to_owned(), json!(live.resource_version));
            match data.is_empty() {
                true => json!({"metadata": metadata}),
                false => json!({"metadata": metadata, "data": data}),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_for_the_object_and_state_that_was_judged() {
        let mut change = Change::default();
        change.values.insert("tls.crt", Some(b"a".to_vec()));
        change.values.insert("next.crt", None);
        change.annotations.insert("x", "y".into());
        let created = body("ns", "a", None, &change);
        assert_eq!(
            created,
            json!({
                "apiVersion": "v1", "kind": "Secret", "data": {"tls.crt": "YQ=="},
                "metadata": {"name": "a", "namespace": "ns", "annotations": {"x": "y"}},
            })
        );
        let live = Meta {
            uid: "u".into(),
            resource_version: "7".into(),
            ..Meta::default()
        };
        let merged = body("ns", "a", Some(&live), &change);
        assert_eq!(
            merged,
            json!({
                "metadata": {"uid": "u", "resourceVersion": "7", "annotations": {"x": "y"}},
                "data": {"tls.crt": "YQ==", "next.crt": null},
            })
        );
        let owners = Change {
            owners: Some(vec![]),
            ..Change::default()
        };
        let merged = body("ns", "a", Some(&live), &owners);
        assert_eq!(
            merged,
            json!({"metadata": {"uid": "u", "resourceVersion": "7", "ownerReferences": []}})
        );
    }
}
