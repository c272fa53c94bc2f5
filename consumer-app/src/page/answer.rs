//! The answer on a model's page: each output with its unit, and the version that gave it.

use modelcast::LoadedModel;
use modelcast_models::label;
use modelcast_protocol::schema::{Output, OutputKind};

use super::{
    about,
    form::Entry,
    html::{Escaped, figure, humanized, percent},
};

/// The answer for what stands in the form, from the same snapshot as the form.
pub(super) fn render(model: &LoadedModel, entries: &[Entry], since_unix_ms: Option<u64>) -> String {
    let schema = model.schema();
    let (predictions, problem) = match predict(model, entries) {
        Ok(predictions) => (Some(predictions), String::new()),
        Err(problem) => (None, problem),
    };
    let value =
        |place| predictions.as_ref().and_then(|predictions: &Vec<f64>| predictions.get(place).copied());
    let outputs: String =
        schema.outputs.iter().enumerate().map(|(place, output)| result(output, value(place))).collect();
    let since = since_unix_ms.map_or_else(String::new, |since| {
        format!("<span class=\"since\"><span class=\"dot\" data-phase=\"live\"></span>live since <time data-since=\"{since}\">{}</time></span>", about::time(since))
    });
    format!(
        "<section class=\"answer\" aria-label=\"Answer\"><div id=\"results\" aria-live=\"polite\">{outputs}</div>\
         <p id=\"problem\" class=\"problem\" role=\"alert\"{hidden}>{problem}</p>\
         <p id=\"news\" class=\"news\" role=\"status\" hidden></p>\
         <p class=\"provenance\"><span>version <b id=\"version\">{version}</b></span>\
         <span>digest <code id=\"digest\" title=\"{digest}\">{short}…</code></span>\
         {since}</p><p class=\"status\" role=\"status\" data-status hidden></p></section>",
        hidden = if problem.is_empty() { " hidden" } else { "" },
        problem = Escaped(&problem),
        version = model.version(),
        digest = model.digest(),
        short = model.digest().short(),
    )
}

fn predict(model: &LoadedModel, entries: &[Entry]) -> Result<Vec<f64>, String> {
    let features = &model.schema().features;
    let values: Result<Vec<_>, String> = features
        .iter()
        .zip(entries)
        .map(|(feature, entry)| Ok((feature.name.as_str(), entry.value(feature)?)))
        .collect();
    let mut row = Vec::new();
    model.encoder().encode_row(values?, &mut row).map_err(|error| error.to_string())?;
    let mut predictions = vec![0.0; model.schema().outputs.len()];
    model.predict(&row, &mut predictions).map_err(|error| error.to_string())?;
    Ok(predictions)
}

/// One output. Its attributes tell the script how to show it anew.
pub(crate) fn result(output: &Output, value: Option<f64>) -> String {
    let title = output.title.clone().unwrap_or_else(|| humanized(&output.name));
    let head = format!("<p class=\"what\">{}</p><p class=\"value\">", Escaped(&title));
    let name = Escaped(&output.name);
    match &output.kind {
        OutputKind::Numeric { unit } => {
            let unit = unit.as_deref().unwrap_or_default();
            format!(
                "<div class=\"result\" data-output=\"{name}\" data-kind=\"amount\" data-unit=\"{unit}\">{head}\
                 <output>{figure}</output> <span class=\"unit\">{unit}</span></p></div>",
                unit = Escaped(unit),
                figure = value.map_or_else(|| "–".to_owned(), figure),
            )
        }
        OutputKind::Probability { positive, .. } => {
            let named = value.and_then(|value| label(&output.kind, value)).unwrap_or("–");
            format!(
                "<div class=\"result\" data-output=\"{name}\" data-kind=\"probability\">{head}\
                 <output>{named}</output></p><p class=\"share\"><progress max=\"1\" value=\"{share}\" \
                 aria-label=\"Probability of {positive}\"></progress><span><b data-percent>{percent}</b> {positive}\
                 </span></p></div>",
                named = Escaped(named),
                positive = Escaped(positive),
                share = value.unwrap_or(0.0),
                percent = value.map_or_else(|| "–".to_owned(), percent),
            )
        }
    }
}
