//! Named values become the row that they say, or an error that names the feature.

use modelcast_models::{Link, RowEncoder, RowError, Value, ValueError};
use modelcast_protocol::golden::{Column, GoldenRows};
use ndarray::array;
use proptest::{collection::vec, prelude::*};

use crate::cases::house;

const GOOD: [(&str, Value<'_>); 4] = [
    ("area", Value::Number(120.0)),
    ("zone", Value::Category("village")),
    ("baths", Value::Number(2.0)),
    ("air", Value::Category("no")),
];

fn encoder() -> RowEncoder {
    RowEncoder::new(house(Link::Identity).schema)
}

fn encode<'a>(values: impl IntoIterator<Item = (&'a str, Value<'a>)>) -> Result<Vec<f64>, RowError> {
    let mut row = vec![7.0; 9];
    let done = encoder().encode_row(values, &mut row);
    if done.is_err() {
        assert!(row.is_empty(), "an error leaves a row behind");
    }
    done.map(|()| row)
}

fn with(name: &'static str, value: Value<'static>) -> Result<Vec<f64>, RowError> {
    encode(GOOD.into_iter().map(|(known, good)| (known, if known == name { value } else { good })))
}

#[test]
fn values_in_any_order_become_a_row_in_the_order_of_the_schema() {
    assert_eq!(encode(GOOD), Ok(vec![120.0, 1.0, 2.0, 0.0]));
    assert_eq!(encode(GOOD.into_iter().rev()), Ok(vec![120.0, 1.0, 2.0, 0.0]));
    assert_eq!(encoder().width(), 4);
    assert_eq!(encoder().schema().features[3].name, "air");
}

#[test]
fn an_unknown_category_takes_the_other_level_where_there_is_one() {
    assert_eq!(with("air", Value::Category("central")), Ok(vec![120.0, 1.0, 2.0, 2.0]));
}

#[test]
fn errors_name_the_feature() {
    let rows = [
        (encode(GOOD.into_iter().skip(1)), "feature \"area\" is missing"),
        (encode([]), "feature \"area\" is missing, and 3 more"),
        (encode(GOOD.into_iter().chain([("moat", Value::Number(1.0))])), "no feature \"moat\""),
        (
            encode(GOOD.into_iter().chain([("bath", Value::Number(1.0))])),
            "no feature \"bath\"; near it: baths",
        ),
        (encode(GOOD.into_iter().chain(GOOD)), "feature \"area\" is given twice"),
        (with("area", Value::Category("big")), "feature \"area\" takes a number, not a text"),
        (with("zone", Value::Number(1.0)), "feature \"zone\" takes a category, not a number"),
        (with("area", Value::Number(f64::NAN)), "feature \"area\" is NaN"),
        (with("baths", Value::Number(f64::INFINITY)), "feature \"baths\" is inf"),
        (
            with("zone", Value::Category("Vilage")),
            "feature \"zone\" has no category \"Vilage\" among its 2; near it: village",
        ),
        (with("zone", Value::Category("")), "feature \"zone\" has no category \"\" among its 2"),
    ];
    for (found, words) in rows {
        let error = found.unwrap_err().to_string();
        assert!(error.contains(words), "{error:?} lacks {words:?}");
    }
}

#[test]
fn an_error_does_not_repeat_a_long_text() {
    let long = "x".repeat(1_000_000);
    let unknown_name = encode([(long.as_str(), Value::Number(1.0))]).unwrap_err();
    let unknown_category = encoder().encode_category(1, &long).unwrap_err();
    assert!(unknown_name.to_string().len() < 200, "{unknown_name}");
    assert!(unknown_category.to_string().len() < 200, "{unknown_category}");
}

#[test]
fn a_feature_beyond_the_schema_is_an_error() {
    assert_eq!(encoder().encode_number(4, 1.0), Err(ValueError::NoFeature { index: 4, width: 4 }));
    assert_eq!(encoder().encode_category(4, "a"), Err(ValueError::NoFeature { index: 4, width: 4 }));
}

#[test]
fn values_outside_of_the_training_range_are_named_and_taken() {
    let encoder = encoder();
    let outside = |row: &[f64]| encoder.unusual(row).map(|unusual| unusual.to_string()).collect::<Vec<_>>();
    let area = |value| format!("area = {value} is outside of 30 to 500, seen in training");
    assert_eq!(outside(&[500.1, 0.0, 99.0, 0.0]), [area(500.1)]);
    assert_eq!(outside(&[29.9, 0.0, 99.0, 0.0]), [area(29.9)]);
    for within in [30.0, 500.0] {
        assert_eq!(outside(&[within, 0.0, 99.0, 0.0]), Vec::<String>::new());
    }
    assert_eq!(with("area", Value::Number(1e9)), Ok(vec![1e9, 1.0, 2.0, 0.0]));
}

fn golden() -> GoldenRows {
    let texts = |texts: [&str; 2]| Column::Categories(texts.map(str::to_owned).to_vec());
    GoldenRows {
        inputs: vec![
            Column::Numbers(vec![40.0, 80.0]),
            texts(["town", "village"]),
            Column::Numbers(vec![1.0, 2.0]),
            texts(["yes", "central"]),
        ],
        outputs: vec![vec![0.0, 0.0]],
        relative_tolerance: 0.0,
    }
}

#[test]
fn golden_rows_become_rows() {
    let expected = array![[40.0, 0.0, 1.0, 1.0], [80.0, 1.0, 2.0, 2.0]];
    assert_eq!(encoder().encode_golden(&golden()), Ok(expected));
}

#[test]
fn golden_rows_that_do_not_fit_are_errors_that_name_the_place() {
    let broken = |change: fn(&mut GoldenRows)| {
        let mut rows = golden();
        change(&mut rows);
        encoder().encode_golden(&rows).unwrap_err()
    };
    let column = |feature: &str| RowError::GoldenColumn { feature: feature.into() };
    assert_eq!(broken(|rows| drop(rows.inputs.pop())), column("air"));
    assert_eq!(broken(|rows| rows.inputs.push(Column::Numbers(vec![1.0, 2.0]))), column(""));
    assert_eq!(broken(|rows| rows.inputs[2] = Column::Numbers(vec![1.0])), column("baths"));
    let error = broken(|rows| rows.inputs[0] = Column::Numbers(vec![1.0, f64::NAN]));
    assert!(
        matches!(&error, RowError::GoldenValue { row: 1, source } if source.to_string().contains("area"))
    );
    let error = broken(|rows| rows.inputs.swap(0, 1));
    assert!(
        matches!(&error, RowError::GoldenValue { row: 0, source } if source.to_string().contains("area"))
    );
}

proptest! {
    #[test]
    fn any_values_are_a_whole_row_or_an_error(
        values in vec((0..6_usize, prop_oneof![
            any::<f64>().prop_map(Err),
            "town|village|yes|[a-z]{0,3}".prop_map(Ok),
        ]), 0..8)
    ) {
        let names = ["area", "zone", "baths", "air", "moat", ""];
        let named = values.iter().map(|(name, value)| {
            (names[*name], match value {
                Ok(text) => Value::Category(text),
                Err(number) => Value::Number(*number),
            })
        });
        if let Ok(row) = encode(named) {
            prop_assert_eq!(row.len(), 4);
            prop_assert!(row.iter().all(|value| value.is_finite()));
            prop_assert!([0.0, 1.0].contains(&row[1]) && [0.0, 1.0, 2.0].contains(&row[3]));
        }
    }
}
