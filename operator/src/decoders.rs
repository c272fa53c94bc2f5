//! What this program asks of a version, and how it reads one that it cannot decode.

use std::{io::Read, sync::Arc};

use modelcast::{
    admission::Policy,
    models::{DecodeContext, DecodeError, Decoder, Decoders, Model},
};
use modelcast_protocol::manifest::SignedManifest;

/// What this program asks of a version. A format of the application's own cannot be decoded here, but its bytes can
/// be fetched and verified: for it stands a decoder that only reads. Gives the format that is lacking.
pub(crate) fn policy(manifest: &SignedManifest) -> (Policy, Option<String>) {
    let standard = Policy::standard();
    let stated = manifest.manifest();
    let decodes = |decoder: &dyn Decoder| stated.required_features.iter().all(|it| decoder.supports(it));
    if standard.decoders.get(&stated.format).is_some_and(decodes) {
        return (standard, None);
    }
    let reads = Decoders::default().with(OnlyReads(stated.format.clone()));
    (Policy { decoders: Arc::new(reads), ..standard }, Some(stated.format.clone()))
}

/// Stands for a decoder that this program does not have.
struct OnlyReads(String);

impl Decoder for OnlyReads {
    fn format(&self) -> &str {
        &self.0
    }

    fn supports(&self, _: &str) -> bool {
        true
    }

    fn decode(&self, _: &mut dyn Read, _: &DecodeContext<'_>) -> Result<Box<dyn Model>, DecodeError> {
        Err(DecodeError::Other(format!("this program has no decoder for format {:?}", self.0).into()))
    }
}
