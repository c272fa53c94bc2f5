//! The stored prediction on a model's page, and the switch between it and the live one.
//!
//! The store is asked only when stored predictions are shown: the live page never waits for a database.
//!
//! # Invariants
//! * What is stored is of one run, which the panel names with version and digest; it never mixes with what is live.

use std::{fmt::Write as _, time::Duration};

use modelcast_protocol::ModelName;

use crate::{
    page::{about::time, answer::result, html::Escaped},
    predictions::{
        readers::{Readers, Unanswered},
        refusal::NotStored,
        routes::predictions,
        run::Run,
        store::Approved,
    },
    refusal::shortened,
    settings::Show,
};

/// Names of what the panel puts into the address, beside the features of the form.
const SHOW: &str = "_show";
const KEY: &str = "_key";
/// A page is not kept waiting for longer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the panel of one page shows.
pub(crate) struct Panel {
    model: ModelName,
    show: Show,
    key: String,
    /// What else is in the address: the values of the form.
    others: Vec<(String, String)>,
    /// What was found; nothing was looked for where only live predictions are shown.
    found: Option<Result<Approved, NotStored>>,
}

impl Panel {
    /// Looks up what the address asks for; none where no predictions are stored.
    pub(crate) async fn load(
        readers: Option<&Readers>,
        model: &ModelName,
        given: &[(String, String)],
    ) -> Option<Self> {
        let readers = readers?;
        let value =
            |name: &str| given.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
        let asked = Show::ALL.into_iter().find(|show| Some(show.name()) == value(SHOW));
        let show = asked.unwrap_or(readers.settings().show);
        let key = value(KEY).unwrap_or_default().trim().to_owned();
        let others = given.iter().filter(|(name, _)| name != SHOW && name != KEY).cloned().collect();
        let found = if show == Show::Live {
            None
        } else {
            let keys = if key.is_empty() { Vec::new() } else { vec![key.clone()] };
            let late = |_| Err(NotStored::Unanswered(Unanswered::Late { seconds: PATIENCE.as_secs() }));
            let asking = tokio::time::timeout(PATIENCE, predictions(readers, model, keys));
            Some(asking.await.unwrap_or_else(late))
        };
        Some(Self { model: model.clone(), show, key, others, found })
    }

    /// The word for what is shown; styles and script go by it.
    pub(crate) fn shown(&self) -> &'static str {
        self.show.name()
    }

    /// The switch: live, stored or both.
    pub(crate) fn switch(&self) -> String {
        let buttons: String = Show::ALL
            .into_iter()
            .map(|show| {
                let (name, pressed) = (show.name(), show == self.show);
                format!("<button name=\"{SHOW}\" value=\"{name}\" aria-pressed=\"{pressed}\">{name}</button>")
            })
            .collect();
        format!(
            "<div class=\"switching\"><form method=\"get\" class=\"switch\" role=\"group\" \
             aria-label=\"Which predictions\">{hidden}{buttons}</form>\
             <a href=\"/models/{model}/runs\">Stored runs</a></div>",
            hidden = self.hidden(&[(KEY, &self.key)]),
            model = self.model,
        )
    }

    /// The panel itself.
    pub(crate) fn render(&self) -> String {
        format!(
            "<section class=\"answer stored\" id=\"stored\" aria-label=\"Stored prediction\">\
             <input type=\"hidden\" form=\"form\" name=\"{SHOW}\" value=\"{show}\">\
             <input type=\"hidden\" form=\"form\" name=\"{KEY}\" value=\"{key}\">\
             <form method=\"get\" id=\"lookup\" autocomplete=\"off\">{hidden}\
             <label for=\"key\">Stored, for the key</label><span class=\"box\">\
             <input id=\"key\" name=\"{KEY}\" value=\"{key}\" spellcheck=\"false\"><button>Look up</button></span>\
             </form>{found}</section>",
            show = self.shown(),
            key = Escaped(&self.key),
            hidden = self.hidden(&[(SHOW, self.shown())]),
            found = self.found(),
        )
    }

    /// What the script replaces when another key is looked up.
    fn found(&self) -> String {
        let body = match &self.found {
            None => String::new(),
            Some(Err(cause)) => {
                format!("<p class=\"problem\" role=\"alert\">{}.</p>", Escaped(&cause.to_string()))
            }
            Some(Ok(Approved { run, found })) => {
                let values = found.first().map(|found| found.values.as_slice());
                let answer = match (values, self.key.as_str()) {
                    (Some(values), _) => results(run, values),
                    (None, "") => {
                        "<p class=\"news\">Enter the key of a row, as it stands in the file that was \
                                   scored.</p>"
                            .to_owned()
                    }
                    (None, key) => format!(
                        "<p class=\"problem\" role=\"alert\">Run {} has no key {}.</p>",
                        run.run,
                        Escaped(&shortened(key))
                    ),
                };
                answer + &provenance(run)
            }
        };
        format!("<div id=\"stored-result\" aria-live=\"polite\">{body}</div>")
    }

    /// Fields that carry the rest of the address through a form.
    fn hidden(&self, own: &[(&str, &str)]) -> String {
        let others = self.others.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut fields = String::new();
        for (name, value) in others.chain(own.iter().copied()).filter(|(_, value)| !value.is_empty()) {
            // Writing to a string does not fail.
            let _ = write!(
                fields,
                "<input type=\"hidden\" name=\"{}\" value=\"{}\">",
                Escaped(name),
                Escaped(value)
            );
        }
        fields
    }
}

fn results(run: &Run, values: &[f64]) -> String {
    run.outputs.iter().zip(values).map(|(output, value)| result(output, Some(*value))).collect()
}

fn provenance(run: &Run) -> String {
    let scored = run.finished_at_unix_ms.map_or_else(String::new, |at| {
        format!("<span>scored <time data-since=\"{at}\">{}</time></span>", time(at))
    });
    let approved = run.decision.as_ref().map_or_else(String::new, |decision| {
        format!(
            "<span title=\"{}\">approved by <b>{}</b></span>",
            Escaped(&decision.reason),
            Escaped(&decision.who)
        )
    });
    format!(
        "<p class=\"provenance\"><span>version <b>{version}</b></span>\
         <span>digest <code title=\"{digest}\">{short}…</code></span>\
         <span>run <a href=\"/models/{model}/runs/{run}\">{run}</a></span>{scored}{approved}</p>",
        version = run.version,
        digest = run.digest,
        short = run.digest.short(),
        model = run.model,
        run = run.run,
    )
}
