//! How the story is printed: on standard output, each line with the seconds since the start.

use std::io::Write;
use std::time::Instant;

use serde_json::Value;

/// Prints; copies print to the same place.
#[derive(Clone)]
pub(super) struct Teller {
    started: Instant,
}

impl Teller {
    pub(super) fn new() -> Self {
        Self { started: Instant::now() }
    }

    /// A new part of the story.
    pub(super) fn heading(&self, text: &str) {
        print(&format!("\n{text}"));
    }

    /// Something that just happened.
    pub(super) fn event(&self, text: &str) {
        print(&format!("{:>8.3} s  {text}", self.started.elapsed().as_secs_f64()));
    }

    /// A fact about the last event.
    pub(super) fn fact(&self, name: &str, text: &str) {
        print(&format!("            {name:<12} {text}"));
    }
}

/// Who closed the pipe does not want to read on: no reason to stop.
fn print(text: &str) {
    _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// `1,234,567`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `rmse 24879.1, r2 0.9101`: the numbers of an object, those inside objects too.
pub(super) fn numbers(object: &Value) -> String {
    let entries = object.as_object().into_iter().flatten();
    let parts = entries.filter_map(|(name, value)| match value {
        Value::Number(number) => Some(format!("{name} {}", short(number.as_f64()?))),
        Value::Object(_) => Some(format!("{name}: {}", numbers(value))),
        _ => None,
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Enough digits to compare two versions by.
fn short(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        format!("{number:.0}")
    } else if number.abs() >= 100.0 {
        format!("{number:.1}")
    } else if number.abs() >= 0.0001 {
        format!("{number:.6}")
    } else {
        format!("{number:.2e}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_printed_to_be_read() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
        let metrics =
            json!({ "accuracy": 0.979_020_979, "hold_out": { "rmse": 24_879.14, "rows": 341 }, "x": "y" });
        assert_eq!(numbers(&metrics), "accuracy 0.979021, hold_out: rmse 24879.1, rows 341");
    }
}
