//! Names and ids: what may name a network or an endpoint, and how an operator's word is resolved to one.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

/// The longest name that is accepted, in bytes.
const LONGEST: usize = 128;
/// How many names an error proposes at most.
const PROPOSALS: usize = 3;

/// A checked name: `[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}`.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is no name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "invalid name {0:?}: a name begins with a letter or digit, goes on with letters, digits, `_`, `.` or `-`, \
     and has at most 128 of them"
)]
pub struct InvalidName(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        let head = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if head && rest && text.len() <= LONGEST { Ok(Self(text)) } else { Err(InvalidName(text)) }
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An id: 64 lower-case hexadecimal digits, random, so that two hosts never make the same.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Id(String);

impl Id {
    /// A new random id.
    pub fn random() -> io::Result<Self> {
        let bytes: [u8; 32] = random_bytes()?;
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        Ok(Self(digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()))
    }

    /// An id read back from where it was kept.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first `digits` digits, as tables and device names show it.
    pub fn short(&self, digits: usize) -> &str {
        self.0.get(..digits).unwrap_or(&self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `N` bytes from the kernel's random generator.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Why a word names nothing, or more than one thing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unresolved {
    /// Nothing has this name or an id that begins so.
    #[error("no such {kind}: {word}")]
    Unknown {
        /// `network` or `endpoint`.
        kind: &'static str,
        /// What was asked for.
        word: String,
        /// The names most like it, best first.
        nearest: Vec<String>,
    },
    /// Several ids begin so.
    #[error("{word} is the beginning of {count} {kind} ids")]
    Ambiguous {
        /// `network` or `endpoint`.
        kind: &'static str,
        /// What was asked for.
        word: String,
        /// How many ids begin with it.
        count: usize,
    },
}

/// The one candidate that `word` means: a whole name, a whole id, or the beginning of exactly one id.
pub fn resolve<'a, T>(
    kind: &'static str,
    word: &str,
    candidates: &'a [T],
    name_and_id: impl Fn(&T) -> (&str, &str),
) -> Result<&'a T, Unresolved> {
    if let Some(named) = candidates.iter().find(|candidate| name_and_id(candidate).0 == word) {
        return Ok(named);
    }
    let begins = |candidate: &&T| !word.is_empty() && name_and_id(candidate).1.starts_with(word);
    let mut found = candidates.iter().filter(begins);
    match (found.next(), found.count()) {
        (Some(one), 0) => Ok(one),
        (Some(_), more) => Err(Unresolved::Ambiguous { kind, word: word.to_owned(), count: more + 1 }),
        (None, _) => {
            let nearest = nearest(word, candidates.iter().map(|candidate| name_and_id(candidate).0));
            Err(Unresolved::Unknown { kind, word: word.to_owned(), nearest })
        }
    }
}

/// The names that a mistyped `word` may have meant, best first.
pub(crate) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let bound = (word.len() / 3).max(2);
    let mut scored: Vec<(usize, &str)> = names
        .map(|name| (edits(word, name), name))
        .filter(|(edits, name)| *edits <= bound || (word.len() > 2 && name.starts_with(word)))
        .collect();
    scored.sort_unstable();
    scored.into_iter().take(PROPOSALS).map(|(_, name)| name.to_owned()).collect()
}

/// Levenshtein's distance between two texts, in bytes, upper and lower case alike.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, left) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, right) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(!left.eq_ignore_ascii_case(&right));
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANDIDATES: [(&str, &str); 3] = [("web", "aa11"), ("database", "aa22"), ("bb", "cc33")];

    fn find(word: &str) -> Result<&'static str, Unresolved> {
        resolve("endpoint", word, &CANDIDATES, |it| (it.0, it.1)).map(|it| it.0)
    }

    #[test]
    fn a_name_is_letters_digits_and_three_signs() {
        for good in ["a", "9", "web-1", "a_b.c", &"x".repeat(128)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "ä", "a\n", &"x".repeat(129)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_has_64_digits_and_differs_each_time() {
        let (one, two) = (Id::random().unwrap(), Id::random().unwrap());
        assert_eq!(one.as_str().len(), 64);
        assert!(one.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, two);
        assert_eq!(one.short(12), &one.as_str()[..12]);
    }

    #[test]
    fn names_beat_prefixes_and_prefixes_must_be_unique() {
        assert_eq!(find("web"), Ok("web"));
        assert_eq!(find("aa2"), Ok("database"));
        assert_eq!(find("bb"), Ok("bb"));
        assert_eq!(find("aa").unwrap_err().to_string(), "aa is the beginning of 2 endpoint ids");
        assert!(find("").is_err());
    }

    #[test]
    fn an_unknown_word_proposes_what_is_near() {
        let Err(Unresolved::Unknown { nearest, .. }) = find("databse") else { panic!("found") };
        assert_eq!(nearest, ["database"]);
        assert_eq!(find("wib").unwrap_err().to_string(), "no such endpoint: wib");
    }
}
