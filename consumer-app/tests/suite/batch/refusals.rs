//! Rows that fail, inputs that do not fit, and what is left of the runs that they end.

use std::{fs, io::Write as _};

use consumer_app::predictions::{run::RunState, store::Store};
use serde_json::json;

use super::place::{Data, Ended, Place, Rows, id, must_be, read_csv};
use crate::fixture::until;

const INPUT: &str = "[input]\npath = \"in.csv\"\nkey = \"id\"\n";

fn place_of(data: Data, rows: &Rows, more: &str) -> Place {
    let place = Place::new(data, &format!("{INPUT}{more}"));
    place.write_csv("in.csv", rows);
    place
}

/// Where a feature of the houses stands in a row.
fn feature(name: &str) -> usize {
    Data::Houses.model().schema().feature(name).unwrap().0
}

#[test]
fn a_row_that_fails_is_named_with_its_cause_and_stops_nothing() {
    let mut rows = Data::Houses.rows(12_000);
    let expected = Data::Houses.predictions(&rows);
    let area = feature("Gr_Liv_Area");
    // The last but one is a number, and what the model makes of it is none.
    let bad = [(3, ""), (9_000, "large"), (9_001, "inf"), (10_000, "1e308"), (11_999, "1e999")];
    for (row, text) in bad {
        rows[row][area] = text.to_owned();
    }
    let place = place_of(Data::Houses, &rows, "[run]\nfailures_max = \"6\"\n");
    // A row of another width, and one that is not UTF-8.
    let text = fs::read(place.path("in.csv")).unwrap();
    let broken = [text.as_slice(), b"id-0012000,1,2\nid-\xff"].concat();
    fs::write(place.path("in.csv"), broken).unwrap();
    let ended = place.run(&["--output", "out.csv", "--once", "--json"]);
    assert!(ended.error(4).contains("7 of 12002 rows failed"), "{}", ended.log);
    place.configure(&format!("{INPUT}[run]\nfailures_max = \"7\"\n"));
    let report = place.run(&["--output", "out.csv", "--once", "--json"]).report();
    let first = |row: usize, cause: &str| json!({ "row": row, "key": id(row), "cause": cause });
    let named = report["summary"]["first_failures"].as_array().unwrap();
    assert_eq!(named.len(), 7);
    assert_eq!(named[0], first(3, "feature \"Gr_Liv_Area\" is empty"));
    assert_eq!(named[1], first(9_000, "feature \"Gr_Liv_Area\" is \"large\", which is not a number"));
    assert_eq!(named[2], first(9_001, "feature \"Gr_Liv_Area\" is inf, which is not finite"));
    assert_eq!(named[3], first(10_000, "output 0 is too large to be a number"));
    assert_eq!(named[5], first(12_000, "the row has 3 cells, and the header names 21 columns"));
    assert_eq!((&named[6]["row"], &named[6]["key"]), (&json!(12_001), &json!("")));
    let found = read_csv(&place.path("out.csv"));
    let good: Vec<_> = (0..12_000)
        .filter(|row| !bad.iter().any(|(bad, _)| bad == row))
        .map(|row| (id(row), expected[row]))
        .collect();
    assert_eq!(found, good);
    let failures = fs::read_to_string(place.path("out.csv.failures.csv")).unwrap();
    assert_eq!(failures.lines().count(), 8, "{failures}");
    assert!(
        failures.contains("9000,id-0009000,\"feature \"\"Gr_Liv_Area\"\" is \"\"large\"\""),
        "{failures}"
    );
}

#[test]
fn a_share_of_failed_rows_is_judged_at_the_end() {
    let mut rows = Data::Houses.rows(200);
    let area = feature("Gr_Liv_Area");
    for row in &mut rows[..2] {
        row[area] = String::new();
    }
    let place = place_of(Data::Houses, &rows, "");
    let report = place.run(&["--output", "out.csv", "--once", "--json"]).report();
    assert_eq!(report["summary"]["failures"], 2, "1% of 200 rows");
    rows[2][area] = String::new();
    place.write_csv("in.csv", &rows);
    let ended = place.run(&["--output", "new.csv", "--once"]);
    assert!(ended.error(4).contains("3 of 200 rows failed"), "{}", ended.log);
    assert!(!place.path("new.csv").exists());
}

