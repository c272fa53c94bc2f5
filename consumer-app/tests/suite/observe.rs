//! What an operator sees: status, metrics and events; and what a shutdown does to requests under way.

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use crate::fixture::{Events, Server, connect, fixed, fp64, house, house_inputs, name, tumour};
use consumer_app::settings::HttpSettings;
use modelcast::LiveModel;
use serde_json::{Value, json};

#[test]
fn metrics_tell_generations_swaps_predictions_and_latency() {
    let live = fixed(house(4));
    let server = Server::start([live.clone(), LiveModel::waiting(name("empty")).unwrap()]);
    assert_eq!(server.infer("property-value", &house_inputs(3)).status, 200);
    assert_eq!(server.infer("property-value", &json!([])).status, 400);
    live.replace_fixed(house(5)).unwrap();
    let text = server.get("/metrics").text;
    for line in [
        "modelcast_served_generation{model=\"property-value\"} 5",
        "modelcast_served_version{model=\"property-value\"} 5",
        "modelcast_served_version{model=\"empty\"} 0",
        "modelcast_ready{model=\"empty\"} 0",
        "modelcast_ready{model=\"property-value\"} 1",
        "modelcast_swaps_total{model=\"property-value\"} 2",
        "modelcast_predictions_total{model=\"property-value\"} 3",
        "modelcast_prediction_errors_total{model=\"property-value\"} 0",
        "modelcast_refused_requests_total{model=\"property-value\"} 1",
        "modelcast_prediction_latency_seconds_count{model=\"property-value\"} 1",
        "# TYPE modelcast_rejections counter",
        "# TYPE modelcast_news_age_seconds gauge",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn status_tells_what_is_served() {
    let server = Server::start([fixed(house(4))]);
    server.infer("property-value", &house_inputs(3));
    let json = server.get("/status").json();
    assert_eq!(json["instance"], "app-1");
    let model = &json["models"][0];
    assert_eq!((&model["model"], &model["phase"]), (&json!("property-value"), &json!("live")));
    assert_eq!((&model["served"]["version"], &model["served"]["generation"]), (&json!(4), &json!(4)));
    assert_eq!(model["served"]["manifest"], house(4).digest().to_string());
    assert!(model["served"]["since_unix_ms"].as_u64().unwrap() > 1_000_000_000_000);
    assert_eq!((&model["predictions"], &model["errors"]), (&json!(3), &json!(0)));
    assert_eq!((&model["wanted"], &model["news_age_seconds"]), (&Value::Null, &Value::Null));
    assert_eq!((&model["rejections"], &model["warnings"]), (&json!([]), &json!([])));
}

#[test]
fn events_bring_the_state_and_then_each_change() {
    let live = LiveModel::waiting(name("property-value")).unwrap();
    // Long, so that it is not the deadline that ends the stream.
    let http = HttpSettings { drain_timeout_seconds: 60, ..HttpSettings::default() };
    let mut server = Server::with([live.clone()], http);
    let mut events = Events::open(&server, "/models/property-value/events");
    let first = events.next().unwrap();
    assert_eq!((&first["phase"], &first["served"]), (&json!("waiting"), &Value::Null));
    for number in [1, 2] {
        live.replace_fixed(house(number)).unwrap();
        assert_eq!(events.next().unwrap()["served"]["version"], number);
    }
    server.stop();
    let stopped = Instant::now();
    assert_eq!(events.next(), None);
    assert!(stopped.elapsed() < Duration::from_secs(30), "a shutdown ends the stream, and not its deadline");
}

#[test]
fn a_shutdown_finishes_the_request_under_way_and_takes_no_new_one() {
    let mut server = Server::start([fixed(tumour(1))]);
    let body = json!({ "inputs": [fp64("radius", &[10.0]), fp64("texture", &[15.0])] }).to_string();
    let (early, late) = body.split_at(body.len() / 2);
    let mut stream = connect(&server);
    let length = body.len();
    let head = format!(
        "POST /v2/models/tumour/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{early}"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A second connection is answered: the first request has been accepted by then.
    assert_eq!(server.get("/v2/health/live").status, 200);
    let address = server.address;
    server.stop();
    crate::fixture::until("the port is closed", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
    stream.write_all(late.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"malignant\""), "{answer}");
    server.ended();
}

#[test]
fn a_shutdown_does_not_wait_for_ever() {
    let http = HttpSettings { drain_timeout_seconds: 1, body_timeout_seconds: 60, ..HttpSettings::default() };
    let server = Server::with([fixed(tumour(1))], http);
    let mut stream = connect(&server);
    stream
        .write_all(b"POST /v2/models/tumour/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        .unwrap();
    assert_eq!(server.get("/v2/health/live").status, 200);
    assert!(server.ended().as_secs() < 20);
}

#[test]
fn connections_over_the_cap_wait_and_are_answered_when_there_is_room() {
    let http = HttpSettings { connections_max: 1, ..HttpSettings::default() };
    let server = Server::with([fixed(tumour(1))], http);
    let mut first = connect(&server);
    first.write_all(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut start = [0; 12];
    first.read_exact(&mut start).unwrap();
    let mut second = connect(&server);
    second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    second.write_all(b"GET /v2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    assert!(second.read(&mut start).is_err(), "the second connection is not served beside the first");
    drop(first);
    second.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    second.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let http = HttpSettings { idle_timeout_seconds: 1, ..HttpSettings::default() };
    let server = Server::with([fixed(tumour(1))], http);
    let mut stream = connect(&server);
    stream.write_all(b"GET /v2 HT").unwrap();
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    assert!(
        ended.is_ok() && answer.is_empty()
            || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    );
}

#[test]
fn a_page_is_whole_without_a_script_and_escapes_what_it_is_given() {
    let server = Server::start([fixed(house(4)), LiveModel::waiting(name("empty")).unwrap()]);
    let page = server.get("/models/property-value?area=2000&zone=Old_Town&lot=%22%3E%3Cscript%3E");
    assert_eq!(page.status, 200);
    for words in [
        "<h1>Property value</h1>",
        "<label for=\"f0\">Living area</label>",
        "value=\"2000\"",
        "<option value=\"Old_Town\" selected>Old Town</option>",
        "Lot size must be a number",
        "value=\"&quot;&gt;&lt;script&gt;\"",
        "<legend>Years</legend>",
    ] {
        assert!(page.text.contains(words), "{words}\n{}", page.text);
    }
    assert!(!page.text.contains("<script>"));
    let answered = server.get("/models/property-value?area=2000").text;
    assert!(
        answered.contains("<span class=\"unit\">USD</span>") && answered.contains("<b id=\"version\">4</b>")
    );
    assert_eq!(server.get("/models/empty").status, 503);
    assert!(server.get("/models/empty").text.contains("No version is live yet"));
    assert_eq!(server.get("/models/nope").status, 404);
    assert!(server.get("/").text.contains("href=\"/models/property-value\""));
    for asset in ["page.css", "page.js", "icon.svg", "arrow.svg"] {
        assert_eq!(server.get(&format!("/assets/{asset}")).status, 200, "{asset}");
    }
    assert_eq!(server.get("/assets/..%2fmain.rs").status, 404);
}
