//! Bearer tokens: who may ask, without the application knowing the tokens themselves.
//!
//! Does not decide which routes need one (see `guard`).
//!
//! # Invariants
//! * A token is kept as its BLAKE3 digest, compared in constant time with every one there is, and never shown.

use std::{collections::BTreeMap, fmt};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use modelcast::settings::Elsewhere;
use modelcast_protocol::Digest;
use serde::Deserialize;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use crate::refusal::Refusal;

/// Shorter tokens can be guessed; `openssl rand -hex 32` makes one of 64 characters.
const TOKEN_MIN_BYTES: usize = 16;
/// Longer ones are no tokens but mistakes.
const TOKEN_MAX_BYTES: usize = 4096;
/// Most tokens: each request is compared with all of them.
const TOKENS_MAX: usize = 64;

/// The tokens that are taken, each with a name. Several, so that one can be replaced while the other holds.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, Place>")]
pub struct Tokens(Vec<(String, Digest)>);

/// Where a token is. A token in its stead is not repeated by the error.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "{ file = \"PATH\" } or { env = \"NAME\" } says where a token is; its text is never here"
)]
enum Place {
    Elsewhere(Elsewhere),
}

impl TryFrom<BTreeMap<String, Place>> for Tokens {
    type Error = String;

    fn try_from(places: BTreeMap<String, Place>) -> Result<Self, String> {
        if places.len() > TOKENS_MAX {
            return Err(format!("{} tokens are more than {TOKENS_MAX}", places.len()));
        }
        let read = |(name, Place::Elsewhere(place)): (String, Place)| {
            let token = place.text().map_err(|cause| format!("token {name}: {cause}"))?;
            if !(TOKEN_MIN_BYTES..=TOKEN_MAX_BYTES).contains(&token.len()) {
                let size = token.len();
                return Err(format!(
                    "token {name} has {size} bytes; from {TOKEN_MIN_BYTES} to {TOKEN_MAX_BYTES} are possible"
                ));
            }
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!("token {name} has a character that no header can carry"));
            }
            Ok((name, Digest::of(token.as_bytes())))
        };
        places.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl Tokens {
    /// Whether there is none, and so nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of the token that a request bears.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`] when it bears none, or one that is not known.
    pub fn bearer(&self, headers: &HeaderMap) -> Result<&str, Refusal> {
        let missing = || Refusal::Unauthenticated { given: false };
        let value = headers.get(AUTHORIZATION).ok_or_else(missing)?.as_bytes();
        let (scheme, token) = value.split_at_checked("bearer ".len()).ok_or_else(missing)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Err(missing());
        }
        let borne = Digest::of(token.trim_ascii());
        let mut place = u32::MAX;
        for (index, (_, digest)) in (0_u32..).zip(&self.0) {
            let same: Choice = digest.as_bytes().as_slice().ct_eq(borne.as_bytes().as_slice());
            place.conditional_assign(&index, same);
        }
        let found = usize::try_from(place).ok().and_then(|place| self.0.get(place));
        found.map(|(name, _)| name.as_str()).ok_or(Refusal::Unauthenticated { given: true })
    }
}

/// Names only.
impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(", "))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(texts: &[&str]) -> Result<Tokens, String> {
        let folder = tempfile::tempdir().unwrap();
        let place = |(index, text): (usize, &&str)| {
            let path = folder.path().join(index.to_string());
            std::fs::write(&path, text).unwrap();
            (format!("t{index}"), Place::Elsewhere(Elsewhere::File(path)))
        };
        Tokens::try_from(texts.iter().enumerate().map(place).collect::<BTreeMap<_, _>>())
    }

    fn bearer(tokens: &Tokens, header: Option<&str>) -> Result<String, bool> {
        let mut headers = HeaderMap::new();
        headers.extend(header.map(|header| (AUTHORIZATION, header.parse().unwrap())));
        match tokens.bearer(&headers) {
            Ok(name) => Ok(name.to_owned()),
            Err(Refusal::Unauthenticated { given }) => Err(given),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn each_token_is_taken_by_its_name_and_nothing_else_is() {
        let tokens = tokens(&["the-first-token-of-all\n", "the-second-token-of-all"]).unwrap();
        let rows = [
            (Some("Bearer the-first-token-of-all"), Ok("t0")),
            (Some("bearer  the-second-token-of-all"), Ok("t1")),
            (Some("Bearer the-first-token-of-al"), Err(true)),
            (Some("Bearer "), Err(true)),
            (Some("Bearer"), Err(false)),
            (Some("Basic the-first-token-of-all"), Err(false)),
            (Some("the-first-token-of-all"), Err(false)),
            (None, Err(false)),
        ];
        for (header, expected) in rows {
            assert_eq!(bearer(&tokens, header), expected.map(str::to_owned), "{header:?}");
        }
    }

    #[test]
    fn a_token_is_never_shown_and_a_weak_one_is_refused() {
        let both = tokens(&["the-first-token-of-all", "the-second-token-of-all"]).unwrap();
        assert_eq!((both.to_string(), format!("{both:?}")), ("t0, t1".into(), "Tokens(t0, t1)".into()));
        assert_eq!(Tokens::default().to_string(), "none");
        for (text, word) in [("short", "5 bytes"), ("with a space in between", "no header"), ("", "0 bytes")]
        {
            let error = tokens(&[text]).unwrap_err();
            assert!(error.contains("t0") && error.contains(word), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }
}
