//! What happens to brokers: one after the other, and rarely to all.

use std::time::Duration;

use modelcast_testcontainers::{BrokerId, Cluster};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::storm::Storm;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Freeze,
    Stop,
}

/// To whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    LeaderOfAnnouncements,
    LeaderOfBlobs,
    Any(usize),
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Draw {
    after: Duration,
    fault: Fault,
    whom: Whom,
    lasts: Duration,
}

fn draw(random: &mut StdRng) -> Draw {
    let fault = match random.random_range(0..10) {
        0..5 => Fault::Kill,
        5..8 => Fault::Freeze,
        _ => Fault::Stop,
    };
    let whom = match random.random_range(0..20) {
        0..10 => Whom::LeaderOfAnnouncements,
        10..14 => Whom::LeaderOfBlobs,
        14..18 => Whom::Any(random.random_range(0..3)),
        // Not the other two. Stopping all in order, they wait for each other; after all were killed, Kafka 4.1 may elect
        // nobody without being told to (seen): what nobody wrote down in order might be lost.
        _ if fault != Fault::Freeze => Whom::LeaderOfAnnouncements,
        _ => Whom::All,
    };
    let after = Duration::from_millis(random.random_range(1_000..8_000));
    let lasts = Duration::from_millis(random.random_range(300..6_000));
    Draw { after, fault, whom, lasts }
}

/// Makes faults until the storms are over; all brokers run afterwards.
pub(crate) fn run(
    cluster: &Cluster,
    topics: [&str; 2],
    storm: &Storm,
    mut random: StdRng,
) -> anyhow::Result<()> {
    let [announcements, blobs] = topics;
    while storm.begins() {
        let Draw { after, fault, whom, lasts } = draw(&mut random);
        if !storm.wait(after) {
            continue;
        }
        let all = cluster.brokers();
        let struck = match whom {
            Whom::LeaderOfAnnouncements => vec![cluster.leader(announcements, 0)?],
            Whom::LeaderOfBlobs => vec![cluster.leader(blobs, 0)?],
            Whom::Any(place) => all.get(place).copied().into_iter().collect(),
            Whom::All => all.to_vec(),
        };
        strike(cluster, storm, fault, whom, &struck, lasts)?;
    }
    Ok(())
}

fn strike(
    cluster: &Cluster,
    storm: &Storm,
    fault: Fault,
    whom: Whom,
    struck: &[BrokerId],
    lasts: Duration,
) -> anyhow::Result<()> {
    let kind = match (fault, whom) {
        (Fault::Freeze, Whom::All) => "freeze-all-brokers",
        (Fault::Kill, _) => "kill-broker",
        (Fault::Freeze, _) => "freeze-broker",
        (Fault::Stop, _) => "stop-broker",
    };
    let ids: Vec<_> = struck.iter().map(|broker| broker.get().to_string()).collect();
    let target = format!("broker {}", ids.join(" "));
    storm.strikes(kind, &target, &format!("{whom:?} for {lasts:?}"))?;
    for &broker in struck {
        match fault {
            Fault::Kill => cluster.kill(broker)?,
            Fault::Freeze => cluster.freeze(broker)?,
            Fault::Stop => cluster.stop(broker)?,
        }
    }
    storm.wait(lasts);
    for &broker in struck {
        match fault {
            Fault::Freeze => cluster.thaw(broker)?,
            Fault::Kill | Fault::Stop => cluster.restart(broker)?,
        }
    }
    // The next one must not be the second that is missing.
    cluster.wait_until_in_sync()?;
    storm.ended(&target);
    Ok(())
}

#[cfg(test)]
mod tests {
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
        for fault in [Fault::Kill, Fault::Freeze, Fault::Stop] {
            assert!(draws(7).iter().any(|draw| draw.fault == fault), "{fault:?}");
        }
        let all = draws(7).iter().filter(|draw| draw.whom == Whom::All).count();
        assert!((1..20).contains(&all), "{all} of 200 take all brokers");
    }
}
