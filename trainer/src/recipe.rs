//! How one data set is trained: its section of the configuration, checked.
//!
//! From here on nothing is optional that matters, and nothing contradicts. Reads no files.
//!
//! # Invariants
//! * The algorithm fits the task: ridge an amount, logistic regression a label.
//! * Feature names, and the columns that they come from, are unique; the target is no feature.

use std::{collections::BTreeSet, path::PathBuf};

use modelcast::publish::GatePolicy;
use modelcast_models::Link;
use modelcast_protocol::{
    limits::{CATEGORY_COUNT_MAX, FEATURE_COUNT_MAX},
    name::ModelName,
    schema::{Output, OutputKind},
};

use crate::{
    evaluate::{AMOUNT_METRICS, LABEL_METRICS},
    settings::{
        AlgorithmName, DatasetSettings, FeatureList, FeatureSettings, KindName, Missing, SplitSettings,
        TargetSettings, Task, TrainingSettings, Transform,
    },
};

/// Most sweeps or steps of a solver: hours, for any data set that fits here.
const ITERATIONS_MAX: u32 = 1_000_000;

/// How one data set is trained.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Name of the data set.
    pub dataset: String,
    /// The model that its fits are versions of.
    pub model: ModelName,
    /// The CSV file.
    pub file: PathBuf,
    /// What is predicted.
    pub target: Target,
    /// Which rows are held out.
    pub split: SplitRule,
    /// How it is fitted.
    pub training: Training,
    /// What it is predicted from.
    pub features: FeaturePlan,
    /// What a version must fulfil to be published.
    pub gates: GatePolicy,
}

/// What is predicted.
#[derive(Debug, Clone)]
pub struct Target {
    /// Column of the file.
    pub column: String,
    /// The output of the schema.
    pub output: Output,
    /// How a cell becomes a number, and a sum a prediction.
    pub scale: Scale,
}

/// How a cell of the target becomes a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scale {
    /// A number, fitted as it is.
    Amount,
    /// A positive number whose natural logarithm is fitted.
    LogAmount,
    /// 1 for the positive label, 0 for the negative one.
    Label {
        /// The label whose probability is predicted.
        positive: String,
        /// The other one.
        negative: String,
    },
}

/// Which rows are held out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitRule {
    /// Those with the greatest value of a column.
    LastValue {
        /// The column.
        time_column: String,
    },
    /// Those that a file lists.
    RowsFile {
        /// The file.
        path: PathBuf,
    },
}

/// How it is fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// The algorithm with its own settings.
    pub algorithm: Algorithm,
    /// Whether numeric columns are divided by their standard deviation.
    pub standardise: bool,
    /// Sweeps or steps of the solver at most.
    pub max_iterations: u32,
    /// Above this gradient norm, per row, a fit did not converge.
    pub gradient_norm_max: f64,
}

/// The algorithm with its own settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Algorithm {
    /// Half the mean squared error plus `penalty` times half the squared weights.
    Ridge {
        /// Weight of the squared weights.
        penalty: f64,
    },
    /// The sum of the log losses plus `alpha` times half the squared weights.
    Logistic {
        /// Weight of the squared weights.
        alpha: f64,
        /// Gradient norm at which the solver stops.
        tolerance: f64,
    },
}

/// What it is predicted from.
#[derive(Debug, Clone, PartialEq)]
pub enum FeaturePlan {
    /// Every column but the target and the time column, each a plain number.
    AllOthers,
    /// These.
    Listed(Vec<FeatureRule>),
}

/// How a column becomes a feature.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureRule {
    /// Column of the file.
    pub column: String,
    /// Name in the schema.
    pub name: String,
    /// What a form shows.
    pub title: Option<String>,
    /// Number or category.
    pub kind: RuleKind,
}

/// How a cell becomes a value.
#[derive(Debug, Clone, PartialEq)]
pub enum RuleKind {
    /// As a number.
    Number {
        /// Its unit.
        unit: Option<String>,
        /// Whether a form offers whole numbers only.
        whole: bool,
        /// What an empty cell means; else it is an error.
        missing: Option<f64>,
    },
    /// As a category.
    Category {
        /// Those with a level of their own.
        categories: Vec<String>,
        /// Whether all others share a level.
        other: bool,
        /// What an empty cell means; else it is an error.
        missing: Option<String>,
    },
}

/// A setting that is not possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongSetting {
    /// The parts of its key, list places as numbers.
    pub key: Vec<String>,
    /// What is wrong with it.
    pub cause: String,
}

impl Recipe {
    /// Checks one data set's section.
    ///
    /// # Errors
    /// [`WrongSetting`] for the first setting that is missing, superfluous or not possible.
    pub fn check(dataset: &str, raw: DatasetSettings) -> Result<Self, WrongSetting> {
        let place = Place(vec!["datasets".to_owned(), dataset.to_owned()]);
        let target = target(&place.at("target"), raw.target)?;
        let training = training(&place.at("training"), &raw.training, &target.scale)?;
        let split = split(&place.at("split"), raw.split)?;
        let features = features(&place.at("features"), raw.features, &target.column)?;
        let DatasetSettings { model, file, gates, .. } = raw;
        check_gates(&place.at("gates"), &gates, &target.scale)?;
        Ok(Self { dataset: dataset.to_owned(), model, file, target, split, training, features, gates })
    }

