//! Bearer tokens: which routes need one, and what is said without.

use crate::{
    fixture::{Server, fixed, tumour},
    http2::Http2,
};
use consumer_app::{routes, settings::HttpSettings};

const TOKEN: &str = "correct-horse-battery-staple";

/// Settings with two tokens.
fn settings(more: &str) -> HttpSettings {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    std::fs::write(&one, format!("{TOKEN}\n")).unwrap();
    std::fs::write(&two, "another-token-for-rotation").unwrap();
    let text = format!("{more}\n[tokens]\none = {{ file = {one:?} }}\ntwo = {{ file = {two:?} }}\n");
    toml::from_str(&text).unwrap()
}

fn status(server: &Server, path: &str, token: Option<&str>) -> u16 {
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let request = ureq::Agent::from(config).get(server.url(path));
    let request = match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    };
    request.call().unwrap().status().as_u16()
}

#[test]
fn predictions_need_a_token_and_health_never_does() {
    for (more, page) in [("", 200), ("pages_need_token = true", 401)] {
        let server = Server::with([fixed(tumour(1))], settings(more));
        let rows = [
            ("/v2/health/live", 200, 200),
            ("/v2/health/ready", 200, 200),
            ("/v2/models/tumour/ready", 200, 200),
            ("/openapi.json", 200, 200),
            ("/assets/page.css", 200, 200),
            ("/", page, 200),
            ("/models/tumour", page, 200),
            ("/status", page, 200),
            ("/metrics", page, 200),
            ("/v2", 401, 200),
            ("/v2/models/tumour", 401, 200),
            ("/v2/models/tumour/versions/1", 401, 200),
            ("/nowhere", 401, 404),
        ];
        for (path, without, with) in rows {
            assert_eq!(status(&server, path, None), without, "{path} without a token, {more}");
            assert_eq!(status(&server, path, Some("no-token-of-this-application")), without, "{path}");
            assert_eq!(status(&server, path, Some(TOKEN)), with, "{path} with a token, {more}");
            assert_eq!(status(&server, path, Some("another-token-for-rotation")), with, "{path}");
        }
        let routes = routes::all();
        let posts = routes.iter().filter(|route| route.method == "post").map(|route| route.path);
        for path in posts.chain(["/models/tumour", "/status"]) {
            let path =
                path.replace("{model}", "tumour").replace("{version}", "1").replace("{run}", "night-1");
            assert_eq!(server.post(&path, "{}").status, 401, "POST {path}, {more}");
        }
        let metrics =
            Http2::connect(server.address).get("/metrics", &[("authorization", &format!("Bearer {TOKEN}"))]);
        assert!(metrics.unwrap().text.contains("modelcast_unauthenticated_requests_total "));
    }
}

#[test]
fn what_is_said_without_a_token_is_in_the_form_of_who_asks() {
    let server = Server::with([fixed(tumour(1))], settings(""));
    let mut client = Http2::connect(server.address);
    let answer = client.get("/v2", &[]).unwrap();
    assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"modelcast\"");
    assert!(answer.text.contains("\"error\":\"this needs a token"), "{answer:?}");
    let answer = client.get("/v2", &[("authorization", "Bearer guess")]).unwrap();
    assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"modelcast\", error=\"invalid_token\"");
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    let asked = client.ask("POST", "/inference.GRPCInferenceService/ModelInfer", &grpc, false);
    let answer = client.answer(asked).unwrap();
    assert_eq!((answer.status, answer.text.as_str()), (200, ""), "{answer:?}");
    assert_eq!(
        (&answer.headers["grpc-status"], &answer.headers["content-type"]),
        (&"16".parse().unwrap(), &"application/grpc".parse().unwrap())
    );
}
