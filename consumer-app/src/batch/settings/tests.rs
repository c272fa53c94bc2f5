//! Tests of the settings of a batch.

use std::{collections::BTreeSet, fs};

use super::*;

const MODEL: &str = "[model]\nname = \"m\"\n";

fn read(text: &str, overrides: Overrides) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("batch.toml");
    fs::write(&path, text).unwrap();
    Settings::read(Some(&path), overrides).map_err(|error| error.to_string())
}

#[test]
fn a_wrong_setting_is_named_with_its_place() {
    let with = |text: &str| format!("{MODEL}[input]\npath = \"a.csv\"\n{text}");
    let rows = [
        ("[input]\nfile = 1\n".to_owned(), ["file", "line 2", "batch.toml"]),
        (MODEL.to_owned(), ["input.path", "--input", ""]),
        ("[input]\npath = \"a.csv\"\n".to_owned(), ["model.name", "--model", ""]),
        (format!("{MODEL}[input]\npath = \"a.txt\"\n"), ["input.path", "a.txt", "input.format"]),
        (with("delimiter = \"ä\"\n"), ["input.delimiter", "ä", "ASCII"]),
        (with("[output]\nto = \"csv\"\n"), ["output.path", "\"\"", "a file"]),
        (with("[run]\nfailures_max = \"many\"\n"), ["run.failures_max", "many", "1%"]),
        (with("[run]\nfailures_max = \"101%\"\n"), ["run.failures_max", "101%", "1%"]),
        (with("[run]\ncommit_rows = 0\n"), ["run.commit_rows", "\"0\"", "from 1"]),
        (with("[run]\nmodel_wait_seconds = 3601\n"), ["run.model_wait_seconds", "3601", "3600"]),
        (with("[run]\nwhen = \"schedule\"\n"), ["run.cron", "\"\"", "minute"]),
        (with("[run]\nwhen = \"schedule\"\ncron = \"61 * * * *\"\n"), ["run.cron", "61", "UTC"]),
        (
            with("[run]\nwhen = \"schedule\"\ncron = \"1 * * * *\"\ntime_zone = \"Mars\"\n"),
            ["run.time_zone", "Mars", ""],
        ),
        (
            format!("[kafka]\nbootstrap_servers = \"\"\n{}", with("")),
            ["model.embedded", "bootstrap_servers is empty", "modelcast pull"],
        ),
        (with("[predictions]\nkeep_runs = 0\n"), ["predictions.keep_runs", "\"0\"", "from 1"]),
        (with("[model]\n"), ["batch.toml", "line", ""]),
    ];
    for (text, words) in rows {
        let error = read(&text, Overrides::default()).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{text}: {error:?} lacks {word:?}");
        }
    }
}

#[test]
fn flags_go_over_the_file_and_the_sources_are_known() {
    let text = format!(
        "{MODEL}[input]\npath = \"a.txt\"\nformat = \"csv\"\nkey = \"a\"\n[output]\nto = \"table\"\n\
         [run]\nwhen = \"schedule\"\ncron = \"0 6 * * *\"\n"
    );
    let overrides = Overrides {
        input: Some(("b.parquet".into(), Source::Flag)),
        output: Some(("c.csv".into(), Source::Flag)),
        key: Some(("b".into(), Source::Flag)),
        model: Some((ModelName::parse("n").unwrap(), Source::Flag)),
        once: Some(Source::Flag),
        ..Overrides::default()
    };
    let settings = read(&text, overrides).unwrap();
    assert_eq!(settings.input.format.name(), "parquet", "the file's format is that of another path");
    assert_eq!((settings.output.to, settings.output.path.as_path()), (To::Csv, Path::new("c.csv")));
    assert_eq!(settings.input.columns.key.as_deref(), Some("b"));
    assert_eq!(settings.model.name.as_str(), "n");
    assert!(matches!(settings.run.when, When::Once));
    let source = |key: &str| settings.shown.iter().find(|shown| shown.0 == key).unwrap().2;
    for key in ["input.path", "output.to", "output.path", "input.key", "model.name", "run.when"] {
        assert_eq!(source(key), Source::Flag, "{key}");
    }
    assert_eq!(source("run.commit_rows"), Source::Default);
}

#[test]
fn failures_are_limited_by_number_or_by_share() {
    let limit = |text: &str| {
        let file = format!("{MODEL}[input]\npath = \"a.csv\"\n[run]\nfailures_max = \"{text}\"\n");
        read(&file, Overrides::default()).unwrap().run.failures_max
    };
    assert_eq!(limit("0"), FailuresMax::Rows(0));
    assert_eq!(limit(" 12 "), FailuresMax::Rows(12));
    assert_eq!(limit("2.5 %"), FailuresMax::Share(0.025));
}

/// The shipped file says every setting that there is, each at its default where there is one.
#[test]
fn the_shipped_file_names_every_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/batch.toml");
    let file: FileSettings = load(&path).unwrap();
    let section = RunSection { cron: file.run.cron.clone(), ..RunSection::default() };
    assert_eq!(file.run, section);
    assert_eq!(file.predictions, StoreSettings::default());
    let settings = Settings::read(Some(&path), Overrides::default()).unwrap();
    let missing: BTreeSet<_> = settings
        .shown
        .iter()
        .filter(|(_, _, source)| *source != Source::File)
        .map(|(key, _, _)| key.as_str())
        .collect();
    // The shipped data set has no column of keys: the setting stands there in a comment.
    assert_eq!(missing, BTreeSet::from(["input.key"]), "not in the shipped file");
}

#[test]
fn the_shipped_file_of_compose_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/compose/batch.toml");
    // The password is where only a container has it.
    let text = fs::read_to_string(path).unwrap().replace("/run/secrets/postgres_password", "/dev/null");
    read(&text, Overrides::default()).unwrap();
}
