//! Paths of attributes: `name.givenName`, `emails[type eq "work"].value`, with or without the schema's
//! URN in front.

use super::Wrong;
use super::filter::{self, Filter};
use super::schema::{Attribute, Kind, Type, find};

/// Longest path or filter that is read.
pub const MAX_TEXT_BYTES: usize = 4096;

/// Where in a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// The attribute.
    pub attribute: &'static Attribute,
    /// Which of several values.
    pub which: Option<Filter>,
    /// A part of it.
    pub part: Option<&'static Attribute>,
}

/// The parts of a complex attribute.
pub fn parts(attribute: &Attribute) -> &'static [Attribute] {
    match attribute.kind {
        Kind::Complex(parts) => parts,
        _ => &[],
    }
}

/// A name without the URN of its schema.
pub fn bare(kind: Type, text: &str) -> &str {
    let urn = kind.schema();
    match text.get(..urn.len()) {
        Some(start) if start.eq_ignore_ascii_case(urn) => text[urn.len()..].trim_start_matches(':'),
        _ => text,
    }
}

impl Path {
    /// Reads a path of the target of a change.
    ///
    /// # Errors
    /// `invalidPath`, or `invalidFilter` of what stands in brackets.
    pub fn parse(kind: Type, text: &str) -> Result<Self, Wrong> {
        let wrong = || {
            let shown: String = text.chars().take(80).collect();
            let known: Vec<_> = kind.attributes().iter().map(|one| one.name).collect();
            let detail = format!(
                "{shown:?} is no attribute of a {}: there are {} and externalId",
                kind.name(),
                known.join(", ")
            );
            Wrong::new("invalidPath", detail)
        };
        if text.len() > MAX_TEXT_BYTES {
            return Err(wrong());
        }
        let rest = bare(kind, text.trim());
        let end = rest.find(['[', '.']).unwrap_or(rest.len());
        let attribute = kind.attribute(&rest[..end]).ok_or_else(wrong)?;
        let mut rest = &rest[end..];
        let mut which = None;
        if let Some(inside) = rest.strip_prefix('[') {
            let close = inside.rfind(']').ok_or_else(wrong)?;
            which = Some(filter::parse(&inside[..close])?);
            rest = &inside[close + 1..];
        }
        let part = match rest.strip_prefix('.') {
            Some(name) => Some(find(parts(attribute), name).ok_or_else(wrong)?),
            None if rest.is_empty() => None,
            None => return Err(wrong()),
        };
        if which.is_some() && !attribute.multi {
            return Err(wrong());
        }
        Ok(Self { attribute, which, part })
    }
}
