//! The tags of a repository.

use std::collections::BTreeSet;

use oci::Reference;
use reqwest::Method;
use reqwest::header::LINK;
use serde::Deserialize;
use url::Url;

use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::{At, Error};
use crate::exchange::{BodyError, Request, same_origin};
use crate::keychain::Keychain;
use crate::limits::{MAX_TAG_PAGE_BYTES, MAX_TAG_PAGES, MAX_TAGS, TAG_PAGE_SIZE};
use crate::metrics::Operation;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Client {
    /// All tags of a reference's repository, sorted, each once.
    ///
    /// # Errors
    /// Any of the kinds of [`Error`]; a list beyond the limits is [`Error::TooLarge`].
    pub async fn tags(
        &self,
        reference: &Reference,
        keychain: &Keychain,
        deadline: Deadline,
    ) -> Result<Vec<String>, Error> {
        let at = At::new(reference);
        let work = async {
            let session = self.session(reference, keychain, deadline, "pull")?;
            let mut url = session.url(&format!("tags/list?n={TAG_PAGE_SIZE}"))?;
            let mut tags = BTreeSet::new();
            let mut seen = BTreeSet::new();
            for _ in 0..MAX_TAG_PAGES {
                let request = Request::new(Operation::ListTags, Method::GET, url.clone());
                let mut answer = session.send(&request, "the list of tags").await?;
                let next = answer
                    .response
                    .headers()
                    .get_all(LINK)
                    .iter()
                    .find_map(|value| next(value.to_str().ok()?));
                let body = answer
                    .body(MAX_TAG_PAGE_BYTES)
                    .await
                    .map_err(|error| match error {
                        BodyError::Broken(detail) => Error::Connect {
                            at: at.clone(),
                            detail,
                        },
                        BodyError::TooLarge(size) => too_large(&at, "a page of tags", size, "8 MiB"),
                    })?;
                drop(answer);
                let page: Page = serde_json::from_slice(&body).map_err(|_| Error::UnexpectedAnswer {
                    at: at.clone(),
                    operation: Operation::ListTags.as_str(),
                    detail: "the list of tags is not the JSON expected".to_owned(),
                })?;
                tags.extend(page.tags.unwrap_or_default());
                if tags.len() > MAX_TAGS {
                    return Err(too_large(
                        &at,
                        "the list of tags",
                        tags.len().to_string(),
                        "50000 tags",
                    ));
                }
                seen.insert(url.to_string());
                let Some(next) = next else {
                    return Ok(tags.into_iter().collect());
                };
                let target = url.join(&next).ok().filter(|target| same_origin(target, &url));
                url = target.ok_or_else(|| Error::RedirectRefused {
                    at: at.clone(),
                    target: Url::parse(&next).map_or(next, |url| crate::transport::origin(&url)),
                    why: "the next page of tags must be on the registry itself",
                })?;
                if seen.contains(url.as_str()) {
                    // a registry that links in a circle has shown all it has
                    return Ok(tags.into_iter().collect());
                }
            }
            Err(too_large(
                &at,
                "the list of tags",
                format!("more than {MAX_TAG_PAGES} pages"),
                "100 pages",
            ))
        };
        deadline.bound(&at, "listing tags", work).await
    }
}

fn too_large(at: &At, what: &str, size: String, limit: &str) -> Error {
    Error::TooLarge {
        at: at.clone(),
        what: what.to_owned(),
        size,
        limit: limit.to_owned(),
    }
}

/// The target of `rel="next"` in a `Link` header (RFC 8288).
fn next(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        let parameters = after.split_once('<').map_or(after, |(parameters, _)| parameters);
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let Some((name, value)) = parameter.split_once('=') else {
                return false;
            };
            let value = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel")
                && value
                    .split_whitespace()
                    .any(|relation| relation.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target.to_owned());
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::next;

    #[test]
    fn finds_the_next_page() {
        let table = [
            (
                "</v2/a/tags/list?last=b>; rel=\"next\"",
                Some("/v2/a/tags/list?last=b"),
            ),
            ("<https://r/x>; rel=next", Some("https://r/x")),
            ("</a>; rel=\"prev\", </b>; title=x; REL=\"last next\"", Some("/b")),
            ("</a>; rel=\"prev\"", None),
            ("</a", None),
            ("", None),
        ];
        for (header, expected) in table {
            assert_eq!(next(header).as_deref(), expected, "{header}");
        }
    }
}
