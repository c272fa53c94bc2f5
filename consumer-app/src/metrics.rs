//! `/metrics` in the OpenMetrics text form, computed when asked for.
//!
//! Holds no state of its own: what is counted is with the models.

use std::{fmt, sync::Arc};

use axum::{
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use modelcast::{ModelState, Origin};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use crate::{
    refusal::Refusal,
    router::Shared,
    served::{ServedModel, ServedModels},
    status::role_name,
};

/// The form of the answer.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Reads the models at each scrape.
#[derive(Debug)]
struct ModelMetrics(Arc<ServedModels>);

/// A whole number of one model, with its name and what it says.
type Whole = (&'static str, &'static str, fn(&ServedModel, &ModelState) -> u64);

const GAUGES: [Whole; 7] = [
    (
        "modelcast_served_generation",
        "Generation at which the serving model was swapped in; 0 for none",
        |_, state| state.served.map_or(0, |served| served.generation.get()),
    ),
    ("modelcast_wanted_generation", "Generation of the announcement in force", |_, state| {
        state.generation_seen.get()
    }),
    ("modelcast_served_version", "Version that serves; 0 for none", |_, state| {
        state.served.map_or(0, |served| served.version.get())
    }),
    ("modelcast_wanted_version", "Version that should serve; 0 for none", |_, state| {
        state.wanted.map_or(0, |(wanted, _)| wanted.version.get())
    }),
    ("modelcast_ready", "1 when an admitted model serves", |model, _| {
        u64::from(model.live().load().is_some())
    }),
    (
        "modelcast_embedded",
        "1 when what serves is embedded in the application, not from Kafka",
        |model, _| {
            let serving = model.live().load();
            u64::from(serving.is_some_and(|serving| serving.origin() == Origin::Embedded))
        },
    ),
    ("modelcast_warnings", "What a person should look at, such as a history that is lost", |_, state| {
        u64::try_from(state.warnings.len()).unwrap_or(u64::MAX)
    }),
];

const COUNTERS: [Whole; 4] = [
    ("modelcast_swaps", "Versions swapped in", |_, state| state.swaps),
    ("modelcast_predictions", "Rows predicted", |model, _| model.live().traffic().predictions()),
    ("modelcast_prediction_errors", "Rows that the model could not predict", |model, _| {
        model.live().traffic().errors()
    }),
    ("modelcast_refused_requests", "Requests refused for what they asked", |model, _| model.refused().get()),
];

/// A registry over these models.
#[must_use]
pub fn registry(models: Arc<ServedModels>) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ModelMetrics(models)));
    registry
}

/// `GET /metrics`.
///
/// # Errors
/// [`Refusal::Lost`] when a metric cannot be written, which text always can.
pub async fn show(State(shared): State<Shared>) -> Result<Response, Refusal> {
    let mut body = String::new();
    text::encode(&mut body, &shared.registry).map_err(|_| Refusal::Lost)?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], body).into_response())
}

impl Collector for ModelMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let models: Vec<_> = self.0.models().map(|model| (model, model.live().state())).collect();
        for (name, help, value) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (model, state) in &models {
                let value = value(model, state);
                let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
                gauge.encode(family.encode_family(&[("model", model.live().name().as_str())])?)?;
            }
        }
        for (name, help, value) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (model, state) in &models {
                let value = value(model, state);
                let labels = [("model", model.live().name().as_str())];
                ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        encode_rejections(&models, &mut encoder)?;
        encode_roles(&models, &mut encoder)?;
        self.encode_news(&mut encoder)?;
        self.encode_latency(&mut encoder)
    }
}

impl ModelMetrics {
    fn encode_news(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Since the announcements were last heard of; absent when never";
        let unit = Some(&Unit::Seconds);
        let mut family = encoder.encode_descriptor("modelcast_news_age", help, unit, MetricType::Gauge)?;
        for model in self.0.models() {
            let Some(age) = model.live().news_age() else { continue };
            let gauge = ConstGauge::new(age.as_secs_f64());
            gauge.encode(family.encode_family(&[("model", model.live().name().as_str())])?)?;
        }
        Ok(())
    }

    fn encode_latency(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time to check, encode and predict the rows of one request";
        let unit = Some(&Unit::Seconds);
        let mut family =
            encoder.encode_descriptor("modelcast_prediction_latency", help, unit, MetricType::Histogram)?;
        for model in self.0.models() {
            let labels = [("model", model.live().name().as_str())];
            model.latency().encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Why an instance wants its version: a gauge that is 1 for the role there is.
fn encode_roles(
    models: &[(&Arc<ServedModel>, ModelState)],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let help = "1 for the role for which the wanted version is wanted";
    let mut family = encoder.encode_descriptor("modelcast_wanted_role", help, None, MetricType::Gauge)?;
    for (model, state) in models {
        let Some((_, role)) = state.wanted else { continue };
        let labels = [("model", model.live().name().as_str()), ("role", role_name(role))];
        ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn encode_rejections(
    models: &[(&Arc<ServedModel>, ModelState)],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let help = "Versions refused, by the check that refused them";
    let mut family = encoder.encode_descriptor("modelcast_rejections", help, None, MetricType::Counter)?;
    for (model, state) in models {
        for (stage, count) in &state.rejections_total {
            let stage = stage.to_string();
            let labels = [("model", model.live().name().as_str()), ("stage", stage.as_str())];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
