//! Requests that a program makes up from the OpenAPI document: none ends in a 5xx, none makes the process grow.
//!
//! Needs Python, which `cargo xtask test` installs; without it the test says that it is skipped, except in CI, where
//! that is an error. Its packages are of `tests/schemathesis/requirements.txt`, in a virtual environment that is made
//! once, in the target folder.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture::{agent, answer};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// What the process may grow by, between a first run and the end of a longer one: what allocators keep, and no more.
const GROWTH_MAX_KIB: u64 = 32 * 1024;

/// The built program over two embedded models, without Kafka.
struct App {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl App {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let testdata = Path::new(ROOT).join("../shared/client/testdata");
        let mut settings = format!(
            "[kafka]\nbootstrap_servers = \"\"\n[keys]\ntrusted = [{:?}]\n",
            testdata.join("test-only.pub.pem")
        );
        for model in ["property-value", "breast-cancer"] {
            let file = testdata.join(format!("{model}.modelcast"));
            settings += &format!("[[models]]\nname = \"{model}\"\nembedded = {file:?}\n");
        }
        fs::write(folder.path().join("app.toml"), settings).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_consumer-app"))
            .current_dir(folder.path())
            .args(["serve", "--config", "app.toml", "--listen", "127.0.0.1:0", "--log", "warn"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).trim().to_owned();
        Self { child, url, _folder: folder }
    }

    fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The program, from a virtual environment that is made where there is none; none where there is no Python.
fn schemathesis() -> Option<PathBuf> {
    let found = Command::new("python3").args(["-c", "import ensurepip"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(
            !ci,
            "there is no python3 with venv, and in CI there must be: `cargo xtask test` installs it"
        );
        eprintln!("skipped: there is no python3 with venv; `cargo xtask test` installs it");
        return None;
    }
    let requirements = Path::new(ROOT).join("tests/schemathesis/requirements.txt");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemathesis");
    let (done, wanted) = (folder.join("requirements.txt"), fs::read_to_string(&requirements).unwrap());
    if fs::read_to_string(&done).is_ok_and(|there| there == wanted) {
        return Some(folder.join("bin/schemathesis"));
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
    run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--no-deps", "-r"])
        .arg(&requirements));
    fs::write(done, wanted).unwrap(); // last: it says that all is there
    Some(folder.join("bin/schemathesis"))
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
}

/// The served document, with the names of models that are there and a right request, so that more than refusals is met.
fn document(app: &App) -> Value {
    let get = |path: &str| -> Value {
        ureq::get(format!("{}{path}", app.url)).call().unwrap().body_mut().read_json().unwrap()
    };
    let mut document = get("/openapi.json");
    let model = &mut document["components"]["parameters"]["Model"];
    model["schema"] =
        json!({ "type": "string", "enum": ["property-value", "breast-cancer", "no-such-model"] });
    model["example"] = json!("breast-cancer");
    let metadata = get("/v2/models/breast-cancer");
    let features = metadata["inputs"].as_array().unwrap().iter();
    let inputs =
        features.map(|of| json!({ "name": of["name"], "shape": [1, 1], "datatype": "FP64", "data": [1] }));
    let inputs: Vec<_> = inputs.collect();
    let post = &mut document["paths"]["/v2/models/{model}/infer"]["post"];
    let content = &mut post["requestBody"]["content"]["application/json"];
    content["example"] = json!({ "inputs": inputs });
    content["schema"] = json!({ "anyOf": [content["schema"], all_in_one(inputs.len())] });
    document
}

/// One tensor of all features, whose values vary: what is made up freely is refused for its names, and never comes as
/// far as shapes and values.
fn all_in_one(width: usize) -> Value {
    let numbers =
        json!({ "type": "array", "items": { "type": "number" }, "minItems": width, "maxItems": width });
    let tensor = json!({
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "additionalProperties": false,
        "properties": {
            "name": { "const": "all" },
            "shape": { "enum": [[1, width], [2, width], [width, 1], [1, width, 1]] },
            "datatype": { "enum": ["FP64", "FP32", "INT8", "UINT64"] },
            "data": numbers,
        },
    });
    let inputs = json!({ "type": "array", "items": tensor, "minItems": 1, "maxItems": 1 });
    json!({ "type": "object", "required": ["inputs"], "properties": { "inputs": inputs } })
}

/// Requests of a MiB each, some that are answered and as many that are refused. Who keeps a body grows by all of them.
fn send_large(app: &App, document: &Value, times: usize) {
    let post = &document["paths"]["/v2/models/{model}/infer"]["post"];
    let right = &post["requestBody"]["content"]["application/json"]["example"];
    let blanks = " ".repeat(1 << 20);
    for (request, status) in [(right, 200), (&json!({ "inputs": [] }), 400)] {
        for _ in 0..times {
            let post = agent().post(format!("{}/v2/models/breast-cancer/infer", app.url));
            let answer = answer(post.send(format!("{request}{blanks}")));
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }
}

/// The sum of a counter over the models.
fn counted(app: &App, name: &str) -> f64 {
    let text = ureq::get(format!("{}/metrics", app.url)).call().unwrap().body_mut().read_to_string().unwrap();
    let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit_once(' '));
    values.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
}

#[test]
fn requests_made_up_from_the_document_meet_no_5xx_and_no_growth() {
    let Some(schemathesis) = schemathesis() else { return };
    let app = App::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    let document = document(&app);
    fs::write(&file, document.to_string()).unwrap();
    let attack = |examples: &str, seconds: &str| {
        let mut command = Command::new(&schemathesis);
        command.current_dir(folder.path()).arg("run").arg(&file).args(["--url", &app.url]).args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            // It never ends.
            "--exclude-path",
            "/models/{model}/events",
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            examples,
            "--max-time",
            seconds,
            "--seed",
            "5",
            "--generation-database",
            "none",
            "--request-timeout",
            "20",
            "--warnings",
            "off",
            "--no-color",
        ]);
        run(&mut command);
    };
    attack("5", "15");
    send_large(&app, &document, 8);
    let (before, since) = (app.resident_kib(), Instant::now());
    attack("40", "40");
    send_large(&app, &document, 32);
    let after = app.resident_kib();
    let (answered, refused) =
        (counted(&app, "modelcast_predictions_total"), counted(&app, "modelcast_refused_requests_total"));
    assert!(
        answered >= 1.0 && refused >= 100.0,
        "{answered} answered, {refused} refused: not much of a test"
    );
    println!("{answered} rows predicted, {refused} requests refused");
    println!("resident: {before} KiB, after {:?} {after} KiB", since.elapsed());
    assert!(after <= before + GROWTH_MAX_KIB, "{before} KiB grew to {after} KiB");
    assert_eq!(ureq::get(format!("{}/v2/health/ready", app.url)).call().unwrap().status(), 200);
}
