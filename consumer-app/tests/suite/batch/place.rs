//! A folder with settings and inputs for one test, and the readers of what a run leaves there.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use arrow_array::{Array as _, cast::AsArray as _, types::Float64Type};
use consumer_app::{predictions::store::Store, settings::StoreSettings};
use modelcast::{Embedded, LoadedModel, admission::Policy, settings::KeySettings};
use modelcast_models::Value;
use modelcast_protocol::schema::FeatureKind;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value as Json;
use tempfile::TempDir;

/// The models of the test data.
#[derive(Clone, Copy)]
pub(super) enum Data {
    Houses,
    Tumours,
}

/// Rows of a data set: each with the texts of its features, in the schema's order.
pub(super) type Rows = Vec<Vec<String>>;

/// A folder for one test.
pub(super) struct Place {
    folder: TempDir,
    pub(super) data: Data,
}

/// How the program ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) log: String,
}

impl Data {
    fn name(self) -> &'static str {
        match self {
            Self::Houses => "property-value",
            Self::Tumours => "breast-cancer",
        }
    }

    fn csv(self) -> PathBuf {
        let file = match self {
            Self::Houses => "ames_housing.csv",
            Self::Tumours => "breast_cancer.csv",
        };
        root().join("trainer/data").join(file)
    }

    /// The embedded model, as the program loads it.
    pub(super) fn model(self) -> LoadedModel {
        let keys = KeySettings { trusted: vec![key()], ..KeySettings::default() }.trusted().unwrap();
        let file = testdata().join(format!("{}.modelcast", self.name()));
        LoadedModel::embedded(Embedded::File(file), &keys, &Policy::standard()).unwrap()
    }

    /// So many rows of the data set that comes with the trainer, over and over; one feature is new in each round.
    pub(super) fn rows(self, count: usize) -> Rows {
        let model = self.model();
        let mut reader = csv::Reader::from_path(self.csv()).unwrap();
        let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        let features = &model.schema().features;
        let places: Vec<usize> = features
            .iter()
            .map(|feature| header.iter().position(|name| *name == feature.name).unwrap())
            .collect();
        let moved = features.iter().position(|one| matches!(one.kind, FeatureKind::Numeric(_))).unwrap();
        let all: Rows = reader
            .records()
            .map(|record| places.iter().map(|place| record.as_ref().unwrap()[*place].to_owned()).collect())
            .collect();
        let mut rows: Rows = all.iter().cycle().take(count).cloned().collect();
        for (number, row) in rows.iter_mut().enumerate() {
            let value: f64 = row[moved].parse().unwrap();
            row[moved] = format!("{}", value + (number / all.len()) as f64);
        }
        rows
    }

    /// What the model says of these rows, one at a time.
    pub(super) fn predictions(self, rows: &Rows) -> Vec<f64> {
        let model = self.model();
        let features = &model.schema().features;
        let mut encoded = Vec::new();
        let predict = |row: &Vec<String>| {
            let named = features.iter().zip(row).map(|(feature, text)| {
                let value = match feature.kind {
                    FeatureKind::Numeric(_) => Value::Number(text.parse().unwrap()),
                    // The file leaves the cell empty where there is no veneer.
                    FeatureKind::Categorical(_) if text.is_empty() => Value::Category("None"),
                    FeatureKind::Categorical(_) => Value::Category(text),
                };
                (feature.name.as_str(), value)
            });
            model.encoder().encode_row(named, &mut encoded).unwrap();
            let mut prediction = [0.0];
            model.predict(&encoded, &mut prediction).unwrap();
            prediction[0]
        };
        rows.iter().map(predict).collect()
    }
}

