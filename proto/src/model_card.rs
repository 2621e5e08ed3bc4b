//! What people say about a version when they publish it: licence, origin, how it was evaluated. It
//! becomes part of the version and of its bill of materials. Read it only through
//! [`ModelCard::from_json`], which bounds everything in it.

use serde::{Deserialize, Serialize};

/// Longest card in JSON, in bytes: all lists full come to less.
pub const MAX_CARD_BYTES: usize = 192 << 10;
/// Longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// Longest address, in bytes.
pub const MAX_URL_BYTES: usize = 1024;
/// Longest description, in bytes: some paragraphs.
pub const MAX_DESCRIPTION_BYTES: usize = 4096;
/// Longest list of authors, base models or data sets.
pub const MAX_ENTRIES: usize = 32;
/// Most evaluation figures; leaderboards have some dozens.
pub const MAX_EVALUATIONS: usize = 64;

/// Why a card is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// Too long to be read.
    #[error("what is said of the model is {found} bytes long, at most {MAX_CARD_BYTES} are taken")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Not the JSON that it should be.
    #[error("what is said of the model cannot be read: {0}")]
    Json(String),
    /// A field is not as it should be.
    #[error("{field}: {why}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// What people say about a version. What they do not say is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// SPDX identifier, or the licence's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_url: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// For whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// What it was made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base_models: Vec<Origin>,
    /// What it was trained on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<Origin>,
    /// How good it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evaluations: Vec<Evaluation>,
}

/// A model or data set that another was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Its name.
    pub name: String,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A figure that an evaluation gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// What was measured, e.g. `accuracy`.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// On which data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Between which bounds it lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
}

impl ModelCard {
    /// Reads a card.
    ///
    /// # Errors
    /// [`CardError`], with the field.
    pub fn from_json(bytes: &[u8]) -> Result<Self, CardError> {
        let card: Self = read(bytes)?;
        card.check()?;
        Ok(card)
    }

    /// As JSON, always the same for the same card.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a card has only text keys and finite numbers")
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether everything is within bounds; [`Self::from_json`] did this already.
    ///
    /// # Errors
    /// [`CardError::Field`].
    pub fn check(&self) -> Result<(), CardError> {
        if let Some(text) = &self.description {
            description(text)?;
        }
        for (field, text) in [("license", &self.license), ("organization", &self.organization)] {
            text.as_deref().map_or(Ok(()), |text| name(field, text))?;
        }
        if let Some(address) = &self.source_url {
            url("source_url", address)?;
        }
        at_most("authors", self.authors.len(), MAX_ENTRIES)?;
        self.authors.iter().try_for_each(|text| name("authors", text))?;
        for (field, list) in [("base_models", &self.base_models), ("datasets", &self.datasets)] {
            at_most(field, list.len(), MAX_ENTRIES)?;
            for origin in list {
                name(field, &origin.name)?;
                origin.url.as_deref().map_or(Ok(()), |address| url(field, address))?;
            }
        }
        check_evaluations(&self.evaluations)
    }
}

