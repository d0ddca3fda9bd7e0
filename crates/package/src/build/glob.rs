//! Patterns of files to leave out.

use std::fmt;

/// A pattern over a whole relative path: `*` and `?` match within one name, `[a-z]` and `[^a-z]` one
/// character, `\` takes the next character as it is. There is no `**`; folders as such can't be left out.
/// These are the rules of Go's `path.Match`, which the reference's command line uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    Any,
    Star,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// A pattern that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern {0:?} is not valid: every '[' needs a ']', every '\\' a character")]
pub struct GlobError(String);

impl Glob {
    /// Reads a pattern. A `./` in front is dropped.
    ///
    /// # Errors
    /// If a class or an escape is not finished.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        let tokens = tokens(text.strip_prefix("./").unwrap_or(text));
        let tokens = tokens.ok_or_else(|| GlobError(text.to_owned()))?;
        Ok(Self {
            text: text.to_owned(),
            tokens,
        })
    }

    /// Whether the whole of `path` matches.
    pub fn matches(&self, path: &str) -> bool {
        let path: Vec<char> = path.chars().collect();
        // Positions in the path that the tokens read so far can end at: no backtracking, so no blow-up.
        let mut ends = vec![false; path.len() + 1];
        if let Some(first) = ends.first_mut() {
            *first = true;
        }
        for token in &self.tokens {
            let mut next = vec![false; path.len() + 1];
            let mut running = false;
            for (at, reachable) in ends.iter().enumerate() {
                if *token == Token::Star {
                    running = *reachable || (running && at > 0 && path.get(at - 1) != Some(&'/'));
                    set(&mut next, at, running);
                } else if *reachable && path.get(at).is_some_and(|c| token.accepts(*c)) {
                    set(&mut next, at + 1, true);
                }
            }
            ends = next;
        }
        ends.last().copied().unwrap_or_default()
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Token {
    fn accepts(&self, c: char) -> bool {
        match self {
            Self::Literal(wanted) => *wanted == c,
            Self::Any => c != '/',
            Self::Star => false,
            Self::Class { negated, ranges } => {
                c != '/' && ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

fn set(ends: &mut [bool], at: usize, value: bool) {
    if let Some(end) = ends.get_mut(at) {
        *end = value;
    }
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut chars = text.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => Token::Literal(chars.next()?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || chars.next_if_eq(&']').is_none() {
                    let low = member(&mut chars)?;
                    let high = if chars.next_if_eq(&'-').is_some() {
                        member(&mut chars)?
                    } else {
                        low
                    };
                    ranges.push((low, high));
                }
                Token::Class { negated, ranges }
            }
            other => Token::Literal(other),
        });
    }
    Some(tokens)
}

fn member(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '\\' => chars.next(),
        ']' | '-' => None,
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn table() {
        for (pattern, path, expected) in [
            ("a.yaml", "a.yaml", true),
            ("./a.yaml", "a.yaml", true),
            ("a.yaml", "b/a.yaml", false),
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "b/a.yaml", false),
            ("*/*.yaml", "b/a.yaml", true),
            ("*/*.yaml", "b/c/a.yaml", false),
            ("b/*", "b/c/a.yaml", false),
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("?.yaml", "a.yaml", true),
            ("?.yaml", "ab.yaml", false),
            ("a?b", "a/b", false),
            ("[a-c].yaml", "b.yaml", true),
            ("[a-c].yaml", "d.yaml", false),
            ("[^a-c].yaml", "d.yaml", true),
            ("[^a]", "/", false),
            ("[\\]]", "]", true),
            ("\\*.yaml", "*.yaml", true),
            ("\\*.yaml", "a.yaml", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(
                Glob::parse(pattern).unwrap().matches(path),
                expected,
                "{pattern} {path}"
            );
        }
        for bad in ["[", "[a", "[]a]", "a\\", "[a-]", "[-a]"] {
            assert!(Glob::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(pattern in ".{0,20}", path in ".{0,20}") {
            if let Ok(glob) = Glob::parse(&pattern) {
                glob.matches(&path);
            }
        }

        #[test]
        fn stars_do_not_blow_up(count in 1usize..60) {
            let glob = Glob::parse(&"*a".repeat(count)).unwrap();
            prop_assert!(!glob.matches(&"a".repeat(count * 2 - 1).replace('a', "b")));
        }
    }
}