#[test]
fn an_empty_category_is_none_and_other_empty_cells_are_what_the_settings_say() {
    let mut rows = Data::Houses.rows(50);
    let (veneer, cars) = (feature("Mas_Vnr_Type"), feature("Garage_Cars"));
    rows[7][veneer] = " ".to_owned();
    rows[8][cars] = String::new();
    let place = place_of(Data::Houses, &rows, "[input.missing]\nGarage_Cars = \"0\"\n");
    place.run(&["--output", "out.csv", "--once", "--json"]).report();
    rows[7][veneer] = "None".to_owned();
    rows[8][cars] = "0".to_owned();
    must_be(&read_csv(&place.path("out.csv")), &Data::Houses.predictions(&rows));
}

/// A header, what the settings say, and the words of the error.
#[test]
fn columns_that_do_not_fit_are_named_before_any_row_is_scored() {
    let rows = Data::Houses.rows(3);
    let rewrite = |place: &Place, from: &str, to: &str| {
        let text = fs::read_to_string(place.path("in.csv")).unwrap();
        fs::write(place.path("in.csv"), text.replacen(from, to, 1)).unwrap();
    };
    let cases: [(&str, &str, &str, &[&str]); 8] = [
        ("Lot_Area", "Area", "", &["feature \"Lot_Area\" has no column", "Area"]),
        ("id,", "key,", "", &["key's column \"id\"", "input.key"]),
        ("id,", "id,Lot_Area,", "", &["column ", "\"Lot_Area\"", "taken"]),
        ("id,", "id,,", "", &["column 2", "\"\""]),
        ("Lot_Area", "Lot_Area,More", "", &["column \"More\" is no feature", "input.ignore"]),
        ("", "", "ignore = [\"Gone\"]\n", &["input.ignore", "\"Gone\""]),
        ("", "", "[input.missing]\nGone = \"1\"\n", &["input.missing", "\"Gone\""]),
        ("", "", "[input.missing]\nLot_Area = \"much\"\n", &["input.missing", "much", "Lot_Area"]),
    ];
    for (from, to, more, words) in cases {
        let place = place_of(Data::Houses, &rows, more);
        rewrite(&place, from, to);
        let ended = place.run(&["--output", "out.csv", "--once"]);
        let error = ended.error(4);
        for word in words {
            assert!(error.contains(word), "{error} lacks {word}");
        }
        assert!(!place.path("out.csv").exists() && !place.path("state/batch-1/batch/journal.json").exists());
    }
}

#[test]
fn columns_that_are_to_be_ignored_are() {
    let rows = Data::Houses.rows(20);
    for ignore in ["[\"More\"]", "[\"*\"]"] {
        let place = place_of(Data::Houses, &rows, &format!("ignore = {ignore}\n"));
        let text = fs::read_to_string(place.path("in.csv")).unwrap();
        let text: String = text
            .lines()
            .enumerate()
            .map(|(line, text)| format!("{},{text}\n", if line == 0 { "More" } else { "\"a, b\"" }))
            .collect();
        fs::write(place.path("in.csv"), text).unwrap();
        place.run(&["--output", "out.csv", "--once", "--json"]).report();
        must_be(&read_csv(&place.path("out.csv")), &Data::Houses.predictions(&rows));
    }
}