    /// How the fitted sum becomes the prediction.
    #[must_use]
    pub fn link(&self) -> Link {
        match self.target.scale {
            Scale::Amount => Link::Identity,
            Scale::LogAmount => Link::Exp,
            Scale::Label { .. } => Link::Logit,
        }
    }
}

/// A place in the configuration, to blame.
struct Place(Vec<String>);

impl Place {
    fn at(&self, part: &str) -> Self {
        Self(self.0.iter().cloned().chain([part.to_owned()]).collect())
    }

    fn wrong(self, cause: impl Into<String>) -> WrongSetting {
        WrongSetting { key: self.0, cause: cause.into() }
    }

    /// A number that must stand there.
    fn number(&self, key: &str, value: Option<f64>, fits: fn(f64) -> bool) -> Result<f64, WrongSetting> {
        match value {
            Some(value) if value.is_finite() && fits(value) => Ok(value),
            Some(_) => Err(self.at(key).wrong("must be a positive number")),
            None => Err(self.at(key).wrong("is needed by this algorithm")),
        }
    }

    /// Refuses what would stand there without being read.
    fn unused(&self, entries: &[(&str, bool)], why: &str) -> Result<(), WrongSetting> {
        match entries.iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(self.at(key).wrong(why)),
            None => Ok(()),
        }
    }
}

fn target(place: &Place, raw: TargetSettings) -> Result<Target, WrongSetting> {
    let name = raw.name.unwrap_or_else(|| raw.column.clone());
    let (scale, kind) = match raw.task {
        Task::Regression => {
            let labels = [
                ("positive", raw.positive.is_some()),
                ("negative", raw.negative.is_some()),
                ("threshold", raw.threshold.is_some()),
            ];
            place.unused(&labels, "has no meaning for task = \"regression\"")?;
            let scale = match raw.transform.unwrap_or(Transform::Identity) {
                Transform::Identity => Scale::Amount,
                Transform::Log => Scale::LogAmount,
            };
            (scale, OutputKind::Numeric { unit: raw.unit })
        }
        Task::Classification => {
            let amounts = [("unit", raw.unit.is_some()), ("transform", raw.transform.is_some())];
            place.unused(&amounts, "has no meaning for task = \"classification\"")?;
            let label = |key: &str, label: Option<String>| {
                label.ok_or_else(|| place.at(key).wrong("is needed by task = \"classification\""))
            };
            let positive = label("positive", raw.positive)?;
            let negative = label("negative", raw.negative)?;
            if positive == negative {
                return Err(place.at("negative").wrong("is the positive label too"));
            }
            let threshold = raw.threshold.unwrap_or(0.5);
            if !(0.0..=1.0).contains(&threshold) {
                return Err(place.at("threshold").wrong("must be a probability"));
            }
            let scale = Scale::Label { positive: positive.clone(), negative: negative.clone() };
            (scale, OutputKind::Probability { positive, negative, threshold })
        }
    };
    Ok(Target { column: raw.column, output: Output { name, title: raw.title, kind }, scale })
}

fn training(place: &Place, raw: &TrainingSettings, scale: &Scale) -> Result<Training, WrongSetting> {
    let is_label = matches!(scale, Scale::Label { .. });
    let algorithm = match raw.algorithm {
        AlgorithmName::Ridge if is_label => {
            return Err(place.at("algorithm").wrong("fits amounts, and the target is a label"));
        }
        AlgorithmName::Logistic if !is_label => {
            return Err(place.at("algorithm").wrong("fits labels, and the target is an amount"));
        }
        AlgorithmName::Ridge => {
            let others = [("alpha", raw.alpha.is_some()), ("tolerance", raw.tolerance.is_some())];
            place.unused(&others, "has no meaning for algorithm = \"ridge\"")?;
            Algorithm::Ridge { penalty: place.number("penalty", raw.penalty, |value| value > 0.0)? }
        }
        AlgorithmName::Logistic => {
            place.unused(&[("penalty", raw.penalty.is_some())], "is called alpha for logistic regression")?;
            Algorithm::Logistic {
                alpha: place.number("alpha", raw.alpha, |value| value > 0.0)?,
                tolerance: place.number("tolerance", raw.tolerance, |value| value > 0.0)?,
            }
        }
    };
    if !(1..=ITERATIONS_MAX).contains(&raw.max_iterations) {
        return Err(place.at("max_iterations").wrong(format!("must be from 1 to {ITERATIONS_MAX}")));
    }
    let norm = place.number("gradient_norm_max", Some(raw.gradient_norm_max), |value| value > 0.0)?;
    let (standardise, max_iterations) = (raw.standardise, raw.max_iterations);
    Ok(Training { algorithm, standardise, max_iterations, gradient_norm_max: norm })
}

