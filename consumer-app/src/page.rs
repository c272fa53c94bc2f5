//! The pages: a list of the models, and a page for each, made from its feature schema.
//!
//! Rendered here with an answer in them, so that they are whole without a script; the script then keeps the answer
//! up to date with the form and with new versions. Nothing is loaded from elsewhere.
//!
//! # Invariants
//! * Every text from a schema, a manifest or a request is escaped; the content policy forbids inline script.
//! * A page uses one snapshot for form, answer and version.

pub(crate) mod about;
pub(crate) mod answer;
mod form;
pub(crate) mod html;
mod why;

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{Html, IntoResponse, Response},
};
use modelcast::LoadedModel;
use modelcast_protocol::InstanceName;

use self::html::{Escaped, humanized};
use crate::{
    guard::Place,
    predictions::pages::panel::Panel,
    refusal::{RETRY_AFTER_SECONDS, Refusal, shortened},
    router::{Asked, Shared},
    served::ServedModel,
    settings::Show,
    status::{phase_detail, phase_name},
};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// `GET /`: the models of this application.
pub async fn list(State(shared): State<Shared>) -> Response {
    let cards: String = shared.models.models().map(|served| card(served)).collect();
    let main = format!(
        "<main class=\"list\" data-list><h1>Models</h1>\
         <p class=\"lead\">What this instance serves. Each model is swapped in under live traffic when a new version \
         is published.</p><ul class=\"cards\">{cards}</ul>\
         <p class=\"links\"><a href=\"/status\">Status</a><a href=\"/metrics\">Metrics</a>\
         <a href=\"/v2\">Inference API</a></p></main>"
    );
    page(StatusCode::OK, &shared, "Models", &main)
}

/// `GET /models/{model}`, with the values of the form as a query; what is not in it takes its typical value.
pub async fn model(
    State(shared): State<Shared>,
    place: Option<Extension<Place>>,
    path: Asked,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let given = query.map(|Query(given)| given).unwrap_or_default();
    let served = match shared.models.model(&path.model) {
        Ok(served) => Arc::clone(served),
        Err(refusal) => return unknown(&shared, &refusal),
    };
    let name = humanized(served.live().name().as_str());
    let panel = Panel::load(shared.models.stored(), served.live().name(), &given).await;
    let Ok(model) = served.snapshot() else { return waiting(&shared, &served, &name, panel.as_ref()) };
    // A row of a model of the application's own may take long: it is computed off the runtime's threads.
    let work = move || {
        let _place = place;
        live(&served, &model, &given, panel.as_ref())
    };
    let rendered = tokio::task::spawn_blocking(work).await;
    match rendered {
        Ok(main) => page(StatusCode::OK, &shared, &name, &main),
        Err(_) => Refusal::Lost.into_response(),
    }
}

/// `GET /assets/{file}`: the script, the styles and the icon.
///
/// # Errors
/// [`Refusal::NoRoute`] for any other file.
pub async fn asset(Path(file): Path<String>) -> Result<Response, Refusal> {
    let (content_type, text) = match file.as_str() {
        "page.css" => (
            "text/css; charset=utf-8",
            concat!(include_str!("../assets/page.css"), include_str!("../assets/stored.css")),
        ),
        "page.js" => ("text/javascript; charset=utf-8", include_str!("../assets/page.js")),
        "stored.js" => ("text/javascript; charset=utf-8", include_str!("../assets/stored.js")),
        "icon.svg" => ("image/svg+xml", include_str!("../assets/icon.svg")),
        "arrow.svg" => ("image/svg+xml", include_str!("../assets/arrow.svg")),
        _ => {
            let path = format!("/assets/{}", shortened(&file));
            return Err(Refusal::NoRoute { method: "GET".into(), path });
        }
    };
    // Short, so that a new release of the application shows soon.
    Ok(([(CONTENT_TYPE, content_type), (CACHE_CONTROL, "max-age=60")], text).into_response())
}

fn live(
    served: &ServedModel,
    model: &LoadedModel,
    given: &[(String, String)],
    panel: Option<&Panel>,
) -> String {
    let name = served.live().name();
    let title = humanized(name.as_str());
    let entries = form::entries(model, given);
    let since = served.live().state().served.map(|served| served.since_unix_ms);
    let (schema, aside) = (model.schema(), answer::render(model, &entries, since));
    let outputs: Vec<_> =
        schema.outputs.iter().map(|output| output.title.as_deref().unwrap_or(&output.name)).collect();
    format!(
        "<main data-model=\"{name}\" data-version=\"{version}\" data-digest=\"{digest}\" data-show=\"{show}\">\
         <div class=\"intro\"><h1>{title}</h1><p class=\"lead\">{outputs} from {count} {noun}. \
         Change a value, and the answer follows.</p></div>\
         {switch}<div class=\"columns\"><aside>{aside}{stored}{about}</aside>{form}</div></main>",
        show = panel.map_or(Show::Live.name(), Panel::shown),
        switch = panel.map(Panel::switch).unwrap_or_default(),
        stored = panel.map(Panel::render).unwrap_or_default(),
        title = Escaped(&title),
        version = model.version(),
        digest = model.digest(),
        outputs = Escaped(&outputs.join(", ")),
        count = schema.features.len(),
        noun = if schema.features.len() == 1 { "value" } else { "values" },
        about = about::render(model),
        form = form::render(schema, &entries),
    )
}