#[test]
fn a_key_that_stands_twice_ends_the_run_and_leaves_nothing_behind() {
    let rows = Data::Houses.rows(20_000);
    let place = place_of(Data::Houses, &rows, "[run]\ncommit_rows = 1\n");
    let text = fs::read_to_string(place.path("in.csv")).unwrap();
    fs::write(place.path("in.csv"), text.replacen(&id(17_000), &id(12), 1)).unwrap();
    let ended = place.run(&["--output", "out.csv", "--once"]);
    let error = ended.error(4);
    assert!(error.contains("rows 12 and 17000 have the same key"), "{error}");
    assert!(!place.path("out.csv").exists());

    let ended: Ended = place.run(&["--once"]);
    let error = ended.error(4);
    assert!(error.contains("17000") && error.contains(&id(12)), "{error}");
    let run = Store::open(&place.store()).unwrap().runs(None, 2).unwrap().remove(0);
    assert_eq!(run.state, RunState::Abandoned);
    assert!(run.cause.unwrap().contains("17000"));
}

#[test]
fn a_quote_that_nobody_closes_ends_the_run_and_not_the_memory() {
    let rows = Data::Houses.rows(3);
    let place = place_of(Data::Houses, &rows, "");
    let text = fs::read(place.path("in.csv")).unwrap();
    let open = [text.as_slice(), b"\"", &vec![b'x'; 8 << 20]].concat();
    fs::write(place.path("in.csv"), open).unwrap();
    let ended = place.run(&["--output", "out.csv", "--once"]);
    let error = ended.error(4);
    assert!(error.contains("after 3 rows") && error.contains("longer than 1048576 bytes"), "{error}");
}

#[test]
fn a_file_that_is_not_there_or_no_parquet_is_named() {
    let place = Place::new(Data::Houses, INPUT);
    let ended = place.run(&["--once"]);
    assert!(ended.error(1).contains("in.csv"), "{}", ended.log);
    fs::write(place.path("in.parquet"), "no such thing").unwrap();
    let ended = place.run(&["--input", "in.parquet"]);
    assert!(ended.error(4).contains("in.parquet cannot be read as Parquet"), "{}", ended.log);
    let ended = place.run(&["--input", "in.txt"]);
    assert!(ended.error(64).contains("input.path"), "{}", ended.log);
    let ended = place.run(&["--inputs", "in.txt"]);
    assert_eq!(ended.code, Some(2), "{}", ended.log);
}

#[test]
fn an_output_does_not_take_the_place_of_the_input() {
    let place = place_of(Data::Houses, &Data::Houses.rows(3), "");
    let before = fs::read(place.path("in.csv")).unwrap();
    let ended = place.run(&["--output", "./in.csv", "--once"]);
    assert!(ended.error(4).contains("is the input"), "{}", ended.log);
    assert_eq!(fs::read(place.path("in.csv")).unwrap(), before);
}

#[test]
fn an_input_that_is_written_to_while_it_is_read_ends_the_run() {
    let place = place_of(Data::Houses, &Data::Houses.rows(150_000), "[run]\ncommit_rows = 1\n");
    let mut command = place.command(&["--output", "out.csv", "--once"]);
    let log = fs::File::create(place.path("log")).unwrap();
    let mut child = command.stderr(log).spawn().unwrap();
    until("a part", || place.path("state/batch-1/batch/parts/00000000").exists().then_some(()));
    let mut input = fs::File::options().append(true).open(place.path("in.csv")).unwrap();
    input.write_all(b"\n").unwrap();
    let code = child.wait().unwrap().code();
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert_eq!((code, log.contains("was changed while it was read")), (Some(4), true), "{log}");
    assert!(!place.path("out.csv").exists());
}

#[test]
fn an_input_without_a_row_replaces_nothing() {
    let rows = Data::Houses.rows(10);
    let place = place_of(Data::Houses, &rows, "");
    let flags = ["--output", "out.csv", "--once", "--json"];
    place.run(&flags).report();
    place.write_csv("in.csv", &Rows::new());
    assert!(place.run(&flags).error(4).contains("the input has no row"));
    must_be(&read_csv(&place.path("out.csv")), &Data::Houses.predictions(&rows));
}
