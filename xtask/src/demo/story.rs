//! The story itself: train, publish, swap under live traffic, five times.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::events;
use super::interrupt::Interrupt;
use super::load::{Load, Target};
use super::programs::{Programs, run_to_end};
use super::requests::requests;
use super::stage::{App, Stage};
use super::tally::Tally;
use super::telling::{numbers, thousands};

/// The models that the story is about.
pub(super) const MODELS: [&str; 2] = [PROPERTY, CANCER];
const PROPERTY: &str = "property-value";
const CANCER: &str = "breast-cancer";

/// One publish: a data set, the model that comes of it, and up to when rows are used.
struct Chapter {
    dataset: &'static str,
    model: &'static str,
    until: Option<&'static str>,
}

const STORY: [Chapter; 5] = [
    Chapter { dataset: "ames", model: PROPERTY, until: Some("2006") },
    Chapter { dataset: "breast-cancer", model: CANCER, until: None },
    Chapter { dataset: "ames", model: PROPERTY, until: Some("2007") },
    Chapter { dataset: "ames", model: PROPERTY, until: Some("2008") },
    Chapter { dataset: "ames", model: PROPERTY, until: Some("2009") },
];

const LIVE_WITHIN: Duration = Duration::from_secs(60);
/// Each version answers at least so many requests on each app before the next is trained.
const ANSWERS: u64 = 100;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Plays all chapters; whether both apps went live on each version in time and no request failed.
pub(super) fn tell(programs: &Programs, stage: &mut Stage, interrupt: &Interrupt) -> anyhow::Result<bool> {
    let urls: Vec<String> = stage.apps.iter().map(|app| app.url.clone()).collect();
    for app in &stage.apps {
        for model in MODELS {
            events::follow(app.name, &app.url, model, &stage.teller, interrupt);
        }
    }
    let mut load = Load::start(&urls);
    let mut all_live = true;
    for chapter in &STORY {
        all_live &= play(chapter, programs, stage, &load, interrupt)?;
    }
    load.stop();
    stage.check_alive()?;
    Ok(conclude(stage, &load.tallies(), all_live))
}

fn play(
    chapter: &Chapter,
    programs: &Programs,
    stage: &mut Stage,
    load: &Load,
    interrupt: &Interrupt,
) -> anyhow::Result<bool> {
    let rows = chapter.until.map(|until| format!(", trained on sales up to {until}")).unwrap_or_default();
    stage.teller.heading(&format!("{}{rows}", chapter.model));
    let target = match load.has(chapter.model) {
        true => None,
        false => Some(Target {
            model: chapter.model.to_owned(),
            requests: make_requests(chapter, programs, stage, interrupt)?,
        }),
    };
    let before = load.tallies();
    let published = publish(chapter, programs, stage, interrupt)?;
    tell_published(&published, stage);
    let live_at = wait_until_live(chapter.model, published.version, stage, interrupt)?;
    if let Some(target) = target {
        load.add(target);
    }
    let all_live = live_at.iter().all(Option::is_some);
    let all_answering = all_live && wait_until_answering(chapter.model, published.version, load, interrupt)?;
    tell_live(&published, &live_at, stage);
    tell_requests(chapter.model, &before, &load.tallies(), stage);
    Ok(all_answering)
}

