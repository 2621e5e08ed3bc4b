//! Times as metadata writes them: `YYYY-MM-DDTHH:MM:SSZ`, in seconds since the Unix epoch.

/// Last second that the format can write.
const MAX_S: i64 = 253_402_300_799;

/// Reads a time. None for any other form, and before 1970.
pub fn parse_time(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 20
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            10 => *byte == b'T',
            13 | 16 => *byte == b':',
            19 => *byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    if !shape {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let days = days_of(year, month, day)?;
    let fits = year >= 1970 && hour < 24 && minute < 60 && second < 60;
    fits.then_some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Writes a time; what the format cannot say becomes the nearest that it can.
pub fn format_time(time_s: i64) -> String {
    let time_s = time_s.clamp(0, MAX_S);
    let (days, rest) = (time_s / 86_400, time_s % 86_400);
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, which must exist.
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is the last of one.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400);
    let days = days + (153 * m + 2) / 5 + day - 1 - 719_468;
    (date_of(days) == (year, month, day)).then_some(days)
}

fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * m + 2) / 5 + 1, if m < 10 { m + 3 } else { m - 9 });
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_and_print() {
        for (text, time_s) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1985-10-21T01:21:00Z", 498_705_660),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2030-01-01T00:00:00Z", 1_893_456_000),
            ("9999-12-31T23:59:59Z", MAX_S),
        ] {
            assert_eq!(parse_time(text), Some(time_s));
            assert_eq!(format_time(time_s), text);
        }
        assert_eq!(format_time(i64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(format_time(-1), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "2030-01-01T00:00:00",
            "2030-01-01 00:00:00Z",
            "2030-01-01T00:00:00+00:00",
            "2030-02-30T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2030-13-01T00:00:00Z",
            "2030-01-01T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "2030-01-01T00:00:0éZ",
            "-030-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