fn check_gates(place: &Place, gates: &GatePolicy, scale: &Scale) -> Result<(), WrongSetting> {
    if gates.size_growth_max.is_some_and(|growth| !growth.is_finite() || growth <= 0.0) {
        return Err(place.at("size_growth_max").wrong("must be a positive number"));
    }
    let known = match scale {
        Scale::Amount | Scale::LogAmount => AMOUNT_METRICS,
        Scale::Label { .. } => LABEL_METRICS,
    };
    for (name, gate) in &gates.metrics {
        let place = place.at("metrics").at(name);
        if !known.contains(&name.as_str()) {
            return Err(place.wrong(format!("is not a metric of this task; those are {}", known.join(", "))));
        }
        let bounds = [gate.at_least, gate.at_most, gate.worse_by_at_most];
        if bounds.iter().all(Option::is_none) || !bounds.iter().flatten().all(|bound| bound.is_finite()) {
            return Err(place.wrong("needs at_least, at_most or worse_by_at_most, each a finite number"));
        }
    }
    Ok(())
}

fn split(place: &Place, raw: SplitSettings) -> Result<SplitRule, WrongSetting> {
    match (raw.time_column, raw.rows_file) {
        (Some(time_column), None) => Ok(SplitRule::LastValue { time_column }),
        (None, Some(path)) => Ok(SplitRule::RowsFile { path }),
        (None, None) => Err(Place(place.0.clone()).wrong("needs time_column or rows_file")),
        (Some(_), Some(_)) => {
            Err(place.at("rows_file").wrong("contradicts time_column: give one of the two"))
        }
    }
}

fn features(place: &Place, raw: FeatureList, target: &str) -> Result<FeaturePlan, WrongSetting> {
    let FeatureList::Listed(listed) = raw else { return Ok(FeaturePlan::AllOthers) };
    if listed.len() > FEATURE_COUNT_MAX {
        return Err(Place(place.0.clone()).wrong(format!("at most {FEATURE_COUNT_MAX} features are allowed")));
    }
    let (mut columns, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mut rules = Vec::with_capacity(listed.len());
    for (index, raw) in listed.into_iter().enumerate() {
        let place = place.at(&index.to_string());
        if raw.column == target {
            return Err(place.at("column").wrong("is the target"));
        }
        if !columns.insert(raw.column.clone()) {
            return Err(place.at("column").wrong("is a feature already"));
        }
        let rule = feature(&place, raw)?;
        if !names.insert(rule.name.clone()) {
            return Err(place.at("name").wrong(format!("{:?} is a feature's name already", rule.name)));
        }
        rules.push(rule);
    }
    Ok(FeaturePlan::Listed(rules))
}

fn feature(place: &Place, raw: FeatureSettings) -> Result<FeatureRule, WrongSetting> {
    let kind = match raw.kind {
        KindName::Numeric => {
            let others = [("categories", raw.categories.is_some()), ("other", raw.other.is_some())];
            place.unused(&others, "has no meaning for kind = \"numeric\"")?;
            let missing = match raw.missing {
                None => None,
                Some(Missing::Number(value)) if value.is_finite() => Some(value),
                Some(_) => return Err(place.at("missing").wrong("must be a number for kind = \"numeric\"")),
            };
            RuleKind::Number { unit: raw.unit, whole: raw.whole.unwrap_or(false), missing }
        }
        KindName::Categorical => {
            let others = [("unit", raw.unit.is_some()), ("whole", raw.whole.is_some())];
            place.unused(&others, "has no meaning for kind = \"categorical\"")?;
            let missing = match raw.missing {
                None => None,
                Some(Missing::Category(category)) => Some(category),
                Some(Missing::Number(_)) => {
                    return Err(place.at("missing").wrong("must be a text for kind = \"categorical\""));
                }
            };
            category_rule(place, raw.categories, raw.other.unwrap_or(false), missing)?
        }
    };
    let name = raw.name.unwrap_or_else(|| raw.column.clone());
    Ok(FeatureRule { column: raw.column, name, title: raw.title, kind })
}

fn category_rule(
    place: &Place,
    categories: Option<Vec<String>>,
    other: bool,
    missing: Option<String>,
) -> Result<RuleKind, WrongSetting> {
    let categories =
        categories.ok_or_else(|| place.at("categories").wrong("is needed by kind = \"categorical\""))?;
    let unique: BTreeSet<_> = categories.iter().collect();
    if unique.len() != categories.len() || !(1..=CATEGORY_COUNT_MAX).contains(&categories.len()) {
        let cause = format!("must be from 1 to {CATEGORY_COUNT_MAX} categories, each once");
        return Err(place.at("categories").wrong(cause));
    }
    if missing.as_ref().is_some_and(|missing| !other && !categories.contains(missing)) {
        return Err(place.at("missing").wrong("is not one of the categories"));
    }
    Ok(RuleKind::Category { categories, other, missing })
}
