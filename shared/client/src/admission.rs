//! The gate between bytes and predictions.
//!
//! Turns a fetched version into a [`LoadedModel`] or says why not. Nothing reaches a subscriber's slot except through
//! here. Does not fetch, and does not decide which version should run.
//!
//! # Invariants
//! * Checks run cheapest first: what the manifest alone decides comes before the artifact is fetched.
//! * Each step is a type that only the step before can make.
//! * A refusal changes nothing: what was serving keeps serving.
//! * What the decoder read is what was verified: the bytes are digested again while it reads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use modelcast_models::{DecodeContext, Decoders, Model, RowEncoder, recompute};
use modelcast_protocol::{
    Generation, Version,
    limits::ARTIFACT_MAX_BYTES,
    manifest::SignedManifest,
    schema::FeatureSchema,
    status::{Phase, Stage},
};
use thiserror::Error;

use crate::{
    artifact::{Artifact, DigestingReader},
    loaded::{LoadedModel, Origin},
    with_causes,
};

/// Predictions of each golden row before a model serves: fills caches, and finds what fails only the second time.
const WARM_UP_ROUNDS: usize = 16;
/// Longest cause that is kept and reported.
const CAUSE_MAX_CHARS: usize = 300;

/// What an application asks of a model.
#[derive(Clone)]
pub struct Policy {
    /// The formats that it can decode.
    pub decoders: Arc<Decoders>,
    /// The largest artifact that it takes.
    pub artifact_max_bytes: u64,
    /// The schema that its callers rely on; a version whose schema breaks it is refused.
    pub schema: Option<Arc<FeatureSchema>>,
}

/// A check said no.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("refused at {stage}: {cause}")]
pub struct Refusal {
    /// Which check.
    pub stage: Stage,
    /// Why.
    pub cause: String,
}

/// A version whose manifest this application accepts.
#[derive(Debug, Clone)]
pub struct AcceptedManifest(SignedManifest);

/// A manifest with bytes that are said to be its artifact.
#[derive(Debug)]
pub struct FetchedBlob {
    manifest: AcceptedManifest,
    artifact: Artifact,
}

/// A manifest with its artifact.
#[derive(Debug)]
pub struct VerifiedBlob {
    manifest: AcceptedManifest,
    artifact: Artifact,
}

/// A model that was not tried yet.
pub struct DecodedModel {
    manifest: AcceptedManifest,
    encoder: RowEncoder,
    model: Box<dyn Model>,
}

/// A model whose golden rows agree.
pub struct TestedModel(DecodedModel);

impl Policy {
    /// Takes every format of ours, artifacts up to the protocol's limit, and any schema.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            decoders: Arc::new(Decoders::standard()),
            artifact_max_bytes: ARTIFACT_MAX_BYTES,
            schema: None,
        }
    }

    /// Checks what the manifest alone decides: declared size, format and required features, feature schema.
    ///
    /// # Errors
    /// A [`Refusal`] of stage `size`, `format` or `schema`.
    pub fn accept(&self, manifest: SignedManifest) -> Result<AcceptedManifest, Refusal> {
        let stated = manifest.manifest();
        if stated.size_bytes > self.artifact_max_bytes {
            let cause = format!(
                "the artifact has {} bytes, {} are allowed",
                stated.size_bytes, self.artifact_max_bytes
            );
            return Err(refusal(Stage::Size, &cause));
        }
        let Some(decoder) = self.decoders.get(&stated.format) else {
            return Err(refusal(
                Stage::Format,
                &format!("there is no decoder for format {:?}", stated.format),
            ));
        };
        if let Some(feature) = stated.required_features.iter().find(|feature| !decoder.supports(feature)) {
            let cause = format!("the decoder of {:?} does not support {feature:?}", stated.format);
            return Err(refusal(Stage::Format, &cause));
        }
        let breaks = self.schema.as_ref().map_or_else(Vec::new, |schema| stated.schema.breaks(schema));
        if !breaks.is_empty() {
            return Err(refusal(Stage::Schema, &breaks.join("; ")));
        }
        Ok(AcceptedManifest(manifest))
    }
}

impl AcceptedManifest {
    /// What was accepted.
    #[must_use]
    pub fn signed(&self) -> &SignedManifest {
        &self.0
    }

    /// Adds the bytes that were fetched.
    #[must_use]
    pub fn with(self, artifact: Artifact) -> FetchedBlob {
        FetchedBlob { manifest: self, artifact }
    }
}

impl FetchedBlob {
    #[cfg(feature = "kafka")]
    pub(crate) fn parts(&self) -> (SignedManifest, Artifact) {
        (self.manifest.signed().clone(), self.artifact.clone())
    }

    /// Goes through all checks that are left, and tells of each phase that was reached.
    pub(crate) fn admit(
        self,
        policy: &Policy,
        version: Version,
        generation: Generation,
        origin: Origin,
        on_phase: &dyn Fn(Phase),
    ) -> Result<LoadedModel, Refusal> {
        let verified = self.verify()?;
        on_phase(Phase::Verified);
        let decoded = verified.decode(policy)?;
        on_phase(Phase::Decoded);
        let tested = decoded.test()?;
        on_phase(Phase::Tested);
        tested.load_from(version, generation, origin)
    }