/// Trains once without publishing, for the feature schema: it says what can be asked.
fn make_requests(
    chapter: &Chapter,
    programs: &Programs,
    stage: &Stage,
    interrupt: &Interrupt,
) -> anyhow::Result<Vec<Value>> {
    let folder = stage.workplace.path(&format!("package-{}", chapter.dataset));
    let out = folder.display().to_string();
    let mut args = trainer_args("train", chapter, stage);
    args.extend(["--out".to_owned(), out]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let name = format!("train-{}", chapter.dataset);
    run_to_end(&name, &programs.trainer, &args, &stage.workplace.logs(), interrupt)?;
    let path = folder.join("schema.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let schema = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
    requests(&schema).with_context(|| format!("{} is no feature schema", path.display()))
}

fn trainer_args(verb: &str, chapter: &Chapter, stage: &Stage) -> Vec<String> {
    let config = stage.trainer_config.display().to_string();
    let mut args: Vec<String> =
        [verb, "--config", &config, "--dataset", chapter.dataset].map(str::to_owned).to_vec();
    if let Some(until) = chapter.until {
        args.extend(["--until".to_owned(), until.to_owned()]);
    }
    args
}

/// What the trainer said about the version it published.
struct Published {
    version: u64,
    announced_at_unix_ms: u64,
    report: Value,
}

fn publish(
    chapter: &Chapter,
    programs: &Programs,
    stage: &Stage,
    interrupt: &Interrupt,
) -> anyhow::Result<Published> {
    let mut args = trainer_args("run", chapter, stage);
    args.push("--json".to_owned());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let name =
        format!("publish-{}{}", chapter.model, chapter.until.map(|u| format!("-{u}")).unwrap_or_default());
    let printed = run_to_end(&name, &programs.trainer, &args, &stage.workplace.logs(), interrupt)?;
    let report: Value = serde_json::from_str(&printed).context("the trainer printed no JSON")?;
    let outcome = report.get("outcome").and_then(Value::as_str).unwrap_or("nothing");
    if outcome != "committed" {
        bail!("the trainer published {outcome} where a new version was to come: {report}");
    }
    let number = |key: &str| {
        report
            .get(key)
            .and_then(Value::as_u64)
            .with_context(|| format!("the trainer's report has no `{key}`"))
    };
    let (version, announced_at_unix_ms) = (number("version")?, number("announced_at_unix_ms")?);
    Ok(Published { version, announced_at_unix_ms, report })
}

/// For each app the time from which it served the version, or nothing when it does not within [`LIVE_WITHIN`].
fn wait_until_live(
    model: &str,
    version: u64,
    stage: &mut Stage,
    interrupt: &Interrupt,
) -> anyhow::Result<Vec<Option<u64>>> {
    let deadline = Instant::now() + LIVE_WITHIN;
    loop {
        let live_at: Vec<Option<u64>> =
            stage.apps.iter().map(|app| live_since(app, model, version)).collect();
        if live_at.iter().all(Option::is_some) || Instant::now() >= deadline {
            return Ok(live_at);
        }
        stage.check_alive()?;
        if interrupt.wait(LOOK_EVERY) {
            bail!("interrupted");
        }
    }
}

/// Whether each app answered requests with the version within [`LIVE_WITHIN`]: what it says of itself is one thing.
fn wait_until_answering(
    model: &str,
    version: u64,
    load: &Load,
    interrupt: &Interrupt,
) -> anyhow::Result<bool> {
    let deadline = Instant::now() + LIVE_WITHIN;
    loop {
        let answered = |tally: &Tally| tally.answered_by(model, version) >= ANSWERS;
        let all = load.tallies().iter().all(answered);
        if all || Instant::now() >= deadline {
            return Ok(all);
        }
        if interrupt.wait(LOOK_EVERY) {
            bail!("interrupted");
        }
    }
}

/// Since when an app serves exactly this version; nothing when it does not, or does not answer.
fn live_since(app: &App, model: &str, version: u64) -> Option<u64> {
    let status: Value = ureq::get(format!("{}/status", app.url)).call().ok()?.body_mut().read_json().ok()?;
    let models = status.get("models")?.as_array()?;
    let served = models
        .iter()
        .find(|state| state.get("model").and_then(Value::as_str) == Some(model))?
        .get("served")?;
    (served.get("version")?.as_u64()? == version).then_some(served.get("since_unix_ms")?.as_u64()?)
}

fn tell_published(published: &Published, stage: &Stage) {
    let report = &published.report;
    let number = |key: &str| report.get(key).and_then(Value::as_u64).unwrap_or(0);
    let digest = report.get("artifact_digest").and_then(Value::as_str).unwrap_or("");
    let digest: String = digest.chars().take("blake3:".len() + 12).collect();
    let text = format!(
        "version {} at generation {}: artifact {} of {} bytes, {} chunk(s), {} bytes sent",
        published.version,
        number("generation"),
        digest,
        thousands(number("artifact_bytes")),
        number("chunks_sent"),
        thousands(number("bytes_sent")),
    );
    stage.teller.fact("published", &text);
    for gate in report.get("gates").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| gate.get(key).and_then(Value::as_str).unwrap_or("");
        stage.teller.fact("gate", format!("{} {} {}", text("gate"), text("verdict"), text("detail")).trim());
    }
    if let Some(metrics) = report.get("metrics") {
        stage.teller.fact("metrics", &numbers(metrics));
    }
}

fn tell_live(published: &Published, live_at: &[Option<u64>], stage: &Stage) {
    for (app, live_at) in stage.apps.iter().zip(live_at) {
        let text = match live_at {
            Some(at) => {
                let after = at.saturating_sub(published.announced_at_unix_ms);
                format!("live on version {} {after} ms after the announcement", published.version)
            }
            None => format!("NOT LIVE on version {} after {} s", published.version, LIVE_WITHIN.as_secs()),
        };
        stage.teller.fact(app.name, &text);
    }
}

/// The requests since the last version, while this one was trained, published and swapped in.
fn tell_requests(model: &str, before: &[Tally], now: &[Tally], stage: &Stage) {
    for ((app, before), now) in stage.apps.iter().zip(before).zip(now) {
        let versions = now.versions_since(model, before);
        if !versions.is_empty() {
            let failed = now.failed() - before.failed();
            stage.teller.fact("requests", &format!("{}: {}, {failed} failed", app.name, listed(&versions)));
        }
    }
}

fn listed(versions: &[(u64, u64)]) -> String {
    let parts: Vec<String> = versions
        .iter()
        .map(|(version, count)| format!("{} by version {version}", thousands(*count)))
        .collect();
    parts.join(", ")
}

fn conclude(stage: &Stage, tallies: &[Tally], all_live: bool) -> bool {
    stage.teller.heading("What happened");
    for (app, tally) in stage.apps.iter().zip(tallies) {
        let totals = format!("{} requests, {} failed", thousands(tally.total()), tally.failed());
        stage.teller.fact(app.name, &totals);
        for model in MODELS {
            let versions = tally.versions_since(model, &Tally::default());
            stage.teller.fact("", &format!("{model}: {}", listed(&versions)));
        }
        for cause in tally.causes() {
            stage.teller.fact("", &format!("FAILED {cause}"));
        }
    }
    let none_failed = tallies.iter().all(|tally| tally.failed() == 0);
    let verdict = match (all_live, none_failed) {
        (true, true) => "both apps were live on each version before the next, and no request failed",
        (false, _) => "NOT every app was live on each version, and answering with it, before the next",
        (true, false) => "some requests FAILED",
    };
    stage.teller.fact("verdict", verdict);
    all_live && none_failed
}
