//! The same rows through every input and output, and by HTTP: the same bits.

use std::{fs::File, sync::Arc};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use consumer_app::{predictions::store::Store, settings::HttpSettings};
use modelcast_protocol::schema::FeatureKind;
use parquet::arrow::ArrowWriter;
use serde_json::json;

use super::place::{Data, Place, Rows, must_be, read_csv, read_parquet, read_store};
use crate::fixture::{Server, bytes, fixed, fp64};

const INPUT: &str = "[input]\npath = \"in.csv\"\nkey = \"id\"\n";

/// What the application answers to a request of all rows.
fn answered(data: Data, rows: &Rows) -> Vec<f64> {
    let model = data.model();
    let inputs: Vec<_> = model
        .schema()
        .features
        .iter()
        .enumerate()
        .map(|(feature, of)| {
            let column = rows.iter().map(|row| row[feature].as_str());
            match of.kind {
                FeatureKind::Numeric(_) => {
                    fp64(&of.name, &column.map(|text| text.parse().unwrap()).collect::<Vec<_>>())
                }
                FeatureKind::Categorical(_) => {
                    let column = column.map(|text| if text.is_empty() { "None" } else { text });
                    bytes(&of.name, &column.collect::<Vec<_>>())
                }
            }
        })
        .collect();
    let name = model.name().to_string();
    let server = Server::with([fixed(model)], HttpSettings::default());
    let answer = server.infer(&name, &json!(inputs));
    let outputs =
        answer.json()["outputs"][0]["data"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
    outputs.iter().map(|value| value.as_f64().unwrap()).collect()
}

/// Writes rows as Parquet, their columns in another order than the schema's, numbers as numbers.
fn write_parquet(place: &Place, name: &str, rows: &Rows) {
    let model = place.data.model();
    let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
    for (feature, of) in model.schema().features.iter().enumerate().rev() {
        let column = rows.iter().map(|row| row[feature].as_str());
        let array: ArrayRef = match of.kind {
            // Whole numbers as such, where all are.
            FeatureKind::Numeric(_) if column.clone().all(|text| text.parse::<i64>().is_ok()) => {
                Arc::new(Int64Array::from_iter_values(column.map(|text| text.parse::<i64>().unwrap())))
            }
            FeatureKind::Numeric(_) => {
                Arc::new(Float64Array::from_iter_values(column.map(|text| text.parse::<f64>().unwrap())))
            }
            // Nothing, where there is nothing.
            FeatureKind::Categorical(_) => {
                Arc::new(column.map(|text| (!text.is_empty()).then_some(text)).collect::<StringArray>())
            }
        };
        columns.push((&of.name, array));
    }
    let keys = (0..rows.len()).map(super::place::id);
    columns.push(("id", Arc::new(StringArray::from_iter_values(keys))));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = File::create(place.path(name)).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn every_input_and_output_and_http_give_the_same_bits() {
    for data in [Data::Houses, Data::Tumours] {
        let place = Place::new(data, INPUT);
        let rows = data.rows(500);
        place.write_csv("in.csv", &rows);
        write_parquet(&place, "in.parquet", &rows);
        let expected = data.predictions(&rows);
        let answered = answered(data, &rows);
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&answered), bits(&expected), "by HTTP");
        for input in ["in.csv", "in.parquet"] {
            for output in ["out.csv", "out.parquet"] {
                let report = place.run(&["--input", input, "--output", output, "--json"]).report();
                assert_eq!(
                    (&report["state"], &report["summary"]["failures"]),
                    (&json!("complete"), &json!(0))
                );
            }
            must_be(&read_csv(&place.path("out.csv")), &expected);
            must_be(&read_parquet(&place.path("out.parquet")), &expected);
            let report = place.run(&["--input", input, "--json"]).report();
            assert_eq!(report["state"], "waiting");
            must_be(&read_store(&place.store(), data), &expected);
        }
    }
}

