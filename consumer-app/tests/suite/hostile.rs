//! Requests that mean harm: each ends in an answer, a 4xx or a closed connection, and the server serves on.

use std::{
    io::{Read as _, Write as _},
    time::Duration,
};

use crate::{
    fixture::{Answer, Server, connect, fixed, fp64, house, tumour},
    http2::Http2,
};
use consumer_app::settings::HttpSettings;
use serde_json::json;

const INFER: &str = "/v2/models/tumour/infer";

fn tensor(shape: &str, datatype: &str, data: &str) -> String {
    format!(
        r#"{{"inputs": [{{"name": "radius", "shape": {shape}, "datatype": "{datatype}", "data": {data}}},
            {{"name": "texture", "shape": [1], "datatype": "FP64", "data": [15]}}]}}"#
    )
}

#[test]
fn a_hostile_body_is_a_client_error_whatever_it_claims() {
    let server = Server::start([fixed(tumour(1)), fixed(house(1))]);
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    let many = |count: usize| vec!["1"; count].join(",");
    let bodies = [
        // Claims of size, which must allocate nothing.
        tensor("[18446744073709551615, 18446744073709551615]", "FP64", "[1]"),
        tensor("[4611686018427387904, 4]", "FP64", "[]"),
        tensor("[-1, 1]", "FP64", "[1]"),
        tensor("[1e30]", "FP64", "[1]"),
        tensor("[1,1,1,1,1,1,1,1,1,1,1,1]", "FP64", "[1]"),
        tensor("[0]", "FP64", "[]"),
        // Depth.
        tensor("[1]", "FP64", &deep("[", "]")),
        deep("{\"inputs\":", "}"),
        format!("{{\"parameters\": {}, \"inputs\": []}}", deep("[", "]")),
        // Wrong datatypes and values.
        tensor("[1]", "FP65", "[1]"),
        tensor("[1]", "BYTES", "[1]"),
        tensor("[1]", "FP64", "[\"a\"]"),
        tensor("[1]", "FP64", "{\"a\": 1}"),
        tensor("[1]", "FP64", "[1e999]"),
        tensor("[1]", "FP64", "[NaN]"),
        tensor("[1]", "UINT8", "[-1]"),
        tensor("[1]", "BOOL", "[2]"),
        // Too much of it.
        tensor("[200000]", "FP64", &format!("[{}]", many(200_000))),
        format!("{{\"inputs\": [{}]}}", vec![fp64("radius", &[1.0]).to_string(); 20_000].join(",")),
        // What an error would repeat, and what an answer would.
        format!("{{\"inputs\": \"{}\"}}", "\u{7f}".repeat(1_000_000)),
        format!("{{\"id\": \"{}\", \"inputs\": []}}", "a".repeat(1_025)),
        // No JSON.
        "\u{0}".repeat(1000),
        "\u{feff}{}".to_owned(),
        "[".repeat(1_000_000),
        "{\"inputs\": [{\"name\": \"\\ud800\"}]}".to_owned(),
    ];
    for body in bodies {
        let Answer { status, text } = server.post(INFER, &body);
        let start: String = body.chars().take(120).collect();
        assert!((400..500).contains(&status), "{status} {text} for {start}");
        assert!(text.len() < 2_000, "an error is short: {start}");
    }
    let right = json!([fp64("radius", &[10.0]), fp64("texture", &[15.0])]);
    assert_eq!(server.infer("tumour", &right).status, 200, "and the next right request is answered");
}

#[test]
fn headers_without_end_are_refused_and_take_no_memory() {
    let server = Server::start([fixed(tumour(1))]);
    let count: String = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect();
    let size = format!("x: {}\r\n", "a".repeat(1 << 20));
    for headers in [count, size] {
        let mut stream = connect(&server);
        // The server may close before it has read all of it.
        let _ = write!(stream, "GET /v2 HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let mut client = Http2::connect(server.address);
    let large = "a".repeat(40 * 1024);
    let refused = client.get("/v2", &[("x", &large)]);
    assert!(refused.as_ref().is_ok_and(|answer| answer.status == 431) || refused.is_err(), "{refused:?}");
    assert_eq!(server.get("/v2").status, 200);
}

/// CVE-2023-44487: streams that are opened and reset at once cost their peer the connection.
#[test]
fn streams_that_are_reset_at_once_end_the_connection() {
    let server = Server::start([fixed(tumour(1))]);
    let mut client = Http2::connect(server.address);
    let broke = (0..20_000).any(|_| client.reset("/v2").is_err());
    assert!(broke || client.is_closed(), "20,000 streams were reset, and the connection lives");
    assert!(client.ended().is_err());
    assert_eq!(server.get("/v2").status, 200, "others are served");
}

#[test]
fn streams_over_the_cap_wait_in_the_client() {
    let http = HttpSettings { streams_max: 2, ..HttpSettings::default() };
    let server = Server::with([fixed(tumour(1))], http);
    let mut client = Http2::connect(server.address);
    // The first answer comes after the server's settings, which say how many streams there may be.
    client.get("/v2", &[]).unwrap();
    let held: Vec<_> = (0..2).map(|_| client.ask("POST", INFER, &[], true)).collect();
    let mut third = client.ask("GET", "/v2", &[], false);
    assert_eq!(client.status_within(Duration::from_millis(300), &mut third), None, "a third has to wait");
    drop(held);
    assert_eq!(client.status_within(Duration::from_secs(20), &mut third), Some(200), "there is room again");
}