impl Place {
    /// A folder whose settings name the data's model, the input `in.csv` with the key `id`, and what `more` says.
    pub(super) fn new(data: Data, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder, data };
        place.configure(more);
        place
    }

    /// Writes the settings anew.
    pub(super) fn configure(&self, more: &str) {
        let name = self.data.name();
        let file = testdata().join(format!("{name}.modelcast"));
        let settings = format!(
            "[kafka]\nbootstrap_servers = \"\"\n[keys]\ntrusted = [{:?}]\n[instance]\nname = \"batch-1\"\n\
             [model]\nname = \"{name}\"\nembedded = {file:?}\n{more}",
            key()
        );
        fs::write(self.path("batch.toml"), settings).unwrap();
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes rows as CSV, with the key `id` before the features.
    pub(super) fn write_csv(&self, name: &str, rows: &Rows) {
        let mut out = csv::Writer::from_path(self.path(name)).unwrap();
        let model = self.data.model();
        let names = model.schema().features.iter().map(|feature| feature.name.as_str());
        out.write_record(std::iter::once("id").chain(names)).unwrap();
        for (number, row) in rows.iter().enumerate() {
            let id = id(number);
            out.write_record(std::iter::once(&id).chain(row)).unwrap();
        }
        out.flush().unwrap();
    }

    /// `consumer-app batch` in this folder.
    pub(super) fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consumer-app"));
        command.current_dir(self.folder.path()).arg("batch").args(["--config", "batch.toml"]).args(flags);
        for name in ["KAFKA", "NAMESPACE", "INSTANCE", "STATE"] {
            command.env_remove(format!("MODELCAST_{name}"));
        }
        command.env("RUST_LOG", "info");
        command
    }

    /// Runs it to its end.
    pub(super) fn run(&self, flags: &[&str]) -> Ended {
        let Output { status, stdout, stderr } = self.command(flags).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: status.code(), out: text(stdout), log: text(stderr) }
    }

    /// The settings of the store that the program uses by default.
    pub(super) fn store(&self) -> StoreSettings {
        let store = self.path("state/predictions.sqlite").display().to_string();
        StoreSettings { store, ..StoreSettings::default() }
    }
}

impl Ended {
    /// What the run had to say of itself; it must have ended well, and with `--json`.
    #[track_caller]
    pub(super) fn report(&self) -> Json {
        assert_eq!(self.code, Some(0), "{}", self.log);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// The line that says why it failed; it must have ended with this code.
    #[track_caller]
    pub(super) fn error(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{}", self.log);
        self.log.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{}", self.log))
    }
}

pub(super) fn id(number: usize) -> String {
    format!("id-{number:07}")
}

/// The keys and values of a CSV file, in its order; all rows must be of one run.
pub(super) fn read_csv(path: &Path) -> Vec<(String, f64)> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let run = reader.headers().unwrap().iter().position(|name| name == "run").unwrap();
    let mut runs = BTreeMap::new();
    let rows = reader.records().map(|record| {
        let record = record.unwrap();
        *runs.entry(record[run].to_owned()).or_insert(0) += 1;
        (record[0].to_owned(), record[5].parse().unwrap())
    });
    let rows = rows.collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    rows
}

/// The same of a Parquet file.
pub(super) fn read_parquet(path: &Path) -> Vec<(String, f64)> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let mut rows = Vec::new();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let (keys, values) =
            (batch.column(0).as_string::<i32>(), batch.column(5).as_primitive::<Float64Type>());
        assert_eq!((keys.null_count(), values.null_count()), (0, 0));
        rows.extend((0..batch.num_rows()).map(|row| (keys.value(row).to_owned(), values.value(row))));
    }
    rows
}

/// The keys and values of the newest run in a store, which must wait; it is approved to be read.
pub(super) fn read_store(settings: &StoreSettings, model: Data) -> Vec<(String, f64)> {
    let mut store = Store::open(settings).unwrap();
    let name = model.model().name().clone();
    let run = store.runs(Some(&name), 1).unwrap().remove(0);
    store.approve(&run.run, "test", "to read it", 0).unwrap();
    let ids: Vec<String> = (0..usize::try_from(run.position).unwrap()).map(id).collect();
    let found = store.predictions(&name, &ids).unwrap().found;
    assert_eq!(found.len() as u64, run.rows, "keys that nobody asked for");
    found.into_iter().map(|found| (found.key, found.values[0])).collect()
}

/// Whether these are the predictions of all rows, each once, in the input's order, to the last bit.
#[track_caller]
pub(super) fn must_be(found: &[(String, f64)], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "rows");
    for (number, ((key, value), expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(
            (key, value.to_bits()),
            (&id(number), expected.to_bits()),
            "row {number}: {value} {expected}"
        );
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn testdata() -> PathBuf {
    root().join("shared/client/testdata").canonicalize().unwrap()
}

fn key() -> PathBuf {
    testdata().join("test-only.pub.pem")
}
