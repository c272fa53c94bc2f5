//! The pages in a real browser: the switch, the lookup, and a run that is inspected and approved.
//!
//! Pictures of what the tests saw are left in the target folder, under `tmp`.

use std::path::Path;

use super::fixture::{id, key, open, sqlite, two_runs};
use crate::{
    browser::Browser,
    fixture::{Server, fixed, house as live_house},
};

const DESK: (u32, u32) = (1280, 900);
const PHONE: (u32, u32) = (390, 844);

fn pictures(browser: &mut Browser, name: &str) {
    for (size, width) in [(DESK, "desk"), (PHONE, "phone")] {
        for scheme in ["light", "dark"] {
            browser.look(size, scheme);
            let file = format!("{name}-{width}-{scheme}.png");
            browser.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(file));
            if width == "phone" {
                let wide = browser.evaluate("document.documentElement.scrollWidth");
                assert_eq!(wide, PHONE.0, "{name} is {wide} wide");
            }
        }
    }
    browser.look(DESK, "light");
}

#[test]
fn the_page_switches_between_live_and_stored_and_shows_both_side_by_side() {
    let Some(mut browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = sqlite(folder.path());
    let mut store = open(&settings);
    two_runs(&mut store);
    let live = fixed(live_house(6));
    let server = Server::storing([live.clone()], &settings);
    browser.look(DESK, "light");
    browser.open(&server.url("/models/property-value"));
    let is_seen = |selector: &str| format!("document.querySelector('{selector}').checkVisibility()");
    assert_eq!(browser.evaluate(&is_seen("#stored")), false, "live is what is set");
    browser.enter("area", "2000");
    browser.wait_for("location.search === '?area=2000'");

    browser.evaluate("document.querySelector('.switch [value=both]').click()");
    browser.wait_for(&is_seen("#stored"));
    assert_eq!(browser.evaluate(&is_seen("#results")), true);
    browser.wait_for("document.querySelector('#stored-result').textContent.includes('Enter the key')");
    browser.evaluate(&format!("document.querySelector('#key').value = '{}'", key(7)));
    browser.evaluate("document.querySelector('#lookup').requestSubmit()");
    browser.wait_for("!!document.querySelector('#stored-result output')");
    let stored = store.predictions(&super::fixture::house(), &[key(7)]).unwrap().found[0].values[0];
    let shown = browser.text("#stored-result output").replace(',', "");
    assert_eq!(shown, format!("{stored:.0}"));
    assert_eq!(browser.text("#version"), "6");
    assert_eq!(browser.text("#stored-result .provenance b"), "4");
    assert_eq!(browser.evaluate("location.search"), "?area=2000&_show=both&_key=house-000007");

    // A new version changes the live answer alone; what is stored stays.
    live.replace_fixed(live_house(7)).unwrap();
    browser.wait_for("document.querySelector('#version').textContent === '7'");
    assert_eq!(browser.text("#stored-result output").replace(',', ""), shown);
    browser.enter("area", "2100");
    browser.wait_for("location.search === '?area=2100&_show=both&_key=house-000007'");
    pictures(&mut browser, "stored-both");

    browser.evaluate("document.querySelector('.switch [value=stored]').click()");
    browser.wait_for("!document.querySelector('#form').checkVisibility()");
    store.approve(&id("night-2"), "Grace Hopper", "looks right", 1_764_001_000_000).unwrap();
    browser.evaluate("document.querySelector('#lookup').requestSubmit()");
    browser.wait_for("document.querySelector('#stored-result .provenance b').textContent === '5'");
    pictures(&mut browser, "stored-alone");
    // The address alone shows the same.
    browser.open(&server.url("/models/property-value?_show=stored&_key=nobody"));
    assert_eq!(browser.text("#stored-result .problem"), "Run night-2 has no key nobody.");
    assert_eq!(browser.evaluate("document.querySelector('.switch [aria-pressed=true]').value"), "stored");
}

#[test]
fn a_run_is_inspected_and_approved_in_the_browser() {
    let Some(mut browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut settings = sqlite(folder.path());
    settings.serve.decide_on_page = true;
    let mut store = open(&settings);
    two_runs(&mut store);
    let server = Server::storing([fixed(live_house(6))], &settings);
    browser.look(DESK, "light");
    browser.open(&server.url("/models/property-value/runs"));
    pictures(&mut browser, "runs");
    browser.evaluate("document.querySelector('a[href$=\"runs/night-2\"]').click()");
    browser.wait_for("!!document.querySelector('svg.chart')");
    assert!(browser.evaluate("document.querySelectorAll('svg.chart .now').length").as_u64() > Some(8));
    pictures(&mut browser, "run");
    let unlabelled = browser.evaluate(
        "[...document.querySelectorAll('input:not([type=hidden]), textarea')].filter((f) => !f.labels?.length).length",
    );
    assert_eq!(unlabelled, 0);
    browser.enter("by", "Grace Hopper");
    browser.enter("reason", "movers looked at");
    browser.evaluate("document.querySelector('button[value=approve]').click()");
    browser.wait_for("document.querySelector('.chip')?.dataset.state === 'approved'");
    assert!(
        browser.text(".decisions").contains("Approved by Grace Hopper"),
        "{}",
        browser.text(".decisions")
    );
    assert_eq!(store.approved(&super::fixture::house()).unwrap().unwrap().run, id("night-2"));
    pictures(&mut browser, "run-approved");
}
