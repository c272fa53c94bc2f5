//! What can still be found of a model: its audit records, what the operator gives, what the fleet reports.
//!
//! Believes no record whose signature does not verify. Statuses are not signed: they say what was seen, and decide
//! nothing by themselves.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use modelcast_protocol::{
    Digest, Generation, ModelName, Namespace,
    announcement::{self, AnnouncementError},
    fold::InForce,
    key::TrustedKeys,
    topic,
};

use super::{
    RecoveryError,
    plan::{Evidence, Found, Place, Witness},
};
use crate::{
    announcements::AnnouncementLog,
    catalog::{Catalog, blocking},
    fleet::Fleet,
    kafka::{
        KafkaError,
        connect::Purpose,
        reader::{From, Read, Reader},
    },
    publish::PublishError,
};

/// How long the audit topic may take to come in.
const DEADLINE: Duration = Duration::from_secs(300);
/// Most bytes of announcements kept in memory; of more, the newest generations.
const FOUND_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Reads what there is, and the log after everything else: what is not in it then, it does not have.
pub(super) async fn gather(
    catalog: &Catalog,
    model: &ModelName,
    given: &[Vec<u8>],
) -> Result<(AnnouncementLog, Evidence), PublishError> {
    let mut store = Store::new(&catalog.kafka().namespace, model, catalog.keys());
    for bytes in given {
        store.take(bytes, -1, Place::Given).map_err(|cause| RecoveryError::NotItsAnnouncement { cause })?;
    }
    let kafka = catalog.kafka().clone();
    let audit = blocking("reading the audit topic", move || {
        let topic = topic::audit(&kafka.namespace);
        let reader = Reader::open(&kafka, Purpose::Scan, &topic.name, topic.partitions, From::Beginning)?;
        let deadline = Instant::now() + DEADLINE;
        while let Read::Record(record) = reader.read_until(deadline)? {
            if record.key == store.model.as_str().as_bytes() {
                // What does not verify is as if it were not there.
                drop(store.take(&record.value.unwrap_or_default(), record.offset, Place::Audit));
            }
        }
        Ok::<_, KafkaError>(store)
    });
    let (store, fleet) = tokio::join!(audit, Fleet::read(catalog.kafka()));
    let witnesses = fleet?.of(model).map(Witness::of).collect();
    let log = catalog.log().await?;
    let in_force = log.fold().in_force(model).cloned();
    Ok((log, Evidence { in_force, found: store?.found.into_values().collect(), witnesses }))
}

/// Announcements of one model, each once.
struct Store {
    namespace: Namespace,
    model: ModelName,
    keys: TrustedKeys,
    found: BTreeMap<(Generation, Digest), Found>,
    bytes: usize,
}

impl Store {
    fn new(namespace: &Namespace, model: &ModelName, keys: &TrustedKeys) -> Self {
        let (namespace, model, keys) = (namespace.clone(), model.clone(), keys.clone());
        Self { namespace, model, keys, found: BTreeMap::new(), bytes: 0 }
    }

    fn take(&mut self, bytes: &[u8], offset: i64, place: Place) -> Result<(), String> {
        let announcement = announcement::open(bytes, &self.keys);
        let announcement = announcement.map_err(|error: AnnouncementError| error.to_string())?;
        let frame = &announcement.frame;
        if (&frame.namespace, &frame.model) != (&self.namespace, &self.model) {
            return Err(format!("it is of model {} in namespace {}", frame.model, frame.namespace));
        }
        let key = (frame.generation, announcement.digest);
        self.bytes += bytes.len();
        let announcement = InForce { announcement, offset, bytes: bytes.to_vec() };
        if let Some(before) = self.found.insert(key, Found { announcement, place }) {
            self.bytes -= before.announcement.bytes.len();
        }
        while self.bytes > FOUND_MAX_BYTES
            && let Some((_, oldest)) = self.found.pop_first()
        {
            self.bytes -= oldest.announcement.bytes.len();
        }
        Ok(())
    }
}
