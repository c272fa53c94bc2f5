//! From a batch of records to predictions and dead letters: decode, encode, predict, write.
//!
//! Does not choose the version (see `versions`), and does not send anything.
//!
//! # Invariants
//! * Each record gives exactly one: its prediction, its tombstone, or its dead letter.
//! * What a record holds ends in one of them, never in an error of the batch.
//! * A prediction names the model that made it, in the same record.

use std::{borrow::Cow, time::Instant};

use modelcast::{
    LoadedModel,
    pipe::{Destination, Headers, Incoming, Outgoing, RECORD_MAX_BYTES},
    with_causes,
};
use modelcast_models::{
    RowEncoder,
    codec::{Format, Prediction},
    label,
};
use modelcast_protocol::Generation;
use ndarray::{ArrayView2, ArrayViewMut2};

use super::settings::StreamSection;
use crate::{served::ServedModel, warnings::listed};

/// Most of a cause that a dead letter carries.
const CAUSE_MAX_CHARS: usize = 500;

const CONTENT_TYPE: &str = "content-type";

/// How records are read and written.
#[derive(Debug, Clone)]
pub(super) struct Scorer {
    input: String,
    format: Format,
    output_format: Format,
    record_max_bytes: usize,
}

/// What a batch became, in its order.
#[derive(Default)]
pub(super) struct Scored<'a> {
    places: Vec<Option<Outgoing<'a>>>,
    pub(super) predicted: u64,
    pub(super) tombstones: u64,
    pub(super) dead: u64,
}

/// Who scores, and who is told of it.
#[derive(Clone, Copy)]
pub(super) struct By<'b> {
    pub(super) model: &'b LoadedModel,
    /// The generation by which it was champion: of a version of the past not that of its first time.
    pub(super) generation: Generation,
    /// Counts what a live version answers; a replay says nothing of it.
    pub(super) served: Option<&'b ServedModel>,
}

/// The rows of a batch that one version scores.
struct Rows<'a, 'b> {
    by: By<'b>,
    /// Place in the batch, and the record.
    records: Vec<(usize, &'a Incoming)>,
    values: Vec<f64>,
}

impl Scorer {
    pub(super) fn new(stream: &StreamSection) -> Self {
        Self {
            input: stream.input.clone(),
            format: stream.format,
            output_format: stream.output_format,
            record_max_bytes: stream.record_max_bytes,
        }
    }

    /// Scores those of `batch` that stand at `places` with one version.
    pub(super) fn score<'a>(
        &self,
        batch: &'a [Incoming],
        places: impl IntoIterator<Item = usize>,
        by: By<'_>,
        scored: &mut Scored<'a>,
    ) {
        let started = Instant::now();
        let mut rows = Rows { by, records: Vec::new(), values: Vec::new() };
        let mut row = Vec::new();
        for place in places {
            let Some(record) = batch.get(place) else { continue };
            let Some(value) = &record.value else {
                scored.tombstones += 1;
                scored.put(
                    place,
                    outgoing(Destination::Output, record, None, named(record.headers.clone(), by)),
                );
                continue;
            };
            match self.encode(record, value, by.model.encoder(), &mut row) {
                Ok(()) => {
                    rows.records.push((place, record));
                    rows.values.extend_from_slice(&row);
                }
                Err(cause) => self.bury(place, record, Some(by), &cause, scored),
            }
        }
        self.predict(&rows, started, scored);
    }

