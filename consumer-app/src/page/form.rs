//! The form of a model: one field a feature, grouped by what kind of value it takes.

use std::{collections::HashMap, fmt::Write as _};

use modelcast::LoadedModel;
use modelcast_models::Value;
use modelcast_protocol::{
    Digest,
    schema::{Categorical, Feature, FeatureKind, FeatureSchema, Numeric},
};

use super::html::{Escaped, figure, humanized};

/// What stands in one field.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// The text in it.
    pub(super) text: String,
    /// The text that stands there at first.
    typical: String,
    /// The number in it; none for a category, and for a text that is no number.
    number: Option<f64>,
}

/// Groups of fields in the order of the page.
const GROUPS: [&str; 5] = ["Measurements", "Values", "Years", "Counts", "Choices"];

/// Fields of a form: what the caller gave, else typical values.
pub(super) fn entries(model: &LoadedModel, given: &[(String, String)]) -> Vec<Entry> {
    let given: HashMap<&str, &str> =
        given.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let entry = |feature: &Feature| {
        let typical = typical(feature);
        let text =
            given.get(feature.name.as_str()).map_or_else(|| typical.clone(), |text| (*text).to_owned());
        let number = match feature.kind {
            FeatureKind::Numeric(_) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            FeatureKind::Categorical(_) => None,
        };
        Entry { text, typical, number }
    };
    model.schema().features.iter().map(entry).collect()
}

impl Entry {
    /// The value for its feature.
    ///
    /// # Errors
    /// What is wrong with it, naming the feature.
    pub(super) fn value<'e>(&'e self, feature: &Feature) -> Result<Value<'e>, String> {
        match feature.kind {
            FeatureKind::Categorical(_) => Ok(Value::Category(&self.text)),
            FeatureKind::Numeric(_) => {
                self.number.map(Value::Number).ok_or_else(|| format!("{} must be a number", title(feature)))
            }
        }
    }
}

/// The form.
pub(super) fn render(schema: &FeatureSchema, entries: &[Entry]) -> String {
    let mut groups: [String; GROUPS.len()] = Default::default();
    for (index, (feature, entry)) in schema.features.iter().zip(entries).enumerate() {
        let name = group(feature);
        let place = GROUPS.iter().position(|group| *group == name).and_then(|place| groups.get_mut(place));
        if let Some(fields) = place {
            fields.push_str(&field(index, feature, entry));
        }
    }
    let mut fields = String::new();
    for (name, group) in GROUPS.iter().zip(groups).filter(|(_, group)| !group.is_empty()) {
        // Writing to a string does not fail.
        let _ = write!(
            fields,
            "<fieldset class=\"card\"><legend>{name}</legend><div class=\"fields\">{group}</div></fieldset>"
        );
    }
    // Two versions of one fingerprint have the same form: then only the answer changes.
    let fingerprint = Digest::of(format!("{:?}", schema.features).as_bytes()).short();
    format!(
        "<form id=\"form\" method=\"get\" data-schema=\"{fingerprint}\" autocomplete=\"off\">\
         <div id=\"fields\">{fields}</div>\
         <div class=\"actions\"><button type=\"submit\">Predict</button>\
         <button type=\"reset\" class=\"quiet\">Typical values</button></div>\
         <details id=\"api\" class=\"card api\" hidden><summary>The same by the API</summary>\
         <p>The Open Inference Protocol, as standard clients speak it.</p><pre><code></code></pre></details></form>"
    )
}

/// What a page calls a feature.
pub(super) fn title(feature: &Feature) -> String {
    feature.title.clone().unwrap_or_else(|| humanized(&feature.name))
}

fn group(feature: &Feature) -> &'static str {
    match &feature.kind {
        FeatureKind::Categorical(_) => "Choices",
        FeatureKind::Numeric(numeric) if is_year(numeric) => "Years",
        FeatureKind::Numeric(numeric) if numeric.unit.is_some() => "Measurements",
        FeatureKind::Numeric(numeric) if numeric.whole => "Counts",
        FeatureKind::Numeric(_) => "Values",
    }
}

/// Whether the values look like years of our calendar, which nobody writes with a comma in them.
fn is_year(numeric: &Numeric) -> bool {
    let like_years = |(low, high): (f64, f64)| low >= 1_000.0 && high <= 2_200.0;
    numeric.whole
        && numeric.unit.as_deref().is_none_or(|unit| unit == "year")
        && numeric.range.is_some_and(like_years)
}

