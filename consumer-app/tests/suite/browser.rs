//! A headless Chromium, driven by the DevTools protocol over a pipe: no driver program, no port.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(60);

/// A browser with one page in it; ends with the test, and by itself when the test process is killed.
pub(crate) struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    session: String,
    next_id: u64,
    _folder: TempDir,
}

impl Browser {
    /// A browser; `None` where there is no Chromium, except in CI, where there must be one.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(in_path)
        else {
            let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(!ci, "there is no chromium, and in CI there must be: `cargo xtask test` installs it");
            eprintln!("skipped: there is no chromium; `cargo xtask test` installs it");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let (to, from) = (folder.path().join("to"), folder.path().join("from"));
        assert!(Command::new("mkfifo").args([&to, &from]).status().unwrap().success());
        // Chromium reads commands from descriptor 3 and writes to 4; a shell can hand those over.
        let child = Command::new("sh")
            .arg("-c")
            .arg(
                "exec \"$0\" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                  --hide-scrollbars --disable-background-networking --remote-debugging-pipe \
                  --user-data-dir=\"$3\" 3<\"$1\" 4>\"$2\"",
            )
            .args([&program, &to, &from, &folder.path().join("profile")])
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = OpenOptions::new().write(true).open(to).unwrap();
        let from = messages(File::open(from).unwrap());
        let mut browser = Self { child, to, from, session: String::new(), next_id: 0, _folder: folder };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", &attach)["sessionId"].clone();
        browser.session = session.as_str().unwrap().to_owned();
        Some(browser)
    }

    /// Makes the page that wide and high, in device-independent pixels, and light or dark.
    pub(crate) fn look(&mut self, (width, height): (u32, u32), scheme: &str) {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.call("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    pub(crate) fn open(&mut self, url: &str) {
        self.call("Page.navigate", &json!({ "url": url }));
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// The value of an expression in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        self.try_evaluate(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Waits until an expression in the page is true. A page that is being replaced meanwhile is not there yet.
    pub(crate) fn wait_for(&mut self, condition: &str) {
        let is_true = |value: Value| value.as_bool().filter(|&is| is);
        crate::fixture::until(condition, || self.try_evaluate(condition).ok().and_then(is_true));
    }

    fn try_evaluate(&mut self, expression: &str) -> Result<Value, Value> {
        let arguments = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.try_call("Runtime.evaluate", &arguments)?;
        match result.get("exceptionDetails") {
            None => Ok(result["result"]["value"].clone()),
            Some(details) => Err(details.clone()),
        }
    }

    /// Puts a value into a field as a person does: with the events that follow.
    pub(crate) fn enter(&mut self, field: &str, value: &str) {
        let (field, value) = (json!(format!("[name=\"{field}\"]")), json!(value));
        self.evaluate(&format!(
            "(() => {{ const field = document.querySelector({field}); field.value = {value}; \
             field.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()"
        ));
    }

    pub(crate) fn text(&mut self, selector: &str) -> String {
        let selector = json!(selector);
        let text = self.evaluate(&format!("document.querySelector({selector}).textContent.trim()"));
        text.as_str().unwrap().to_owned()
    }

    /// Writes what the page looks like into a PNG file.
    pub(crate) fn screenshot(&mut self, file: &Path) {
        let shot = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        let out = File::create(file).unwrap();
        let mut base64 = Command::new("base64").arg("-d").stdin(Stdio::piped()).stdout(out).spawn().unwrap();
        base64.stdin.take().unwrap().write_all(shot["data"].as_str().unwrap().as_bytes()).unwrap();
        assert!(base64.wait().unwrap().success());
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_call(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        self.next_id += 1;
        let mut message = json!({ "id": self.next_id, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.from.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no answer to {method}"));
            if answer["id"] == self.next_id {
                return match answer.get("error") {
                    None => Ok(answer["result"].clone()),
                    Some(error) => Err(error.clone()),
                };
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// The browser's messages, each ended by a zero byte, read by a thread so that waiting for one has a deadline.
fn messages(from: File) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for message in BufReader::new(from).split(0).map_while(Result::ok) {
            if let Ok(message) = serde_json::from_slice(&message)
                && sender.send(message).is_err()
            {
                return;
            }
        }
    });
    receiver
}
