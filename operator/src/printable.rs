//! Text for a terminal: texts from outside made harmless, ages and times made readable.
//!
//! Status records are not signed, so anybody who may write to the fleet topic chooses their texts: none of them may
//! reach a terminal as an escape sequence.

use std::borrow::Cow;

use jiff::Timestamp;

/// The text with every control character replaced, so that it moves no cursor and starts no second line.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    // Bidirectional overrides are no control characters, and reorder what a person reads all the same.
    let harmful = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if text.chars().any(harmful) {
        Cow::Owned(text.chars().map(|c| if harmful(c) { '\u{fffd}' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// A length of time in its largest whole unit.
pub(crate) fn age(milliseconds: u64) -> String {
    const SECOND: u64 = 1_000;
    const MINUTE: u64 = 60 * SECOND;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match milliseconds {
        0..SECOND => "now".to_owned(),
        SECOND..MINUTE => format!("{} s", milliseconds / SECOND),
        MINUTE..HOUR => format!("{} min", milliseconds / MINUTE),
        HOUR..DAY => format!("{} h", milliseconds / HOUR),
        _ => format!("{} d", milliseconds / DAY),
    }
}

/// A time in UTC to the second; the plain number for one beyond the calendar.
pub(crate) fn time(unix_ms: u64) -> String {
    let timestamp = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match timestamp {
        Some(timestamp) => timestamp.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("{unix_ms} ms"),
    }
}

/// A share in hundredths of a percent, as percent.
pub(crate) fn percent(basis_points: u16) -> String {
    let (whole, rest) = (basis_points / 100, basis_points % 100);
    if rest == 0 { format!("{whole} %") } else { format!("{whole}.{rest:02} %") }
}

/// A metric with as many digits as a person compares.
pub(crate) fn metric(value: f64) -> String {
    let text = match value.abs() {
        tiny if tiny > 0.0 && tiny < 0.000_1 => return format!("{value:.3e}"),
        large if large >= 1_000.0 => format!("{value:.1}"),
        _ => format!("{value:.6}"),
    };
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_from_outside_steers_the_terminal() {
        assert_eq!(printable("plain ä text"), "plain ä text");
        let hostile = "\x1b[2Jgone\nnext\u{202e}txet";
        let text = printable(hostile);
        assert!(!text.contains(['\x1b', '\n', '\u{202e}']), "{text:?}");
    }

    #[test]
    fn ages_times_shares_and_metrics_read_well() {
        assert_eq!([0, 999, 1_000, 59_999].map(age), ["now", "now", "1 s", "59 s"]);
        assert_eq!([60_000, 3_600_000, 90_000_000].map(age), ["1 min", "1 h", "1 d"]);
        assert_eq!(time(1_700_000_000_000), "2023-11-14 22:13:20");
        assert_eq!(time(u64::MAX), format!("{} ms", u64::MAX));
        assert_eq!([0, 150, 1_000, 10_000].map(percent), ["0 %", "1.50 %", "10 %", "100 %"]);
        assert_eq!([0.979021, 24_513.26, 2.0, f64::NAN].map(metric), ["0.979021", "24513.3", "2", "NaN"]);
        assert_eq!([0.0, -1e-9, 100.0].map(metric), ["0", "-1.000e-9", "100"]);
    }
}
