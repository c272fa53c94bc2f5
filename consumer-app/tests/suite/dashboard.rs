//! The shipped dashboard asks for metrics that this application has, and for none of another name.

use std::{collections::BTreeSet, fs, path::Path};

use modelcast::LiveModel;
use serde_json::Value;

use crate::fixture::{Server, fixed, house, name};

fn dashboard() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/grafana/dashboards/modelcast.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The names of metrics in a text of queries.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("modelcast_")).map(str::to_owned).collect()
}

/// The names under which a scrape finds what the application shows, also where there is no sample yet.
fn shown(metrics: &str) -> BTreeSet<String> {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let names = types.flat_map(|(name, kind)| match kind {
        "counter" => vec![format!("{name}_total")],
        "histogram" => ["bucket", "sum", "count"].map(|part| format!("{name}_{part}")).to_vec(),
        _ => vec![name.to_owned()],
    });
    names.collect()
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let server = Server::start([fixed(house(4)), LiveModel::waiting(name("empty")).unwrap()]);
    let shown = shown(&server.get("/metrics").text);
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut asked: BTreeSet<String> =
        queries.flat_map(|query| names(query["expr"].as_str().unwrap())).collect();
    asked.extend(names(&dashboard["templating"].to_string()));
    asked.extend(names(&dashboard["annotations"].to_string()));
    let unknown: Vec<_> = asked.difference(&shown).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not among {shown:?}");
    assert!(asked.len() > 10, "{asked:?}");
}