fn typical(feature: &Feature) -> String {
    match &feature.kind {
        FeatureKind::Numeric(numeric) => {
            let middle = numeric.range.map(|(low, high)| low + (high - low) / 2.0);
            let typical = numeric.typical.or(middle).unwrap_or(0.0);
            (if numeric.whole { typical.round() } else { typical }).to_string()
        }
        FeatureKind::Categorical(categorical) => {
            categorical.typical.as_ref().or(categorical.categories.first()).cloned().unwrap_or_default()
        }
    }
}

fn field(index: usize, feature: &Feature, entry: &Entry) -> String {
    match &feature.kind {
        FeatureKind::Numeric(numeric) => number_field(index, feature, numeric, entry),
        FeatureKind::Categorical(categorical) => choice_field(index, feature, categorical, entry),
    }
}

fn number_field(index: usize, feature: &Feature, numeric: &Numeric, entry: &Entry) -> String {
    let unit = numeric
        .unit
        .as_deref()
        .map_or_else(String::new, |unit| format!("<span class=\"unit\">{}</span>", Escaped(unit)));
    let outside =
        |(low, high): (f64, f64)| entry.number.is_some_and(|number| !(low..=high).contains(&number));
    format!(
        "<div class=\"field{class}\"><label for=\"f{index}\">{title}</label>\
         <span class=\"box\"><input id=\"f{index}\" name=\"{name}\" type=\"number\" step=\"{step}\" required \
         inputmode=\"decimal\" value=\"{value}\" data-kind=\"number\" data-typical=\"{typical}\" \
         aria-describedby=\"h{index}\">{unit}</span>{range}</div>",
        class = if numeric.range.is_some_and(outside) { " outside" } else { "" },
        title = Escaped(&title(feature)),
        name = Escaped(&feature.name),
        step = if numeric.whole { "1" } else { "any" },
        value = Escaped(&entry.text),
        typical = Escaped(&entry.typical),
        range = numeric.range.map_or_else(String::new, |range| slider(index, feature, numeric, range, entry)),
    )
}

/// The range seen in training, to slide through. The field above it is what a keyboard reaches.
fn slider(
    index: usize,
    feature: &Feature,
    numeric: &Numeric,
    (low, high): (f64, f64),
    entry: &Entry,
) -> String {
    let shown = |value: f64| if is_year(numeric) { value.to_string() } else { figure(value) };
    let step = if numeric.whole { "1".to_owned() } else { format!("{:e}", (high - low) / 200.0) };
    let (from, to) = (shown(low), shown(high));
    let slide = if low < high {
        format!(
            "<span>{from}</span><input type=\"range\" min=\"{low}\" max=\"{high}\" step=\"{step}\" \
             value=\"{value}\" data-for=\"f{index}\" aria-label=\"{title}, slider\" tabindex=\"-1\"><span>{to}</span>",
            value = entry.number.unwrap_or(low),
            title = Escaped(&title(feature)),
        )
    } else {
        format!("<span>always {from}</span>")
    };
    format!(
        "<div class=\"range\">{slide}</div>\
         <p class=\"hint\" id=\"h{index}\">Seen in training: {from} to {to}</p>"
    )
}

fn choice_field(index: usize, feature: &Feature, categorical: &Categorical, entry: &Entry) -> String {
    let mut options = String::new();
    let mut option = |value: &str, text: &str, chosen: bool| {
        let selected = if chosen { " selected" } else { "" };
        let (value, text) = (Escaped(value), Escaped(text));
        let _ = write!(options, "<option value=\"{value}\"{selected}>{text}</option>"); // never fails
    };
    for category in &categorical.categories {
        option(category, &category.replace('_', " "), *category == entry.text);
    }
    let known = categorical.categories.contains(&entry.text);
    if categorical.other {
        // No category is empty: this is one that the model does not know.
        option("", "Other", !known);
    } else if !known {
        option(&entry.text, &format!("{} (unknown)", entry.text), true);
    }
    format!(
        "<div class=\"field\"><label for=\"f{index}\">{title}</label>\
         <span class=\"box\"><select id=\"f{index}\" name=\"{name}\" data-kind=\"category\" data-typical=\"{typical}\">{options}\
         </select></span></div>",
        title = Escaped(&title(feature)),
        name = Escaped(&feature.name),
        typical = Escaped(&entry.typical),
    )
}
