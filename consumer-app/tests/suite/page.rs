//! The page in a real browser: from the form to the answer, and through a swap.
//!
//! Needs Chromium, which `cargo xtask test` installs; without it the tests say that they are skipped, except in CI,
//! where that is an error. Pictures of what the tests saw are left in the target folder, under `tmp`.

use std::path::Path;

use crate::browser::Browser;
use crate::fixture::{Server, fixed, house, name, tumour};
use modelcast::LiveModel;

const DESK: (u32, u32) = (1280, 900);
const PHONE: (u32, u32) = (390, 844);

fn picture(browser: &mut Browser, name: &str) {
    browser.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
}

/// What the API says for the typical row with another area.
fn price(server: &Server, area: f64) -> f64 {
    let inputs = serde_json::json!([
        crate::fixture::fp64("area", &[area]),
        crate::fixture::fp64("lot", &[9436.0]),
        crate::fixture::fp64("built", &[1973.0]),
        crate::fixture::fp64("baths", &[2.0]),
        crate::fixture::bytes("zone", &["North_Ames"]),
        crate::fixture::bytes("heating", &["Good"]),
    ]);
    server.infer("property-value", &inputs).json()["outputs"][0]["data"][0].as_f64().unwrap()
}

/// As the page writes an amount from 1,000 to a million.
fn shown(amount: f64) -> String {
    let whole = format!("{amount:.0}");
    let (thousands, rest) = whole.split_at(whole.len() - 3);
    format!("{thousands},{rest}")
}

#[test]
fn the_answer_follows_the_form_and_a_new_version_says_what_it_changed() {
    let Some(mut browser) = Browser::start() else { return };
    let live = fixed(house(4));
    let server = Server::start([live.clone()]);
    browser.look(DESK, "light");
    browser.open(&server.url("/models/property-value"));
    assert_eq!(browser.text("h1"), "Property value");
    assert_eq!(browser.text("#results output"), shown(price(&server, 1442.0)));

    browser.enter("area", "2000");
    let before = shown(price(&server, 2000.0));
    browser.wait_for(&format!("document.querySelector('#results output').textContent === '{before}'"));
    assert_eq!(browser.text("#results .unit"), "USD");
    assert_eq!(browser.evaluate("location.search"), "?area=2000", "the address can be shared");
    browser.enter("built", "2030");
    browser
        .wait_for("document.querySelector('[name=built]').closest('.field').classList.contains('outside')");
    browser.enter("built", "");
    browser.wait_for("document.querySelector('#problem').textContent === 'Year built must be a number'");
    browser.enter("built", "1973");
    browser.wait_for("document.querySelector('#problem').hidden");

    live.replace_fixed(house(5)).unwrap();
    browser.wait_for(
        "document.querySelector('#version').textContent === '5' && !document.querySelector('#news').hidden",
    );
    let after = shown(price(&server, 2000.0));
    assert_ne!(before, after);
    assert_eq!(browser.text("#results output"), after);
    let news = browser.text("#news");
    assert!(news.starts_with(&format!("Version 5 went live: {before} → {after} USD (+1.0 %)")), "{news}");
    let digest = browser.evaluate("document.querySelector('#digest').title");
    assert_eq!(digest, house(5).digest().to_string());
    assert!(
        browser.text("#about .digest").contains(&house(5).digest().to_string()),
        "the panel is of version 5 too"
    );
    assert_eq!(
        browser.evaluate("document.querySelector('[name=area]').value"),
        "2000",
        "what was entered stays"
    );
    picture(&mut browser, "page-desk.png");
    browser.look(DESK, "dark");
    picture(&mut browser, "page-desk-dark.png");
}

#[test]
fn on_a_phone_nothing_is_wider_than_the_screen_and_every_field_has_a_label() {
    let Some(mut browser) = Browser::start() else { return };
    let server = Server::start([fixed(house(4)), fixed(tumour(1))]);
    browser.look(PHONE, "light");
    for (path, file) in
        [("/models/property-value", "phone.png"), ("/models/tumour", "phone-label.png"), ("/", "list.png")]
    {
        browser.open(&server.url(path));
        let wide = browser.evaluate("document.documentElement.scrollWidth");
        assert_eq!(wide, PHONE.0, "{path} is {wide} wide");
        let unlabelled = browser.evaluate(
            "[...document.querySelectorAll('input, select, progress')]\
             .filter((field) => !field.labels?.length && !field.getAttribute('aria-label')).length",
        );
        assert_eq!(unlabelled, 0, "{path}");
        picture(&mut browser, file);
    }
    browser.open(&server.url("/models/tumour"));
    browser.enter("radius", "28");
    browser.wait_for("document.querySelector('#results output').textContent === 'malignant'");
    assert!(browser.text("[data-percent]").ends_with(" %"));
}

#[test]
fn a_card_of_the_list_holds_its_words_however_many() {
    let Some(mut browser) = Browser::start() else { return };
    let server = Server::start([fixed(house(4)), fixed(tumour(1))]);
    for (window, file) in [(DESK, "list-desk.png"), (PHONE, "list-phone.png")] {
        browser.look(window, "light");
        browser.open(&server.url("/"));
        // What a subscriber says of a pin: a fixed model has none.
        browser.evaluate(
            "document.querySelectorAll('.card dl:last-of-type').forEach((list) => list.insertAdjacentHTML('beforeend', \
             '<div><dt>Why</dt><dd>pinned for instance app-1.eu-west-1.example by ada: hold it until the audit of the \
             third quarter is over</dd></div><div><dt>Refused</dt><dd>version 12 at golden_rows: \
             blake3:1f0c0ee1a0a4d1bd4fd0a2a4a35b1a4a5d9a4cba1a34b3b1a9f0b1e1a1c5b2d3</dd></div>'))",
        );
        picture(&mut browser, file);
        let over = browser.evaluate(
            "[...document.querySelectorAll('.card, .card dd, .card .what')] \
             .filter((one) => one.scrollWidth > one.clientWidth).length",
        );
        assert_eq!(over, 0, "{file}");
        let outside = browser.evaluate(
            "[...document.querySelectorAll('.card')].filter((card) => [...card.querySelectorAll('dd, .what')] \
             .some((one) => one.getBoundingClientRect().right > card.getBoundingClientRect().right)).length",
        );
        assert_eq!(outside, 0, "{file}");
    }
}

#[test]
fn a_page_that_waits_shows_the_model_when_it_goes_live() {
    let Some(mut browser) = Browser::start() else { return };
    let live = LiveModel::waiting(name("property-value")).unwrap();
    let server = Server::start([live.clone()]);
    browser.look(DESK, "light");
    browser.open(&server.url("/models/property-value"));
    assert_eq!(browser.text("h2"), "No version is live yet");
    live.replace_fixed(house(1)).unwrap();
    browser.wait_for("document.querySelector('#version')?.textContent === '1'");
}
