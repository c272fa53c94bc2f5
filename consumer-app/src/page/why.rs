//! Which version serves on a model's card and why: what is wanted, for whom, since when, and what stands in the way.

use std::fmt::Write as _;

use modelcast::ModelState;

use super::{about, html::Escaped};

/// Entries of the card's list.
pub(super) fn render(state: &ModelState) -> String {
    let mut list = String::new();
    // Writing to a string does not fail.
    let mut entry = |name: &str, field: &str, value: &str| {
        let _ = write!(list, "<div><dt>{name}</dt><dd data-field=\"{field}\">{}</dd></div>", Escaped(value));
    };
    if let Some((wanted, _)) = state.wanted
        && state.served.is_none_or(|served| served.manifest != wanted.manifest)
    {
        entry("Wanted", "wanted", &format!("version {}", wanted.version));
    }
    if let Some(why) = state.why() {
        entry("Why", "why", &why);
    }
    if let Some(served) = state.served {
        entry("Since", "since", &about::time(served.since_unix_ms));
    }
    if let Some(rejection) = state.rejections.last() {
        let refused = format!("version {} at {}: {}", rejection.version, rejection.stage, rejection.cause);
        entry("Refused", "refused", &refused);
    }
    list
}

#[cfg(test)]
mod tests {
    use modelcast::Rejection;
    use modelcast_protocol::{
        Digest, Generation, InstanceName, Version,
        desired::{Pin, PinTarget, Stamp},
        resolve::Role,
        status::{Served, Stage, StatusVersion},
    };

    use super::*;

    #[test]
    fn a_card_says_what_is_wanted_for_whom_and_what_was_refused() {
        let (one, two) = (Version::FIRST, Version::new(2).unwrap());
        let pin = Pin {
            target: PinTarget::Instance(InstanceName::parse("app-1").unwrap()),
            version: two,
            stamp: Stamp { author: "ada".into(), reason: "<test>".into(), at_unix_ms: 0 },
        };
        let served = Served {
            version: one,
            manifest: Digest::of(b"1"),
            generation: Generation::new(1),
            since_unix_ms: 1_700_000_000_000,
        };
        let cause = "too large".to_owned();
        let rejection =
            Rejection { version: two, manifest: Digest::of(b"2"), stage: Stage::Fetch, cause, at_unix_ms: 0 };
        let state = ModelState {
            wanted: Some((StatusVersion { version: two, manifest: Digest::of(b"2") }, Role::Pinned)),
            pin: Some(pin),
            served: Some(served),
            rejections: vec![rejection],
            ..ModelState::default()
        };
        let list = render(&state);
        for words in [
            "data-field=\"wanted\">version 2<",
            "for instance app-1 by ada: &lt;test&gt;<",
            "data-field=\"since\">2023-11-14 22:13 UTC<",
            "version 2 at fetch: too large<",
        ] {
            assert!(list.contains(words), "{words} is not in {list}");
        }
        let champion = ModelState {
            rejections: vec![],
            pin: None,
            served: Some(Served { version: two, manifest: Digest::of(b"2"), ..served }),
            wanted: state.wanted.map(|(version, _)| (version, Role::Champion)),
            ..state
        };
        let list = render(&champion);
        assert!(list.contains("champion") && !list.contains("Wanted") && !list.contains("Refused"), "{list}");
    }
}
