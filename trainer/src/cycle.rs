//! The story: data set, train, evaluate, package, gates, publish, wait.
//!
//! Each step is one call, named like the file that does it. Knows no flags (see the binary's `cli`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use modelcast::{
    Artifact, KafkaError, PublishError, PublishRequest, Published, Publisher, clock,
    models::Decoders,
    publish::{GatePolicy, PublishEvent},
    with_causes,
};
use modelcast_protocol::{Digest, change::NewRole, desired::Stamp, schema::Output};
use thiserror::Error;

use crate::{
    folder::{self, FolderError},
    foreign::{self, ForeignError},
    package::{Origin, Package, PackageError, pack},
    prepare::{PrepareError, Prepared, prepare},
    recipe::{Algorithm, Recipe, Scale},
    revision::revision,
    score::score,
    table::Table,
    train::{TrainError, train},
};

/// A package with the rows that a champion is judged on beside it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The version to publish.
    pub package: Package,
    /// The rows that both are judged on.
    pub hold_out: Arc<Table>,
    /// What the rows know.
    pub target: Output,
    /// What it must pass.
    pub gates: GatePolicy,
    /// Seconds that each stage took.
    pub seconds: Vec<(&'static str, f64)>,
}

/// Who publishes, why, and how far.
#[derive(Debug, Clone)]
pub struct Order {
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Gates that may fail, each with its reason.
    pub overrides: BTreeMap<String, String>,
    /// Whether to stop before anything is sent.
    pub dry_run: bool,
}

/// Why the cycle ended early.
#[derive(Debug, Error)]
pub enum CycleError {
    /// The data set gives no rows.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// There is no fit, or none that may be published.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The model makes no package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The coefficients make no model.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// The package folder is wrong.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The package does not belong to the data set that it names.
    #[error("{} was packaged for model {found}, and data set {dataset} is of model {wanted}", folder.display())]
    OtherModel {
        /// The package.
        folder: PathBuf,
        /// Its model.
        found: String,
        /// Its data set.
        dataset: String,
        /// The data set's model.
        wanted: String,
    },
    /// The data changed since the package was made.
    #[error(
        "{} was packaged from {} with digest {packaged}, which is now {now}: the champion would be judged on \
         other rows; train again", folder.display(), data.display()
    )]
    OtherData {
        /// The package.
        folder: PathBuf,
        /// The data file.
        data: PathBuf,
        /// Its digest then.
        packaged: String,
        /// Its digest now.
        now: Digest,
    },
    /// It was not published, or nobody knows.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Kafka did not do its part.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// Trains on a data set and packages the result. Takes seconds of computing: call it where blocking is allowed.
///
/// # Errors
/// [`CycleError`]; among them a fit that did not converge.
pub fn from_data(recipe: &Recipe, until: Option<&str>) -> Result<Candidate, CycleError> {
    let mut watch = Watch::start();
    let prepared = prepare(recipe, until)?;
    watch.stage("read");
    let trained = train(recipe, &prepared)?;
    watch.stage("fit");
    let origin = Origin {
        train_rows: prepared.train.len(),
        parameters: parameters(recipe),
        quality: Some(trained.fit.quality),
        code_revision: revision(),
        at_unix_ms: clock::unix_ms(),
    };
    let package = pack(recipe, &prepared, &trained.model, &origin)?;
    watch.stage("package");
    Ok(candidate(recipe, prepared, package, watch))
}

/// Packages coefficients that were fitted elsewhere, judged by the rows of a data set.
///
/// # Errors
/// [`CycleError`].
pub fn from_coefficients(recipe: &Recipe, until: Option<&str>, file: &Path) -> Result<Candidate, CycleError> {
    let mut watch = Watch::start();
    let prepared = prepare(recipe, until)?;
    let foreign = foreign::read(file, &recipe.model, &prepared.schema)?;
    watch.stage("read");
    let parameters = [
        ("algorithm", "fitted elsewhere".to_owned()),
        ("coefficients_digest", foreign.digest.to_string()),
        ("coefficients_file", file.display().to_string()),
    ];
    let origin = Origin {
        train_rows: 0, // nobody knows on what it was fitted
        parameters: parameters.map(|(name, value)| (name.to_owned(), value)).into(),
        quality: None,
        code_revision: revision(),
        at_unix_ms: clock::unix_ms(),
    };
    let package = pack(recipe, &prepared, &foreign.model, &origin)?;
    watch.stage("package");
    Ok(candidate(recipe, prepared, package, watch))
}

