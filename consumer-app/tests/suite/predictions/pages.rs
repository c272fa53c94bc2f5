//! The pages of runs, as they are sent: who may decide on them, and that texts stay texts.

use super::fixture::{id, on_each, open, sqlite, two_runs, waiting};
use crate::fixture::{Answer, Server, agent, answer, fixed, house as live_house};

const RUN: &str = "/models/property-value/runs/night-2";

/// The form of a page as a browser sends it: with its cookie, and with what it says of where it comes from.
fn send(server: &Server, cookie: &str, site: &str, fields: &[(&str, &str)]) -> Answer {
    let body = fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    let request = agent().post(server.url(RUN)).header("cookie", cookie).header("sec-fetch-site", site);
    answer(request.config().max_redirects(0).max_redirects_will_error(false).build().send(body.as_bytes()))
}

/// The token and the cookie of a page.
fn token(server: &Server) -> (String, String) {
    let response = agent().get(server.url(RUN)).call().unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let text = response.into_body().read_to_string().unwrap();
    let (_, rest) = text.split_once("name=\"token\" value=\"").unwrap();
    (rest.split('"').next().unwrap().to_owned(), cookie.split(';').next().unwrap().to_owned())
}

#[test]
fn a_run_is_decided_on_its_page_once_and_only_from_that_page() {
    on_each(|settings| {
        let mut settings = settings.clone();
        settings.serve.decide_on_page = true;
        two_runs(&mut open(&settings));
        let server = Server::storing([], &settings);
        let (token, cookie) = token(&server);
        let fields =
            [("verdict", "approve"), ("by", "Grace+Hopper"), ("reason", "as+%3Cb%3E"), ("token", &*token)];
        let without =
            |field: &str| fields.iter().copied().filter(|(name, _)| *name != field).collect::<Vec<_>>();
        let refused = [
            (cookie.as_str(), "cross-site", fields.to_vec(), 403, "was not sent by this page"),
            ("", "same-origin", fields.to_vec(), 403, "was not sent by this page"),
            (&cookie, "same-origin", without("token"), 403, "was not sent by this page"),
            (&cookie, "same-origin", without("by"), 400, "your name must not be empty"),
            (&cookie, "same-origin", without("reason"), 400, "the reason must not be empty"),
            (&cookie, "same-origin", without("verdict"), 400, "verdict must be approve or reject"),
        ];
        for (cookie, site, fields, status, words) in refused {
            let answer = send(&server, cookie, site, &fields);
            assert_eq!(answer.status, status, "{words}");
            assert!(answer.text.contains(words), "{words}: {}", answer.text);
            assert_eq!(open(&settings).run(&id("night-2")).unwrap().decision, None, "{words}");
        }
        assert_eq!(send(&server, &cookie, "same-origin", &fields).status, 303);
        let run = open(&settings).run(&id("night-2")).unwrap();
        let decision = run.decision.unwrap();
        assert_eq!((&*decision.who, &*decision.reason), ("Grace Hopper", "as <b>"));
        let page = server.get(RUN).text;
        assert!(page.contains("Approved by Grace Hopper") && page.contains("as &lt;b&gt;"), "{page}");
        assert!(!page.contains("name=\"token\""), "there is nothing left to decide");

        let answer = send(&server, &cookie, "same-origin", &fields);
        assert_eq!(answer.status, 409);
        assert!(answer.text.contains("is approved by Grace Hopper"), "{}", answer.text);
    });
}

#[test]
fn without_the_setting_a_page_has_no_form_and_takes_none() {
    let folder = tempfile::tempdir().unwrap();
    let settings = sqlite(folder.path());
    two_runs(&mut open(&settings));
    let server = Server::storing([], &settings);
    let page = server.get(RUN).text;
    assert!(!page.contains("name=\"token\""), "{page}");
    assert!(page.contains("consumer-app predictions approve night-2"), "{page}");
    let token = "0".repeat(64);
    let fields = [("verdict", "approve"), ("by", "x"), ("reason", "y"), ("token", &*token)];
    let answer = send(&server, &format!("modelcast-form={token}"), "same-origin", &fields);
    assert_eq!(answer.status, 403);
    assert!(answer.text.contains("decide_on_page is false"), "{}", answer.text);
}

#[test]
fn an_inspection_shows_everything_that_is_known_of_a_run() {
    on_each(|settings| {
        two_runs(&mut open(settings));
        let server = Server::storing([], settings);
        let page = server.get(RUN);
        assert_eq!(page.status, 200);
        for words in [
            "data-state=\"waiting\"",
            "<svg class=\"chart\"",
            "class=\"before\"",
            "<td>lot</td><td class=\"number\">31</td>",
            "<td>zone</td><td class=\"number\">12</td>",
            "feature &quot;area&quot; is missing",
            "&lt;b&gt;the key is empty",
            "Biggest movers",
            "runs/night-1\">night-1</a> of version 4, approved",
        ] {
            assert!(page.text.contains(words), "{words}: {}", page.text);
        }
        let list = server.get("/models/property-value/runs").text;
        assert!(list.contains("Ada Lovelace · as last month"), "{list}");
        for (path, status) in [
            ("/models/property-value/runs/none", 404),
            ("/models/property-value/runs/No", 404),
            ("/models/tumour/runs/night-2", 404),
            ("/models/tumour/runs", 200),
        ] {
            assert_eq!(server.get(path).status, status, "{path}");
        }
    });
}

#[test]
fn the_models_page_shows_live_stored_or_both_as_set_and_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = sqlite(folder.path());
    settings.serve.show = consumer_app::settings::Show::Stored;
    let mut store = open(&settings);
    waiting(&mut store, "r1", 1, |_| 123_456.0);
    let server = Server::storing([fixed(live_house(4))], &settings);
    let check = |query: &str, show: &str, words: &str, not: &str| {
        let page = server.get(&format!("/models/property-value{query}")).text;
        assert!(page.contains(&format!("data-show=\"{show}\"")), "{query}: {page}");
        assert!(page.contains(words) && (not.is_empty() || !page.contains(not)), "{query}: {words}: {page}");
    };
    check("?_key=house-000000", "stored", "no run of model property-value is approved", "123,456");
    store.approve(&id("r1"), "ada", "good", 1).unwrap();
    check("?_key=house-000000", "stored", "123,456", "");
    check("", "stored", "Enter the key", "123,456");
    check("?_show=both&_key=%3Cb%3E", "both", "has no key &lt;b&gt;", "<b>.");
    check("?_show=both&_key=house-000000&area=2000", "both", "value=\"2000\"", "");
    check("?_show=live&_key=house-000000", "live", "Estimated price", "123,456");
    check("?_show=nothing", "stored", "Enter the key", "");
    let page = Server::start([fixed(live_house(4))]).get("/models/property-value?_show=both").text;
    assert!(page.contains("data-show=\"live\"") && !page.contains("id=\"stored\""), "{page}");
}
