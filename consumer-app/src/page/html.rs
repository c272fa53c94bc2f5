//! Texts and numbers as a page shows them.

use std::fmt::{self, Write as _};

/// A text with everything escaped that HTML gives a meaning to, in elements and in quoted attributes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Escaped<'t>(pub(crate) &'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A name as a title: `property-value` as `Property value`.
pub(crate) fn humanized(name: &str) -> String {
    let spaced = name.replace(['-', '_', '.'], " ");
    let mut characters = spaced.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// A number for people: grouped from a thousand on, two decimals from one on, else three digits that count.
/// The script's `figure` does the same.
pub(crate) fn figure(value: f64) -> String {
    let size = value.abs();
    if size >= 1e15 || (size < 1e-4 && size > 0.0) {
        return format!("{value:.2e}");
    }
    let decimals = match size {
        _ if size >= 1000.0 => 0,
        _ if size >= 1.0 => 2,
        _ if size >= 0.1 => 3,
        _ if size >= 0.01 => 4,
        _ => 6,
    };
    let text = format!("{value:.decimals$}");
    let text = if decimals > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    grouped(text)
}

/// A count for people.
pub(crate) fn grouped_count(count: u64) -> String {
    grouped(&count.to_string())
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn grouped(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (whole, rest) = digits.find('.').map_or((digits, ""), |point| digits.split_at(point));
    let mut out = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        let rows = [
            (181_234.6, "181,235"),
            (-1_000.0, "-1,000"),
            (999.5, "999.5"),
            (1_234_567.0, "1,234,567"),
            (0.0, "0"),
            (0.12345, "0.123"),
            (0.0521, "0.0521"),
            (0.001_234, "0.001234"),
            (1e-9, "1.00e-9"),
            (1e18, "1.00e18"),
            (12.0, "12"),
        ];
        for (value, expected) in rows {
            assert_eq!(figure(value), expected, "{value}");
        }
        assert_eq!(percent(0.9790), "97.9 %");
    }

    #[test]
    fn a_name_becomes_a_title_and_markup_stays_text() {
        assert_eq!(humanized("property-value"), "Property value");
        assert_eq!(Escaped("<b a=\"'&\">").to_string(), "&lt;b a=&quot;&#39;&amp;&quot;&gt;");
    }
}
