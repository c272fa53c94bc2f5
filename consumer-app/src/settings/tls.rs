//! `[http.tls]`: the files that connections are encrypted with.

use std::path::PathBuf;

use modelcast::settings::SettingsError;
use serde::Deserialize;

use super::source::{Shown, wrong};

/// `[http.tls]`; without a certificate there is no TLS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// The server's certificate and those up to its authority, a PEM file.
    pub certificate: Option<PathBuf>,
    /// The certificate's key, a PEM file.
    pub private_key: Option<PathBuf>,
    /// Authorities whose certificates a client must have one of, a PEM file.
    pub client_ca: Option<PathBuf>,
    /// How often it is looked whether the files changed.
    pub reload_seconds: u64,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { certificate: None, private_key: None, client_ca: None, reload_seconds: 10 }
    }
}

impl TlsSettings {
    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.certificate.is_some()
    }
}

/// Checks the section and what the files hold, and shows it.
pub(super) fn check(tls: &TlsSettings, shown: &mut Shown<'_>) -> Result<(), SettingsError> {
    if tls.certificate.is_some() != tls.private_key.is_some() {
        let missing = if tls.is_on() { "private_key" } else { "certificate" };
        let cause = "certificate and private_key together, or neither, are";
        return Err(wrong(&format!("http.tls.{missing}"), &"", cause));
    }
    if tls.client_ca.is_some() && !tls.is_on() {
        return Err(wrong("http.tls.client_ca", &"", "a client_ca beside a certificate is"));
    }
    let (low, high) = (1, super::http::SECONDS_MAX);
    if !(low..=high).contains(&tls.reload_seconds) {
        return Err(wrong(
            "http.tls.reload_seconds",
            &tls.reload_seconds,
            &format!("from {low} to {high} is"),
        ));
    }
    crate::tls::check(tls)?;
    let file =
        |path: &Option<PathBuf>| path.as_ref().map_or("none".into(), |path| path.display().to_string());
    let values = [
        ("certificate", file(&tls.certificate)),
        ("private_key", file(&tls.private_key)),
        ("client_ca", file(&tls.client_ca)),
        ("reload_seconds", tls.reload_seconds.to_string()),
    ];
    for (name, value) in values {
        shown.add(&format!("http.tls.{name}"), value, shown.written("http", "tls"));
    }
    Ok(())
}
