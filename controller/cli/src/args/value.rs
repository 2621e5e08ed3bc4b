//! Values that people type: durations, labels. Parsed here once, so that a mistake is a usage error
//! before anything is sent.

use std::collections::BTreeMap;
use std::time::Duration;

/// Longest duration accepted, ten years: longer ones are typing mistakes.
const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 86_400);

/// `90s`, `10m`, `24h`, `30d`, `2w` and sums of them such as `1h30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write for example 90s, 10m, 24h, 30d");
    let mut total_s: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_s = match rest[digits..].chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            Some('w') => 7 * 86_400,
            _ => return Err(wrong()),
        };
        let part_s = number.checked_mul(unit_s).ok_or_else(wrong)?;
        total_s = total_s.checked_add(part_s).ok_or_else(wrong)?;
        rest = &rest[digits + 1..];
    }
    let total = Duration::from_secs(total_s);
    match total {
        Duration::ZERO => Err(format!("{text:?} is no time at all")),
        t if t > MAX_DURATION => Err(format!("{text:?} is more than ten years")),
        t => Ok(t),
    }
}

/// A day, which begins at midnight UTC, or a time as RFC 3339 has it; as the API takes it.
pub fn instant(text: &str) -> Result<String, String> {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    OffsetDateTime::parse(&whole, &Rfc3339)
        .ok()
        .and_then(|at| at.to_offset(time::UtcOffset::UTC).format(&Rfc3339).ok())
        .ok_or_else(|| format!("{text:?} is not a time; write 2026-07-01 or 2026-07-01T06:00:00Z"))
}

/// One `key=value`.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not a label; write key=value, for example site=berlin")),
    }
}

/// `NAME` or `NAME=URL`.
pub fn origin(text: &str) -> Result<(String, Option<String>), String> {
    let (name, url) = match text.split_once('=') {
        Some((name, url)) => (name, Some(url.to_owned())),
        None => (text, None),
    };
    match name.is_empty() || url.as_deref() == Some("") {
        true => Err(format!("{text:?} is not NAME or NAME=URL")),
        false => Ok((name.to_owned(), url)),
    }
}

/// `NAME=VALUE`; the first sign of equality counts.
pub fn mapping(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(format!("{text:?} must be written NAME=VALUE")),
    }
}

/// An id as the `list` commands show it.
pub fn id(text: &str) -> Result<String, String> {
    match uuid::Uuid::try_parse(text) {
        Ok(id) => Ok(id.to_string()),
        Err(_) => Err(format!("{text:?} is not an id; the `list` command shows ids")),
    }
}

/// One change of a device's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelEdit {
    /// `key=value`
    Set(String, String),
    /// `key-`
    Remove(String),
}

/// `key=value` sets a label, `key-` removes it.
pub fn label_edit(text: &str) -> Result<LabelEdit, String> {
    match text.strip_suffix('-') {
        Some(key) if !key.is_empty() && !key.contains('=') => Ok(LabelEdit::Remove(key.to_owned())),
        _ => label(text).map(|(key, value)| LabelEdit::Set(key, value)).map_err(|_| {
            format!("{text:?} is neither key=value (set a label) nor key- (remove a label)")
        }),
    }
}

/// Labels given one by one as a map; the same key twice with different values is refused.
pub fn label_map(labels: &[(String, String)]) -> Result<BTreeMap<String, String>, String> {
    let mut map = BTreeMap::new();
    for (key, value) in labels {
        if let Some(before) = map.insert(key.clone(), value.clone())
            && before != *value
        {
            return Err(format!("label {key:?} is given twice: {before:?} and {value:?}"));
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_up_and_mistakes_are_named() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(duration(text).ok().map(|d| d.as_secs()), expected, "{text:?}");
        };
        check("90s", Some(90));
        check("10m", Some(600));
        check("1h30m", Some(5_400));
        check("30d", Some(30 * 86_400));
        check("2w", Some(14 * 86_400));
        for wrong in ["", "10", "m", "-5m", "5 m", "0s", "9999999999999999999d", "99999d", "5µ"] {
            check(wrong, None);
        }
    }

    #[test]
    fn labels_and_their_removal() {
        assert_eq!(label("site=a=b"), Ok(("site".into(), "a=b".into())));
        assert!(label("site").is_err() && label("=x").is_err());
        assert_eq!(label_edit("site-"), Ok(LabelEdit::Remove("site".into())));
        assert_eq!(label_edit("a=b-"), Ok(LabelEdit::Set("a".into(), "b-".into())));
        assert!(label_edit("-").is_err() && label_edit("site").is_err());
        let twice = [("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
        assert!(label_map(&twice).is_err());
    }
}
