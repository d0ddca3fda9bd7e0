//! What a registry demands with status 401 (RFC 9110 11.6.1 and the registries' token authentication).

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

use crate::limits::MAX_CHALLENGES;

/// Longest scope that is taken over from a challenge, in bytes: real ones name one repository.
const MAX_SCOPE_BYTES: usize = 1_024;

/// One way of authentication that a registry takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password.
    Basic,
    /// A token from somewhere.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// All challenges of an answer that can be met, from any number of headers.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let mut found = Vec::new();
    for value in headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
    {
        for (scheme, parameters) in split(value) {
            let get = |name: &str| {
                parameters
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.clone())
            };
            if found.len() == MAX_CHALLENGES {
                return found;
            }
            if scheme.eq_ignore_ascii_case("basic") {
                found.push(Challenge::Basic);
            } else if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = get("realm")
            {
                let scope = get("scope").filter(|scope| scope.len() <= MAX_SCOPE_BYTES && !scope.is_empty());
                found.push(Challenge::Bearer {
                    realm,
                    service: get("service"),
                    scope,
                });
            }
        }
    }
    found
}

/// The challenge to meet: tokens are preferred, since they don't show the password to the registry.
pub(crate) fn preferred(challenges: &[Challenge]) -> Option<&Challenge> {
    challenges
        .iter()
        .find(|challenge| matches!(challenge, Challenge::Bearer { .. }))
        .or(challenges.first())
}

type Parameters = Vec<(String, String)>;

/// Takes a header apart. A word without `=` starts a new challenge; so does nothing else.
fn split(header: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
        let end = rest
            .find(|c: char| c == '=' || c == ',' || c.is_ascii_whitespace())
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            // nothing more, or a stray '=': skip it, or stop
            match rest.strip_prefix('=') {
                Some(next) => rest = next,
                None => return found,
            }
            continue;
        }
        match after.trim_start().strip_prefix('=') {
            Some(value) if found.last().is_some() => {
                let (value, after) = take_value(value.trim_start());
                if let Some((_, parameters)) = found.last_mut() {
                    parameters.push((word.to_owned(), value));
                }
                rest = after;
            }
            _ => {
                found.push((word.to_owned(), Vec::new()));
                rest = after;
            }
        }
    }
}

/// A value, quoted or not, and what follows it.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text
            .find(|c: char| c == ',' || c.is_ascii_whitespace())
            .unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    use super::*;

    fn parse(values: &[&str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        challenges(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: own(service),
            scope: own(scope),
        }
    }

    #[test]
    fn reads_all_spellings() {
        let scope = Some("repository:a/b:pull,push");
        let full = bearer("https://auth.example.org/token", Some("r.example.org"), scope);
        let table: [(&[&str], Vec<Challenge>); 10] = [
            (&["Basic realm=\"x\""], vec![Challenge::Basic]),
            (&["basic"], vec![Challenge::Basic]),
            (
                &[
                    "Bearer realm=\"https://auth.example.org/token\",service=\"r.example.org\",\
                     scope=\"repository:a/b:pull,push\"",
                ],
                vec![full.clone()],
            ),
            (
                &[
                    "bEaReR realm = https://auth.example.org/token , SERVICE=r.example.org, \
                     scope=\"repository:a/b:pull,push\"",
                ],
                vec![full],
            ),
            (
                &["Bearer realm=\"a\", Basic realm=\"b\""],
                vec![bearer("a", None, None), Challenge::Basic],
            ),
            (
                &["Basic realm=\"b\", Bearer realm=\"a\""],
                vec![Challenge::Basic, bearer("a", None, None)],
            ),
            (
                &["Basic", "Bearer realm=\"a\""],
                vec![Challenge::Basic, bearer("a", None, None)],
            ),
            (
                &["Negotiate, Bearer realm=\"a\\\"b\""],
                vec![bearer("a\"b", None, None)],
            ),
            (&["Negotiate YII=, Basic"], vec![Challenge::Basic]),
            (&["Bearer service=\"no realm\""], vec![]),
        ];
        for (values, expected) in table {
            assert_eq!(parse(values), expected, "{values:?}");
        }
    }

    #[test]
    fn tokens_are_preferred() {
        let found = parse(&["Basic", "Bearer realm=\"a\""]);
        assert_eq!(preferred(&found), Some(&bearer("a", None, None)));
        assert_eq!(preferred(&parse(&["Basic"])), Some(&Challenge::Basic));
        assert_eq!(preferred(&[]), None);
    }

    #[test]
    fn absurd_answers_are_bounded() {
        assert_eq!(parse(&[&"Basic,".repeat(100)]).len(), MAX_CHALLENGES);
        let long = format!("Bearer realm=a,scope=\"{}\"", "x".repeat(MAX_SCOPE_BYTES + 1));
        assert_eq!(parse(&[&long]), [bearer("a", None, None)]);
    }

    proptest! {
        #[test]
        fn always_ends(text in "[a-zA-Z=,\"\\\\ ]{0,80}") {
            let _ = split(&text);
        }
    }
}
