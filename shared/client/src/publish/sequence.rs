//! The publish sequence: read, gates, chunks, manifest, read back, announce, outcome, audit.

use std::{sync::Arc, time::Duration};

use modelcast_protocol::{
    Digest, Generation, Version,
    change::{Change, NewVersion},
    desired::VersionEntry,
    fold::InForce,
    limits::{INLINE_ARTIFACT_MAX_BYTES, INLINE_MANIFEST_MAX_BYTES},
    status::Phase,
};
use tokio::time::Instant;

use super::{
    Publisher,
    announce::{Attempt, Conflict, give_up, understood},
    gate::{Candidate, ChampionSide, GateResult, GateVerdict, judge, names},
    outcome::PublishError,
    package::{Measured, PublishRequest},
    upload::Uploaded,
};
use crate::{
    admission::Refusal, catalog::blocking, fetch::FetchError, kafka::producer::Producer, loaded::LoadedModel,
};

/// Hears what a publish does.
pub type OnEvent = Arc<dyn Fn(PublishEvent) + Send + Sync>;

/// A step of a publish.
#[derive(Debug, Clone)]
pub enum PublishEvent {
    /// The announcement in force was read; `None` before the first.
    Read(Option<Generation>),
    /// The gates have spoken.
    Gates(Vec<GateResult>),
    /// Raw bytes acknowledged by the brokers so far.
    Sent {
        /// So many.
        done_bytes: u64,
        /// Of so many.
        total_bytes: u64,
    },
    /// Chunks and manifest are there.
    Uploaded {
        /// Digest of the manifest.
        manifest: Digest,
        /// Bytes of all records sent.
        bytes_sent: u64,
    },
    /// Reading the version back from the brokers.
    ReadBack(Phase),
    /// Somebody else announced first; it is decided again.
    Conflict(Conflict),
}

/// What became of a publish.
#[derive(Debug, Clone)]
pub enum Published {
    /// The champion is this artifact already, and reads back whole.
    Unchanged {
        /// Which version it is.
        version: Version,
        /// At which generation.
        generation: Generation,
        /// Digest of its manifest.
        manifest: Digest,
    },
    /// Nothing was sent; this is what the gates said.
    DryRun {
        /// Each of them.
        gates: Vec<GateResult>,
        /// Size of the artifact.
        artifact_bytes: u64,
    },
    /// A new version is in force.
    Committed(Box<PublishedVersion>),
}

/// A version that was published.
#[derive(Debug, Clone)]
pub struct PublishedVersion {
    /// Its number.
    pub version: Version,
    /// The generation that introduced it.
    pub generation: Generation,
    /// The announcement.
    pub announcement: Digest,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Digest of its artifact.
    pub artifact: Digest,
    /// Size of its artifact.
    pub artifact_bytes: u64,
    /// Chunks sent.
    pub chunks_sent: usize,
    /// Bytes of chunks and manifest sent.
    pub bytes_sent: u64,
    /// What the gates said.
    pub gates: Vec<GateResult>,
    /// When the announcement was first sent, Unix milliseconds.
    pub announced_at_unix_ms: u64,
    /// Who was first before it went through.
    pub conflicts: Vec<Conflict>,
    /// How long each stage took.
    pub took: Vec<(&'static str, Duration)>,
}

impl Publisher {
    /// Publishes a version: nothing is in force before all of it was read back and verified.
    ///
    /// # Errors
    /// See [`PublishError`]; after [`PublishError::Unknown`] the version may be in force.
    pub async fn publish(
        &self,
        request: PublishRequest,
        on_event: OnEvent,
    ) -> Result<Published, PublishError> {
        check_overrides(&request)?;
        let producer = self.producer()?;
        self.check_topics(&request.model).await?;
        let request = Arc::new(request);
        let mut took = Took::new();
        let (measured, tried) = try_out(&self.signing, &request).await?;
        took.stage("try out");
        let mut conflicts = Vec::new();
        let mut uploaded: Option<Uploaded> = None;
        loop {
            let log = self.ready(&request.model).await?;
            let before = log.fold().in_force(&request.model).cloned();
            on_event(PublishEvent::Read(before.as_ref().map(InForce::generation)));
            let champion = self.champion(&producer, &request, &measured, before.as_ref()).await?;
            if let Some(unchanged) = unchanged(&request, &measured, champion.as_ref(), before.as_ref()) {
                return Ok(unchanged);
            }
            let gates = gates(&request, &measured, champion.as_ref(), &tried);
            drop(champion);
            took.stage("gates");
            on_event(PublishEvent::Gates(gates.clone()));
            if request.dry_run {
                return Ok(Published::DryRun { gates, artifact_bytes: measured.size_bytes });
            }
            if gates.iter().any(GateResult::is_failed) {
                return Err(PublishError::Gates(gates));
            }
            // Before anything is sent: a change that makes no sense should cost no upload.
            let probe = Change::Publish(new_version(&request, &measured, None)?);
            probe.apply(understood(before.as_ref())?, &request.stamp, [0; 16])?;
            let there = match uploaded.take() {
                Some(there) => there,
                None => {
                    self.upload_and_read_back(&producer, &request, &measured, &on_event, &mut took).await?
                }
            };
            let change = Change::Publish(new_version(&request, &measured, Some(&there))?);
            let state = change.apply(understood(before.as_ref())?, &request.stamp, rand::random())?;
            match self.announce(&producer, log, &request.model, before.as_ref(), &state).await? {
                Attempt::Committed { generation, digest, announced_at_unix_ms } => {
                    took.stage("announce");
                    let version = state.versions.last().map_or(Version::FIRST, |entry| entry.version);
                    return Ok(Published::Committed(Box::new(PublishedVersion {
                        version,
                        generation,
                        announcement: digest,
                        manifest: there.manifest.digest(),
                        artifact: measured.digest,
                        artifact_bytes: measured.size_bytes,
                        chunks_sent: there.chunks_sent,
                        bytes_sent: there.bytes_sent,
                        gates,
                        announced_at_unix_ms,
                        conflicts,
                        took: took.stages,
                    })));
                }
                Attempt::Lost(conflict) => {
                    on_event(PublishEvent::Conflict(conflict.clone()));
                    conflicts.push(conflict);
                    uploaded = Some(there);
                }
            }
            give_up(&mut conflicts)?;
        }
    }

