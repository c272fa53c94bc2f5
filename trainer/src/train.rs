//! Trains a model on prepared rows: encode, design, fit, fold.
//!
//! Does not judge it (see `score`) and does not package it (see `package`).

use modelcast_models::{GeneralizedLinearModel, GlmError, Link};
use ndarray::{Array1, ArrayView2};
use thiserror::Error;

use crate::{
    design::{Design, DesignError},
    fit::{Fit, FitError, fit},
    prepare::Prepared,
    recipe::{Recipe, Scale},
    table::EncodeError,
};

/// A fit that converged, with the model that it makes.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The model on values as people write them.
    pub model: GeneralizedLinearModel,
    /// The fit on the columns of the design.
    pub fit: Fit,
    design: Design,
    link: Link,
}

/// Why there is no model.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The training rows do not fit their own schema.
    #[error("the training rows cannot be encoded")]
    Encode(#[from] EncodeError),
    /// There is no design matrix.
    #[error(transparent)]
    Design(#[from] DesignError),
    /// There is no fit.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The fit has weights that are not finite.
    #[error("the fit makes no model")]
    Model(#[from] GlmError),
}

/// Trains on the training rows.
///
/// # Errors
/// [`TrainError`]; [`FitError::NotConverged`] among them when the fit may not be published.
pub fn train(recipe: &Recipe, prepared: &Prepared) -> Result<Trained, TrainError> {
    let rows = prepared.train.encode(&prepared.encoder())?;
    let design = Design::learn(rows.view(), &prepared.schema, recipe.training.standardise)?;
    let target: Array1<f64> =
        prepared.train.target.iter().map(|&value| recipe.target.scale.fitted(value)).collect();
    let fit = fit(&design.matrix(rows.view()), &target, &recipe.training)?;
    let link = recipe.link();
    let model = design.fold(&prepared.schema, link, fit.intercept, &fit.weights)?;
    Ok(Trained { model, fit, design, link })
}

impl Trained {
    /// What the fit itself gives for encoded rows `[rows, features]`: nothing folded, nothing encoded.
    #[must_use]
    pub fn fitted(&self, rows: ArrayView2<'_, f64>) -> Vec<f64> {
        let sums = self.design.matrix(rows).dot(&self.fit.weights) + self.fit.intercept;
        sums.iter().map(|&sum| self.link.mean(sum)).collect()
    }
}

impl Scale {
    /// A value of the target on the scale that is fitted.
    fn fitted(&self, value: f64) -> f64 {
        match self {
            Self::Amount | Self::Label { .. } => value,
            Self::LogAmount => value.ln(),
        }
    }
}
