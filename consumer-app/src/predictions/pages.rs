//! The pages of runs: a list for each model, and one for each run, where it is inspected and, if allowed, decided.
//!
//! Rendered here and whole without a script. In its frame and its styles as the pages of models (see `page`).
//!
//! # Invariants
//! * Every text from a store or a request is escaped.
//! * What changes something is sent by a form of this application (see `origin`), or not done.

mod chart;
mod inspection;
mod listing;
mod origin;
pub(crate) mod panel;

use axum::{
    extract::{Query, Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri,
        header::{LOCATION, SET_COOKIE},
    },
    response::{IntoResponse as _, Response},
};
use modelcast::clock::unix_ms;
use tracing::info;

use self::origin::Token;
use super::{
    inspection::{Inspection, inspect as gather},
    refusal::NotStored,
    routes::{model, readers, run},
    run::Verdict,
    verbs::args,
};
use crate::{
    page::{html::Escaped, html::humanized, page},
    router::{Asked, Shared},
};

const FAILURES_MAX: u64 = 50;
const MOVERS_MAX: u64 = 20;
const RUNS_MAX: u64 = 100;
/// Larger bodies are no form of ours.
const FORM_MAX_BYTES: usize = 16 * 1024;

/// `GET /models/{model}/runs`.
pub async fn list(State(shared): State<Shared>, path: Asked) -> Response {
    let runs = async {
        let name = model(&path)?;
        let of = name.clone();
        Ok((name, readers(&shared)?.ask(move |store| store.runs(Some(&of), RUNS_MAX)).await?))
    };
    match runs.await {
        Ok((name, runs)) => {
            let title = humanized(name.as_str());
            page(StatusCode::OK, &shared, &format!("Runs of {title}"), &listing::render(&name, &runs))
        }
        Err(cause) => failed(&shared, &cause),
    }
}

/// `GET /models/{model}/runs/{run}`.
pub async fn inspect(State(shared): State<Shared>, path: Asked, headers: HeaderMap) -> Response {
    match inspected(&shared, &path).await {
        Ok(inspection) => show(&shared, &headers, StatusCode::OK, &inspection, None),
        Err(cause) => failed(&shared, &cause),
    }
}

/// `POST /models/{model}/runs/{run}` with the form of the page: `verdict`, `by`, `reason` and `token`.
pub async fn decide(State(shared): State<Shared>, path: Asked, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let form = match shared.bodies.read(&parts, body).await {
        Ok(body) => form(&body.bytes),
        Err(refusal) => return refusal.into_response(),
    };
    let decided = async {
        let form = form?;
        let (readers, run) = (readers(&shared)?, run(&path)?);
        if !readers.settings().decide_on_page {
            return Err(NotStored::NotOnPage);
        }
        origin::check(&parts, form.field("token"), &readers.settings().page_hosts)?;
        let (verdict, by, reason) = form.decision()?;
        gathered(&shared, &path).await?; // that it is of this model
        let at = unix_ms();
        let run = readers.tell(move |store| store.decide(&run, verdict, &by, &reason, at)).await?;
        let by = run.decision.as_ref().map(|decision| decision.who.as_str());
        info!(model = %run.model, run = %run.run, state = %run.state, by, "run decided");
        Ok(run)
    };
    match decided.await {
        // So that loading the page again does not send the form again.
        Ok(run) => {
            let place = format!("/models/{}/runs/{}", run.model, run.run);
            (StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response()
        }
        Err(cause) => match inspected(&shared, &path).await {
            Ok(inspection) => show(&shared, &parts.headers, cause.status(), &inspection, Some(&cause)),
            Err(_) => failed(&shared, &cause),
        },
    }
}

/// All that is known of a run. Movers that cannot be had now are no error: the rest is there.
async fn inspected(shared: &Shared, path: &Asked) -> Result<Inspection, NotStored> {
    let mut inspection = gathered(shared, path).await?;
    if let Some((run, beside)) = inspection.compared() {
        match readers(shared)?.movers(run, beside, MOVERS_MAX).await {
            Ok(movers) => inspection.movers = Some(movers),
            Err(cause) => inspection.movers_cause = Some(cause.to_string()),
        }
    }
    Ok(inspection)
}

async fn gathered(shared: &Shared, path: &Asked) -> Result<Inspection, NotStored> {
    let (model, run) = (model(path)?, run(path)?);
    let wanted = run.clone();
    let inspection = readers(shared)?.ask(move |store| gather(store, &wanted, FAILURES_MAX)).await?;
    let of = &inspection.inspected.run.model;
    if *of == model { Ok(inspection) } else { Err(NotStored::OtherModel { run, model: of.clone() }) }
}

fn show(
    shared: &Shared,
    headers: &HeaderMap,
    status: StatusCode,
    inspection: &Inspection,
    problem: Option<&NotStored>,
) -> Response {
    let may_decide = readers(shared).is_ok_and(|readers| readers.settings().decide_on_page);
    let token = may_decide.then(|| Token::of(headers));
    let problem = problem.map(ToString::to_string);
    let main = inspection::render(inspection, token.as_ref(), problem.as_deref());
    let title = format!("Run {}", inspection.inspected.run.run);
    let mut response = page(status, shared, &title, &main);
    if let Some(cookie) = token.and_then(|token| HeaderValue::from_str(&token.cookie()).ok()) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

fn failed(shared: &Shared, cause: &NotStored) -> Response {
    let title = match cause.status() {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::SERVICE_UNAVAILABLE => "Stored predictions are not available",
        _ => "Not done",
    };
    let main = format!(
        "<main><section class=\"card empty\"><h1>{title}</h1><p>{}.</p>\
         <p><a href=\"/\">All models</a></p></section></main>",
        Escaped(&cause.to_string())
    );
    page(cause.status(), shared, title, &main)
}

/// The fields of a form.
struct Form(Vec<(String, String)>);

fn form(body: &[u8]) -> Result<Form, NotStored> {
    let wrong = || NotStored::Field { field: "the form", cause: "is not what this page sends".to_owned() };
    // A form is sent as the query of an address would be.
    let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= FORM_MAX_BYTES);
    let uri: Uri = format!("/?{}", text.ok_or_else(wrong)?).parse().map_err(|_| wrong())?;
    let Query(fields) = Query::try_from_uri(&uri).map_err(|_| wrong())?;
    Ok(Form(fields))
}

impl Form {
    fn field(&self, name: &str) -> &str {
        let field = self.0.iter().find(|(field, _)| field == name);
        field.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn decision(&self) -> Result<(Verdict, String, String), NotStored> {
        let wrong = |field| move |cause| NotStored::Field { field, cause };
        let verdict = match self.field("verdict") {
            "approve" => Verdict::Approved,
            "reject" => Verdict::Rejected,
            _ => return Err(wrong("verdict")("must be approve or reject".to_owned())),
        };
        let by = args::name(self.field("by")).map_err(wrong("your name"))?;
        let reason = args::reason(self.field("reason")).map_err(wrong("the reason"))?;
        Ok((verdict, by, reason))
    }
}
