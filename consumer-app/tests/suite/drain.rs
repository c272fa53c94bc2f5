//! A shutdown with requests under way: over HTTP/1.1 (see `observe`), HTTP/2 and TLS, and what a load balancer sees.

use std::{net::TcpStream, time::Duration};

use axum::body::Bytes;

use crate::{
    fixture::{Events, Server, fixed, fp64, tumour, until},
    http2::{Asked, Http2},
    tls::Certificates,
};
use consumer_app::settings::HttpSettings;
use serde_json::json;

/// A prediction of which the last byte is missing, and that byte.
fn half_a_request(client: &mut Http2) -> (Asked, Bytes) {
    let body = json!({ "inputs": [fp64("radius", &[10.0]), fp64("texture", &[15.0])] }).to_string();
    let (early, late) = body.split_at(body.len() - 1);
    let mut asked = client.ask("POST", "/v2/models/tumour/infer", &[], true);
    asked.body.send_data(Bytes::copy_from_slice(early.as_bytes()), false).unwrap();
    (asked, Bytes::copy_from_slice(late.as_bytes()))
}

fn the_request_under_way_ends_and_then_the_connection(mut server: Server, mut client: Http2) {
    let (mut asked, late) = half_a_request(&mut client);
    assert_eq!(client.get("/v2/health/live", &[]).unwrap().status, 200);
    let address = server.address;
    server.stop();
    until("the port is closed", || TcpStream::connect(address).is_err().then_some(()));
    assert!(!client.is_closed(), "the request keeps its connection");
    asked.body.send_data(late, true).unwrap();
    let answer = client.answer(asked).unwrap();
    assert!(answer.status == 200 && answer.text.contains("\"malignant\""), "{answer:?}");
    until("GOAWAY ends the connection", || client.is_closed().then_some(()));
    // Whoever closes last may find nobody left to say so to.
    if let Err(error) = client.ended() {
        let kind = error.get_io().map(std::io::Error::kind);
        assert_eq!(kind, Some(std::io::ErrorKind::BrokenPipe), "{error}");
    }
    assert!(server.ended() < Duration::from_secs(20), "nothing was left for the deadline");
}

fn patient() -> HttpSettings {
    HttpSettings { drain_timeout_seconds: 60, ..HttpSettings::default() }
}

#[test]
fn a_shutdown_finishes_requests_over_http2() {
    let server = Server::with([fixed(tumour(1))], patient());
    let client = Http2::connect(server.address);
    the_request_under_way_ends_and_then_the_connection(server, client);
}

#[test]
fn a_shutdown_finishes_requests_over_tls() {
    let certificates = Certificates::new();
    let server = Server::with([fixed(tumour(1))], HttpSettings { tls: certificates.settings(), ..patient() });
    let client = Http2::connect_tls(server.address, certificates.client());
    the_request_under_way_ends_and_then_the_connection(server, client);
}

#[test]
fn a_handshake_that_does_not_go_on_holds_up_no_shutdown() {
    let certificates = Certificates::new();
    let http = HttpSettings { tls: certificates.settings(), header_timeout_seconds: 60, ..patient() };
    let mut server = Server::with([fixed(tumour(1))], http);
    let _silent = TcpStream::connect(server.address).unwrap();
    // Connections are accepted in their order: the silent one is there when this one is.
    let mut client = Http2::connect_tls(server.address, certificates.client());
    assert_eq!(client.get("/v2/health/live", &[]).unwrap().status, 200);
    server.stop();
    assert!(server.ended() < Duration::from_secs(20), "nothing was left for the deadline");
}

#[test]
fn a_stream_of_reflection_that_is_open_holds_up_no_shutdown() {
    let mut server = Server::with([fixed(tumour(1))], patient());
    let mut client = Http2::connect(server.address);
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let mut asked = client.ask("POST", path, &headers, true);
    // A frame of gRPC with one message: `list_services = ""`.
    asked.body.send_data(Bytes::from_static(b"\0\0\0\0\x02\x3a\0"), false).unwrap();
    assert_eq!(client.status_within(Duration::from_secs(20), &mut asked), Some(200));
    server.stop();
    assert!(server.ended() < Duration::from_secs(20), "nothing was left for the deadline");
}

#[test]
fn before_the_port_closes_readiness_is_gone_for_the_delay() {
    let http = HttpSettings { drain_delay_seconds: 3, ..patient() };
    let mut server = Server::with([fixed(tumour(1))], http);
    let mut events = Events::open(&server, "/models/tumour/events");
    events.next().unwrap();
    assert_eq!(server.get("/v2/health/ready").status, 200);
    server.stop();
    until("it is not ready", || (server.get("/v2/health/ready").status == 503).then_some(()));
    assert_eq!(server.get("/v2/health/live").status, 200, "it still lives");
    assert_eq!(server.get("/v2/models/tumour").status, 200, "and still answers");
    assert_eq!(events.next(), None, "event streams end when it closes");
    assert!(server.ended() < Duration::from_secs(20));
}
