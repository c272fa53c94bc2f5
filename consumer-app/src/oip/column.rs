//! The `data` of a tensor, read into one column of numbers or texts. What is sent as bytes is in `raw`.
//!
//! Takes flat and nested lists, as the protocol allows both. Does not know what the tensor is for (see `rows`).
//!
//! # Invariants
//! * A number costs 8 bytes and a text 24, borrowed where JSON has no escape in it: a body is never multiplied.
//! * Nesting goes two deep at most, and inner lists have one length.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, SeqAccess, Visitor},
};

/// The values of one tensor in row-major order.
#[derive(Debug, Default)]
pub struct Column<'a> {
    /// What is in it.
    pub values: Values<'a>,
    /// Length of the inner lists; none when the list is flat.
    pub inner_len: Option<usize>,
}

/// Numbers or texts, never both.
#[derive(Debug, Default)]
pub enum Values<'a> {
    /// An empty list.
    #[default]
    Empty,
    /// Numbers; those of JSON are finite, those sent as bytes may not be.
    Numbers(Vec<f64>),
    /// Texts.
    Texts(Vec<Cow<'a, str>>),
}

/// Puts one list item into a column: a value, or an inner list.
struct Item<'c, 'a> {
    column: &'c mut Column<'a>,
    nested: bool,
}

struct List;

impl Values<'_> {
    /// How many values there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Numbers(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }
}

impl<'a> Column<'a> {
    fn number(&mut self, value: f64) -> Result<(), &'static str> {
        match &mut self.values {
            Values::Empty => self.values = Values::Numbers(vec![value]),
            Values::Numbers(values) => values.push(value),
            Values::Texts(_) => return Err("a number among texts"),
        }
        Ok(())
    }

    fn text(&mut self, value: Cow<'a, str>) -> Result<(), &'static str> {
        match &mut self.values {
            Values::Empty => self.values = Values::Texts(vec![value]),
            Values::Texts(values) => values.push(value),
            Values::Numbers(_) => return Err("a text among numbers"),
        }
        Ok(())
    }

    /// Takes note that an inner list of `len` values ended.
    fn end_of_inner(&mut self, len: usize) -> Result<(), String> {
        let before = self.values.count().saturating_sub(len);
        match self.inner_len {
            None if before > 0 => Err("a list among plain values".to_owned()),
            Some(expected) if expected != len => {
                Err(format!("a list of {len} values after lists of {expected}"))
            }
            _ => {
                self.inner_len = Some(len);
                Ok(())
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Column<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(List)
    }
}

impl<'de> Visitor<'de> for List {
    type Value = Column<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Column<'de>, A::Error> {
        let mut column = Column::default();
        let mut index = 0_usize;
        loop {
            let item = Item { column: &mut column, nested: false };
            match list.next_element_seed(item) {
                Ok(Some(())) => index = index.saturating_add(1),
                Ok(None) => return Ok(column),
                Err(error) => return Err(at(format_args!("data[{index}]"), &error)),
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Item<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Item<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a text")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.plain::<E>()?.number(value).map_err(E::custom)
    }

    // Above 2^53 a whole number rounds as any decimal does; `rows` refuses it where the datatype promises more.
    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<(), E> {
        self.plain::<E>()?.text(Cow::Borrowed(value)).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.plain::<E>()?.text(Cow::Owned(value.to_owned())).map_err(E::custom)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        Err(E::custom(format_args!("{value} is neither a number nor a text: there are no BOOL features")))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Err(E::custom("null is no value: a missing or a non-finite number cannot be predicted from"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if self.nested {
            return Err(A::Error::custom("lists are nested more than two deep"));
        }
        let before = self.column.values.count();
        let mut index = 0_usize;
        loop {
            let item = Item { column: &mut *self.column, nested: true };
            match list.next_element_seed(item) {
                Ok(Some(())) => index = index.saturating_add(1),
                Ok(None) => break,
                Err(error) => return Err(at(format_args!("[{index}]"), &error)),
            }
        }
        let len = self.column.values.count().saturating_sub(before);
        self.column.end_of_inner(len).map_err(A::Error::custom)
    }
}

impl<'c, 'a> Item<'c, 'a> {
    /// The column, for a plain value: outside of inner lists only where there are none.
    fn plain<E: Error>(self) -> Result<&'c mut Column<'a>, E> {
        if !self.nested && self.column.inner_len.is_some() {
            return Err(E::custom("a plain value among lists"));
        }
        Ok(self.column)
    }
}

/// The same error with the place before it. serde_json takes line and column back out of the text.
pub fn at<E: Error>(place: fmt::Arguments<'_>, error: &impl fmt::Display) -> E {
    E::custom(format_args!("{place}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Column<'_>, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn flat_and_nested_lists_give_the_same_values() {
        for (json, inner_len) in [("[1, 2.5, -3]", None), ("[[1], [2.5], [-3]]", Some(1))] {
            let column = read(json).unwrap();
            assert!(
                matches!(&column.values, Values::Numbers(values) if *values == [1.0, 2.5, -3.0]),
                "{json}"
            );
            assert_eq!(column.inner_len, inner_len);
        }
        let column = read(r#"["a", "b\n"]"#).unwrap();
        let Values::Texts(texts) = column.values else { panic!("{column:?}") };
        assert!(matches!(texts[0], Cow::Borrowed("a")) && texts[1] == "b\n", "{texts:?}");
        assert_eq!(read("[]").unwrap().values.count(), 0);
    }

    #[test]
    fn a_wrong_list_names_the_place_and_the_line() {
        let rows = [
            ("[1, \"a\"]", "data[1]: a text among numbers"),
            ("[\"a\", 1]", "data[1]: a number among texts"),
            ("[1, [2]]", "data[1]: a list among plain values"),
            ("[[1], 2]", "data[1]: a plain value among lists"),
            ("[[1], [2, 3]]", "data[1]: a list of 2 values after lists of 1"),
            ("[[[1]]]", "data[0]: [0]: lists are nested more than two deep"),
            ("[1,\n null]", "data[1]: null is no value"),
            ("[true]", "data[0]: true is neither"),
            ("[1,\n 1e999]", "data[1]: number out of range at line 2 column"),
            ("[{}]", "data[0]: invalid type: map"),
            ("7", "a list of values"),
        ];
        for (json, words) in rows {
            let error = read(json).unwrap_err();
            assert!(error.contains(words) && error.contains("line"), "{json}: {error}");
        }
    }
}
