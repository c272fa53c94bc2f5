//! Triton's clients from PyPI, unchanged, over HTTP and gRPC: `tests/triton/client.py` in a virtual environment.
//!
//! The environment is made once, in the target folder, of exact versions. Without Python or the packages the test
//! fails in CI, and elsewhere says that it is skipped.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use crate::fixture::{Server, fixed, house, tumour};

#[test]
fn tritons_own_clients_work_unchanged() {
    let python = match environment() {
        Ok(python) => python,
        Err(missing) if std::env::var_os("CI").is_some() => panic!("{missing}"),
        Err(missing) => {
            eprintln!("SKIPPED tritons_own_clients_work_unchanged: {missing}");
            return;
        }
    };
    let server = Server::start([fixed(house(4)), fixed(tumour(1))]);
    let script = folder().join("client.py");
    let ran = run(Command::new(python).arg(script).arg(server.address.to_string()));
    let output = ran.unwrap_or_else(|error| panic!("{error}"));
    assert!(output.ends_with("grpc: as it should be\n"), "{output}");
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/triton")
}

/// The Python of the environment, which is made where it is not there or of other versions.
fn environment() -> Result<PathBuf, String> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tritonclient");
    fs::create_dir_all(&place).unwrap();
    // Whoever comes second waits.
    let lock = File::create(place.join("lock")).unwrap();
    lock.lock().unwrap();
    let wanted = folder().join("requirements.txt");
    let (venv, made) = (place.join("venv"), place.join("made-of.txt"));
    let python = venv.join("bin/python");
    let requirements = fs::read_to_string(&wanted).unwrap();
    if fs::read_to_string(&made).is_ok_and(|made| made == requirements) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let install =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"];
    run(Command::new(&python).args(install).arg("--requirement").arg(&wanted))?;
    fs::write(&made, requirements).unwrap();
    Ok(python)
}

/// What a program wrote, or why it failed.
fn run(command: &mut Command) -> Result<String, String> {
    let name = format!("{command:?}");
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    let [out, err] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    if output.status.success() { Ok(out) } else { Err(format!("{name}: {}\n{out}{err}", output.status)) }
}