#[test]
fn an_output_names_model_version_digest_run_and_label_in_each_row() {
    let place = Place::new(Data::Tumours, INPUT);
    place.write_csv("in.csv", &Data::Tumours.rows(40));
    let report = place.run(&["--output", "out.csv", "--once", "--json"]).report();
    let mut reader = csv::Reader::from_path(place.path("out.csv")).unwrap();
    let model = Data::Tumours.model();
    let output = &model.schema().outputs[0];
    let label = format!("{}_label", output.name);
    assert_eq!(
        reader.headers().unwrap(),
        &csv::StringRecord::from(vec!["key", "model", "version", "digest", "run", &output.name, &label])
    );
    for row in reader.records() {
        let row = row.unwrap();
        assert_eq!((&row[1], &row[2]), ("breast-cancer", "1"));
        assert_eq!(row[3], model.digest().to_string());
        assert_eq!(row[4], *report["run"].as_str().unwrap());
        let expected = modelcast_models::label(&output.kind, row[5].parse().unwrap()).unwrap();
        assert_eq!(&row[6], expected);
    }
    let said = std::fs::read_to_string(place.path("out.csv.summary.json")).unwrap();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["run"], &said["summary"]), (&report["run"], &report["summary"]));
}

#[test]
fn a_second_run_replaces_the_file_and_has_the_histogram_of_the_first() {
    let place = Place::new(Data::Houses, INPUT);
    let rows = Data::Houses.rows(60);
    place.write_csv("in.csv", &rows[..50].to_vec());
    let first = place.run(&["--output", "out.csv", "--once", "--json"]).report();
    place.write_csv("in.csv", &rows);
    let second = place.run(&["--output", "out.csv", "--once", "--json"]).report();
    assert_ne!(first["run"], second["run"]);
    let edges = |report: &serde_json::Value| report["summary"]["outputs"][0]["edges"].clone();
    assert_eq!(edges(&first), edges(&second));
    must_be(&read_csv(&place.path("out.csv")), &Data::Houses.predictions(&rows));
}

#[test]
fn a_run_that_is_approved_automatically_is_served_at_once() {
    let place = Place::new(Data::Houses, &format!("{INPUT}[run]\napprove = \"automatic\"\n"));
    place.write_csv("in.csv", &Data::Houses.rows(5));
    let report = place.run(&["--once", "--json"]).report();
    assert_eq!(report["state"], "approved");
    let mut store = Store::open(&place.store()).unwrap();
    let approved = store.approved(Data::Houses.model().name()).unwrap().unwrap();
    assert_eq!(approved.run.as_str(), report["run"]);
    assert_eq!(approved.decision.unwrap().who, "batch-1");
    let summary: serde_json::Value = serde_json::from_str(&approved.summary.unwrap()).unwrap();
    assert_eq!(summary, report["summary"]);
}

#[test]
fn a_byte_order_mark_and_line_ends_do_not_matter() {
    let place = Place::new(Data::Houses, INPUT);
    let rows = Data::Houses.rows(30);
    place.write_csv("in.csv", &rows);
    let text = std::fs::read_to_string(place.path("in.csv")).unwrap();
    std::fs::write(place.path("in.csv"), format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
    place.run(&["--output", "out.csv", "--once", "--json"]).report();
    must_be(&read_csv(&place.path("out.csv")), &Data::Houses.predictions(&rows));
}

#[test]
fn old_runs_lose_their_rows_after_a_new_one() {
    let place = Place::new(Data::Houses, &format!("{INPUT}[predictions]\nkeep_runs = 2\n"));
    place.write_csv("in.csv", &Data::Houses.rows(5));
    for _ in 0..3 {
        place.run(&["--once", "--json"]).report();
    }
    let runs = Store::open(&place.store()).unwrap().runs(None, 9).unwrap();
    let states: Vec<_> = runs.iter().map(|run| run.state.name()).collect();
    assert_eq!(states, ["waiting", "waiting", "pruned"]);
}
