//! Chooses golden rows: held-out rows as they are, and rows at the edges of what the schema knows.
//!
//! Their outputs are computed by the model decoded from the encoded bytes: what a subscriber will have.
//!
//! # Invariants
//! * At most 8 rows, at least one of them real; each is one that the model answers with finite numbers.

use modelcast_models::{Model, RowEncoder, RowError};
use modelcast_protocol::{
    golden::{Column, GoldenRows, RELATIVE_TOLERANCE},
    limits::GOLDEN_ROWS_MAX,
    schema::{FeatureKind, FeatureSchema},
};

use crate::table::Table;

/// Rows at the edges: all least with the first categories, and all greatest with categories nobody knows.
const EDGE_ROWS: usize = 2;

/// Where a number or a category of an edge row comes from.
#[derive(Clone, Copy)]
enum Edge {
    Low,
    High,
}

/// Chooses rows and computes their outputs; rows that the model does not answer are left out.
///
/// # Errors
/// [`RowError`] when the held-out rows do not fit the encoder's schema.
pub fn choose(model: &dyn Model, encoder: &RowEncoder, hold_out: &Table) -> Result<GoldenRows, RowError> {
    let schema = encoder.schema();
    let real = spread(hold_out.len(), GOLDEN_ROWS_MAX - EDGE_ROWS);
    let mut rows: Vec<GoldenRows> =
        real.map(|place| one_row(schema, |at| cell(hold_out, at, place))).collect();
    rows.extend([Edge::Low, Edge::High].map(|edge| one_row(schema, |at| edge_cell(schema, at, edge))));
    let mut golden = GoldenRows {
        inputs: schema.features.iter().map(|feature| empty(&feature.kind)).collect(),
        outputs: vec![Vec::new(); schema.outputs.len()],
        relative_tolerance: RELATIVE_TOLERANCE,
    };
    for mut row in rows {
        row.outputs = vec![vec![0.0]; schema.outputs.len()]; // as many rows as inputs, for the encoder
        let encoded = encoder.encode_golden(&row)?;
        let values: Vec<f64> = encoded.iter().copied().collect();
        let mut outputs = vec![f64::NAN; schema.outputs.len()];
        if model.predict(&values, &mut outputs).is_err() {
            continue; // an edge beyond what a number holds
        }
        golden.inputs.iter_mut().zip(row.inputs).for_each(|(to, from)| append(to, from));
        golden.outputs.iter_mut().zip(outputs).for_each(|(to, from)| to.push(from));
    }
    Ok(golden)
}

/// At most `most` places, evenly spread over `count`, the first and the last among them.
fn spread(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let chosen = count.min(most);
    let steps = chosen.saturating_sub(1).max(1);
    (0..chosen).map(move |index| index * count.saturating_sub(1) / steps)
}

fn one_row(schema: &FeatureSchema, cell: impl Fn(usize) -> Option<Column>) -> GoldenRows {
    let inputs = schema.features.iter().enumerate();
    GoldenRows {
        inputs: inputs.map(|(at, feature)| cell(at).unwrap_or_else(|| empty(&feature.kind))).collect(),
        outputs: Vec::new(),
        relative_tolerance: RELATIVE_TOLERANCE,
    }
}

/// A held-out cell. The table has the schema's features in the schema's order: both come from one recipe.
fn cell(table: &Table, feature: usize, row: usize) -> Option<Column> {
    match table.columns.get(feature)? {
        Column::Numbers(values) => Some(Column::Numbers(vec![*values.get(row)?])),
        Column::Categories(values) => Some(Column::Categories(vec![values.get(row)?.clone()])),
    }
}

fn edge_cell(schema: &FeatureSchema, feature: usize, edge: Edge) -> Option<Column> {
    match &schema.features.get(feature)?.kind {
        FeatureKind::Numeric(numeric) => {
            let (low, high) = numeric.range.unwrap_or((0.0, 0.0));
            Some(Column::Numbers(vec![match edge {
                Edge::Low => low,
                Edge::High => high,
            }]))
        }
        FeatureKind::Categorical(categorical) => {
            let category = match edge {
                Edge::Low => categorical.categories.first()?.clone(),
                Edge::High if categorical.other => unknown(&categorical.categories),
                Edge::High => categorical.categories.last()?.clone(),
            };
            Some(Column::Categories(vec![category]))
        }
    }
}

/// A category that is none of those known.
fn unknown(categories: &[String]) -> String {
    let mut category = "(unknown)".to_owned();
    while categories.contains(&category) {
        category.push('?');
    }
    category
}

fn empty(kind: &FeatureKind) -> Column {
    match kind {
        FeatureKind::Numeric(_) => Column::Numbers(Vec::new()),
        FeatureKind::Categorical(_) => Column::Categories(Vec::new()),
    }
}

fn append(to: &mut Column, from: Column) {
    match (to, from) {
        (Column::Numbers(to), Column::Numbers(from)) => to.extend(from),
        (Column::Categories(to), Column::Categories(from)) => to.extend(from),
        // one schema made both columns
        (Column::Numbers(_), Column::Categories(_)) | (Column::Categories(_), Column::Numbers(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_spread_from_the_first_to_the_last() {
        assert_eq!(spread(341, 6).collect::<Vec<_>>(), [0, 68, 136, 204, 272, 340]);
        assert_eq!(spread(3, 6).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(spread(1, 6).collect::<Vec<_>>(), [0]);
        assert_eq!(spread(0, 6).count(), 0);
    }
}
