//! The built program: its exit codes, its one line of output, and what it does without Kafka.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use modelcast_protocol::key::SigningKey;
use tempfile::TempDir;

use crate::fixture::until;

/// A folder with a trusted key and settings to which a test adds its own.
pub(crate) fn folder(more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::from_seed(&[1; 32]).public().to_pem().unwrap();
    fs::write(folder.path().join("a.pub.pem"), key).unwrap();
    fs::write(folder.path().join("weak"), "secret").unwrap();
    let settings =
        format!("[keys]\ntrusted = [\"a.pub.pem\"]\n[[models]]\nname = \"property-value\"\n{more}");
    fs::write(folder.path().join("app.toml"), settings).unwrap();
    folder
}

pub(crate) fn serve(folder: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consumer-app"));
    command.current_dir(folder).arg("serve").args(["--config", "app.toml"]).args(flags);
    for name in ["KAFKA", "NAMESPACE", "LISTEN", "INSTANCE", "STATE"] {
        command.env_remove(format!("MODELCAST_{name}"));
    }
    command.env("RUST_LOG", "info").env("SHOP_TOKEN", "a-token-in-the-environment");
    command
}

/// Its exit code and its log. One that serves instead is killed when that is clear.
fn ended(mut command: Command) -> (Option<i32>, String) {
    let log = tempfile::NamedTempFile::new().unwrap();
    command.stdout(Stdio::null()).stderr(log.reopen().unwrap());
    let mut program = Running(command.spawn().unwrap());
    let status = until("it ended by itself", || program.0.try_wait().unwrap());
    (status.code(), fs::read_to_string(log.path()).unwrap())
}

#[test]
fn wrong_settings_end_with_64_and_are_named() {
    let rows: [(&str, &[&str], &[&str]); 12] = [
        ("[http]\nport = 1\n", &[], &["app.toml", "line 6", "port"]),
        ("[kafka.properties]\n\"no.such\" = \"1\"\n", &["--listen", "127.0.0.1:0"], &["no.such"]),
        ("[http]\nrows_max = 0\n", &[], &["http.rows_max", "\"0\"", "from 1"]),
        ("", &["--config", "nowhere.toml"], &["nowhere.toml"]),
        ("[instance]\nname = \"A\"\n", &[], &["instance name \"A\"", "line 6"]),
        (
            "[http.tls]\ncertificate = \"none.pem\"\nprivate_key = \"none.pem\"\n",
            &[],
            &["http.tls.certificate", "none.pem", "No such file"],
        ),
        (
            "[http.tls]\ncertificate = \"a.pub.pem\"\nprivate_key = \"a.pub.pem\"\n",
            &[],
            &["http.tls.certificate", "a.pub.pem", "no certificate"],
        ),
        ("[http.tls]\ncertificate = \"a.pub.pem\"\n", &[], &["http.tls.private_key", "together"]),
        ("[http.tokens]\nshop = \"a-token-in-plain-text\"\n", &[], &["line 6", "says where a token is"]),
        ("[http.tokens]\nshop = { file = \"none\" }\n", &[], &["line 5", "token shop: cannot read none"]),
        ("[http.tokens]\nshop = { file = \"weak\" }\n", &[], &["line 5", "token shop has 6 bytes"]),
        (
            "[http.tokens]\nshop = { env = \"SHOP_TOKEN\" }\n",
            &["--listen", "0.0.0.0:0"],
            &["http.tokens", "shop", "unencrypted", "tokens_over_plain_http"],
        ),
    ];
    for (settings, flags, words) in rows {
        let folder = folder(settings);
        let mut command = serve(folder.path(), &[]);
        if flags.first() == Some(&"--config") {
            command = Command::new(env!("CARGO_BIN_EXE_consumer-app"));
            command.arg("serve");
        }
        let (code, log) = ended({
            command.args(flags);
            command
        });
        assert_eq!(code, Some(64), "{settings}: {log}");
        let error =
            log.lines().skip_while(|line| !line.starts_with("error: ")).collect::<Vec<_>>().join("\n");
        for word in words {
            assert!(error.contains(word), "{word}: {log}");
        }
        assert!(!log.contains("a-token"), "a token is never said: {log}");
    }
}

#[test]
fn a_wrong_flag_ends_with_2_and_a_taken_port_with_1() {
    let folder = folder("");
    let (code, log) = ended(serve(folder.path(), &["--listen", "here"]));
    assert_eq!(code, Some(2), "{log}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, log) = ended(serve(folder.path(), &["--listen", &address]));
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(&format!("cannot listen on {address} (http.listen)")), "{log}");
}

#[test]
fn help_and_completions_are_there() {
    for (arguments, words) in [
        (vec!["--help"], "Exit codes"),
        (vec!["serve", "--help"], "[env: MODELCAST_KAFKA=]"),
        (vec!["completions", "bash"], "consumer-app"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_consumer-app"))
            .args(&arguments)
            .env_remove("MODELCAST_KAFKA")
            .output()
            .unwrap();
        assert!(
            output.status.success() && String::from_utf8_lossy(&output.stdout).contains(words),
            "{arguments:?}"
        );
    }
}

pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Nothing on disk and no Kafka: alive, not ready, and it says which address it cannot reach; SIGTERM ends it.
#[test]
fn without_kafka_it_runs_says_so_and_ends_at_a_signal() {
    let folder = folder("");
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut command = serve(folder.path(), &["--listen", "127.0.0.1:0", "--kafka", &nowhere]);
    let log_file = folder.path().join("log");
    command.stdout(Stdio::piped()).stderr(fs::File::create(&log_file).unwrap());
    let mut app = Running(command.spawn().unwrap());
    let mut out = BufReader::new(app.0.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let listening = Instant::now();
    let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).trim();
    let status = |path: &str| match ureq::get(format!("{url}{path}")).call() {
        Ok(answer) => answer.status().as_u16(),
        Err(ureq::Error::StatusCode(code)) => code,
        Err(error) => panic!("{error}"),
    };
    assert_eq!((status("/v2/health/live"), status("/v2/health/ready")), (200, 503));
    let log = || fs::read_to_string(&log_file).unwrap();
    until("the log names Kafka's address", || {
        log().lines().any(|line| line.contains(" WARN ") && line.contains(&nowhere)).then_some(())
    });
    assert!(listening.elapsed() < Duration::from_secs(10), "{}", log());
    assert!(log().contains("value=\"127.0.0.1:0\" source=\"flag\""), "{}", log());
    let pid = app.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let code = until("it ended", || app.0.try_wait().unwrap());
    assert_eq!(code.code(), Some(0), "{}", log());
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "one line on standard output, and no more");
}
