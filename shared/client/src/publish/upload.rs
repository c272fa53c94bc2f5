//! Making a version available: chunks and manifest go to the model's blobs topic, and are read back.
//!
//! Announces nothing: until an announcement names it, a version is just bytes.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use modelcast_protocol::{
    Generation, Version,
    chunk::{ChunkTable, StoredChunk, store},
    chunking::{ChunkSizes, cut},
    desired::VersionEntry,
    manifest::SignedManifest,
    status::Stage,
    topic,
};

use super::{
    Publisher,
    announce::{BEHIND_DEADLINE, LOOK_AGAIN_AFTER},
    outcome::PublishError,
    package::{Measured, PublishRequest},
    sequence::{OnEvent, PublishEvent},
};
use crate::{
    catalog::OnPhase,
    fetch::FetchError,
    kafka::producer::{Delivery, Producer},
    loaded::LoadedModel,
};

/// Chunks on their way at once: bounds memory to some 16 MB.
const IN_FLIGHT: usize = 16;

/// A version that subscribers could fetch.
pub(super) struct Uploaded {
    pub(super) manifest: SignedManifest,
    pub(super) manifest_offset: i64,
    pub(super) chunks_sent: usize,
    pub(super) bytes_sent: u64,
}

impl Publisher {
    /// Sends chunks and manifest.
    pub(super) async fn upload(
        &self,
        producer: &Producer,
        request: &PublishRequest,
        measured: &Measured,
        on_event: &OnEvent,
    ) -> Result<Uploaded, PublishError> {
        let kafka = self.catalog().kafka();
        let topic = topic::blobs(&kafka.namespace, &request.model).name;
        let chunks = send_chunks(producer, &topic, request, measured, on_event).await?;
        let chunks_sent = chunks.entries.len();
        let stored: u64 = chunks.entries.iter().map(|entry| u64::from(entry.stored_bytes)).sum();
        let manifest = request.manifest(measured, chunks).sign(&self.signing)?;
        let key = manifest.digest().to_hex();
        let manifest_offset = producer.send(&topic, 0, &key, Some(manifest.bytes())).await?;
        let bytes_sent = stored + manifest.bytes().len() as u64;
        on_event(PublishEvent::Uploaded { manifest: manifest.digest(), bytes_sent });
        Ok(Uploaded { manifest, manifest_offset, chunks_sent, bytes_sent })
    }

    /// Fetches an uploaded version from the brokers and admits it as a subscriber would.
    pub(super) async fn read_back(
        &self,
        request: &PublishRequest,
        uploaded: &Uploaded,
        on_event: &OnEvent,
    ) -> Result<LoadedModel, PublishError> {
        // It has no number yet; the entry serves to find its records.
        let entry = VersionEntry {
            version: Version::FIRST,
            manifest: uploaded.manifest.digest(),
            manifest_offset: uploaded.manifest_offset,
            artifact: uploaded.manifest.manifest().artifact,
            published_at_unix_ms: request.stamp.at_unix_ms,
        };
        let on_phase = {
            let on_event = Arc::clone(on_event);
            Arc::new(move |phase| on_event(PublishEvent::ReadBack(phase)))
        };
        let read = self.look_for(request, &entry, Generation::ZERO, on_phase).await;
        read.map_err(PublishError::ReadBack)
    }

    /// A version that should be there, admitted as a subscriber would. A broker that is behind, and does not know it
    /// yet, may not have its records: they are looked for again for a while.
    pub(super) async fn look_for(
        &self,
        request: &PublishRequest,
        entry: &VersionEntry,
        generation: Generation,
        on_phase: OnPhase,
    ) -> Result<LoadedModel, FetchError> {
        let (policy, deadline) = (request.policy(), Instant::now() + BEHIND_DEADLINE);
        loop {
            let on_phase = Arc::clone(&on_phase);
            let read = self.catalog().version(&request.model, entry, generation, &policy, on_phase).await;
            match read {
                Err(FetchError::Refused(refused))
                    if refused.stage == Stage::Fetch && Instant::now() < deadline =>
                {
                    tokio::time::sleep(LOOK_AGAIN_AFTER).await;
                }
                read => return read,
            }
        }
    }
}

async fn send_chunks(
    producer: &Producer,
    topic: &str,
    request: &PublishRequest,
    measured: &Measured,
    on_event: &OnEvent,
) -> Result<ChunkTable, PublishError> {
    let mut table = ChunkTable::default();
    let mut on_the_way: VecDeque<Delivery> = VecDeque::new();
    let (mut acknowledged, mut done_bytes) = (0_usize, 0);
    let mut stored = stored_chunks(request, measured.size_bytes);
    loop {
        let next = stored.recv().await.transpose()?;
        let ended = next.is_none();
        if let Some(StoredChunk { entry, bytes }) = next {
            table.entries.push(entry);
            // In their order: a subscriber that reads on finds the next chunk, and need not fetch from elsewhere.
            on_the_way.push_back(producer.enqueue(topic, 0, &entry.digest.to_hex(), Some(&bytes)).await?);
        }
        while on_the_way.len() >= IN_FLIGHT || (ended && !on_the_way.is_empty()) {
            let Some(sent) = on_the_way.pop_front() else { break };
            let offset = sent.acknowledged().await?;
            if let Some(entry) = table.entries.get_mut(acknowledged) {
                entry.offset = Some(offset);
                done_bytes += u64::from(entry.raw_bytes);
            }
            acknowledged += 1;
            on_event(PublishEvent::Sent { done_bytes, total_bytes: measured.size_bytes });
        }
        if ended {
            return Ok(table);
        }
    }
}

/// Cuts and compresses on a thread that may block; a few chunks ahead of the sender.
pub(super) fn stored_chunks(
    request: &PublishRequest,
    size_bytes: u64,
) -> tokio::sync::mpsc::Receiver<std::io::Result<StoredChunk>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    let artifact = request.artifact.clone();
    tokio::task::spawn_blocking(move || {
        let reader = match artifact.reader() {
            Ok(reader) => reader,
            Err(error) => return drop(sender.blocking_send(Err(error))),
        };
        for raw in cut(reader, ChunkSizes::for_artifact(size_bytes)) {
            if sender.blocking_send(raw.map(|raw| store(&raw))).is_err() {
                return; // the sender gave up
            }
        }
    });
    receiver
}
