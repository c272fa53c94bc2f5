//! Sending again what the blobs topic has lost of a champion whose artifact is at hand.
//!
//! Announces nothing: the same artifact is cut into the same chunks, so that the manifest that is announced already
//! describes them. Whoever fetches finds them by their digests, wherever they stand now.

use modelcast_protocol::{ModelName, desired::VersionEntry, manifest::SignedManifest, topic};
use tracing::info;

use super::{
    Publisher,
    outcome::PublishError,
    package::{Measured, PublishRequest},
    upload::stored_chunks,
};
use crate::{
    catalog::blocking,
    fetch::{FetchError, Fetcher, open_manifest},
    kafka::producer::Producer,
};

impl Publisher {
    /// Sends the chunks and the manifest of `champion` that are missing; gives whether it should be whole now. It is not
    /// when its manifest is nowhere to be had, describes something else, or was cut by another program.
    pub(super) async fn mend(
        &self,
        producer: &Producer,
        request: &PublishRequest,
        measured: &Measured,
        champion: &VersionEntry,
    ) -> Result<bool, PublishError> {
        if champion.artifact != measured.digest {
            return Ok(false);
        }
        let (manifest, is_there) = match self.catalog().manifest(&request.model, champion).await {
            Ok(manifest) => (manifest, true),
            Err(FetchError::Refused(_)) => match self.carried(&request.model, champion).await? {
                Some(manifest) => (manifest, false),
                None => return Ok(false),
            },
            Err(FetchError::Kafka(error)) => return Err(error.into()),
            Err(error) => return Err(PublishError::ReadBack(error)),
        };
        if manifest.manifest().schema != request.schema {
            return Ok(false);
        }
        let mut fetcher = Fetcher::new(self.catalog().kafka(), self.catalog().keys(), &request.model);
        let (manifest, missing) = blocking("looking for chunks", move || {
            let missing = fetcher.missing(&manifest)?;
            Ok::<_, FetchError>((manifest, missing))
        })
        .await
        .map_err(PublishError::ReadBack)?;
        let topic = topic::blobs(&self.catalog().kafka().namespace, &request.model).name;
        let mut stored = stored_chunks(request, measured.size_bytes);
        for entry in &manifest.manifest().chunks.entries {
            let Some(chunk) = stored.recv().await.transpose()? else { return Ok(false) };
            if chunk.entry.digest != entry.digest {
                return Ok(false);
            }
            if missing.contains(&entry.digest) {
                producer.send(&topic, 0, &entry.digest.to_hex(), Some(&chunk.bytes)).await?;
            }
        }
        if !is_there {
            producer.send(&topic, 0, &manifest.digest().to_hex(), Some(manifest.bytes())).await?;
        }
        info!(model = %request.model, version = %champion.version, chunks = missing.len(), "sent again what was lost");
        Ok(true)
    }

    /// The manifest of a version as the announcement that introduced it carries it, when the log still has that.
    async fn carried(
        &self,
        model: &ModelName,
        entry: &VersionEntry,
    ) -> Result<Option<SignedManifest>, PublishError> {
        let (_, history) = self.catalog().history(model).await?;
        let carried =
            history.iter().rev().filter_map(|announcement| announcement.body.as_ref().ok()?.inline.as_ref());
        let open = |bytes: &[u8]| open_manifest(bytes, entry.manifest, model, self.catalog().keys()).ok();
        Ok(carried.filter(|inline| inline.version == entry.version).find_map(|inline| open(&inline.manifest)))
    }
}