    /// Makes a dead letter of the record at `place`: its value as it came, with the cause.
    pub(super) fn bury<'a>(
        &self,
        place: usize,
        record: &'a Incoming,
        by: Option<By<'_>>,
        cause: &str,
        scored: &mut Scored<'a>,
    ) {
        let shown: String = cause.chars().take(CAUSE_MAX_CHARS).collect();
        let headers = record.headers.clone();
        let headers = match by {
            Some(by) => named(headers, by),
            None => headers,
        };
        let headers = headers
            .with("modelcast-dead-cause", shown.as_bytes())
            .with("modelcast-dead-topic", self.input.as_bytes())
            .with("modelcast-dead-partition", record.partition.to_string().as_bytes())
            .with("modelcast-dead-offset", record.offset.to_string().as_bytes());
        let value = record.value.as_deref().map(Cow::Borrowed);
        let mut letter = outgoing(Destination::DeadLetters, record, value, headers);
        if letter.bytes() > RECORD_MAX_BYTES {
            // A topic that nobody set up for it takes no such record. Topic, partition and offset still say where it is.
            letter.headers = Headers::new()
                .with("modelcast-dead-cause", shown.as_bytes())
                .with("modelcast-dead-topic", self.input.as_bytes())
                .with("modelcast-dead-partition", record.partition.to_string().as_bytes())
                .with("modelcast-dead-offset", record.offset.to_string().as_bytes())
                .with("modelcast-dead-left-out", b"key, value and headers: too large for a dead letter");
            (letter.key, letter.value) = (None, None);
        }
        scored.dead += 1;
        scored.put(place, letter);
    }

    fn encode(
        &self,
        record: &Incoming,
        value: &[u8],
        encoder: &RowEncoder,
        row: &mut Vec<f64>,
    ) -> Result<(), String> {
        if record.headers.bytes() >= RECORD_MAX_BYTES {
            return Err("its headers take too much, or the name of one is not UTF-8".to_owned());
        }
        let format = match record.headers.text(CONTENT_TYPE) {
            Some(text) => Format::of_content_type(&text)
                .ok_or_else(|| format!("the content-type {text:?} is neither JSON nor MessagePack"))?,
            None => self.format,
        };
        let fields = format.decode(value, self.record_max_bytes).map_err(|error| error.to_string())?;
        encoder.encode_row(fields.values(), row).map_err(|error| error.to_string())
    }

    fn predict<'a>(&self, rows: &Rows<'a, '_>, started: Instant, to: &mut Scored<'a>) {
        let By { model, served, .. } = rows.by;
        let (width, outputs) = (model.encoder().width(), model.model().outputs());
        let count = rows.records.len();
        let mut predictions = vec![0.0; count * outputs];
        let all_well = match (
            ArrayView2::from_shape((count, width), &rows.values),
            ArrayViewMut2::from_shape((count, outputs), &mut predictions),
        ) {
            (Ok(from), Ok(into)) => model.predict_batch(from, into).is_ok(),
            _ => false,
        };
        let mut good = Vec::with_capacity(predictions.len());
        let each = rows.values.chunks_exact(width.max(1)).zip(predictions.chunks_exact_mut(outputs.max(1)));
        for (&(place, record), (row, prediction)) in rows.records.iter().zip(each) {
            // Where one of the batch fails, each is asked alone: the same bits, and the one at fault is known.
            let done = if all_well { Ok(()) } else { model.predict(row, prediction) };
            let written = match done {
                Ok(()) => self.write(record, row, prediction, rows.by),
                Err(error) => Err(with_causes(&error)),
            };
            match written {
                Ok(outgoing) => {
                    good.extend_from_slice(prediction);
                    to.predicted += 1;
                    to.put(place, outgoing);
                }
                Err(cause) => {
                    served.inspect(|served| served.failed(1));
                    self.bury(place, record, Some(rows.by), &cause, to);
                }
            }
        }
        served.inspect(|served| served.answered(&good, outputs, started.elapsed()));
    }

    fn write<'a>(
        &self,
        record: &'a Incoming,
        row: &[f64],
        prediction: &[f64],
        by: By<'_>,
    ) -> Result<Outgoing<'a>, String> {
        let schema = by.model.schema();
        let named_outputs = || schema.outputs.iter().zip(prediction);
        let outputs: Vec<_> = named_outputs().map(|(output, &value)| (output.name.as_str(), value)).collect();
        let labels: Vec<_> = named_outputs()
            .filter_map(|(output, &value)| Some((output.name.as_str(), label(&output.kind, value)?)))
            .collect();
        let warnings = listed(by.model.encoder().unusual(row));
        let prediction = Prediction { outputs: &outputs, labels: &labels, warnings: &warnings };
        let value = self.output_format.encode(&prediction).map_err(|error| error.to_string())?;
        let headers = named(record.headers.clone(), by)
            .with(CONTENT_TYPE, self.output_format.content_type().as_bytes());
        let outgoing = outgoing(Destination::Output, record, Some(Cow::Owned(value)), headers);
        match outgoing.bytes() {
            fitting if fitting <= RECORD_MAX_BYTES => Ok(outgoing),
            large => Err(format!("its prediction takes {large} bytes, and {RECORD_MAX_BYTES} is the most")),
        }
    }
}

impl<'a> Scored<'a> {
    pub(super) fn of(count: usize) -> Self {
        Self { places: std::iter::repeat_with(|| None).take(count).collect(), ..Self::default() }
    }

    fn put(&mut self, place: usize, outgoing: Outgoing<'a>) {
        if let Some(to) = self.places.get_mut(place) {
            *to = Some(outgoing);
        }
    }

    /// The records to deliver, in the order of the batch.
    pub(super) fn into_records(self) -> Vec<Outgoing<'a>> {
        self.places.into_iter().flatten().collect()
    }
}

/// Whatever was there before: key, timestamp and headers are the input's.
fn outgoing<'a>(
    to: Destination,
    record: &'a Incoming,
    value: Option<Cow<'a, [u8]>>,
    headers: Headers,
) -> Outgoing<'a> {
    Outgoing {
        to,
        from_partition: record.partition,
        key: record.key.as_deref(),
        value,
        at_unix_ms: record.at_unix_ms,
        headers,
    }
}

fn named(headers: Headers, By { model, generation, .. }: By<'_>) -> Headers {
    headers
        .with("modelcast-model", model.name().as_str().as_bytes())
        .with("modelcast-version", model.version().to_string().as_bytes())
        .with("modelcast-digest", model.digest().to_string().as_bytes())
        .with("modelcast-generation", generation.to_string().as_bytes())
}
