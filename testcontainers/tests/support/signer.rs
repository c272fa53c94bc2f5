//! A signer with the right key that writes what no publisher of ours would: records made by hand, straight to Kafka.
//!
//! # Invariants
//! * What a test does not change is as a publisher makes it: undamaged, a [`Package`] goes live.

use modelcast::protocol::Generation;
use modelcast::protocol::change::Change;
use modelcast::protocol::key::SigningKey;
use modelcast_testcontainers::hostile::Hostile;
pub(crate) use modelcast_testcontainers::hostile::Package;

use super::linear;
use super::scene::{Scene, model};

/// Writes records of one namespace.
pub(crate) struct Signer {
    hostile: Hostile,
    signing: SigningKey,
}

impl Signer {
    pub(crate) async fn connect(scene: &Scene) -> Self {
        let hostile = Hostile::connect(&scene.kafka, &scene.trusted()).await.unwrap();
        Self { hostile, signing: scene.signing() }
    }

    /// A linear model of this weight, in two chunks, as it should be.
    pub(crate) fn package(&self, name: &str, weight: f64) -> Package {
        let artifact = linear::artifact(weight);
        let (one, other) = artifact.split_at(artifact.len() / 2);
        let golden = linear::golden(2.0 * weight);
        Package::of(&model(name), "glm", &[one, other], linear::schema(), golden, &self.signing)
    }

    /// Sends chunks and manifest and announces the version as the champion of `name`, whatever it is like.
    pub(crate) async fn publish(&self, name: &str, package: Package) -> Generation {
        let mut draft = self.hostile.draft(&model(name), &self.signing).await.unwrap();
        self.hostile.write(&draft.version(&package).unwrap()).await.unwrap();
        draft.generation()
    }

    /// Announces a change at the next generation; `damage` is done to the signed bytes.
    pub(crate) async fn announce(
        &self,
        name: &str,
        change: &Change,
        damage: impl FnOnce(&mut Vec<u8>),
    ) -> Generation {
        let mut draft = self.hostile.draft(&model(name), &self.signing).await.unwrap();
        let mut record = draft.change(change).unwrap();
        record.value.as_mut().map(damage);
        self.hostile.write(&[record]).await.unwrap();
        draft.generation()
    }
}