impl Evaluation {
    /// Reads a file of evaluations: a list of objects with `name`, `value`, and perhaps `dataset` and
    /// `interval` (two numbers).
    ///
    /// # Errors
    /// [`CardError`], with the field.
    pub fn list_from_json(bytes: &[u8]) -> Result<Vec<Self>, CardError> {
        let list: Vec<Self> = read(bytes)?;
        check_evaluations(&list)?;
        Ok(list)
    }
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, CardError> {
    if bytes.len() > MAX_CARD_BYTES {
        return Err(CardError::TooLong { found: bytes.len() });
    }
    serde_json::from_slice(bytes).map_err(|error| CardError::Json(error.to_string()))
}

fn check_evaluations(list: &[Evaluation]) -> Result<(), CardError> {
    at_most("evaluations", list.len(), MAX_EVALUATIONS)?;
    for one in list {
        name("evaluations.name", &one.name)?;
        one.dataset.as_deref().map_or(Ok(()), |text| name("evaluations.dataset", text))?;
        let finite = one.value.is_finite() && one.interval.iter().flatten().all(|n| n.is_finite());
        if !finite {
            return wrong("evaluations.value", format!("{:?} is no finite number", one.value));
        }
        if let Some([lower, upper]) = one.interval
            && !(lower <= one.value && one.value <= upper)
        {
            let why = format!("{} is not between {lower} and {upper}", one.value);
            return wrong("evaluations.interval", why);
        }
    }
    Ok(())
}

fn wrong<T>(field: &'static str, why: String) -> Result<T, CardError> {
    Err(CardError::Field { field, why })
}

fn at_most(field: &'static str, found: usize, most: usize) -> Result<(), CardError> {
    match found > most {
        true => wrong(field, format!("{found} entries, at most {most} are taken")),
        false => Ok(()),
    }
}

fn name(field: &'static str, text: &str) -> Result<(), CardError> {
    match is_line(text, MAX_NAME_BYTES) {
        true => Ok(()),
        false => {
            let why = format!(
                "{:?} is not 1 to {MAX_NAME_BYTES} bytes of one line without spaces at its ends",
                shown(text)
            );
            wrong(field, why)
        }
    }
}

fn description(text: &str) -> Result<(), CardError> {
    let good = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if text.trim().is_empty() || text.len() > MAX_DESCRIPTION_BYTES || !text.chars().all(good) {
        let why = format!("it must be text of 1 to {MAX_DESCRIPTION_BYTES} bytes");
        return wrong("description", why);
    }
    Ok(())
}

fn url(field: &'static str, text: &str) -> Result<(), CardError> {
    match is_url(text) {
        true => Ok(()),
        false => {
            let why = format!(
                "{:?} is not a web address (http:// or https://, at most {MAX_URL_BYTES} characters, \
                 others than letters, digits and -._~:/?#@!$&'()*+,;=% encoded)",
                shown(text)
            );
            wrong(field, why)
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Whether `text` is one line of 1 to `most` bytes, without control characters and spaces at its ends.
pub fn is_line(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.trim() == text && !text.chars().any(char::is_control)
}

/// Whether `text` is a web address in the characters of RFC 3986, with a host.
pub fn is_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let named = host.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:@".contains(&b));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#@!$&'()*+,;=%".contains(&b);
    let encoded = text
        .split('%')
        .skip(1)
        .all(|part| part.len() >= 2 && part.bytes().take(2).all(|digit| digit.is_ascii_hexdigit()));
    let one_fragment = text.bytes().filter(|b| *b == b'#').count() <= 1;
    text.len() <= MAX_URL_BYTES && named && encoded && one_fragment && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{"description":"Answers.\nShortly.","license":"Apache-2.0",
        "source_url":"https://example.com/a%20b?x=1#y","authors":["Ada"],"organization":"Acme",
        "base_models":[{"name":"base","url":"http://example.com/base"},{"name":"other"}],
        "datasets":[{"name":"text"}],
        "evaluations":[{"name":"accuracy","value":0.61,"dataset":"quiz","interval":[0.59,0.63]},
            {"name":"loss","value":2}]}"#;

    #[test]
    fn a_card_reads_back_as_it_was() {
        let card = ModelCard::from_json(FULL.as_bytes()).unwrap();
        assert_eq!(card.evaluations[0].interval, Some([0.59, 0.63]));
        let json = card.to_json();
        assert_eq!(ModelCard::from_json(&json).unwrap(), card);
        assert_eq!(ModelCard::from_json(&json).unwrap().to_json(), json);
        assert!(ModelCard::from_json(b"{}").unwrap().is_empty() && !card.is_empty());
        assert_eq!(ModelCard::default().to_json(), b"{}");
    }

    #[test]
    fn what_is_beyond_bounds_or_no_text_is_refused_with_its_field() {
        let refused = |json: &str| ModelCard::from_json(json.as_bytes()).unwrap_err().to_string();
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        let many = format!("[{}]", vec![r#"{"name":"a"}"#; MAX_ENTRIES + 1].join(","));
        let figures =
            format!("[{}]", vec![r#"{"name":"a","value":1}"#; MAX_EVALUATIONS + 1].join(","));
        for (json, word) in [
            (format!(r#"{{"license":"{long}"}}"#), "license: "),
            (r#"{"license":""}"#.into(), "license: "),
            (r#"{"organization":"a\u001b[31m"}"#.into(), "organization: "),
            (r#"{"authors":[" ada"]}"#.into(), "authors: "),
            (r#"{"description":"a\u0000"}"#.into(), "description: "),
            (r#"{"source_url":"file:///etc/passwd"}"#.into(), "source_url: "),
            (format!(r#"{{"base_models":{many}}}"#), "base_models: 33 entries"),
            (format!(r#"{{"evaluations":{figures}}}"#), "evaluations: 65 entries"),
            (r#"{"evaluations":[{"name":"a","value":1e999}]}"#.into(), "cannot be read"),
            (r#"{"evaluations":[{"name":"a","value":2,"interval":[0,1]}]}"#.into(), "not between"),
            (r#"{"evaluations":[{"name":"a","value":2,"interval":[0]}]}"#.into(), "cannot be read"),
            (r#"{"licence":"MIT"}"#.into(), "unknown field"),
            (r#"{"license":"a","license":"b"}"#.into(), "duplicate field"),
            ("[".repeat(100_000), "cannot be read"),
            (" ".repeat(MAX_CARD_BYTES + 1), "bytes long"),
        ] {
            let said = refused(&json);
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    #[test]
    fn an_address_is_one_that_every_reader_takes() {
        for good in ["https://example.com", "http://a.b:8080/c/d?e=f#g", "https://x/%C3%A4"] {
            assert!(is_url(good), "{good}");
        }
        for bad in [
            "",
            "https://",
            "https:///x",
            "ftp://a",
            "https://a b",
            "https://a/%zz",
            "https://a/%a",
            "https://ä",
            "https://a/<b>",
            "https://a#b#c",
            "https://[::1]/",
            "javascript:alert(1)",
        ] {
            assert!(!is_url(bad), "{bad}");
        }
    }
}
