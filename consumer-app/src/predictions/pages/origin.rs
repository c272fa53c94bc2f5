//! That a form was sent by a page of this application, and not by a page elsewhere in the same browser.
//!
//! Three checks. The browser says where the request comes from (`Sec-Fetch-Site`, or `Origin` where there is none); and
//! the form carries a token that is in a cookie too, which no other site can read or set. Both are true of a page elsewhere
//! whose name was pointed at this machine (DNS rebinding): so the name must be an address, `localhost`, or known.
//!
//! # Invariants
//! * A request that says nothing of where it comes from is refused.

use std::{fmt::Write as _, net::IpAddr};

use axum::http::{
    HeaderMap, Uri,
    header::{COOKIE, HOST, ORIGIN},
    request::Parts,
    uri::Authority,
};
use subtle::ConstantTimeEq as _;

use crate::predictions::refusal::NotStored;

const COOKIE_NAME: &str = "modelcast-form";
const TOKEN_BYTES: usize = 32;

/// What form and cookie both carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token(String);

impl Token {
    /// The token of the browser that asks; a new one where it has none.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self::in_cookie(headers).unwrap_or_else(Self::random)
    }

    fn in_cookie(headers: &HeaderMap) -> Option<Self> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let ours = |pair: &str| Some(pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('=')?.to_owned());
        let is_ours = |token: &String| {
            token.len() == TOKEN_BYTES * 2 && token.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(ours).find(is_ours).map(Self)
    }

    fn random() -> Self {
        let mut bytes = [0; TOKEN_BYTES];
        // Without randomness there is no token, and an empty one is never right.
        match rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes) {
            Ok(()) => Self(bytes.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}"); // never fails
                text
            })),
            Err(_) => Self(String::new()),
        }
    }

    /// What the form carries.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// What the browser is to keep, and to send with requests of our own pages alone.
    pub(super) fn cookie(&self) -> String {
        format!("{COOKIE_NAME}={}; Path=/models; HttpOnly; SameSite=Strict", self.0)
    }
}

/// Checks where a form comes from.
///
/// # Errors
/// [`NotStored::Foreign`] and [`NotStored::OtherHost`].
pub(super) fn check(request: &Parts, token: &str, known: &[String]) -> Result<(), NotStored> {
    if !host(request).is_some_and(|host| is_known(host, known)) {
        return Err(NotStored::OtherHost);
    }
    let is_right = Token::in_cookie(&request.headers)
        .is_some_and(|cookie| bool::from(cookie.0.as_bytes().ct_eq(token.as_bytes())));
    if is_right && is_same_origin(request) { Ok(()) } else { Err(NotStored::Foreign) }
}

/// The name and port that the request was sent to.
fn host(request: &Parts) -> Option<&str> {
    let header = request.headers.get(HOST).map(|value| value.to_str().unwrap_or_default());
    // HTTP/2 has no header of that name.
    header.or_else(|| request.uri.authority().map(Authority::as_str))
}

fn is_known(host: &str, known: &[String]) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_matches(['[', ']']);
    let is_name = |other: &str| name.eq_ignore_ascii_case(other);
    name.parse::<IpAddr>().is_ok() || is_name("localhost") || known.iter().any(|known| is_name(known))
}

fn is_same_origin(request: &Parts) -> bool {
    let text = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    let origin = text(ORIGIN.as_str());
    let origin = origin.and_then(|origin| origin.parse::<Uri>().ok());
    match (origin.as_ref().and_then(Uri::authority), host(request)) {
        (Some(origin), Some(host)) => origin.as_str().eq_ignore_ascii_case(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn check_with(headers: &[(&'static str, &str)], token: &str) -> bool {
        let mut request = Request::post("http://h2:8080/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let known = ["app".to_owned(), "H2".to_owned()];
        check(&request.body(()).unwrap().into_parts().0, token, &known).is_ok()
    }

    #[test]
    fn only_a_form_of_the_same_origin_with_the_cookies_token_is_taken() {
        let token = Token::random();
        assert_eq!(token.text().len(), 64);
        assert_ne!(token, Token::random());
        let cookie = format!("a=b; {}", token.cookie());
        let (cookie, token) = (cookie.as_str(), token.text());
        let site = |site| [("cookie", cookie), ("sec-fetch-site", site)];
        let origin = |origin| [("cookie", cookie), ("origin", origin), ("host", "app:8080")];
        assert!(check_with(&site("same-origin"), token));
        assert!(check_with(&origin("http://app:8080"), token));
        assert!(check_with(&[("cookie", cookie), ("origin", "https://h2:8080")], token));
        let rows: [(&[(&'static str, &str)], &str); 9] = [
            (&site("cross-site"), token),
            (&site("same-site"), token),
            (&site("none"), token),
            (&origin("http://app:8081"), token),
            (&origin("http://evil"), token),
            (&origin("null"), token),
            (&[("cookie", cookie)], token),
            (&[("sec-fetch-site", "same-origin")], token),
            (&site("same-origin"), "0000"),
        ];
        for (headers, token) in rows {
            assert!(!check_with(headers, token), "{headers:?} {token}");
        }
        assert!(!check_with(&[("cookie", "modelcast-form="), ("sec-fetch-site", "same-origin")], ""));
    }

    #[test]
    fn a_name_that_somebody_else_pointed_here_is_not_taken() {
        let token = Token::random();
        let cookie = token.cookie();
        for (host, is_taken) in [
            ("app", true),
            ("APP:8080", true),
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("localhost:8080", true),
            ("evil.example:8080", false),
            ("app.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin"), ("host", host)];
            assert_eq!(check_with(&headers, token.text()), is_taken, "{host:?}");
        }
    }
}
