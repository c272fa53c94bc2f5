//! How fast `consumer-app batch` scores a CSV file, beside parsing that file and doing nothing with it.
//!
//! The rows are those of the Ames data set over and over, with a key, scored by the model of the test data: 20 features,
//! seven of them categories. Memory is the process's peak, as Linux counts it.

use std::{
    fs::{self, File},
    io::{BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::apps;

const DATA: &str = "trainer/data/ames_housing.csv";
const TEST_DATA: &str = "shared/client/testdata";
/// How often the process is asked for its memory; its peak only grows.
const ASK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rows to score.
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
    /// Where predictions go; may be repeated.
    #[arg(long, value_enum, default_values_t = [To::Parquet])]
    to: Vec<To>,
    /// Folder for input and outputs, some 350 bytes a row, instead of the system's for temporary files.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
enum To {
    Csv,
    Parquet,
    Table,
}

#[derive(Debug, serde::Serialize)]
struct Figures {
    rows: u64,
    input_bytes: u64,
    parse_seconds: f64,
    runs: Vec<Run>,
}

#[derive(Debug, serde::Serialize)]
struct Run {
    to: To,
    seconds: f64,
    /// Seconds of the run, by those of parsing alone.
    times_parsing: f64,
    rows_per_second: f64,
    peak_bytes: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = match &args.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let input = folder.path().join("in.csv");
    write_input(&input, args.rows)?;
    let input_bytes = fs::metadata(&input)?.len();
    parse(&input)?; // once to have the file in the system's cache, as the runs then find it
    let parse_seconds = parse(&input)?.as_secs_f64();
    let config = write_config(folder.path())?;
    let mut runs = Vec::new();
    for to in &args.to {
        let (took, peak_bytes) = score(&config, *to)?;
        let seconds = took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rows_per_second = args.rows as f64 / seconds;
        runs.push(Run {
            to: *to,
            seconds,
            times_parsing: seconds / parse_seconds,
            rows_per_second,
            peak_bytes,
        });
    }
    let figures = Figures { rows: args.rows, input_bytes, parse_seconds, runs };
    if args.json {
        println!("{}", serde_json::to_string(&figures)?);
        return Ok(());
    }
    println!("batch, {} build, {} rows of CSV, {} MB", crate::profile(), args.rows, input_bytes / 1_000_000);
    println!("parsing alone: {parse_seconds:.1} s");
    for Run { to, seconds, times_parsing, rows_per_second, peak_bytes } in &figures.runs {
        println!(
            "to {to:?}: {seconds:.1} s, {times_parsing:.1} times parsing alone, {rows_per_second:.0} rows/s, peak {} MB",
            peak_bytes / 1_000_000
        );
    }
    Ok(())
}

/// The rows of the data set over and over; of a feature that every house has, the values of each round are new.
fn write_input(path: &Path, rows: u64) -> anyhow::Result<()> {
    let mut reader =
        csv::Reader::from_path(DATA).with_context(|| format!("cannot read {DATA}; run this in the root"))?;
    let header = reader.headers()?.clone();
    let moved = header.iter().position(|name| name == "Lot_Area").context("Lot_Area is not there")?;
    let all: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>()?;
    let features = features()?;
    let places: Vec<usize> = features
        .iter()
        .map(|feature| header.iter().position(|name| name == feature).context("a feature is not there"))
        .collect::<Result<_, _>>()?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    writeln!(out, "id,{}", features.join(","))?;
    for number in 0..rows {
        let count = u64::try_from(all.len())?;
        let row = all.get(usize::try_from(number % count)?).context("the data set is empty")?;
        write!(out, "house-{number:08}")?;
        for place in &places {
            let cell = row.get(*place).unwrap_or_default();
            if *place == moved {
                write!(out, ",{}", cell.parse::<u64>()? + number / count)?;
            } else {
                write!(out, ",{cell}")?;
            }
        }
        writeln!(out)?;
    }
    Ok(out.flush()?)
}

/// The names of the model's features.
fn features() -> anyhow::Result<Vec<String>> {
    let trusted = vec![PathBuf::from(TEST_DATA).join("test-only.pub.pem")];
    let keys = modelcast::settings::KeySettings { trusted, ..Default::default() }.trusted()?;
    let file = PathBuf::from(TEST_DATA).join("property-value.modelcast");
    let opened = modelcast::Embedded::File(file).open(&keys)?;
    Ok(opened.manifest().manifest().schema.features.iter().map(|feature| feature.name.clone()).collect())
}

fn parse(path: &Path) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut reader = csv::ReaderBuilder::new().buffer_capacity(256 * 1024).from_path(path)?;
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record)? {}
    Ok(started.elapsed())
}

fn write_config(folder: &Path) -> anyhow::Result<PathBuf> {
    let test_data = Path::new(TEST_DATA).canonicalize()?;
    let (key, model) = (test_data.join("test-only.pub.pem"), test_data.join("property-value.modelcast"));
    let text = format!(
        "[kafka]\nbootstrap_servers = \"\"\n[keys]\ntrusted = [{key:?}]\n[instance]\nname = \"bench\"\n\
         [model]\nname = \"property-value\"\nembedded = {model:?}\n[input]\npath = \"in.csv\"\nkey = \"id\"\n"
    );
    let path = folder.join("batch.toml");
    fs::write(&path, text)?;
    Ok(path)
}

/// Scores the input; gives how long the process took, and its peak of memory.
fn score(config: &Path, to: To) -> anyhow::Result<(Duration, u64)> {
    let program = apps::beside("consumer-app")?;
    let mut command = Command::new(&program);
    command.arg("batch").arg("--config").arg(config).args(["--once", "--json", "--log", "warn"]);
    match to {
        To::Csv => command.args(["--output", "out.csv"]),
        To::Parquet => command.args(["--output", "out.parquet"]),
        To::Table => &mut command,
    };
    let folder = config.parent().context("the settings are in no folder")?;
    let started = Instant::now();
    let mut child = command
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}; build it with the same profile", program.display()))?;
    let mut peak_bytes = 0;
    let status = loop {
        peak_bytes = peak(&child).unwrap_or(peak_bytes);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::park_timeout(ASK_EVERY);
    };
    let took = started.elapsed();
    let mut said = String::new();
    child.stdout.take().context("consumer-app has no stdout")?.read_to_string(&mut said)?;
    let said: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
    if !status.success() || said.pointer("/summary/failures") != Some(&0.into()) {
        bail!("consumer-app ended with {status} and said {said}");
    }
    Ok((took, peak_bytes))
}

fn peak(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
