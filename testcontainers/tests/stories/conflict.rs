//! Two publisher processes that want the same generation, again and again.
//!
//! Each generation has one winner; the loser is told by whom, decides again on what won, and nothing is overwritten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use modelcast::Publisher;
use modelcast::protocol::Version;
use modelcast::protocol::change::Change;
use modelcast::protocol::desired::PinTarget;
use modelcast::publish::Class;
use modelcast_testcontainers::Kafka;
use serde::{Deserialize, Serialize};

use crate::support::part::{self, Actor, Place, say};
use crate::support::scene::{Scene, model};
use crate::support::{DEADLINE, linear, runtime};

const MODEL: &str = "price";
/// How often both are released together.
const ROUNDS: u64 = 100;
/// So many rounds must really have been conflicts.
const CONFLICTS: usize = 75;
const AUTHORS: [&str; 2] = ["ada", "grace"];

const AUTHOR: &str = "STORY_AUTHOR";

/// What became of one change.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    generation: u64,
    /// Generations lost on the way, with whom they were lost to.
    lost: Vec<(u64, String)>,
}

/// Starts a publisher in a process of its own.
fn rival(scene: &Scene, author: &str) -> Actor {
    let mut command = part::command(scene, "conflict::a_publisher_process");
    command.env(AUTHOR, author);
    let rival = Actor::start(command);
    assert_eq!(rival.line(), "ready");
    rival
}

/// What became of its change.
fn done(rival: &Actor) -> Done {
    serde_json::from_str(&rival.line()).unwrap()
}

fn target(author: &str, round: u64) -> PinTarget {
    PinTarget::Instance(format!("{author}-{round}").parse().unwrap())
}

/// What the rounds came to.
#[derive(Default)]
struct Contests {
    winners: BTreeMap<u64, &'static str>,
    conflicts: usize,
}

impl Contests {
    /// One round: what became of each author's change.
    fn take(&mut self, done: [&Done; 2]) {
        for (author, done) in AUTHORS.iter().zip(done) {
            let winner = self.winners.insert(done.generation, author);
            assert_eq!(winner, None, "two won generation {}", done.generation);
        }
        for (place, author) in AUTHORS.iter().enumerate() {
            for (generation, by) in &done[place].lost {
                let rival = AUTHORS[1 - place];
                assert_eq!(by, rival, "what {author} was told of generation {generation}");
                assert_eq!(self.winners.get(generation), Some(&rival));
            }
        }
        self.conflicts += usize::from(done.iter().any(|done| !done.lost.is_empty()));
    }
}

#[test]
fn of_two_publishers_released_together_one_wins_and_the_other_is_told_by_whom() {
    // Its own: hundreds of connections come and go, which other stories need not feel.
    let kafka = Kafka::start().unwrap();
    let (runtime, scene) = (runtime(), Scene::on(&kafka, "conflict", &[MODEL]));
    let publisher = runtime.block_on(scene.publisher());
    runtime.block_on(linear::publish(&publisher, linear::request(MODEL, 1.0)));
    let mut rivals = AUTHORS.map(|author| rival(&scene, author));
    let mut contests = Contests::default();
    for round in 1..=ROUNDS {
        rivals.iter_mut().for_each(|rival| rival.tell(&round.to_string()));
        let done = rivals.each_ref().map(done);
        contests.take(done.each_ref());
    }
    let conflicts = contests.conflicts;
    assert!(conflicts >= CONFLICTS, "only {conflicts} rounds were conflicts");
    println!("{conflicts} of {ROUNDS} rounds were conflicts");

    let generations = 2..2 + 2 * ROUNDS;
    assert!(contests.winners.keys().copied().eq(generations), "gaps: {:?}", contests.winners);
    let in_force = runtime.block_on(publisher.catalog().in_force(&model(MODEL))).unwrap().unwrap();
    let pins = in_force.announcement.body.unwrap().pins;
    let pins: BTreeSet<_> = pins.into_iter().map(|pin| (pin.target, pin.stamp.author)).collect();
    let of = |author: &str| {
        (1..=ROUNDS).map(|round| (target(author, round), author.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(pins, AUTHORS.iter().flat_map(|author| of(author)).collect());
}

#[test]
#[ignore = "is the process that of_two_publishers_released_together_one_wins_and_the_other_is_told_by_whom starts twice"]
fn a_publisher_process() {
    let (Some(Place { kafka, keys, .. }), Ok(author)) = (Place::of_this_process(), std::env::var(AUTHOR))
    else {
        return;
    };
    let (trusted, signing) = (keys.trusted().unwrap(), keys.signing().unwrap());
    runtime().block_on(async {
        let publisher = Publisher::connect(&kafka, &trusted, signing).await.unwrap();
        say("ready");
        for round in std::io::stdin().lines() {
            let done = pin(&publisher, &author, round.unwrap().parse().unwrap()).await;
            say(&serde_json::to_string(&done).unwrap());
        }
    });
}

/// Adds the author's pin of this round.
async fn pin(publisher: &Publisher, author: &str, round: u64) -> Done {
    let change = Change::Pin { target: target(author, round), version: Version::FIRST };
    let (name, stamp) = (model(MODEL), linear::stamp(author));
    let started = Instant::now();
    let done = loop {
        match publisher.change(&name, &change, &stamp).await {
            // Nothing was sent: a busy broker did not answer in time.
            Err(error) if error.class() == Class::Unavailable && started.elapsed() < DEADLINE / 2 => {}
            done => break done.unwrap(),
        }
    };
    let lost = done.conflicts.into_iter().map(|lost| (lost.generation.get(), lost.by)).collect();
    Done { generation: done.generation.get(), lost }
}
