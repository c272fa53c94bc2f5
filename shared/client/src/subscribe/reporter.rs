//! The producer that all models of a subscriber report with: one connection to a broker, however many models.
//!
//! # Invariants
//! * A model whose report is on its way keeps its producer: a report must not overtake the one before.

use std::sync::{Mutex, PoisonError};

use crate::{
    kafka::{KafkaError, connect::Purpose, producer::Producer},
    settings::KafkaSettings,
};

/// Where the producer comes from.
pub(crate) struct Reporter {
    kafka: KafkaSettings,
    producer: Mutex<Option<Producer>>,
}

impl Reporter {
    /// Without a producer: the first report makes it.
    pub(crate) fn new(kafka: KafkaSettings) -> Self {
        Self { kafka, producer: Mutex::default() }
    }

    pub(crate) fn kafka(&self) -> &KafkaSettings {
        &self.kafka
    }

    /// The producer of all.
    pub(crate) fn producer(&self) -> Result<Producer, KafkaError> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        match &*producer {
            Some(producer) => Ok(producer.clone()),
            None => Ok(producer.insert(Producer::new(&self.kafka, Purpose::Report)?).clone()),
        }
    }

    /// With this one a report failed: it may be stuck with a fatal error, so the next takes another. Of many models
    /// whose reports fail at the same time the first does it for all.
    pub(crate) fn give_up(&self, failed: &Producer) {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        producer.take_if(|producer| producer.is(failed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_models_share_a_producer_until_it_fails() {
        let reporter = Reporter::new(KafkaSettings::default());
        let (one, other) = (reporter.producer().unwrap(), reporter.producer().unwrap());
        assert!(one.is(&other));
        reporter.give_up(&one);
        let next = reporter.producer().unwrap();
        assert!(!next.is(&one));
        // The other model hears of the same failure.
        reporter.give_up(&other);
        assert!(reporter.producer().unwrap().is(&next));
    }
}
