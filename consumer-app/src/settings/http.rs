//! `[http]`: where to listen, and the limits of what is taken in.

use std::net::{Ipv4Addr, SocketAddr};

use modelcast::settings::SettingsError;
use serde::Deserialize;

use super::source::{Shown, wrong};

/// Longest time that a setting may name, in seconds: an hour.
const SECONDS_MAX: u64 = 3_600;
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
    /// How long a connection may be without a byte in either direction; events keep theirs alive.
    pub idle_timeout_seconds: u64,
    /// How long requests under way may take to end at a shutdown.
    pub drain_timeout_seconds: u64,
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
            drain_timeout_seconds: 10,
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
    ];
    for (name, value, low, high) in counts {
        let key = format!("http.{name}");
        if !(low..=high).contains(&value) {
            return Err(wrong(&key, &value, &format!("from {low} to {high} is")));
        }
        shown.add(&key, value.to_string(), shown.written("http", name));
    }
    let times = [
        ("body_timeout_seconds", http.body_timeout_seconds),
        ("idle_timeout_seconds", http.idle_timeout_seconds),
        ("drain_timeout_seconds", http.drain_timeout_seconds),
    ];
    for (name, value) in times {
        let key = format!("http.{name}");
        if !(1..=SECONDS_MAX).contains(&value) {
            return Err(wrong(&key, &value, &format!("from 1 to {SECONDS_MAX} is")));
        }
        shown.add(&key, value.to_string(), shown.written("http", name));
    }
    Ok(())
}
