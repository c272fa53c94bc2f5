//! The format `table`: a model that gives the number at a place of its artifact, and how it is published.
//!
//! The model knows nothing but its bytes: what they should be is the checker's to know.

use std::io::Read;
use std::sync::Arc;

use modelcast::admission::Policy;
use modelcast::models::decoder::{DecodeContext, DecodeError, Decoder, Decoders};
use modelcast::models::model::{Model, PredictError};
use modelcast::protocol::ModelName;
use modelcast::protocol::change::NewRole;
use modelcast::protocol::desired::{Cohort, Labels, Stamp};
use modelcast::protocol::golden::{Column, GoldenRows, RELATIVE_TOLERANCE};
use modelcast::protocol::manifest::Lineage;
use modelcast::protocol::schema::{Feature, FeatureKind, FeatureSchema, Numeric, Output, OutputKind};
use modelcast::{Artifact, PublishRequest};
use modelcast_testcontainers::history::Table;

const FORMAT: &str = "table";
const ARTIFACT_MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes of a number.
pub(crate) const PLACE_BYTES: u64 = 8;
const GOLDEN_ROWS: u32 = 4;

struct TableDecoder;

struct TableModel(Vec<[u8; 8]>);

impl Decoder for TableDecoder {
    fn format(&self) -> &str {
        FORMAT
    }

    fn decode(
        &self,
        artifact: &mut dyn Read,
        context: &DecodeContext<'_>,
    ) -> Result<Box<dyn Model>, DecodeError> {
        let bytes = context.read_whole(artifact, ARTIFACT_MAX_BYTES)?;
        let (numbers, rest) = bytes.as_chunks::<8>();
        if numbers.is_empty() || !rest.is_empty() {
            return Err(DecodeError::Other("no table of numbers".into()));
        }
        Ok(Box::new(TableModel(numbers.to_vec())))
    }
}

impl Model for TableModel {
    fn width(&self) -> usize {
        1
    }

    fn outputs(&self) -> usize {
        1
    }

    fn predict(&self, row: &[f64], outputs: &mut [f64]) -> Result<(), PredictError> {
        let (&[place], [output]) = (row, outputs) else {
            return Err(PredictError::RowWidth { found: row.len(), expected: 1 });
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place that is none gives the number of another, or an error"
        )]
        let number = self.0.get(place as usize);
        let number =
            number.ok_or_else(|| PredictError::Other(format!("there is no place {place}").into()))?;
        *output = f64::from_le_bytes(*number);
        Ok(())
    }
}

/// Takes tables and nothing else.
pub(crate) fn policy() -> Policy {
    Policy {
        decoders: Arc::new(Decoders::default().with(TableDecoder)),
        artifact_max_bytes: ARTIFACT_MAX_BYTES,
        schema: Some(Arc::new(schema())),
    }
}

fn schema() -> FeatureSchema {
    let kind = FeatureKind::Numeric(Numeric::default());
    FeatureSchema {
        features: vec![Feature { name: "place".into(), title: None, kind }],
        outputs: vec![Output {
            name: "number".into(),
            title: None,
            kind: OutputKind::Numeric { unit: None },
        }],
    }
}

/// A request to publish a table, for a part of the instances where there is a cohort.
pub(crate) fn request(model: ModelName, table: Table, cohort: Option<u16>, stamp: Stamp) -> PublishRequest {
    let places: Vec<u32> = (0..GOLDEN_ROWS).map(|row| (table.places - 1) / GOLDEN_ROWS * row).collect();
    let role = cohort.map_or(NewRole::Champion, |basis_points| {
        NewRole::Challenger(Cohort { basis_points, labels: Labels::new() })
    });
    PublishRequest {
        model,
        artifact: Artifact::Memory(table.artifact()),
        format: FORMAT.to_owned(),
        required_features: vec![],
        schema: schema(),
        golden: GoldenRows {
            inputs: vec![Column::Numbers(places.iter().copied().map(f64::from).collect())],
            outputs: vec![places.iter().map(|&place| table.value(place)).collect()],
            relative_tolerance: RELATIVE_TOLERANCE,
        },
        lineage: Lineage::default(),
        metrics: [].into(),
        gates: Default::default(),
        overrides: [].into(),
        score_champion: None,
        decoders: policy().decoders,
        role,
        stamp,
        dry_run: false,
    }
}
