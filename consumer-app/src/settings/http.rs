//! `[http]`: where to listen, and the limits of what is taken in.

use std::net::{Ipv4Addr, SocketAddr};

use modelcast::settings::SettingsError;
use serde::Deserialize;

use super::{
    source::{Shown, wrong},
    tls::{self, TlsSettings},
};
use crate::auth::Tokens;

/// Longest time that a setting may name, in seconds: an hour.
pub(super) const SECONDS_MAX: u64 = 3_600;
const GIB: usize = 1024 * MIB;
const MIB: usize = 1024 * 1024;

/// `[http]`: where to listen, and the limits of what is taken in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Rows of one request.
    pub rows_max: usize,
    /// Bytes of one request's body.
    pub body_max_bytes: usize,
    /// Bytes of all bodies that are being read or answered.
    pub bodies_max_bytes: usize,
    /// How long a body may take to arrive.
    pub body_timeout_seconds: u64,
    /// Connections at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// How long a connection may be without a byte in either direction, which is longer than a request may take; events
    /// keep theirs alive.
    pub idle_timeout_seconds: u64,
    /// Requests for predictions, models' pages included, under way at once; further ones are refused at once.
    pub requests_max: usize,
    /// How long a request may take, its body included.
    pub request_timeout_seconds: u64,
    /// How long a TLS handshake, the first bytes of a connection, the headers of a request, and an HTTP/1.1 connection
    /// between requests may take: each for itself.
    pub header_timeout_seconds: u64,
    /// Headers of one request over HTTP/1.1.
    pub headers_max: usize,
    /// Bytes of the headers of one request.
    pub headers_max_bytes: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams_max: u32,
    /// How often an HTTP/2 peer is asked whether it is there.
    pub ping_interval_seconds: u64,
    /// How long the server serves on at a shutdown, not ready any more, before it closes its port.
    pub drain_delay_seconds: u64,
    /// How long requests under way may take to end at a shutdown.
    pub drain_timeout_seconds: u64,
    /// Whether pages, status and metrics need a token as well, where there are any.
    pub pages_need_token: bool,
    /// Whether tokens may cross a network without TLS.
    pub tokens_over_plain_http: bool,
    /// Who may ask; anybody when there is none.
    pub tokens: Tokens,
    /// Encryption.
    pub tls: TlsSettings,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            rows_max: 10_000,
            body_max_bytes: 16 * MIB,
            bodies_max_bytes: 64 * MIB,
            body_timeout_seconds: 10,
            connections_max: 1_024,
            idle_timeout_seconds: 120,
            requests_max: 256,
            request_timeout_seconds: 30,
            header_timeout_seconds: 20,
            headers_max: 100,
            headers_max_bytes: 32 * 1024,
            streams_max: 128,
            ping_interval_seconds: 30,
            drain_delay_seconds: 0,
            drain_timeout_seconds: 10,
            pages_need_token: false,
            tokens_over_plain_http: false,
            tokens: Tokens::default(),
            tls: TlsSettings::default(),
        }
    }
}

/// Checks the section, and shows it.
pub(super) fn check(http: &HttpSettings, shown: &mut Shown<'_>) -> Result<(), SettingsError> {
    let counts = [
        ("rows_max", http.rows_max, 1, 1_000_000),
        ("body_max_bytes", http.body_max_bytes, 1024, GIB),
        ("bodies_max_bytes", http.bodies_max_bytes, http.body_max_bytes, 64 * GIB),
        ("connections_max", http.connections_max, 1, 100_000),
        ("requests_max", http.requests_max, 1, 100_000),
        ("headers_max", http.headers_max, 16, 1_000),
        // hyper takes no smaller buffer than 8 KiB.
        ("headers_max_bytes", http.headers_max_bytes, 8 * 1024, MIB),
        ("streams_max", usize::try_from(http.streams_max).unwrap_or(usize::MAX), 1, 10_000),
    ];
    for (name, value, low, high) in counts {
        let key = format!("http.{name}");
        if !(low..=high).contains(&value) {
            return Err(wrong(&key, &value, &format!("from {low} to {high} is")));
        }
        shown.add(&key, value.to_string(), shown.written("http", name));
    }
    let times = [
        ("body_timeout_seconds", http.body_timeout_seconds, 1),
        ("idle_timeout_seconds", http.idle_timeout_seconds, 1),
        ("request_timeout_seconds", http.request_timeout_seconds, 1),
        ("header_timeout_seconds", http.header_timeout_seconds, 1),
        ("ping_interval_seconds", http.ping_interval_seconds, 1),
        ("drain_delay_seconds", http.drain_delay_seconds, 0),
        ("drain_timeout_seconds", http.drain_timeout_seconds, 1),
    ];
    for (name, value, low) in times {
        let key = format!("http.{name}");
        if !(low..=SECONDS_MAX).contains(&value) {
            return Err(wrong(&key, &value, &format!("from {low} to {SECONDS_MAX} is")));
        }
        shown.add(&key, value.to_string(), shown.written("http", name));
    }
    // A connection whose request is still being answered says nothing either.
    if http.idle_timeout_seconds <= http.request_timeout_seconds {
        let cause = format!(
            "more than http.request_timeout_seconds ({}), which an answer may take, is",
            http.request_timeout_seconds
        );
        return Err(wrong("http.idle_timeout_seconds", &http.idle_timeout_seconds, &cause));
    }
    tls::check(&http.tls, shown)?;
    check_tokens(http, shown)
}

/// Whoever reads the network between could use a token that crosses it unencrypted.
fn check_tokens(http: &HttpSettings, shown: &mut Shown<'_>) -> Result<(), SettingsError> {
    let in_the_open = !http.tls.is_on() && !http.listen.ip().is_loopback();
    if !http.tokens.is_empty() && in_the_open && !http.tokens_over_plain_http {
        let cause = format!(
            "tokens would cross the network to {} unencrypted: with [http.tls], on a loopback address, or with \
             http.tokens_over_plain_http = true (behind a proxy that encrypts) they are",
            http.listen
        );
        return Err(wrong("http.tokens", &http.tokens, &cause));
    }
    let values = [
        ("pages_need_token", http.pages_need_token.to_string()),
        ("tokens_over_plain_http", http.tokens_over_plain_http.to_string()),
        ("tokens", http.tokens.to_string()),
    ];
    for (name, value) in values {
        shown.add(&format!("http.{name}"), value, shown.written("http", name));
    }
    Ok(())
}