    /// Checks size and digest of the artifact; reads it once.
    ///
    /// # Errors
    /// A [`Refusal`] of stage `digest`, or `fetch` when the bytes cannot be read.
    pub fn verify(self) -> Result<VerifiedBlob, Refusal> {
        let found = self.artifact.measure().map_err(|error| refusal(Stage::Fetch, &error))?;
        same_bytes(self.manifest.signed(), found)?;
        Ok(VerifiedBlob { manifest: self.manifest, artifact: self.artifact })
    }
}

impl VerifiedBlob {
    /// Decodes the artifact; contains panics. Blocks: not for the runtime's threads.
    ///
    /// # Errors
    /// A [`Refusal`] of stage `decode`, `format` when the policy has no decoder for it, or `digest` when the bytes
    /// changed since they were verified.
    pub fn decode(self, policy: &Policy) -> Result<DecodedModel, Refusal> {
        let stated = self.manifest.signed().manifest();
        let Some(decoder) = policy.decoders.get(&stated.format) else {
            return Err(refusal(
                Stage::Format,
                &format!("there is no decoder for format {:?}", stated.format),
            ));
        };
        let schema = Arc::new(stated.schema.clone());
        let context = DecodeContext {
            schema: &schema,
            size_bytes: stated.size_bytes,
            required_features: &stated.required_features,
        };
        let reader = self.artifact.reader().map_err(|error| refusal(Stage::Fetch, &error))?;
        let mut reader = DigestingReader::new(reader);
        let model = contained(Stage::Decode, || decoder.decode(&mut reader, &context))?
            .map_err(|error| refusal(Stage::Decode, &with_causes(&error)))?;
        reader.drain().map_err(|error| refusal(Stage::Fetch, &error))?;
        same_bytes(self.manifest.signed(), reader.finish())?;
        drop(reader);
        let encoder = RowEncoder::new(schema);
        let (features, outputs) = (encoder.width(), stated.schema.outputs.len());
        let found = contained(Stage::Decode, || (model.width(), model.outputs()))?;
        if found != (features, outputs) {
            let cause = format!(
                "the model takes {} features and gives {} outputs, its schema says {features} and {outputs}",
                found.0, found.1
            );
            return Err(refusal(Stage::Decode, &cause));
        }
        Ok(DecodedModel { manifest: self.manifest, encoder, model })
    }
}

impl DecodedModel {
    /// Recomputes the golden rows.
    ///
    /// # Errors
    /// A [`Refusal`] of stage `golden` that names row, output, expected and computed value.
    pub fn test(self) -> Result<TestedModel, Refusal> {
        self.recompute(Stage::Golden)?;
        Ok(TestedModel(self))
    }

    fn recompute(&self, stage: Stage) -> Result<(), Refusal> {
        let golden = &self.manifest.signed().manifest().golden;
        contained(stage, || recompute(self.model.as_ref(), &self.encoder, golden))?
            .map_err(|error| refusal(stage, &with_causes(&error)))
    }
}

impl TestedModel {
    /// Warms the model up and makes it the given version.
    ///
    /// # Errors
    /// A [`Refusal`] of stage `warm_up`.
    pub fn load(self, version: Version, generation: Generation) -> Result<LoadedModel, Refusal> {
        self.load_from(version, generation, Origin::Kafka)
    }

    pub(crate) fn load_from(
        self,
        version: Version,
        generation: Generation,
        origin: Origin,
    ) -> Result<LoadedModel, Refusal> {
        for _ in 0..WARM_UP_ROUNDS {
            self.0.recompute(Stage::WarmUp)?;
        }
        let DecodedModel { manifest: AcceptedManifest(manifest), encoder, model } = self.0;
        Ok(LoadedModel::new(version, generation, origin, manifest, encoder, model))
    }
}

pub(crate) fn refusal(stage: Stage, cause: &impl ToString) -> Refusal {
    Refusal { stage, cause: cause.to_string().chars().take(CAUSE_MAX_CHARS).collect() }
}

fn same_bytes(manifest: &SignedManifest, found: (u64, modelcast_protocol::Digest)) -> Result<(), Refusal> {
    let stated = manifest.manifest();
    if found == (stated.size_bytes, stated.artifact) {
        return Ok(());
    }
    let cause = format!(
        "the artifact has {} bytes with digest {}, the manifest states {} with {}",
        found.0, found.1, stated.size_bytes, stated.artifact
    );
    Err(refusal(Stage::Digest, &cause))
}

/// Runs code that came with a model, so that its panic refuses the model instead of ending the process.
fn contained<T>(stage: Stage, run: impl FnOnce() -> T) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        refusal(stage, &format!("panicked: {text}"))
    })
}

#[cfg(test)]
mod tests;
