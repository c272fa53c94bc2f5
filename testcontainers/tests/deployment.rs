//! What an operator deploys: the file `config/compose.yaml`, and the image that `config/Dockerfile` makes.
//!
//! The image is made of the programs that are built already, on the base image of the tests' Kafka where that is here:
//! nothing is pulled and nothing compiled. What the services of the file do together is not shown here, for their
//! images cannot be pulled everywhere.

// clippy.toml allows them in tests, but takes only functions marked #[test] for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use modelcast_testcontainers::{Ability, offers};

const PROGRAMS: [&str; 3] = ["trainer", "consumer-app", "modelcast"];
/// Made by `image.sh`, where no Kafka image could be pulled.
const LOCAL_BASE: &str = "modelcast-kafka-base:bookworm-jre17";
const DEADLINE: Duration = Duration::from_secs(60);

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn docker(args: &[&str]) -> Output {
    Command::new("docker").args(args).output().unwrap()
}

/// What it printed, when it ended well.
#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `docker compose`, or the program of its own that Debian has.
fn compose(args: &[&str]) -> Output {
    let file = root().join("config/compose.yaml");
    let mut command = if docker(&["compose", "version"]).status.success() {
        let mut command = Command::new("docker");
        command.arg("compose");
        command
    } else {
        Command::new("docker-compose")
    };
    command
        .arg("-f")
        .arg(file)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("docker-compose: {error}; `cargo xtask test` installs it"))
}

#[test]
fn the_compose_file_is_valid_and_holds_no_secret() {
    if !offers(&[Ability::Image]) {
        return;
    }
    let whole = printed(&compose(&["config"]));
    for line in whole.lines().filter(|line| line.to_lowercase().contains("password")) {
        let named = line.contains("__FILE:") || line.contains("_FILE:") || line.contains("/run/secrets/");
        let declared = line.trim().starts_with("file: ") || line.trim_end().ends_with("_password:");
        let used = line.contains("source: ") || line.trim().starts_with("- ");
        assert!(named || declared || used, "a secret in plain text: {line}");
    }
    let services = printed(&compose(&["config", "--services"]));
    for service in [
        "kafka",
        "keys",
        "topics",
        "trainer",
        "app-1",
        "app-2",
        "batch",
        "postgres",
        "stream",
        "prometheus",
        "grafana",
    ] {
        assert!(services.lines().any(|found| found == service), "{service} is not among {services}");
    }
}

/// An image that goes with the test, and the containers of it.
struct Image(String);

impl Drop for Image {
    fn drop(&mut self) {
        let containers = docker(&["ps", "-aq", "--filter", &format!("ancestor={}", self.0)]);
        for container in String::from_utf8_lossy(&containers.stdout).lines() {
            docker(&["rm", "--force", container]);
        }
        docker(&["rmi", "--force", &self.0]);
    }
}

impl Image {
    fn build(name: &str, dockerfile: &Path, context: &Path, args: &[&str]) -> Self {
        let image = Self(format!("modelcast-test-{name}:{}", std::process::id()));
        let mut command = Command::new("docker");
        command.args(["build", "--quiet", "--tag", &image.0, "--file"]).arg(dockerfile);
        for arg in args {
            command.args(["--build-arg", arg]);
        }
        printed(&command.arg(context).output().unwrap());
        image
    }

    fn run(&self, args: &[&str]) -> String {
        printed(&docker(&[&["run", "--rm", self.0.as_str()], args].concat()))
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    if from.is_dir() {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// A build context with the programs that are built, without what only a debugger needs.
fn context(folder: &Path) {
    for part in ["config", "trainer/data"] {
        copy(&root().join(part), &folder.join(part));
    }
    drop(fs::remove_dir_all(folder.join("config/secrets")));
    // target/debug/deps/deployment-0123 and target/debug/trainer
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap();
    for program in PROGRAMS {
        let path = built.join(program);
        assert!(path.is_file(), "{} is not built: run `cargo xtask test`, which builds it", path.display());
        let stripped = folder.join("programs").join(program);
        fs::create_dir_all(stripped.parent().unwrap()).unwrap();
        printed(&Command::new("strip").arg("-o").args([&stripped, &path]).output().unwrap());
    }
}

/// The image of `config/Dockerfile`.
fn image(folder: &Path) -> Image {
    context(folder);
    let local = docker(&["image", "inspect", LOCAL_BASE]).status.success();
    let runtime = if local { LOCAL_BASE } else { "debian:bookworm-slim" };
    let args = [format!("BUILDER={runtime}"), format!("RUNTIME={runtime}")];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Image::build("programs", &root().join("config/Dockerfile"), folder, &args)
}

/// The health check of the applications in the compose file: it is written as JSON there.
fn health_check() -> Vec<String> {
    let text = fs::read_to_string(root().join("config/compose.yaml")).unwrap();
    let line =
        text.lines().find_map(|line| line.trim().strip_prefix("test: ").filter(|it| it.contains("bash")));
    let words: Vec<String> = serde_json::from_str(line.unwrap()).unwrap();
    assert_eq!(words[0], "CMD");
    words[1..].to_vec()
}

/// An application that carries its model with it, so that it is ready without a Kafka.
fn application(of: &Image, folder: &Path) -> Image {
    let data = root().join("shared/client/testdata");
    for name in ["breast-cancer.modelcast", "test-only.pub.pem"] {
        copy(&data.join(name), &folder.join("test").join(name));
    }
    let settings = "[kafka]\nbootstrap_servers = \"\"\n[keys]\ntrusted = [\"test/test-only.pub.pem\"]\n\
                    [http]\nlisten = \"0.0.0.0:8080\"\n[instance]\nname = \"app-1\"\n\
                    [[models]]\nname = \"breast-cancer\"\nembedded = \"test/breast-cancer.modelcast\"\n";
    fs::write(folder.join("test/app.toml"), settings).unwrap();
    let dockerfile: PathBuf = folder.join("Dockerfile");
    fs::write(&dockerfile, format!("FROM {}\nCOPY test/ test/\n", of.0)).unwrap();
    Image::build("application", &dockerfile, folder, &[])
}

#[test]
fn the_image_runs_the_three_programs_as_a_user_without_rights() {
    if !offers(&[Ability::Image]) {
        return;
    }
    let (context, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let image = image(context.path());
    for program in PROGRAMS {
        let version = image.run(&[program, "--version"]);
        assert_eq!(version.trim(), format!("{program} {}", env!("CARGO_PKG_VERSION")));
    }
    assert_eq!(image.run(&["id", "-u"]).trim(), "10001");
    assert!(image.run(&["trainer", "list"]).contains("ames"), "with its settings and data");

    let application = application(&image, folder.path());
    let flags = ["--detach", "--init", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"];
    // Where this test is killed, nobody else ends it.
    let serve =
        [application.0.as_str(), "timeout", "600", "consumer-app", "serve", "--config", "test/app.toml"];
    let container = printed(&docker(&[&["run"], &flags[..], &serve].concat())).trim().to_owned();
    let check = health_check();
    let exec: Vec<&str> = ["exec", &container].into_iter().chain(check.iter().map(String::as_str)).collect();
    let until = Instant::now() + DEADLINE;
    while !docker(&exec).status.success() {
        let log = docker(&["logs", &container]);
        assert!(Instant::now() < until, "not healthy: {}", String::from_utf8_lossy(&log.stderr));
        std::thread::park_timeout(Duration::from_millis(100));
    }
}
