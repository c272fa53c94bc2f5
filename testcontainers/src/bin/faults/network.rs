//! What happens between clients and brokers.

use std::num::NonZeroU64;
use std::time::Duration;

use modelcast_testcontainers::{Cluster, Faults, LoseAcks};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::storm::Storm;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Draw {
    after: Duration,
    kind: &'static str,
    faults: Faults,
    /// One of the brokers, or all.
    whom: Option<usize>,
    lasts: Duration,
}

fn draw(random: &mut StdRng) -> Draw {
    let none = Faults::default();
    let (kind, faults) = match random.random_range(0..12) {
        0 | 1 => ("delay", Faults { delay: Duration::from_millis(random.random_range(20..600)), ..none }),
        2 => {
            let rate = NonZeroU64::new(random.random_range(5_000..200_000));
            ("throttle", Faults { bytes_per_second: rate, ..none })
        }
        3 | 4 => ("cut", none),
        5 => {
            let bytes = Some(random.random_range(500..300_000));
            ("cut-after-bytes", Faults { cut_after_response_bytes: bytes, ..none })
        }
        6 | 7 => ("black-hole", Faults { black_hole: true, ..none }),
        8..11 => {
            let count = random.random_range(1..4);
            ("lose-some-acks", Faults { lose_acks: LoseAcks::Next(count), ..none })
        }
        _ => ("lose-all-acks", Faults { lose_acks: LoseAcks::All, ..none }),
    };
    let whom = (!random.random_ratio(1, 4)).then(|| random.random_range(0..3));
    let after = Duration::from_millis(random.random_range(500..5_000));
    let lasts = Duration::from_millis(random.random_range(200..3_000));
    Draw { after, kind, faults, whom, lasts }
}

/// Makes faults until the storms are over; everything passes afterwards.
pub(crate) fn run(cluster: &Cluster, storm: &Storm, mut random: StdRng) -> anyhow::Result<()> {
    let all = cluster.brokers();
    while storm.begins() {
        let Draw { after, kind, faults, whom, lasts } = draw(&mut random);
        if !storm.wait(after) {
            continue;
        }
        let struck: Vec<_> = match whom {
            Some(place) => all.get(place).copied().into_iter().collect(),
            None => all.to_vec(),
        };
        let ids: Vec<_> = struck.iter().map(|broker| broker.get().to_string()).collect();
        let target = format!("connections to {}", ids.join(" "));
        storm.strikes(kind, &target, &format!("for {lasts:?}"))?;
        for &broker in &struck {
            let proxy = cluster.proxy(broker);
            proxy.set(faults);
            if kind == "cut" {
                proxy.cut();
            }
        }
        if kind != "cut" {
            storm.wait(lasts);
        }
        struck.iter().for_each(|&broker| cluster.proxy(broker).heal());
        storm.ended(&target);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_seed_draws_the_same_faults_again_and_all_kinds_come() {
        let draws = |seed| -> Vec<Draw> {
            let mut random = StdRng::seed_from_u64(seed);
            (0..200).map(|_| draw(&mut random)).collect()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
        assert_eq!(draws(7).iter().map(|draw| draw.kind).collect::<BTreeSet<_>>().len(), 7);
    }
}
