//! Uploads, for the command line and tests.

use bytes::Bytes;
use oci::{Digest, Reference};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue, LOCATION};

use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::{At, Error};
use crate::exchange::{Answer, Request, same_origin};
use crate::keychain::Keychain;
use crate::metrics::Operation;
use crate::session::Session;

/// What became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The registry has it now.
    Uploaded,
    /// The registry had it already.
    Present,
}

impl Client {
    /// Uploads a blob, unless the repository has it. The digest is the one of `bytes`.
    ///
    /// # Errors
    /// Any of the kinds of [`Error`].
    pub async fn push_blob(
        &self,
        repository: &Reference,
        digest: &Digest,
        bytes: Bytes,
        keychain: &Keychain,
        deadline: Deadline,
    ) -> Result<Pushed, Error> {
        let at = At::new(repository);
        let work = async {
            let session = self.session(repository, keychain, deadline, "pull,push")?;
            push_blob(&session, digest, bytes).await
        };
        deadline.bound(&at, "uploading a layer", work).await
    }

    /// Uploads a manifest or index under the reference's tag or digest. What it points at must be there.
    ///
    /// # Errors
    /// Any of the kinds of [`Error`]; [`Error::DigestMismatch`] if the bytes don't have the reference's
    /// digest.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
        keychain: &Keychain,
        deadline: Deadline,
    ) -> Result<Digest, Error> {
        let at = At::new(reference);
        let work = async {
            let asked = reference.digest();
            let digest = Digest::of(asked.map_or(oci::Algorithm::Sha256, Digest::algorithm), &bytes);
            if let Some(expected) = asked.filter(|asked| **asked != digest).cloned() {
                let what = "the manifest";
                return Err(Error::DigestMismatch {
                    at: at.clone(),
                    what,
                    expected,
                    actual: digest,
                });
            }
            let session = self.session(reference, keychain, deadline, "pull,push")?;
            let url = session.url(&format!("manifests/{}", reference.identifier()))?;
            let mut request = Request::new(Operation::PushManifest, Method::PUT, url);
            let content_type =
                HeaderValue::from_str(media_type).map_err(|_| Error::UnsupportedMediaType {
                    at: at.clone(),
                    detail: "the manifest's media type is no header's value".to_owned(),
                })?;
            request.headers.insert(CONTENT_TYPE, content_type);
            request.body = Some(bytes);
            let answer = session.send(&request, "the repository").await?;
            let said = answer
                .header("docker-content-digest")
                .and_then(|text| Digest::parse(text).ok());
            match said.filter(|said| said.algorithm() == digest.algorithm() && *said != digest) {
                Some(actual) => {
                    let what = "the manifest as the registry keeps it";
                    Err(Error::DigestMismatch {
                        at: at.clone(),
                        what,
                        expected: digest,
                        actual,
                    })
                }
                None => Ok(digest),
            }
        };
        deadline.bound(&at, "uploading the manifest", work).await
    }
}

async fn push_blob(session: &Session<'_>, digest: &Digest, bytes: Bytes) -> Result<Pushed, Error> {
    let actual = Digest::of(digest.algorithm(), &bytes);
    if actual != *digest {
        let (at, expected) = (session.at.clone(), digest.clone());
        return Err(Error::DigestMismatch {
            at,
            what: "the layer",
            expected,
            actual,
        });
    }
    let head = Request::new(
        Operation::PushBlob,
        Method::HEAD,
        session.url(&format!("blobs/{digest}"))?,
    );
    match session.send(&head, "the layer").await {
        Ok(_) => return Ok(Pushed::Present),
        Err(Error::NotFound { .. } | Error::UnexpectedAnswer { .. }) => {}
        Err(error) => return Err(error),
    }
    let start = Request::new(Operation::PushBlob, Method::POST, session.url("blobs/uploads/")?);
    let answer = session.send(&start, "the repository").await?;
    let mut url = location(session, &answer)?;
    drop(answer);
    url.query_pairs_mut().append_pair("digest", digest.as_str());
    let mut put = Request::new(Operation::PushBlob, Method::PUT, url);
    put.headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    put.body = Some(bytes);
    session.send(&put, "the upload").await?;
    Ok(Pushed::Uploaded)
}

/// Where the upload goes on. It may be relative, and its query belongs to the registry. Another host gets no
/// credentials, and never less security than the registry itself.
fn location(session: &Session<'_>, answer: &Answer) -> Result<url::Url, Error> {
    let at = session.at.clone();
    let here = answer.response.url();
    let target = answer
        .header(LOCATION.as_str())
        .and_then(|text| here.join(text).ok())
        .ok_or_else(|| {
            let detail = "it does not say where the upload goes".to_owned();
            Error::UnexpectedAnswer {
                at: at.clone(),
                operation: Operation::PushBlob.as_str(),
                detail,
            }
        })?;
    if same_origin(&target, here) || target.scheme() == "https" {
        return Ok(target);
    }
    let why = "an upload to another host must use HTTPS";
    Err(Error::RedirectRefused {
        at,
        target: crate::transport::origin(&target),
        why,
    })
}