/// Stored predictions are there while nothing is live.
fn waiting(shared: &Shared, served: &ServedModel, title: &str, panel: Option<&Panel>) -> Response {
    let main = format!(
        "<main data-model=\"{name}\" data-version=\"\" data-show=\"{show}\"><div class=\"intro\"><h1>{title}</h1></div>\
         <section class=\"card empty\"><h2>No version is live yet</h2>\
         <p>This page shows the model as soon as one is admitted.</p>\
         <p class=\"status\"><span class=\"dot\"></span><span data-status>{phase}</span></p></section>{switch}{stored}</main>",
        show = panel.map_or(Show::Live.name(), Panel::shown),
        switch = panel.map(Panel::switch).unwrap_or_default(),
        stored = panel.map(Panel::render).unwrap_or_default(),
        name = served.live().name(),
        title = Escaped(title),
        phase = Escaped(&served.live().state().phase.to_string()),
    );
    page(StatusCode::SERVICE_UNAVAILABLE, shared, title, &main)
}

fn unknown(shared: &Shared, refusal: &Refusal) -> Response {
    let main = format!(
        "<main><section class=\"card empty\"><h1>No such model</h1><p>{}.</p>\
         <p><a href=\"/\">All models</a></p></section></main>",
        Escaped(&refusal.to_string())
    );
    page(refusal.status(), shared, "No such model", &main)
}

/// Instead of a model's page, while as many requests as may be are under way.
pub(crate) fn shed(instance: &InstanceName, refusal: &Refusal) -> Response {
    let main = format!(
        "<main><section class=\"card empty\"><h1>Busy</h1><p>{}.</p></section></main>",
        Escaped(&refusal.to_string())
    );
    let mut response = framed(refusal.status(), instance, "Busy", &main);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    response
}

fn card(served: &ServedModel) -> String {
    let live = served.live();
    let state = live.state();
    let model = live.load();
    let what = model.as_ref().map_or_else(
        || "Nothing is live yet".to_owned(),
        |model| {
            let schema = model.schema();
            let outputs: Vec<_> =
                schema.outputs.iter().map(|output| output.title.as_deref().unwrap_or(&output.name)).collect();
            format!("{} from {} values", outputs.join(", "), schema.features.len())
        },
    );
    let version = state.served.map_or_else(|| "–".to_owned(), |served| served.version.to_string());
    format!(
        "<li class=\"card\" data-card=\"{name}\"><a href=\"/models/{name}\"><h2>{title}</h2></a>\
         <p class=\"what\">{what}</p><dl class=\"figures\"><div><dt>Version</dt><dd data-field=\"version\">{version}</dd></div>\
         <div><dt>Generation</dt><dd data-field=\"generation\">{generation}</dd></div>\
         <div><dt>Predictions</dt><dd data-field=\"predictions\">{predictions}</dd></div></dl><dl class=\"why\">{why}</dl>\
         <p class=\"status\"><span class=\"dot\" data-phase=\"{phase}\"></span>\
         <span data-field=\"phase\">{detail}</span></p></li>",
        name = live.name(),
        title = Escaped(&humanized(live.name().as_str())),
        what = Escaped(&what),
        generation = state.generation_seen,
        predictions = live.traffic().predictions(),
        why = why::render(&state),
        phase = phase_name(&state.phase),
        detail = Escaped(&phase_detail(live, &state.phase)),
    )
}

/// A page: its frame, and what is in it.
pub(crate) fn page(status: StatusCode, shared: &Shared, title: &str, main: &str) -> Response {
    framed(status, shared.models.instance(), title, main)
}

fn framed(status: StatusCode, instance: &InstanceName, title: &str, main: &str) -> Response {
    let body = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title} · Modelcast</title>\
         <link rel=\"icon\" href=\"/assets/icon.svg\"><link rel=\"stylesheet\" href=\"/assets/page.css\">\
         <script src=\"/assets/page.js\" defer></script><script src=\"/assets/stored.js\" defer></script></head><body>\
         <header class=\"top\"><a href=\"/\" class=\"brand\"><img src=\"/assets/icon.svg\" alt=\"\" width=\"22\" \
         height=\"22\">Modelcast</a><span class=\"instance\" title=\"This instance\">{instance}</span></header>\
         {main}</body></html>",
        title = Escaped(title),
    );
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (status, headers, Html(body)).into_response()
}