    async fn upload_and_read_back(
        &self,
        producer: &Producer,
        request: &PublishRequest,
        measured: &Measured,
        on_event: &OnEvent,
        took: &mut Took,
    ) -> Result<Uploaded, PublishError> {
        let uploaded = self.upload(producer, request, measured, on_event).await?;
        took.stage("upload");
        drop(self.read_back(request, &uploaded, on_event).await?);
        took.stage("read back");
        Ok(uploaded)
    }

    /// The champion, fetched whole and admitted; the cause when it cannot be. What is missing of it is sent again where
    /// it is what is to be published.
    async fn champion(
        &self,
        producer: &Producer,
        request: &PublishRequest,
        measured: &Measured,
        before: Option<&InForce>,
    ) -> Result<Option<Champion>, PublishError> {
        let Some(before) = before else { return Ok(None) };
        let Some(state) = understood(Some(before))? else { return Ok(None) };
        let Some(entry) = state.entry(state.champion) else { return Ok(None) };
        let entry: VersionEntry = entry.clone();
        let look = || self.look_for(request, &entry, before.generation(), Arc::new(|_| {}));
        let mut champion = look().await;
        if champion.is_err() && !request.dry_run && self.mend(producer, request, measured, &entry).await? {
            champion = look().await;
        }
        let artifact = entry.artifact;
        read(champion, artifact).map(Some)
    }
}

/// The champion, or why it cannot be had.
type Champion = Result<LoadedModel, Unreadable>;

/// A champion that does not read back.
struct Unreadable {
    /// Digest of its artifact: who publishes that one again sends what is missing.
    artifact: Digest,
    cause: String,
}

/// What a look at the champion says of it. That Kafka cannot be read just now says nothing of it.
fn read(champion: Result<LoadedModel, FetchError>, artifact: Digest) -> Result<Champion, PublishError> {
    match champion {
        Ok(champion) => Ok(Ok(champion)),
        Err(FetchError::Kafka(error)) if error.is_transient() => Err(error.into()),
        Err(error) => Ok(Err(Unreadable { artifact, cause: error.to_string() })),
    }
}

/// Measures the artifact and tries it as a subscriber would, before anything is sent.
async fn try_out(
    signing: &modelcast_protocol::key::SigningKey,
    request: &Arc<PublishRequest>,
) -> Result<(Measured, Result<(), String>), PublishError> {
    let (signing, request) = (signing.clone(), Arc::clone(request));
    blocking("trying the artifact", move || {
        let measured = request.measure()?;
        let manifest = request.provisional_manifest(&measured).sign(&signing)?;
        let policy = request.policy();
        let tried = policy
            .accept(manifest)
            .and_then(|accepted| accepted.with(request.artifact.clone()).verify())
            .and_then(|verified| verified.decode(&policy))
            .and_then(crate::admission::DecodedModel::test)
            .map(drop)
            .map_err(|refusal: Refusal| refusal.to_string());
        Ok::<_, PublishError>((measured, tried))
    })
    .await
}

fn unchanged(
    request: &PublishRequest,
    measured: &Measured,
    champion: Option<&Champion>,
    before: Option<&InForce>,
) -> Option<Published> {
    let champion = champion?.as_ref().ok()?;
    let same = champion.manifest().artifact == measured.digest && **champion.schema() == request.schema;
    same.then(|| Published::Unchanged {
        version: champion.version(),
        generation: before.map_or(Generation::ZERO, InForce::generation),
        manifest: champion.digest(),
    })
}

fn gates(
    request: &PublishRequest,
    measured: &Measured,
    champion: Option<&Champion>,
    tried: &Result<(), String>,
) -> Vec<GateResult> {
    let candidate = Candidate {
        metrics: &request.metrics,
        schema: &request.schema,
        size_bytes: measured.size_bytes,
        golden: tried.clone(),
    };
    let side = match champion {
        Some(Ok(champion)) => {
            let metrics = match &request.score_champion {
                Some(score) => score(champion),
                None => Err("no hold-out rows were given".to_owned()),
            };
            Some(ChampionSide { manifest: champion.manifest(), metrics })
        }
        Some(Err(_)) | None => None,
    };
    let mut gates = judge(&request.gates, &candidate, side.as_ref(), &request.overrides);
    if let Some(Err(Unreadable { artifact, cause })) = champion {
        let overridden = request.overrides.get("champion");
        let (verdict, what) = match overridden {
            _ if *artifact == measured.digest => {
                (GateVerdict::Passed, "does not read back, and is sent again whole".to_owned())
            }
            Some(reason) => (GateVerdict::Overridden, format!("does not read back; overridden: {reason}")),
            None => (GateVerdict::Failed, "does not read back, so nothing can be compared".to_owned()),
        };
        let detail = format!("the champion {what}: {cause}");
        gates.push(GateResult { gate: "champion".into(), verdict, detail });
    }
    gates
}

fn new_version(
    request: &PublishRequest,
    measured: &Measured,
    uploaded: Option<&Uploaded>,
) -> Result<NewVersion, PublishError> {
    let inline_manifest = uploaded
        .map(|uploaded| uploaded.manifest.bytes())
        .filter(|bytes| bytes.len() <= INLINE_MANIFEST_MAX_BYTES)
        .map(<[u8]>::to_vec);
    let inline_artifact = match &inline_manifest {
        Some(_) => request.artifact.small(INLINE_ARTIFACT_MAX_BYTES)?,
        None => None,
    };
    Ok(NewVersion {
        manifest: uploaded.map_or(measured.digest, |uploaded| uploaded.manifest.digest()),
        manifest_offset: uploaded.map_or(0, |uploaded| uploaded.manifest_offset),
        artifact: measured.digest,
        inline_manifest,
        inline_artifact,
        role: request.role.clone(),
    })
}

/// An override of a gate that does not exist is a typo, not a wish.
fn check_overrides(request: &PublishRequest) -> Result<(), PublishError> {
    let mut known = names(&request.gates);
    known.push("champion".to_owned());
    match request.overrides.keys().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => Err(PublishError::UnknownGate { name: name.clone(), known: known.join(", ") }),
    }
}

