//! Too much at once, and too slow: what is refused, and what is answered all the same.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    fixture::{Server, connect, fixed, fp64, tumour, until},
    http2::Http2,
};
use consumer_app::settings::HttpSettings;
use serde_json::json;

fn body() -> String {
    json!({ "inputs": [fp64("radius", &[10.0]), fp64("texture", &[15.0])] }).to_string()
}

/// A request of which the last byte is missing.
fn half_a_request(server: &Server) -> TcpStream {
    let (mut stream, body) = (connect(server), body());
    let length = body.len();
    let head =
        format!("POST /v2/models/tumour/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body.as_bytes()[..length - 1]).unwrap();
    stream
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[test]
fn over_the_cap_predictions_are_shed_at_once_and_health_and_metrics_answer() {
    let http = HttpSettings { requests_max: 1, ..HttpSettings::default() };
    let server = Server::with([fixed(tumour(1))], http);
    let mut first = half_a_request(&server);
    let under_way = || server.get("/metrics").text.contains("modelcast_requests_under_way 1\n").then_some(());
    until("the first request is under way", under_way);
    let since = Instant::now();
    let mut client = Http2::connect(server.address);
    let shed = client.get("/v2/models/tumour", &[]).unwrap();
    assert_eq!((shed.status, &shed.headers["retry-after"]), (503, &"1".parse().unwrap()), "{shed:?}");
    assert!(shed.text.contains("http.requests_max is 1"), "{shed:?}");
    let grpc = [("content-type", "application/grpc")];
    let asked = client.ask("POST", "/inference.GRPCInferenceService/ModelInfer", &grpc, false);
    assert_eq!(client.answer(asked).unwrap().headers["grpc-status"], "8");
    // A model's page predicts too, and is shed in words for people.
    let page = client.get("/models/tumour?radius=10", &[]).unwrap();
    assert_eq!((page.status, &page.headers["retry-after"]), (503, &"1".parse().unwrap()), "{page:?}");
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"), "{page:?}");
    assert!(page.text.contains("<h1>Busy</h1>") && page.text.contains("http.requests_max is 1"), "{page:?}");
    assert!(since.elapsed() < Duration::from_secs(5), "shed, not queued");
    for path in ["/v2/health/live", "/v2/health/ready", "/status", "/metrics", "/", "/v2/models/tumour/ready"]
    {
        assert_eq!(server.get(path).status, 200, "{path} while predictions are shed");
    }
    assert!(server.get("/metrics").text.contains("modelcast_shed_requests_total 3\n"));
    first.write_all(&body().as_bytes()[body().len() - 1..]).unwrap();
    assert!(read_head(&mut first).starts_with("HTTP/1.1 200"));
    for path in ["/v2/models/tumour", "/models/tumour"] {
        assert_eq!(server.get(path).status, 200, "there is room again for {path}");
    }
}

#[test]
fn a_request_that_takes_too_long_is_told_so() {
    let http = HttpSettings { request_timeout_seconds: 1, ..HttpSettings::default() };
    let server = Server::with([fixed(tumour(1))], http);
    let mut stream = half_a_request(&server);
    let answer = read_head(&mut stream);
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("http.request_timeout_seconds"),
        "{answer}"
    );
    assert!(server.get("/metrics").text.contains("modelcast_late_requests_total 1\n"));
    // The same over gRPC, by its own shorter deadline: the body never comes.
    let server = Server::start([fixed(tumour(1))]);
    let mut client = Http2::connect(server.address);
    let headers = [("content-type", "application/grpc"), ("grpc-timeout", "100m")];
    let asked = client.ask("POST", "/v2/models/tumour/infer", &headers, true);
    let headers = client.answer(asked).unwrap().headers;
    assert_eq!(headers["grpc-status"], "4");
    assert!(headers["grpc-message"].to_str().unwrap().contains("(grpc-timeout)"), "{headers:?}");
}

#[test]
fn headers_that_trickle_in_end_the_connection() {
    let http = HttpSettings { header_timeout_seconds: 1, ..HttpSettings::default() };
    let server = Server::with([fixed(tumour(1))], http);
    // Within the first bytes, by which HTTP/1.1 is told from HTTP/2; and after them.
    for start in ["G", "GET /v2/health/live HTTP/1.1\r\nhost: x\r\n", "PRI * HTTP/2.0\r\n"] {
        let mut stream = connect(&server);
        stream.write_all(start.as_bytes()).unwrap();
        let since = Instant::now();
        until("the connection is closed", || {
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            // A byte now and then, so that the connection is never idle.
            let _ = stream.write_all(if start.len() < 5 { b"E" } else { b"x" });
            match stream.read(&mut [0; 64]) {
                Ok(0) => Some(()),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Some(()),
                _ => None,
            }
        });
        assert!(since.elapsed() < Duration::from_secs(20), "{start:?}");
    }
}

/// What the server allows before it has read anything: its first frames say so.
#[test]
fn an_http2_connection_has_room_for_eight_streams_and_no_more_than_all_bodies_may_take() {
    const MIB: usize = 1 << 20;
    for (bodies, stream_window, connection_window) in [(64 * MIB, MIB, 8 * MIB), (4 * MIB, MIB, 4 * MIB)] {
        let http = HttpSettings { body_max_bytes: MIB, bodies_max_bytes: bodies, ..HttpSettings::default() };
        let server = Server::with([fixed(tumour(1))], http);
        let mut stream = connect(&server);
        // The preface, and settings that are empty.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        let mut windows = (None, None);
        while windows.0.is_none() || windows.1.is_none() {
            let mut head = [0; 9];
            stream.read_exact(&mut head).unwrap();
            let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
            stream.read_exact(&mut payload).unwrap();
            let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap()) as usize;
            match head[3] {
                // SETTINGS_INITIAL_WINDOW_SIZE.
                4 if !payload.is_empty() => {
                    windows.0 =
                        payload.chunks(6).find(|each| each[..2] == [0, 4]).map(|each| number(&each[2..]))
                }
                8 => windows.1 = Some(number(&payload) + 65_535),
                _ => {}
            }
        }
        assert_eq!(windows, (Some(stream_window), Some(connection_window)));
    }
}
