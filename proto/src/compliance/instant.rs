//! Times of audit records: RFC 3339 in UTC, as the controller writes them.

/// Microseconds since the Unix epoch; none for another form.
pub fn micros(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let bytes = seconds.as_bytes();
    let separated = bytes.len() == 19
        && [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')]
            .into_iter()
            .all(|(at, expected)| bytes[at] == expected);
    if !separated || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = seconds.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let plausible = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !plausible || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_since_epoch(year, month, day);
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    Some(((days * 24 + hour) * 60 + minute) * 60_000_000 + second * 1_000_000 + micros)
}

/// Of the Gregorian calendar, counted in years that begin in March, so that leap days come last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_records_are_read_and_other_forms_are_not() {
        let check =
            |text: &str, expected: Option<i64>| assert_eq!(micros(text), expected, "{text}");
        check("1970-01-01T00:00:00Z", Some(0));
        check("2023-11-14T22:13:20.000001Z", Some(1_700_000_000_000_001));
        check("2023-11-14T22:13:20.5Z", Some(1_700_000_000_500_000));
        check("2024-02-29T00:00:00Z", Some(1_709_164_800_000_000));
        check("2000-03-01T00:00:00Z", Some(951_868_800_000_000));
        for wrong in [
            "",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:20+01:00",
            "2023-13-14T22:13:20Z",
            "2023-11-14T25:13:20Z",
            "2023-11-14T22:13:20.x Z",
            "+023-11-14T22:13:20Z",
            "2023-11-14T22:13:20.1234567890Z",
            "ä023-11-14T22:13:2Z",
        ] {
            check(wrong, None);
        }
    }
}
