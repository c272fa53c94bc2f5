//! A publisher process that is stopped between its read and its announcement, and goes on after others announced.
//!
//! What it had decided is about a generation that is taken: it is told by whom, and decides again on what is there.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use modelcast::protocol::change::Change;
use modelcast::protocol::desired::PinTarget;
use modelcast::protocol::status::Phase;
use modelcast::protocol::{Generation, Version};
use modelcast::publish::{OnEvent, PublishEvent};
use modelcast::{Published, Publisher};
use serde::{Deserialize, Serialize};

use crate::support::part::{self, Actor, Place, say};
use crate::support::scene::{Scene, model};
use crate::support::{linear, runtime, wait_for};

const MODEL: &str = "price";
/// What the stopped publisher publishes.
const WEIGHT: f64 = 9.0;
const STOP_AT: &str = "STORY_STOP_AT";
/// Right after it has read what is in force, and right before it announces.
const STEPS: [&str; 2] = ["read", "read back"];

/// What became of the publish.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Outcome {
    Committed { version: u64, generation: u64, lost: Vec<(u64, String)> },
    Unchanged { version: u64, generation: u64 },
}

/// A publisher that has stopped itself at a step, on a namespace that has version 1.
struct Stopped {
    scene: Scene,
    publisher: Publisher,
    actor: Actor,
}

impl Stopped {
    fn at(step: &str) -> Self {
        let scene = Scene::new("stopped", &[MODEL]);
        let publisher = runtime().block_on(scene.publisher());
        runtime().block_on(linear::publish(&publisher, linear::request(MODEL, 1.0)));
        let mut command = part::command(&scene, "stopped_publisher::a_publisher_that_stops");
        command.env(STOP_AT, step);
        let mut actor = Actor::start(command);
        assert_eq!(actor.line(), step);
        wait_for("the process to be stopped", || actor.running.is_frozen().then_some(()));
        Self { scene, publisher, actor }
    }

    fn goes_on(&mut self) -> Outcome {
        self.actor.running.thaw();
        serde_json::from_str(&self.actor.line()).unwrap()
    }
}

#[test]
fn a_publisher_that_was_stopped_decides_again_and_overwrites_nothing() {
    STEPS.iter().for_each(|step| check(step));
}

fn check(step: &str) {
    let mut stopped = Stopped::at(step);
    let publisher = &stopped.publisher;
    let pin = Change::Pin { target: PinTarget::Instance("app-1".parse().unwrap()), version: Version::FIRST };
    let (second, pinned) = runtime().block_on(async {
        let second = linear::publish(publisher, linear::request(MODEL, 2.0)).await;
        (second, publisher.change(&model(MODEL), &pin, &linear::stamp("ada")).await.unwrap())
    });
    assert_eq!(pinned.generation.get(), 3);

    let lost = vec![(2, "trainer".to_owned())];
    assert_eq!(
        stopped.goes_on(),
        Outcome::Committed { version: 3, generation: 4, lost },
        "stopped at {step}"
    );
    let catalog = stopped.publisher.catalog();
    let (fold, history) = runtime().block_on(catalog.history(&model(MODEL))).unwrap();
    let generations: Vec<u64> = history.iter().map(|one| one.frame.generation.get()).collect();
    assert_eq!(generations, [1, 2, 3, 4], "of the announcements that took force");
    assert_eq!([history[1].digest, history[2].digest], [second.announcement, pinned.digest]);
    let in_force = fold.in_force(&model(MODEL)).unwrap();
    let state = in_force.announcement.body.as_ref().unwrap();
    assert_eq!(state.pins, pinned.state.pins, "the pin that came between");
    assert_eq!(state.versions.iter().map(|entry| entry.version.get()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(state.versions[1].manifest, second.manifest);
    assert_eq!(stopped.scene.modelcast(&["verify", MODEL]).code, Some(0));
}

#[test]
fn a_publisher_that_was_stopped_publishes_nothing_where_others_published_the_same() {
    let mut stopped = Stopped::at("read back");
    let same = linear::publish(&stopped.publisher, linear::request(MODEL, WEIGHT));
    let same = runtime().block_on(same);
    assert_eq!(stopped.goes_on(), Outcome::Unchanged { version: 2, generation: 2 });
    let in_force = runtime().block_on(stopped.publisher.catalog().in_force(&model(MODEL))).unwrap().unwrap();
    assert_eq!(
        (in_force.generation(), in_force.announcement.digest),
        (Generation::new(2), same.announcement)
    );
}

#[test]
#[ignore = "is the process that a_publisher_that_was_stopped_decides_again_and_overwrites_nothing starts"]
fn a_publisher_that_stops() {
    let (Some(Place { kafka, keys, .. }), Ok(step)) = (Place::of_this_process(), std::env::var(STOP_AT))
    else {
        return;
    };
    let outcome = runtime().block_on(async {
        let publisher = Publisher::connect(&kafka, &keys.trusted().unwrap(), keys.signing().unwrap()).await;
        let request = linear::request(MODEL, WEIGHT);
        match publisher.unwrap().publish(request, stop_once_at(step)).await.unwrap() {
            Published::Committed(done) => Outcome::Committed {
                version: done.version.get(),
                generation: done.generation.get(),
                lost: done.conflicts.into_iter().map(|lost| (lost.generation.get(), lost.by)).collect(),
            },
            Published::Unchanged { version, generation, .. } => {
                Outcome::Unchanged { version: version.get(), generation: generation.get() }
            }
            Published::DryRun { .. } => panic!("nobody asked for it"),
        }
    });
    say(&serde_json::to_string(&outcome).unwrap());
}

/// Stops this process the first time that a publish comes to this step; it goes on from there when it is told to.
fn stop_once_at(step: String) -> OnEvent {
    let done = AtomicBool::new(false);
    Arc::new(move |event| {
        let name = match event {
            PublishEvent::Read(_) => "read",
            PublishEvent::ReadBack(Phase::Tested) => "read back",
            _ => "another",
        };
        if name == step && !done.swap(true, Relaxed) {
            say(&step);
            // The signal is there before the shell's end is, so nothing of ours runs in between.
            let stopped = Command::new("sh").args(["-c", "kill -STOP $PPID"]).status();
            assert!(stopped.unwrap().success());
        }
    })
}
