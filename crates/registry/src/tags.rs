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
use crate::retry;
use crate::session::Session;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Client {
    /// All tags of a reference's repository, sorted, each once.
    ///
    /// Registries have several habits of paging. A link to the next page is followed wherever one is given,
    /// also behind a page that is short or empty. Without a link a page that is as long as was asked for
    /// may be one of several, so the list is asked for again from its last tag on; a registry that knows no
    /// pages then has nothing new.
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
            let first = session.url(&format!("tags/list?n={TAG_PAGE_SIZE}"))?;
            let mut url = first.clone();
            let mut tags = BTreeSet::new();
            let mut seen = BTreeSet::new();
            for _ in 0..MAX_TAG_PAGES {
                seen.insert(url.to_string());
                let page = page(&session, &url).await?;
                let (known, length) = (tags.len(), page.tags.len());
                // The last by order, as registries go by it; a page need not be sorted.
                let last = page.tags.iter().max().cloned();
                tags.extend(page.tags);
                if tags.len() > MAX_TAGS {
                    let count = tags.len().to_string();
                    return Err(too_large(&at, "the list of tags", count, "50000 tags"));
                }
                url = match (page.next, last) {
                    (Some(next), _) => {
                        let target = url.join(&next).ok().filter(|target| same_origin(target, &url));
                        target.ok_or_else(|| Error::RedirectRefused {
                            at: at.clone(),
                            target: Url::parse(&next).map_or(next, |url| crate::transport::origin(&url)),
                            why: "the next page of tags must be on the registry itself",
                        })?
                    }
                    (None, Some(last)) if length >= TAG_PAGE_SIZE && tags.len() > known => {
                        let mut next = first.clone();
                        next.query_pairs_mut().append_pair("last", &last);
                        next
                    }
                    (None, _) => return Ok(tags.into_iter().collect()),
                };
                if seen.contains(url.as_str()) {
                    // A registry that links in a circle has shown all it has.
                    return Ok(tags.into_iter().collect());
                }
            }
            let pages = format!("more than {MAX_TAG_PAGES} pages");
            Err(too_large(&at, "the list of tags", pages, "100 pages"))
        };
        deadline.bound(&at, "listing tags", work).await
    }
}

/// A page of tags, and where the next one is.
struct Read {
    tags: Vec<String>,
    next: Option<String>,
}

/// One page. A body that breaks off is fetched again as a whole.
async fn page(session: &Session<'_>, url: &Url) -> Result<Read, Error> {
    let policy = session.inner.config.retry;
    let mut attempt = 1;
    loop {
        let request = Request::new(Operation::ListTags, Method::GET, url.clone());
        let mut answer = session.send(&request, "the list of tags").await?;
        let links = answer.response.headers().get_all(LINK).iter();
        let next = links.filter_map(|value| value.to_str().ok()).find_map(next);
        let at = session.at.clone();
        match answer.body(MAX_TAG_PAGE_BYTES).await {
            Ok(body) => {
                let page: Page = serde_json::from_slice(&body).map_err(|_| Error::UnexpectedAnswer {
                    at,
                    operation: Operation::ListTags.as_str(),
                    detail: "the list of tags is not the JSON expected".to_owned(),
                })?;
                return Ok(Read {
                    tags: page.tags.unwrap_or_default(),
                    next,
                });
            }
            Err(BodyError::TooLarge(size)) => {
                return Err(too_large(&at, "a page of tags", size, "8 MiB"));
            }
            Err(BodyError::Broken(detail)) => {
                let wait = retry::backoff(&policy, attempt);
                if attempt >= policy.attempts || wait >= session.deadline.remaining() {
                    return Err(Error::Connect { at, detail });
                }
                drop(answer);
                let metrics = &session.inner.config.metrics;
                metrics.retry(&session.reference.api_host(), Operation::ListTags);
                tokio::time::sleep(wait).await;
                attempt += 1;
            }
        }
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
