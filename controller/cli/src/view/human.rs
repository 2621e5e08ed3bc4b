//! Times and amounts as people read them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What stands where there is nothing.
pub const NONE: &str = "-";

/// `12s ago`, `in 29d`; what is not a time is shown as it is.
pub fn relative(at: &str, now: OffsetDateTime) -> String {
    let Ok(time) = OffsetDateTime::parse(at, &Rfc3339) else {
        return at.to_owned();
    };
    let seconds = (now - time).whole_seconds();
    match seconds {
        // Clocks differ a little.
        -2..=1 => "now".to_owned(),
        2.. => format!("{} ago", span(seconds.unsigned_abs())),
        _ => format!("in {}", span(seconds.unsigned_abs())),
    }
}

/// [`relative`], or [`NONE`].
pub fn relative_or(at: Option<&str>, now: OffsetDateTime, none: &str) -> String {
    at.map_or_else(|| none.to_owned(), |at| relative(at, now))
}

/// `2026-11-22 22:53:48Z`: for records that are compared between places.
pub fn absolute(at: &str) -> String {
    let Ok(time) = OffsetDateTime::parse(at, &Rfc3339) else {
        return at.to_owned();
    };
    let utc = time.to_offset(time::UtcOffset::UTC);
    let (date, hour, minute, second) = (utc.date(), utc.hour(), utc.minute(), utc.second());
    format!("{date} {hour:02}:{minute:02}:{second:02}Z")
}

/// Whether a time has passed.
pub fn is_past(at: &str, now: OffsetDateTime) -> bool {
    OffsetDateTime::parse(at, &Rfc3339).is_ok_and(|time| time <= now)
}

/// A span of seconds in its largest unit, two units below a day.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..600 if !seconds.is_multiple_of(60) => format!("{}m{:02}s", seconds / 60, seconds % 60),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 if seconds % 3_600 >= 60 => {
            format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60)
        }
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", (seconds + 43_200) / 86_400),
    }
}

/// `98.4 MiB`.
pub fn bytes(count: u64) -> String {
    scaled(count, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"], " ")
}

/// `134.5M`, for counts of parameters and tokens.
pub fn amount(count: u64) -> String {
    scaled(count, 1000.0, &["", "k", "M", "B", "T"], "")
}

fn scaled(count: u64, base: f64, units: &[&str], space: &str) -> String {
    let mut value = count as f64;
    let mut unit = 0;
    // Half a last digit below the base would be shown as the base itself.
    while value >= base - 0.05 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    match unit {
        0 => format!("{count}{space}{}", units[0]),
        _ => format!("{value:.1}{space}{}", units[unit]),
    }
}

/// Seconds as `85 ms` or `1.24 s`.
pub fn seconds(value: Option<f64>) -> String {
    match value {
        None => NONE.to_owned(),
        Some(s) if !s.is_finite() => NONE.to_owned(),
        Some(s) if s < 1.0 => format!("{:.0} ms", s * 1e3),
        Some(s) => format!("{s:.2} s"),
    }
}

/// `a=1,b=2`.
pub fn labels(labels: &crate::client::types::Labels) -> String {
    match labels.is_empty() {
        true => NONE.to_owned(),
        false => labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(","),
    }
}

/// The value, or [`NONE`].
pub fn or_none(value: Option<&str>) -> &str {
    value.filter(|v| !v.is_empty()).unwrap_or(NONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_relative_to_now() {
        let now = datetime!(2026-11-22 22:00:00 UTC);
        let check = |at: &str, expected: &str| assert_eq!(relative(at, now), expected);
        check("2026-11-22T21:59:59.5Z", "now");
        check("2026-11-22T22:00:02Z", "now");
        check("2026-11-22T21:59:18Z", "42s ago");
        check("2026-11-22T21:57:18Z", "2m42s ago");
        check("2026-11-22T23:00:00+02:00", "1h ago");
        check("2026-11-22T18:30:00Z", "3h30m ago");
        check("2026-11-12T22:00:00Z", "10d ago");
        check("2026-12-22T22:00:00Z", "in 30d");
        check("2026-12-22T21:59:50Z", "in 30d");
        check("yesterday", "yesterday");
        assert_eq!(absolute("2026-11-22T23:04:05.123+01:00"), "2026-11-22 22:04:05Z");
    }

    #[test]
    fn amounts_have_one_decimal() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        assert_eq!(bytes(98 << 20), "98.0 MiB");
        assert_eq!(bytes((1 << 30) - 1), "1.0 GiB");
        assert_eq!(amount(134_515_008), "134.5M");
        assert_eq!(amount(999), "999");
        assert_eq!(seconds(Some(0.0851)), "85 ms");
        assert_eq!(seconds(Some(1.238)), "1.24 s");
        assert_eq!(seconds(None), "-");
    }
}
