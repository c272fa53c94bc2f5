//! Artifacts of 200 MB through the same path as small ones, and the memory that a subscriber needs for them.
//!
//! The subscriber is a process of its own, so that its peak is its own. Its decoder keeps the whole artifact in
//! memory, and its golden row reads every byte of it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use modelcast::admission::Policy;
use modelcast::models::{DecodeContext, DecodeError, Decoder, Decoders, Model, PredictError};
use modelcast::protocol::resolve::Identity;
use modelcast::settings::{KafkaSettings, KeySettings};
use modelcast::{Artifact, Subscriber};

use crate::support::programs::{Running, this_binary_again};
use crate::support::scene::{Scene, model};
use crate::support::{linear, runtime, wait_within};

const MODEL: &str = "price";
const FORMAT: &str = "bulk";
const SIZE_BYTES: u64 = 200 * MB;
const MB: u64 = 1_000_000;
/// What a subscriber may need besides the old and the new model.
const FIXED_BYTES: u64 = 128 * MB;
const VERSIONS: u64 = 3;
const LIVE_WITHIN: Duration = Duration::from_secs(120);

const ADDRESS: &str = "STORY_ADDRESS";
const NAMESPACE: &str = "STORY_NAMESPACE";
const FOLDER: &str = "STORY_FOLDER";
const MARK: &str = "story: ";

/// `price = sum * area`, where `sum` is made of all bytes of the artifact.
struct Bulk(Vec<u8>);

struct BulkDecoder;

impl Decoder for BulkDecoder {
    fn format(&self) -> &str {
        FORMAT
    }

    fn decode(
        &self,
        artifact: &mut dyn Read,
        context: &DecodeContext<'_>,
    ) -> Result<Box<dyn Model>, DecodeError> {
        Ok(Box::new(Bulk(context.read_whole(artifact, 2 * SIZE_BYTES)?)))
    }
}

impl Model for Bulk {
    fn width(&self) -> usize {
        1
    }

    fn outputs(&self) -> usize {
        1
    }

    fn predict(&self, row: &[f64], outputs: &mut [f64]) -> Result<(), PredictError> {
        outputs[0] = number(blake3::hash(&self.0)) * row[0];
        Ok(())
    }
}

/// A digest is a sum that is fast in a debug build too.
fn number(hash: blake3::Hash) -> f64 {
    f64::from(u32::from_le_bytes(*hash.as_bytes().first_chunk().unwrap()))
}

fn policy() -> Policy {
    Policy { decoders: Arc::new(Decoders::standard().with(BulkDecoder)), ..Policy::standard() }
}

/// Writes random weights, other ones for each version; gives the sum of them.
fn write_artifact(path: &Path, version: u64) -> f64 {
    let mut weights = blake3::Hasher::new().update(&version.to_le_bytes()).finalize_xof();
    let mut file = File::create(path).unwrap();
    let (mut sum, mut buffer) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    let mut left = SIZE_BYTES;
    while left > 0 {
        let piece = &mut buffer[..usize::try_from(left.min(1 << 20)).unwrap()];
        weights.fill(piece);
        sum.update(piece);
        file.write_all(piece).unwrap();
        left -= piece.len() as u64;
    }
    number(sum.finalize())
}

#[test]
fn a_subscriber_needs_memory_for_the_old_and_the_new_model_and_a_fixed_amount() {
    let (runtime, scene) = (runtime(), Scene::new("large", &[MODEL]));
    let publisher = runtime.block_on(scene.publisher());
    let mut command = this_binary_again("large_artifacts::a_process_with_large_models");
    command.env(ADDRESS, &scene.kafka.bootstrap_servers).env(NAMESPACE, scene.kafka.namespace.as_str());
    let mut process = Running::start(command.env(FOLDER, scene.shown("")).stdout(Stdio::piped()));
    let printed = BufReader::new(process.child().stdout.take().unwrap());
    let mut lines =
        printed.lines().map_while(Result::ok).filter_map(|line| Some(line.split_once(MARK)?.1.to_owned()));

    let mut peak_bytes = 0;
    for version in 1..=VERSIONS {
        let path = scene.path(&format!("artifact-{version}"));
        let sum = write_artifact(&path, version);
        let mut request = linear::request(MODEL, sum);
        request.artifact = Artifact::File(path.clone());
        request.format = FORMAT.to_owned();
        request.decoders = policy().decoders;
        let started = Instant::now();
        runtime.block_on(linear::publish(&publisher, request));
        let published = started.elapsed();
        // The process says so, or ends: there is a deadline in it.
        let line = lines.next().expect("the process goes live on each version");
        let [said_version, output, peak_kib] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        assert_eq!(said_version.parse(), Ok(version));
        assert_eq!(output.parse(), Ok(3.0 * sum));
        peak_bytes = peak_kib.parse::<u64>().unwrap() * 1024;
        eprintln!(
            "version {version}: published in {published:?}, live {:?} later, peak {} MB",
            started.elapsed() - published,
            peak_bytes / MB
        );
        std::fs::remove_file(path).unwrap();
    }
    assert!(
        peak_bytes > 2 * SIZE_BYTES,
        "a peak of {peak_bytes} bytes has no room for two: it is no measurement"
    );
    assert!(peak_bytes < 2 * SIZE_BYTES + FIXED_BYTES, "a peak of {peak_bytes} bytes");
    let verified = scene.status(MODEL);
    assert_eq!(verified.1, Some(0), "{:#}", verified.0);
}

#[test]
#[ignore = "is the process that a_subscriber_needs_memory_for_the_old_and_the_new_model_and_a_fixed_amount starts"]
fn a_process_with_large_models() {
    let variables = [ADDRESS, NAMESPACE, FOLDER].map(std::env::var);
    let [Ok(bootstrap_servers), Ok(namespace), Ok(folder)] = variables else { return };
    let folder = PathBuf::from(folder);
    let namespace = namespace.parse().unwrap();
    let kafka = KafkaSettings { bootstrap_servers, namespace, ..KafkaSettings::default() };
    let keys = KeySettings { trusted: vec![folder.join("keys")], signing: None }.trusted().unwrap();
    let identity = Identity { instance: "large".parse().unwrap(), labels: [].into() };
    let runtime = runtime();
    let subscriber = Subscriber::builder(&kafka, &keys, identity, &folder.join("state"))
        .model(model(MODEL), policy())
        .start();
    let subscriber = runtime.block_on(subscriber).unwrap();
    let live = subscriber.model(&model(MODEL)).unwrap();
    for version in 1..=VERSIONS {
        let loaded = wait_within(LIVE_WITHIN, "the next version", || {
            live.load().filter(|loaded| loaded.version().get() == version)
        });
        let mut outputs = [0.0];
        loaded.predict(&[3.0], &mut outputs).unwrap();
        drop(loaded);
        let mut out = std::io::stdout().lock();
        writeln!(out, "{MARK}{version} {} {}", outputs[0], peak_kib()).and_then(|()| out.flush()).unwrap();
    }
    // Until the test, which still asks for the status, ends it.
    loop {
        std::thread::park();
    }
}

/// The most memory that this process ever had resident.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