/// Times the stages.
struct Took {
    since: Instant,
    stages: Vec<(&'static str, Duration)>,
}

impl Took {
    fn new() -> Self {
        Self { since: Instant::now(), stages: Vec::new() }
    }

    fn stage(&mut self, name: &'static str) {
        self.stages.push((name, self.since.elapsed()));
        self.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use modelcast_protocol::schema::{Feature, FeatureKind, FeatureSchema, Numeric, Output, OutputKind};

    use super::*;
    use crate::{
        kafka::KafkaError,
        publish::{outcome::Class, package::tests::request},
    };

    fn schema() -> FeatureSchema {
        let kind = FeatureKind::Numeric(Numeric::default());
        let output = Output { name: "y".into(), title: None, kind: OutputKind::Numeric { unit: None } };
        FeatureSchema {
            features: vec![Feature { name: "x".into(), title: None, kind }],
            outputs: vec![output],
        }
    }

    fn verdict(artifact: Option<Digest>, overridden: bool) -> GateVerdict {
        let mut request = request(&schema());
        if overridden {
            request.overrides.insert("champion".into(), "known".into());
        }
        let measured = request.measure().unwrap();
        let artifact = artifact.unwrap_or(measured.digest);
        let champion = Err(Unreadable { artifact, cause: "chunk missing".into() });
        let gates = gates(&request, &measured, Some(&champion), &Ok(()));
        gates.into_iter().find(|gate| gate.gate == "champion").unwrap().verdict
    }

    #[test]
    fn a_champion_that_does_not_read_back_is_replaced_only_by_itself_or_for_a_reason() {
        let other = Some(Digest::of(b"another artifact"));
        assert_eq!(verdict(None, false), GateVerdict::Passed);
        assert_eq!(verdict(other, false), GateVerdict::Failed);
        assert_eq!(verdict(other, true), GateVerdict::Overridden);
    }

    #[test]
    fn a_champion_that_kafka_does_not_give_just_now_is_not_called_unreadable() {
        let artifact = Digest::of(b"artifact");
        let away = KafkaError::Unreachable { servers: "k".into(), cause: "all brokers are down".into() };
        let told = read(Err(FetchError::Kafka(away)), artifact);
        assert!(told.is_err_and(|error| error.class() == Class::Unavailable));
        let refused = KafkaError::Refused { what: "a chunk".into(), cause: "no right to read".into() };
        for error in [FetchError::Kafka(refused), FetchError::Store("disk full".into())] {
            assert!(read(Err(error), artifact).unwrap().is_err());
        }
    }
}