/// Takes up a package that `trainer train` wrote.
///
/// # Errors
/// [`CycleError`]; among them data that changed since.
pub fn from_folder(folder: &Path, package: Package, recipe: &Recipe) -> Result<Candidate, CycleError> {
    let mut watch = Watch::start();
    if package.model != recipe.model {
        return Err(CycleError::OtherModel {
            folder: folder.to_owned(),
            found: package.model.to_string(),
            dataset: recipe.dataset.clone(),
            wanted: recipe.model.to_string(),
        });
    }
    let prepared = prepare(recipe, package.until.as_deref())?;
    if package.lineage.data != Some(prepared.digest) {
        return Err(CycleError::OtherData {
            folder: folder.to_owned(),
            data: recipe.file.clone(),
            packaged: package.lineage.data.map_or_else(|| "none".to_owned(), |digest| digest.to_string()),
            now: prepared.digest,
        });
    }
    watch.stage("read");
    Ok(candidate(recipe, prepared, package, watch))
}

/// Writes a candidate's package into a folder.
///
/// # Errors
/// [`CycleError::Folder`].
pub fn to_folder(folder: &Path, candidate: &Candidate) -> Result<(), CycleError> {
    Ok(folder::write(folder, &candidate.package)?)
}

/// Takes a candidate through gates, upload, read-back and announcement.
///
/// # Errors
/// [`PublishError`] when no new version is in force, or nobody knows.
pub async fn publish(
    publisher: &Publisher,
    candidate: &Candidate,
    order: &Order,
    on_event: impl Fn(PublishEvent) + Send + Sync + 'static,
) -> Result<Published, PublishError> {
    let package = candidate.package.clone();
    let (hold_out, target) = (Arc::clone(&candidate.hold_out), candidate.target.clone());
    let request = PublishRequest {
        model: package.model,
        artifact: Artifact::Memory(package.artifact),
        format: package.format,
        required_features: Vec::new(),
        schema: package.schema,
        golden: package.golden,
        lineage: package.lineage,
        metrics: package.metrics,
        gates: candidate.gates.clone(),
        overrides: order.overrides.clone(),
        score_champion: Some(Arc::new(move |champion| {
            score(champion.model(), champion.encoder(), &hold_out, &target)
                .map_err(|error| with_causes(&error))
        })),
        decoders: Arc::new(Decoders::standard()),
        role: NewRole::Champion,
        stamp: Stamp {
            author: order.author.clone(),
            reason: order.reason.clone(),
            at_unix_ms: clock::unix_ms(),
        },
        dry_run: order.dry_run,
    };
    publisher.publish(request, Arc::new(on_event)).await
}

fn candidate(recipe: &Recipe, prepared: Prepared, package: Package, watch: Watch) -> Candidate {
    Candidate {
        package,
        hold_out: Arc::new(prepared.hold_out),
        target: recipe.target.output.clone(),
        gates: recipe.gates.clone(),
        seconds: watch.seconds,
    }
}

/// What is needed to train it again, beside the data.
fn parameters(recipe: &Recipe) -> BTreeMap<String, String> {
    let training = &recipe.training;
    let mut parameters = BTreeMap::from([
        ("gradient_norm_max".to_owned(), format!("{:e}", training.gradient_norm_max)),
        ("max_iterations".to_owned(), training.max_iterations.to_string()),
        ("standardise".to_owned(), training.standardise.to_string()),
        ("target".to_owned(), recipe.target.column.clone()),
    ]);
    let mut put = |name: &str, value: String| drop(parameters.insert(name.to_owned(), value));
    match training.algorithm {
        Algorithm::Ridge { penalty } => {
            put("algorithm", "ridge".to_owned());
            put("penalty", penalty.to_string());
        }
        Algorithm::Logistic { alpha, tolerance } => {
            put("algorithm", "logistic".to_owned());
            put("alpha", alpha.to_string());
            put("tolerance", format!("{tolerance:e}"));
        }
    }
    match &recipe.target.scale {
        Scale::Amount => put("transform", "identity".to_owned()),
        Scale::LogAmount => put("transform", "log".to_owned()),
        Scale::Label { positive, negative } => put("labels", format!("{positive} against {negative}")),
    }
    parameters
}

/// Times the stages.
struct Watch {
    since: Instant,
    seconds: Vec<(&'static str, f64)>,
}

impl Watch {
    fn start() -> Self {
        Self { since: Instant::now(), seconds: Vec::new() }
    }

    fn stage(&mut self, name: &'static str) {
        self.seconds.push((name, self.since.elapsed().as_secs_f64()));
        self.since = Instant::now();
    }
}
